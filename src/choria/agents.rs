//! The agent runtime: from a payload on the broker to an agent's answer.
//!
//! [`Agents::receive`] runs the reference server's pipeline: decode, filter, collective, time, agent. What does not
//! pass is dropped in silence on the network and counted here. What passes runs concurrently with everything else,
//! no longer than its agent's time-out and in at most [`MOST_AT_ONCE`] requests per agent, so that a flood for a slow
//! agent cannot keep discovery from being answered at once.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use crate::choria::facts;
use crate::choria::filter::Subject;
use crate::choria::journal::Journal;
use crate::choria::message::{DecodeError, Incoming, Request};
use crate::choria::subject::{AgentName, Collective, Identity, NameError, ReplyAddress};

/// How many requests one agent may have in work; more are dropped, as the reference drops what it cannot serve.
pub const MOST_AT_ONCE: usize = 32;

/// Who an agent is, as `rpcutil#agent_inventory` tells it.
#[derive(Debug, Clone)]
pub struct Metadata {
    /// Its name.
    pub name: AgentName,
    /// What it does, in one sentence.
    pub description: Cow<'static, str>,
    /// Who made it.
    pub author: Cow<'static, str>,
    /// Under which licence.
    pub license: Cow<'static, str>,
    /// Its version.
    pub version: Cow<'static, str>,
    /// Where to read on.
    pub url: Cow<'static, str>,
    /// How long an action may run, in whole seconds; no answer is sent after that.
    pub timeout: Duration,
}

/// Something that answers requests.
pub trait Agent: Send + Sync {
    /// Who it is.
    fn metadata(&self) -> &Metadata;

    /// Answers one request with the body of a reply, or not at all.
    fn answer<'a>(&'a self, request: &'a Request, node: &'a Node) -> BoxFuture<'a, Option<String>>;
}

/// An agent with named actions, bodies in JSON and status codes. Wrapped in [`Rpc`] it is an [`Agent`].
pub trait RpcAgent: Send + Sync {
    /// Who it is.
    fn metadata(&self) -> &Metadata;

    /// Runs one action. `None`: there is no such action.
    fn invoke<'a>(&'a self, call: &'a Call<'a>) -> Option<BoxFuture<'a, Outcome>>;
}

/// One call of an action.
pub struct Call<'a> {
    /// Which action.
    pub action: &'a str,
    /// Its inputs.
    pub data: &'a Map<String, Value>,
    /// The request that it came in.
    pub request: &'a Request,
    /// The node that is asked.
    pub node: &'a Node,
}

/// How an action ended: data, or a refusal.
pub type Outcome = Result<Value, Refusal>;

/// Why an action gave no data. Statuses are the protocol's: 1 aborted, 2 unknown action, 3 missing data, 4 invalid
/// data, 5 unknown error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    status: u8,
    message: String,
}

impl Refusal {
    /// The action could not run.
    pub fn aborted(message: impl Into<String>) -> Self {
        Refusal { status: 1, message: message.into() }
    }

    /// There is no such action.
    pub fn unknown_action(action: &str, agent: &AgentName) -> Self {
        Refusal { status: 2, message: format!("Unknown action {action} for agent {agent}") }
    }

    /// The inputs do not parse.
    pub fn unparsable(agent: &AgentName, action: &str, reason: &str) -> Self {
        Refusal { status: 4, message: format!("Could not parse request data for {agent}#{action}: {reason}") }
    }

    /// A required input is not there.
    pub fn missing(message: impl Into<String>) -> Self {
        Refusal { status: 3, message: message.into() }
    }

    /// The action went wrong in a way that says nothing about the request.
    pub fn unknown_error(message: impl Into<String>) -> Self {
        Refusal { status: 5, message: message.into() }
    }

    /// An input parses and is not acceptable.
    pub fn invalid(reason: &str) -> Self {
        Refusal { status: 4, message: format!("Validation failed: {reason}") }
    }
}

/// Makes an [`Agent`] of an [`RpcAgent`]: parses bodies, words refusals.
pub struct Rpc<A>(pub A);

#[derive(Deserialize)]
struct RpcBody {
    action: String,
    #[serde(default)]
    data: Option<Map<String, Value>>,
}

