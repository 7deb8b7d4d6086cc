//! Agents of other crates in our runtime: checked before they are called, contained while they run.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use disco_sdk::{AgentInfo, Failure, Input, InputType};
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::choria::agents::{Call, Metadata, Outcome, Refusal, RpcAgent};
use crate::choria::journal::{Journal, printable};
use crate::choria::subject::AgentName;

/// How many calls of one plug may run at once, those that outlasted their caller included: what a plug that hangs can
/// cost is this many threads.
const CALLS_AT_ONCE: usize = 4;

/// Shortest time-out that stock clients accept, in seconds.
const SHORTEST_TIMEOUT: u64 = 2;

/// Why an agent of another crate cannot be seated.
#[derive(Debug, thiserror::Error)]
pub enum PlugError {
    /// Nobody could call it.
    #[error("`{name}` is no name of an agent: write lower-case letters, digits and `_`, a letter first")]
    Name {
        /// What it calls itself.
        name: String,
    },
    /// Clients would refuse it.
    #[error("agent {name} has a time-out of {seconds} s; at least {SHORTEST_TIMEOUT} are needed")]
    Timeout {
        /// The agent.
        name: String,
        /// Its time-out, in whole seconds.
        seconds: u64,
    },
}

/// An agent of another crate.
pub struct Plug {
    agent: Arc<dyn disco_sdk::Agent>,
    info: AgentInfo,
    metadata: Metadata,
    room: Arc<Semaphore>,
    journal: Arc<dyn Journal>,
}

impl Plug {
    /// Asks an agent who it is, and makes it one of ours.
    ///
    /// # Errors
    /// It says something about itself that would make it unusable.
    pub fn new(agent: Arc<dyn disco_sdk::Agent>, journal: Arc<dyn Journal>) -> Result<Self, PlugError> {
        let info = agent.info();
        let named = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let is_named =
            info.name.starts_with(|c: char| c.is_ascii_lowercase()) && info.name.chars().all(named);
        let name = AgentName::new(info.name.clone()).ok().filter(|_| is_named);
        let name = name.ok_or_else(|| PlugError::Name { name: info.name.clone() })?;
        let seconds = info.timeout.as_secs();
        if seconds < SHORTEST_TIMEOUT {
            return Err(PlugError::Timeout { name: info.name, seconds });
        }
        let metadata = Metadata {
            name,
            description: info.description.clone().into(),
            author: info.author.clone().into(),
            license: info.license.clone().into(),
            version: info.version.clone().into(),
            url: info.url.clone().into(),
            timeout: info.timeout,
        };
        Ok(Plug { agent, info, metadata, room: Arc::new(Semaphore::new(CALLS_AT_ONCE)), journal })
    }

    /// Calls the action on a thread of its own, when there is room, and waits for its answer.
    async fn run(&self, call: &Call<'_>) -> Outcome {
        let name = &self.info.name;
        let broken = || Refusal::unknown_error(format!("agent {name} ended unexpectedly"));
        let permit = Arc::clone(&self.room).acquire_owned().await.map_err(|_| broken())?;
        let order = Order {
            agent: Arc::clone(&self.agent),
            action: call.action.to_owned(),
            data: Value::Object(call.data.clone()).to_string(),
            identity: call.node.identity.to_string(),
            caller: call.request.caller_id.clone(),
            deadline: Instant::now() + self.info.timeout,
            _permit: permit,
        };
        let (sender, answer) = oneshot::channel();
        let started = thread::Builder::new().name(format!("agent {name}")).spawn(move || {
            // Nobody waits any more where the time-out passed.
            let _ = sender.send(order.execute());
        });
        if let Err(error) = started {
            self.journal.error(&format!("no thread for agent {name}: {error}"));
            return Err(broken());
        }
        let text = match answer.await {
            Ok(Some(Ok(text))) => text,
            Ok(Some(Err(failure))) => return Err(refusal(&failure)),
            Ok(None) | Err(_) => {
                let action = printable(call.action);
                self.journal.error(&format!("agent {name} panicked in {action}; its message is above"));
                return Err(broken());
            }
        };
        match serde_json::from_str(&text) {
            Ok(Value::Object(data)) => Ok(Value::Object(data)),
            _ => {
                self.journal.error(&format!("agent {name} answered with something that is no JSON object"));
                Err(Refusal::unknown_error(format!("agent {name} gave no usable answer")))
            }
        }
    }
}

