//! The agent `choria_provision`: what a provisioner may do to a node that waits for it.
//!
//! Actions run one at a time. Before anything else a guarded action takes the provisioner lock, so failing calls take
//! it too: that is the reference's order, and two provisioners that both believe in themselves rely on it.

mod gencsr;
mod reprovision;
mod shutdown;

use std::path::PathBuf;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::{Duration, Instant};

use argon2::Argon2;
use argon2::password_hash::PasswordVerifier;
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};
use tokio::sync::{Mutex, Notify, OwnedMutexGuard};

use crate::choria::agents::{Call, Metadata, Outcome, Refusal, RpcAgent};
use crate::choria::journal::{Journal, printable};
use crate::choria::subject::AgentName;
use crate::provisioning::lock::ProvisionerLock;

/// Longest token that a requester may send, in characters; the interface description's limit.
const LONGEST_TOKEN: usize = 128;

/// How many wrong tokens in a row are looked at before the node takes its time.
const WRONG_TOKENS_AT_ONCE: u32 = 5;

/// How long the node then looks at no token.
const WRONG_TOKEN_PAUSE: Duration = Duration::from_secs(10);

/// Which of the actions that a brand chooses it has.
#[derive(Debug, Clone, Copy)]
pub struct Chosen {
    /// Going back to be provisioned.
    pub reprovision: bool,
    /// Ending the server.
    pub shutdown: bool,
}

/// Something that a provisioner may ask for.
struct Action {
    name: &'static str,
    /// Whether only one provisioner at a time may ask for it.
    is_guarded: bool,
    /// Runs on a blocking thread.
    run: fn(&Order) -> Outcome,
}

/// What a provisioner may ask, in provisioning mode.
pub struct ChoriaProvision {
    metadata: Metadata,
    actions: Vec<Action>,
    context: Arc<Context>,
    /// Held while an action runs; handed to the blocking thread, so that a reply that came too late for its requester
    /// does not let a second action in beside the first.
    turn: Arc<Mutex<()>>,
    lock: StdMutex<ProvisionerLock>,
}

/// What all actions need to know.
struct Context {
    /// PHC string of the token; empty: every token passes.
    token_digest: &'static str,
    /// Where keys and requests for certificates go.
    ssl_directory: PathBuf,
    guard: StdMutex<WrongTokens>,
    ending: Ending,
    journal: Arc<dyn Journal>,
}

/// By which an action ends the server.
#[derive(Debug, Clone, Default)]
pub struct Ending(Arc<Notify>);

impl Ending {
    /// Ends the server so much later; the reply goes out before.
    fn order(&self, after: Duration) {
        let ended = Arc::clone(&self.0);
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            ended.notify_one();
        });
    }

    /// Waits until the server is to end.
    pub async fn ordered(&self) {
        self.0.notified().await;
    }
}

/// What the blocking part of an action gets.
struct Order {
    inputs: Map<String, Value>,
    identity: String,
    requester: String,
    context: Arc<Context>,
    _turn: OwnedMutexGuard<()>,
}

impl ChoriaProvision {
    /// The agent in a version of the product, with the token's digest, the directory for keys, and the actions that the
    /// brand chose beside those that every node has.
    pub fn new(
        version: &'static str,
        token_digest: &'static str,
        ssl_directory: PathBuf,
        chosen: Chosen,
        ending: Ending,
        journal: Arc<dyn Journal>,
    ) -> Self {
        let always = [Action { name: gencsr::ACTION, is_guarded: true, run: gencsr::run }];
        let on_demand = [
            (
                chosen.reprovision,
                Action { name: reprovision::ACTION, is_guarded: false, run: reprovision::run },
            ),
            (chosen.shutdown, Action { name: shutdown::ACTION, is_guarded: false, run: shutdown::run }),
        ];
        let chosen = on_demand.into_iter().filter_map(|(is_chosen, action)| is_chosen.then_some(action));
        ChoriaProvision {
            actions: always.into_iter().chain(chosen).collect(),
            metadata: Metadata {
                name: AgentName::of("choria_provision"),
                description: "Takes a provisioner's orders on a node that waits to be configured".into(),
                author: "The DISCO project".into(),
                license: "Apache-2.0".into(),
                version: version.into(),
                url: "https://disco.example".into(),
                timeout: Duration::from_secs(20),
            },
            context: Arc::new(Context {
                token_digest,
                ssl_directory,
                guard: StdMutex::new(WrongTokens::default()),
                ending,
                journal,
            }),
            turn: Arc::new(Mutex::new(())),
            lock: StdMutex::new(ProvisionerLock::new()),
        }
    }

