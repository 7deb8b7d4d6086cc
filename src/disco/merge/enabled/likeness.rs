//! How an object of the host is known again: whether what lies at a path is still what a plan knows to be there, or
//! somebody changed it since.
//!
//! Not by its inode: an object may have been copied on its way through a store. And not by the time of its last status
//! change, which every step of a merge sets.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use nix::sys::stat::FileStat;
use serde::{Deserialize, Serialize};

/// What a file, link or special file looks like, as far as its inode tells. What is written to it changes the time of its
/// last modification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Likeness {
    mode: u32,
    ids: (u32, u32),
    size: i64,
    /// Which device it is, for device files.
    device: u64,
    /// Time of last modification, in seconds and nanoseconds.
    modified: (i64, i64),
}

impl Likeness {
    pub(super) fn of(found: &Metadata) -> Self {
        Likeness {
            mode: found.mode(),
            ids: (found.uid(), found.gid()),
            size: found.size().cast_signed(),
            device: found.rdev(),
            modified: (found.mtime(), found.mtime_nsec()),
        }
    }

    /// Whether it is that of what was found.
    pub(super) fn is_of(&self, found: &FileStat) -> bool {
        let theirs = Likeness {
            mode: found.st_mode,
            ids: (found.st_uid, found.st_gid),
            size: found.st_size,
            device: found.st_rdev,
            modified: (found.st_mtime, found.st_mtime_nsec),
        };
        *self == theirs
    }
}
