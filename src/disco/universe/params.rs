//! The parameter tree: plain files as keys, directories as maps.
//!
//! ```text
//! VARDIR/parameters/NODE/modules/NAME     empty files: the modules this node wants
//! VARDIR/parameters/NODE/…                its parameters
//! ```
//!
//! A run works on a copy, the effective tree: what modules bring in their `parameters/` lies below `NODE/` wherever the
//! node has nothing of its own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::disco::universe::module::{Module, ModuleName, NameError};
use crate::disco::universe::tree::{self, TreeError};

/// Name of a node: what `hostname` answers, or what the command line says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeName(String);

impl NodeName {
    /// Checks a name: letters, digits, `.`, `_` and `-`, not beginning with a dot or a dash.
    pub fn new(name: &str) -> Result<Self, NameError> {
        ModuleName::new(name)
            .map(|checked| NodeName(checked.as_str().to_owned()))
            .map_err(|error| error.of("node"))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why the parameters of a node cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ParametersError {
    /// A wanted module has a name that could lead elsewhere.
    #[error("{}", path.display())]
    Module {
        /// The file that names it.
        path: PathBuf,
        /// What is wrong with it.
        source: NameError,
    },
    /// Something in the tree that does not belong there.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A key below one that holds a value.
    #[error("{} is a value, so no key can be below it; delete it first", .0.display())]
    BelowValue(PathBuf),
    /// A file that cannot be read or written.
    #[error("cannot {action} {}", path.display())]
    Files {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
}

/// The modules a node wants, sorted; none if it has no `modules` directory.
pub fn wanted_modules(vardir: &Path, node: &NodeName) -> Result<Vec<ModuleName>, ParametersError> {
    let directory = vardir.join("parameters").join(node.as_str()).join("modules");
    let failed = |source| ParametersError::Files { action: "list", path: directory.clone(), source };
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        // Version control and editors leave such files; they are no wish.
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let name = ModuleName::new(&name.to_string_lossy())
            .map_err(|source| ParametersError::Module { path: entry.path(), source })?;
        names.push(name);
    }
    names.sort();
    Ok(names)
}

/// Writes the effective tree of a run to `into`.
pub fn write_effective(
    vardir: &Path,
    node: &NodeName,
    modules: &[Module],
    into: &Path,
) -> Result<(), ParametersError> {
    let source = vardir.join("parameters");
    tree::check(&source)?;
    copy_missing(&source, into)?;
    for module in modules {
        let defaults = module.directory.join("parameters");
        if defaults.is_dir() {
            copy_missing(&defaults, &into.join(node.as_str()))?;
        }
    }
    Ok(())
}

/// Copies a checked tree; what is already there stays.
fn copy_missing(from: &Path, to: &Path) -> Result<(), ParametersError> {
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| ParametersError::Files { action, path, source }
    };
    fs::create_dir_all(to).map_err(failed("make", to))?;
    for entry in fs::read_dir(from).map_err(failed("list", from))? {
        let entry = entry.map_err(failed("list", from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(failed("look at", &source))?;
        if kind.is_dir() {
            // A key that is a value on the node hides a map of the same name.
            if !target.exists() || target.is_dir() {
                copy_missing(&source, &target)?;
            }
        } else if target.symlink_metadata().is_err() {
            if kind.is_symlink() {
                let link = fs::read_link(&source).map_err(failed("read", &source))?;
                std::os::unix::fs::symlink(link, &target).map_err(failed("write", &target))?;
            } else {
                fs::copy(&source, &target).map_err(failed("write", &target))?;
            }
        }
    }
    Ok(())
}

/// A key of the tree: `a/b/c`, without a way out of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(String);

/// A key that is none; the original's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It holds something else than the characters of a key.
    #[error("Invalid characters in pathname '{}'. Valid are letters, digits and _ . / -", .0.escape_debug())]
    Characters(String),
    /// It is no path below the tree.
    #[error("Pathnames cannot start with /")]
    Absolute,
    /// It leads out of the tree.
    #[error("Pathname '{0}' leads out of the parameters")]
    Outside(String),
}

impl Key {
    /// Checks a key; the empty one is the whole tree.
    pub fn new(text: &str) -> Result<Self, KeyError> {
        if text.starts_with('/') {
            return Err(KeyError::Absolute);
        }
        if !text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-')) {
            return Err(KeyError::Characters(text.to_owned()));
        }
        if text.split('/').any(|part| part == "..") {
            return Err(KeyError::Outside(text.to_owned()));
        }
        Ok(Key(text.trim_end_matches('/').to_owned()))
    }
}

/// What a key holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A file's content.
    Text(Vec<u8>),
    /// A directory; written `{}`.
    Map,
}

