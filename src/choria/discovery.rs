//! The agent `discovery`: says `pong`, so that a requester learns which nodes its filter means.

use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::choria::agents::{Agent, Metadata, Node};
use crate::choria::message::Request;
use crate::choria::subject::AgentName;

/// Answers `ping` with `pong`; not an RPC agent.
pub struct Discovery {
    metadata: Metadata,
}

impl Discovery {
    /// The agent in a version of the product.
    pub fn new(version: &'static str) -> Self {
        Discovery {
            metadata: Metadata {
                name: AgentName::of("discovery"),
                description: "Tells requesters that this node is there".into(),
                author: "The DISCO project".into(),
                license: "Apache-2.0".into(),
                version: version.into(),
                url: "https://disco.example".into(),
                timeout: Duration::from_secs(2),
            },
        }
    }
}

impl Agent for Discovery {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn answer<'a>(&'a self, request: &'a Request, _: &'a Node) -> BoxFuture<'a, Option<String>> {
        // Containing the word is enough for the reference server; anything else gets no reply at all.
        let is_ping = request.body.windows(4).any(|window| window == b"ping");
        Box::pin(async move { is_ping.then(|| "pong".to_owned()) })
    }
}
