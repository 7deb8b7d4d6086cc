//! `sh`: a person, or a script, inside the sandbox that stands.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::Appliance;
use crate::cli::error::CommandError;
use crate::cli::fs::{mode, with_hint};
use crate::disco::Mode;
use crate::disco::sandbox::Activity;
use crate::disco::session::{self, Input, Standing};

/// Work inside the sandbox that `fs mount` left standing
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sh shell --noop              a restricted shell: what is not allowed is only told
  sh shell --noop --unrestricted
  sh exec --noop ./script.sh   run a script inside; its exit code is the command's
  fs diff --noop               what did that change?")]
pub(super) struct Arguments {
    /// In the noop sandbox [env: NOOP=true]
    #[arg(long, global = true)]
    noop: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
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

pub(super) fn run(appliance: &Appliance, arguments: &Arguments) -> Result<u8, CommandError> {
    let brand = &appliance.brand;
    let mode = mode(arguments.noop);
    let hinted = |error| with_hint(error, brand.binary, mode);
    let (vardir, etcdir) = (Path::new(brand.paths.vardir), Path::new(brand.paths.etcdir));
    let standing = Standing::of(mode, vardir, etcdir).map_err(hinted)?;
    let mut sandbox = standing.find().map_err(hinted)?;
    let program = match &arguments.command {
        Command::Shell { unrestricted: false } if mode == Mode::Noop => {
            standing.restricted_shell(of_the_terminal())
        }
        Command::Shell { .. } => standing.shell(of_the_terminal()),
        Command::Exec { script, name } => standing.script(script, name.as_deref()).map_err(hinted)?,
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

/// A terminal of its own for a program that a person will see and type to; else whatever comes.
pub(super) fn input(stdin: std::os::fd::BorrowedFd<'_>) -> Input<'_> {
    match stdin.is_terminal() && io::stdout().is_terminal() {
        true => Input::Terminal(stdin),
        false => Input::Stream(stdin),
    }
}

/// Where the standard output of a program goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Stdout,
    /// Because standard output is for something else.
    Stderr,
}

/// Shows what a program does. A stream that nobody reads any more is the reader's business.
pub(super) fn pass_on(activity: Activity<'_>, answer: Answer) {
    let _ = match activity {
        Activity::Output(bytes) if answer == Answer::Stdout => {
            let mut out = io::stdout().lock();
            out.write_all(bytes).and_then(|()| out.flush())
        }
        Activity::Output(bytes) | Activity::Complaint(bytes) => io::stderr().write_all(bytes),
        Activity::HeldBack(call) if !call.told => {
            io::stderr().write_all(format!("warning: {}\n", call.warning()).as_bytes())
        }
        Activity::HeldBack(_) | Activity::Deferred(_) => Ok(()),
    };
}

/// The exit code of a program as one of ours.
pub(super) fn exit_code(code: i32) -> u8 {
    u8::try_from(code).unwrap_or(u8::MAX)
}
