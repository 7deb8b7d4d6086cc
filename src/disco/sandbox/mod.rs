//! The sandbox: everything runs for real, nothing reaches the host.
//!
//! A [`Sandbox`] is a process in namespaces of its own, whose root is a stack of overlays over the live file systems.
//! Programs run inside one after another; the client reads and writes the merged view from outside, and finds what
//! changed in the upper layers. Dropping it ends the process, and with its namespace every mount, and removes the upper
//! layers.
//!
//! ```text
//! VARDIR/scratch/run-PID/          0700, hidden inside the sandbox
//!     root/                        mount point of the new root, until it is the root
//!     parameters/                  the effective parameter tree
//!     layers/N/{upper,work,extra}  one per writable file system of the host; N = 0 is /
//! ```
//!
//! * `plan.rs` decides what to mount, `mount.rs` mounts it, `child.rs` forks and lives inside, `confine.rs` cuts rights.
//! * `explain.rs` says the plan in words, `probe.rs` knows what this machine can do.
//! * `shadow.rs` is what a watched command says when it is called, `calls.rs` hears and answers it, `host.rs` runs commands
//!   on the host itself.
//! * `run.rs` runs programs and carries their streams, `terminal.rs` makes terminals for them, `watchdog.rs` bounds what a
//!   program takes and finds what it left behind.
//! * `scratch.rs` owns the directory, `remove.rs` clears the layers away.
//! * `standing.rs` leaves a sandbox standing and finds it again, `restricted.rs` knows what a restricted shell may call.

mod calls;
mod channel;
mod child;
mod confine;
pub mod explain;
mod host;
mod mount;
mod mountinfo;
pub(crate) mod plan;
pub mod probe;
mod remove;
pub(crate) mod restricted;
mod run;
mod scratch;
pub mod shadow;
pub(crate) mod standing;
mod terminal;
mod user;
mod watchdog;

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::disco::Mode;
use crate::disco::commands::Commands;
use crate::disco::limits::{Limits, OverLimit};
use crate::disco::sandbox::calls::Calls;
pub use crate::disco::sandbox::channel::Program;
use crate::disco::sandbox::channel::{Channel, Reply};
pub(crate) use crate::disco::sandbox::child::{end_with_this_process, wait_for, watch_end};
pub use crate::disco::sandbox::host::Host;
pub(crate) use crate::disco::sandbox::host::directory_of;
pub use crate::disco::sandbox::mount::MountError;
pub use crate::disco::sandbox::plan::ORIGINAL_COMMANDS;
use crate::disco::sandbox::plan::{Layer, MountPlan, RunDirs};
use crate::disco::sandbox::probe::Rights;
use crate::disco::sandbox::restricted::Verdict;
pub use crate::disco::sandbox::scratch::Scratch;
use crate::disco::sandbox::shadow::HeldBack;

/// Why a sandbox could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A directory or file of the run.
    #[error("cannot {action} {}", path.display())]
    Files {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// A mount in the client's own namespace.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// A step of the set-up inside failed; nothing ran.
    #[error("the sandbox could not be put together: {0}")]
    SetUp(String),
    /// `/` of the client is a directory like any other.
    #[error(
        "/ is no mount point: the client runs in a chroot, which cannot hold a sandbox; run it in the whole system, or \
         in a container whose root is a mount"
    )]
    Chroot,
    /// `/` is what the kernel unpacked at its start.
    #[error(
        "/ is the kernel's initial file system, which cannot be changed for a sandbox; boot into a root on a mount"
    )]
    InitialRoot,
    /// `/` is as deep a stack of overlays as a kernel makes.
    #[error(
        "/ is an overlay over another one, and a kernel puts no third one over them; run the client on the machine itself, or \
         in a container whose files lie on a disk"
    )]
    StackedRoot,
    /// A user's noop keeps its layers where the caller says, and cannot mount another file system for them.
    #[error("the file system of {} cannot hold the layers of a noop; choose another one with XDG_STATE_HOME", .0.display())]
    Unfit(PathBuf),
    /// The process inside went away.
    #[error("the sandbox ended by itself")]
    Gone,
    /// A system call around the process inside.
    #[error("cannot {action} the sandbox")]
    Process {
        /// What was tried.
        action: &'static str,
        /// The system's word.
        source: io::Error,
    },
    /// A signal asked this process to end while a program was on the caller's terminal.
    #[error("a signal ended it")]
    Interrupted,
    /// A program did not start.
    #[error("cannot start {program}: {why}")]
    Start {
        /// Its path.
        program: String,
        /// Whether there is such a program at all.
        found: bool,
        /// The system's word.
        why: String,
    },
    /// A program took more than it may; it was ended with all that it started.
    #[error(transparent)]
    OverLimit(#[from] OverLimit),
    /// A program of a live run left processes in the sandbox; they were ended.
    #[error(
        "it left behind {}, which would have run on in the sandbox instead of on the host and was ended; start services \
         through the service manager", .0.join(", ")
    )]
    LeftBehind(Vec<String>),
}

