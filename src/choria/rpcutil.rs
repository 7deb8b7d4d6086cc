//! The agent `rpcutil`: what a node says about itself when asked. The provisioner asks it for the inventory.

use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};

use crate::choria::agents::{Call, Metadata, Node, Outcome, Refusal, RpcAgent, Statistics};
use crate::choria::facts;
use crate::choria::subject::AgentName;

/// Tells about the node: `ping`, `inventory`, `agent_inventory`, `daemon_stats`, `collective_info`, `get_fact` and
/// `get_facts`.
pub struct RpcUtil {
    metadata: Metadata,
    clock: fn() -> i64,
}

impl RpcUtil {
    /// The agent in a version of the product, with a clock in Unix seconds.
    pub fn new(version: &'static str, clock: fn() -> i64) -> Self {
        RpcUtil {
            metadata: Metadata {
                name: AgentName::of("rpcutil"),
                description: "Tells about the node, its agents, facts and counters".into(),
                author: "The DISCO project".into(),
                license: "Apache-2.0".into(),
                version: version.into(),
                url: "https://disco.example".into(),
                timeout: Duration::from_secs(2),
            },
            clock,
        }
    }
}

impl RpcAgent for RpcUtil {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn invoke<'a>(&'a self, call: &'a Call<'a>) -> Option<BoxFuture<'a, Outcome>> {
        let node = call.node;
        let outcome = match call.action {
            "ping" => Ok(json!({"pong": (self.clock)()})),
            "inventory" => Ok(inventory(node)),
            "agent_inventory" => Ok(agent_inventory(node)),
            "daemon_stats" => Ok(daemon_stats(node)),
            "collective_info" => Ok(collective_info(node)),
            "get_fact" => text(call, "fact").map(|name| {
                let facts = Value::Object(node.facts());
                json!({"fact": name, "value": facts::lookup(&facts, name)})
            }),
            "get_facts" => text(call, "facts").map(|names| get_facts(node, names)),
            _ => return None,
        };
        Some(Box::pin(async move { outcome }))
    }
}

/// All types here are binding for readers in other languages, and nothing may be null.
fn inventory(node: &Node) -> Value {
    json!({
        "agents": agent_names(node),
        "classes": node.classes,
        "collectives": collectives(node),
        "data_plugins": [],
        "facts": node.facts(),
        "machines": [],
        "main_collective": main_collective(node),
        "version": node.version,
        "upgradable": false,
    })
}

fn agent_inventory(node: &Node) -> Value {
    let describe = |agent: &Metadata| {
        json!({
            "agent": agent.name.as_str(),
            "license": agent.license,
            "author": agent.author,
            "timeout": agent.timeout.as_secs(),
            "name": agent.name.as_str(),
            "version": agent.version,
            "url": agent.url,
            "description": agent.description,
        })
    };
    json!({"agents": node.agents.iter().map(describe).collect::<Vec<_>>()})
}

fn daemon_stats(node: &Node) -> Value {
    let counted = &node.statistics;
    json!({
        "agents": agent_names(node),
        "configfile": node.config_file.to_string_lossy(),
        "version": node.version,
        "pid": std::process::id(),
        "starttime": node.started,
        "threads": ["one thread for messages, others for work that blocks"],
        // Always zero in the reference server too.
        "times": {"cstime": 0, "cutime": 0, "stime": 0, "utime": 0},
        "total": Statistics::get(&counted.total),
        "passed": Statistics::get(&counted.passed),
        "filtered": Statistics::get(&counted.filtered),
        "validated": Statistics::get(&counted.validated),
        "unvalidated": Statistics::get(&counted.unvalidated),
        "ttlexpired": Statistics::get(&counted.ttl_expired),
        "replies": Statistics::get(&counted.replies),
        "events": Statistics::get(&counted.events),
    })
}

fn collective_info(node: &Node) -> Value {
    json!({"main_collective": main_collective(node), "collectives": collectives(node)})
}

fn get_facts(node: &Node, names: &str) -> Value {
    let facts = Value::Object(node.facts());
    let value = |name: &str| facts::lookup(&facts, name).cloned().unwrap_or(Value::Null);
    let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
    let values: Map<String, Value> = names.map(|name| (name.to_owned(), value(name))).collect();
    json!({"values": values})
}