#[derive(Serialize)]
struct RpcReply<'a> {
    action: &'a str,
    statuscode: u8,
    statusmsg: &'a str,
    data: Value,
}

impl<A: RpcAgent> Agent for Rpc<A> {
    fn metadata(&self) -> &Metadata {
        self.0.metadata()
    }

    fn answer<'a>(&'a self, request: &'a Request, node: &'a Node) -> BoxFuture<'a, Option<String>> {
        Box::pin(async move {
            let body: RpcBody = match serde_json::from_slice(&request.body) {
                Ok(body) => body,
                Err(error) => {
                    return Some(rpc_reply("", 4, &format!("Could not process request: {error}"), None));
                }
            };
            let data = body.data.unwrap_or_default();
            let call = Call { action: &body.action, data: &data, request, node };
            let outcome = match self.0.invoke(&call) {
                Some(running) => running.await,
                None => Err(Refusal::unknown_action(&body.action, &self.metadata().name)),
            };
            Some(match outcome {
                Ok(data) => rpc_reply(&body.action, 0, "OK", Some(data)),
                Err(refusal) => rpc_reply(&body.action, refusal.status, &refusal.message, None),
            })
        })
    }
}

fn rpc_reply(action: &str, statuscode: u8, statusmsg: &str, data: Option<Value>) -> String {
    let data = data.unwrap_or_else(|| Value::Object(Map::new()));
    serde_json::to_string(&RpcReply { action, statuscode, statusmsg, data })
        .expect("a reply holds only texts, numbers and JSON values")
}

/// The node that agents speak for. Shared by all of them; only its counters change.
pub struct Node {
    /// Its name.
    pub identity: Identity,
    /// The collectives it listens in; the first is its main one.
    pub collectives: Vec<Collective>,
    /// Version of the product, as `inventory` tells it.
    pub version: &'static str,
    /// The configuration file, whether it exists or not.
    pub config_file: PathBuf,
    /// Its classes.
    pub classes: Vec<String>,
    /// Where its facts are; `None`: it has none.
    pub facts_file: Option<PathBuf>,
    /// When the server started, Unix seconds.
    pub started: i64,
    /// What was counted since then.
    pub statistics: Statistics,
    /// Who its agents are, by name.
    pub agents: Vec<Metadata>,
    /// Where to tell what is wrong with the fact file.
    pub journal: Arc<dyn Journal>,
    /// What was last said about the fact file, to say it once.
    pub facts_trouble: Mutex<Option<String>>,
}

impl Node {
    /// Its facts; none where the file cannot be used, which the journal hears once.
    pub fn facts(&self) -> Map<String, Value> {
        let Some(path) = &self.facts_file else { return Map::new() };
        let outcome = facts::read(path);
        let trouble = outcome.as_ref().err().map(ToString::to_string);
        let mut known = self.facts_trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if *known != trouble {
            match &trouble {
                Some(trouble) => self.journal.warning(&format!("{trouble}; the node has no facts")),
                None => self.journal.info(&format!("facts can be read again from {}", path.display())),
            }
            *known = trouble;
        }
        outcome.unwrap_or_default()
    }

    /// Names of its agents, sorted.
    pub fn agent_names(&self) -> Vec<AgentName> {
        self.agents.iter().map(|agent| agent.name.clone()).collect()
    }
}

/// What a node counts, under the reference's names.
#[derive(Debug, Default)]
pub struct Statistics {
    /// Payloads that arrived.
    pub total: AtomicU64,
    /// Requests for this node, in time, from a known collective.
    pub validated: AtomicU64,
    /// Payloads that are no acceptable request.
    pub unvalidated: AtomicU64,
    /// Requests whose filter means this node.
    pub passed: AtomicU64,
    /// Requests whose filter means others.
    pub filtered: AtomicU64,
    /// Requests that are too old or too new.
    pub ttl_expired: AtomicU64,
    /// Replies sent.
    pub replies: AtomicU64,
    /// Lifecycle events sent.
    pub events: AtomicU64,
    /// When the last valid request arrived, Unix seconds; 0 before the first.
    pub last_message: AtomicI64,
}

impl Statistics {
    /// Counts one more.
    pub fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// What was counted.
    pub fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }
}

