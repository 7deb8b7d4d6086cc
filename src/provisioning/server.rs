//! The node's daemon in provisioning mode: introduce itself, connect, answer, until it is told to stop.
//!
//! Nothing on the network ends it: a broker that is absent, refuses or goes away is waited for. It speaks to the baked
//! or resolved brokers only, in the one collective of nodes without a configuration, in the insecure protocol.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use disco_sdk::TargetResolver;
use tokio::signal::unix::{SignalKind, signal};

use crate::brand::Brand;
use crate::choria::agents::{Agent, Agents, Dropped, Node, Rpc, SeatTaken, Statistics};
use crate::choria::connector::{self, Connection, ConnectorError, Encryption, Inbox};
use crate::choria::discovery::Discovery;
use crate::choria::journal::{Journal, Note, printable};
use crate::choria::lifecycle::{Event, Kind};
use crate::choria::message::Outgoing;
use crate::choria::plug::{Plug, PlugError};
use crate::choria::registration::FileContent;
use crate::choria::rpcutil::RpcUtil;
use crate::choria::subject::{AgentName, Collective, ReplyAddress};
use crate::features;
use crate::provisioning::agent::{ChoriaProvision, Chosen, Ending};
use crate::provisioning::identity::{self, IdentityError};
use crate::provisioning::mode::{self, Mode, ModeError, Switch};
use crate::provisioning::status;
use crate::provisioning::targets::{RESOLVER_DEADLINE, Targets};

/// The collective of nodes that wait to be provisioned.
pub const COLLECTIVE: &str = "provisioning";

/// The component that lifecycle events of such a node name.
pub const COMPONENT: &str = "provision_mode_server";

/// Where registration data of such a node goes.
const REGISTRATION_SUBJECT: &str = "provisioning.registration.data";

/// Time between two publications of registration data.
const REGISTRATION_INTERVAL: Duration = Duration::from_secs(120);

/// Time between two alive events; the first comes at a random moment of the first interval.
const ALIVE_INTERVAL: Duration = Duration::from_secs(30 * 60);

/// How many times in a row the broker is tried in short steps before the long ones.
const SHORT_TRIES: usize = 20;

