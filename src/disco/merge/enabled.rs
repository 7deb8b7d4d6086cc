//! The twin that changes the host: check, then apply step by step, keeping what each step replaced until all are done.
//!
//! Every step is a rename, or can be taken back by one. What a step replaces stays beside it under a name of ours
//! (`.disco-PID-N`), on the same file system, until the last step succeeded. Parents are opened without following links,
//! so nobody can lead a step elsewhere by swapping a directory for a link.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{
    AT_FDCWD, AtFlags, OFlag, OpenHow, RenameFlags, ResolveFlag, openat, openat2, readlinkat, renameat,
    renameat2,
};
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, fchmodat, fstatat, mknodat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, symlinkat, unlinkat};

use super::MergeError;
use crate::disco::changes::{Change, Entry, Identity};

/// Merges the changes of a run whose merged view is still mounted at `merged`.
///
/// `began` is the time of the run's begin, by the clock of file systems: what changed on the host after it is a conflict.
///
/// # Errors
/// Nothing is merged: what was done before the failing step is undone. [`MergeError::NotUndone`] names the exceptions.
pub(crate) fn merge(changes: &[Change], merged: &Path, began: (i64, i64)) -> Result<(), MergeError> {
    for change in changes {
        check_unmoved(change, began)?;
    }
    let mut merge = Merge { merged, done: Vec::new(), names: 0 };
    match merge.apply(changes) {
        Ok(()) => {
            merge.forget_the_old();
            Ok(())
        }
        Err(failure) => Err(merge.undo(failure)),
    }
}

/// The host must still be what the run started from.
fn check_unmoved(change: &Change, began: (i64, i64)) -> Result<(), MergeError> {
    let path = &change.path.0;
    let now = fs::symlink_metadata(path).ok();
    let same = match (&change.before, &now) {
        (None, None) => true,
        // The status of a directory changes with its entries; each of those is checked by itself.
        (Some(before), Some(now)) if before.is_directory() => {
            now.is_dir() && now.ino() == before.identity.inode
        }
        (Some(before), Some(now)) => Identity::of(now) == before.identity && before.identity.changed < began,
        _ => false,
    };
    if same { Ok(()) } else { Err(MergeError::Moved { path: path.clone() }) }
}

/// A step that was taken, and how to take it back.
enum Done {
    /// Something is there that was not.
    Made { parent: OwnedFd, path: PathBuf, directory: bool },
    /// The old entry lies under `aside`, nothing took its place yet.
    MovedAside { parent: OwnedFd, path: PathBuf, aside: String },
    /// The old entry lies under `aside`, the new one in its place.
    Exchanged { parent: OwnedFd, path: PathBuf, aside: String },
    /// Mode, owner and attributes were changed in place.
    Restyled { parent: OwnedFd, path: PathBuf, old: Box<Entry>, modified: TimeSpec },
}

struct Merge<'a> {
    merged: &'a Path,
    done: Vec<Done>,
    names: u32,
}

fn step<T>(action: &'static str, path: &Path, outcome: nix::Result<T>) -> Result<T, MergeError> {
    step_io(action, path, outcome.map_err(io::Error::from))
}

fn step_io<T>(action: &'static str, path: &Path, outcome: io::Result<T>) -> Result<T, MergeError> {
    outcome.map_err(|source| MergeError::Step { action, path: path.to_owned(), source })
}

