//! The onion: request or reply, inside a secure packet, inside a transport packet. Decoding checks everything.
//!
//! What a receiver of requests enforces is what the reference server enforces, at every layer; unknown members are
//! ignored. Texts are kept as they came: hashes are over the bytes that travel, never over something serialised again.

use serde::{Deserialize, Serialize};

use crate::choria::filter::Filter;
use crate::choria::security;
use crate::choria::subject::{AgentName, Collective, Identity, ReplyAddress};

/// Largest payload, in bytes, that is looked at. A broker admits 1 MiB by default; requests stay far below this.
pub const LARGEST_PAYLOAD: usize = 512 * 1024;

/// Smallest time to live of a request, in seconds; the reference server drops what is below.
pub const SMALLEST_TTL: i64 = 30;

/// Time to live, in seconds, that we give to our own requests; the reference's default.
pub const DEFAULT_TTL: i64 = 60;

const TRANSPORT: &str = "choria:transport:1";
const SECURE_REQUEST: &str = "choria:secure:request:1";
const SECURE_REPLY: &str = "choria:secure:reply:1";
const REQUEST: &str = "choria:request:1";
const REPLY: &str = "choria:reply:1";

/// Why a payload is not a request. Nobody on the network is told; the reference server is silent too.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Longer than [`LARGEST_PAYLOAD`].
    #[error("payload of {size} bytes is larger than {LARGEST_PAYLOAD}")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
    },
    /// A layer is not the JSON that it should be.
    #[error("{layer} does not parse")]
    Json {
        /// Which layer of the onion.
        layer: &'static str,
        /// What the parser says.
        #[source]
        source: serde_json::Error,
    },
    /// A layer is of another kind or version.
    #[error("{layer} is not a `{expected}`")]
    Protocol {
        /// Which layer of the onion.
        layer: &'static str,
        /// The only value accepted there.
        expected: &'static str,
    },
    /// The transport's payload is not base64.
    #[error("payload of the transport packet is not base64")]
    Encoding(#[source] base64::DecodeError),
    /// A text that must not be empty.
    #[error("`{field}` is empty")]
    Empty {
        /// Which member.
        field: &'static str,
    },
    /// The request id is not 32 characters long.
    #[error("request id of {length} characters instead of 32")]
    RequestId {
        /// Its length in characters.
        length: usize,
    },
    /// The time to live is below [`SMALLEST_TTL`].
    #[error("time to live of {ttl} s is below {SMALLEST_TTL}")]
    Ttl {
        /// What was asked for, in seconds.
        ttl: i64,
    },
}

/// A request as it arrived, all layers checked.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// The request itself.
    pub request: Request,
    /// Where the answer is wanted, as it was written; checked when used.
    pub reply_to: String,
    federation: Option<Federation>,
}

/// What somebody asks of an agent.
#[derive(Debug, Clone)]
pub struct Request {
    /// The agent's body, base64 already undone.
    pub body: Vec<u8>,
    /// 32 characters that the reply repeats.
    pub request_id: String,
    /// Identity of the sender, unverified.
    pub sender_id: String,
    /// Who asks, `choria=<certname>`; unverified in insecure mode.
    pub caller_id: String,
    /// The collective that the request is for.
    pub collective: String,
    /// The agent that should answer.
    pub agent: String,
    /// How long the request is good for, in seconds, either side of [`Request::time`].
    pub ttl: i64,
    /// When the request was made, Unix seconds.
    pub time: i64,
    /// Which nodes are meant.
    pub filter: Filter,
}

impl Request {
    /// Whether the request is good at a time: strictly less than its time to live before or after it was made.
    pub fn is_timely(&self, now: i64) -> bool {
        now.saturating_sub(self.ttl) < self.time && self.time < now.saturating_add(self.ttl)
    }
}

