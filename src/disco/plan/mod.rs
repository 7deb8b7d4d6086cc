//! Plans: what a noop would change, saved whole, so that exactly this can be merged after somebody looked at it.
//!
//! ```text
//! disco.plan.v1\n               names the format
//! length of the head            8 bytes, little endian
//! head                          JSON: who made it, the run, how each new state is put together
//! contents                      of regular files, in the order of the changes, without their holes; then what those held
//!                               before of which the differences are shown
//! SHA-256                       32 bytes over everything before
//! ```
//!
//! The digest finds damage, not malice: who can write the file can write the digest. So everything in a plan is checked
//! as if it came from the network. What is shown is made of what it carries: the differences inside files, what counts as
//! noise and what needs no line of its own are told by the reader's program, never by the plan. What is extracted is
//! compared with that, and the host with what the run saw before anything is merged. Of the commands that the noop held back, those are executed after the merge that the lists
//! of this host put off, and that are made of plain names.
//!
//! * `write.rs` saves, `read.rs` opens and extracts, `check.rs` looks for what must not be, `contents.rs` shows what
//!   differs inside files, `apply.rs` merges.

mod apply;
mod check;
mod contents;
mod read;
mod write;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::disco::changes::HostPath;
pub use crate::disco::plan::apply::{ApplyError, Applying, apply};
pub use crate::disco::plan::read::Plan;
pub(crate) use crate::disco::plan::write::{check_target, save};
use crate::disco::report::Run;

/// Version of the format.
pub const SCHEMA: &str = "disco.plan.v1";

/// Length of the digest at the end.
const DIGEST: u64 = 32;

/// What a plan says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Head {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Name of the binary that made it.
    pub binary: String,
    /// Version of that binary.
    pub version: String,
    /// The noop: its changes with the state before and after, the commands it held back.
    pub run: Run,
    /// For each change how its new state is put together.
    states: Vec<State>,
    /// For each change the length of what the file held before, where that is carried.
    before: Vec<Option<u64>>,
    /// Times of the directories that hold changes and are none themselves.
    #[serde(default)]
    around: BTreeMap<HostPath, Times>,
}

/// What a change's entry does not tell of the new state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Times {
    /// Time of last modification: seconds and nanoseconds.
    modified: (i64, i64),
}

impl Times {
    fn of(found: &Metadata) -> Self {
        Times { modified: (found.mtime(), found.mtime_nsec()) }
    }
}

/// How the new state of one change is put together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// Nothing is left there.
    Gone,
    /// The entry says everything but this.
    Plain(Times),
    /// A regular file: its length, where in it the data lies, as offset and length, and whether it has space for all.
    Data { times: Times, size: u64, data: Vec<(u64, u64)>, reserved: bool },
    /// Another name of the file of this change, by number.
    Link(usize),
}

/// Why a plan could not be saved, shown or applied. Nothing was changed on the host.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A file or directory.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// It begins otherwise than a plan does.
    #[error("{} is no plan, or one of another version", path.display())]
    NotAPlan {
        /// Which file.
        path: PathBuf,
    },
    /// It ends too early.
    #[error("the plan {} is truncated: {why}", path.display())]
    Truncated {
        /// Which file.
        path: PathBuf,
        /// What is missing.
        why: &'static str,
    },
    /// It is not what was written.
    #[error("the plan {} was altered: its content does not match its checksum", path.display())]
    Altered {
        /// Which file.
        path: PathBuf,
    },
    /// What it says cannot be right, whoever wrote it.
    #[error("the plan {} is refused: {why}", path.display())]
    Refused {
        /// Which file.
        path: PathBuf,
        /// What it says.
        why: String,
    },
    /// It was made for another node, or by another product.
    #[error("the plan {} is for {what} {theirs}, and this is {ours}", path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// `the node` or `the binary`.
        what: &'static str,
        /// What the plan says.
        theirs: String,
        /// What is here.
        ours: String,
    },
    /// The host is not what it was when the plan was made.
    #[error("the host moved since the plan was made: {0}")]
    Moved(Moved),
}

/// Paths that are not what the plan expects, and why.
#[derive(Debug, Default)]
pub struct Moved(Vec<(PathBuf, &'static str)>);

impl Moved {
    /// How many are named.
    const NAMED: usize = 5;
}

impl fmt::Display for Moved {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (path, why)) in self.0.iter().take(Self::NAMED).enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(out, "{comma}{} ({why})", crate::disco::changes::escape(path.as_os_str()))?;
        }
        match self.0.len().saturating_sub(Self::NAMED) {
            0 => Ok(()),
            more => write!(out, " and {more} more"),
        }
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PlanError {
    let path = path.to_owned();
    move |source| PlanError::File { action, path, source }
}
