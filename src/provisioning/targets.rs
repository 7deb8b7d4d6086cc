//! Which brokers to be provisioned at: what the brand baked, what its domain's SRV records or its resolver say; never any
//! other.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use disco_sdk::{Node, ResolveError, Settings, Target, TargetResolver};
use tokio::task::JoinHandle;

use crate::brand::List;
use crate::provisioning::srv::{self, SrvError};

/// How long a resolver may think.
pub const RESOLVER_DEADLINE: Duration = Duration::from_secs(30);

/// Why there are no brokers at the moment. The caller waits and asks again.
#[derive(Debug, thiserror::Error)]
pub enum TargetsError {
    /// The resolver says so.
    #[error("resolver `{resolver}` found no brokers")]
    Refused {
        /// Its name.
        resolver: String,
        /// What it says.
        #[source]
        source: ResolveError,
    },
    /// The resolver answered with an empty list.
    #[error("resolver `{resolver}` answered with no brokers")]
    Empty {
        /// Its name.
        resolver: String,
    },
    /// The resolver still thinks; asking again waits for that same answer.
    #[error("resolver `{resolver}` gave no answer within {} s", waited.as_secs())]
    Late {
        /// Its name.
        resolver: String,
        /// How long we waited.
        waited: Duration,
    },
    /// The resolver has a bug.
    #[error("resolver `{resolver}` panicked")]
    Panicked {
        /// Its name.
        resolver: String,
    },
    /// The domain names none.
    #[error(transparent)]
    Srv(#[from] SrvError),
    /// Neither brokers nor a domain nor a resolver were baked.
    #[error("no brokers were baked")]
    NoneBaked,
}

type Answer = Result<Vec<Target>, ResolveError>;

/// Where brokers come from.
pub struct Targets {
    baked: Vec<String>,
    /// Domain whose SRV records name them, where no list was baked.
    domain: Option<&'static str>,
    resolver: Option<Arc<dyn TargetResolver>>,
    deadline: Duration,
    /// A call that outlived its deadline. One at a time, so that a stuck resolver costs one thread, not one per try.
    pending: Option<JoinHandle<Option<Answer>>>,
}

impl Targets {
    /// The brand's brokers, those of its domain if it has one, or its resolver; the resolver gets `deadline` to answer.
    pub fn new(
        baked: List,
        srv_domain: &'static str,
        resolver: Option<Arc<dyn TargetResolver>>,
        deadline: Duration,
    ) -> Self {
        let domain = (!srv_domain.is_empty()).then_some(srv_domain);
        Targets {
            baked: baked.iter().map(str::to_owned).collect(),
            domain,
            resolver,
            deadline,
            pending: None,
        }
    }

    /// Whether there can ever be a broker.
    pub fn exist(&self) -> bool {
        self.resolver.is_some() || self.domain.is_some() || !self.baked.is_empty()
    }

    /// Where they come from, in words for the log.
    pub fn origin(&self) -> String {
        match (&self.resolver, self.domain) {
            (Some(resolver), _) => format!("found by resolver `{}`", resolver.name()),
            (None, Some(domain)) => srv::origin(domain),
            (None, None) => self.baked.join(", "),
        }
    }

