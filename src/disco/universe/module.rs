//! A module on disk: its name, its `requires`, and the lists of its templates and scripts.
//!
//! ```text
//! VARDIR/localstore/NAME/requires      lines: NAME | after NAME | before NAME | # comment
//! VARDIR/localstore/NAME/parameters/   defaults below the node's own parameters
//! VARDIR/localstore/NAME/files/        copied as they are
//! VARDIR/localstore/NAME/templates/    bash scripts whose output is the file
//! VARDIR/localstore/NAME/scripts/      run in the order of their names
//! ```

use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;

/// Name of a module, with its version by custom: `testmodule-1.0`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModuleName(String);

/// A name that could lead somewhere else than to a directory of its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no {of} name: letters, digits, `.`, `_`, `+` and `-`, not beginning with `.` or `-`", name.escape_debug())]
pub struct NameError {
    name: String,
    of: &'static str,
}

impl NameError {
    /// The same error about another kind of thing.
    pub(crate) fn of(self, of: &'static str) -> Self {
        NameError { of, ..self }
    }
}

impl ModuleName {
    /// Longest name: what one path component can hold.
    const LONGEST: usize = 255;

    /// Checks a name.
    pub fn new(name: &str) -> Result<Self, NameError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '+' | '-');
        if name.is_empty()
            || name.len() > Self::LONGEST
            || name.starts_with(['.', '-'])
            || !name.chars().all(plain)
        {
            return Err(NameError { name: name.to_owned(), of: "module" });
        }
        Ok(ModuleName(name.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ModuleName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// A fetched module.
#[derive(Debug, Clone)]
pub struct Module {
    /// Its name.
    pub name: ModuleName,
    /// Where it was fetched to.
    pub directory: PathBuf,
    /// What it wants around it.
    pub requires: Vec<Require>,
}

/// One line of `requires`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Require {
    /// The other module.
    pub other: ModuleName,
    /// Where the other one goes.
    pub relation: Relation,
    /// Number of the line, from 1.
    pub line: usize,
}

/// Where the other module of a `requires` line goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// `after X`, or just `X`: the other one comes first.
    After,
    /// `before X`: this one comes first.
    Before,
}

/// Why a module on disk cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// A line of `requires` that means nothing.
    #[error("module {module}: requires, line {line}: `{}` means nothing here", text.escape_debug())]
    Line {
        /// The module.
        module: ModuleName,
        /// Number of the line, from 1.
        line: usize,
        /// The line.
        text: String,
    },
    /// A line of `requires` that names something impossible.
    #[error("module {module}: requires, line {line}")]
    Name {
        /// The module.
        module: ModuleName,
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with the name.
        source: NameError,
    },
    /// A file of the module.
    #[error("module {module}: cannot read {}", path.display())]
    Read {
        /// The module.
        module: ModuleName,
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
}

impl Module {
    /// Reads a fetched module.
    pub fn read(name: ModuleName, directory: PathBuf) -> Result<Self, ModuleError> {
        let path = directory.join("requires");
        let requires = match fs::read_to_string(&path) {
            Ok(text) => parse_requires(&name, &text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(ModuleError::Read { module: name, path, source }),
        };
        Ok(Module { name, directory, requires })
    }

    /// Paths of the templates relative to `templates/`, sorted.
    pub fn templates(&self) -> Result<Vec<PathBuf>, ModuleError> {
        self.files_below("templates", true)
    }

    /// Names of the scripts in the order in which they run.
    pub fn scripts(&self) -> Result<Vec<PathBuf>, ModuleError> {
        self.files_below("scripts", false)
    }

    /// Files below a folder of the module, relative to it and sorted; with `deep`, those of its folders too.
    pub(crate) fn files_below(&self, folder: &str, deep: bool) -> Result<Vec<PathBuf>, ModuleError> {
        let root = self.directory.join(folder);
        let mut found = Vec::new();
        let mut waiting = Vec::from_iter(root.is_dir().then(|| root.clone()));
        while let Some(directory) = waiting.pop() {
            let failed =
                |source| ModuleError::Read { module: self.name.clone(), path: directory.clone(), source };
            for entry in fs::read_dir(&directory).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                if entry.file_type().map_err(failed)?.is_dir() {
                    waiting.extend(deep.then(|| entry.path()));
                } else {
                    let path = entry.path();
                    found.push(path.strip_prefix(&root).expect("the walk began there").to_owned());
                }
            }
        }
        found.sort();
        Ok(found)
    }
}

/// Understands the text of a `requires` file.
pub(crate) fn parse_requires(module: &ModuleName, text: &str) -> Result<Vec<Require>, ModuleError> {
    let mut requires = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let number = number + 1;
        let words: Vec<&str> = line.split_whitespace().take_while(|word| !word.starts_with('#')).collect();
        let (relation, other) = match words.as_slice() {
            [] => continue,
            ["after", other] => (Relation::After, other),
            ["before", other] => (Relation::Before, other),
            [other] if !matches!(*other, "after" | "before") => (Relation::After, other),
            _ => {
                return Err(ModuleError::Line {
                    module: module.clone(),
                    line: number,
                    text: line.to_owned(),
                });
            }
        };
        let other = ModuleName::new(other).map_err(|source| ModuleError::Name {
            module: module.clone(),
            line: number,
            source,
        })?;
        requires.push(Require { other, relation, line: number });
    }
    Ok(requires)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ModuleName {
        ModuleName::new(text).unwrap()
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for bad in ["", ".", "..", "../x", "a/b", "/etc", "a\nb", "a\0b", "-rf", ".git", "a b"] {
            assert!(ModuleName::new(bad).is_err(), "{bad:?}");
        }
        assert_eq!(name("testmodule-1.0").as_str(), "testmodule-1.0");
    }

    #[test]
    fn all_forms_of_a_line_are_understood() {
        let requires = parse_requires(&name("m"), "# comment\n\na-1\n after b-1 \nbefore c-1\n").unwrap();
        let said: Vec<_> = requires.iter().map(|r| (r.other.as_str(), r.relation, r.line)).collect();
        assert_eq!(
            said,
            [("a-1", Relation::After, 3), ("b-1", Relation::After, 4), ("c-1", Relation::Before, 5)]
        );
    }

    #[test]
    fn a_line_that_means_nothing_is_named_with_module_file_and_line() {
        for (text, message) in [
            ("a\nnear b\n", "module m: requires, line 2: `near b` means nothing here"),
            ("before\n", "module m: requires, line 1: `before` means nothing here"),
            ("after ../x\n", "module m: requires, line 1"),
        ] {
            assert_eq!(parse_requires(&name("m"), text).unwrap_err().to_string(), message);
        }
    }
}
