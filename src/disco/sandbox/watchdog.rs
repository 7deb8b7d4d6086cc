//! Watches a program while it runs: what it takes, and what it leaves behind.
//!
//! Everything is seen from outside, through the processes that descend from the sandbox's first one: whoever loses its
//! parent inside becomes that one's child. Control groups would do some of it, but are not to be had everywhere, and a
//! limit on a user's processes does not bind root.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::disco::limits::{self, Limits, OverLimit};
use crate::disco::sandbox::host;

/// First and longest time between two looks; short steps are over before the first one.
const FIRST_LOOK: Duration = Duration::from_millis(10);
const LONGEST_WAIT: Duration = Duration::from_millis(200);

/// How long the layers go without being measured; longer where that takes long.
const MEASURE: Duration = Duration::from_secs(5);

/// From so many processes on, a program may be one that starts more and more of them.
const CROWD: usize = 16;

/// How long processes have to go away once they were killed.
const KILL: Duration = Duration::from_secs(10);

/// How long a process may outlive a live script that is about to end without it.
const GRACE: Duration = Duration::from_millis(300);

/// The least that a file costs the disk, whatever is in it.
const LEAST_FILE: u64 = 4096;

/// Watches one program.
pub(super) struct Watchdog<'a> {
    init: Pid,
    limits: &'a Limits,
    scratch: &'a Path,
    uppers: Vec<PathBuf>,
    shared_memory: PathBuf,
    /// What all of the machine had in memory as files when the program began, in bytes.
    files_in_memory: u64,
    started: Instant,
    urgent: Option<Urgent>,
    next: Instant,
    wait: Duration,
    output: u64,
    /// Free bytes of the scratch's file system below which the layers are measured.
    measure_below: u64,
    /// When the layers are measured whatever is free, because others may have freed what the program filled.
    measure_at: Instant,
    /// What the layers may hold: as set, but never so much that the disk fills up.
    scratch_limit: Option<u64>,
}

/// While this lives, the client is scheduled before all ordinary processes: who has to end thousands of them must not
/// wait for its turn among them.
struct Urgent;

impl Urgent {
    /// None where this user may not.
    fn be() -> Option<Self> {
        schedule(libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, 1).then_some(Urgent)
    }
}

impl Drop for Urgent {
    fn drop(&mut self) {
        schedule(libc::SCHED_OTHER, 0);
    }
}

/// Chooses how this process is scheduled; its children are scheduled as ever.
fn schedule(policy: libc::c_int, priority: libc::c_int) -> bool {
    let parameter = libc::sched_param { sched_priority: priority };
    // SAFETY: the parameter is a live value of the right type, and 0 is this process.
    unsafe { libc::sched_setscheduler(0, policy, &parameter) == 0 }
}

impl<'a> Watchdog<'a> {
    /// Starts to watch; `root` leads to the merged view.
    pub(super) fn start(
        init: Pid,
        limits: &'a Limits,
        scratch: &'a Path,
        uppers: Vec<PathBuf>,
        root: &Path,
    ) -> Self {
        let now = Instant::now();
        let free = free_bytes(scratch).unwrap_or(u64::MAX);
        let scratch_limit = limits.scratch.value.amount.map(|limit| limit.min(free / 10 * 9));
        Watchdog {
            init,
            limits,
            scratch,
            uppers,
            shared_memory: root.join("dev/shm"),
            files_in_memory: files_in_memory(),
            started: now,
            urgent: None,
            next: now + FIRST_LOOK,
            wait: FIRST_LOOK,
            output: 0,
            // Earlier runs of this sandbox may have used most of the limit, so the first fall is looked at closely.
            measure_below: free.saturating_sub(scratch_limit.unwrap_or(u64::MAX) / 8),
            measure_at: now + MEASURE,
            scratch_limit,
        }
    }

    /// Until when nothing has to be looked at.
    pub(super) fn next_look(&self) -> Instant {
        self.next
    }

    /// Takes note of what the program wrote.
    pub(super) fn wrote(&mut self, bytes: usize) -> Result<(), OverLimit> {
        self.output += bytes as u64;
        match self.limits.output.value.amount {
            Some(limit) if self.output > limit => Err(OverLimit::new(
                &limits::OUTPUT,
                "wrote to its output",
                self.limits.output.value.to_string(),
            )),
            _ => Ok(()),
        }
    }