/// A parameter tree on disk that people and scripts look into.
#[derive(Debug, Clone)]
pub struct Tree {
    root: PathBuf,
}

impl Tree {
    /// The tree below a directory, which need not exist yet.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Tree { root: root.into() }
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.root.join(&key.0)
    }

    fn failed(&self, action: &'static str, key: &Key) -> impl FnOnce(io::Error) -> ParametersError {
        let path = self.path(key);
        move |source| ParametersError::Files { action, path, source }
    }

    /// What a key holds.
    ///
    /// # Errors
    /// It holds nothing, or cannot be read.
    pub fn get(&self, key: &Key) -> Result<Value, ParametersError> {
        let path = self.path(key);
        if path.is_dir() {
            return Ok(Value::Map);
        }
        fs::read(&path).map(Value::Text).map_err(self.failed("read", key))
    }

    /// Gives a key a value, and makes the maps above it.
    ///
    /// # Errors
    /// It cannot be written; the old value is then untouched.
    pub fn set(&self, key: &Key, value: &Value) -> Result<(), ParametersError> {
        let path = self.path(key);
        let above = path.ancestors().skip(1).take_while(|above| *above != self.root);
        if let Some(above) = above.filter(|above| above.is_file()).last() {
            return Err(ParametersError::BelowValue(above.to_owned()));
        }
        match value {
            Value::Map => fs::create_dir_all(&path).map_err(self.failed("make", key)),
            Value::Text(text) => {
                let beside = path.with_file_name(format!(".disco-{}", std::process::id()));
                let parent = path.parent().unwrap_or(&self.root);
                let written = fs::create_dir_all(parent)
                    .and_then(|()| fs::write(&beside, text))
                    .and_then(|()| fs::File::open(&beside)?.sync_all())
                    .and_then(|()| fs::rename(&beside, &path));
                written.map_err(|error| {
                    let _ = fs::remove_file(&beside);
                    self.failed("write", key)(error)
                })
            }
        }
    }

    /// Names of the keys directly below a map, sorted.
    ///
    /// # Errors
    /// It is no map, or cannot be read.
    pub fn keys(&self, key: &Key) -> Result<Vec<String>, ParametersError> {
        let entries = fs::read_dir(self.path(key)).map_err(self.failed("list", key))?;
        let mut names = entries
            .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(self.failed("list", key))?;
        names.sort();
        Ok(names)
    }

    /// Every key below one, with its value, sorted.
    ///
    /// # Errors
    /// The first key that cannot be read.
    pub fn dump(&self, key: &Key) -> Result<Vec<(String, Value)>, ParametersError> {
        let mut found = Vec::new();
        self.dump_into(key, &mut found)?;
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }

    fn dump_into(&self, key: &Key, found: &mut Vec<(String, Value)>) -> Result<(), ParametersError> {
        for name in self.keys(key)? {
            let below = Key(if key.0.is_empty() { name } else { format!("{}/{name}", key.0) });
            let value = self.get(&below)?;
            found.push((below.0.clone(), value.clone()));
            if value == Value::Map {
                self.dump_into(&below, found)?;
            }
        }
        Ok(())
    }

    /// Takes a key away; a map that holds something only with [`Depth::Everything`].
    ///
    /// # Errors
    /// There is no such key, or it cannot be removed.
    pub fn delete(&self, key: &Key, depth: Depth) -> Result<(), ParametersError> {
        let path = self.path(key);
        let removed = match (path.symlink_metadata().is_ok_and(|found| found.is_dir()), depth) {
            (true, Depth::Everything) => fs::remove_dir_all(&path),
            (true, Depth::Alone) => fs::remove_dir(&path),
            (false, _) => fs::remove_file(&path),
        };
        removed.map_err(self.failed("delete", key))
    }
}

