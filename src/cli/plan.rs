//! `plan`: what a noop saved, shown from the file alone or merged exactly as it is.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::Appliance;
use crate::cli::error::CommandError;
use crate::cli::output::{Lines, answer};
use crate::cli::{exit, state};
use crate::disco::changes::noise::Noise;
use crate::disco::plan::{self, ApplyError, Applying, Plan, PlanError};
use crate::disco::report::{HeldBackBy, Run};
use crate::disco::universe::params::NodeName;
use crate::features;

/// Show what a noop saved, or apply exactly that
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dance --noop --out today.plan  save what a run would change
  plan show today.plan           look at it, on any machine
  plan apply today.plan          merge exactly this, or refuse because the host moved

Commands that a live run puts off until after its merge, as `service web restart`, are shown as Deferred; `apply`
executes them after the merge, if commands.d of this host has it so. It executes nothing else.

A plan holds the new contents of the files that it changes, secret ones too: keep it as you keep those.
Its checksum finds damage. It cannot tell who wrote the file.")]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print what a plan would change, from the file alone
    Show {
        /// The file
        plan: PathBuf,
        /// Do not show what differs inside files
        #[arg(long)]
        no_diff: bool,
        /// Print one JSON object (schema disco.plan.v1) instead of lines
        #[arg(long)]
        json: bool,
    },
    /// Merge exactly what a plan holds, or refuse because the host is not what it was
    Apply {
        /// The file
        plan: PathBuf,
        /// Apply it as this node [default: the host name]
        #[arg(long, value_name = "NAME")]
        node: Option<String>,
        /// Print one JSON object (schema disco.run.v1) instead of lines
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(appliance: &Appliance, arguments: &Arguments) -> Result<u8, CommandError> {
    let binary = appliance.brand.binary;
    match &arguments.command {
        Command::Show { plan, no_diff, json } => {
            let etcdir = std::path::Path::new(appliance.brand.paths.etcdir);
            let noise = Noise::read(&etcdir.join("noise.d"))?;
            let plan = Plan::open(plan, &noise).map_err(|error| with_hint(error, binary))?;
            show(&plan, *no_diff, *json)
        }
        Command::Apply { plan, node, json } => apply(appliance, plan, node.as_deref(), *json),
    }
}

fn show(plan: &Plan, no_diff: bool, json: bool) -> Result<u8, CommandError> {
    let head = plan.head();
    if json {
        let shown = json!({
            "schema": head.schema, "binary": head.binary, "version": head.version, "run": head.run,
        });
        return answer(&format!("{}\n", serde_json::to_string_pretty(&shown)?));
    }
    let run = &head.run;
    let mut lines = Lines::on_stdout(!no_diff);
    lines.say(
        "info",
        &format!("Plan : node=[{}] made=[{}] by=[{} {}]", run.node, run.started, head.binary, head.version),
    );
    run.told().for_each(|change| lines.change(change));
    for held_back in &run.held_back {
        let from = format!("({}, {})", held_back.module, held_back.step);
        match held_back.call.deferred {
            true => lines.say("info", &format!("Deferred : {} {from}", held_back.call.line())),
            false => lines.say("warning", &format!("{} {from}", held_back.call.warning())),
        }
    }
    lines.write(&format!("{}\n", run.verdict()));
    lines.finish()?;
    Ok(exit::FINE)
}

fn apply(
    appliance: &Appliance,
    plan: &std::path::Path,
    node: Option<&str>,
    json: bool,
) -> Result<u8, CommandError> {
    let brand = &appliance.brand;
    if !features::has("live") {
        return Err(CommandError::new(format!("this build of {} cannot change a host", brand.binary))
            .hint("`plan show` shows what the plan would change"));
    }
    let node = match node {
        Some(name) => name.to_owned(),
        None => nix::unistd::gethostname()?.to_string_lossy().into_owned(),
    };
    let request = Applying {
        plan,
        node: NodeName::new(&node)?,
        binary: brand.binary,
        vardir: state::of_host(brand),
        etcdir: PathBuf::from(brand.paths.etcdir),
    };
    let mut lines = (!json).then(|| Lines::on_stdout(true));
    let applied = plan::apply(&request, &mut |event| {
        if let Some(lines) = &mut lines {
            lines.event(&event);
        }
    });
    let run = applied.map_err(|error| match error {
        ApplyError::Plan(error) => with_hint(error, brand.binary),
        ApplyError::Probe(missing) => {
            let cure = missing.cure();
            CommandError::new(missing).hint(cure)
        }
        error => CommandError::new(error),
    })?;
    let Some(mut lines) = lines else {
        answer(&format!("{}\n", serde_json::to_string_pretty(&run)?))?;
        return Ok(outcome(&run));
    };
    for HeldBackBy { module, step, call } in &run.held_back {
        let what = call.warning();
        lines.say(
            "warning",
            &format!("{what} ({module}, {step}) : not put off by commands.d, so not executed"),
        );
    }
    lines.write(&format!("{}\n", run.verdict()));
    lines.finish()?;
    Ok(outcome(&run))
}

/// The merge went well; a deferred command may have failed.
fn outcome(run: &Run) -> u8 {
    if run.failed() == 0 { exit::FINE } else { exit::FAILED }
}

fn with_hint(error: PlanError, binary: &str) -> CommandError {
    let hint = match &error {
        PlanError::Moved(_) => Some(format!(
            "nothing was merged. Make a new plan with `{binary} dance --noop --out PLAN` and look at it"
        )),
        PlanError::Truncated { .. } | PlanError::Altered { .. } => {
            Some("nothing was merged. Copy it again from where it was made, or make a new one".to_owned())
        }
        PlanError::Refused { .. } => Some(format!(
            "nothing was merged. `{binary} dance --noop --out PLAN` makes no such plan; do not trust it"
        )),
        PlanError::Foreign { .. } => Some("nothing was merged. Apply it where it was made".to_owned()),
        PlanError::NotAPlan { .. } => Some(format!("`{binary} dance --noop --out PLAN` makes one")),
        PlanError::File { .. } => None,
    };
    let error = CommandError::new(error);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}
