//! What a run did: figures per step, outcome per module, changes, commands held back. `history.rs` keeps it.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::disco::Mode;
use crate::disco::changes::diff::Format;
use crate::disco::changes::{Change, Kind};
use crate::disco::deferred::Deferred;
use crate::disco::sandbox::shadow::HeldBack;

/// Version of the JSON that `--json` prints and that is kept.
pub const SCHEMA: &str = "disco.run.v1";

/// One whole run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Number of the run on this node, from 1.
    pub id: u64,
    /// Noop or live.
    pub mode: Mode,
    /// Whose parameters it danced to.
    pub node: String,
    /// When it began, RFC 3339 in UTC.
    pub started: String,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// The modules in the order in which they ran.
    pub modules: Vec<ModuleRun>,
    /// Which module had to come before which, by `requires`; sorted.
    #[serde(default)]
    pub edges: Vec<Edge>,
    /// Steps of the run itself.
    pub internal: Vec<Step>,
    /// In which format the changes tell what differs inside files.
    #[serde(default)]
    pub diff: Format,
    /// What differs from the live system, or differed before the merge; sorted by path. Where modules are
    /// merged one by one, those of each, one after the other.
    pub changes: Vec<Change>,
    /// Commands that the noop held back, in the order of their calls.
    pub held_back: Vec<HeldBackBy>,
    /// Commands that the live run executed after the merge, in order; or would have, had it been merged.
    #[serde(default)]
    pub deferred: Vec<Deferred>,
    /// What the sandbox could not show faithfully on this host, in sentences.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Whether the changes are now on the host; of modules that are merged one by one, any.
    pub merged: bool,
    /// Whether the client died before it could keep this report, and another one did. Figures of the end are missing then.
    #[serde(default)]
    pub interrupted: bool,
}

/// One step of the order: `first` runs before `then`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Edge {
    /// The module that comes first.
    pub first: String,
    /// The module that follows.
    pub then: String,
}

/// A command that was held back, and by whose step it was called.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HeldBackBy {
    /// The module.
    pub module: String,
    /// The script or template, relative to its folder in the module.
    pub step: String,
    /// The call.
    #[serde(flatten)]
    pub call: HeldBack,
}

/// One module of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ModuleRun {
    /// Its name.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What it did, in order.
    pub steps: Vec<Step>,
}

/// How a module ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Every step went well.
    Done,
    /// A step failed; why, in a sentence.
    Failed(String),
    /// It was not started, because a module before it failed; which one.
    Skipped(String),
}

/// One step with its figures.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Step {
    /// `fetch`, `files`, `template`, `exec`, `diff`, `fetch_params`, `merge`, `deferred`.
    pub kind: String,
    /// The template or script; none for steps that exist once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// When it began, in seconds from the beginning of the run.
    #[serde(default)]
    pub began: f64,
    /// What it used.
    pub usage: Usage,
}

impl Step {
    /// A step of a run that began at `run`.
    pub fn new(kind: &str, item: Option<String>, run: Instant, began: Instant, usage: Usage) -> Self {
        let began = began.saturating_duration_since(run).as_secs_f64();
        Step { kind: kind.to_owned(), item, began, usage }
    }
}

/// What a process used, its children included; the figures of getrusage(2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Wall clock, in seconds.
    pub real: f64,
    /// Time in user mode, in seconds.
    pub user: f64,
    /// Time in the kernel, in seconds.
    pub sys: f64,
    /// Largest resident size, in KiB.
    pub mem_max: i64,
    /// Page faults that needed a device.
    pub faults_major: i64,
    /// Page faults that did not.
    pub faults_minor: i64,
    /// Blocks read from a file system, of 512 bytes.
    pub fs_in: i64,
    /// Blocks written to a file system, of 512 bytes.
    pub fs_out: i64,
    /// Socket messages received; Linux counts none.
    pub sock_in: i64,
    /// Socket messages sent; Linux counts none.
    pub sock_out: i64,
    /// Signals delivered; Linux counts none.
    pub signals: i64,
    /// Exit code; 128 and the signal's number for a process that a signal ended.
    pub exit: i32,
}