    /// Looks at the program, if it is time to.
    pub(super) fn look(&mut self) -> Result<(), OverLimit> {
        let now = Instant::now();
        if now < self.next {
            return Ok(());
        }
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        self.next = now + self.wait;
        let limits = self.limits;
        if limits.time.value.amount.is_some_and(|limit| now - self.started > Duration::from_secs(limit)) {
            return Err(OverLimit::new(&limits::TIME, "ran", limits.time.value.to_string()));
        }
        let processes = descendants(self.init);
        let threads: usize = processes.iter().map(|process| process.threads).sum();
        if threads > CROWD && self.urgent.is_none() {
            self.urgent = Urgent::be();
        }
        if limits.processes.value.amount.is_some_and(|limit| threads as u64 > limit) {
            let kind = if processes.len() < threads { "processes and threads" } else { "processes" };
            let limit = format!("{} {kind}", limits.processes.value);
            return Err(OverLimit::new(&limits::PROCESSES, "started", limit));
        }
        if limits.memory.value.amount.is_some_and(|limit| self.memory(&processes, limit) > limit) {
            return Err(OverLimit::new(&limits::MEMORY, "held in memory", limits.memory.value.to_string()));
        }
        self.look_at_scratch(&processes)
    }

    /// Memory of the processes. What they share is counted once, and what only descriptors lead to is looked for, but only
    /// if it matters: that takes time.
    fn memory(&self, processes: &[Process], limit: u64) -> u64 {
        let sum = |file: &str, keys: &[&str]| -> u64 {
            processes.iter().map(|process| kib_in(&process.alive.join(file), keys) * 1024).sum()
        };
        let shared = used_bytes(&self.shared_memory).unwrap_or(0);
        let made = files_in_memory().saturating_sub(self.files_in_memory);
        let held = shared + made + sum("status", &["RssAnon:", "RssShmem:"]);
        if held <= limit {
            return held;
        }
        let mut nameless = Counted::default();
        if let Ok(device) = host::memory_file().and_then(|file| Ok(fs::File::from(file).metadata()?.dev())) {
            for process in processes {
                nameless.unlinked_files_of(process, |found| found.dev() == device);
            }
        }
        let mapped = sum("smaps_rollup", &["Pss_Shmem:"]);
        shared + sum("smaps_rollup", &["Pss_Anon:"]) + nameless.bytes.max(mapped)
    }

    /// The free space of the disk is quickly asked for; after it fell, and from time to time, the layers are measured.
    fn look_at_scratch(&mut self, processes: &[Process]) -> Result<(), OverLimit> {
        let Some(limit) = self.scratch_limit else { return Ok(()) };
        let free = free_bytes(self.scratch).unwrap_or(u64::MAX);
        let began = Instant::now();
        if free >= self.measure_below && began < self.measure_at {
            return Ok(());
        }
        let mut counted = Counted::default();
        for upper in &self.uppers {
            counted.tree(upper);
        }
        for process in processes {
            counted.unlinked_files_of(process, |_| true);
        }
        if counted.bytes > limit {
            let whole = self.limits.scratch.value.amount == Some(limit);
            let limit = match whole {
                true => self.limits.scratch.value.to_string(),
                false => {
                    format!("{} MiB, nine tenths of what {} has free,", limit >> 20, self.scratch.display())
                }
            };
            return Err(OverLimit::new(&limits::SCRATCH, "wrote to the sandbox", limit));
        }
        self.measure_below = free.saturating_sub(((limit - counted.bytes) / 2).max(1 << 20));
        self.measure_at = Instant::now() + MEASURE.max(began.elapsed() * 50);
        Ok(())
    }
}

/// Bytes of files, each counted once.
#[derive(Default)]
struct Counted {
    bytes: u64,
    seen: BTreeSet<(u64, u64)>,
}

impl Counted {
    fn add(&mut self, found: &fs::Metadata) {
        if found.nlink() == 1 || self.seen.insert((found.dev(), found.ino())) {
            self.bytes += (found.blocks() * 512).max(LEAST_FILE);
        }
    }

