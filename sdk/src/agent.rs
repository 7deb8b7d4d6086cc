//! Answering requests over the collective.
//!
//! ```
//! use disco_sdk::{Action, Agent, AgentInfo, Call, Failure, Input};
//!
//! struct Rack;
//!
//! impl Agent for Rack {
//!     fn info(&self) -> AgentInfo {
//!         AgentInfo::new("acme_rack", "1.0.0")
//!             .description("Knows where the node stands")
//!             .action(Action::new("led", "Switches the light of the slot").input(Input::boolean("on")))
//!     }
//!
//!     fn invoke(&self, call: &Call<'_>) -> Result<String, Failure> {
//!         match call.action {
//!             "led" => Ok(format!("{{\"node\": \"{}\"}}", call.identity)),
//!             _ => Err(Failure::aborted("no such thing")),
//!         }
//!     }
//! }
//!
//! /// Each `[[agents]]` of a spec names a crate; the product calls this function once at start.
//! pub fn agents() -> Vec<Box<dyn Agent>> {
//!     vec![Box::new(Rack)]
//! }
//! ```

use std::fmt;
use std::time::{Duration, Instant};

/// Something that answers requests of operators and of other programs.
///
/// The product checks each request before it calls: the action is one of [`AgentInfo`], the required inputs are there,
/// each of its type. A panic ends the one request and is logged. A call that outlasts the agent's time-out is not
/// answered; while too many of them last, the agent's further requests wait, and nobody else's.
pub trait Agent: Send + Sync {
    /// Who the agent is and what it can do. Asked once, at start.
    fn info(&self) -> AgentInfo;

    /// Runs one action on a thread of its own. The answer is a JSON object, as text.
    ///
    /// # Errors
    /// Whatever kept the action from an answer; the caller sees the message.
    fn invoke(&self, call: &Call<'_>) -> Result<String, Failure>;
}

/// Who an agent is and what it can do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AgentInfo {
    /// Its name in the collective: `^[a-z][a-z0-9_]*$`.
    pub name: String,
    /// Its version, `1.2.3`.
    pub version: String,
    /// What it does, in one sentence.
    pub description: String,
    /// Who made it.
    pub author: String,
    /// Under which licence, an SPDX expression.
    pub license: String,
    /// Where to read on.
    pub url: String,
    /// How long an action may run; callers wait so long. Whole seconds, at least 2.
    pub timeout: Duration,
    /// What it can do.
    pub actions: Vec<Action>,
}

impl AgentInfo {
    /// An agent without actions and with a time-out of 10 seconds.
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Self {
        AgentInfo {
            name: name.into(),
            version: version.into(),
            description: String::new(),
            author: String::new(),
            license: String::new(),
            url: String::new(),
            timeout: Duration::from_secs(10),
            actions: Vec::new(),
        }
    }

    /// Says what it does, in one sentence.
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.description = text.into();
        self
    }

    /// Says who made it.
    pub fn author(mut self, text: impl Into<String>) -> Self {
        self.author = text.into();
        self
    }

    /// Says under which licence it is.
    pub fn license(mut self, text: impl Into<String>) -> Self {
        self.license = text.into();
        self
    }

    /// Says where to read on.
    pub fn url(mut self, text: impl Into<String>) -> Self {
        self.url = text.into();
        self
    }

    /// Sets how long an action may run.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Adds something that it can do.
    pub fn action(mut self, action: Action) -> Self {
        self.actions.push(action);
        self
    }
}

/// Something that an agent can do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Action {
    /// Its name.
    pub name: String,
    /// What it does, in one sentence.
    pub description: String,
    /// What it takes. Callers may send more; nobody checks that.
    pub inputs: Vec<Input>,
}

impl Action {
    /// An action without inputs.
    pub fn new(name: impl Into<String>, description: impl Into<String>) -> Self {
        Action { name: name.into(), description: description.into(), inputs: Vec::new() }
    }

    /// Adds an input.
    pub fn input(mut self, input: Input) -> Self {
        self.inputs.push(input);
        self
    }
}

/// Something that an action takes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Input {
    /// Its name, a member of the request's data.
    pub name: String,
    /// What it has to be.
    pub kind: InputType,
    /// Whether a request without it is refused.
    pub required: bool,
}

/// What an input has to be, in the words of JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "JSON says what they are")]
pub enum InputType {
    Text,
    Number,
    Boolean,
    List,
    Object,
}

impl Input {
    /// A required text.
    pub fn text(name: impl Into<String>) -> Self {
        Input::of(name, InputType::Text)
    }

    /// A required number.
    pub fn number(name: impl Into<String>) -> Self {
        Input::of(name, InputType::Number)
    }

    /// A required truth value.
    pub fn boolean(name: impl Into<String>) -> Self {
        Input::of(name, InputType::Boolean)
    }

    /// A required input of some type.
    pub fn of(name: impl Into<String>, kind: InputType) -> Self {
        Input { name: name.into(), kind, required: true }
    }

    /// The same, but a request may come without it.
    pub fn optional(mut self) -> Self {
        self.required = false;
        self
    }
}

/// One call of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Call<'a> {
    /// Which action.
    pub action: &'a str,
    /// The inputs: a JSON object, as text.
    pub data: &'a str,
    /// Identity of the node that is asked.
    pub identity: &'a str,
    /// Who asks, as the protocol names callers. In provisioning mode nobody has proved that.
    pub caller: &'a str,
    /// When the caller stops to wait.
    pub deadline: Instant,
}

impl<'a> Call<'a> {
    /// A call, for the product and for tests of an agent.
    pub fn new(
        action: &'a str,
        data: &'a str,
        identity: &'a str,
        caller: &'a str,
        deadline: Instant,
    ) -> Self {
        Call { action, data, identity, caller, deadline }
    }
}

/// Why an action has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    is_input_wrong: bool,
    message: String,
}

impl Failure {
    /// The action could not run (the protocol's status 1).
    pub fn aborted(message: impl Into<String>) -> Self {
        Failure { is_input_wrong: false, message: message.into() }
    }

    /// An input is there and is not acceptable (the protocol's status 4).
    pub fn invalid(message: impl Into<String>) -> Self {
        Failure { is_input_wrong: true, message: message.into() }
    }

    /// Whether the caller can do something about it.
    pub fn is_input_wrong(&self) -> bool {
        self.is_input_wrong
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
