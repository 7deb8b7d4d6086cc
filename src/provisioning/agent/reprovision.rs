//! `reprovision`: back to where a node waits to be provisioned. A node that waits there already refuses it, whoever asks.

use super::Order;
use crate::choria::agents::{Outcome, Refusal};

/// Its name on the wire.
pub(super) const ACTION: &str = "reprovision";

/// Runs the action.
pub(super) fn run(_: &Order) -> Outcome {
    Err(Refusal::aborted("Server is already in provisioning mode, cannot enable provisioning mode again"))
}