/// How much [`Tree::delete`] takes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The key, if nothing lies below it.
    Alone,
    /// The key and everything below it.
    Everything,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, value: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, value).unwrap();
    }

    #[test]
    fn the_node_wins_over_the_defaults_of_its_modules() {
        let var = tempfile::tempdir().unwrap();
        write(var.path(), "parameters/n1/port", "1");
        write(var.path(), "localstore/m-1/parameters/port", "2");
        write(var.path(), "localstore/m-1/parameters/deep/key", "3");
        let module = Module {
            name: ModuleName::new("m-1").unwrap(),
            directory: var.path().join("localstore/m-1"),
            requires: Vec::new(),
        };
        let into = var.path().join("effective");
        write_effective(var.path(), &NodeName::new("n1").unwrap(), &[module], &into).unwrap();
        assert_eq!(fs::read_to_string(into.join("n1/port")).unwrap(), "1");
        assert_eq!(fs::read_to_string(into.join("n1/deep/key")).unwrap(), "3");
    }

    #[test]
    fn a_wanted_module_with_a_name_that_leads_elsewhere_is_refused_with_its_file() {
        let var = tempfile::tempdir().unwrap();
        write(var.path(), "parameters/n1/modules/a b", "");
        let error = wanted_modules(var.path(), &NodeName::new("n1").unwrap()).unwrap_err();
        assert!(error.to_string().ends_with("parameters/n1/modules/a b"), "{error}");
    }

    #[test]
    fn keys_are_checked_in_the_words_of_the_original() {
        assert_eq!(Key::new("/etc/passwd").unwrap_err().to_string(), "Pathnames cannot start with /");
        assert!(
            Key::new("a b").unwrap_err().to_string().starts_with("Invalid characters in pathname 'a b'.")
        );
        assert!(matches!(Key::new("a/../../b"), Err(KeyError::Outside(_))));
        assert!(Key::new("n1.example/users/present/a-b_c").is_ok());
    }

    #[test]
    fn a_tree_is_written_read_listed_and_emptied() {
        let root = tempfile::tempdir().unwrap();
        let tree = Tree::at(root.path().join("parameters"));
        let key = |text: &str| Key::new(text).unwrap();
        tree.set(&key("n1/port"), &Value::Text(b"22\n".to_vec())).unwrap();
        tree.set(&key("n1/empty"), &Value::Map).unwrap();
        let refused = tree.set(&key("n1/port/a/b"), &Value::Map).unwrap_err().to_string();
        assert!(
            refused.ends_with("n1/port is a value, so no key can be below it; delete it first"),
            "{refused}"
        );
        assert_eq!(tree.get(&key("n1/port")).unwrap(), Value::Text(b"22\n".to_vec()));
        assert_eq!(tree.get(&key("n1")).unwrap(), Value::Map);
        assert_eq!(tree.keys(&key("n1")).unwrap(), ["empty", "port"]);
        let dumped = tree.dump(&key("")).unwrap();
        let names: Vec<_> = dumped.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["n1", "n1/empty", "n1/port"]);
        let refused = tree.delete(&key("n1"), Depth::Alone).unwrap_err().to_string();
        assert!(refused.ends_with("parameters/n1"), "{refused}");
        tree.delete(&key("n1"), Depth::Everything).unwrap();
        assert!(tree.get(&key("n1")).is_err());
    }
}
