//! `shutdown`: the server ends some seconds after its reply. It exits with 0, so that its supervisor leaves it down.

use std::time::Duration;

use serde_json::json;

use super::{LONGEST_TOKEN, Order};
use crate::choria::agents::Outcome;

/// Its name on the wire.
pub(super) const ACTION: &str = "shutdown";

/// The server ends within so many seconds, at a random moment, so that a fleet does not go at once.
const WITHIN: u64 = 10;

/// Runs the action. Blocks: may stretch a token.
pub(super) fn run(order: &Order) -> Outcome {
    order.checked_text(ACTION, "token", LONGEST_TOKEN, |_| true)?;
    order.check_token()?;
    let after = Duration::from_secs(fastrand::u64(..WITHIN));
    let context = &order.context;
    context.journal.info(&format!("shutdown, as {} ordered, in {} s", order.requester, after.as_secs()));
    context.ending.order(after);
    Ok(json!({ "message": format!("Shutting Choria Server down after {}s", after.as_secs()) }))
}
