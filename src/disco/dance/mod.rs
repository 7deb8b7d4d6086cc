//! The journey of one run, from the lock to the report. It emits events as it goes and returns the run.

mod place;
pub(crate) mod spin;
mod turn;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::disco::Mode;
use crate::disco::changes::noise::{Noise, NoiseError};
use crate::disco::changes::secrets::Secrets;
use crate::disco::changes::{Change, ScanError};
use crate::disco::commands::{CommandListError, Commands};
use crate::disco::dance::turn::Company;
use crate::disco::deferred::Deferred;
use crate::disco::ending::{self, EndingError};
use crate::disco::history::{History, HistoryError};
use crate::disco::links::real_place;
use crate::disco::lock::Lock;
pub use crate::disco::lock::LockError;
use crate::disco::merge::{self, MergeError, Recovered};
use crate::disco::plan::{self, PlanError};
use crate::disco::report::{Run, Step};
use crate::disco::sandbox::probe::{self, ProbeError, Rights};
use crate::disco::sandbox::restricted;
use crate::disco::sandbox::shadow::HeldBack;
use crate::disco::sandbox::{Furniture, Host, SandboxError};
use crate::disco::settings::Settings;
use crate::disco::universe::fetch::{self, FetchError, Fetched, Limits, Universe};
use crate::disco::universe::module::{Module, ModuleError, ModuleName};
use crate::disco::universe::order::{self, CycleError};
use crate::disco::universe::params::{self, NodeName, ParametersError};

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
    /// How much is put on the host at once; live only.
    pub merge: MergeEach,
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

/// How much a live run puts on the host at once: all of it or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MergeEach {
    /// What all modules changed.
    Run,
    /// What one module changed, before the next one begins. What a module did not get to its end changed is dropped.
    Module,
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
    /// A deferred command is not executed.
    Dropped { deferred: &'a Deferred, why: &'a str },
    /// A run died between its merge and its end; its report is kept now.
    Interrupted { run: u64 },
    /// A deferred command of a run that died is still to be executed, and this command does not.
    Pending { run: u64, deferred: &'a Deferred },
    /// A deferred command was begun by a run that died, and nobody knows how it ended.
    Unknown { run: u64, deferred: &'a Deferred },
    /// A module is not started because of another one.
    Skipped { module: &'a str, because: &'a str },
    /// A module failed.
    Failed { module: &'a str, why: &'a str },
    /// A path differs from the live system, or differs otherwise than after the module before.
    Changed { change: &'a Change },
}

/// Who watches a dance.
pub type Watch<'a> = &'a mut dyn FnMut(Event<'_>);

/// Why a dance could not be danced to its end. Nothing was changed on the host, except by [`DanceError::Halfway`].
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
    /// A run, this one or one that died before, could not be brought to its end.
    #[error(transparent)]
    Ending(#[from] EndingError),
    /// The changes could not be put on the host.
    #[error("nothing was merged")]
    Merge(#[source] MergeError),
    /// A noop changed what a live run could not put on the host.
    #[error("a live run would merge nothing of this")]
    Unmergeable(#[source] MergeError),
    /// A run that merges module by module ended between two of them.
    #[error("the run ended early; the modules before are merged and stay so")]
    Halfway(#[source] Box<DanceError>),
    /// The plan of a noop could not be saved.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The kept runs could not be looked at.
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
    probe::check(request.mode)?;
    if let Some(plan) = &request.plan {
        plan::check_target(&plan.out)?;
    }
    let noise = Noise::read(&request.etcdir.join("noise.d"))?;
    let _lock = Lock::take(&request.vardir)?;
    match (ending::recover(&request.vardir, watch)?, request.mode) {
        (Some(left), Mode::Live) => left.execute(&Host::here().map_err(EndingError::Host)?, watch)?,
        (Some(left), Mode::Noop) => left.tell(watch),
        (None, _) => {}
    }
    let history = History::of(&request.vardir);
    let universe = Universe::new(
        &request.settings.server.value,
        &request.settings.rsync.value,
        Limits::of(&request.settings),
    )?;
    let merged = merge::last_run(&request.vardir).map_err(EndingError::Recovery)?;
    let mut run = Run::begin(history.next_number_after(merged)?, request.mode, request.node.as_str());
    run.diff = request.settings.diff.value;

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

    let company = Company {
        request,
        started,
        all: &modules,
        fetched: &fetched,
        furniture: Furniture {
            commands: Commands::read(&request.etcdir.join("commands.d"))?,
            restricted: match request.restricted {
                true => restricted::commands(&request.etcdir.join("restricted.d"))?,
                false => Vec::new(),
            },
            placed: match Rights::own() {
                Rights::Root => Vec::new(),
                Rights::User => placed(&modules)?,
            },
        },
        noise,
    };
    let turns: Vec<&[Module]> = match request.merge {
        MergeEach::Module if request.mode == Mode::Live => modules.chunks(1).collect(),
        MergeEach::Module | MergeEach::Run => vec![&modules],
    };
    let danced =
        (0..).zip(turns).try_for_each(|(number, modules)| company.turn(number, modules, &mut run, watch));
    run.seconds = started.elapsed().as_secs_f64();
    match danced {
        Ok(()) => {
            ending::close(&request.vardir, &run)?;
            Ok(run)
        }
        // These come after everything ran, which is worth keeping.
        Err(error @ (DanceError::Merge(_) | DanceError::Unmergeable(_) | DanceError::Plan(_))) => {
            ending::close(&request.vardir, &run)?;
            Err(error)
        }
        // What is left of the run is written down; the next command takes it from there.
        Err(error @ DanceError::Ending(_)) => Err(error),
        Err(error) if run.merged => {
            ending::close(&request.vardir, &run)?;
            Err(DanceError::Halfway(Box::new(error)))
        }
        Err(error) => Err(error),
    }
}

/// Where the modules put files and the output of templates; paths of the host.
fn placed(modules: &[Module]) -> Result<Vec<PathBuf>, ModuleError> {
    let mut paths = Vec::new();
    for module in modules {
        for below in [module.files_below("files", true)?, module.templates()?] {
            paths.extend(below.into_iter().map(|path| real_place(&Path::new("/").join(path))));
        }
    }
    Ok(paths)
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
