//! `doctor`: what this kernel, this host and this configuration allow.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::Appliance;
use crate::cli::error::CommandError;
use crate::cli::exit;
use crate::cli::output::answer;
use crate::cli::{settings, state};
use crate::disco::dance::with_causes;
use crate::disco::doctor::{self, Finding, Patient, Verdict};
use crate::disco::settings::{Baked, Flags, Settings, Sources};

/// Look whether a dance can work here, and say what to do where it cannot
///
/// Asks the kernel, the host and the configuration, and tries a sandbox. Nothing is changed. An rsync daemon or a
/// directory is asked whether it is there; a universe behind ssh is not.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  doctor                                        a line for everything that was looked at
  doctor --json | jq '.findings[] | select(.verdict != \"ok\")'

Exit codes:
  0 nothing failed, 1 something did")]
pub(super) struct Arguments {
    /// Print one JSON object (schema disco.doctor.v1) instead of lines
    #[arg(long)]
    json: bool,
}

pub(super) fn run(appliance: &Appliance, arguments: &Arguments) -> Result<u8, CommandError> {
    let brand = &appliance.brand;
    let vardir = state::directory(brand);
    let etcdir = PathBuf::from(brand.paths.etcdir);
    let environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let baked = Baked { server: brand.client.server, rsync: brand.client.rsync };
    let settings = match settings::configuration(brand) {
        Ok(conf) => {
            let sources = Sources { environment: &environment, vardir: &vardir, conf: &conf };
            Settings::resolve(&Flags::default(), sources, baked).map_err(|error| error.to_string())
        }
        Err(error) => Err(with_causes(&error)),
    };
    let findings = doctor::examine(&Patient { settings, vardir, etcdir, built: brand.source.date });
    let text = if arguments.json {
        let shown = json!({ "schema": doctor::SCHEMA, "findings": findings });
        format!("{}\n", serde_json::to_string_pretty(&shown)?)
    } else {
        findings.iter().map(line).chain([verdict(&findings)]).collect()
    };
    answer(&text)?;
    let failed = findings.iter().any(|finding| finding.verdict == Verdict::Failed);
    Ok(if failed { exit::FAILED } else { exit::FINE })
}

fn line(finding: &Finding) -> String {
    let verdict = match finding.verdict {
        Verdict::Ok => "ok",
        Verdict::Warning => "warning",
        Verdict::Failed => "failed",
    };
    let cure = finding.cure.as_ref().map_or_else(String::new, |cure| format!(" -> {cure}"));
    format!("{:<9}{}: {}{cure}\n", format!("{verdict}:"), finding.about, finding.found)
}

fn verdict(findings: &[Finding]) -> String {
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    format!(
        "doctor: {} ok, {} warnings, {} failed\n",
        count(Verdict::Ok),
        count(Verdict::Warning),
        count(Verdict::Failed)
    )
}
