//! Merges a plan: the same checks and the same merge as a live run, with the files of the plan instead of a sandbox.

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::disco::Mode;
use crate::disco::changes::noise::{Noise, NoiseError};
use crate::disco::commands::{CommandListError, Commands};
use crate::disco::dance::{Event, Watch};
use crate::disco::deferred::Deferred;
use crate::disco::ending::{self, EndingError};
use crate::disco::history::{History, HistoryError};
use crate::disco::lock::{Lock, LockError};
use crate::disco::merge::{self, MergeError, Source};
use crate::disco::plan::check::check_host;
use crate::disco::plan::{Plan, PlanError, failed};
use crate::disco::report::{HeldBackBy, Run, Step, Usage};
use crate::disco::sandbox::probe::{self, ProbeError};
use crate::disco::sandbox::{Host, SandboxError, Scratch};
use crate::disco::universe::params::NodeName;

/// Which plan is to be applied where.
#[derive(Debug)]
pub struct Applying<'a> {
    /// The file.
    pub plan: &'a Path,
    /// The node that this host is.
    pub node: NodeName,
    /// Name of this binary.
    pub binary: &'a str,
    /// State directory of the brand.
    pub vardir: PathBuf,
    /// Configuration directory of the brand.
    pub etcdir: PathBuf,
}

/// Why a plan was not applied. Nothing was changed on the host.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// This machine or this user cannot.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// A dance runs.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The plan, or the host that it does not fit.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The directory to extract to.
    #[error(transparent)]
    Scratch(#[from] SandboxError),
    /// A run, this one or one that died before, could not be brought to its end.
    #[error(transparent)]
    Ending(#[from] EndingError),
    /// The lists of commands of this host.
    #[error(transparent)]
    Commands(#[from] CommandListError),
    /// The lists of noise of this host.
    #[error(transparent)]
    Noise(#[from] NoiseError),
    /// The changes could not be put on the host.
    #[error("nothing was merged")]
    Merge(#[source] MergeError),
    /// The kept runs could not be looked at.
    #[error(transparent)]
    History(#[from] HistoryError),
}

/// Merges exactly what a plan holds, all of it or nothing, and keeps the run.
///
/// # Errors
/// The plan is damaged, for somebody else, or the host is not what the plan expects.
pub fn apply(request: &Applying<'_>, watch: Watch<'_>) -> Result<Run, ApplyError> {
    let started = Instant::now();
    probe::check(Mode::Live)?;
    let _lock = Lock::take(&request.vardir)?;
    if let Some(left) = ending::recover(&request.vardir, watch)? {
        left.execute(&Host::here().map_err(EndingError::Host)?, watch)?;
    }
    let commands = Commands::read(&request.etcdir.join("commands.d"))?;
    let mut plan = Plan::open(request.plan, &Noise::read(&request.etcdir.join("noise.d"))?)?;
    check_owner(&plan, request)?;
    let history = History::of(&request.vardir);
    let scratch = Scratch::make(&request.vardir)?;
    let (host, began) = (scratch.host()?, scratch.file_system_now()?);
    let changes = check_host(&plan.head().run.changes)?;

    let files = scratch.path().join("plan");
    std::fs::create_dir(&files).map_err(failed("make", &files))?;
    let merged = merge::last_run(&request.vardir).map_err(EndingError::Recovery)?;
    let mut run = Run {
        id: history.next_number_after(merged)?,
        mode: Mode::Live,
        started: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        internal: Vec::new(),
        // Whatever the plan says of these: what it may have executed is decided here.
        deferred: Vec::new(),
        merged: false,
        interrupted: false,
        ..plan.head().run.clone()
    };
    // What the modules used, they used in the noop.
    run.modules.iter_mut().for_each(|module| module.steps.clear());
    let extracting = Instant::now();
    plan.extract(&files)?;
    let usage = Usage::timed(extracting.elapsed());
    run.internal.push(Step::new("extract", None, started, extracting, usage));

    run.told().for_each(|change| watch(Event::Changed { change }));
    put_off(&mut run, &commands, watch);
    let merging = Instant::now();
    run.seconds = started.elapsed().as_secs_f64();
    let source = Source { report: &run, part: 0, vardir: &request.vardir, from: &files, began, host: &host };
    let merged = merge::merge(&changes, &source);
    run.internal.push(Step::new("merge", None, started, merging, Usage::timed(merging.elapsed())));
    run.merged = merged.is_ok();
    match run.merged {
        true => ending::execute(&request.vardir, &mut run, 0, started, &host, watch)?,
        false => ending::drop_commands(&mut run, "nothing was merged", watch),
    }
    run.seconds = started.elapsed().as_secs_f64();
    ending::close(&request.vardir, &run)?;
    merged.map_err(ApplyError::Merge)?;
    Ok(run)
}

/// Of the commands that the noop held back, those that a live run would have put off are put off now, if the lists of
/// this host have it so; a plan decides nothing.
fn put_off(run: &mut Run, commands: &Commands, watch: Watch<'_>) {
    let held_back = std::mem::take(&mut run.held_back);
    for HeldBackBy { module, step, call } in held_back {
        if call.deferred && commands.defer_unseen(&call.argv) {
            watch(Event::Deferred { module: &module, call: &call });
            Deferred::add(&mut run.deferred, &module, step, call);
        } else {
            run.held_back.push(HeldBackBy { module, step, call });
        }
    }
}

/// A plan belongs to one node and one product.
fn check_owner(plan: &Plan, request: &Applying<'_>) -> Result<(), PlanError> {
    let head = plan.head();
    let pairs = [
        ("the binary", head.binary.as_str(), request.binary),
        ("the node", head.run.node.as_str(), request.node.as_str()),
    ];
    match pairs.into_iter().find(|(_, theirs, ours)| theirs != ours) {
        None => Ok(()),
        Some((what, theirs, ours)) => Err(PlanError::Foreign {
            path: plan.path().to_owned(),
            what,
            theirs: theirs.to_owned(),
            ours: ours.to_owned(),
        }),
    }
}
