//! One command of a person, tried: it runs for real in a noop sandbox of its own, and what it changed is told.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;

use crate::disco::Mode;
use crate::disco::changes::noise::{Noise, NoiseError};
use crate::disco::changes::{Change, HostPath, ScanError, Scanner, Show, counted};
use crate::disco::commands::{CommandListError, Commands};
use crate::disco::dance::Watch;
use crate::disco::ending::{self, EndingError};
use crate::disco::history::{History, HistoryError};
use crate::disco::limits::Limits;
use crate::disco::lock::{Lock, LockError};
use crate::disco::merge::{self, MergeError, Source};
use crate::disco::report::{HeldBackBy, ModuleRun, Outcome, Run, Step, Usage};
use crate::disco::sandbox::probe::{self, ProbeError};
use crate::disco::sandbox::shadow::{self, HeldBack};
use crate::disco::sandbox::{Activity, Furniture, Host, Program, Sandbox, SandboxError, Scratch};
use crate::disco::session::{self, Input};
use crate::disco::universe::params::NodeName;

/// Version of the JSON that `try --json` prints.
pub const SCHEMA: &str = "disco.try.v1";

/// Exit codes for a command that could not be started and for one that was not found, as shells have them.
const NOT_EXECUTABLE: i32 = 126;
const NOT_FOUND: i32 = 127;

/// As which module a merged command stands in the history.
const MODULE: &str = "try";