    /// What vanishes meanwhile does not count.
    fn tree(&mut self, top: &Path) {
        let mut waiting = vec![top.to_owned()];
        while let Some(directory) = waiting.pop() {
            let entries = fs::read_dir(&directory);
            if entries.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::ENAMETOOLONG)) {
                // Nobody can tell what lies there, and no run with such a tree comes to a good end.
                self.bytes = u64::MAX / 2;
                return;
            }
            for entry in entries.into_iter().flatten().flatten() {
                let Ok(found) = entry.metadata() else { continue };
                self.add(&found);
                if found.is_dir() {
                    waiting.push(entry.path());
                }
            }
        }
    }

    /// Files that have no name any more take their space until the last process lets go of them, open or mapped.
    fn unlinked_files_of(&mut self, process: &Process, is_counted: impl Fn(&fs::Metadata) -> bool) {
        let mapped = PathBuf::from(format!("/proc/{}/map_files", process.pid));
        let held = [process.alive.join("fd"), mapped].map(fs::read_dir);
        for entry in held.into_iter().flatten().flatten().flatten() {
            if let Ok(found) = fs::metadata(entry.path())
                && found.is_file()
                && found.nlink() == 0
                && is_counted(&found)
            {
                self.add(&found);
            }
        }
    }
}

fn free_bytes(path: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(path).ok()?;
    // A full table of inodes is a full disk too.
    let inodes = found.f_ffree.saturating_mul(LEAST_FILE);
    let bytes = found.f_bavail.saturating_mul(found.f_frsize);
    Some(if found.f_files == 0 { bytes } else { bytes.min(inodes) })
}

fn used_bytes(path: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(path).ok()?;
    Some((found.f_blocks - found.f_bfree).saturating_mul(found.f_frsize))
}

/// What all of the machine has in memory as files, named or not, in bytes.
fn files_in_memory() -> u64 {
    kib_in(Path::new("/proc/meminfo"), &["Shmem:"]) * 1024
}

fn kib_in(path: &Path, keys: &[&str]) -> u64 {
    let told = fs::read_to_string(path).unwrap_or_default();
    let value = |line: &str| line.split_whitespace().nth(1)?.parse::<u64>().ok();
    told.lines().filter(|line| keys.iter().any(|key| line.starts_with(key))).filter_map(value).sum()
}

/// A living process.
struct Process {
    pid: Pid,
    /// How many threads it has.
    threads: usize,
    /// What /proc tells of one of them that lives: the first one may have ended before the others.
    alive: PathBuf,
}

/// The living processes below the sandbox's first one.
fn descendants(init: Pid) -> Vec<Process> {
    let mut found = Vec::new();
    let mut waiting = vec![init];
    while let Some(pid) = waiting.pop() {
        let entries = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let tasks: Vec<PathBuf> = entries.map(|task| task.path()).collect();
        for task in &tasks {
            let children = fs::read_to_string(task.join("children")).unwrap_or_default();
            let children = children.split_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw);
            waiting.extend(children);
        }
        if pid != init
            && let Some(alive) = tasks.iter().find(|task| is_alive(task))
        {
            found.push(Process { pid, threads: tasks.len(), alive: alive.clone() });
        }
    }
    found
}

/// Whether a thread still runs; one that only waits for its parent to take note of its end does not.
fn is_alive(task: &Path) -> bool {
    let told = fs::read_to_string(task.join("stat")).unwrap_or_default();
    // The name may hold anything, also brackets.
    told.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Ends every process below the first one. A first pass stops them, so that none makes new ones meanwhile.
pub(super) fn end_all(init: Pid) {
    let deadline = Instant::now() + KILL;
    loop {
        let left = descendants(init);
        if left.is_empty() || Instant::now() > deadline {
            return;
        }
        for signal in [Signal::SIGSTOP, Signal::SIGKILL] {
            for Process { pid, .. } in &left {
                // They are below a process that waits for nobody but its program, so a number is hardly ever reused;
                // and a group whose leader is inside is wholly inside, for it was made there.
                let _ = kill(*pid, signal);
                if nix::unistd::getpgid(Some(*pid)) == Ok(*pid) {
                    let _ = kill(Pid::from_raw(-pid.as_raw()), signal);
                }
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Names the processes that a program left running, after a moment in which those that are about to end may do so.
pub(super) fn left_behind(init: Pid) -> Vec<String> {
    let deadline = Instant::now() + GRACE;
    loop {
        let left = descendants(init);
        if left.is_empty() {
            return Vec::new();
        }
        if Instant::now() > deadline {
            return left.iter().map(|process| name_of(process.pid)).collect();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn name_of(pid: Pid) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> = line.split(|byte| *byte == 0).filter(|word| !word.is_empty()).collect();
    let shown: String = String::from_utf8_lossy(&words.join(&b' ')).chars().take(80).collect();
    format!("{pid} ({})", shown.escape_debug())
}
