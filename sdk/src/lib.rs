//! What crates outside DISCO may build on. Small, stable, standard library only.
//!
//! A plug is a crate that a spec names; it is compiled into the brand. There are two kinds:
//!
//! * [`TargetResolver`]: finds the brokers at which a node asks to be provisioned. A spec's `[resolver]` names the crate.
//! * [`Agent`]: answers requests over the collective. Each `[[agents]]` of a spec names a crate.

mod agent;
mod resolver;

pub use agent::{Action, Agent, AgentInfo, Call, Failure, Input, InputType};
pub use resolver::{Node, ResolveError, Settings, Target, TargetResolver};