impl Merge<'_> {
    fn apply(&mut self, changes: &[Change]) -> Result<(), MergeError> {
        // Sorted by path, so parents come before what lies below them.
        let mut gone: Vec<&Path> = Vec::new();
        for change in changes.iter().filter(|change| makes_room(change)) {
            let path = change.path.0.as_path();
            if !gone.last().is_some_and(|above| path.starts_with(above)) {
                self.move_aside(path)?;
                gone.push(path);
            }
        }
        for change in changes {
            let (path, Some(after)) = (change.path.0.as_path(), &change.after) else { continue };
            let before = change.before.as_ref().filter(|_| !makes_room(change));
            match before {
                None if after.is_directory() => self.make_directory(path)?,
                Some(before) if before.is_directory() || before.md5.is_some() && before.md5 == after.md5 => {}
                before => self.put(path, after, before.is_some())?,
            }
        }
        // Innermost first: setting a directory's times comes after the last change below it.
        for change in changes.iter().rev() {
            let (path, Some(after)) = (change.path.0.as_path(), &change.after) else { continue };
            match change.before.as_ref().filter(|_| !makes_room(change)) {
                Some(before) if before.is_directory() || before.md5.is_some() && before.md5 == after.md5 => {
                    self.restyle(path, before, after)?;
                }
                None if after.is_directory() => self.finish_directory(path, after)?,
                _ => {}
            }
        }
        self.sync(changes)
    }

    fn aside(&mut self) -> String {
        self.names += 1;
        format!(".disco-{}-{}", std::process::id(), self.names)
    }

    fn source(&self, path: &Path) -> PathBuf {
        self.merged.join(path.strip_prefix("/").unwrap_or(path))
    }

    fn move_aside(&mut self, path: &Path) -> Result<(), MergeError> {
        let (parent, name) = open_parent(path)?;
        let aside = self.aside();
        step("move aside", path, renameat(&parent, name, &parent, aside.as_str()))?;
        self.done.push(Done::MovedAside { parent, path: path.to_owned(), aside });
        Ok(())
    }

    fn make_directory(&mut self, path: &Path) -> Result<(), MergeError> {
        let (parent, name) = open_parent(path)?;
        // Closed until it is complete; its own mode comes last.
        step("make the directory", path, nix::sys::stat::mkdirat(&parent, name, Mode::S_IRWXU))?;
        self.done.push(Done::Made { parent, path: path.to_owned(), directory: true });
        Ok(())
    }

    fn finish_directory(&self, path: &Path, after: &Entry) -> Result<(), MergeError> {
        let (parent, name) = open_parent(path)?;
        step_io("set mode and owner of", path, dress(&parent, Path::new(name), after, &NO_ATTRIBUTES))?;
        self.copy_times(&parent, Path::new(name), path)
    }

    /// Puts a file, link or special file in its place by one rename.
    fn put(&mut self, path: &Path, after: &Entry, replaces: bool) -> Result<(), MergeError> {
        let (parent, name) = open_parent(path)?;
        let new = self.aside();
        let staged = self.stage(&parent, &new, path, after);
        let placed = staged.and_then(|()| {
            let flag = if replaces { RenameFlags::RENAME_EXCHANGE } else { RenameFlags::RENAME_NOREPLACE };
            step("put in place", path, renameat2(&parent, new.as_str(), &parent, name, flag))
        });
        if let Err(error) = placed {
            let _ = unlinkat(&parent, new.as_str(), UnlinkatFlags::NoRemoveDir);
            return Err(error);
        }
        let path = path.to_owned();
        self.done.push(match replaces {
            true => Done::Exchanged { parent, path, aside: new },
            false => Done::Made { parent, path, directory: false },
        });
        Ok(())
    }

    /// Makes a complete copy beside its place.
    fn stage(&self, parent: &OwnedFd, name: &str, path: &Path, after: &Entry) -> Result<(), MergeError> {
        let source = self.source(path);
        match after.mode & libc::S_IFMT {
            libc::S_IFREG => {
                let from = File::options()
                    .read(true)
                    .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
                    .open(&source);
                let mut from = step_io("read the new content of", path, from)?;
                let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
                let to =
                    step("write beside", path, openat(parent, name, flags, Mode::S_IRUSR | Mode::S_IWUSR))?;
                step_io("write beside", path, io::copy(&mut from, &mut File::from(to)))?;
            }
            libc::S_IFLNK => {
                let target = step("read the link", path, readlinkat(AT_FDCWD, &source))?;
                step("write beside", path, symlinkat(target.as_os_str(), parent, name))?;
            }
            kind => {
                let made =
                    mknodat(parent, name, SFlag::from_bits_truncate(kind), Mode::S_IRUSR, after.is_device);
                step("write beside", path, made)?;
            }
        }
        step_io("set mode and owner of", path, dress(parent, Path::new(name), after, &NO_ATTRIBUTES))?;
        self.copy_times(parent, Path::new(name), path)
    }

    /// Changes mode, owner and attributes of what stays where it is.
    fn restyle(&mut self, path: &Path, before: &Entry, after: &Entry) -> Result<(), MergeError> {
        let (parent, name) = open_parent(path)?;
        let name = Path::new(name);
        let modified = step_io("look at", path, fs::symlink_metadata(path)).map(|found| modified(&found))?;
        let dressed = dress(&parent, name, after, &before.attributes);
        self.done.push(Done::Restyled {
            parent: step_io("open the parent of", path, parent.try_clone())?,
            path: path.to_owned(),
            old: Box::new(before.clone()),
            modified,
        });
        step_io("set mode and owner of", path, dressed)?;
        self.copy_times(&parent, name, path)
    }

    fn copy_times(&self, parent: &OwnedFd, name: &Path, path: &Path) -> Result<(), MergeError> {
        let source = self.source(path);
        let found = step_io("look at the new", path, fs::symlink_metadata(&source))?;
        let set = utimensat(
            parent,
            name,
            &TimeSpec::UTIME_OMIT,
            &modified(&found),
            UtimensatFlags::NoFollowSymlink,
        );
        step("set the time of", path, set)
    }

    /// Makes the new state durable: one sync for each file system that was touched.
    fn sync(&self, changes: &[Change]) -> Result<(), MergeError> {
        let mut synced = Vec::new();
        for change in changes {
            let Some(parent) = change.path.0.ancestors().find(|above| above.is_dir()) else { continue };
            let device = step_io("look at", parent, fs::symlink_metadata(parent))?.dev();
            if !synced.contains(&device) {
                let directory = step_io("open", parent, File::open(parent))?;
                step("write to disk what lies in", parent, nix::unistd::syncfs(directory))?;
                synced.push(device);
            }
        }
        Ok(())
    }

    /// The merge is complete; what was replaced is of no more use.
    fn forget_the_old(self) {
        for done in self.done {
            if let Done::MovedAside { parent, aside, .. } | Done::Exchanged { parent, aside, .. } = done {
                // What cannot be removed is garbage under a name of ours, and no reason to call the merge failed.
                let path = format!("/proc/self/fd/{}/{aside}", parent.as_raw_fd());
                let _ = match fs::symlink_metadata(&path) {
                    Ok(found) if found.is_dir() => fs::remove_dir_all(&path),
                    _ => fs::remove_file(&path),
                };
            }
        }
    }

    /// Takes back what was done, last step first.
    fn undo(self, failure: MergeError) -> MergeError {
        let mut left = Vec::new();
        for done in self.done.into_iter().rev() {
            let (path, undone) = take_back(done);
            if undone.is_err() {
                left.push(path);
            }
        }
        if left.is_empty() { failure } else { MergeError::NotUndone { failure: Box::new(failure), left } }
    }
}

