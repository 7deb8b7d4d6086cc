//! `report`: the figures of the last run, step by step.

use std::io::Write;
use std::path::Path;

use clap::Args;

use crate::Appliance;
use crate::cli::error::CommandError;
use crate::cli::exit;
use crate::cli::output::Lines;
use crate::disco::history::History;
use crate::disco::report::{Step, Usage};

/// Show what each step of the last run used
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  report         the figures, in the original's words\n  report --json  the whole run, \
                        schema disco.run.v1"
)]
pub(super) struct Arguments {
    /// Print the whole run as one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(appliance: &Appliance, arguments: &Arguments) -> Result<u8, CommandError> {
    let brand = &appliance.brand;
    let last = History::of(Path::new(brand.paths.vardir)).last()?;
    let run = last.ok_or_else(|| {
        CommandError::new("no dance has been run here yet")
            .hint(format!("run `{} dance --noop`", brand.binary))
    })?;
    if arguments.json {
        writeln!(std::io::stdout().lock(), "{}", serde_json::to_string_pretty(&run)?)?;
        return Ok(exit::FINE);
    }
    let mut lines = Lines::on_stdout(false);
    for step in &run.internal {
        say_step(&mut lines, "_internal", step);
    }
    let mut modules: Vec<_> = run.modules.iter().collect();
    modules.sort_by(|a, b| a.name.cmp(&b.name));
    for module in modules {
        for step in &module.steps {
            say_step(&mut lines, &module.name, step);
        }
    }
    lines.say("report", &run.verdict());
    lines.finish()?;
    Ok(exit::FINE)
}

/// The original's block: the step, its item if it has one, four lines of figures.
fn say_step(lines: &mut Lines, module: &str, step: &Step) {
    lines.say("report", &format!("{module}: {}", step.kind));
    let mut indent = "  ";
    if let Some(item) = &step.item {
        lines.say("report", &format!("{indent} {item} :"));
        indent = "     ";
    }
    for figures in figures(&step.usage) {
        lines.say("report", &format!("{indent} {figures}"));
    }
}

fn figures(usage: &Usage) -> [String; 4] {
    [
        format!("time_real {:.2} : time_user {:.2} : time_sys {:.2}", usage.real, usage.user, usage.sys),
        format!(
            "mem_avg 0 : mem_max {} : mem_faults_major {} : mem_faults_minor {}",
            usage.mem_max, usage.faults_major, usage.faults_minor
        ),
        format!(
            "io_fsin {} : io_fsout {} : io_sockin {} : io_sockout {} : io_signals {}",
            usage.fs_in, usage.fs_out, usage.sock_in, usage.sock_out, usage.signals
        ),
        format!("exit: {}", usage.exit),
    ]
}
