//! The wire from the outside: a small blocking client of the Choria v1 protocol over the broker's text protocol.
//!
//! Written from the protocol's description with std, JSON, base64 and SHA-256, and independent of the product's own
//! code on purpose: where both agree, they agree about the wire and not about each other's mistakes.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// How long discovery waits for the next answer after one, as a sliding window does.
const WINDOW: Duration = Duration::from_millis(500);

/// Someone who talks to nodes.
pub struct Requester {
    stream: BufReader<TcpStream>,
    collective: String,
    sender: String,
    caller: String,
    next_subscription: u64,
}

/// One message from the broker.
#[derive(Debug, Clone)]
pub struct Message {
    /// Where it was published.
    pub subject: String,
    /// What was published.
    pub payload: Vec<u8>,
}

/// A reply whose hash was right.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The request that it answers.
    pub request_id: String,
    /// Who sent it, by the reply's envelope.
    pub sender: String,
    /// Who sent it, by the transport's header.
    pub transport_sender: String,
    /// The agent's body as text.
    pub body: String,
}

impl Reply {
    /// The agent's body as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.body).with_context(|| format!("the body is not JSON: {}", self.body))
    }
}

impl Requester {
    /// Connects to a broker without TLS, for the collective `provisioning`.
    pub fn connect(broker: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(broker)?;
        stream.set_nodelay(true)?;
        let mut requester = Requester {
            stream: BufReader::new(stream),
            collective: "provisioning".to_owned(),
            sender: "ctl.example.net".to_owned(),
            caller: "choria=tester.mcollective".to_owned(),
            next_subscription: 1,
        };
        let mut greeting = String::new();
        requester.stream.read_line(&mut greeting)?;
        ensure!(greeting.starts_with("INFO "), "not a broker: {greeting:?}");
        requester.send(b"CONNECT {\"verbose\":false,\"pedantic\":false,\"name\":\"testbed\"}\r\n")?;
        requester.settle()?;
        Ok(requester)
    }

    /// Speaks in another collective.
    pub fn in_collective(mut self, collective: &str) -> Self {
        self.collective = collective.to_owned();
        self
    }

    /// Speaks as somebody else.
    pub fn as_caller(mut self, sender: &str, caller: &str) -> Self {
        self.sender = sender.to_owned();
        self.caller = caller.to_owned();
        self
    }

    /// Subscribes to a subject and waits until the broker knows.
    pub fn subscribe(&mut self, subject: &str) -> Result<()> {
        let line = format!("SUB {subject} {}\r\n", self.next_subscription);
        self.next_subscription += 1;
        self.send(line.as_bytes())?;
        self.settle()
    }

    /// Publishes anything at all.
    pub fn publish(&mut self, subject: &str, payload: &[u8]) -> Result<()> {
        self.send(format!("PUB {subject} {}\r\n", payload.len()).as_bytes())?;
        self.send(payload)?;
        self.send(b"\r\n")
    }

    /// The next message on any subscription; `None` if there is none within the time.
    pub fn next(&mut self, within: Duration) -> Result<Option<Message>> {
        let deadline = Instant::now() + within;
        loop {
            let Some(line) = self.line(deadline)? else { return Ok(None) };
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            match words.as_slice() {
                ["MSG", subject, _, .., length] => {
                    let length: usize = length.parse()?;
                    let mut payload = vec![0; length + 2];
                    self.stream.get_ref().set_read_timeout(Some(Duration::from_secs(5)))?;
                    self.stream.read_exact(&mut payload)?;
                    payload.truncate(length);
                    return Ok(Some(Message { subject: (*subject).to_owned(), payload }));
                }
                ["PING"] => self.send(b"PONG\r\n")?,
                ["PONG"] | ["INFO", ..] | ["+OK"] => (),
                _ => bail!("the broker says {line:?}"),
            }
        }
    }