impl Incoming {
    /// Opens all layers of a payload.
    ///
    /// # Errors
    /// The first check that fails, from the outside in.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        if payload.len() > LARGEST_PAYLOAD {
            return Err(DecodeError::TooLarge { size: payload.len() });
        }
        let transport: TransportPacket = parse("transport packet", payload)?;
        expect("transport packet", &transport.protocol, TRANSPORT)?;
        let secure = security::transport_payload(&transport.data).map_err(DecodeError::Encoding)?;

        let secure: SecureRequestPacket = parse("secure request", &secure)?;
        expect("secure request", &secure.protocol, SECURE_REQUEST)?;
        filled("signature", &secure.signature)?;
        filled("pubcert", &secure.pubcert)?;

        let packet: RequestPacket = parse("request", secure.message.as_bytes())?;
        expect("request", &packet.protocol, REQUEST)?;
        filled("message", &packet.message)?;
        let envelope = packet.envelope;
        filled("envelope.callerid", &envelope.callerid)?;
        filled("envelope.collective", &envelope.collective)?;
        filled("envelope.agent", &envelope.agent)?;
        let length = envelope.requestid.chars().count();
        if length != 32 {
            return Err(DecodeError::RequestId { length });
        }
        if envelope.ttl < SMALLEST_TTL {
            return Err(DecodeError::Ttl { ttl: envelope.ttl });
        }

        Ok(Incoming {
            request: Request {
                body: security::request_body(&packet.message),
                request_id: envelope.requestid,
                sender_id: envelope.senderid,
                caller_id: envelope.callerid,
                collective: envelope.collective,
                agent: envelope.agent,
                ttl: envelope.ttl,
                time: envelope.time,
                filter: envelope.filter,
            },
            reply_to: transport.headers.reply_to,
            federation: transport.headers.federation,
        })
    }

    /// Wraps an agent's answer to this request into all layers.
    pub fn reply(&self, body: &str, sender: &Identity, broker: &str, now: i64) -> Vec<u8> {
        let message = to_text(&ReplyPacket {
            protocol: REPLY,
            message: body,
            envelope: ReplyEnvelope {
                requestid: &self.request.request_id,
                senderid: sender.as_str(),
                agent: &self.request.agent,
                time: now,
            },
        });
        let secure =
            to_text(&SecureReply { protocol: SECURE_REPLY, hash: security::reply_hash(&message), message });
        transport(&secure, None, sender, broker, self.federation.as_ref())
    }
}

/// Something that this node sends to an agent elsewhere.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// The agent's body.
    pub body: &'a str,
    /// The agent that should get it.
    pub agent: &'a AgentName,
    /// The collective it is for.
    pub collective: &'a Collective,
    /// Who sends it.
    pub sender: &'a Identity,
    /// Where an answer would go.
    pub reply_to: &'a ReplyAddress,
    /// When it is made, Unix seconds.
    pub time: i64,
}

impl Outgoing<'_> {
    /// Wraps the request into all layers, with the literals of insecure mode for signature and certificate.
    pub fn seal_insecure(&self, broker: &str) -> Vec<u8> {
        let message = to_text(&OutgoingRequestPacket {
            protocol: REQUEST,
            message: self.body,
            envelope: OutgoingEnvelope {
                requestid: &uuid::Uuid::new_v4().simple().to_string(),
                senderid: self.sender.as_str(),
                callerid: &format!("choria={}", self.sender),
                collective: self.collective.as_str(),
                agent: self.agent.as_str(),
                ttl: DEFAULT_TTL,
                time: self.time,
                filter: &Filter::default(),
            },
        });
        let secure = to_text(&OutgoingSecureRequest {
            protocol: SECURE_REQUEST,
            message: &message,
            signature: security::INSECURE,
            pubcert: security::INSECURE,
        });
        transport(&secure, Some(self.reply_to), self.sender, broker, None)
    }
}

fn transport(
    secure: &str,
    reply_to: Option<&ReplyAddress>,
    sender: &Identity,
    broker: &str,
    federation: Option<&Federation>,
) -> Vec<u8> {
    to_text(&OutgoingTransport {
        protocol: TRANSPORT,
        data: security::encode(secure.as_bytes()),
        headers: OutgoingHeaders {
            reply_to: reply_to.map(ReplyAddress::as_str),
            mc_sender: sender.as_str(),
            seen_by: [[broker, sender.as_str(), broker]],
            federation,
        },
    })
    .into_bytes()
}

fn parse<'a, T: Deserialize<'a>>(layer: &'static str, text: &'a [u8]) -> Result<T, DecodeError> {
    serde_json::from_slice(text).map_err(|source| DecodeError::Json { layer, source })
}

fn expect(layer: &'static str, found: &str, expected: &'static str) -> Result<(), DecodeError> {
    if found == expected { Ok(()) } else { Err(DecodeError::Protocol { layer, expected }) }
}

fn filled(field: &'static str, text: &str) -> Result<(), DecodeError> {
    if text.is_empty() { Err(DecodeError::Empty { field }) } else { Ok(()) }
}

fn to_text(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("these packets hold only texts and numbers")
}

#[derive(Deserialize)]
struct TransportPacket {
    protocol: String,
    data: String,
    headers: Headers,
}