    /// The brokers as `host:port`, in the order to try them.
    ///
    /// # Errors
    /// There are none at the moment.
    pub async fn find(&mut self, identity: &str) -> Result<Vec<String>, TargetsError> {
        let Some(resolver) = self.resolver.clone() else {
            return match self.domain {
                Some(domain) => Ok(srv::look_up(domain).await?),
                None if self.baked.is_empty() => Err(TargetsError::NoneBaked),
                None => Ok(self.baked.clone()),
            };
        };
        let name = resolver.name().to_owned();
        let mut call = self.pending.take().unwrap_or_else(|| {
            let (node, settings) = (Node::new(identity), Settings::new(self.baked.clone()));
            let deadline = Instant::now() + self.deadline;
            tokio::task::spawn_blocking(move || {
                std::panic::catch_unwind(AssertUnwindSafe(|| resolver.targets(&node, &settings, deadline)))
                    .ok()
            })
        });
        match tokio::time::timeout(self.deadline, &mut call).await {
            Err(_) => {
                self.pending = Some(call);
                Err(TargetsError::Late { resolver: name, waited: self.deadline })
            }
            Ok(Ok(Some(Ok(targets)))) if targets.is_empty() => Err(TargetsError::Empty { resolver: name }),
            Ok(Ok(Some(Ok(targets)))) => Ok(targets.iter().map(ToString::to_string).collect()),
            Ok(Ok(Some(Err(source)))) => Err(TargetsError::Refused { resolver: name, source }),
            Ok(Ok(None) | Err(_)) => Err(TargetsError::Panicked { resolver: name }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::brand::list;

    /// Answers what a closure answers.
    struct Rack<F>(F);

    impl<F: Fn(&Node, &Settings) -> Answer + Send + Sync> TargetResolver for Rack<F> {
        fn name(&self) -> &str {
            "rack"
        }

        fn targets(&self, node: &Node, settings: &Settings, _: Instant) -> Answer {
            (self.0)(node, settings)
        }
    }

    fn targets<F>(answer: F) -> Targets
    where
        F: Fn(&Node, &Settings) -> Answer + Send + Sync + 'static,
    {
        Targets::new(list("baked:4222"), "", Some(Arc::new(Rack(answer))), RESOLVER_DEADLINE)
    }

    #[tokio::test]
    async fn the_baked_brokers_are_used_as_they_are() {
        let mut targets = Targets::new(list("a:1,b:2"), "", None, RESOLVER_DEADLINE);
        assert_eq!(targets.find("n").await.unwrap(), ["a:1", "b:2"]);
        let mut none = Targets::new(list(""), "", None, RESOLVER_DEADLINE);
        assert!(!none.exist());
        assert!(matches!(none.find("n").await, Err(TargetsError::NoneBaked)));
    }

    #[tokio::test]
    async fn a_resolver_knows_the_node_and_the_baked_brokers() {
        let mut targets = targets(|node, settings| {
            assert_eq!(settings.brokers, ["baked:4222"]);
            Ok(vec![Target::new(format!("{}.prov", node.identity), 7)])
        });
        assert_eq!(targets.find("r1").await.unwrap(), ["r1.prov:7"]);
    }

    #[tokio::test]
    async fn a_resolver_in_trouble_never_leads_to_other_brokers() {
        let mut refusing = targets(|_, _| Err(ResolveError::new("no rack")));
        assert!(matches!(refusing.find("n").await, Err(TargetsError::Refused { .. })));
        let mut empty = targets(|_, _| Ok(Vec::new()));
        assert!(matches!(empty.find("n").await, Err(TargetsError::Empty { .. })));
        let mut panicking = targets(|_, _| panic!("a bug in a resolver"));
        assert!(matches!(panicking.find("n").await, Err(TargetsError::Panicked { .. })));
    }

    #[tokio::test]
    async fn a_late_answer_is_waited_for_and_not_asked_for_twice() {
        let (release, gate) = channel::<()>();
        let gate: Mutex<Receiver<()>> = Mutex::new(gate);
        let mut targets = targets(move |_, _| {
            gate.lock().unwrap().recv().map_err(|_| ResolveError::new("asked twice"))?;
            Ok(vec![Target::new("late", 1)])
        });
        targets.deadline = Duration::from_millis(20);
        assert!(matches!(targets.find("n").await, Err(TargetsError::Late { .. })));
        release.send(()).unwrap();
        drop(release);
        targets.deadline = RESOLVER_DEADLINE;
        assert_eq!(targets.find("n").await.unwrap(), ["late:1"]);
    }
}