    /// Takes the turn and, where it has to be, the provisioner lock; then runs an action on a blocking thread.
    async fn run(&self, call: &Call<'_>, action: &Action) -> Outcome {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let requester = printable(format!("{} from {}", call.request.caller_id, call.request.sender_id));
        if action.is_guarded && !self.take_lock(call) {
            self.context
                .journal
                .warning(&format!("{} of {requester}: another provisioner is at work", action.name));
            return Err(Refusal::aborted("Could not obtain provisioning lock"));
        }
        let order = Order {
            inputs: call.data.clone(),
            identity: call.node.identity.to_string(),
            requester,
            context: Arc::clone(&self.context),
            _turn: turn,
        };
        let run = action.run;
        match tokio::task::spawn_blocking(move || run(&order)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Refusal::aborted("The action ended unexpectedly")),
        }
    }

    fn take_lock(&self, call: &Call<'_>) -> bool {
        let (sender, caller) = (&call.request.sender_id, &call.request.caller_id);
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take(sender, caller, Instant::now())
    }
}

impl RpcAgent for ChoriaProvision {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn invoke<'a>(&'a self, call: &'a Call<'a>) -> Option<BoxFuture<'a, Outcome>> {
        let action = self.actions.iter().find(|action| action.name == call.action)?;
        Some(Box::pin(self.run(call, action)))
    }
}

impl Order {
    /// Checks the token. The digest's comparison takes constant time; the token itself goes nowhere else.
    fn check_token(&self) -> Result<(), Refusal> {
        let context = &self.context;
        if context.token_digest.is_empty() {
            return Ok(());
        }
        let mut guard = context.guard.lock().unwrap_or_else(PoisonError::into_inner);
        if !guard.may_look(Instant::now()) {
            return Err(Refusal::aborted(
                "Too many incorrect provision tokens, wait before the next attempt",
            ));
        }
        let token = self.inputs.get("token").and_then(Value::as_str).unwrap_or_default();
        if Argon2::default().verify_password(token.as_bytes(), context.token_digest).is_ok() {
            guard.forget();
            return Ok(());
        }
        guard.remember(Instant::now());
        context.journal.warning(&format!("incorrect provision token from {}", self.requester));
        Err(Refusal::aborted("Incorrect provision token supplied"))
    }

    /// An input as text, looked up in the case given and in lower case: generated clients send all names in lower
    /// case, and the reference server accepts any. Absent and empty are the same.
    fn text(&self, action: &str, name: &str) -> Result<Option<&str>, Refusal> {
        let found = self.inputs.iter().find(|(given, _)| given.eq_ignore_ascii_case(name));
        match found.map(|(_, value)| value) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => {
                let reason = format!("{name} is not a text");
                Err(Refusal::unparsable(&AgentName::of("choria_provision"), action, &reason))
            }
        }
    }

    /// The same, with the limits of the interface description: longest length in characters, and the shape.
    fn checked_text(
        &self,
        action: &str,
        name: &str,
        longest: usize,
        has_shape: fn(&str) -> bool,
    ) -> Result<Option<&str>, Refusal> {
        let text = self.text(action, name)?;
        match text {
            Some(text) if text.chars().count() > longest => {
                Err(Refusal::invalid(&format!("{name} is longer than {longest} characters")))
            }
            Some(text) if !has_shape(text) => {
                Err(Refusal::invalid(&format!("{name} does not have the right shape")))
            }
            text => Ok(text),
        }
    }
}

/// How many wrong tokens came in a row, and when.
#[derive(Debug, Default)]
struct WrongTokens {
    in_a_row: u32,
    last: Option<Instant>,
}

impl WrongTokens {
    fn may_look(&mut self, now: Instant) -> bool {
        let is_over = self.last.is_none_or(|last| now.saturating_duration_since(last) >= WRONG_TOKEN_PAUSE);
        if is_over {
            self.forget();
        }
        self.in_a_row < WRONG_TOKENS_AT_ONCE
    }

    fn remember(&mut self, now: Instant) {
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.last = Some(now);
    }

    fn forget(&mut self) {
        *self = WrongTokens::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_some_wrong_tokens_none_is_looked_at_for_a_while() {
        let mut wrong = WrongTokens::default();
        let start = Instant::now();
        for _ in 0..WRONG_TOKENS_AT_ONCE {
            assert!(wrong.may_look(start));
            wrong.remember(start);
        }
        assert!(!wrong.may_look(start + WRONG_TOKEN_PAUSE - Duration::from_millis(1)));
        assert!(wrong.may_look(start + WRONG_TOKEN_PAUSE));
    }

    #[test]
    fn a_right_token_clears_the_record() {
        let mut wrong = WrongTokens::default();
        let start = Instant::now();
        for _ in 0..WRONG_TOKENS_AT_ONCE {
            wrong.remember(start);
        }
        wrong.forget();
        assert!(wrong.may_look(start));
    }
}
