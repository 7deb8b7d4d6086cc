//! `buildinfo`: what was baked into this binary, and what it was linked from.

use std::io::{self, Write};

use clap::Args;

use crate::Appliance;
use crate::buildinfo::BuildInfo;
use crate::cli::error::CommandError;
use crate::cli::exit;
use crate::dependencies::{Dependencies, Unreadable};

/// Show what was baked into this binary
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  buildinfo                 sections and labels as Choria prints them\n  \
                        buildinfo --json          the same facts under stable keys\n  \
                        buildinfo --dependencies  the crates that this binary was linked from"
)]
pub(super) struct Arguments {
    /// Print one JSON object with stable keys
    #[arg(long)]
    json: bool,
    /// List the crates that this binary was linked from
    #[arg(long)]
    dependencies: bool,
}

pub(super) fn run(appliance: &Appliance, arguments: &Arguments) -> Result<u8, CommandError> {
    let text = if arguments.dependencies {
        let dependencies = Dependencies::read(appliance.dependencies).map_err(|why| {
            let absent = matches!(why, Unreadable::Absent);
            let error = CommandError::new(why);
            if absent { error.hint("binaries that `cargo xtask build` made have one") } else { error }
        })?;
        if arguments.json { format!("{:#}\n", dependencies.to_json()) } else { dependencies.to_text() }
    } else {
        let info = BuildInfo::of(appliance);
        if arguments.json { format!("{:#}\n", info.to_json()) } else { info.to_text() }
    };
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(exit::FINE)
}
