//! Reaches paths of the host without following a link: parents are opened, names are used below them, so nobody can lead
//! a step elsewhere by swapping a directory for a link.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{FileStat, fstatat};

use super::MergeError;

/// A name in an open directory.
#[derive(Debug, Clone)]
pub(super) struct Place<'a> {
    pub(super) parent: Rc<OwnedFd>,
    pub(super) name: &'a OsStr,
}

impl Place<'_> {
    /// A path for calls that take no descriptor; its last component must not be followed.
    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.parent.as_raw_fd())).join(self.name)
    }

    /// What lies there; none: nothing.
    pub(super) fn look(&self) -> io::Result<Option<FileStat>> {
        match fstatat(&self.parent, self.name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Opens parents, and remembers the last one: the paths of a merge come in order.
///
/// A remembered directory cannot have been replaced meanwhile: replacing it takes its own parent, which is then the
/// last one.
#[derive(Debug, Default)]
pub(super) struct Reach {
    last: Option<(PathBuf, Rc<OwnedFd>)>,
}

impl Reach {
    /// The place of a path.
    pub(super) fn place<'a>(&mut self, path: &'a Path) -> Result<Place<'a>, MergeError> {
        let parent = path.parent().unwrap_or(Path::new("/"));
        // The root itself is reached as itself.
        let name = path.file_name().unwrap_or(".".as_ref());
        if let Some((last, directory)) = &self.last
            && last == parent
        {
            return Ok(Place { parent: directory.clone(), name });
        }
        let directory = Rc::new(step("open the parent of", path, open_directory(parent))?);
        self.last = Some((parent.to_owned(), directory.clone()));
        Ok(Place { parent: directory, name })
    }
}

/// Opens a directory that no link leads to.
pub(super) fn open_directory(path: &Path) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    openat2(AT_FDCWD, path, how)
}

/// Whether a path cannot be reached because it, or a directory above it, is not there any more, or is a link now.
pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        || error.raw_os_error() == Some(libc::ELOOP)
}

/// Adds what was tried, and on which path, to an error.
pub(super) fn step<T, E: Into<io::Error>>(
    action: &'static str,
    path: &Path,
    outcome: Result<T, E>,
) -> Result<T, MergeError> {
    outcome.map_err(|source| MergeError::Step { action, path: path.to_owned(), source: source.into() })
}
