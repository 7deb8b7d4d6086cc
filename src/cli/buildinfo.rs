//! `buildinfo`: what was baked into this binary.

use std::io::{self, Write};

use clap::Args;

use crate::Appliance;
use crate::buildinfo::BuildInfo;
use crate::cli::error::CommandError;
use crate::cli::exit;

/// Show what was baked into this binary
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  buildinfo         sections and labels as Choria prints them\n  \
                        buildinfo --json  the same facts under stable keys")]
pub(super) struct Arguments {
    /// Print one JSON object with stable keys
    #[arg(long)]
    json: bool,
}

pub(super) fn run(appliance: &Appliance, arguments: &Arguments) -> Result<u8, CommandError> {
    let info = BuildInfo::of(appliance);
    let text = if arguments.json { format!("{:#}\n", info.to_json()) } else { info.to_text() };
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(exit::FINE)
}