#[derive(Deserialize)]
struct Headers {
    #[serde(rename = "reply-to", default)]
    reply_to: String,
    #[serde(default)]
    federation: Option<Federation>,
}

/// How a message crossed federated networks; echoed so that its reply finds the way back.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
struct Federation {
    #[serde(skip_serializing_if = "String::is_empty")]
    req: String,
    #[serde(rename = "reply-to", skip_serializing_if = "String::is_empty")]
    reply_to: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    target: Vec<String>,
}

#[derive(Deserialize)]
struct SecureRequestPacket {
    protocol: String,
    message: String,
    signature: String,
    pubcert: String,
}

#[derive(Deserialize)]
struct RequestPacket {
    protocol: String,
    message: String,
    envelope: RequestEnvelope,
}

#[derive(Deserialize)]
struct RequestEnvelope {
    requestid: String,
    senderid: String,
    callerid: String,
    collective: String,
    agent: String,
    ttl: i64,
    time: i64,
    filter: Filter,
}

#[derive(Serialize)]
struct ReplyPacket<'a> {
    protocol: &'static str,
    message: &'a str,
    envelope: ReplyEnvelope<'a>,
}

#[derive(Serialize)]
struct ReplyEnvelope<'a> {
    requestid: &'a str,
    senderid: &'a str,
    agent: &'a str,
    time: i64,
}

#[derive(Serialize)]
struct SecureReply {
    protocol: &'static str,
    message: String,
    hash: String,
}

#[derive(Serialize)]
struct OutgoingRequestPacket<'a> {
    protocol: &'static str,
    message: &'a str,
    envelope: OutgoingEnvelope<'a>,
}

#[derive(Serialize)]
struct OutgoingEnvelope<'a> {
    requestid: &'a str,
    senderid: &'a str,
    callerid: &'a str,
    collective: &'a str,
    agent: &'a str,
    ttl: i64,
    time: i64,
    filter: &'a Filter,
}

#[derive(Serialize)]
struct OutgoingSecureRequest<'a> {
    protocol: &'static str,
    message: &'a str,
    signature: &'static str,
    pubcert: &'static str,
}

#[derive(Serialize)]
struct OutgoingTransport<'a> {
    protocol: &'static str,
    data: String,
    headers: OutgoingHeaders<'a>,
}

