//! `dance`: one whole run, noop or live.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;

use crate::Appliance;
use crate::cli::error::CommandError;
use crate::cli::exit;
use crate::cli::explain::explain;
use crate::cli::output::{Lines, answer};
use crate::cli::{report, settings, state};
use crate::disco::Mode;
use crate::disco::changes::diff::Format;
use crate::disco::changes::secrets::Secrets;
use crate::disco::dance::{self, DanceError, MergeEach, PlanRequest, Request};
use crate::disco::merge::MergeError;
use crate::disco::report::Run;
use crate::disco::settings::Flags;
use crate::disco::universe::fetch::FetchError;
use crate::disco::universe::module::ModuleName;
use crate::disco::universe::params::NodeName;
use crate::features;

/// Fetch this node's modules, run them, report every difference
///
/// With --noop everything runs for real in a sandbox and nothing reaches the host. Without it, the changes are merged
/// into the host if nothing failed. A noop works without root where the kernel gives users namespaces: scripts can then
/// change /etc, what modules put in place and what belongs to the caller, and the state is kept in XDG_STATE_HOME.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dance --noop                          what would a run change here?
  dance --noop --module testmodule-1.0  the same for one module and what it requires
  dance --noop --out today.plan         save it, for `plan show` and `plan apply`
  dance --noop --diff=unified           differences as `diff -u` writes them
  dance --noop --json | jq .changes[].path
  dance --per-module                    merge module by module, not all or nothing
  dance --explain                       where does each setting come from?

Settings come from flags, the environment (DISCO_SERVER, DISCO_RSYNC, DISCO_DIFF), parameters on the node,
server.conf (plugin.disco.…) and the brand, in this order.

Exit codes:
  0 fine, 1 could not run or something failed; with --detailed-exitcodes:
  0 nothing to change, 2 changes, 4 failures, 6 both, 1 could not run")]
pub(super) struct Arguments {
    /// Run in a sandbox and merge nothing [env: NOOP=true]
    #[arg(long)]
    noop: bool,
    /// Dance only this module and what it requires; may be repeated
    #[arg(long = "module", value_name = "MODULE")]
    modules: Vec<String>,
    /// Dance to the parameters of this node [default: the host name]
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Where the universe is: user@host, rsync://host:port or a directory [default: parameters, server.conf, baked]
    #[arg(long, value_name = "URI")]
    server: Option<String>,
    /// Save what the noop would change, for `plan show` and `plan apply`
    #[arg(long, value_name = "PLAN")]
    out: Option<PathBuf>,
    /// Let scripts call only what restricted.d allows; every other command is only told. Noop only
    #[arg(long)]
    restricted: bool,
    /// Merge after each module what it changed, instead of everything after the last one. A module that fails keeps no
    /// other from being merged, except those that require it. A noop is the same with and without
    #[arg(long)]
    per_module: bool,
    /// How to show what differs inside files: normal, unified or none [default: parameters, server.conf, normal]
    #[arg(long, value_name = "FORMAT")]
    diff: Option<String>,
    /// Do not show what differs inside files; the same as --diff=none
    #[arg(long, conflicts_with = "diff")]
    no_diff: bool,
    /// Show what differs inside secret files too; only on a terminal, and never kept
    #[arg(long, conflicts_with = "json")]
    show_secrets: bool,
    /// Print every setting with where it comes from, and what the sandbox would look like; run nothing
    #[arg(long)]
    explain: bool,
    /// Print the figures of every step at the end, as `report` does [env: REPORT=true]
    #[arg(long, conflicts_with = "json")]
    report: bool,
    /// Print one JSON object (schema disco.run.v1) instead of lines
    #[arg(long)]
    json: bool,
    /// Tell changes and failures apart by the exit code
    #[arg(long)]
    detailed_exitcodes: bool,
}