fn process(action: &'static str) -> impl Fn(io::Error) -> SandboxError {
    move |source| SandboxError::Process { action, source }
}

fn files(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SandboxError {
    let path = path.to_owned();
    move |source| SandboxError::Files { action, path, source }
}

/// What a program running inside does, as it does it.
#[derive(Debug)]
pub enum Activity<'a> {
    /// Bytes on its standard output.
    Output(&'a [u8]),
    /// Bytes on its standard error.
    Complaint(&'a [u8]),
    /// It called a command that is held back.
    HeldBack(HeldBack),
    /// It called a command that is to be executed after the merge.
    Deferred(HeldBack),
}

/// Environment variable that tells the client, called inside, where the parameters of the run are shown.
pub const PARAMETERS_VARIABLE: &str = "DISCO_PARAMETERS";

/// What becomes of a program's standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputUse {
    /// People read it, so a shadow may write its warning there.
    Shown,
    /// It is the content of a file, so nothing else may be in it.
    Captured,
}

/// What a sandbox holds beyond the host's files.
#[derive(Debug, Clone, Default)]
pub struct Furniture {
    /// What becomes of calls of the commands that act on the running system.
    pub(crate) commands: Commands,
    /// What a restricted shell may call; empty where there is none.
    pub(crate) restricted: Vec<(String, Verdict)>,
    /// Paths at which modules put files. Without the rights of root they are made ready for it.
    pub(crate) placed: Vec<PathBuf>,
}

/// A running sandbox.
pub struct Sandbox {
    channel: Channel,
    root: OwnedFd,
    calls: Calls,
    shadows: Vec<PathBuf>,
    plan: MountPlan,
    mode: Mode,
    limits: Option<Limits>,
    // Last, so that the layers go after the process that has them mounted.
    keeper: Keeper,
}

/// Who ends a sandbox.
enum Keeper {
    /// This process, when it lets go of it.
    This { init: Init, scratch: Scratch },
    /// Nobody: it stands until it is taken down. The descriptor leads to its layers.
    Nobody { _scratch: OwnedFd },
}

impl Sandbox {
    /// Puts a sandbox together and waits until it stands.
    ///
    /// `parameters` is shown read-only at `/var/disco/parameters`.
    ///
    /// # Errors
    /// Says which step failed. Nothing is left mounted.
    pub fn open(
        mode: Mode,
        scratch: Scratch,
        parameters: &Path,
        furniture: Furniture,
    ) -> Result<Self, SandboxError> {
        let dirs = RunDirs::of(scratch.path().to_owned(), parameters.to_owned());
        let mut plan = plan_for(mode, &dirs, &furniture)?;
        if Rights::own() == Rights::User {
            plan.notes.push(user::NOTE.to_owned());
        }
        let client = probe::own_binary().map_err(process("find the program for"))?;
        let (channel, inner) = Channel::pair().map_err(process("make a channel to"))?;
        let blueprint = child::Blueprint {
            mode,
            rights: Rights::own(),
            plan: &plan,
            dirs: &dirs,
            client: &client,
            stay: None,
        };
        // From here on the guard ends the process, whatever happens.
        let init = Init(child::start(&blueprint, &inner, Some(&channel)).map_err(process("start"))?);
        drop(inner);
        let listener = first_word(&channel)?.into_iter().next().ok_or(SandboxError::Gone)?;
        let shadows = plan.shadows();
        let calls = Calls::new(listener, furniture.commands, plan.real_programs(), mode, scratch.host()?);
        let root = mount::open_root_of(init.0).map_err(process("look into"))?;
        let keeper = Keeper::This { init, scratch };
        Ok(Sandbox { channel, root, calls, shadows, plan, mode, limits: None, keeper })
    }

    /// The merged view: what the programs inside see.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// A path by which the merged view can be walked, as long as no component of what follows is a link.
    pub fn root_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.root.as_raw_fd()))
    }

    /// Whether the programs inside find a directory at an absolute path.
    pub(crate) fn has_directory(&self, path: &Path) -> bool {
        use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat2(&self.root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT).is_ok()
    }

    /// What this sandbox shows less faithfully than one would expect.
    pub fn notes(&self) -> &[String] {
        &self.plan.notes
    }

    /// Paths of the commands whose calls are judged.
    pub(crate) fn shadows(&self) -> &[PathBuf] {
        &self.shadows
    }

    /// The overlays, parents first.
    pub(crate) fn layers(&self) -> impl Iterator<Item = &Layer> {
        self.plan.layers()
    }

    /// Bounds every program that runs inside from now on. A sandbox that stands between commands knows no bounds: a
    /// person works in it.
    pub fn limit(&mut self, limits: Limits) {
        self.limits = Some(limits);
    }
}