/// Why a payload gets no answer.
#[derive(Debug, thiserror::Error)]
pub enum Dropped {
    /// It is not an acceptable request.
    #[error("not an acceptable request")]
    Undecodable(#[from] DecodeError),
    /// Its filter means other nodes.
    #[error("the filter means other nodes")]
    Filtered,
    /// It is for a collective that this node is not in.
    #[error("collective {collective:?} is not ours")]
    Collective {
        /// Which one.
        collective: String,
    },
    /// It is too old or from the future.
    #[error("made {age} s ago with {ttl} s to live")]
    Expired {
        /// Seconds since it was made; negative if in the future.
        age: i64,
        /// Its time to live in seconds.
        ttl: i64,
    },
    /// It is for an agent that this node does not have.
    #[error("there is no agent {agent:?}")]
    NoAgent {
        /// Which one.
        agent: String,
    },
    /// Its answer could not be sent anywhere.
    #[error("no way to answer")]
    NoReplyAddress(#[from] NameError),
    /// Its agent has too much in work.
    #[error("agent {agent} has {MOST_AT_ONCE} requests in work")]
    Busy {
        /// Which one.
        agent: AgentName,
    },
}

/// A reply that is ready to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Where it goes.
    pub subject: String,
    /// What goes there.
    pub payload: Vec<u8>,
}

/// Two agents of a node have one name.
#[derive(Debug, thiserror::Error)]
#[error(
    "two agents are called {name}: a crate of the brand brings one that is built in, or two crates bring the same"
)]
pub struct SeatTaken {
    /// Their name.
    pub name: AgentName,
}

/// All agents of a node.
pub struct Agents {
    node: Arc<Node>,
    seats: BTreeMap<AgentName, Seat>,
}

struct Seat {
    agent: Arc<dyn Agent>,
    room: Arc<Semaphore>,
}

impl Agents {
    /// Seats agents around a node, which learns their metadata.
    ///
    /// # Errors
    /// Two of them have one name.
    pub fn new(mut node: Node, agents: Vec<Arc<dyn Agent>>) -> Result<Self, SeatTaken> {
        let mut seats = BTreeMap::new();
        for agent in agents {
            let name = agent.metadata().name.clone();
            let room = Arc::new(Semaphore::new(MOST_AT_ONCE));
            if seats.insert(name.clone(), Seat { agent, room }).is_some() {
                return Err(SeatTaken { name });
            }
        }
        node.agents = seats.values().map(|seat| seat.agent.metadata().clone()).collect();
        Ok(Agents { node: Arc::new(node), seats })
    }

    /// The node.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Every subject on which requests for this node arrive.
    pub fn subjects(&self) -> Vec<String> {
        let mut subjects = Vec::new();
        for collective in &self.node.collectives {
            subjects.push(collective.node_subject(&self.node.identity));
            subjects.extend(self.seats.keys().map(|agent| collective.broadcast_subject(agent)));
        }
        subjects
    }

    /// Takes a payload from the broker; what comes back computes the reply.
    ///
    /// # Errors
    /// Why the payload gets no answer; already counted.
    pub fn receive(
        &self,
        payload: &[u8],
        broker: &str,
        now: i64,
    ) -> Result<impl Future<Output = Option<Reply>> + Send + 'static, Dropped> {
        let incoming = self.accept(payload, now).inspect_err(|dropped| self.count(dropped))?;
        let statistics = &self.node.statistics;
        Statistics::count(&statistics.validated);
        statistics.last_message.store(now, Ordering::Relaxed);

        let missing = || Dropped::NoAgent { agent: incoming.request.agent.clone() };
        let name = AgentName::new(incoming.request.agent.as_str()).map_err(|_| missing())?;
        let seat = self.seats.get(&name).ok_or_else(missing)?;
        let address = ReplyAddress::new(incoming.reply_to.as_str())?;
        let permit =
            Arc::clone(&seat.room).try_acquire_owned().map_err(|_| Dropped::Busy { agent: name.clone() })?;