/// Why a command could not be tried. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    /// This machine or this user cannot.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// A dance runs, and what was tried is to be merged.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The lists of commands to hold back.
    #[error(transparent)]
    Commands(#[from] CommandListError),
    /// The lists of noise.
    #[error(transparent)]
    Noise(#[from] NoiseError),
    /// The sandbox.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// What the command changed could not be read.
    #[error("cannot tell what changed")]
    Scan(#[from] ScanError),
    /// The directory of the caller is not there inside.
    #[error("the directory {} does not exist inside the sandbox", .0.display())]
    Directory(PathBuf),
    /// A watched command was moved inside; merged, what lies there would lead nowhere.
    #[error("a command that is watched in the sandbox was moved to {}, which cannot be merged", .0.display())]
    Shadow(PathBuf),
    /// A run, this one or one that died before, could not be brought to its end.
    #[error(transparent)]
    Ending(#[from] EndingError),
    /// The changes could not be put on the host.
    #[error("nothing was merged")]
    Merge(#[source] MergeError),
    /// The merged command could not be kept for `report` and `rollback`.
    #[error(transparent)]
    History(#[from] HistoryError),
}

/// What is to be tried.
#[derive(Debug)]
pub struct Request<'a> {
    /// The command, its environment and where it starts.
    pub program: Program,
    /// Its standard input.
    pub input: Input<'a>,
    /// How contents are shown.
    pub show: Show,
    /// What it may take.
    pub limits: Limits,
    /// The node that this host is.
    pub node: NodeName,
    /// State directory of the brand.
    pub vardir: PathBuf,
    /// Configuration directory of the brand.
    pub etcdir: PathBuf,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Attempt {
    /// Always [`SCHEMA`].
    pub schema: &'static str,
    /// The command and its arguments.
    pub command: Vec<HostPath>,
    /// Its exit code; 128 and the number of the signal that ended it; 127 if there is no such command.
    pub exit: i32,
    /// What differs from the live system, or differed before the merge; sorted by path.
    pub changes: Vec<Change>,
    /// Commands that were held back, in the order of their calls.
    pub held_back: Vec<HeldBack>,
    /// Whether the changes are now on the host.
    pub merged: bool,
}

/// A command that was tried, as long as its changes can be merged.
pub struct Tried {
    /// What came of it so far.
    pub attempt: Attempt,
    sandbox: Sandbox,
    usage: Usage,
    misplaced: Option<PathBuf>,
    show: Show,
    started: (Instant, jiff::Timestamp),
    began: (i64, i64),
    node: NodeName,
    vardir: PathBuf,
    host: Host,
}

/// Runs the command; `watch` hears of everything it does.
///
/// # Errors
/// Whatever keeps it from being tried.
pub fn attempt(request: Request<'_>, watch: &mut dyn FnMut(Activity<'_>)) -> Result<Tried, AttemptError> {
    probe::check(Mode::Noop)?;
    let started = (Instant::now(), jiff::Timestamp::now());
    let noise = Noise::read(&request.etcdir.join("noise.d"))?;
    let commands = Commands::read(&request.etcdir.join("commands.d"))?;
    let scratch = Scratch::make(&request.vardir)?;
    let kept = request.vardir.join("parameters");
    let parameters = if kept.is_dir() { kept } else { scratch.empty_directory("parameters")? };
    let (host, began) = (scratch.host()?, scratch.file_system_now()?);
    let furniture = Furniture { commands, ..Furniture::default() };
    let mut sandbox = Sandbox::open(Mode::Noop, scratch, &parameters, furniture)?;
    sandbox.limit(request.limits);
    let directory = Path::new(&request.program.directory);
    if !sandbox.has_directory(directory) {
        return Err(AttemptError::Directory(directory.to_owned()));
    }
    let mut calls = Vec::new();
    let ran = session::run(&mut sandbox, &request.program, request.input, &mut |activity| {
        if let Activity::HeldBack(call) = &activity {
            calls.push(call.clone());
        }
        watch(activity);
    });
    let usage = match ran {
        Ok(usage) => usage,
        Err(error @ SandboxError::Start { found, .. }) => {
            watch(Activity::Complaint(format!("{error}\n").as_bytes()));
            let exit = if found { NOT_EXECUTABLE } else { NOT_FOUND };
            Usage { exit, ..Usage::default() }
        }
        Err(error) => return Err(error.into()),
    };
    let scanned = Scanner::showing(request.show).scan(&sandbox)?;
    let (mut changes, misplaced) = match shadow::without_shadows(scanned, sandbox.shadows()) {
        Ok(changes) => (changes, None),
        Err((misplaced, changes)) => (changes, Some(misplaced)),
    };
    noise.mark(&mut changes);
    let attempt = Attempt {
        schema: SCHEMA,
        command: request.program.argv.into_iter().map(|word| HostPath(word.into())).collect(),
        exit: usage.exit,
        changes,
        held_back: calls,
        merged: false,
    };
    let Request { show, node, vardir, .. } = request;
    Ok(Tried { attempt, sandbox, usage, misplaced, show, started, began, node, vardir, host })
}

impl Tried {
    /// Why [`Tried::merge`] would merge nothing, as far as it can be told.
    pub fn objection(&self) -> Option<MergeError> {
        let (run, from) = (self.as_run(0), self.sandbox.root_path());
        let source = Source {
            report: &run,
            part: 0,
            vardir: &self.vardir,
            from: &from,
            began: self.began,
            host: &self.host,
        };
        merge::objection(&run.changes, &source)
    }

    /// Puts the changes on the host, and keeps that in the history as a live run: `rollback` undoes it like any other.
    ///
    /// # Errors
    /// Nothing is merged then, but for an error of the history itself.
    pub fn merge(&mut self, watch: Watch<'_>) -> Result<(), AttemptError> {
        if let Some(misplaced) = &self.misplaced {
            return Err(AttemptError::Shadow(misplaced.clone()));
        }
        let _lock = Lock::take(&self.vardir)?;
        if let Some(left) = ending::recover(&self.vardir, watch)? {
            left.execute(&self.host, watch)?;
        }
        let history = History::of(&self.vardir);
        let merged = merge::last_run(&self.vardir).map_err(EndingError::Recovery)?;
        let mut run = self.as_run(history.next_number_after(merged)?);
        let from = self.sandbox.root_path();
        let source = Source {
            report: &run,
            part: 0,
            vardir: &self.vardir,
            from: &from,
            began: self.began,
            host: &self.host,
        };
        let merged = merge::merge(&run.changes, &source);
        run.merged = merged.is_ok();
        run.seconds = self.started.0.elapsed().as_secs_f64();
        ending::close(&self.vardir, &run)?;
        self.attempt.merged = run.merged;
        merged.map_err(AttemptError::Merge)
    }

    /// The command as a run of one step. Of its arguments nothing is kept: they may hold anything.
    fn as_run(&self, id: u64) -> Run {
        let name = self.attempt.command.first().map(ToString::to_string);
        let began = self.started.0;
        let step = Step::new("exec", name.clone(), began, began, self.usage);
        let module = ModuleRun { name: MODULE.to_owned(), outcome: Outcome::Done, steps: vec![step] };
        let by = |call: &HeldBack| HeldBackBy {
            module: MODULE.to_owned(),
            step: name.clone().unwrap_or_default(),
            call: call.clone(),
        };
        Run {
            started: self.started.1.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            modules: vec![module],
            diff: self.show.format,
            changes: self.attempt.changes.clone(),
            held_back: self.attempt.held_back.iter().map(by).collect(),
            ..Run::begin(id, Mode::Live, self.node.as_str())
        }
    }
}

impl Attempt {
    /// The last line: the code, the counts, and what became of them.
    pub fn verdict(&self) -> String {
        let commands = match self.held_back.len() {
            1 => "1 command".to_owned(),
            count => format!("{count} commands"),
        };
        let told = || self.changes.iter().filter(|change| !change.implied && !change.noise);
        let noise = match self.changes.iter().filter(|change| change.noise && !change.implied).count() {
            0 => String::new(),
            1 => ", 1 path of noise".to_owned(),
            count => format!(", {count} paths of noise"),
        };
        let fate = if self.merged { "merged" } else { "nothing merged" };
        format!("try: exit {}, {}, {commands} held back{noise}, {fate}", self.exit, counted(told()))
    }
}
