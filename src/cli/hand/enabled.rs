//! The sandbox that stands between commands, and work inside it.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::Path;

use serde::Serialize;

use super::{Diff, FsArguments, FsCommand, ShArguments, ShCommand};
use crate::Appliance;
use crate::cli::error::CommandError;
use crate::cli::output::{Lines, answer};
use crate::cli::streams::{Answer, exit_code, input, pass_on};
use crate::cli::{exit, state};
use crate::disco::Mode;
use crate::disco::changes::diff::Format;
use crate::disco::changes::secrets::Secrets;
use crate::disco::changes::{Change, Show, counted};
use crate::disco::session::{self, SessionError, Standing};

/// Version of the JSON that `fs diff --json` prints.
const SCHEMA: &str = "disco.changes.v1";

pub(super) fn fs(appliance: &Appliance, arguments: &FsArguments) -> Result<u8, CommandError> {
    let brand = &appliance.brand;
    let mode = mode(arguments.noop);
    let (vardir, etcdir) = (state::of_host(brand), Path::new(brand.paths.etcdir));
    let hinted = |error| with_hint(error, brand.binary, mode);
    let standing = Standing::of(mode, &vardir, etcdir).map_err(hinted)?;
    match &arguments.command {
        FsCommand::Mount => {
            standing.mount().map_err(hinted)?;
            answer(&format!("info: The {} sandbox is mounted\n", mode.name()))
        }
        FsCommand::Init => {
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
        FsCommand::Diff(options) => diff(&standing, mode, options, &hinted),
        FsCommand::Unmount => {
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
fn mode(noop: bool) -> Mode {
    let asked = noop || std::env::var_os("NOOP").is_some_and(|value| !value.is_empty());
    if asked { Mode::Noop } else { Mode::Live }
}

/// What to do about an error that a person can do something about.
fn with_hint(error: SessionError, binary: &str, mode: Mode) -> CommandError {
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

pub(super) fn sh(appliance: &Appliance, arguments: &ShArguments) -> Result<u8, CommandError> {
    let brand = &appliance.brand;
    let mode = mode(arguments.noop);
    let hinted = |error| with_hint(error, brand.binary, mode);
    let (vardir, etcdir) = (state::of_host(brand), Path::new(brand.paths.etcdir));
    let standing = Standing::of(mode, &vardir, etcdir).map_err(hinted)?;
    let mut sandbox = standing.find().map_err(hinted)?;
    let program = match &arguments.command {
        ShCommand::Shell { unrestricted: false } if mode == Mode::Noop => {
            standing.restricted_shell(of_the_terminal())
        }
        ShCommand::Shell { .. } => standing.shell(of_the_terminal()),
        ShCommand::Exec { script, name } => standing.script(script, name.as_deref()).map_err(hinted)?,
    };
    let stdin = io::stdin();
    let usage = session::run(&mut sandbox, &program, input(stdin.as_fd()), &mut |activity| {
        pass_on(activity, Answer::Stdout);
    })?;
    Ok(exit_code(usage.exit))
}

/// What a program must know about the terminal that it will be shown on.
fn of_the_terminal() -> Vec<(String, String)> {
    ["TERM", "COLORTERM"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)))
        .collect()
}
