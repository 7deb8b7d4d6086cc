//! `try`: any command in a noop sandbox of its own, and what it changed.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::os::fd::AsFd;

use clap::Args;

use crate::Appliance;
use crate::cli::error::CommandError;
use crate::cli::exit;
use crate::cli::output::{Lines, answer};
use crate::cli::streams::{Answer, exit_code, input, pass_on};
use crate::cli::{settings, state};
use crate::disco::Mode;
use crate::disco::attempt::{self, Attempt, AttemptError, Request};
use crate::disco::changes::Show;
use crate::disco::changes::diff::Format;
use crate::disco::changes::secrets::Secrets;
use crate::disco::sandbox::Program;
use crate::disco::sandbox::probe;
use crate::disco::settings::Flags;
use crate::disco::universe::params::NodeName;
use crate::features;

/// What of the caller's environment leads out of a sandbox, where nothing answers.
const LEFT_OUT: &[&str] =
    &["DBUS_SESSION_BUS_ADDRESS", "LISTEN_FDS", "LISTEN_PID", "NOTIFY_SOCKET", "SSH_AUTH_SOCK"];

/// Run a command in a sandbox, see what it changes, then drop the changes or merge them
///
/// The command runs for real where you are, with your environment and input, but nothing reaches the host, and there is
/// no network. Its output and exit code are its own; what it changed is told on standard error. Standard input is passed
/// on whether or not the command reads it: in a loop that reads lines, use `try -- … </dev/null`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  try -- make install                what would it put where?
  try --ask -- sed -i s/a/b/ *.conf  look at the changes, then decide
  try --json -- ./setup.sh           the changes as JSON on standard output, what the command says on standard error")]
pub(super) struct Arguments {
    /// Merge the changes if the command succeeds
    #[arg(long)]
    apply: bool,
    /// Show the changes and ask whether to merge them
    #[arg(long, conflicts_with_all = ["apply", "json"])]
    ask: bool,
    /// Do not show what differs inside files
    #[arg(long)]
    no_diff: bool,
    /// Print one JSON object (schema disco.try.v1) on standard output
    #[arg(long)]
    json: bool,
    /// The command and its arguments
    #[arg(trailing_var_arg = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(super) fn run(appliance: &Appliance, arguments: &Arguments) -> Result<u8, CommandError> {
    let brand = &appliance.brand;
    if (arguments.apply || arguments.ask) && !features::has("live") {
        return Err(CommandError::new(format!("this build of {} cannot change a host", brand.binary))
            .hint("run it without --apply and --ask to see what would change"));
    }
    let directory = std::env::current_dir().map_err(|error| {
        CommandError::new(format!("the current directory cannot be found: {error}"))
            .hint("change to a directory that exists")
    })?;
    let left_out = |name: &OsStr| LEFT_OUT.iter().any(|other| name == *other);
    let environment = std::env::vars_os().filter(|(name, _)| !left_out(name));
    let settings = settings::resolve(brand, &Flags::default())?;
    let node = nix::unistd::gethostname()?.to_string_lossy().into_owned();
    let stdin = io::stdin();
    let request = Request {
        program: Program {
            argv: arguments.command.clone(),
            environment: environment.collect(),
            directory: directory.into(),
        },
        input: input(stdin.as_fd()),
        show: Show {
            format: if arguments.no_diff { Format::None } else { settings.diff.value },
            secrets: Secrets::Hidden,
        },
        limits: settings.limits,
        node: NodeName::new(&node)?,
        vardir: state::directory(brand),
        etcdir: brand.paths.etcdir.into(),
    };
    if arguments.apply || arguments.ask {
        probe::check(Mode::Live).map_err(|missing| with_hint(missing.into()))?;
    }
    let to = if arguments.json { Answer::Stderr } else { Answer::Stdout };
    let mut tried = attempt::attempt(request, &mut |activity| pass_on(activity, to)).map_err(with_hint)?;
    let mut lines = Lines::on_stderr(!arguments.no_diff);
    if !arguments.json {
        tell(&tried.attempt, &mut lines);
    }
    if let Some(objection) = tried.objection().filter(|_| !arguments.json && !arguments.apply) {
        lines.say("warning", &format!("this cannot be merged: {objection}"));
    }
    let wanted = match (arguments.apply, arguments.ask) {
        (true, _) => tried.attempt.exit == 0,
        (_, true) => !tried.attempt.changes.is_empty() && agreed()?,
        _ => false,
    };
    if wanted {
        tried.merge(&mut |event| lines.event(&event)).map_err(with_hint)?;
    }
    match arguments.json {
        true => {
            answer(&format!("{}\n", serde_json::to_string_pretty(&tried.attempt)?))?;
        }
        false => lines.write(&format!("{}\n", tried.attempt.verdict())),
    }
    lines.finish()?;
    Ok(exit_code(tried.attempt.exit))
}

fn tell(attempt: &Attempt, lines: &mut Lines) {
    for change in attempt.changes.iter().filter(|change| !change.noise && !change.implied) {
        lines.change(change);
    }
    // Those that could say so themselves did so in the command's output, which may be anywhere.
    for call in &attempt.held_back {
        lines.say("warning", &call.warning());
    }
}

/// Asks on the terminal; standard input may be the command's.
fn agreed() -> Result<bool, CommandError> {
    let unreachable = |error: io::Error| {
        CommandError::new(format!("cannot ask: there is no terminal ({error})"))
            .hint("use --apply to merge without a question. Nothing was merged")
    };
    let mut terminal =
        std::fs::OpenOptions::new().read(true).write(true).open("/dev/tty").map_err(unreachable)?;
    if !terminal.is_terminal() {
        return Ok(false);
    }
    terminal.write_all(b"Merge these changes into this machine? [y/N] ").map_err(unreachable)?;
    let mut line = String::new();
    BufReader::new(terminal).read_line(&mut line).map_err(unreachable)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

fn with_hint(error: AttemptError) -> CommandError {
    let hint = match &error {
        AttemptError::Probe(missing) => missing.cure(),
        AttemptError::Lock(_) => "wait until the dance ends, then try again. Nothing was merged",
        AttemptError::Directory(_) => "change to a directory on a file system of this machine",
        _ => return CommandError::new(error),
    };
    CommandError::new(error).hint(hint)
}

/// `shutup`: reads standard input to its end; a restricted shell cannot redirect to `/dev/null`.
pub(super) fn swallow() -> Result<u8, CommandError> {
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    Ok(exit::FINE)
}
