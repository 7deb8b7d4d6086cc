//! The twin for builds without a shell: it says so, and how to get one that has it.

use super::{FsArguments, ShArguments};
use crate::Appliance;
use crate::cli::error::CommandError;

pub(super) fn fs(appliance: &Appliance, _: &FsArguments) -> Result<u8, CommandError> {
    Err(without_shell(appliance))
}

pub(super) fn sh(appliance: &Appliance, _: &ShArguments) -> Result<u8, CommandError> {
    Err(without_shell(appliance))
}

fn without_shell(appliance: &Appliance) -> CommandError {
    let binary = appliance.brand.binary;
    CommandError::new(format!("this build of {binary} has no shell and leaves no sandbox standing"))
        .hint("set `shell = true` under [features] in its spec and build it again")
}
