//! Paths that change without meaning anything: shell histories, caches, lock files. A list names them.
//!
//! Noise is about showing, never about merging: these changes have no line of their own and are counted apart, JSON
//! marks them, and a live run merges them like any other. So the list can hide a path from a reader, but it cannot make
//! noop and live differ.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};

use crate::disco::changes::Change;

/// What counts as noise on a node without files in `noise.d`.
const DEFAULT_LIST: &str = include_str!("../../../packaging/etc/noise.conf");

/// Why the lists cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NoiseError {
    /// A file or the directory cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// A line that names no path.
    #[error("{}:{line}: `{}` is no pattern of a path: {why}", path.display(), text.escape_debug())]
    Line {
        /// The list.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// The line.
        text: String,
        /// What is wrong with it.
        why: String,
    },
}

/// The patterns of all lists.
#[derive(Debug, Clone)]
pub struct Noise(Vec<Pattern>);

impl Noise {
    /// Reads every `*.conf` of the directory `noise_d`, in the order of their names; the built-in list if there is none.
    ///
    /// # Errors
    /// With file and line.
    pub fn read(noise_d: &Path) -> Result<Self, NoiseError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| NoiseError::Read { path, source }
        };
        let mut lists = Vec::new();
        match fs::read_dir(noise_d) {
            Ok(entries) => {
                for entry in entries {
                    let path = entry.map_err(failed(noise_d))?.path();
                    lists.extend(path.extension().is_some_and(|end| end == "conf").then_some(path));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(noise_d)(error)),
        }
        if lists.is_empty() {
            return Noise::parse(Path::new("built-in noise"), DEFAULT_LIST);
        }
        lists.sort();
        let mut patterns = Vec::new();
        for list in lists {
            let text = fs::read_to_string(&list).map_err(failed(&list))?;
            patterns.extend(Noise::parse(&list, &text)?.0);
        }
        Ok(Noise(patterns))
    }

    fn parse(path: &Path, text: &str) -> Result<Self, NoiseError> {
        let mut patterns = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let refused = |why: String| NoiseError::Line {
                path: path.to_owned(),
                line: number + 1,
                text: line.to_owned(),
                why,
            };
            if !line.starts_with('/') {
                return Err(refused("it does not begin with `/`".into()));
            }
            patterns.push(Pattern::new(line).map_err(|error| refused(error.msg.to_owned()))?);
        }
        Ok(Noise(patterns))
    }

    /// Marks the changes that are noise.
    pub fn mark(&self, changes: &mut [Change]) {
        for change in changes {
            change.noise = self.covers(&change.path.0);
        }
    }

    fn covers(&self, path: &Path) -> bool {
        let text = path.to_string_lossy();
        let folders = MatchOptions { require_literal_separator: true, ..MatchOptions::default() };
        self.0.iter().any(|pattern| pattern.matches_with(&text, folders))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_list_covers_what_nobody_asked_for_and_nothing_else() {
        let noise = Noise::read(Path::new("/nonexistent")).unwrap();
        for path in [
            "/root/.bash_history",
            "/home/ann/.zsh_history",
            "/home/ann/.cache/x/y",
            "/etc/.pwd.lock",
            "/etc/passwd-",
            "/etc/ld.so.cache",
            "/var/cache/apt/pkgcache.bin",
        ] {
            assert!(noise.covers(Path::new(path)), "{path}");
        }
        for path in ["/etc/passwd", "/root/.bashrc", "/home/ann/history", "/var/lib/x", "/etc/cron.d/cache"] {
            assert!(!noise.covers(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn a_line_that_names_no_path_is_refused_with_file_and_line() {
        let refused = |text: &str| Noise::parse(Path::new("/etc/n.conf"), text).unwrap_err().to_string();
        assert_eq!(
            refused("# fine\n/tmp/**\ncache/*\n"),
            "/etc/n.conf:3: `cache/*` is no pattern of a path: it does not begin with `/`"
        );
        assert!(refused("/tmp/[").starts_with("/etc/n.conf:1: `/tmp/[` is no pattern of a path: "));
    }

    #[test]
    fn lists_are_read_in_the_order_of_their_names_and_replace_the_built_in_one() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("10-own.conf"), "/srv/**\n").unwrap();
        fs::write(directory.path().join("README"), "not a list").unwrap();
        let noise = Noise::read(directory.path()).unwrap();
        assert!(noise.covers(Path::new("/srv/a/b")) && !noise.covers(Path::new("/etc/.pwd.lock")));
    }
}
