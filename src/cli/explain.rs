//! `dance --explain`: what a run would do, from where it knows it, and what its sandbox would look like.

use std::fmt::Write as _;

use crate::cli::error::CommandError;
use crate::cli::output::columns;
use crate::disco::Mode;
use crate::disco::commands::Commands;
use crate::disco::dance::Request;
use crate::disco::sandbox;

/// The whole answer; `mode_origin` and `node_origin` say who decided these two.
pub(super) fn explain(
    request: &Request,
    mode_origin: &str,
    node_origin: &str,
) -> Result<String, CommandError> {
    let mode = match request.mode {
        Mode::Noop => "noop",
        Mode::Live => "live",
    };
    let mut rows = vec![
        vec!["mode".to_owned(), mode.to_owned(), mode_origin.to_owned()],
        vec!["node".into(), request.node.as_str().to_owned(), node_origin.to_owned()],
    ];
    for (name, value, origin) in request.settings.lines() {
        let value = if value.is_empty() { "(not set)".to_owned() } else { value };
        rows.push(vec![name.to_owned(), value, format!("from {origin}")]);
    }
    let mut text = String::from("Settings\n");
    text.push_str(&columns(&rows, "  "));

    let commands = Commands::read(&request.etcdir.join("commands.d"))?;
    let watched = commands.watched_paths(request.mode).len();
    let (covers, notes) = sandbox::explain::explain(request.mode, &request.vardir, &commands)?;
    let rows: Vec<Vec<String>> =
        covers.into_iter().map(|cover| vec![cover.at.display().to_string(), cover.what]).collect();
    writeln!(text, "\nSandbox of a {mode} run")?;
    text.push_str(&columns(&rows, "  "));
    let fate = match request.mode {
        Mode::Noop => "held back or answered by the host",
        Mode::Live => "deferred until after the merge",
    };
    writeln!(text, "  {watched} commands are watched at their real paths: calls that act are {fate}")?;
    for note in notes {
        writeln!(text, "  warning: {note}")?;
    }
    Ok(text)
}
