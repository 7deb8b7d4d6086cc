//! The connection to a broker; the only file that knows the NATS library.
//!
//! A connection heals itself for some attempts. When it gives up, its [`Inbox`] ends, so that the caller can find out
//! anew which brokers there are. It never goes to a broker that it was not given: what a broker gossips is ignored.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, Event, ServerAddr};
use futures_util::stream::{SelectAll, select_all};
use futures_util::{Stream, StreamExt};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore, crypto};

use crate::choria::journal::{Journal, printable};

/// How long one attempt to connect may take; the reference allows 2 s, which a loaded broker with TLS can exceed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How many failed attempts to reconnect before the caller should look for brokers again.
const RECONNECTS_BEFORE_LOOKING_AGAIN: usize = 5;

/// How many messages wait per subscription before the library drops further ones; each may be as large as the broker
/// admits, so this bounds what a flood can make us hold.
const WAITING_MESSAGES: usize = 64;

/// How a connection is protected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    /// TLS; the broker must chain to one of these authorities, in PEM.
    Pinned(String),
    /// TLS; the broker must chain to an authority that this system trusts.
    SystemTrust,
    /// No TLS unless the broker insists.
    Plain,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectorError {
    /// A broker's address cannot be used.
    #[error("{address:?} is not a broker's address")]
    Address {
        /// The address.
        address: String,
        /// What is wrong with it.
        #[source]
        source: std::io::Error,
    },
    /// The pinned authorities cannot be used.
    #[error("the pinned certificate authorities cannot be used: {reason}")]
    Authorities {
        /// What is wrong with them.
        reason: String,
    },
    /// The broker did not take us.
    #[error("cannot connect to {broker}")]
    Connect {
        /// Which one.
        broker: String,
        /// Why it did not.
        #[source]
        source: async_nats::ConnectError,
    },
    /// The broker connection ended while subscribing.
    #[error("cannot subscribe to {subject}")]
    Subscribe {
        /// Which subject.
        subject: String,
        /// What the library says.
        #[source]
        source: async_nats::SubscribeError,
    },
    /// The broker connection ended while publishing.
    #[error("cannot publish to {subject}")]
    Publish {
        /// Which subject.
        subject: String,
        /// What the library says.
        #[source]
        source: async_nats::PublishError,
    },
    /// The broker did not confirm what was sent.
    #[error("the broker did not confirm within {} s", waited.as_secs())]
    Unconfirmed {
        /// How long we waited.
        waited: Duration,
    },
}

/// A connection to one broker.
#[derive(Clone)]
pub struct Connection {
    client: Client,
    broker: Arc<str>,
}

/// Payloads from all subscriptions of a connection, in the order of their arrival; ends when the connection gave up.
pub struct Inbox {
    messages: SelectAll<Pin<Box<dyn Stream<Item = Vec<u8>> + Send>>>,
}

impl Inbox {
    /// The next payload; `None`: the connection gave up.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        self.messages.next().await
    }
}

impl Connection {
    /// Connects to a broker at `host:port`, under a name that the broker shows. Tries once.
    ///
    /// Lasting changes of the connection are told to the journal, each once.
    ///
    /// # Errors
    /// The address or the authorities cannot be used, or the broker did not take us.
    pub async fn open(
        name: &str,
        broker: &str,
        encryption: &Encryption,
        journal: Arc<dyn Journal>,
    ) -> Result<Self, ConnectorError> {
        let scheme = if *encryption == Encryption::Plain { "nats" } else { "tls" };
        let unusable = |source| ConnectorError::Address { address: broker.to_owned(), source };
        let address = format!("{scheme}://{broker}").parse::<ServerAddr>().map_err(unusable)?;
        let link = Arc::new(Link {
            journal,
            was_up: AtomicBool::new(false),
            is_gone: AtomicBool::new(false),
            said: Mutex::new(None),
        });
        let (watcher, pacer) = (Arc::clone(&link), Arc::clone(&link));
        let mut options = ConnectOptions::new()
            .name(name)
            .no_echo()
            .ignore_discovered_servers()
            .connection_timeout(CONNECT_TIMEOUT)
            .subscription_capacity(WAITING_MESSAGES)
            .max_reconnects(RECONNECTS_BEFORE_LOOKING_AGAIN)
            .reconnect_delay_callback(move |attempt| pacer.delay(attempt))
            .event_callback(move |event| {
                let watcher = Arc::clone(&watcher);
                async move { watcher.tell(&event) }
            });
        match encryption {
            Encryption::Pinned(pem) => options = options.tls_client_config(pinned(pem)?).require_tls(true),
            Encryption::SystemTrust => options = options.require_tls(true),
            Encryption::Plain => (),
        }
        let client = options
            .connect(address)
            .await
            .map_err(|source| ConnectorError::Connect { broker: broker.to_owned(), source })?;
        link.was_up.store(true, Ordering::Relaxed);
        Ok(Connection { client, broker: format!("nats://{broker}").into() })
    }

    /// Subscribes to subjects and waits until the broker has all of them.
    ///
    /// # Errors
    /// The connection ended, or the broker does not confirm.
    pub async fn subscribe(&self, subjects: &[String]) -> Result<Inbox, ConnectorError> {
        let mut streams: Vec<Pin<Box<dyn Stream<Item = Vec<u8>> + Send>>> = Vec::new();
        for subject in subjects {
            let subscriber = self
                .client
                .subscribe(subject.clone())
                .await
                .map_err(|source| ConnectorError::Subscribe { subject: subject.clone(), source })?;
            streams.push(Box::pin(subscriber.map(|message| message.payload.to_vec())));
        }
        self.settle(CONNECT_TIMEOUT).await?;
        Ok(Inbox { messages: select_all(streams) })
    }