/// What the thread of a call gets. It keeps its permit until the agent returns, however late.
struct Order {
    agent: Arc<dyn disco_sdk::Agent>,
    action: String,
    data: String,
    identity: String,
    caller: String,
    deadline: Instant,
    _permit: OwnedSemaphorePermit,
}

impl Order {
    /// `None`: the agent panicked.
    fn execute(&self) -> Option<Result<String, Failure>> {
        let call =
            disco_sdk::Call::new(&self.action, &self.data, &self.identity, &self.caller, self.deadline);
        catch_unwind(AssertUnwindSafe(|| self.agent.invoke(&call))).ok()
    }
}

impl RpcAgent for Plug {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn invoke<'a>(&'a self, call: &'a Call<'a>) -> Option<BoxFuture<'a, Outcome>> {
        let action = self.info.actions.iter().find(|action| action.name == call.action)?;
        Some(Box::pin(async move {
            check(&action.inputs, call.data)?;
            self.run(call).await
        }))
    }
}

/// Refuses inputs that are missing or of another type; null is the same as missing.
fn check(inputs: &[Input], data: &Map<String, Value>) -> Result<(), Refusal> {
    for input in inputs {
        let name = &input.name;
        let fits = match (data.get(name), input.kind) {
            (None | Some(Value::Null), _) if input.required => {
                return Err(Refusal::missing(format!("{name} is required")));
            }
            (None | Some(Value::Null), _) => true,
            (Some(value), InputType::Text) => value.is_string(),
            (Some(value), InputType::Number) => value.is_number(),
            (Some(value), InputType::Boolean) => value.is_boolean(),
            (Some(value), InputType::List) => value.is_array(),
            (Some(value), InputType::Object) => value.is_object(),
            // A newer SDK's type, which a plug built against it checks itself.
            (Some(_), _) => true,
        };
        if !fits {
            return Err(Refusal::invalid(&format!("{name} is not a {}", wording(input.kind))));
        }
    }
    Ok(())
}

fn wording(kind: InputType) -> &'static str {
    match kind {
        InputType::Text => "text",
        InputType::Number => "number",
        InputType::Boolean => "truth value",
        InputType::List => "list",
        _ => "JSON object",
    }
}

