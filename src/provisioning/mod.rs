//! The node's side of provisioning: how a node without a configuration waits for one.
//!
//! [`mode`] decides whether this node should be provisioned and says why, [`targets`] finds the brokers for it, with
//! [`srv`] where a domain names them, [`identity`] its name, and [`server`] is the daemon that waits there. The agent `choria_provision` is [`agent`];
//! [`lock`] keeps a second provisioner out while a first one is at work, [`status`] tells local tools how it goes.

pub mod agent;
pub mod identity;
pub mod lock;
pub mod mode;
pub mod server;
pub mod srv;
pub mod status;
pub mod targets;
