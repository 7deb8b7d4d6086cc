//! Commands that a noop holds back: which ones, where they lie, and what a shadow says when it is called.
//!
//! A shadow is this very binary behind the path of the real command (see `cli/shadow.rs`). It reports its command line
//! over a socket, so that the report knows even of calls whose output a script swallowed.

use std::fs;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::disco::sandbox::plan::RUNTIME_DIR;

/// What a binary without files in `commands.d` holds back.
const DEFAULT_LIST: &str = include_str!("../../../packaging/etc/commands.conf");

/// Where commands lie, on any distribution; a link to another one of these is left out.
const COMMAND_DIRS: &[&str] =
    &["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// One call of a command that was held back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldBack {
    /// Name of the command as it was called, without its directory, and its arguments.
    pub argv: Vec<String>,
    /// Working directory of the call.
    pub directory: String,
    /// Whether the shadow already told so on the script's own output.
    pub told: bool,
}

impl HeldBack {
    /// The original's wording, without its prefix.
    pub fn warning(&self) -> String {
        format!("Would execute : {}", self.argv.join(" "))
    }
}

/// Environment variable that tells a shadow which file the script's own output is: device and inode.
pub const OUTPUT_VARIABLE: &str = "DISCO_OUTPUT";

/// Sends one report to the client. Called by a shadow, inside the sandbox.
pub fn report(call: &HeldBack) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.send_to(&serde_json::to_vec(call)?, Path::new(RUNTIME_DIR).join("report"))?;
    Ok(())
}

/// Whether this process runs inside a noop, where a command by another name than ours is a shadow.
pub fn inside_noop() -> bool {
    Path::new(RUNTIME_DIR).join("shadow").exists()
}

/// Why the lists of commands cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CommandListError {
    /// A file or the directory cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// A line that means nothing.
    #[error("{}:{line}: `{text}` is not `report COMMAND`", path.display())]
    Line {
        /// The list.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// The line.
        text: String,
    },
}

/// Names of the commands to hold back: from the `*.conf` files of `commands.d`, or, without any, the built-in list.
pub(crate) fn command_names(commands_d: &Path) -> Result<Vec<String>, CommandListError> {
    let read_error = |path: &Path| {
        let path = path.to_owned();
        move |source| CommandListError::Read { path, source }
    };
    let mut lists = Vec::new();
    match fs::read_dir(commands_d) {
        Ok(entries) => {
            for entry in entries {
                let path = entry.map_err(read_error(commands_d))?.path();
                if path.extension().is_some_and(|extension| extension == "conf") {
                    lists.push(path);
                }
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(read_error(commands_d)(error)),
    }
    if lists.is_empty() {
        return parse_list(Path::new("built-in commands"), DEFAULT_LIST);
    }
    lists.sort();
    let mut names = Vec::new();
    for list in lists {
        names.extend(parse_list(&list, &fs::read_to_string(&list).map_err(read_error(&list))?)?);
    }
    Ok(names)
}

fn parse_list(path: &Path, text: &str) -> Result<Vec<String>, CommandListError> {
    let mut names = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name = line.strip_prefix("report ").map(str::trim);
        match name.filter(|name| !name.is_empty() && !name.contains(['/', ' ', '\t'])) {
            Some(name) => names.push(name.to_owned()),
            None => {
                return Err(CommandListError::Line {
                    path: path.into(),
                    line: number + 1,
                    text: line.into(),
                });
            }
        }
    }
    Ok(names)
}

/// Real paths of those commands that this host has.
pub(crate) fn real_paths(names: &[String]) -> Vec<PathBuf> {
    let directories = COMMAND_DIRS.iter().map(Path::new).filter(|directory| {
        // `/bin` is a link to `usr/bin` on merged systems; shadow each command once.
        directory.symlink_metadata().is_ok_and(|found| found.is_dir())
    });
    let mut paths: Vec<PathBuf> = directories
        .flat_map(|directory| names.iter().map(move |name| directory.join(name)))
        .filter(|path| path.symlink_metadata().is_ok())
        .collect();
    paths.sort();
    paths.dedup();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_list_is_understood_and_holds_services_back() {
        let names = parse_list(Path::new("x"), DEFAULT_LIST).unwrap();
        for name in ["service", "systemctl", "reboot"] {
            assert!(names.iter().any(|held| held == name), "{name}");
        }
    }

    #[test]
    fn a_line_that_means_nothing_is_named() {
        let error =
            parse_list(Path::new("/etc/x.conf"), "# fine\nreport service\nforbid reboot\n").unwrap_err();
        assert_eq!(error.to_string(), "/etc/x.conf:3: `forbid reboot` is not `report COMMAND`");
        assert!(parse_list(Path::new("x"), "report /usr/bin/kill").is_err());
    }
}