fn take_back(done: Done) -> (PathBuf, io::Result<()>) {
    match done {
        Done::Made { parent, path, directory } => {
            let how = if directory { UnlinkatFlags::RemoveDir } else { UnlinkatFlags::NoRemoveDir };
            let undone = unlinkat(&parent, name_of(&path), how);
            (path, undone.map_err(io::Error::from))
        }
        Done::MovedAside { parent, path, aside } => {
            let undone = renameat(&parent, aside.as_str(), &parent, name_of(&path));
            (path, undone.map_err(io::Error::from))
        }
        Done::Exchanged { parent, path, aside } => {
            let exchanged =
                renameat2(&parent, aside.as_str(), &parent, name_of(&path), RenameFlags::RENAME_EXCHANGE);
            let undone =
                exchanged.and_then(|()| unlinkat(&parent, aside.as_str(), UnlinkatFlags::NoRemoveDir));
            (path, undone.map_err(io::Error::from))
        }
        Done::Restyled { parent, path, old, modified } => {
            let name = Path::new(name_of(&path));
            let now = crate::disco::changes::attributes(&below(&parent, name));
            let undone = now.and_then(|now| dress(&parent, name, &old, &now)).and_then(|()| {
                let now = fstatat(&parent, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
                if TimeSpec::new(now.st_mtime, now.st_mtime_nsec) == modified {
                    return Ok(());
                }
                utimensat(&parent, name, &TimeSpec::UTIME_OMIT, &modified, UtimensatFlags::NoFollowSymlink)
                    .map_err(io::Error::from)
            });
            (path, undone)
        }
    }
}

/// Whether the live entry has to go before the new one can come.
fn makes_room(change: &Change) -> bool {
    match (&change.before, &change.after) {
        (Some(_), None) => true,
        (Some(before), Some(after)) => before.is_directory() != after.is_directory(),
        (None, _) => false,
    }
}

fn name_of(path: &Path) -> &std::ffi::OsStr {
    path.file_name().unwrap_or(path.as_os_str())
}

/// Opens the directory that holds a path, following no link on the way.
fn open_parent(path: &Path) -> Result<(OwnedFd, &std::ffi::OsStr), MergeError> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    Ok((
        step("open the parent of", path, openat2(AT_FDCWD, parent, how))?,
        path.file_name().unwrap_or(".".as_ref()),
    ))
}

