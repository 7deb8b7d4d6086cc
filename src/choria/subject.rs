//! Places on the broker: checked names, and the subjects made of them.
//!
//! A subject is inserted into the broker's text protocol as it is, so a name with a blank, a line break or a wildcard
//! would be more than a name. Every subject this crate publishes to or subscribes passed one of these constructors.

use std::fmt;

/// Longest name or subject, in bytes, that is accepted; brokers refuse control lines over 4 KiB.
const LONGEST: usize = 1024;

/// Why a text is no name here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The identity of a node becomes part of a subject.
    #[error(
        "identity {text:?} is empty, too long, has an empty part between dots, or holds a blank, `*` or `>`"
    )]
    Identity {
        /// What was given.
        text: String,
    },
    /// A collective is the first token of a subject.
    #[error("collective {text:?} is not made of letters, digits, `_` and `-`")]
    Collective {
        /// What was given.
        text: String,
    },
    /// An agent's name is one token of a subject.
    #[error("agent name {text:?} is not made of letters, digits, `_` and `-`")]
    Agent {
        /// What was given.
        text: String,
    },
    /// A reply address came from the network.
    #[error("reply address {text:?} is not a subject to publish to")]
    ReplyAddress {
        /// What was given, cut to a readable length.
        text: String,
    },
}

/// Name of a node; its requests, replies and subjects carry exactly this text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity(String);

/// First token of nearly all subjects: a virtual network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Collective(String);

/// Name of an agent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AgentName(String);

/// Where a requester wants its answer: a subject without wildcards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyAddress(String);

impl Identity {
    /// Checks a node's name.
    ///
    /// # Errors
    /// [`NameError::Identity`].
    pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
        let text = text.into();
        if is_plain_subject(&text) { Ok(Identity(text)) } else { Err(NameError::Identity { text }) }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Collective {
    /// Checks a collective's name.
    ///
    /// # Errors
    /// [`NameError::Collective`].
    pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
        let text = text.into();
        if is_token(&text) { Ok(Collective(text)) } else { Err(NameError::Collective { text }) }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where requests to one node arrive.
    pub fn node_subject(&self, identity: &Identity) -> String {
        format!("{}.node.{}", self.0, identity.0)
    }

    /// Where requests to every node with an agent arrive.
    pub fn broadcast_subject(&self, agent: &AgentName) -> String {
        format!("{}.broadcast.agent.{}", self.0, agent.0)
    }
}

impl AgentName {
    /// Checks an agent's name.
    ///
    /// # Errors
    /// [`NameError::Agent`].
    pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
        let text = text.into();
        if is_token(&text) { Ok(AgentName(text)) } else { Err(NameError::Agent { text }) }
    }

    /// A built-in agent's name.
    pub(crate) fn of(text: &'static str) -> Self {
        AgentName::new(text).expect("built-in agents have valid names")
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ReplyAddress {
    /// Checks the address that a request carries.
    ///
    /// # Errors
    /// [`NameError::ReplyAddress`].
    pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
        let text = text.into();
        if is_plain_subject(&text) {
            Ok(ReplyAddress(text))
        } else {
            Err(NameError::ReplyAddress { text: text.chars().take(80).collect() })
        }
    }

    /// The subject as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where a lifecycle event of a component is published.
pub fn lifecycle_subject(event: &str, component: &str) -> String {
    format!("choria.lifecycle.event.{event}.{component}")
}

impl fmt::Display for Identity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Display for Collective {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Display for AgentName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

fn is_plain_subject(text: &str) -> bool {
    text.len() <= LONGEST
        && text.split('.').all(|token| !token.is_empty())
        && !text.chars().any(|c| c.is_whitespace() || c.is_control() || c == '*' || c == '>')
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= LONGEST
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_carry_names_unchanged() {
        let collective = Collective::new("provisioning").unwrap();
        let identity = Identity::new("node1.example.net").unwrap();
        assert_eq!(collective.node_subject(&identity), "provisioning.node.node1.example.net");
        assert_eq!(
            collective.broadcast_subject(&AgentName::of("choria_provision")),
            "provisioning.broadcast.agent.choria_provision"
        );
        assert_eq!(
            lifecycle_subject("startup", "provision_mode_server"),
            "choria.lifecycle.event.startup.provision_mode_server"
        );
    }

    #[test]
    fn names_that_would_be_more_than_names_are_refused() {
        for text in ["", "a b", "a*", "a>", "a\r\nPUB x 0", "a..b", ".a", "a.", "a\u{a0}b"] {
            assert!(Identity::new(text).is_err(), "{text:?} was taken as an identity");
            assert!(ReplyAddress::new(text).is_err(), "{text:?} was taken as a reply address");
        }
        assert!(Identity::new("x".repeat(LONGEST + 1)).is_err());
        for text in ["", "a.b", "a b", "a*"] {
            assert!(Collective::new(text).is_err(), "{text:?} was taken as a collective");
            assert!(AgentName::new(text).is_err(), "{text:?} was taken as an agent");
        }
    }
}
