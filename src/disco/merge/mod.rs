//! Puts the changes of a run on the host, all of them or none. Builds without the feature `live` do not have the code.

use std::io;
use std::path::PathBuf;

#[cfg_attr(feature = "live", path = "enabled.rs")]
#[cfg_attr(not(feature = "live"), path = "disabled.rs")]
mod imp;

pub(crate) use imp::merge;

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
    /// A step failed, and so did undoing what was done before it.
    #[error("{failure}; moreover {} could not be put back", left.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "))]
    NotUndone {
        /// What failed first.
        failure: Box<MergeError>,
        /// What is not as it was; the old content lies beside each, see the messages.
        left: Vec<PathBuf>,
    },
}