fn modified(metadata: &Metadata) -> TimeSpec {
    TimeSpec::new(metadata.mtime(), metadata.mtime_nsec())
}

/// A path below an open directory for calls that take no descriptor; the last component is not followed.
fn below(parent: &impl AsFd, name: &Path) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", parent.as_fd().as_raw_fd())).join(name)
}

/// Gives an entry its owner, mode and attributes, in this order: a change of owner clears set-id bits and capabilities.
fn dress(parent: &OwnedFd, name: &Path, like: &Entry, attributes_now: &Attributes) -> io::Result<()> {
    let (uid, gid) = like.ids;
    let now = fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    // What is as it should be is not touched: undoing a step that failed must not fail for the same reason.
    let other_owner = (now.st_uid, now.st_gid) != like.ids;
    if other_owner {
        fchownat(
            parent,
            name,
            Some(Uid::from_raw(uid)),
            Some(Gid::from_raw(gid)),
            AtFlags::AT_SYMLINK_NOFOLLOW,
        )?;
    }
    let is_link = like.mode & libc::S_IFMT == libc::S_IFLNK;
    if !is_link && (other_owner || now.st_mode & 0o7777 != like.mode & 0o7777) {
        let mode = Mode::from_bits_truncate(like.mode & 0o7777);
        match fchmodat(parent, name, mode, nix::sys::stat::FchmodatFlags::NoFollowSymlink) {
            // Kernels before 6.6 and their C libraries cannot refuse to follow; this is no link, so nothing follows.
            Err(Errno::EOPNOTSUPP) => {
                fchmodat(parent, name, mode, nix::sys::stat::FchmodatFlags::FollowSymlink)?
            }
            other => other?,
        }
    }
    let path = below(parent, name);
    for (attribute, value) in &like.attributes {
        if attributes_now.get(attribute) != Some(value) {
            xattr::set(&path, attribute, &from_hex(value))?;
        }
    }
    for attribute in attributes_now.keys().filter(|name| !like.attributes.contains_key(*name)) {
        xattr::remove(&path, std::ffi::OsStr::from_bytes(attribute.as_bytes()))?;
    }
    Ok(())
}

type Attributes = std::collections::BTreeMap<String, String>;

/// Something new carries no attribute yet.
static NO_ATTRIBUTES: Attributes = Attributes::new();

fn from_hex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .filter_map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}