pub(super) fn run(appliance: &Appliance, arguments: &Arguments) -> Result<u8, CommandError> {
    let brand = &appliance.brand;
    let vardir = state::directory(brand);
    let etcdir = PathBuf::from(brand.paths.etcdir);
    let noop = arguments.noop || std::env::var_os("NOOP").is_some_and(|value| !value.is_empty());
    if !noop && !features::has("live") {
        return Err(CommandError::new(format!("this build of {} cannot change a host", brand.binary))
            .hint("run it with --noop to see what would change"));
    }
    if !noop && arguments.out.is_some() {
        return Err(CommandError::new("a live run merges its changes at once, so there is no plan to save")
            .hint("use --noop with --out, then `plan apply`"));
    }
    if !noop && arguments.restricted {
        return Err(CommandError::new("a live run cannot be restricted: it would merge what is half done")
            .hint("use --noop with --restricted"));
    }
    if arguments.show_secrets && !std::io::stdout().is_terminal() {
        return Err(CommandError::new("secrets are shown on a terminal only, and standard output is none")
            .hint("run it without --show-secrets, or without the pipe"));
    }
    let flags = Flags {
        server: arguments.server.clone(),
        diff: arguments.diff.clone().or_else(|| arguments.no_diff.then(|| "none".to_owned())),
    };
    let request = Request {
        mode: if noop { Mode::Noop } else { Mode::Live },
        restricted: arguments.restricted,
        merge: if arguments.per_module { MergeEach::Module } else { MergeEach::Run },
        node: node_name(arguments)?,
        modules: arguments.modules.iter().map(|name| ModuleName::new(name)).collect::<Result<_, _>>()?,
        settings: settings::resolve(brand, &flags)?,
        secrets: if arguments.show_secrets { Secrets::Shown } else { Secrets::Hidden },
        vardir,
        etcdir,
        plan: arguments.out.clone().map(|out| PlanRequest { out, maker: (brand.binary, brand.version) }),
    };
    if arguments.explain {
        let mode = match (arguments.noop, noop) {
            (true, _) => "from the command line",
            (false, true) => "from NOOP in the environment",
            (false, false) => "neither --noop nor NOOP asks for a noop",
        };
        let node = if arguments.node.is_some() { "from the command line" } else { "from the host name" };
        return answer(&explain(&request, mode, node)?);
    }

    let shows_diffs = request.settings.diff.value != Format::None;
    let mut lines = (!arguments.json).then(|| Lines::on_stdout(shows_diffs));
    let outcome = dance::dance(&request, &mut |event| {
        if let Some(lines) = &mut lines {
            lines.event(&event);
        }
    });
    let run = outcome.map_err(|error| with_hints(error, &request, brand.binary))?;
    match lines {
        Some(mut lines) => {
            match &arguments.out {
                Some(out) if run.failed() == 0 => {
                    lines.say("info", &format!("Plan : saved=[{}]", out.display()))
                }
                Some(_) => lines.say("error", "no plan was saved, because the run failed"),
                None => {}
            }
            if arguments.report || std::env::var_os("REPORT").is_some_and(|value| !value.is_empty()) {
                report::say(&mut lines, &run);
            }
            lines.write(&format!("{}\n", run.verdict()));
            lines.finish()?;
        }
        None => {
            answer(&format!("{}\n", serde_json::to_string_pretty(&run)?))?;
        }
    }
    Ok(exit_code(&run, arguments.detailed_exitcodes))
}

fn node_name(arguments: &Arguments) -> Result<NodeName, CommandError> {
    let name = match &arguments.node {
        Some(name) => name.clone(),
        None => nix::unistd::gethostname()?.to_string_lossy().into_owned(),
    };
    Ok(NodeName::new(&name)?)
}

fn exit_code(run: &Run, detailed: bool) -> u8 {
    let (changes, failures) = (run.told().next().is_some(), run.failed() > 0);
    match (detailed, changes, failures) {
        (true, true, true) => exit::CHANGES_AND_FAILURES,
        (true, false, true) => exit::FAILURES,
        (true, true, false) => exit::CHANGES,
        (false, _, true) => exit::FAILED,
        (_, _, false) => exit::FINE,
    }
}

/// What to do where a transfer failed. Over ssh it is by far the most often a key or a host's key.
fn transfer_cure(error: &FetchError) -> &'static str {
    let said = error.to_string();
    if said.contains("Host key verification failed") {
        "put the server's key, which its operator knows, into /root/.ssh/known_hosts: a run never asks for anything"
    } else if said.contains("Permission denied (") {
        "have this node's public key in that account's authorized_keys: a run never asks for a password"
    } else {
        "see that it answers and serves what is missing"
    }
}

/// What to do about an error that a person can do something about.
fn with_hints(error: DanceError, request: &Request, binary: &str) -> CommandError {
    let server = &request.settings.server;
    let hint = match &error {
        DanceError::Probe(missing) => Some(missing.cure().to_owned()),
        DanceError::Lock(crate::disco::dance::LockError::Held { .. }) => {
            Some("wait until it ends; only one dance can work on a host at a time".to_owned())
        }
        DanceError::Fetch(FetchError::NoServer) => {
            Some("set `plugin.disco.server.uri` in server.conf, or use --server".to_owned())
        }
        DanceError::Fetch(FetchError::Server(_)) => Some(format!("it comes from {}", server.origin)),
        DanceError::Fetch(FetchError::Command(_)) => {
            Some(format!("it comes from {}", request.settings.rsync.origin))
        }
        DanceError::Fetch(FetchError::Deadline { .. })
        | DanceError::Required { source: FetchError::Deadline { .. }, .. } => Some(format!(
            "see why {} is slow, or give it more seconds in the parameter disco/client/deadline (now {}). Nothing was \
             changed",
            server.value, request.settings.deadline.value
        )),
        DanceError::Fetch(FetchError::Start { .. }) => {
            Some("install rsync with the system's package manager".to_owned())
        }
        DanceError::Fetch(error) | DanceError::Required { source: error, .. } => Some(format!(
            "the universe is {}, from {}; {}. Nothing was changed",
            server.value,
            server.origin,
            transfer_cure(error)
        )),
        DanceError::Module(_) => Some("correct the module on the server. Nothing was changed".to_owned()),
        DanceError::Cycle(_) => Some("take one of these lines out. Nothing was changed".to_owned()),
        DanceError::Parameters(_) => {
            Some("correct the parameters on the server. Nothing was changed".to_owned())
        }
        DanceError::Merge(MergeError::Moved { .. } | MergeError::Remounted { .. }) => Some(format!(
            "run `{binary} dance` again; if it repeats for a path, another program manages that file"
        )),
        DanceError::Merge(MergeError::Step { .. }) => Some(format!(
            "what was done before this step was undone; see what keeps the path from being changed, then run `{binary} \
             dance` again"
        )),
        _ => None,
    };
    let error = CommandError::new(error);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}
