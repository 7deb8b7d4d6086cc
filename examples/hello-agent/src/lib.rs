//! A complete agent: greets by name, and tells how long the node is up.
//!
//! With `choria req hello greet name=world`, every node of the collective answers.

use std::fs;

use disco_sdk::{Action, Agent, AgentInfo, Call, Failure, Input};
use serde_json::{Value, json};

/// What a spec's `[[agents]]` table calls.
pub fn agents() -> Vec<Box<dyn Agent>> {
    vec![Box::new(Hello)]
}

struct Hello;

impl Agent for Hello {
    fn info(&self) -> AgentInfo {
        AgentInfo::new("hello", env!("CARGO_PKG_VERSION"))
            .description("Greets, and tells how long the node is up")
            .author("The DISCO project")
            .license("Apache-2.0")
            .url("https://disco.example")
            .action(Action::new("greet", "Says hello").input(Input::text("name")))
            .action(Action::new("uptime", "Tells the seconds since the node booted"))
    }

    fn invoke(&self, call: &Call<'_>) -> Result<String, Failure> {
        // The product checked that `data` is an object with the inputs above.
        let data: Value = serde_json::from_str(call.data).map_err(|why| Failure::invalid(why.to_string()))?;
        match call.action {
            "greet" => match data["name"].as_str().unwrap_or_default() {
                "" => Err(Failure::invalid("an empty name cannot be greeted")),
                name => {
                    Ok(json!({ "greeting": format!("Hello {name}, from {}", call.identity) }).to_string())
                }
            },
            _ => uptime().map(|seconds| json!({ "seconds": seconds }).to_string()),
        }
    }
}

fn uptime() -> Result<f64, Failure> {
    let text = fs::read_to_string("/proc/uptime")
        .map_err(|why| Failure::aborted(format!("cannot read /proc/uptime: {why}")))?;
    let first = text.split_whitespace().next().and_then(|seconds| seconds.parse().ok());
    first.ok_or_else(|| Failure::aborted("/proc/uptime holds no number"))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn call(action: &str, data: &str) -> Result<String, Failure> {
        Hello.invoke(&Call::new(action, data, "node1", "choria=alice", Instant::now()))
    }

    #[test]
    fn it_greets_whoever_has_a_name() {
        assert_eq!(
            call("greet", r#"{"name": "world"}"#).unwrap(),
            r#"{"greeting":"Hello world, from node1"}"#
        );
        assert!(call("greet", r#"{"name": ""}"#).unwrap_err().is_input_wrong());
    }

    #[test]
    fn it_knows_for_how_long_the_node_is_up() {
        let answer: Value = serde_json::from_str(&call("uptime", "{}").unwrap()).unwrap();
        assert!(answer["seconds"].as_f64().unwrap() > 0.0);
    }
}