fn text<'a>(call: &Call<'a>, input: &str) -> Result<&'a str, Refusal> {
    match call.data.get(input) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(Refusal::unparsable(
            &AgentName::of("rpcutil"),
            call.action,
            &format!("{input} is not a text"),
        )),
        None => Err(Refusal::invalid(&format!("{input} is required"))),
    }
}

fn agent_names(node: &Node) -> Vec<&str> {
    node.agents.iter().map(|agent| agent.name.as_str()).collect()
}

fn collectives(node: &Node) -> Vec<&str> {
    node.collectives.iter().map(|collective| collective.as_str()).collect()
}

fn main_collective(node: &Node) -> &str {
    node.collectives.first().map(|collective| collective.as_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::choria::agents::tests::{body_of, node, payload};
    use crate::choria::agents::{Agents, Rpc};

    async fn ask(body: &Value) -> Value {
        ask_text(&body.to_string()).await
    }

    async fn ask_text(body: &str) -> Value {
        let directory = tempfile::tempdir().unwrap();
        let facts = directory.path().join("facts.json");
        std::fs::write(&facts, r#"{"os":{"family":"Debian"},"cpus":4}"#).unwrap();
        let node = Node { facts_file: Some(facts), ..node() };
        let agents = Agents::new(node, vec![Arc::new(Rpc(RpcUtil::new("0.1.0", || 1_760_000_000)))]).unwrap();
        let payload = payload("rpcutil", body, |_| ());
        let reply = agents.receive(&payload, "nats://b:1", 1_760_000_000).unwrap().await.unwrap();
        serde_json::from_str(&body_of(&reply)).unwrap()
    }

    #[tokio::test]
    async fn the_inventory_has_exactly_the_members_and_types_that_readers_expect() {
        let reply = ask(&json!({"agent": "rpcutil", "action": "inventory", "data": {}})).await;
        assert_eq!(
            reply,
            json!({
                "action": "inventory", "statuscode": 0, "statusmsg": "OK",
                "data": {
                    "agents": ["rpcutil"], "classes": [], "collectives": ["provisioning"], "data_plugins": [],
                    "facts": {"os": {"family": "Debian"}, "cpus": 4}, "machines": [],
                    "main_collective": "provisioning", "version": "0.1.0", "upgradable": false
                }
            })
        );
    }

    #[tokio::test]
    async fn facts_are_found_and_missing_ones_are_null() {
        let fact = |name: &str| json!({"agent": "rpcutil", "action": "get_fact", "data": {"fact": name}});
        assert_eq!(ask(&fact("os.family")).await["data"], json!({"fact": "os.family", "value": "Debian"}));
        let missing = ask(&fact("none")).await;
        assert_eq!((&missing["statuscode"], &missing["data"]["value"]), (&json!(0), &Value::Null));
        let several = json!({"agent": "rpcutil", "action": "get_facts", "data": {"facts": "cpus, none"}});
        assert_eq!(ask(&several).await["data"], json!({"values": {"cpus": 4, "none": null}}));
    }

    #[tokio::test]
    async fn bad_requests_get_the_status_and_text_of_the_reference() {
        let unknown = ask(&json!({"agent": "rpcutil", "action": "nothing"})).await;
        assert_eq!(unknown["statuscode"], 2);
        assert_eq!(unknown["statusmsg"], "Unknown action nothing for agent rpcutil");
        assert_eq!(unknown["data"], json!({}));
        let rubbish = ask_text("{").await;
        assert_eq!((&rubbish["statuscode"], &rubbish["action"]), (&json!(4), &json!("")));
        assert!(rubbish["statusmsg"].as_str().unwrap().starts_with("Could not process request: "));
        let wrong = ask(&json!({"agent": "rpcutil", "action": "get_fact", "data": {"fact": 1}})).await;
        assert_eq!(wrong["statuscode"], 4);
        assert!(
            wrong["statusmsg"]
                .as_str()
                .unwrap()
                .starts_with("Could not parse request data for rpcutil#get_fact:")
        );
    }

    #[tokio::test]
    async fn the_old_encoding_of_bodies_is_understood() {
        let body = crate::choria::security::encode(br#"{"agent":"rpcutil","action":"ping","data":null}"#);
        assert_eq!(ask_text(&body).await["data"], json!({"pong": 1_760_000_000}));
    }
}
