//! `fs` and `sh`: what a person does by hand in a sandbox that stands, present only in builds that have a shell.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::Appliance;
use crate::cli::error::CommandError;

#[cfg_attr(feature = "shell", path = "enabled.rs")]
#[cfg_attr(not(feature = "shell"), path = "disabled.rs")]
mod imp;

/// Mount a sandbox that stays, see what differs in it, take it down
///
/// There are two: the noop one (--noop or NOOP=true), which nothing leaves, and the live one, in which the running system
/// is within reach. Nothing of either is ever merged. A dance uses a sandbox of its own.
#[derive(Debug, Args)]
#[command(hide = cfg!(not(feature = "shell")), after_help = "\
Examples:
  fs mount --noop     put the sandbox up
  sh shell --noop     work in it
  fs diff --noop      what differs in it from this machine?
  fs unmount --noop   take it down, with everything in it")]
pub(super) struct FsArguments {
    /// The noop sandbox [env: NOOP=true]
    #[arg(long, global = true)]
    noop: bool,
    #[command(subcommand)]
    command: FsCommand,
}

#[derive(Debug, Subcommand)]
enum FsCommand {
    /// Put the sandbox up and leave it standing
    Mount,
    /// Make sure that a sandbox stands in which nothing was changed yet
    Init,
    /// Print what differs in the sandbox from the live system, noise included
    Diff(Diff),
    /// Take the sandbox down, with everything in it
    Unmount,
}

#[derive(Debug, Args)]
struct Diff {
    /// Do not show what differs inside files
    #[arg(long)]
    no_diff: bool,
    /// Show what differs inside secret files too; only on a terminal
    #[arg(long, conflicts_with = "json")]
    show_secrets: bool,
    /// Print one JSON object (schema disco.changes.v1) instead of lines
    #[arg(long)]
    json: bool,
    /// End with code 2 if anything differs
    #[arg(long)]
    detailed_exitcodes: bool,
}

/// Work inside the sandbox that `fs mount` left standing
#[derive(Debug, Args)]
#[command(hide = cfg!(not(feature = "shell")), after_help = "\
Examples:
  sh shell --noop              a restricted shell: what is not allowed is only told
  sh shell --noop --unrestricted
  sh exec --noop ./script.sh   run a script inside; its exit code is the command's
  fs diff --noop               what did that change?")]
pub(super) struct ShArguments {
    /// In the noop sandbox [env: NOOP=true]
    #[arg(long, global = true)]
    noop: bool,
    #[command(subcommand)]
    command: ShCommand,
}

#[derive(Debug, Subcommand)]
enum ShCommand {
    /// Start bash inside; restricted in the noop sandbox
    Shell {
        /// A bash that may call and write everything; the sandbox holds it all the same
        #[arg(long)]
        unrestricted: bool,
    },
    /// Run a script inside
    Exec {
        /// The script; its first line says what runs it, bash otherwise
        script: PathBuf,
        /// The module in whose name it runs
        name: Option<String>,
    },
}

pub(super) fn fs(appliance: &Appliance, arguments: &FsArguments) -> Result<u8, CommandError> {
    imp::fs(appliance, arguments)
}

pub(super) fn sh(appliance: &Appliance, arguments: &ShArguments) -> Result<u8, CommandError> {
    imp::sh(appliance, arguments)
}
