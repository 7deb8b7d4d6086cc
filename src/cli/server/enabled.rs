//! The twin for builds that can be provisioned: starts the async runtime and hands over to the node's server.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sd_notify::NotifyState;

use super::RunArguments;
use crate::Appliance;
use crate::choria::journal::{Journal, Note};
use crate::cli::error::CommandError;
use crate::cli::exit;
use crate::provisioning::mode::{SWITCH, Switch};
use crate::provisioning::server::{self, ServerError, Start};
use crate::server_conf::ServerConf;

/// The server's blocking work: one action of a provisioner at a time, one resolver, name look-ups of the connector.
const BLOCKING_THREADS: usize = 4;

pub(super) fn run(appliance: &Appliance, arguments: &RunArguments) -> Result<u8, CommandError> {
    let brand = &appliance.brand;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()?;
    let configuration = configuration(arguments, brand.paths.etcdir)?;
    let start = Start {
        brand,
        resolver: appliance.resolver.clone(),
        agents: appliance.agents.clone(),
        switch: switch(&configuration)?,
        configuration,
        journal: Arc::new(Stderr),
    };
    let outcome = runtime.block_on(server::run(start));
    // A resolver that is stuck must not keep the process from ending.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => Ok(exit::FINE),
        Err(error) => Err(with_hint(error, brand.binary)),
    }
}

/// The configuration as an absolute path: keys of the node are kept beside it, wherever the server was started.
fn configuration(arguments: &RunArguments, etcdir: &str) -> Result<PathBuf, CommandError> {
    let path = arguments.config.clone().unwrap_or_else(|| Path::new(etcdir).join("server.conf"));
    Ok(std::path::absolute(path)?)
}

fn switch(configuration: &Path) -> Result<Switch, CommandError> {
    // Where even that cannot be told, reading it says why.
    if !configuration.try_exists().unwrap_or(true) {
        return Ok(Switch::Unconfigured);
    }
    let configuration = ServerConf::read(configuration)?;
    Ok(configuration.get(SWITCH).map_or(Switch::Silent, |value| Switch::Set(value.to_owned())))
}

fn with_hint(error: ServerError, binary: &str) -> CommandError {
    let hint = match &error {
        ServerError::Mode(_) | ServerError::Plaintext => {
            Some(format!("`{binary} buildinfo` shows what this binary was built to do"))
        }
        _ => None,
    };
    let error = CommandError::new(error);
    hint.into_iter().fold(error, CommandError::hint)
}

/// Shows notes on stderr, where a service manager collects them, and tells that manager about ready and stopping.
struct Stderr;

impl Journal for Stderr {
    fn note(&self, note: Note<'_>) {
        match note {
            Note::Info(line) => say("info", line),
            Note::Warning(line) => say("warning", line),
            Note::Error(line) => say("error", line),
            Note::Ready => tell_service_manager(NotifyState::Ready),
            Note::Stopping => tell_service_manager(NotifyState::Stopping),
        }
    }
}

fn tell_service_manager(state: NotifyState<'_>) {
    // Without a service manager this does nothing.
    if let Err(error) = sd_notify::notify(&[state]) {
        say("warning", &format!("cannot tell the service manager: {error}"));
    }
}

fn say(level: &str, line: &str) {
    // A server whose log is gone still serves.
    let _ = writeln!(io::stderr(), "{level}: {line}");
}