fn refusal(failure: &Failure) -> Refusal {
    match failure.is_input_wrong() {
        true => Refusal::invalid(&failure.to_string()),
        false => Refusal::aborted(failure.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Receiver, channel};
    use std::sync::{Mutex, PoisonError};
    use std::time::Duration;

    use disco_sdk::Action;
    use serde_json::json;

    use super::*;
    use crate::choria::agents::tests::{Silence, body_of, node, payload};
    use crate::choria::agents::{Agents, Rpc};

    /// Does what its action's name says.
    struct Actor {
        called: AtomicUsize,
        gate: Mutex<Receiver<()>>,
    }

    impl disco_sdk::Agent for Actor {
        fn info(&self) -> AgentInfo {
            AgentInfo::new("actor", "1.0.0")
                .timeout(Duration::from_secs(2))
                .action(
                    Action::new("echo", "").input(Input::text("text")).input(Input::number("n").optional()),
                )
                .action(Action::new("panic", ""))
                .action(Action::new("mumble", ""))
                .action(Action::new("refuse", ""))
                .action(Action::new("hang", ""))
        }

        fn invoke(&self, call: &disco_sdk::Call<'_>) -> Result<String, Failure> {
            self.called.fetch_add(1, Ordering::SeqCst);
            match call.action {
                "echo" => Ok(json!({"data": call.data, "by": call.caller, "on": call.identity}).to_string()),
                "panic" => panic!("a bug in an agent"),
                "mumble" => Ok("[1".into()),
                "refuse" => Err(Failure::aborted("not today")),
                _ => {
                    let _ = self.gate.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    Ok("{}".into())
                }
            }
        }
    }

    async fn ask(agents: &Agents, action: &str, data: Value) -> Option<Value> {
        let body = json!({"agent": "actor", "action": action, "data": data}).to_string();
        let reply = agents.receive(&payload("actor", &body, |_| ()), "nats://b:1", 1_760_000_000);
        let reply = reply.unwrap().await?;
        Some(serde_json::from_str(&body_of(&reply)).unwrap())
    }

    fn actor() -> (Agents, Arc<Actor>, std::sync::mpsc::Sender<()>) {
        let (release, gate) = channel();
        let actor = Arc::new(Actor { called: AtomicUsize::new(0), gate: Mutex::new(gate) });
        let plug = Plug::new(Arc::clone(&actor) as Arc<dyn disco_sdk::Agent>, Arc::new(Silence)).unwrap();
        (Agents::new(node(), vec![Arc::new(Rpc(plug))]).unwrap(), actor, release)
    }

    #[tokio::test]
    async fn a_call_brings_the_inputs_the_caller_and_the_node() {
        let (agents, _, _release) = actor();
        let reply = ask(&agents, "echo", json!({"text": "x", "more": 1})).await.unwrap();
        assert_eq!((&reply["statuscode"], &reply["statusmsg"]), (&json!(0), &json!("OK")));
        assert_eq!(reply["data"]["by"], "choria=alice.mcollective");
        assert_eq!(reply["data"]["on"], "node1.example.net");
        let data: Value = serde_json::from_str(reply["data"]["data"].as_str().unwrap()).unwrap();
        assert_eq!(data, json!({"text": "x", "more": 1}));
    }

    #[tokio::test]
    async fn requests_that_do_not_fit_never_reach_the_agent() {
        let (agents, actor, _release) = actor();
        for (action, data, status, words) in [
            ("echo", json!({}), 3, "text is required"),
            ("echo", json!({"text": null}), 3, "text is required"),
            ("echo", json!({"text": 1}), 4, "text is not a text"),
            ("echo", json!({"text": "x", "n": "1"}), 4, "n is not a number"),
            ("sing", json!({}), 2, "Unknown action sing for agent actor"),
        ] {
            let reply = ask(&agents, action, data).await.unwrap();
            assert_eq!(reply["statuscode"], status, "{reply}");
            assert!(reply["statusmsg"].as_str().unwrap().contains(words), "{reply}");
        }
        assert_eq!(actor.called.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn a_panic_or_a_mumble_ends_one_request() {
        let (agents, _, _release) = actor();
        let status =
            async |action: &str| ask(&agents, action, json!({})).await.unwrap()["statuscode"].clone();
        assert_eq!(status("panic").await, 5);
        assert_eq!(status("mumble").await, 5);
        assert_eq!(status("refuse").await, 1);
        assert!(ask(&agents, "echo", json!({"text": "still here"})).await.is_some());
    }

    #[tokio::test]
    async fn calls_that_hang_cost_a_few_threads_and_get_no_answer() {
        let (agents, actor, release) = actor();
        let hanging = (0..CALLS_AT_ONCE + 2).map(|_| ask(&agents, "hang", json!({})));
        let answers = futures_util::future::join_all(hanging).await;
        assert!(answers.iter().all(Option::is_none));
        assert_eq!(actor.called.load(Ordering::SeqCst), CALLS_AT_ONCE);
        drop(release);
        assert!(ask(&agents, "echo", json!({"text": "room again"})).await.is_some());
    }

    #[test]
    fn an_agent_that_nobody_could_call_is_refused() {
        struct Named(&'static str, u64);
        impl disco_sdk::Agent for Named {
            fn info(&self) -> AgentInfo {
                AgentInfo::new(self.0, "1").timeout(Duration::from_secs(self.1))
            }
            fn invoke(&self, _: &disco_sdk::Call<'_>) -> Result<String, Failure> {
                Ok("{}".into())
            }
        }
        let seat = |name, seconds| Plug::new(Arc::new(Named(name, seconds)), Arc::new(Silence));
        for name in ["", "Rack", "a b", "a.b", "7up"] {
            assert!(matches!(seat(name, 5), Err(PlugError::Name { .. })), "{name}");
        }
        assert!(matches!(seat("rack", 1), Err(PlugError::Timeout { .. })));
        assert!(seat("acme_rack2", 2).is_ok());
    }
}
