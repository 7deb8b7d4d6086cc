//! Everything that talks to a person: the command tree, and one file per command.
//!
//! Only this module prints, reads the environment or chooses exit codes. Libraries return values and emit events.

mod attempt;
mod buildinfo;
mod dance;
mod doctor;
pub mod error;
pub mod exit;
mod explain;
mod hand;
mod history;
mod manual;
mod module;
mod output;
mod param;
mod plan;
mod progress;
mod report;
mod rollback;
mod server;
mod settings;
mod shadow;
mod state;
mod streams;

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::Path;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::Appliance;
use crate::cli::error::CommandError;
use crate::disco::sandbox::ORIGINAL_COMMANDS;

/// Configuration management without surprises: see what a run would do, then do it.
#[derive(Debug, Parser)]
#[command(
    disable_help_subcommand = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  dance --noop   what would a run change on this node? nothing reaches it
  dance          the same, and merge the changes if nothing failed
  param dump     the parameters of this node
  module init x  begin a module of your own
  rollback       undo the last live run
  try -- make    what does any command change?
  report         what did each step of the last run use?
  history        which runs were there?
  buildinfo      what was fixed when this binary was built?"
)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Dance(dance::Arguments),
    Doctor(doctor::Arguments),
    Param(param::Arguments),
    Plan(plan::Arguments),
    Module(module::Arguments),
    Fs(hand::FsArguments),
    Sh(hand::ShArguments),
    Try(attempt::Arguments),
    Report(report::Arguments),
    History(history::Arguments),
    Rollback(rollback::Arguments),
    Buildinfo(buildinfo::Arguments),
    Server(server::Arguments),
    Completions(manual::CompletionArguments),
    Man(manual::ManArguments),
    /// Read standard input to its end; a restricted shell cannot redirect to /dev/null
    #[command(hide = true)]
    Shutup,
}

/// What does now what a command of the original did that is none any more.
fn instead_of_original(command: &str) -> Option<&'static str> {
    Some(match command {
        "colorize" => "lines have their colours by themselves on a terminal",
        "fetch_params" => "`dance` fetches the parameters; `dance --noop` merges nothing",
        "spin" | "template" | "exec" => "`dance --noop --module NAME` runs one module and what it requires",
        "files" | "params" => "`module fetch NAME` fetches a module with its files and parameters",
        _ => return None,
    })
}

/// Runs one command line and returns its exit code.
pub fn run(appliance: &Appliance, arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let brand = &appliance.brand;
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    if let Some(code) = shadow::answer(&arguments) {
        return code;
    }
    if let Some(commands) = original_command(arguments.first()) {
        arguments.splice(1..1, commands.map(OsString::from));
    }
    let grammar = CommandLine::command()
        .name(brand.binary)
        .bin_name(brand.binary)
        .about(brand.summary)
        .version(brand.version);
    let parsed = grammar
        .clone()
        .try_get_matches_from(arguments)
        .and_then(|found| CommandLine::from_arg_matches(&found));
    let command = match parsed {
        Ok(line) => line.command,
        Err(usage) => {
            // Help and version come this way too, on stdout and with code 0. A closed stdout is nobody's error.
            if usage.print().is_err_and(|error| error.kind() != ErrorKind::BrokenPipe) {
                return ExitCode::from(exit::FAILED);
            }
            if let Some(ContextValue::String(unknown)) = usage.get(ContextKind::InvalidSubcommand)
                && let Some(instead) = instead_of_original(unknown)
            {
                eprintln!("  hint: {instead}");
            }
            return ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(exit::USAGE));
        }
    };
    let outcome = match command {
        Command::Dance(arguments) => dance::run(appliance, &arguments),
        Command::Doctor(arguments) => doctor::run(appliance, &arguments),
        Command::Module(arguments) => module::run(appliance, &arguments),
        Command::Param(arguments) => param::run(appliance, &arguments),
        Command::Plan(arguments) => plan::run(appliance, &arguments),
        Command::Fs(arguments) => hand::fs(appliance, &arguments),
        Command::Sh(arguments) => hand::sh(appliance, &arguments),
        Command::Try(arguments) => attempt::run(appliance, &arguments),
        Command::Shutup => attempt::swallow(),
        Command::Report(arguments) => report::run(appliance, &arguments),
        Command::History(arguments) => history::run(appliance, &arguments),
        Command::Rollback(arguments) => rollback::run(appliance, &arguments),
        Command::Buildinfo(arguments) => buildinfo::run(appliance, &arguments),
        Command::Server(arguments) => server::run(appliance, &arguments),
        Command::Completions(arguments) => manual::completions(grammar, brand.binary, &arguments),
        Command::Man(arguments) => manual::man(grammar, &arguments),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            report_error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// The command that is meant where the client is called by a name of the original: `disco-fs-mount` is `fs mount`.
fn original_command(called: Option<&OsString>) -> Option<impl Iterator<Item = &'static str> + use<>> {
    let name = Path::new(called?).file_name()?;
    let original = ORIGINAL_COMMANDS.iter().find(|original| name == **original)?;
    let command = match original.strip_prefix("disco-")? {
        "ball" => "module",
        command => command,
    };
    Some(command.split('-'))
}

fn report_error(error: &CommandError) {
    for line in error.lines() {
        eprintln!("{line}");
    }
}
