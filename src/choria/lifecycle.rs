//! What a node tells about its own life, as CloudEvents 1.0 around the reference's own event object.
//!
//! Events travel as they are, outside the onion of requests and replies.

use serde_json::{Value, json};

use crate::choria::subject::{Identity, lifecycle_subject};

/// Something that happened to a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It subscribed everything and is about to serve requests.
    Startup,
    /// It still runs.
    Alive,
    /// It stops cleanly.
    Shutdown,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Startup => "startup",
            Kind::Alive => "alive",
            Kind::Shutdown => "shutdown",
        }
    }

    fn carries_version(self) -> bool {
        self != Kind::Shutdown
    }
}

/// One event, ready to be published, also more than once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Where it goes.
    pub subject: String,
    /// What goes there.
    pub payload: Vec<u8>,
}

impl Event {
    /// An event of a component on a node, at a time in Unix seconds.
    pub fn new(kind: Kind, identity: &Identity, component: &str, version: &str, now: i64) -> Self {
        let id = uuid::Uuid::new_v4().to_string();
        let protocol = format!("io.choria.lifecycle.v1.{}", kind.name());
        let mut inner = json!({
            "protocol": protocol,
            "id": id,
            "identity": identity.as_str(),
            "component": component,
            "timestamp": now,
        });
        if kind.carries_version() {
            inner["version"] = Value::from(version);
        }
        let event = json!({
            "specversion": "1.0",
            "id": id,
            "source": "io.choria.lifecycle",
            "type": protocol,
            "subject": identity.as_str(),
            "datacontenttype": "application/json",
            "time": rfc3339(now),
            "data": inner,
        });
        Event { subject: lifecycle_subject(kind.name(), component), payload: event.to_string().into_bytes() }
    }
}

/// A time in Unix seconds as RFC 3339 text in UTC; the epoch where the calendar ends.
pub fn rfc3339(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_startup_event_has_the_members_that_readers_look_for() {
        let identity = Identity::new("node1.example.net").unwrap();
        let event = Event::new(Kind::Startup, &identity, "provision_mode_server", "0.30.2", 1_760_000_000);
        assert_eq!(event.subject, "choria.lifecycle.event.startup.provision_mode_server");
        let outer: Value = serde_json::from_slice(&event.payload).unwrap();
        assert_eq!(outer["specversion"], "1.0");
        assert_eq!(outer["source"], "io.choria.lifecycle");
        assert_eq!(outer["type"], "io.choria.lifecycle.v1.startup");
        assert_eq!(outer["time"], "2025-10-09T08:53:20Z");
        let inner = &outer["data"];
        assert_eq!(inner["protocol"], outer["type"]);
        assert_eq!(inner["id"], outer["id"]);
        assert_eq!(inner["identity"], outer["subject"]);
        assert_eq!(inner["component"], "provision_mode_server");
        assert_eq!(inner["timestamp"], 1_760_000_000);
        assert_eq!(inner["version"], "0.30.2");
    }

    #[test]
    fn a_shutdown_event_has_no_version() {
        let identity = Identity::new("n").unwrap();
        let event = Event::new(Kind::Shutdown, &identity, "server", "1", 0);
        let outer: Value = serde_json::from_slice(&event.payload).unwrap();
        assert_eq!(outer["data"].get("version"), None);
    }
}
