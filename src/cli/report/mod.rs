//! `report`: what a run used and did, as lines, as JSON or as a page.
//!
//! `figures.rs` writes the original's blocks, `compare.rs` sets two runs side by side, `html.rs` writes the page, with
//! drawings by `timeline.rs` and `graph.rs` and with others' words by `text.rs`.

mod commands;
mod compare;
mod figures;
mod graph;
mod html;
mod text;
mod timeline;

use std::io::{self, IsTerminal};

use clap::Args;

use crate::Appliance;
use crate::cli::error::CommandError;
use crate::cli::exit;
use crate::cli::output::{Lines, answer};
use crate::cli::report::compare::Comparison;
use crate::cli::state;
use crate::disco::history::History;
use crate::disco::report::{Run, Step};

/// Module name under which the steps of the run itself are told, as in the original.
const INTERNAL: &str = "_internal";

/// How many of the slowest steps are named, unless somebody says how many.
const SLOWEST: usize = 5;

/// Show what each step of a run used
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  report                     the figures of the last run, step by step
  report 12                  those of run 12; `history` lists the runs
  report -1                  those of the run before the last one
  report --compare           what became slower since the last run of the same mode?
  report --json | jq .changes[].path
  report --html > run.html   one page to look at, or to mail")]
pub(super) struct Arguments {
    /// Number of the run, or how many runs before the last one: -1, -2, … [default: the last run]
    #[arg(allow_hyphen_values = true, value_parser = which)]
    run: Option<Which>,
    /// How many of the slowest steps to name
    #[arg(long, value_name = "N", default_value_t = SLOWEST)]
    slowest: usize,
    /// Compare with another run, by default with the one of the same mode before it
    #[arg(long, value_name = "RUN", num_args = 0..=1, require_equals = true, value_parser = which, conflicts_with = "html")]
    compare: Option<Option<Which>>,
    /// Print the whole run as one JSON object (schema disco.run.v1), or the comparison (disco.comparison.v1)
    #[arg(long)]
    json: bool,
    /// Print one self-contained HTML page
    #[arg(long, conflicts_with = "json")]
    html: bool,
}

/// Which run is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Number(u64),
    /// So many runs before the last one.
    Back(usize),
}

fn which(text: &str) -> Result<Which, String> {
    let number = match text.strip_prefix('-') {
        Some(back) => back.parse().map(Which::Back),
        None => text.parse().map(Which::Number),
    };
    number.map_err(|_| "write the number of a run, or -1 for the run before the last one".to_owned())
}

pub(super) fn run(appliance: &Appliance, arguments: &Arguments) -> Result<u8, CommandError> {
    let brand = &appliance.brand;
    let history = History::of(&state::directory(brand));
    let run = find(&history, arguments.run.unwrap_or(Which::Back(0)), brand.binary)?;
    if arguments.html {
        if io::stdout().is_terminal() {
            return Err(CommandError::new("a page is no good on a terminal")
                .hint(format!("write it to a file: {} report --html > run.html", brand.binary)));
        }
        return answer(&html::page(&run, brand.display_name));
    }
    let comparison = match arguments.compare {
        None => None,
        Some(other) => {
            let other = match other {
                Some(other) => find(&history, other, brand.binary)?,
                None => run_before(&history, &run)?,
            };
            Some(Comparison::of(&other, &run))
        }
    };
    if arguments.json {
        let text = match &comparison {
            Some(comparison) => serde_json::to_string_pretty(comparison)?,
            None => serde_json::to_string_pretty(&run)?,
        };
        return answer(&format!("{text}\n"));
    }
    let mut lines = Lines::on_stdout(false);
    match &comparison {
        Some(comparison) => compare::say(&mut lines, comparison, arguments.slowest),
        None => figures::say(&mut lines, &run, arguments.slowest),
    }
    lines.say("report", &run.verdict());
    lines.finish()?;
    Ok(exit::FINE)
}

/// The figures of a run among the lines of the dance that it was.
pub(super) fn say(lines: &mut Lines, run: &Run) {
    figures::say(lines, run, SLOWEST);
}

fn find(history: &History, which: Which, binary: &str) -> Result<Run, CommandError> {
    let numbers = history.numbers()?;
    let (Some(first), Some(last)) = (numbers.first(), numbers.last()) else {
        return Err(
            CommandError::new("no dance has been run here yet").hint(format!("run `{binary} dance --noop`"))
        );
    };
    let number = match which {
        Which::Number(number) => Some(number),
        Which::Back(back) => numbers.iter().rev().nth(back).copied(),
    };
    let run = number.map_or(Ok(None), |number| history.run(number))?;
    run.ok_or_else(|| {
        CommandError::new(format!("there is no such run: {first} to {last} are kept"))
            .hint(format!("`{binary} history` lists them"))
    })
}

/// The run of the same mode and node before this one.
fn run_before(history: &History, run: &Run) -> Result<Run, CommandError> {
    for number in history.numbers()?.into_iter().rev().filter(|number| *number < run.id) {
        let found = history.run(number)?;
        if let Some(other) = found.filter(|other| other.mode == run.mode && other.node == run.node) {
            return Ok(other);
        }
    }
    Err(CommandError::new(format!("no run of the same mode before run {} is kept", run.id))
        .hint("name one: report --compare=RUN"))
}

/// Every step with the module that it belongs to: those of the run itself, then by module in the order of their names.
fn steps(run: &Run) -> Vec<(&str, &Step)> {
    let mut modules: Vec<_> = run.modules.iter().collect();
    modules.sort_by(|a, b| a.name.cmp(&b.name));
    let internal = run.internal.iter().map(|step| (INTERNAL, step));
    let others =
        modules.into_iter().flat_map(|module| module.steps.iter().map(|step| (module.name.as_str(), step)));
    internal.chain(others).collect()
}

/// A step in words: `testmodule-1.0: exec 00-hello.sh`.
fn step_name(module: &str, step: &Step) -> String {
    match &step.item {
        Some(item) => format!("{module}: {} {item}", step.kind),
        None => format!("{module}: {}", step.kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_named_by_its_number_or_by_its_distance_from_the_last_one() {
        assert_eq!(which("12"), Ok(Which::Number(12)));
        assert_eq!(which("-1"), Ok(Which::Back(1)));
        assert!(which("last").is_err() && which("--1").is_err() && which("").is_err());
    }
}
