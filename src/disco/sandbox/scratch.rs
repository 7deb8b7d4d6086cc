//! The directory that holds the layers of one sandbox, and the rule by which nobody removes another's.
//!
//! Whoever uses a scratch directory holds a lock on it; init inherits the descriptor, so the lock lasts as long as the
//! sandbox. A directory without one belonged to a run that died, and goes with the next run.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::sched::CloneFlags;

use crate::disco::sandbox::probe::Rights;
use crate::disco::sandbox::{Host, SandboxError, files, mount, mountinfo, probe, process, remove};

/// Scratch directory of one sandbox; removed when dropped.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    host: Host,
    // Of the directory itself, before anything is mounted on it.
    _lock: File,
}

impl Scratch {
    /// Makes the directory of a run, and removes those that runs which died left behind.
    ///
    /// Afterwards, where it has the rights of root, this thread is in a mount namespace of its own, until the value is dropped: where the file system of `vardir` cannot hold an upper
    /// layer (another overlay, a network file system), the directory is memory that nobody else sees.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn make(vardir: &Path) -> Result<Self, SandboxError> {
        Scratch::named(vardir, &format!("run-{}", std::process::id()))
    }

    /// The same under a name that says whose it is.
    pub(super) fn named(vardir: &Path, name: &str) -> Result<Self, SandboxError> {
        let all = vardir.join("scratch");
        make_directory(&all)?;
        // Nobody else looks for dead runs between a directory's making and its lock.
        let making = File::open(&all).map_err(files("open", &all))?;
        making.lock().map_err(files("lock", &all))?;
        for entry in fs::read_dir(&all).map_err(files("list", &all))?.flatten() {
            let lock = fs::OpenOptions::new()
                .read(true)
                .custom_flags(libc::O_NOFOLLOW | libc::O_DIRECTORY)
                .open(entry.path());
            if lock.is_ok_and(|lock| lock.try_lock().is_ok()) {
                // What cannot be removed now is no obstacle: this run has a directory of its own.
                let _ = remove::remove_tree(&entry.path());
            }
        }
        let path = all.join(name);
        make_directory(&path)?;
        // A link on the way would hide something else than the layers from what runs inside.
        let path = fs::canonicalize(&path).map_err(files("find", &path))?;
        let lock = File::open(&path).map_err(files("open", &path))?;
        lock.try_lock().map_err(|error| files("lock", &path)(io::Error::from(error)))?;
        let host = Host::here().map_err(process("look at the mounts for"))?;
        let scratch = Scratch { path, host, _lock: lock };
        let can_hold_uppers =
            probe::can_hold_uppers(&scratch.path).map_err(files("look at", &scratch.path))?;
        if Rights::own() == Rights::User {
            // Nothing is mounted here, where the ids of the host are seen; all of it is done inside.
            return if can_hold_uppers {
                Ok(scratch)
            } else {
                Err(SandboxError::Unfit(scratch.path.clone()))
            };
        }
        nix::sched::unshare(CloneFlags::CLONE_NEWNS)
            .map_err(|errno| process("make a namespace for")(errno.into()))?;
        refuse_odd_roots(&mount::visible_mounts().map_err(process("list the mounts for"))?)?;
        mount::make_private()?;
        if !can_hold_uppers {
            mount::mount_scratch(&scratch.path)?;
        }
        Ok(scratch)
    }

    /// Makes an empty directory in it.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn empty_directory(&self, name: &str) -> Result<PathBuf, SandboxError> {
        let path = self.path.join(name);
        make_directory(&path)?;
        Ok(path)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The time by which the file systems stamp changes; it runs a little behind the clock.
    ///
    /// # Errors
    /// No file can be made to be looked at.
    pub(crate) fn file_system_now(&self) -> Result<(i64, i64), SandboxError> {
        let path = self.path.join("began");
        let stamp = File::create(&path).and_then(|file| file.metadata());
        let found = stamp.map_err(files("write", &path))?;
        Ok((found.ctime(), found.ctime_nsec()))
    }

    /// The host, as it was before this process entered a namespace of its own.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn host(&self) -> Result<Host, SandboxError> {
        self.host.again().map_err(process("look at the mounts for"))
    }
}

/// A sandbox changes its root, and that needs a mount as the root.
fn refuse_odd_roots(mounts: &[mountinfo::Mount]) -> Result<(), SandboxError> {
    match mounts.iter().find(|mount| mount.point == Path::new("/")) {
        None => Err(SandboxError::Chroot),
        Some(root) if root.kind == "rootfs" => Err(SandboxError::InitialRoot),
        Some(_) => Ok(()),
    }
}

fn make_directory(path: &Path) -> Result<(), SandboxError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(files("make", path))
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if Rights::own() == Rights::Root {
            let _ = rustix::mount::unmount(&self.path, rustix::mount::UnmountFlags::DETACH);
        }
        let _ = remove::remove_tree(&self.path);
        // The next sandbox of this process is to see what is mounted by then.
        let _ = self.host.enter();
    }
}
