//! Puts files into the merged view from outside the sandbox, without ever leaving it: paths are resolved with the
//! sandbox's root as `/`, so a link inside cannot lead to the host.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown, fchown, symlink};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use crate::disco::sandbox::probe::Rights;

/// A file that could not be put in its place inside the sandbox.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub(crate) struct PlaceError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PlaceError {
    let path = path.to_owned();
    move |source| PlaceError { action, path, source }
}

/// Mode and owner that a file is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Style {
    mode: u32,
    owner: (u32, u32),
}

impl Style {
    fn of(metadata: &Metadata) -> Self {
        Style { mode: metadata.mode() & 0o7777, owner: (metadata.uid(), metadata.gid()) }
    }
}

/// Copies the tree `files/` of a module to `/` of the sandbox.
///
/// Files and links come with their mode, owner and time; directories that exist stay as they are. What is already as it
/// should be is not written.
pub(crate) fn place_tree(root: BorrowedFd<'_>, files: &Path) -> Result<(), PlaceError> {
    let mut waiting = vec![PathBuf::new()];
    while let Some(relative) = waiting.pop() {
        let directory = files.join(&relative);
        for entry in fs::read_dir(&directory).map_err(failed("list", &directory))? {
            let entry = entry.map_err(failed("list", &directory))?;
            let (source, target) = (entry.path(), Path::new("/").join(&relative).join(entry.file_name()));
            let found = fs::symlink_metadata(&source).map_err(failed("read", &source))?;
            if found.is_dir() {
                make_directory(root, &target, Style::of(&found))?;
                waiting.push(relative.join(entry.file_name()));
            } else if found.is_symlink() {
                place_link(root, &target, &fs::read_link(&source).map_err(failed("read", &source))?)?;
            } else {
                let content = fs::read(&source).map_err(failed("read", &source))?;
                place(root, &target, &content, Style::of(&found), found.modified().ok())?;
            }
        }
    }
    Ok(())
}

/// Puts the output of a template in its place.
///
/// A target that exists keeps its mode and owner; a new one gets the template's permissions without execution and
/// belongs to root.
pub(crate) fn place_output(
    root: BorrowedFd<'_>,
    target: &Path,
    template: &Path,
    content: &[u8],
) -> Result<(), PlaceError> {
    let parent = open_parent(root, target)?;
    let style = match fs::symlink_metadata(inside(&parent, target)) {
        Ok(found) if found.is_file() => Style::of(&found),
        _ => {
            let template = fs::metadata(template).map_err(failed("read", template))?;
            Style { mode: template.mode() & 0o666, owner: (0, 0) }
        }
    };
    place(root, target, content, style, None)
}

fn place(
    root: BorrowedFd<'_>,
    target: &Path,
    content: &[u8],
    style: Style,
    modified: Option<std::time::SystemTime>,
) -> Result<(), PlaceError> {
    let parent = open_parent(root, target)?;
    let path = inside(&parent, target);
    if is_already(&path, content, style) {
        return Ok(());
    }
    let beside = path.with_file_name(format!(".disco-{}", std::process::id()));
    let written = write_new(&beside, content, style, modified).and_then(|()| fs::rename(&beside, &path));
    written.map_err(|error| {
        let _ = fs::remove_file(&beside);
        failed("write", target)(error)
    })
}

fn write_new(
    path: &Path,
    content: &[u8],
    style: Style,
    modified: Option<std::time::SystemTime>,
) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    if Rights::own() == Rights::Root {
        fchown(&file, Some(style.owner.0), Some(style.owner.1))?;
    }
    file.set_permissions(fs::Permissions::from_mode(style.mode))?;
    modified.map_or(Ok(()), |time| file.set_modified(time))
}

fn is_already(path: &Path, content: &[u8], style: Style) -> bool {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let Ok(mut file) = File::options().read(true).custom_flags(flags).open(path) else { return false };
    let same_shape = file.metadata().is_ok_and(|found| {
        found.is_file() && found.len() == content.len() as u64 && Style::of(&found) == style
    });
    let mut held = Vec::new();
    same_shape && file.read_to_end(&mut held).is_ok() && held == content
}

fn place_link(root: BorrowedFd<'_>, target: &Path, leads_to: &Path) -> Result<(), PlaceError> {
    let parent = open_parent(root, target)?;
    let path = inside(&parent, target);
    if fs::read_link(&path).is_ok_and(|now| now == leads_to) {
        return Ok(());
    }
    let beside = path.with_file_name(format!(".disco-{}", std::process::id()));
    symlink(leads_to, &beside).and_then(|()| fs::rename(&beside, &path)).map_err(failed("link", target))
}

fn make_directory(root: BorrowedFd<'_>, target: &Path, style: Style) -> Result<(), PlaceError> {
    let parent = open_parent(root, target)?;
    let path = inside(&parent, target);
    match fs::create_dir(&path) {
        Ok(()) => give(&path, style.owner)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(style.mode)))
            .map_err(failed("make the directory", target)),
        // A link to a directory will do as one, as long as it stays inside; opening what lies below will tell.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed("make the directory", target)(error)),
    }
}

/// Gives a directory to its owner. A user's noop can give nothing away; whose it would be is known without.
fn give(path: &Path, (user, group): (u32, u32)) -> io::Result<()> {
    match Rights::own() {
        Rights::Root => chown(path, Some(user), Some(group)),
        Rights::User => Ok(()),
    }
}

/// Opens the directory of a target inside the sandbox; makes those on the way that are missing, for root, 0755.
fn open_parent(root: BorrowedFd<'_>, target: &Path) -> Result<OwnedFd, PlaceError> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let parent = target.parent().unwrap_or(Path::new("/"));
    match openat2(root, parent, how) {
        Ok(opened) => Ok(opened),
        Err(nix::errno::Errno::ENOENT) if parent != Path::new("/") => {
            make_directory(root, parent, Style { mode: 0o755, owner: (0, 0) })?;
            openat2(root, parent, how).map_err(|errno| failed("open", parent)(errno.into()))
        }
        Err(errno) => Err(failed("open", parent)(errno.into())),
    }
}

/// The target by way of its opened directory.
fn inside(parent: &OwnedFd, target: &Path) -> PathBuf {
    let name = target.file_name().unwrap_or_default();
    PathBuf::from(format!("/proc/self/fd/{}", parent.as_raw_fd())).join(name)
}
