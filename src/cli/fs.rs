//! `fs`: the sandbox that stands between commands.

use std::io::IsTerminal;
use std::path::Path;

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::Appliance;
use crate::cli::error::CommandError;
use crate::cli::exit;
use crate::cli::output::{Lines, answer};
use crate::disco::Mode;
use crate::disco::changes::{Change, Show, counted};
use crate::disco::diff::Format;
use crate::disco::secrets::Secrets;
use crate::disco::session::{SessionError, Standing};

/// Version of the JSON that `fs diff --json` prints.
const SCHEMA: &str = "disco.changes.v1";

/// Mount a sandbox that stays, see what differs in it, take it down
///
/// There are two: the noop one (--noop or NOOP=true), which nothing leaves, and the live one, in which the running system
/// is within reach. Nothing of either is ever merged. A dance uses a sandbox of its own.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fs mount --noop     put the sandbox up
  sh shell --noop     work in it
  fs diff --noop      what differs in it from this machine?
  fs unmount --noop   take it down, with everything in it")]
pub(super) struct Arguments {
    /// The noop sandbox [env: NOOP=true]
    #[arg(long, global = true)]
    noop: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
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

pub(super) fn run(appliance: &Appliance, arguments: &Arguments) -> Result<u8, CommandError> {
    let brand = &appliance.brand;
    let mode = mode(arguments.noop);
    let (vardir, etcdir) = (Path::new(brand.paths.vardir), Path::new(brand.paths.etcdir));
    let hinted = |error| with_hint(error, brand.binary, mode);
    let standing = Standing::of(mode, vardir, etcdir).map_err(hinted)?;
    match &arguments.command {
        Command::Mount => {
            standing.mount().map_err(hinted)?;
            answer(&format!("info: The {} sandbox is mounted\n", mode.name()))
        }
        Command::Init => {
            let said = match standing.changes(Show { format: Format::None, secrets: Secrets::Hidden }) {
                Ok(changes) if changes.is_empty() => "is mounted, and nothing is changed in it",
                Ok(_) => {
                    standing.unmount().map_err(hinted)?;
                    standing.mount().map_err(hinted)?;
                    "was changed, so it is mounted afresh"
                }
                Err(SessionError::NotMounted(_)) => {
                    standing.mount().map_err(hinted)?;
                    "is mounted"
                }
                Err(error) => return Err(hinted(error)),
            };
            answer(&format!("info: The {} sandbox {said}\n", mode.name()))
        }
        Command::Diff(options) => diff(&standing, mode, options, &hinted),
        Command::Unmount => {
            standing.unmount().map_err(hinted)?;
            answer(&format!("info: The {} sandbox is gone, and everything in it\n", mode.name()))
        }
    }
}

/// What `fs diff --json` prints.
#[derive(Serialize)]
struct Differences<'a> {
    schema: &'static str,
    mode: Mode,
    changes: &'a [Change],
}

fn diff(
    standing: &Standing<'_>,
    mode: Mode,
    options: &Diff,
    hinted: &dyn Fn(SessionError) -> CommandError,
) -> Result<u8, CommandError> {
    if options.show_secrets && !std::io::stdout().is_terminal() {
        return Err(CommandError::new("secrets are shown on a terminal only, and standard output is none")
            .hint("run it without --show-secrets, or without the pipe"));
    }
    let show = Show {
        format: if options.no_diff { Format::None } else { Format::Normal },
        secrets: if options.show_secrets { Secrets::Shown } else { Secrets::Hidden },
    };
    let changes = standing.changes(show).map_err(hinted)?;
    let told = || changes.iter().filter(|change| !change.implied);
    if options.json {
        let differences = Differences { schema: SCHEMA, mode, changes: &changes };
        answer(&format!("{}\n", serde_json::to_string_pretty(&differences)?))?;
    } else {
        let mut lines = Lines::on_stdout(!options.no_diff);
        told().for_each(|change| lines.change(change));
        lines.write(&format!("{}: {}\n", mode.name(), counted(told())));
        lines.finish()?;
    }
    Ok(if options.detailed_exitcodes && told().next().is_some() { exit::CHANGES } else { exit::FINE })
}

/// Noop where the command line or the environment says so.
pub(super) fn mode(noop: bool) -> Mode {
    let asked = noop || std::env::var_os("NOOP").is_some_and(|value| !value.is_empty());
    if asked { Mode::Noop } else { Mode::Live }
}

/// What to do about an error that a person can do something about.
pub(super) fn with_hint(error: SessionError, binary: &str, mode: Mode) -> CommandError {
    let noop = if mode == Mode::Noop { " --noop" } else { "" };
    let hint = match &error {
        SessionError::Probe(missing) => Some(missing.cure().to_owned()),
        SessionError::NotMounted(_) => Some(format!("put it up with `{binary} fs mount{noop}`")),
        SessionError::Mounted(_) => Some(format!(
            "`{binary} fs init{noop}` makes it afresh, `{binary} fs unmount{noop}` takes it down"
        )),
        _ => None,
    };
    let error = CommandError::new(error);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}
