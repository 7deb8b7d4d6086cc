//! DISCO: dead simple configuration management, and the agent that gets a node provisioned.
//!
//! One library, from which `cargo xtask build` makes branded binaries. In reading order:
//!
//! * [`Appliance`] puts a binary together: brand, plugs, command line, exit code.
//! * [`brand`] is what a spec fixed into the binary; [`features`] what was compiled in; [`buildinfo`] tells both;
//!   [`dependencies`] lists the crates that it was linked from.
//! * [`server_conf`] is the node's configuration file, read by the client and the server.
//! * [`cli`] is everything that talks to a person.
//! * [`disco`] is configuration management: fetch, order, sandbox, diff, merge, report. Synchronous.
//! * `choria` is the wire: messages, subjects, agents (feature `choria`).
//! * `provisioning` is the node's server in provisioning mode (feature `provisioning`).
//!
//! Which of these may use which is drawn in `ARCHITECTURE.md` and checked by `cargo xtask tidy`.

mod appliance;
pub mod brand;
pub mod buildinfo;
#[cfg(feature = "choria")]
pub mod choria;
pub mod cli;
pub mod dependencies;
pub mod disco;
pub mod features;
#[cfg(feature = "provisioning")]
pub mod provisioning;
pub mod server_conf;

pub use crate::appliance::Appliance;
pub use crate::brand::Brand;
