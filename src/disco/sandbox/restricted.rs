//! What a restricted shell may call: the commands of a list, and for every other one a shadow.
//!
//! `bash --restricted` finds commands on its PATH only, and that is one directory of the sandbox, made of links. This is
//! about what is told, not about what is possible: the sandbox holds whatever runs in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::disco::commands::{CommandListError, command_dirs};

/// What a binary without files in `restricted.d` allows.
const DEFAULT_LIST: &str = include_str!("../../../packaging/etc/restricted.conf");

/// What happens to a command that is called in a restricted shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The program at this path runs.
    Allowed(PathBuf),
    /// It is only told that it was called.
    HeldBack,
}

/// Every command of this host with its verdict, by the lists of `restricted_d` or the built-in one.
///
/// # Errors
/// A list cannot be read.
pub(crate) fn commands(restricted_d: &Path) -> Result<Vec<(String, Verdict)>, CommandListError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| CommandListError::Read { path, source }
    };
    let mut text = String::new();
    match fs::read_dir(restricted_d) {
        Ok(entries) => {
            for entry in entries {
                let path = entry.map_err(unreadable(restricted_d))?.path();
                if path.extension().is_some_and(|extension| extension == "conf") {
                    text.push_str(&fs::read_to_string(&path).map_err(unreadable(&path))?);
                    text.push('\n');
                }
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(unreadable(restricted_d)(error)),
    }
    let allowed = names(if text.is_empty() { DEFAULT_LIST } else { &text });
    let mut commands = BTreeMap::new();
    for directory in command_dirs() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let verdict = match allowed.contains(name.as_str()) {
                true => Verdict::Allowed(directory.join(&name)),
                false => Verdict::HeldBack,
            };
            // The first directory wins, as on any PATH.
            commands.entry(name).or_insert(verdict);
        }
    }
    Ok(commands.into_iter().collect())
}

fn names(list: &str) -> BTreeSet<&str> {
    list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_list_allows_work_on_files_and_nothing_that_acts() {
        let names = names(DEFAULT_LIST);
        for name in ["grep", "tee", "mv", "rm", "touch", "env"] {
            assert!(names.contains(name), "{name}");
        }
        for name in ["bash", "sh", "perl", "systemctl", "service", "reboot", "mount"] {
            assert!(!names.contains(name), "{name}");
        }
    }
}
