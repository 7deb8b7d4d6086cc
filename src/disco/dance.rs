//! The journey of one run, from the lock to the report. It emits events as it goes and returns the run.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::disco::Mode;
use crate::disco::changes::{Change, ScanError, Scanner, Show};
use crate::disco::commands::{CommandListError, Commands};
use crate::disco::deferred::{self, Deferred};
use crate::disco::fetch::{self, FetchError, Fetched, Limits, Universe};
use crate::disco::history::{History, HistoryError};
use crate::disco::lock::Lock;
pub use crate::disco::lock::LockError;
use crate::disco::merge::{self, MergeError, Recovered};
use crate::disco::module::{Module, ModuleError, ModuleName, Relation};
use crate::disco::noise::{Noise, NoiseError};
use crate::disco::order::{self, CycleError};
use crate::disco::params::{self, NodeName, ParametersError};
use crate::disco::plan::{self, PlanError};
use crate::disco::report::{ModuleRun, Outcome, Run, SCHEMA, Step, Usage};
use crate::disco::sandbox::probe::{self, ProbeError};
use crate::disco::sandbox::restricted;
use crate::disco::sandbox::shadow::{self, HeldBack};
use crate::disco::sandbox::{Furniture, Sandbox, SandboxError, Scratch};
use crate::disco::secrets::Secrets;
use crate::disco::settings::Settings;
use crate::disco::spin::{Spun, Stage, Trouble};

/// What is to be danced.
#[derive(Debug, Clone)]
pub struct Request {
    /// Noop or live.
    pub mode: Mode,
    /// Whose parameters.
    pub node: NodeName,
    /// Whether only what `restricted.d` allows may be called; noop only.
    pub restricted: bool,
    /// Only these modules and what they require; empty: those that the parameters name.
    pub modules: Vec<ModuleName>,
    /// Where the universe is, and how the client behaves.
    pub settings: Settings,
    /// Whether what secret files hold is shown to whoever watches.
    pub secrets: Secrets,
    /// State directory of the brand.
    pub vardir: PathBuf,
    /// Configuration directory of the brand.
    pub etcdir: PathBuf,
    /// Where a noop saves its plan, and which binary and version make it.
    pub plan: Option<PlanRequest>,
}

/// A plan that is wanted of a noop.
#[derive(Debug, Clone)]
pub struct PlanRequest {
    /// The file to write.
    pub out: PathBuf,
    /// Name and version of the binary.
    pub maker: (&'static str, &'static str),
}