impl Usage {
    /// The figures of a process that wait4(2) returned.
    pub fn of(real: Duration, status: libc::c_int, used: &libc::rusage) -> Self {
        let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
        let exit =
            if libc::WIFSIGNALED(status) { 128 + libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) };
        Usage {
            real: real.as_secs_f64(),
            user: seconds(used.ru_utime),
            sys: seconds(used.ru_stime),
            mem_max: used.ru_maxrss,
            faults_major: used.ru_majflt,
            faults_minor: used.ru_minflt,
            fs_in: used.ru_inblock,
            fs_out: used.ru_oublock,
            sock_in: used.ru_msgrcv,
            sock_out: used.ru_msgsnd,
            signals: used.ru_nsignals,
            exit,
        }
    }

    /// A step of the client itself, of which only the time is known.
    pub fn timed(real: Duration) -> Self {
        Usage { real: real.as_secs_f64(), ..Usage::default() }
    }
}

impl Run {
    /// A run that begins now and has nothing yet.
    pub fn begin(id: u64, mode: Mode, node: &str) -> Self {
        Run {
            schema: SCHEMA.to_owned(),
            id,
            mode,
            node: node.to_owned(),
            started: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            seconds: 0.0,
            modules: Vec::new(),
            edges: Vec::new(),
            internal: Vec::new(),
            diff: Format::default(),
            changes: Vec::new(),
            held_back: Vec::new(),
            deferred: Vec::new(),
            notes: Vec::new(),
            merged: false,
            interrupted: false,
        }
    }

    /// The changes that people are told of: neither noise nor implied by what lies in them.
    pub fn told(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(|change| !change.implied && !change.noise)
    }

    /// Commands that were put off and are still to be executed.
    pub fn pending(&self) -> impl Iterator<Item = &Deferred> {
        self.deferred.iter().filter(|deferred| deferred.is_pending())
    }

    /// How many changes created, modified and deleted something; noise is not among them.
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |kind: Kind| self.told().filter(|change| change.kind() == kind).count();
        (count(Kind::Created), count(Kind::Modified), count(Kind::Deleted))
    }

    /// How many changes are noise.
    pub fn noise(&self) -> usize {
        self.changes.iter().filter(|change| change.noise && !change.implied).count()
    }

    /// How many modules failed or were skipped because of one that did, and how many deferred commands failed.
    pub fn failed(&self) -> usize {
        self.modules.iter().filter(|module| module.outcome != Outcome::Done).count()
            + self.deferred.iter().filter(|deferred| deferred.has_failed()).count()
    }

    /// The last line of every dance: mode, counts, time.
    pub fn verdict(&self) -> String {
        let plural =
            |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
        let (created, modified, deleted) = self.counts();
        let mode = match (self.mode, self.merged, self.interrupted) {
            (Mode::Noop, ..) => "noop",
            (Mode::Live, true, false) => "live",
            (Mode::Live, true, true) => "live, interrupted",
            (Mode::Live, false, false) => "live, nothing merged",
            (Mode::Live, false, true) => "live, interrupted, nothing merged",
        };
        let held_back = match self.mode {
            Mode::Noop => format!("{} held back, ", plural(self.held_back.len(), "command")),
            Mode::Live if self.deferred.is_empty() => String::new(),
            Mode::Live => format!("{} deferred, ", plural(self.deferred.len(), "command")),
        };
        let noise = match self.noise() {
            0 => String::new(),
            count => format!("{} of noise, ", plural(count, "path")),
        };
        format!(
            "{mode}: {}, {created} created, {modified} modified, {deleted} deleted, {held_back}{noise}{} failed ({:.2} s)",
            plural(self.modules.len(), "module"),
            self.failed(),
            self.seconds
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(mode: Mode) -> Run {
        Run {
            seconds: 0.306,
            modules: vec![
                ModuleRun { name: "a".into(), outcome: Outcome::Done, steps: Vec::new() },
                ModuleRun { name: "b".into(), outcome: Outcome::Failed("why".into()), steps: Vec::new() },
            ],
            ..Run::begin(1, mode, "n")
        }
    }

    #[test]
    fn the_verdict_counts_and_says_whether_anything_was_merged() {
        assert_eq!(
            run(Mode::Noop).verdict(),
            "noop: 2 modules, 0 created, 0 modified, 0 deleted, 0 commands held back, 1 failed (0.31 s)"
        );
        assert_eq!(
            run(Mode::Live).verdict(),
            "live, nothing merged: 2 modules, 0 created, 0 modified, 0 deleted, 1 failed (0.31 s)"
        );
    }
}
