//! Finds the names of a file on the host. Nobody keeps a list of them, so directories are looked through; whoever asks has a
//! file in hand of which he knows that it has names that he does not know.

use std::fs;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, statfs};

/// The names of a file whose number is `inode`, at most so many: first around a path, then on the whole file system that
/// is mounted at `root`, but for what lies below the directories to `skip`. `is_it` knows the file from others.
pub(crate) fn names_of(
    inode: u64,
    near: &Path,
    root: &Path,
    skip: &dyn Fn(&Path) -> bool,
    is_it: &dyn Fn(&Path) -> bool,
    most: usize,
) -> Vec<PathBuf> {
    let is_overlay = statfs(root).is_ok_and(|found| found.filesystem_type() == OVERLAYFS_SUPER_MAGIC);
    let device = device(root);
    let mut found = Vec::new();
    let mut left = vec![root.to_owned()];
    let mut nearby = near.parent().map(Path::to_owned);
    loop {
        let is_nearby = nearby.is_some();
        let Some(directory) = nearby.take().or_else(|| left.pop()) else { return found };
        // What goes away meanwhile, or cannot be read, holds no name of use.
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type() {
                // From nearby, the way leads back to the root.
                Ok(kind) if kind.is_dir() && is_nearby => {}
                Ok(kind) if kind.is_dir() && (skip(&path) || self::device(&path) != device) => {}
                Ok(kind) if kind.is_dir() => left.push(path),
                // The directories of an overlay tell other numbers than their entries have.
                Ok(_) if !is_overlay && entry.ino() != inode => {}
                Ok(_) if is_it(&path) && !found.contains(&path) => found.push(path),
                _ => {}
            }
            if found.len() >= most {
                return found;
            }
        }
    }
}

fn device(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).ok().map(|found| found.dev())
}
