//! `server run`: the node's daemon, present only in builds that can be provisioned.

use clap::{Args, Subcommand};

use crate::Appliance;
use crate::cli::error::CommandError;

#[cfg_attr(feature = "provisioning", path = "enabled.rs")]
#[cfg_attr(not(feature = "provisioning"), path = "disabled.rs")]
mod imp;

/// Run the node's server
#[derive(Debug, Args)]
#[command(
    hide = cfg!(not(feature = "provisioning")),
    after_help = "Example:\n  server run   what the service unit starts; it stays in the foreground"
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Wait at the baked brokers to be provisioned
    Run(RunArguments),
}

/// What `server run` can be told.
#[derive(Debug, Args)]
struct RunArguments {
    /// Configuration file [default: server.conf in the brand's configuration directory]
    #[arg(long, value_name = "FILE")]
    config: Option<std::path::PathBuf>,
}

pub(super) fn run(appliance: &Appliance, arguments: &Arguments) -> Result<u8, CommandError> {
    match &arguments.command {
        Command::Run(arguments) => imp::run(appliance, arguments),
    }
}
