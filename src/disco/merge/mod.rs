//! Puts the changes of a run on the host, all of them or none, and takes them back. Builds without the feature `live`
//! do not have the code.

use std::io;
use std::path::{Path, PathBuf};

use crate::disco::changes::{Change, ScanError};
use crate::disco::report::Run;
use crate::disco::sandbox::Host;

#[cfg_attr(feature = "live", path = "enabled/mod.rs")]
#[cfg_attr(not(feature = "live"), path = "disabled.rs")]
mod imp;

pub(crate) use imp::{
    begin, end, forget, last_run, merge, objection, recover, rollback, undoable, unfinished,
};

/// Where the new state of the changes lies, and which run they belong to.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The run as it is now; what is left of it once the merge is committed survives a crash.
    pub report: &'a Run,
    /// How many merges this run made before.
    pub part: u32,
    /// State directory of the brand.
    pub vardir: &'a Path,
    /// A directory below which the new state lies at the same paths: the merged view of a sandbox, or the files of a
    /// plan. No component of a path below it is a link.
    pub from: &'a Path,
    /// When the run began, by the clock of file systems: what changed on the host after it is a conflict.
    pub began: (i64, i64),
    /// The host as it was then.
    pub host: &'a Host,
}

/// A merge or rollback that was interrupted, and how it ended now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// Number of the run whose merge it was.
    pub run: u64,
    /// `finished` or `undone`.
    pub how: &'static str,
    /// What barred the way on, where it was left the other way than it was going.
    pub because: Option<String>,
    /// Paths that somebody else changed since it was interrupted, which were left as they are.
    pub spared: Vec<PathBuf>,
    /// Where the file systems were mounted that are gone since, and what it did there with them.
    pub lost: Vec<PathBuf>,
}

/// A run that died after its merge was committed, or whose merge was undone after it died.
#[derive(Debug)]
pub struct Unfinished {
    /// The run with what is known of its deferred commands; `merged` says how its merge ended.
    pub run: Run,
    /// Which of its merges was the last one.
    pub part: u32,
}

/// The last live run, which can be undone.
#[derive(Debug)]
pub struct Undoable {
    /// Number of the run.
    pub run: u64,
    /// What undoing it changes on the host, sorted by path.
    pub changes: Vec<Change>,
    /// Where the file systems were mounted that are gone since, and what it did there with them.
    pub lost: Vec<PathBuf>,
}

/// Why nothing was merged.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// This binary has no code that could change a host.
    #[error("this build cannot change a host: it was built without the feature `live`")]
    NotBuiltIn,
    /// Somebody else changed a path while the run went on.
    #[error("{} changed on the host while the dance ran", path.display())]
    Moved {
        /// Which one.
        path: PathBuf,
    },
    /// What was mounted where the run changed something is another file system now.
    #[error("something was mounted at {} or unmounted while the dance ran", mount.display())]
    Remounted {
        /// Where.
        mount: PathBuf,
    },
    /// Somebody changed a path while the changes were being put on the host, or taken from it.
    #[error("{} was changed by somebody else at the same time", path.display())]
    Stranger {
        /// Which one.
        path: PathBuf,
    },
    /// A merge that was interrupted, or is to be undone, changed something there.
    #[error(
        "run {run} changed something on the file system of {}, which is not mounted: mount it, or, if it is gone for good, \
         remove that directory",
        mount.display()
    )]
    NotMounted {
        /// Where it was mounted.
        mount: PathBuf,
        /// Number of the run.
        run: u64,
    },
    /// The merge before did not get to its end.
    #[error("an earlier merge has not come to its end; the next command brings it there")]
    UnderWay,
    /// Somebody changed a path after the run whose merge is to be undone.
    #[error("{} changed on the host since run {run}", path.display())]
    ChangedSince {
        /// Which one.
        path: PathBuf,
        /// The run that left it otherwise.
        run: u64,
    },
    /// Another file system is mounted there, or it is a subvolume; so no other entry can take the place.
    #[error("{} is a mount point or a subvolume and cannot be replaced", path.display())]
    MountPoint {
        /// Which one.
        path: PathBuf,
    },
    /// Both paths are one file by two mounts, and the run changed it by both.
    #[error(
        "{} and {} are one file, mounted at two places, and each was changed as if it were one by itself",
        paths[0].display(), paths[1].display()
    )]
    TwoMounts {
        /// By which names.
        paths: [PathBuf; 2],
    },
    /// `chattr +i` or `+a` keeps it from being changed.
    #[error("{} is immutable or append-only (see lsattr)", path.display())]
    Immutable {
        /// Which one.
        path: PathBuf,
    },
    /// The new contents do not fit.
    #[error("no space for {}: the file system of {} has {free} bytes left, the run needs {needed}", path.display(), mount.display())]
    Space {
        /// The first path that does not fit.
        path: PathBuf,
        /// Where its file system is mounted.
        mount: PathBuf,
        /// Bytes that may still be written.
        free: u64,
        /// Bytes that the whole merge writes there.
        needed: u64,
    },
    /// What undoing would change could not be read.
    #[error("cannot tell what undoing would change")]
    Compare {
        /// Which path, and why.
        source: Box<ScanError>,
    },
    /// There is no live run whose old state is kept.
    #[error("there is no live run to undo")]
    NothingToUndo,
    /// A record of the journal is not what was written.
    #[error("the journal {} is damaged: {why}", path.display())]
    Journal {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A step failed; what was done before it was undone.
    #[error("cannot {action} {}", path.display())]
    Step {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// A step failed, and so did undoing what was done before it. The journal is kept: the next command tries again.
    #[error("{failure}; moreover, undoing what was done before failed: {undoing}")]
    NotUndone {
        /// What failed first.
        failure: Box<MergeError>,
        /// What failed then.
        undoing: Box<MergeError>,
    },
}
