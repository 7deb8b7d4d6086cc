//! `rollback`: undoes the last live run.

use clap::Args;

use crate::Appliance;
use crate::cli::error::CommandError;
use crate::cli::output::{Lines, answer};
use crate::cli::{exit, state};
use crate::disco::Mode;
use crate::disco::dance::LockError;
use crate::disco::merge::MergeError;
use crate::disco::rollback::{self, RollbackError};
use crate::features;

/// Undo the last live run
///
/// Every path that the run changed becomes what it was before, all of them or none. Refused if one of them changed since.
/// The rollback is a run of its own in the history.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rollback --noop   what would become of the changes of the last live run?
  rollback          undo it")]
pub(super) struct Arguments {
    /// Show what would be changed back, and change nothing [env: NOOP=true]
    #[arg(long)]
    noop: bool,
    /// Do not show what differs inside files
    #[arg(long)]
    no_diff: bool,
    /// Print one JSON object (schema disco.run.v1) instead of lines
    #[arg(long)]
    json: bool,
}

pub(super) fn run(appliance: &Appliance, arguments: &Arguments) -> Result<u8, CommandError> {
    let brand = &appliance.brand;
    if !features::has("live") {
        return Err(CommandError::new(format!("this build of {} cannot change a host", brand.binary))
            .hint("so there is nothing to undo"));
    }
    let noop = arguments.noop || std::env::var_os("NOOP").is_some_and(|value| !value.is_empty());
    let mode = if noop { Mode::Noop } else { Mode::Live };
    let mut lines = (!arguments.json).then(|| Lines::on_stdout(!arguments.no_diff));
    let outcome = rollback::rollback(mode, &state::of_host(brand), &mut |event| {
        if let Some(lines) = &mut lines {
            lines.event(&event);
        }
    });
    let done = outcome.map_err(|error| with_hints(error, brand.binary))?;
    let Some(mut lines) = lines else {
        return answer(&format!("{}\n", serde_json::to_string_pretty(&done.run)?));
    };
    let (created, modified, deleted) = done.run.counts();
    let (what, seconds) = (if noop { "rollback, noop" } else { "rollback" }, done.run.seconds);
    let run = done.undone;
    lines.write(&format!(
        "{what}: run {run}, {created} created, {modified} modified, {deleted} deleted ({seconds:.2} s)\n"
    ));
    lines.finish()?;
    Ok(exit::FINE)
}

fn with_hints(error: RollbackError, binary: &str) -> CommandError {
    let hint = match &error {
        RollbackError::Lock(LockError::Held { .. }) => "wait until it ends",
        RollbackError::Merge(MergeError::ChangedSince { .. }) => {
            "undoing the run would lose that change; put the path back as the run left it, or change the host by a module"
        }
        RollbackError::Merge(MergeError::NothingToUndo) => {
            return CommandError::new(error).hint(format!(
                "`{binary} report` shows the last run; only the last live one can be undone, once"
            ));
        }
        _ => return CommandError::new(error),
    };
    CommandError::new(error).hint(hint)
}
