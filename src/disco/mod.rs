//! Configuration management: what would change on this machine, and how does it become live?
//!
//! [`dance`] is the journey; the other files are its stations. Synchronous, without threads, without a network library:
//! rsync fetches. Nothing here prints, reads the environment or knows a brand: callers hand values in and get
//! [`dance::Event`]s and a [`report::Run`] back.

pub mod attempt;
pub mod changes;
pub mod check;
pub mod commands;
mod content;
pub mod dance;
pub mod deferred;
pub mod diff;
pub mod doctor;
pub mod ending;
pub mod fetch;
pub mod history;
pub mod limits;
pub(crate) mod links;
pub(crate) mod lock;
pub mod merge;
pub mod module;
pub mod noise;
pub mod order;
pub mod params;
mod place;
pub mod plan;
mod process;
pub mod report;
pub mod rollback;
pub mod sandbox;
pub mod secrets;
pub mod session;
pub mod settings;
mod spin;
mod tree;
mod turn;

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