/// What happens during a dance, as it happens.
#[derive(Debug)]
#[expect(missing_docs, reason = "the fields are what their names say")]
pub enum Event<'a> {
    /// What the run is busy with from now on.
    Busy { with: &'a str },
    /// A module lacks a part; the line is rsync's.
    Absent { module: &'a str, line: &'a str },
    /// A module that another one requires.
    Discovered { module: &'a str, by: &'a str },
    /// A merge that was interrupted is whole again, or gone.
    Recovered { recovered: &'a Recovered },
    /// Something the sandbox cannot show faithfully.
    Note { text: &'a str },
    /// A module begins.
    Processing { module: &'a str },
    /// A line that a script or template wrote.
    Output { module: &'a str, line: &'a str },
    /// A command was held back and could not say so itself.
    HeldBack { module: &'a str, call: &'a HeldBack },
    /// A command was put off until after the merge.
    Deferred { module: &'a str, call: &'a HeldBack },
    /// A deferred command was executed on the host.
    Executed { deferred: &'a Deferred },
    /// A deferred command is not executed, because nothing is merged.
    Dropped { deferred: &'a Deferred },
    /// A module is not started because of another one.
    Skipped { module: &'a str, because: &'a str },
    /// A module failed.
    Failed { module: &'a str, why: &'a str },
    /// A path differs from the live system, or differs otherwise than after the module before.
    Changed { change: &'a Change },
}

/// Who watches a dance.
pub type Watch<'a> = &'a mut dyn FnMut(Event<'_>);

/// Why a dance could not be danced to its end. Nothing was changed on the host.
#[derive(Debug, thiserror::Error)]
pub enum DanceError {
    /// This machine or this user cannot.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// Another dance runs.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The universe could not be reached, or does not have what is wanted.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The parameters of the node.
    #[error(transparent)]
    Parameters(#[from] ParametersError),
    /// A module as it was fetched.
    #[error(transparent)]
    Module(#[from] ModuleError),
    /// A module that another one wants could not be fetched.
    #[error("module {wanted_by} requires {module}")]
    Required {
        /// The one that is wanted.
        module: ModuleName,
        /// Who wants it.
        wanted_by: ModuleName,
        /// Why it is not there.
        source: FetchError,
    },
    /// The modules want each other first.
    #[error(transparent)]
    Cycle(#[from] CycleError),
    /// The lists of commands to hold back.
    #[error(transparent)]
    Commands(#[from] CommandListError),
    /// The lists of noise.
    #[error(transparent)]
    Noise(#[from] NoiseError),
    /// The sandbox.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// What the run changed could not be read.
    #[error("cannot tell what changed")]
    Scan(#[from] ScanError),
    /// A merge that was interrupted could neither be finished nor undone.
    #[error("an interrupted merge could not be recovered")]
    Recovery(#[source] MergeError),
    /// The changes could not be put on the host.
    #[error("nothing was merged")]
    Merge(#[source] MergeError),
    /// The plan of a noop could not be saved.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The run could not be kept for `report`.
    #[error(transparent)]
    History(#[from] HistoryError),
}

/// Runs one dance.
///
/// # Errors
/// Whatever keeps the run from its end; the host is then what it was. A module that fails is no error of the run: its
/// [`Outcome`] says so, the others still run, and nothing is merged.
pub fn dance(request: &Request, watch: Watch<'_>) -> Result<Run, DanceError> {
    let started = Instant::now();
    probe::check()?;
    if let Some(plan) = &request.plan {
        plan::check_target(&plan.out)?;
    }
    let noise = Noise::read(&request.etcdir.join("noise.d"))?;
    let _lock = Lock::take(&request.vardir)?;
    if let Some(recovered) = merge::recover(&request.vardir).map_err(DanceError::Recovery)? {
        watch(Event::Recovered { recovered: &recovered });
    }
    let history = History::of(&request.vardir);
    let universe = Universe::new(
        &request.settings.server.value,
        &request.settings.rsync.value,
        Limits::of(&request.settings),
    )?;
    let mut run = Run {
        schema: SCHEMA.to_owned(),
        id: history.next_number_after(merge::last_run(&request.vardir).map_err(DanceError::Recovery)?)?,
        mode: request.mode,
        node: request.node.as_str().to_owned(),
        started: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        seconds: 0.0,
        modules: Vec::new(),
        edges: Vec::new(),
        internal: Vec::new(),
        diff: request.settings.diff.value,
        changes: Vec::new(),
        held_back: Vec::new(),
        deferred: Vec::new(),
        merged: false,
    };

    watch(Event::Busy { with: "fetching parameters" });
    let parameters = universe.fetch_parameters(&request.vardir, &request.node)?;
    run.internal.push(Step::new("fetch_params", None, started, parameters.began, parameters.usage));
    let wanted = match request.modules.as_slice() {
        [] => params::wanted_modules(&request.vardir, &request.node)?,
        only => only.to_vec(),
    };
    let (modules, fetched) = gather(started, &universe, &request.vardir, wanted, watch)?;
    let modules = order::sort(modules)?;
    run.edges = order::edges(&modules);

    watch(Event::Busy { with: "putting the sandbox together" });
    let scratch = Scratch::make(&request.vardir)?;
    let effective = scratch.path().join("parameters");
    params::write_effective(&request.vardir, &request.node, &modules, &effective)?;
    let commands = Commands::read(&request.etcdir.join("commands.d"))?;
    let restricted = match request.restricted {
        true => restricted::commands(&request.etcdir.join("restricted.d"))?,
        false => Vec::new(),
    };
    let host = scratch.host()?;
    let began = file_system_now(&scratch)?;
    let mut sandbox = Sandbox::open(request.mode, scratch, &effective, Furniture { commands, restricted })?;
    sandbox.limit(request.settings.limits.clone());
    for note in sandbox.notes() {
        watch(Event::Note { text: note });
    }

    let mut scanner =
        Scanner::showing(Show { format: request.settings.diff.value, secrets: request.secrets });
    for (number, module) in (1..).zip(&modules) {
        watch(Event::Busy { with: &format!("module {number} of {}: {}", modules.len(), module.name) });
        let fetch = fetched[&module.name].clone();
        let mut done =
            ModuleRun { name: module.name.to_string(), outcome: Outcome::Done, steps: vec![fetch] };
        if let Some(because) = broken_need(module, &modules, &run.modules) {
            watch(Event::Skipped { module: &done.name, because: &because });
            done.outcome = Outcome::Skipped(because);
            run.modules.push(done);
            continue;
        }
        watch(Event::Processing { module: &done.name });
        let mut spun = Spun::default();
        let mut stage = Stage {
            mode: request.mode,
            restricted: request.restricted,
            began: started,
            node: &request.node,
            sandbox: &mut sandbox,
        };
        match stage.spin(module, &mut spun, watch) {
            Ok(()) => {}
            Err(Trouble::Module(error)) => {
                let why = with_causes(&error);
                watch(Event::Failed { module: &done.name, why: &why });
                done.outcome = Outcome::Failed(why);
            }
            Err(Trouble::Sandbox(error)) => return Err(error.into()),
        }
        done.steps.append(&mut spun.steps);
        run.held_back.append(&mut spun.held_back);
        for (step, call) in spun.deferred {
            Deferred::add(&mut run.deferred, &done.name, step, call);
        }
        let scan = Instant::now();
        let mut changes = match shadow::without_shadows(scanner.scan(&sandbox)?, sandbox.shadows()) {
            Ok(changes) => changes,
            Err((misplaced, changes)) => {
                let why = format!(
                    "a command that is watched during a run was moved to {}; that has to be done outside a run",
                    misplaced.display()
                );
                watch(Event::Failed { module: &done.name, why: &why });
                done.outcome = Outcome::Failed(why);
                changes
            }
        };
        noise.mark(&mut changes);
        tell_new(&run.changes, &changes, watch);
        run.changes = changes;
        done.steps.push(Step::new("diff", None, started, scan, Usage::timed(scan.elapsed())));
        run.modules.push(done);
    }

    let merged = match request.mode {
        Mode::Live if run.failed() == 0 => {
            watch(Event::Busy { with: "merging" });
            let merge_started = Instant::now();
            let from = sandbox.root_path();
            let source = merge::Source { run: run.id, part: 0, vardir: &request.vardir, from: &from, began };
            let merged = merge::merge(&run.changes, &source);
            let usage = Usage::timed(merge_started.elapsed());
            run.internal.push(Step::new("merge", None, started, merge_started, usage));
            run.merged = merged.is_ok();
            merged.map_err(DanceError::Merge)
        }
        Mode::Live | Mode::Noop => Ok(()),
    };
    run.seconds = started.elapsed().as_secs_f64();
    // A run that failed is not what a live run would merge.
    let saved = match &request.plan {
        Some(plan) if run.failed() == 0 => plan::save(&plan.out, plan.maker, &run, &sandbox.root_path()),
        _ => Ok(()),
    };
    drop(sandbox);
    if run.merged {
        let begun = Instant::now();
        deferred::execute(&mut run.deferred, &host, watch);
        if !run.deferred.is_empty() {
            let usage = Usage::timed(begun.elapsed());
            run.internal.push(Step::new("deferred", None, started, begun, usage));
        }
    } else {
        run.deferred.iter().for_each(|deferred| watch(Event::Dropped { deferred }));
    }
    run.seconds = started.elapsed().as_secs_f64();
    history.keep(&run)?;
    saved?;
    merged.map(|()| run)
}

/// An error and what caused it, in one line: a module's failure is one line of the run.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// Fetches the wanted modules and whatever they require, until nothing new appears.
fn gather(
    started: Instant,
    universe: &Universe,
    vardir: &Path,
    wanted: Vec<ModuleName>,
    watch: Watch<'_>,
) -> Result<(Vec<Module>, BTreeMap<ModuleName, Step>), DanceError> {
    let mut modules: Vec<Module> = Vec::new();
    let mut steps = BTreeMap::new();
    let mut next: Vec<(ModuleName, Option<ModuleName>)> =
        wanted.into_iter().map(|name| (name, None)).collect();
    while !next.is_empty() {
        let names: Vec<ModuleName> = next.iter().map(|(name, _)| name.clone()).collect();
        watch(Event::Busy { with: &format!("fetching {} modules", names.len()) });
        let fetched = universe.fetch_modules(vardir, &names).map_err(|error| explain(error, &next))?;
        for Fetched { module, began, usage, absent } in fetched {
            let Some(name) = module else { continue };
            for line in &absent {
                watch(Event::Absent { module: name.as_str(), line });
            }
            modules.push(Module::read(name.clone(), fetch::directory_of(vardir, &name))?);
            steps.insert(name, Step::new("fetch", None, started, began, usage));
        }
        next = order::missing(&modules).into_iter().map(|(name, by)| (name, Some(by))).collect();
        for (name, by) in &next {
            let by = by.as_ref().map_or("", ModuleName::as_str);
            watch(Event::Discovered { module: name.as_str(), by });
        }
    }
    Ok((modules, steps))
}

/// Adds who wanted a module that could not be fetched.
fn explain(error: FetchError, wanted: &[(ModuleName, Option<ModuleName>)]) -> DanceError {
    let (FetchError::Rsync { what, .. } | FetchError::Deadline { what, .. }) = &error else {
        return error.into();
    };
    let found = wanted.iter().find(|(name, _)| *what == format!("module {name}"));
    match found.cloned() {
        Some((module, Some(wanted_by))) => DanceError::Required { module, wanted_by, source: error },
        _ => error.into(),
    }
}

/// The name of a module that comes before this one by `requires` and did not get to its end.
fn broken_need(module: &Module, all: &[Module], ran: &[ModuleRun]) -> Option<String> {
    let after = module.requires.iter().filter(|require| require.relation == Relation::After);
    let mut needs: BTreeSet<&ModuleName> = after.map(|require| &require.other).collect();
    needs.extend(all.iter().filter_map(|other| {
        let before = |require: &crate::disco::module::Require| {
            require.relation == Relation::Before && require.other == module.name
        };
        other.requires.iter().any(before).then_some(&other.name)
    }));
    ran.iter()
        .find(|run| run.outcome != Outcome::Done && needs.iter().any(|need| need.as_str() == run.name))
        .map(|run| run.name.clone())
}

/// Tells of the changes that are new, or look otherwise than after the module before.
fn tell_new(before: &[Change], now: &[Change], watch: Watch<'_>) {
    let known: BTreeMap<_, _> = before.iter().map(|change| (&change.path, change)).collect();
    for change in now.iter().filter(|change| !change.implied) {
        if known.get(&change.path).is_none_or(|known| known.after != change.after) {
            watch(Event::Changed { change });
        }
    }
}

/// The time by which the file systems stamp changes; it runs a little behind the clock.
pub(crate) fn file_system_now(scratch: &Scratch) -> Result<(i64, i64), SandboxError> {
    let path = scratch.path().join("began");
    let stamp = File::create(&path).and_then(|_| fs::metadata(&path));
    stamp.map(|found| (found.ctime(), found.ctime_nsec())).map_err(|source| SandboxError::Files {
        action: "write",
        path,
        source,
    })
}
