//! The twin for builds that cannot be provisioned: it says so, and how to get one that can.

use super::RunArguments;
use crate::Appliance;
use crate::cli::error::CommandError;

pub(super) fn run(appliance: &Appliance, _: &RunArguments) -> Result<u8, CommandError> {
    let binary = appliance.brand.binary;
    Err(CommandError::new(format!("this build of {binary} cannot be provisioned and has no server"))
        .hint("set `provisioning = true` under [features] in its spec and build it again"))
}