/// How long a stop may wait for the broker to take the last event.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why the server did not start. Once it runs, it ends only when told to.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The mode cannot be decided.
    #[error("cannot decide whether to wait to be provisioned")]
    Mode(#[from] ModeError),
    /// The node is not to be provisioned, and that is all this server does.
    #[error("this node is not to be provisioned, because {reason}; the server serves only provisioning mode")]
    Configured {
        /// Why.
        reason: String,
    },
    /// The brand wants clear text and the build cannot speak it.
    #[error("the brand turns TLS off for provisioning, but feature `plaintext-brokers` is not compiled in")]
    Plaintext,
    /// The node has no usable name.
    #[error("cannot find out who this node is")]
    Identity(#[from] IdentityError),
    /// An agent of another crate cannot serve.
    #[error(transparent)]
    Plug(#[from] PlugError),
    /// Nobody could tell two of the agents apart.
    #[error(transparent)]
    Agents(#[from] SeatTaken),
    /// The process cannot hear signals.
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
}

/// What a server is started with.
pub struct Start<'a> {
    /// The brand.
    pub brand: &'a Brand,
    /// Finds brokers, instead of the baked list.
    pub resolver: Option<Arc<dyn TargetResolver>>,
    /// Agents of other crates, which serve beside the built-in ones.
    pub agents: Vec<Arc<dyn disco_sdk::Agent>>,
    /// The configuration file; it need not exist. Keys lie in `ssl` beside it.
    pub configuration: PathBuf,
    /// What it says about provisioning.
    pub switch: Switch,
    /// Where to tell what happens.
    pub journal: Arc<dyn Journal>,
}

/// Runs the server until SIGTERM, SIGINT or a provisioner's order.
///
/// # Errors
/// The server could not start; nothing was sent to any broker.
pub async fn run(start: Start<'_>) -> Result<(), ServerError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(ServerError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServerError::Signals)?;
    let journal = Arc::clone(&start.journal);
    let server = Server::prepare(start).await?;
    journal.note(Note::Ready);
    let because = tokio::select! {
        never = server.serve() => match never {},
        never = server.stay_alive() => match never {},
        never = server.register() => match never {},
        never = server.write_status() => match never {},
        () = server.ending.ordered() => "an order to shut down",
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    journal.note(Note::Stopping);
    journal.info(&format!("stopping because of {because}"));
    server.say_goodbye().await;
    journal.info("stopped");
    Ok(())
}

struct Server {
    agents: Agents,
    targets: tokio::sync::Mutex<Targets>,
    encryption: Encryption,
    registration_data: &'static str,
    status_file: &'static str,
    ending: Ending,
    connection: Mutex<Option<Connection>>,
    complaints: Mutex<Complaints>,
    journal: Arc<dyn Journal>,
}

impl Server {
    /// Decides, checks and introduces; touches no network beyond the look-up of the node's own name.
    async fn prepare(start: Start<'_>) -> Result<Self, ServerError> {
        let Start { brand, resolver, agents: plugs, configuration, switch, journal } = start;
        let compiled =
            features::FEATURES.iter().filter(|feature| feature.present).map(|feature| feature.name);
        journal.info(&format!("{} {} ({})", brand.display_name, brand.version, brand.binary));
        journal.info(&format!("features: {}", compiled.collect::<Vec<_>>().join(", ")));
        let baked = &brand.provisioning;
        let targets = Targets::new(baked.brokers, baked.srv_domain, resolver, RESOLVER_DEADLINE);
        let decision = mode::decide(baked.default, targets.exist(), &switch)?;
        if decision.mode == Mode::Configured {
            return Err(ServerError::Configured { reason: decision.reason });
        }
        let encryption = encryption(brand, features::has("plaintext-brokers"))?;
        let identity = identity::find().await?;

        journal.info(&format!("identity: {identity}, collective: {COLLECTIVE}"));
        journal.info(&format!("brokers: {} ({})", targets.origin(), describe(&encryption)));
        journal.info(&format!("mode: provisioning, because {}", decision.reason));
        if baked.token.is_empty() {
            journal.warning(
                "the brand has no provisioning token: whoever reaches the broker may provision this node",
            );
        }

        let ssl_directory = configuration.parent().unwrap_or(Path::new(brand.paths.etcdir)).join("ssl");
        let node = Node {
            identity,
            collectives: vec![Collective::new(COLLECTIVE).expect("the name is valid")],
            version: brand.version,
            config_file: configuration,
            classes: Vec::new(),
            facts_file: path_in(baked.facts).map(Path::to_owned),
            started: now(),
            statistics: Statistics::default(),
            agents: Vec::new(),
            journal: Arc::clone(&journal),
            facts_trouble: Mutex::new(None),
        };
        let ending = Ending::default();
        let chosen = Chosen { reprovision: baked.reprovision, shutdown: baked.shutdown };
        let provision = ChoriaProvision::new(
            brand.version,
            baked.token,
            ssl_directory,
            chosen,
            ending.clone(),
            Arc::clone(&journal),
        );
        let mut agents: Vec<Arc<dyn Agent>> =
            vec![Arc::new(Discovery::new(brand.version)), Arc::new(Rpc(RpcUtil::new(brand.version, now)))];
        if baked.agent {
            agents.push(Arc::new(Rpc(provision)));
        }
        for plug in plugs {
            agents.push(Arc::new(Rpc(Plug::new(plug, Arc::clone(&journal))?)));
        }
        let agents = Agents::new(node, agents)?;
        Ok(Server {
            agents,
            targets: tokio::sync::Mutex::new(targets),
            encryption,
            registration_data: baked.registration_data,
            status_file: baked.status_file,
            ending,
            connection: Mutex::new(None),
            complaints: Mutex::new(Complaints::default()),
            journal,
        })
    }

    /// Answers requests; finds brokers again whenever a connection gave up.
    async fn serve(&self) -> Infallible {
        let mut is_first = true;
        loop {
            let (connection, mut inbox) = self.connect().await;
            // Only now: a provisioner may call the moment it sees this, and everything is subscribed.
            if is_first {
                self.tell(&connection, &self.event(Kind::Startup)).await;
                is_first = false;
            }
            while let Some(payload) = inbox.next().await {
                self.receive(&connection, &payload);
            }
            *self.slot() = None;
            self.journal.warning("the broker could not be reached again, looking for brokers anew");
        }
    }

    /// Connects and subscribes, however long it takes.
    async fn connect(&self) -> (Connection, Inbox) {
        let mut last_trouble = None;
        for attempt in 0.. {
            match self.try_to_connect().await {
                Ok((connection, inbox)) => {
                    self.journal.info(&format!(
                        "connected to {}, listening on {} subjects",
                        connection.broker(),
                        self.agents.subjects().len()
                    ));
                    *self.slot() = Some(connection.clone());
                    return (connection, inbox);
                }
                // The same trouble again is not news.
                Err(trouble) if last_trouble.as_ref() == Some(&trouble) => (),
                Err(trouble) => {
                    self.journal.warning(&format!("{trouble}; trying on"));
                    last_trouble = Some(trouble);
                }
            }
            let pause = if attempt < SHORT_TRIES {
                connector::short_pause(attempt)
            } else {
                connector::long_pause(attempt - SHORT_TRIES)
            };
            tokio::time::sleep(connector::jittered(pause)).await;
        }
        unreachable!("the attempts do not run out")
    }

    /// Tries every broker once, in order; the trouble with each of them if none took us.
    async fn try_to_connect(&self) -> Result<(Connection, Inbox), String> {
        let identity = self.agents.node().identity.as_str();
        let brokers = self.targets.lock().await.find(identity).await.map_err(|error| chain(&error))?;
        let mut troubles = Vec::new();
        for broker in &brokers {
            let journal = Arc::clone(&self.journal);
            let connect = async {
                let connection = Connection::open(identity, broker, &self.encryption, journal).await?;
                let inbox = connection.subscribe(&self.agents.subjects()).await?;
                Ok::<_, ConnectorError>((connection, inbox))
            };
            match connect.await {
                Ok(connected) => return Ok(connected),
                Err(error) => troubles.push(printable(chain(&error))),
            }
        }
        Err(troubles.join("; "))
    }

    fn receive(&self, connection: &Connection, payload: &[u8]) {
        let reply = match self.agents.receive(payload, connection.broker(), now()) {
            Ok(reply) => reply,
            // Requests for others are most of the traffic in a fleet; everything else may be an attack or a mistake.
            Err(Dropped::Filtered) => return,
            Err(dropped) => {
                let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
                match complaints.next(Instant::now()) {
                    Complaint::Say => {
                        self.journal.warning(&format!("dropped a message: {}", printable(chain(&dropped))));
                    }
                    Complaint::SayLast => {
                        self.journal.warning("dropped more messages; for a minute they are only counted");
                    }
                    Complaint::Swallow => (),
                }
                return;
            }
        };
        let connection = connection.clone();
        let journal = Arc::clone(&self.journal);
        // On its own: slow agents must not keep others waiting, and an agent's panic ends only its own request.
        tokio::spawn(async move {
            if let Some(reply) = reply.await
                && let Err(error) = connection.publish(&reply.subject, reply.payload).await
            {
                journal.warning(&format!("cannot reply: {}", printable(chain(&error))));
            }
        });
    }

    /// Says now and then that the node is alive. The event keeps its id and time, as in the reference.
    async fn stay_alive(&self) -> Infallible {
        let event = self.event(Kind::Alive);
        tokio::time::sleep(ALIVE_INTERVAL.mul_f64(fastrand::f64())).await;
        loop {
            if let Some(connection) = self.connected() {
                self.tell(&connection, &event).await;
            }
            tokio::time::sleep(ALIVE_INTERVAL).await;
        }
    }

    /// Publishes the registration data on its schedule, if the brand has any.
    async fn register(&self) -> Infallible {
        let Some(path) = path_in(self.registration_data) else { return std::future::pending().await };
        let mut file = FileContent::new(path);
        let agent = AgentName::new("registration").expect("the name is valid");
        let nowhere = ReplyAddress::new("dev.null").expect("the address is valid");
        tokio::time::sleep(Duration::from_secs(1) + Duration::from_secs(3).mul_f64(fastrand::f64())).await;
        loop {
            if let Some(connection) = self.connected() {
                match file.next_body() {
                    Err(error) => self.journal.error(&chain(&error)),
                    Ok(body) => {
                        let node = self.agents.node();
                        let message = Outgoing {
                            body: &body,
                            agent: &agent,
                            collective: &node.collectives[0],
                            sender: &node.identity,
                            reply_to: &nowhere,
                            time: now(),
                        };
                        let sealed = message.seal_insecure(connection.broker());
                        if let Err(error) = connection.publish(REGISTRATION_SUBJECT, sealed).await {
                            self.journal.warning(&format!("cannot register: {}", printable(chain(&error))));
                        }
                    }
                }
            }
            tokio::time::sleep(REGISTRATION_INTERVAL).await;
        }
    }

    /// Writes the status file on its schedule, if the brand has one. The same trouble is told once.
    async fn write_status(&self) -> Infallible {
        let Some(path) = path_in(self.status_file) else { return std::future::pending().await };
        let mut known_trouble = None;
        loop {
            let broker =
                self.connected().map(|connection| connection.broker().to_owned()).unwrap_or_default();
            let status = status::status(self.agents.node(), &broker, now());
            let trouble = status::write(path, &status).err().map(|error| chain(&error));
            if trouble != known_trouble {
                if let Some(trouble) = &trouble {
                    self.journal.error(trouble);
                }
                known_trouble = trouble;
            }
            tokio::time::sleep(status::INTERVAL).await;
        }
    }

    async fn say_goodbye(&self) {
        let Some(connection) = self.connected() else { return };
        self.tell(&connection, &self.event(Kind::Shutdown)).await;
        if let Err(error) = connection.settle(FAREWELL).await {
            self.journal.warning(&format!("the last event may be lost: {error}"));
        }
    }

    fn event(&self, kind: Kind) -> Event {
        let node = self.agents.node();
        Event::new(kind, &node.identity, COMPONENT, node.version, now())
    }

    async fn tell(&self, connection: &Connection, event: &Event) {
        match connection.publish(&event.subject, event.payload.clone()).await {
            Ok(()) => Statistics::count(&self.agents.node().statistics.events),
            Err(error) => {
                self.journal.warning(&format!("cannot publish an event: {}", printable(chain(&error))))
            }
        }
    }

    /// The connection, if the broker is there at this moment.
    fn connected(&self) -> Option<Connection> {
        self.slot().as_ref().filter(|connection| connection.is_up()).cloned()
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Connection>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a flood of bad messages from flooding the log: some lines a minute, then one that says so.
#[derive(Debug, Default)]
struct Complaints {
    since: Option<Instant>,
    said: u32,
}

#[derive(Debug, PartialEq, Eq)]
enum Complaint {
    Say,
    SayLast,
    Swallow,
}

impl Complaints {
    const PERIOD: Duration = Duration::from_secs(60);
    const MOST: u32 = 20;

    fn next(&mut self, now: Instant) -> Complaint {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= Self::PERIOD) {
            *self = Complaints { since: Some(now), said: 0 };
        }
        self.said = self.said.saturating_add(1);
        match self.said {
            ..=Self::MOST => Complaint::Say,
            said if said == Self::MOST + 1 => Complaint::SayLast,
            _ => Complaint::Swallow,
        }
    }
}

fn encryption(brand: &Brand, may_speak_plaintext: bool) -> Result<Encryption, ServerError> {
    match (brand.provisioning.tls, brand.provisioning.ca) {
        (true, "") => Ok(Encryption::SystemTrust),
        (true, ca) => Ok(Encryption::Pinned(ca.to_owned())),
        (false, _) if may_speak_plaintext => Ok(Encryption::Plain),
        (false, _) => Err(ServerError::Plaintext),
    }
}

fn describe(encryption: &Encryption) -> &'static str {
    match encryption {
        Encryption::Pinned(_) => "TLS, the brand's certificate authorities",
        Encryption::SystemTrust => "TLS, the system's certificate authorities",
        Encryption::Plain => "without TLS",
    }
}

fn path_in(baked: &'static str) -> Option<&'static Path> {
    (!baked.is_empty()).then(|| Path::new(baked))
}

/// Unix seconds.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// An error and its causes on one line, for the log.
fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::brand::ProvisioningDefaults;

    fn brand(tls: bool, ca: &'static str) -> Brand {
        let provisioning = ProvisioningDefaults { tls, ca, ..Brand::UNBRANDED.provisioning };
        Brand { provisioning, ..Brand::UNBRANDED }
    }

    #[test]
    fn clear_text_needs_both_the_brand_and_the_feature() {
        assert!(matches!(encryption(&brand(false, ""), false), Err(ServerError::Plaintext)));
        assert_eq!(encryption(&brand(false, ""), true).unwrap(), Encryption::Plain);
        assert_eq!(encryption(&brand(true, ""), true).unwrap(), Encryption::SystemTrust);
        assert_eq!(encryption(&brand(true, "PEM"), true).unwrap(), Encryption::Pinned("PEM".to_owned()));
        assert!(features::FEATURES.iter().any(|feature| feature.name == "plaintext-brokers"));
    }

    #[test]
    fn a_flood_of_bad_messages_does_not_flood_the_log() {
        let mut complaints = Complaints::default();
        let start = Instant::now();
        for _ in 0..Complaints::MOST {
            assert_eq!(complaints.next(start), Complaint::Say);
        }
        assert_eq!(complaints.next(start), Complaint::SayLast);
        assert_eq!(complaints.next(start), Complaint::Swallow);
        assert_eq!(complaints.next(start + Complaints::PERIOD), Complaint::Say);
    }
}
