//! What is wrong with a module on the disk of somebody who writes it, everything at once, with places and cures.

use std::fmt;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::disco::universe::fetch::PARTS;
use crate::disco::universe::module::{Module, ModuleError, ModuleName, parse_requires};
use crate::disco::universe::params::Key;
use crate::disco::universe::tree;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which file.
    pub path: PathBuf,
    /// Which line, from 1; none: the file as a whole.
    pub line: Option<usize>,
    /// What is wrong, and what to do.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:", self.path.display())?;
        if let Some(line) = self.line {
            write!(out, "{line}:")?;
        }
        write!(out, " {}", self.what)
    }
}

/// Looks a module through. Nothing of it is run; `bash -n` only reads.
///
/// # Errors
/// A part of the module cannot be read, or there is no bash.
pub fn check(directory: &Path) -> Result<Vec<Problem>, ModuleError> {
    let mut problems = Vec::new();
    let mut found = |path: &Path, line: Option<usize>, what: String| {
        problems.push(Problem { path: path.to_owned(), line, what });
    };
    let own = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = match ModuleName::new(&own) {
        Ok(name) => name,
        Err(error) => {
            found(directory, None, format!("{error}; rename the directory"));
            ModuleName::new("module").expect("it is a plain name")
        }
    };
    let unreadable = |path: &Path| {
        let (module, path) = (name.clone(), path.to_owned());
        move |source: io::Error| ModuleError::Read { module, path, source }
    };
    for entry in fs::read_dir(directory).map_err(unreadable(directory))? {
        let entry = entry.map_err(unreadable(directory))?;
        if !PARTS.iter().any(|part| entry.file_name() == *part) {
            let parts = PARTS.join(", ");
            found(&entry.path(), None, format!("is never fetched: a module has {parts}; move or remove it"));
        }
    }
    if let Err(error) = tree::check(directory) {
        found(directory, None, format!("{error}; take it out of the module"));
    }
    let requires = directory.join("requires");
    match fs::read_to_string(&requires) {
        Ok(text) => {
            for (number, line) in (1..).zip(text.lines()) {
                if let Err(error) = parse_requires(&name, line) {
                    let why = match error {
                        ModuleError::Name { source, .. } => source.to_string(),
                        _ => format!("`{}` means nothing here", line.escape_debug()),
                    };
                    found(&requires, Some(number), format!("{why}; write `after NAME` or `before NAME`"));
                }
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(unreadable(&requires)(error)),
    }
    let module = Module { name: name.clone(), directory: directory.to_owned(), requires: Vec::new() };
    for script in module.scripts()? {
        let path = directory.join("scripts").join(script);
        let head = first_line(&path).map_err(unreadable(&path))?;
        let mode = fs::metadata(&path).map_err(unreadable(&path))?.permissions().mode();
        if head.is_some() && mode & 0o111 == 0 {
            found(&path, None, "has a `#!` line and is not executable; run `chmod +x` on it".to_owned());
        }
        let words: Vec<&str> = head.as_deref().unwrap_or("/bin/bash").split_whitespace().collect();
        match missing_interpreter(&words) {
            Some(missing) => {
                let what =
                    format!("`{missing}` is not on this machine; install it, or correct the first line");
                found(&path, Some(1), what);
            }
            None if is_bash(&words) => {
                let complaints = syntax_of(&path).map_err(unreadable(&path))?;
                complaints.into_iter().for_each(|(line, what)| found(&path, line, what));
            }
            None => {}
        }
    }
    for folder in folders_in(&directory.join("scripts")).map_err(unreadable(directory))? {
        found(&folder, None, "is a directory, and only files of `scripts` run; move its files up".to_owned());
    }
    for template in module.templates()? {
        let path = directory.join("templates").join(template);
        let complaints = syntax_of(&path).map_err(unreadable(&path))?;
        complaints.into_iter().for_each(|(line, what)| found(&path, line, what));
    }
    let parameters = directory.join("parameters");
    for path in module.files_below("parameters", true)? {
        if let Err(error) = Key::new(&path.to_string_lossy()) {
            found(&parameters.join(&path), None, format!("{error}; rename it"));
        }
    }
    problems.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    Ok(problems)
}

/// The first line of a script behind its `#!`; none without one.
fn first_line(path: &Path) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    BufReader::new(fs::File::open(path)?).read_until(b'\n', &mut line)?;
    let text = String::from_utf8_lossy(&line).trim().to_owned();
    Ok(text.strip_prefix("#!").map(str::trim).filter(|rest| !rest.is_empty()).map(str::to_owned))
}

/// The program of a `#!` line that this machine lacks; behind `env`, a program of its PATH.
fn missing_interpreter<'a>(words: &[&'a str]) -> Option<&'a str> {
    let (program, rest) = words.split_first()?;
    if !Path::new(program).exists() {
        return Some(program);
    }
    let wanted = rest.iter().find(|word| !word.starts_with('-') && !word.contains('='))?;
    let folders = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    let there = folders.iter().any(|folder| Path::new(folder).join(wanted).exists());
    (program.ends_with("/env") && !there).then_some(wanted)
}

/// Whether bash understands a script with this first line.
fn is_bash(words: &[&str]) -> bool {
    words.iter().any(|word| {
        matches!(Path::new(word).file_name().and_then(|name| name.to_str()), Some("bash" | "sh" | "dash"))
    })
}

/// What bash has to say about the syntax of a script, with the lines.
fn syntax_of(path: &Path) -> io::Result<Vec<(Option<usize>, String)>> {
    let mut bash = Command::new("bash");
    bash.arg("-n").arg("--").arg(path).env("LC_ALL", "C").stdin(Stdio::null());
    let said = bash.output()?;
    if said.status.success() {
        return Ok(Vec::new());
    }
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    let begin = format!("{}: line ", path.display());
    Ok(text
        .lines()
        .map(|line| {
            let found = line.strip_prefix(&begin).and_then(|rest| rest.split_once(": "));
            match found.and_then(|(number, what)| Some((number.parse().ok()?, what))) {
                Some((number, what)) => (Some(number), what.escape_debug().to_string()),
                None => (None, line.escape_debug().to_string()),
            }
        })
        .collect())
}

fn folders_in(directory: &Path) -> io::Result<Vec<PathBuf>> {
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let mut folders = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            folders.push(entry.path());
        }
    }
    Ok(folders)
}
