//! `history`: the runs that are kept, the last one first.

use std::io::{self, IsTerminal};
use std::path::Path;

use clap::Args;
use serde_json::json;

use crate::Appliance;
use crate::cli::error::CommandError;
use crate::cli::output::{answer, columns, pending};
use crate::cli::state;
use crate::disco::Mode;
use crate::disco::ending;
use crate::disco::history::History;
use crate::disco::report::Run;

/// Version of the JSON of the list.
const SCHEMA: &str = "disco.history.v1";

/// List the runs that are kept, the last one first
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  history               the last runs
  history -n 100        all that are kept
  history | cut -f 1,4  number and mode, for scripts: fields are separated by tabs where nobody looks
  history --json | jq '.runs[] | select(.failed > 0) | .id'")]
pub(super) struct Arguments {
    /// How many runs to list
    #[arg(short = 'n', long = "number", value_name = "N", default_value_t = 20)]
    number: usize,
    /// Print one JSON object (schema disco.history.v1)
    #[arg(long)]
    json: bool,
}

pub(super) fn run(appliance: &Appliance, arguments: &Arguments) -> Result<u8, CommandError> {
    let vardir = &state::directory(&appliance.brand);
    let history = History::of(vardir);
    let mut runs = Vec::new();
    for number in history.numbers()?.into_iter().rev().take(arguments.number) {
        match history.run(number) {
            Ok(run) => runs.extend(run),
            // One file that cannot be read hides none of the others.
            Err(error) => eprintln!("warning: {}", CommandError::new(error).lines().join("\n")),
        }
    }
    warn_of_pending(vardir);
    if arguments.json {
        let runs: Vec<_> = runs.iter().map(summary).collect();
        let list = json!({ "schema": SCHEMA, "runs": runs });
        return answer(&format!("{list:#}\n"));
    }
    let rows: Vec<Vec<String>> = runs.iter().map(row).collect();
    if !io::stdout().is_terminal() {
        let lines: String = rows.iter().map(|row| format!("{}\n", row.join("\t"))).collect();
        return answer(&lines);
    }
    if rows.is_empty() {
        return answer("no dance has been run here yet\n");
    }
    let header = ["run", "began", "took", "mode", "result", "changes", "failed"].map(str::to_owned).to_vec();
    answer(&columns(&[vec![header], rows].concat(), ""))
}

/// Names what a run that died left undone: it may not be in the list yet.
fn warn_of_pending(vardir: &Path) {
    match ending::unfinished(vardir) {
        Ok(Some(run)) if run.merged => {
            run.pending().for_each(|deferred| eprintln!("warning: {}", pending(run.id, deferred)));
        }
        Ok(_) => {}
        Err(error) => eprintln!("warning: {}", CommandError::new(error).lines().join("\n")),
    }
}

fn row(run: &Run) -> Vec<String> {
    let (created, modified, deleted) = run.counts();
    vec![
        run.id.to_string(),
        run.started.clone(),
        format!("{:.2} s", run.seconds),
        mode(run).to_owned(),
        result(run).to_owned(),
        format!("+{created} ~{modified} -{deleted}"),
        run.failed().to_string(),
    ]
}

fn mode(run: &Run) -> &'static str {
    match run.mode {
        Mode::Noop => "noop",
        Mode::Live => "live",
    }
}

/// What became of the changes, in one word or two.
pub(super) fn result(run: &Run) -> &'static str {
    match (run.mode, run.merged, run.failed() > 0, run.told().next().is_some()) {
        (_, true, ..) if run.interrupted => "merged, interrupted",
        (_, false, ..) if run.interrupted => "not merged, interrupted",
        (_, false, true, _) => "failed",
        (_, true, ..) => "merged",
        (Mode::Live, false, false, _) => "not merged",
        (Mode::Noop, false, false, true) => "pending",
        (Mode::Noop, false, false, false) => "converged",
    }
}

fn summary(run: &Run) -> serde_json::Value {
    let (created, modified, deleted) = run.counts();
    json!({
        "id": run.id,
        "started": run.started,
        "seconds": run.seconds,
        "mode": run.mode,
        "node": run.node,
        "result": result(run),
        "modules": run.modules.len(),
        "created": created,
        "modified": modified,
        "deleted": deleted,
        "noise": run.noise(),
        "held_back": run.held_back.len(),
        "failed": run.failed(),
        "merged": run.merged,
        "interrupted": run.interrupted,
        "pending": if run.interrupted && run.merged { run.pending().count() } else { 0 },
        "verdict": run.verdict(),
    })
}