    /// Publishes one message.
    ///
    /// # Errors
    /// The connection ended, or the message is larger than the broker admits.
    pub async fn publish(&self, subject: &str, payload: Vec<u8>) -> Result<(), ConnectorError> {
        self.client
            .publish(subject.to_owned(), payload.into())
            .await
            .map_err(|source| ConnectorError::Publish { subject: subject.to_owned(), source })
    }

    /// Waits until everything sent so far is on its way to the broker.
    ///
    /// # Errors
    /// That did not happen in time.
    pub async fn settle(&self, deadline: Duration) -> Result<(), ConnectorError> {
        match tokio::time::timeout(deadline, self.client.flush()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(ConnectorError::Unconfirmed { waited: deadline }),
        }
    }

    /// Whether the broker is there at this moment.
    pub fn is_up(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// The broker as a URL; the scheme is the same with TLS and without.
    pub fn broker(&self) -> &str {
        &self.broker
    }
}

/// What the library's call-backs share: when to retry, and what was already said.
struct Link {
    journal: Arc<dyn Journal>,
    /// Whether there was a connection yet.
    was_up: AtomicBool,
    /// Whether the connection is lost at this moment.
    is_gone: AtomicBool,
    /// The last thing that was said.
    said: Mutex<Option<String>>,
}

impl Link {
    /// The first connection is tried at once, because its caller keeps its own pace; a lost one after a pause.
    fn delay(&self, attempt: usize) -> Duration {
        if self.was_up.load(Ordering::Relaxed) {
            jittered(long_pause(attempt.saturating_sub(1)))
        } else {
            Duration::ZERO
        }
    }

    fn tell(&self, event: &Event) {
        match event {
            // Also told of the first connection, which its caller tells about in better words.
            Event::Connected if self.is_gone.swap(false, Ordering::Relaxed) => {
                self.once(&event, |journal| journal.info("the broker is back"));
            }
            Event::Connected | Event::Draining => (),
            Event::Disconnected => {
                self.is_gone.store(true, Ordering::Relaxed);
                self.once(&event, |journal| journal.warning("the broker is gone, trying to reach it again"));
            }
            Event::Closed => {
                self.once(&event, |journal| journal.info("the connection to the broker is closed"))
            }
            other => self.once(&other, |journal| journal.warning(&format!("broker: {}", printable(other)))),
        }
    }

    fn once(&self, what: &dyn fmt::Display, say: impl FnOnce(&dyn Journal)) {
        let what = what.to_string();
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.as_ref() != Some(&what) {
            say(&*self.journal);
            *said = Some(what);
        }
    }
}

fn pinned(pem: &str) -> Result<ClientConfig, ConnectorError> {
    let unusable = |reason: String| ConnectorError::Authorities { reason };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unusable("no certificate in it".to_owned()));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

/// The pause after failed attempt `attempt` (from 0) in the reference's short table: 0.5 s to 5 s.
pub fn short_pause(attempt: usize) -> Duration {
    pause(attempt, 5_000)
}

/// The pause after failed attempt `attempt` (from 0) in the reference's long table: 0.5 s to 20 s.
pub fn long_pause(attempt: usize) -> Duration {
    pause(attempt, 20_000)
}

/// Both tables: 500, 750, 1000, then by 500; the long one has three steps in between.
fn pause(attempt: usize, largest: u64) -> Duration {
    let between = if largest > 5_000 { [5_750, 10_750, 15_750].as_slice() } else { &[] };
    let mut steps: Vec<u64> =
        std::iter::once(750).chain((1..=largest / 500).map(|step| step * 500)).collect();
    steps.extend(between);
    steps.sort_unstable();
    Duration::from_millis(steps.get(attempt).copied().unwrap_or(largest))
}

/// A pause drawn evenly from half to one and a half of the given one, so that a fleet does not move as one.
pub fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(pause: fn(usize) -> Duration, length: usize) -> Vec<u128> {
        (0..length).map(|attempt| pause(attempt).as_millis()).collect()
    }

    #[test]
    fn pauses_grow_as_in_the_reference() {
        assert_eq!(
            table(short_pause, 13),
            [500, 750, 1000, 1500, 2000, 2500, 3000, 3500, 4000, 4500, 5000, 5000, 5000]
        );
        assert_eq!(
            table(long_pause, 14),
            [500, 750, 1000, 1500, 2000, 2500, 3000, 3500, 4000, 4500, 5000, 5500, 5750, 6000]
        );
        assert_eq!(long_pause(43).as_millis(), 20_000);
        assert_eq!(long_pause(usize::MAX).as_millis(), 20_000);
    }

    #[test]
    fn jitter_stays_within_half_and_one_and_a_half() {
        let pause = Duration::from_secs(10);
        for _ in 0..1000 {
            let drawn = jittered(pause);
            assert!(drawn >= pause / 2 && drawn <= pause * 3 / 2, "{drawn:?}");
        }
    }

    #[test]
    fn authorities_that_are_none_are_refused() {
        assert!(pinned("").is_err());
        assert!(pinned("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").is_err());
    }
}
