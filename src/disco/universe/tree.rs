//! Checks what the universe sent: names and links of a fetched tree are hostile until they were looked at.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Component, Path, PathBuf};

/// Something in a fetched tree that must not be used.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// A link to somewhere outside.
    #[error("{} is a link to {}, which leaves the tree it came with", path.display(), target.display())]
    Link {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// A line break or another control character in a name.
    #[error("{path:?} has a control character in its name")]
    Name {
        /// The path.
        path: PathBuf,
    },
    /// A device, a pipe or a socket.
    #[error("{} is a {kind}; a universe holds files, directories and links", path.display())]
    Kind {
        /// The path.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// A path that cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
}

/// Refuses a tree with a name, a link or a kind of file that it may not hold. Follows no link.
pub(crate) fn check(root: &Path) -> Result<(), TreeError> {
    check_directory(root, 0)
}

fn check_directory(directory: &Path, depth: usize) -> Result<(), TreeError> {
    let failed = |source| TreeError::Read { path: directory.to_owned(), source };
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        if entry.file_name().as_bytes().iter().any(u8::is_ascii_control) {
            return Err(TreeError::Name { path });
        }
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() {
            check_directory(&path, depth + 1)?;
        } else if kind.is_symlink() {
            let target =
                fs::read_link(&path).map_err(|source| TreeError::Read { path: path.clone(), source })?;
            if leaves(&target, depth) {
                return Err(TreeError::Link { path, target });
            }
        } else if !kind.is_file() {
            let kind = if kind.is_fifo() {
                "pipe"
            } else if kind.is_socket() {
                "socket"
            } else {
                "device"
            };
            return Err(TreeError::Kind { path, kind });
        }
    }
    Ok(())
}

/// Whether a link in a directory `depth` levels below the root leads out of it.
fn leaves(target: &Path, depth: usize) -> bool {
    let mut level = depth;
    for part in target.components() {
        match part {
            Component::Normal(_) => level += 1,
            Component::CurDir => {}
            Component::ParentDir if level > 0 => level -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return true,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_may_go_up_as_far_as_the_root_and_no_further() {
        for (target, depth, out) in [
            ("a/b", 0, false),
            ("../a", 1, false),
            ("../a", 0, true),
            ("a/../../b", 0, true),
            ("/etc/shadow", 5, true),
            ("./x", 0, false),
        ] {
            assert_eq!(leaves(Path::new(target), depth), out, "{target} at {depth}");
        }
    }

    #[test]
    fn what_does_not_belong_into_a_universe_is_named() {
        let root = tempfile::tempdir().unwrap();
        let at = root.path().join("etc");
        fs::create_dir(&at).unwrap();
        check(root.path()).unwrap();
        let odd = at.join("a\nb");
        fs::write(&odd, "").unwrap();
        assert!(matches!(check(root.path()), Err(TreeError::Name { path }) if path == odd));
        fs::remove_file(&odd).unwrap();
        let link = at.join("link");
        symlink("../../x", &link).unwrap();
        assert!(matches!(check(root.path()), Err(TreeError::Link { path, .. }) if path == link));
        fs::remove_file(&link).unwrap();
        nix::unistd::mkfifo(&at.join("pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert!(matches!(check(root.path()), Err(TreeError::Kind { kind: "pipe", .. })));
    }
}
