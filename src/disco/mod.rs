//! Configuration management: what would change on this machine, and how does it become live?
//!
//! [`dance`] is the journey; the other files are its stations. Synchronous, with threads only where contents are compared,
//! without a network library: rsync fetches. Nothing here prints, reads the environment or knows a brand: callers hand values in and get
//! [`dance::Event`]s and a [`report::Run`] back.

// A run: what is fetched, what is done with it in a sandbox, what that changed, and how it becomes live.
pub mod dance;
pub mod universe;

pub mod commands;
pub mod sandbox;

pub mod changes;
pub mod merge;

// What was reviewed becomes live, and what is live is taken back.
pub mod plan;
pub mod rollback;

// By hand: a command that is tried, a sandbox that stands.
pub mod attempt;
pub mod session;

// What a live run owes once it is merged, and what is kept of runs.
pub mod deferred;
pub mod ending;
pub mod history;
pub mod report;

// What a run may do and how much, on which host.
pub mod doctor;
pub mod limits;
pub mod settings;

pub(crate) mod links;
pub(crate) mod lock;
mod process;

use serde::{Deserialize, Serialize};

/// How strict the sandbox is and whether its result may be merged; nothing else depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Everything runs for real in a sandbox that nothing leaves.
    Noop,
    /// The running system is within reach, and the changes are merged if nothing failed.
    Live,
}

impl Mode {
    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Noop => "noop",
            Mode::Live => "live",
        }
    }
}
