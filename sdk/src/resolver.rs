//! Finding the brokers at which a node asks to be provisioned, where a spec cannot list them.
//!
//! ```
//! use std::time::Instant;
//! use disco_sdk::{Node, ResolveError, Settings, Target, TargetResolver};
//!
//! struct Rack;
//!
//! impl TargetResolver for Rack {
//!     fn name(&self) -> &str {
//!         "rack"
//!     }
//!
//!     fn targets(&self, node: &Node, _: &Settings, _: Instant) -> Result<Vec<Target>, ResolveError> {
//!         let rack = node.identity.split('-').next().unwrap_or("r0");
//!         Ok(vec![Target::new(format!("broker.{rack}.example"), 4222)])
//!     }
//! }
//!
//! /// A spec's `[resolver]` names the crate; the product calls this function once at start.
//! pub fn target_resolver() -> impl TargetResolver {
//!     Rack
//! }
//! ```

use std::fmt;
use std::time::Instant;

/// Finds the brokers at which a node in provisioning mode asks to be provisioned.
pub trait TargetResolver: Send + Sync {
    /// Name shown by `buildinfo`.
    fn name(&self) -> &str;

    /// Returns brokers in the order to try them. May block until `deadline`; may be called again.
    ///
    /// # Errors
    /// Whatever keeps the resolver from an answer. The node waits and asks again; it never falls back to other brokers.
    fn targets(
        &self,
        node: &Node,
        settings: &Settings,
        deadline: Instant,
    ) -> Result<Vec<Target>, ResolveError>;
}

/// The node that asks.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Node {
    /// Its identity in the collective, usually the full host name.
    pub identity: String,
}

impl Node {
    /// A node with an identity.
    pub fn new(identity: impl Into<String>) -> Self {
        Node { identity: identity.into() }
    }
}

/// What the brand baked for provisioning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// The baked brokers, `host:port`; often empty when there is a resolver.
    pub brokers: Vec<String>,
}

impl Settings {
    /// Settings with a baked list of brokers.
    pub fn new(brokers: Vec<String>) -> Self {
        Settings { brokers }
    }
}

/// One broker.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Target {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Target {
    /// A broker at a host and port.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Target { host: host.into(), port }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(out, "[{}]:{}", self.host, self.port)
        } else {
            write!(out, "{}:{}", self.host, self.port)
        }
    }
}

/// Why a resolver has no brokers to offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolveError {
    message: String,
}

impl ResolveError {
    /// An error with a message for the log: a lowercase fragment without a full stop.
    pub fn new(message: impl Into<String>) -> Self {
        ResolveError { message: message.into() }
    }
}

impl fmt::Display for ResolveError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl std::error::Error for ResolveError {}

#[cfg(test)]
mod tests {
    use super::Target;

    #[test]
    fn an_ipv6_address_is_bracketed_before_its_port() {
        assert_eq!(Target::new("::1", 4222).to_string(), "[::1]:4222");
        assert_eq!(Target::new("prov1.acme.example", 4222).to_string(), "prov1.acme.example:4222");
    }
}