#[derive(Serialize)]
struct OutgoingHeaders<'a> {
    #[serde(rename = "reply-to", skip_serializing_if = "Option::is_none")]
    reply_to: Option<&'a str>,
    mc_sender: &'a str,
    #[serde(rename = "seen-by")]
    seen_by: [[&'a str; 3]; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    federation: Option<&'a Federation>,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The worked example of the protocol notes: a discovery request as it is published.
    const EXAMPLE_REQUEST: &str = include_str!("../../tests/fixtures/choria/discovery-request.json");
    /// The reply that belongs to it.
    const EXAMPLE_REPLY: &str = include_str!("../../tests/fixtures/choria/discovery-reply.json");

    fn example_with(change: impl FnOnce(&mut Value)) -> Result<Incoming, DecodeError> {
        let mut request = json!({
            "protocol": "choria:request:1", "message": "cGluZw==",
            "envelope": {
                "requestid": "3f1c0a9b5d2e4f60818293a4b5c6d7e8", "senderid": "ctl.example.net",
                "callerid": "choria=alice.mcollective", "collective": "provisioning", "agent": "discovery",
                "ttl": 60, "time": 1_760_000_000,
                "filter": {"fact": [], "cf_class": [], "agent": [], "identity": [], "compound": []}
            }
        });
        change(&mut request);
        let secure = json!({
            "protocol": "choria:secure:request:1", "message": request.to_string(),
            "signature": "insecure", "pubcert": "insecure"
        });
        let transport = json!({
            "protocol": "choria:transport:1", "data": security::encode(secure.to_string().as_bytes()),
            "headers": {"reply-to": "provisioning.reply.x.y"}
        });
        Incoming::decode(transport.to_string().as_bytes())
    }

    #[test]
    fn the_worked_example_is_understood_and_answered_byte_for_byte() {
        let incoming = Incoming::decode(EXAMPLE_REQUEST.trim_end().as_bytes()).unwrap();
        assert_eq!(incoming.request.body, b"ping");
        assert_eq!(incoming.request.caller_id, "choria=alice.mcollective");
        assert_eq!(
            incoming.reply_to,
            "provisioning.reply.74ce5a833e16d4afa24ecbc90fff8506.3f1c0a9b5d2e4f60818293a4b5c6d7e8"
        );
        let identity = Identity::new("node1.example.net").unwrap();
        let reply = incoming.reply("pong", &identity, "nats://127.0.0.1:4222", 1_760_000_000);
        assert_eq!(String::from_utf8(reply).unwrap(), EXAMPLE_REPLY.trim_end());
    }

    #[test]
    fn what_the_reference_server_drops_is_dropped() {
        assert!(example_with(|_| ()).is_ok());
        let envelope = |member: &'static str, value: Value| {
            example_with(move |request| request["envelope"][member] = value)
        };
        let refused = [
            envelope("requestid", json!("3f1c0a9b-5d2e-4f60-8182-93a4b5c6d7e8")),
            envelope("ttl", json!(29)),
            envelope("ttl", json!("60")),
            envelope("callerid", json!("")),
            envelope("collective", json!("")),
            envelope("agent", json!("")),
            envelope("filter", json!({"fact": null, "cf_class": [], "identity": [], "compound": []})),
            envelope("filter", json!({"cf_class": [], "identity": [], "compound": []})),
            envelope(
                "filter",
                json!({"fact": [], "cf_class": [], "agent": null, "identity": [], "compound": []}),
            ),
            example_with(|request| request["message"] = json!("")),
            example_with(|request| request["protocol"] = json!("choria:request:2")),
        ];
        for (case, outcome) in refused.into_iter().enumerate() {
            assert!(outcome.is_err(), "case {case} was accepted");
        }
        let without_agents = json!({"fact": [], "cf_class": [], "identity": [], "compound": []});
        assert!(envelope("filter", without_agents).is_ok());
    }

    #[test]
    fn garbage_of_any_kind_is_an_error() {
        let too_long = vec![b' '; LARGEST_PAYLOAD + 1];
        assert!(matches!(Incoming::decode(&too_long), Err(DecodeError::TooLarge { .. })));
        let deep = "[".repeat(100_000);
        for payload in
            ["", "{}", "null", "\u{0}", &deep, r#"{"protocol":"choria:transport:1","data":"*","headers":{}}"#]
        {
            assert!(Incoming::decode(payload.as_bytes()).is_err());
        }
        assert!(Incoming::decode(&[0xff, 0xfe, 0x00]).is_err());
    }

    #[test]
    fn every_cut_of_a_message_is_an_error() {
        let whole = EXAMPLE_REQUEST.trim_end().as_bytes();
        for length in 0..whole.len() {
            assert!(Incoming::decode(&whole[..length]).is_err(), "{length} bytes were accepted");
        }
    }

    #[test]
    fn a_request_is_good_strictly_within_its_time_to_live() {
        let request = example_with(|_| ()).unwrap().request;
        for (now, expected) in [(-60, false), (-59, true), (0, true), (59, true), (60, false)] {
            assert_eq!(request.is_timely(1_760_000_000 + now), expected, "{now} s");
        }
        let endless = example_with(|request| request["envelope"]["ttl"] = json!(i64::MAX)).unwrap().request;
        assert!(endless.is_timely(1_760_000_000), "a huge time to live does not overflow");
    }

    #[test]
    fn federation_headers_come_back_with_the_reply() {
        let mut transport: Value = serde_json::from_str(EXAMPLE_REQUEST).unwrap();
        transport["headers"]["federation"] = json!({"req": "abc", "reply-to": "x.y", "target": ["a"]});
        let incoming = Incoming::decode(transport.to_string().as_bytes()).unwrap();
        let reply = incoming.reply("pong", &Identity::new("n").unwrap(), "nats://b:1", 1);
        let reply: Value = serde_json::from_slice(&reply).unwrap();
        assert_eq!(reply["headers"]["federation"], transport["headers"]["federation"]);
    }

    #[test]
    fn our_own_requests_pass_our_own_checks() {
        let outgoing = Outgoing {
            body: "{}",
            agent: &AgentName::of("registration"),
            collective: &Collective::new("provisioning").unwrap(),
            sender: &Identity::new("node1.example.net").unwrap(),
            reply_to: &ReplyAddress::new("dev.null").unwrap(),
            time: 1_760_000_000,
        };
        let incoming = Incoming::decode(&outgoing.seal_insecure("nats://127.0.0.1:4222")).unwrap();
        assert_eq!(incoming.request.caller_id, "choria=node1.example.net");
        assert_eq!(incoming.request.body, b"{}");
        assert_eq!(incoming.reply_to, "dev.null");
    }
}