        let agent = Arc::clone(&seat.agent);
        let node = Arc::clone(&self.node);
        let broker = broker.to_owned();
        let started = tokio::time::Instant::now();
        Ok(async move {
            let answer = agent.answer(&incoming.request, &node);
            let body = tokio::time::timeout(agent.metadata().timeout, answer).await;
            drop(permit);
            let Ok(body) = body else {
                let timeout = agent.metadata().timeout.as_secs();
                node.journal.warning(&format!("agent {name} gave no answer within {timeout} s"));
                return None;
            };
            // The reply bears the time of its making; elapsed time is added to the clock that the caller read.
            let made = now.saturating_add(i64::try_from(started.elapsed().as_secs()).unwrap_or(0));
            let payload = incoming.reply(&body?, &node.identity, &broker, made);
            Statistics::count(&node.statistics.replies);
            Some(Reply { subject: address.as_str().to_owned(), payload })
        })
    }

    fn accept(&self, payload: &[u8], now: i64) -> Result<Incoming, Dropped> {
        let node = &self.node;
        Statistics::count(&node.statistics.total);
        let incoming = Incoming::decode(payload)?;
        let request = &incoming.request;
        let subject = Subject {
            identity: &node.identity,
            agents: &node.agent_names(),
            classes: &node.classes,
            facts: &|| Value::Object(node.facts()),
        };
        if !request.filter.matches(&subject) {
            return Err(Dropped::Filtered);
        }
        Statistics::count(&node.statistics.passed);
        if !node.collectives.iter().any(|ours| ours.as_str() == request.collective) {
            return Err(Dropped::Collective { collective: request.collective.clone() });
        }
        if !request.is_timely(now) {
            return Err(Dropped::Expired { age: now.saturating_sub(request.time), ttl: request.ttl });
        }
        Ok(incoming)
    }

    fn count(&self, dropped: &Dropped) {
        let statistics = &self.node.statistics;
        match dropped {
            Dropped::Undecodable(_) | Dropped::Collective { .. } => {
                Statistics::count(&statistics.unvalidated)
            }
            Dropped::Filtered => Statistics::count(&statistics.filtered),
            Dropped::Expired { .. } => Statistics::count(&statistics.ttl_expired),
            Dropped::NoAgent { .. } | Dropped::NoReplyAddress(_) | Dropped::Busy { .. } => (),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;
    use crate::choria::discovery::Discovery;
    use crate::choria::journal::Note;
    use crate::choria::security;

    /// A journal that nobody reads.
    pub(crate) struct Silence;

    impl Journal for Silence {
        fn note(&self, _: Note<'_>) {}
    }

    /// A node in the provisioning collective, without facts.
    pub(crate) fn node() -> Node {
        Node {
            identity: Identity::new("node1.example.net").unwrap(),
            collectives: vec![Collective::new("provisioning").unwrap()],
            version: "0.1.0",
            config_file: PathBuf::from("/etc/acme/server.conf"),
            classes: Vec::new(),
            facts_file: None,
            started: 1_760_000_000,
            statistics: Statistics::default(),
            agents: Vec::new(),
            journal: Arc::new(Silence),
            facts_trouble: Mutex::new(None),
        }
    }

    /// A request with a body for an agent, as it travels, with a change applied.
    pub(crate) fn payload(agent: &str, body: &str, change: impl FnOnce(&mut Value)) -> Vec<u8> {
        let mut request = json!({
            "protocol": "choria:request:1", "message": body,
            "envelope": {
                "requestid": "3f1c0a9b5d2e4f60818293a4b5c6d7e8", "senderid": "ctl.example.net",
                "callerid": "choria=alice.mcollective", "collective": "provisioning", "agent": agent,
                "ttl": 60, "time": 1_760_000_000,
                "filter": {"fact": [], "cf_class": [], "agent": [], "identity": [], "compound": []}
            }
        });
        change(&mut request);
        let secure = json!({
            "protocol": "choria:secure:request:1", "message": request.to_string(),
            "signature": "insecure", "pubcert": "insecure"
        });
        json!({
            "protocol": "choria:transport:1", "data": security::encode(secure.to_string().as_bytes()),
            "headers": {"reply-to": "provisioning.reply.x.y"}
        })
        .to_string()
        .into_bytes()
    }

    /// The body of a reply.
    pub(crate) fn body_of(reply: &Reply) -> String {
        let transport: Value = serde_json::from_slice(&reply.payload).unwrap();
        let secure = security::transport_payload(transport["data"].as_str().unwrap()).unwrap();
        let secure: Value = serde_json::from_slice(&secure).unwrap();
        let message: Value = serde_json::from_str(secure["message"].as_str().unwrap()).unwrap();
        message["message"].as_str().unwrap().to_owned()
    }

    struct Slow(Metadata);

    impl Slow {
        fn new() -> Self {
            let template = Discovery::new("1").metadata().clone();
            Slow(Metadata { name: AgentName::of("slow"), timeout: Duration::from_millis(20), ..template })
        }
    }

    impl Agent for Slow {
        fn metadata(&self) -> &Metadata {
            &self.0
        }

        fn answer<'a>(&'a self, _: &'a Request, _: &'a Node) -> BoxFuture<'a, Option<String>> {
            Box::pin(std::future::pending())
        }
    }

    fn agents() -> Agents {
        Agents::new(node(), vec![Arc::new(Discovery::new("1")), Arc::new(Slow::new())]).unwrap()
    }

    #[tokio::test]
    async fn a_ping_is_answered_to_its_reply_address() {
        let agents = agents();
        let reply = agents.receive(&payload("discovery", "cGluZw==", |_| ()), "nats://b:1", 1_760_000_000);
        let reply = reply.unwrap().await.unwrap();
        assert_eq!(reply.subject, "provisioning.reply.x.y");
        assert_eq!(body_of(&reply), "pong");
        assert_eq!(Statistics::get(&agents.node().statistics.replies), 1);
    }

    #[tokio::test]
    async fn what_is_dropped_is_counted_where_the_reference_counts_it() {
        let agents = agents();
        let receive = |agent: &str, now: i64, change: fn(&mut Value)| {
            agents.receive(&payload(agent, "cGluZw==", change), "nats://b:1", now).err().unwrap()
        };
        let made = 1_760_000_000;
        assert!(matches!(receive("discovery", made + 60, |_| ()), Dropped::Expired { .. }));
        assert!(matches!(receive("absent", made, |_| ()), Dropped::NoAgent { .. }));
        let other = |request: &mut Value| request["envelope"]["collective"] = json!("mcollective");
        assert!(matches!(receive("discovery", made, other), Dropped::Collective { .. }));
        let filter = |request: &mut Value| request["envelope"]["filter"]["agent"] = json!(["absent"]);
        assert!(matches!(receive("discovery", made, filter), Dropped::Filtered));
        assert!(agents.receive(b"rubbish", "nats://b:1", made).is_err());

        let statistics = &agents.node().statistics;
        assert_eq!(Statistics::get(&statistics.total), 5);
        assert_eq!(Statistics::get(&statistics.ttl_expired), 1);
        assert_eq!(Statistics::get(&statistics.unvalidated), 2);
        assert_eq!(Statistics::get(&statistics.filtered), 1);
        assert_eq!(Statistics::get(&statistics.validated), 1);
    }

    #[tokio::test]
    async fn an_agent_that_takes_too_long_sends_nothing() {
        let work = agents().receive(&payload("slow", "{}", |_| ()), "nats://b:1", 1_760_000_000).unwrap();
        assert_eq!(work.await, None);
    }

    #[tokio::test]
    async fn a_flood_for_one_agent_leaves_room_for_the_others() {
        let agents = agents();
        let flood = payload("slow", "{}", |_| ());
        let receive = || agents.receive(&flood, "nats://b:1", 1_760_000_000);
        let in_work: Vec<_> = (0..MOST_AT_ONCE).map(|_| receive().unwrap()).collect();
        assert!(matches!(receive().err().unwrap(), Dropped::Busy { .. }));
        let ping = payload("discovery", "cGluZw==", |_| ());
        assert!(agents.receive(&ping, "nats://b:1", 1_760_000_000).unwrap().await.is_some());
        drop(in_work);
        assert!(receive().is_ok());
    }

    #[tokio::test]
    async fn a_reply_address_that_would_be_more_than_a_subject_is_not_used() {
        let agents = agents();
        let mut transport: Value = serde_json::from_slice(&payload("discovery", "cGluZw==", |_| ())).unwrap();
        for address in ["", "a.>", "x 1\r\nPUB y 1"] {
            transport["headers"]["reply-to"] = json!(address);
            let outcome = agents.receive(transport.to_string().as_bytes(), "nats://b:1", 1_760_000_000);
            assert!(matches!(outcome.err().unwrap(), Dropped::NoReplyAddress(_)), "{address:?}");
        }
    }
}