/// Decides what to mount, from what is mounted now.
fn plan_for(mode: Mode, dirs: &RunDirs, furniture: &Furniture) -> Result<MountPlan, SandboxError> {
    let mounts = mount::visible_mounts().map_err(process("list the mounts for"))?;
    let (shadows, real) = (furniture.commands.watched_paths(mode), furniture.commands.real_programs(mode));
    let overlays = mounts.iter().filter(|mount| mount.kind == "overlay");
    let overlays: HashSet<&Path> = overlays.map(|mount| mount.point.as_path()).collect();
    let found = |at: &Path| mount::found_at(at, overlays.contains(at));
    if found(Path::new("/")) == plan::Found::Stacked {
        return Err(SandboxError::StackedRoot);
    }
    let mut plan = plan::plan(mode, &mounts, dirs, &shadows, &real, found);
    if Rights::own() == Rights::User {
        user::split(&mut plan, &mounts, dirs, user::entries_at);
        user::prepare(&mut plan, &furniture.placed);
    }
    plan.add_restricted(dirs, &furniture.restricted);
    Ok(plan)
}

/// Waits until a new sandbox stands, or says why it does not; what comes with it are the descriptors beside its word.
fn first_word(channel: &Channel) -> Result<Vec<OwnedFd>, SandboxError> {
    match channel.receive::<Reply>().map_err(process("hear from"))? {
        Some((Reply::Ready, descriptors)) => Ok(descriptors),
        Some((Reply::SetUpFailed(why), _)) => Err(SandboxError::SetUp(why)),
        Some(_) | None => Err(SandboxError::Gone),
    }
}

/// The first process of a sandbox of our own; it ends with this guard.
struct Init(Pid);

impl Drop for Init {
    fn drop(&mut self) {
        // In a live run they would not end with it.
        watchdog::end_all(self.0);
        // Init is our child and not yet waited for, so the number cannot be anybody else's.
        let _ = kill(self.0, Signal::SIGKILL);
        let _ = nix::sys::wait::waitpid(self.0, None);
    }
}