    /// A discovery request with a filter; changes of the request can be made before it is sealed.
    pub fn discovery(&self, filter: &Value) -> Request {
        let mut request = self.request_for("discovery", "cGluZw==");
        for (name, value) in filter.as_object().into_iter().flatten() {
            request.content["envelope"]["filter"][name] = value.clone();
        }
        request
    }

    /// A request for an action; changes can be made before it is sealed.
    pub fn action(&self, agent: &str, action: &str, data: &Value) -> Request {
        let body = json!({"agent": agent, "action": action, "data": data}).to_string();
        let mut request = self.request_for(agent, &body);
        request.content["envelope"]["filter"]["agent"] = json!([agent]);
        request
    }

    /// Identities of all nodes that answer a broadcast, one entry per answer.
    pub fn discover(&mut self, filter: &Value, within: Duration) -> Result<Vec<String>> {
        let request = self.discovery(filter);
        let replies = self.broadcast(&request, within)?;
        for reply in &replies {
            ensure!(reply.body == "pong", "the answer to a ping is {:?}", reply.body);
        }
        Ok(replies.into_iter().map(|reply| reply.transport_sender).collect())
    }

    /// Asks one node for an action and returns the body of its reply.
    pub fn request(&mut self, identity: &str, agent: &str, action: &str, data: &Value) -> Result<Value> {
        let request = self.action(agent, action, data);
        let subject = format!("{}.node.{identity}", self.collective);
        let replies = self.collect(&subject, &request, Duration::from_secs(20), Duration::ZERO)?;
        let [reply] = replies.as_slice() else { bail!("{identity} does not answer {agent}#{action}") };
        ensure!(
            reply.sender == identity && reply.transport_sender == identity,
            "answered by {}",
            reply.sender
        );
        reply.json()
    }

    /// Broadcasts a request and collects the replies: for `within` until the first, then while they keep coming.
    pub fn broadcast(&mut self, request: &Request, within: Duration) -> Result<Vec<Reply>> {
        let agent = request.content["envelope"]["agent"].as_str().unwrap_or("discovery").to_owned();
        let subject = format!("{}.broadcast.agent.{agent}", self.collective);
        self.collect(&subject, request, within, WINDOW)
    }

    fn collect(
        &mut self,
        subject: &str,
        request: &Request,
        first: Duration,
        window: Duration,
    ) -> Result<Vec<Reply>> {
        self.subscribe(&request.reply_to)?;
        self.publish(subject, &request.seal())?;
        let mut replies = Vec::new();
        let mut wait = first;
        while let Some(message) = self.next(wait)? {
            if message.subject == request.reply_to {
                let reply = open_reply(&message.payload)?;
                ensure!(
                    json!(reply.request_id) == request.content["envelope"]["requestid"],
                    "another request's reply"
                );
                replies.push(reply);
                wait = window;
            }
            if wait.is_zero() {
                break;
            }
        }
        Ok(replies)
    }

    fn request_for(&self, agent: &str, body: &str) -> Request {
        let request_id = fresh_id();
        Request {
            reply_to: format!("{}.reply.{}.{request_id}", self.collective, fresh_id()),
            sender: self.sender.clone(),
            content: json!({
                "protocol": "choria:request:1",
                "message": body,
                "envelope": {
                    "requestid": request_id,
                    "senderid": self.sender,
                    "callerid": self.caller,
                    "collective": self.collective,
                    "agent": agent,
                    "ttl": 60,
                    "time": unix_time(),
                    "filter": {"fact": [], "cf_class": [], "agent": [], "identity": [], "compound": []},
                },
            }),
        }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.get_mut().write_all(bytes)?)
    }

    /// Waits until the broker has worked off everything sent so far.
    fn settle(&mut self) -> Result<()> {
        self.send(b"PING\r\n")?;
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let line = self.line(deadline)?.context("the broker is silent")?;
            match line.split_ascii_whitespace().next() {
                Some("PONG") => return Ok(()),
                Some("PING") => self.send(b"PONG\r\n")?,
                Some("INFO" | "+OK") => (),
                // Somebody talks on another subscription; nobody waits for that now.
                Some("MSG") => {
                    let length: usize =
                        line.split_ascii_whitespace().next_back().context("no length")?.parse()?;
                    self.stream.read_exact(&mut vec![0; length + 2])?;
                }
                _ => bail!("the broker says {line:?}"),
            }
        }
    }

    fn line(&mut self, deadline: Instant) -> Result<Option<String>> {
        let mut line = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                ensure!(line.is_empty(), "the broker stopped in the middle of a line");
                return Ok(None);
            }
            self.stream.get_ref().set_read_timeout(Some(left))?;
            match self.stream.read_until(b'\n', &mut line) {
                Ok(0) => bail!("the broker hung up"),
                Ok(_) if line.ends_with(b"\n") => {
                    return Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()));
                }
                Ok(_) => (),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => (),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// A request that can be spoiled before it is sealed.
