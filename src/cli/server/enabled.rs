//! The twin for builds that can be provisioned: hands over to the node's server.

use super::RunArguments;
use crate::Appliance;
use crate::cli::error::CommandError;

pub(super) fn run(_appliance: &Appliance, _: &RunArguments) -> Result<u8, CommandError> {
    Err(CommandError::new("in construction"))
}
