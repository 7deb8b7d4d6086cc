//! `server.conf`: the node's configuration in the format of the reference server, read by the client and the server.
//!
//! Lines `key = value`, split at the first `=`, blanks around both dropped; empty lines and lines that begin with `#`
//! are skipped, a line without a value is ignored. No sections, no quoting, no comments behind values.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The settings of one file; unknown keys are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerConf(BTreeMap<String, String>);

/// A configuration file that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the configuration {}", path.display())]
pub struct ServerConfError {
    path: PathBuf,
    source: io::Error,
}

impl ServerConfError {
    /// Whether the file is there, and for others to read.
    pub fn is_for_others(&self) -> bool {
        self.source.kind() == io::ErrorKind::PermissionDenied
    }
}

impl ServerConf {
    /// Understands the text of a file; the last line of a key wins.
    pub fn parse(text: &str) -> Self {
        let settings = text.lines().map(str::trim).filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (key, value) = line.split_once('=')?;
            let (key, value) = (key.trim(), value.trim());
            (!key.is_empty() && !value.is_empty()).then(|| (key.to_owned(), value.to_owned()))
        });
        ServerConf(settings.collect())
    }

    /// Reads a file; one that does not exist sets nothing.
    ///
    /// # Errors
    /// With the path, if the file is there and cannot be read.
    pub fn read(path: &Path) -> Result<Self, ServerConfError> {
        match fs::read_to_string(path) {
            Ok(text) => Ok(ServerConf::parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(ServerConf::default()),
            Err(source) => Err(ServerConfError { path: path.to_owned(), source }),
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_are_split_at_the_first_equals_sign() {
        let conf = ServerConf::parse("# a comment\n a = b = c \n\nempty =\n= nothing\na.b=1\na.b = 2\n");
        assert_eq!(conf.get("a"), Some("b = c"));
        assert_eq!(conf.get("a.b"), Some("2"));
        assert_eq!(conf.get("empty"), None);
        assert_eq!(conf.get("# a comment"), None);
    }

    #[test]
    fn a_missing_file_sets_nothing_and_an_unreadable_one_is_named() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(ServerConf::read(&directory.path().join("none")).unwrap(), ServerConf::default());
        let error = ServerConf::read(directory.path()).unwrap_err().to_string();
        assert!(error.contains(directory.path().to_str().unwrap()), "{error}");
    }
}
