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

use crate::disco::module::{Module, ModuleName, NameError};
use crate::disco::tree::{self, TreeError};

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
}