#[derive(Debug, Clone)]
pub struct Request {
    /// The innermost layer.
    pub content: Value,
    /// Where answers should go.
    pub reply_to: String,
    sender: String,
}

impl Request {
    /// Wraps the request into its layers, in the insecure mode of the protocol.
    pub fn seal(&self) -> Vec<u8> {
        let secure = json!({
            "protocol": "choria:secure:request:1",
            "message": self.content.to_string(),
            "signature": "insecure",
            "pubcert": "insecure",
        });
        let transport = json!({
            "protocol": "choria:transport:1",
            "data": STANDARD.encode(secure.to_string()),
            "headers": {"reply-to": self.reply_to, "mc_sender": self.sender},
        });
        transport.to_string().into_bytes()
    }
}

/// Opens a reply and checks its hash.
pub fn open_reply(payload: &[u8]) -> Result<Reply> {
    let transport: Value = serde_json::from_slice(payload)?;
    ensure!(transport["protocol"] == "choria:transport:1", "not a transport packet: {transport}");
    let secure = STANDARD.decode(text(&transport["data"])?)?;
    let secure: Value = serde_json::from_slice(&secure)?;
    ensure!(secure["protocol"] == "choria:secure:reply:1", "not a secure reply: {secure}");
    let message = text(&secure["message"])?;
    let hash = STANDARD.encode(Sha256::digest(message.as_bytes()));
    ensure!(secure["hash"] == json!(hash), "the hash does not fit the reply");
    let reply: Value = serde_json::from_str(message)?;
    ensure!(reply["protocol"] == "choria:reply:1", "not a reply: {reply}");
    Ok(Reply {
        request_id: text(&reply["envelope"]["requestid"])?.to_owned(),
        sender: text(&reply["envelope"]["senderid"])?.to_owned(),
        transport_sender: text(&transport["headers"]["mc_sender"])?.to_owned(),
        body: text(&reply["message"])?.to_owned(),
    })
}

/// Opens a request that a node made, in insecure mode, and returns its innermost layer.
pub fn open_request(payload: &[u8]) -> Result<Value> {
    let transport: Value = serde_json::from_slice(payload)?;
    ensure!(transport["protocol"] == "choria:transport:1", "not a transport packet: {transport}");
    let secure: Value = serde_json::from_slice(&STANDARD.decode(text(&transport["data"])?)?)?;
    ensure!(secure["protocol"] == "choria:secure:request:1", "not a secure request: {secure}");
    ensure!(
        secure["signature"] == "insecure" && secure["pubcert"] == "insecure",
        "not in insecure mode: {secure}"
    );
    let request: Value = serde_json::from_str(text(&secure["message"])?)?;
    ensure!(request["protocol"] == "choria:request:1", "not a request: {request}");
    Ok(request)
}

fn text(value: &Value) -> Result<&str> {
    value.as_str().with_context(|| format!("not a text: {value}"))
}

/// 32 hexadecimal digits that this process did not use before, and that others hardly will.
pub fn fresh_id() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let nanoseconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let seed = format!("{nanoseconds} {} {}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
    Sha256::digest(seed)[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Unix seconds.
pub fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
