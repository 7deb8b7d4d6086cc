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
//! * `watchdog.rs` bounds what a program takes and finds what it left behind, `remove.rs` clears the layers away.

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
pub mod shadow;
mod watchdog;

use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::CloneFlags;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::disco::Mode;
use crate::disco::commands::Commands;
use crate::disco::limits::{Limits, OverLimit};
use crate::disco::report::Usage;
use crate::disco::sandbox::calls::Calls;
pub use crate::disco::sandbox::channel::Program;
use crate::disco::sandbox::channel::{Channel, Reply, Request};
pub(crate) use crate::disco::sandbox::child::{end_with_this_process, wait_for, watch_end};
pub use crate::disco::sandbox::host::Host;
pub(crate) use crate::disco::sandbox::host::directory_of;
pub use crate::disco::sandbox::mount::MountError;
pub use crate::disco::sandbox::plan::ORIGINAL_COMMANDS;
use crate::disco::sandbox::plan::{Layer, MountPlan, RunDirs};
use crate::disco::sandbox::shadow::HeldBack;
use crate::disco::sandbox::watchdog::Watchdog;

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
    /// A program did not start.
    #[error("cannot start {program}: {why}")]
    Start {
        /// Its path.
        program: String,
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

/// How long the sandbox may take to notice that a program was ended.
const END_OF_A_STEP: Duration = Duration::from_secs(10);

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

/// Scratch directory of one run; removed when dropped.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    host: Host,
}

impl Scratch {
    /// Makes the directory, and removes those that runs which died left behind. The caller holds the lock.
    ///
    /// Afterwards this process is in a mount namespace of its own: where the file system of `vardir` cannot hold an upper
    /// layer (another overlay, a network file system), the directory is memory that nobody else sees.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn make(vardir: &Path) -> Result<Self, SandboxError> {
        let all = vardir.join("scratch");
        if let Ok(left) = fs::read_dir(&all) {
            for entry in left.flatten() {
                // What cannot be removed now is no obstacle: this run has a directory of its own.
                let _ = remove::remove_tree(&entry.path());
            }
        }
        let own = all.join(format!("run-{}", std::process::id()));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&own).map_err(files("make", &own))?;
        let host = Host::here().map_err(process("look at the mounts for"))?;
        // A link on the way would hide something else than the layers from what runs inside.
        let path = fs::canonicalize(&own).map_err(files("find", &own))?;
        let scratch = Scratch { path, host };
        nix::sched::unshare(CloneFlags::CLONE_NEWNS)
            .map_err(|errno| process("make a namespace for")(errno.into()))?;
        refuse_odd_roots(&mount::visible_mounts().map_err(process("list the mounts for"))?)?;
        mount::make_private()?;
        if !probe::can_hold_uppers(&scratch.path).map_err(files("look at", &scratch.path))? {
            mount::mount_scratch(&scratch.path)?;
        }
        Ok(scratch)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The host, as it was before this process entered a namespace of its own.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn host(&self) -> Result<Host, SandboxError> {
        self.host.again().map_err(process("look at the mounts for"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.path, rustix::mount::UnmountFlags::DETACH);
        let _ = remove::remove_tree(&self.path);
    }
}

/// A running sandbox.
pub struct Sandbox {
    init: Pid,
    channel: Channel,
    root: OwnedFd,
    calls: Calls,
    shadows: Vec<PathBuf>,
    plan: MountPlan,
    mode: Mode,
    limits: Option<Limits>,
    // Last, so that the layers go after the process that has them mounted.
    scratch: Scratch,
}

impl Sandbox {
    /// Puts a sandbox together and waits until it stands.
    ///
    /// `parameters` is shown read-only at `/var/disco/parameters`; `commands` judge the calls that come from inside.
    ///
    /// # Errors
    /// Says which step failed. Nothing is left mounted.
    pub fn open(
        mode: Mode,
        scratch: Scratch,
        parameters: &Path,
        commands: Commands,
    ) -> Result<Self, SandboxError> {
        let dirs = RunDirs { scratch: scratch.path().to_owned(), parameters: parameters.to_owned() };
        let mounts = mount::visible_mounts().map_err(process("list the mounts for"))?;
        let shadows = commands.watched_paths(mode);
        let real = commands.real_programs(mode);
        let plan = plan::plan(mode, &mounts, &dirs, &shadows, &real, mount::found_at);

        let client = probe::own_binary().map_err(process("find the program for"))?;
        let (channel, inner) = Channel::pair().map_err(process("make a channel to"))?;
        let blueprint = child::Blueprint { mode, plan: &plan, dirs: &dirs, client: &client };
        let init = child::start(&blueprint, inner).map_err(process("start"))?;
        // From here on the guard ends the process, whatever happens.
        let mut starting = Starting { init: Some(init) };
        let listener = match channel.receive::<Reply>().map_err(process("hear from"))? {
            Some((Reply::Ready, descriptors)) => descriptors.into_iter().next(),
            Some((Reply::SetUpFailed(why), _)) => return Err(SandboxError::SetUp(why)),
            Some((Reply::Ended(_), _)) | None => return Err(SandboxError::Gone),
        };
        let listener = listener.ok_or(SandboxError::Gone)?;
        let calls = Calls::new(listener, commands, mode, scratch.host()?);
        let root = mount::open_root_of(init).map_err(process("look into"))?;
        starting.init = None;
        Ok(Sandbox { init, channel, root, calls, shadows, plan, mode, limits: None, scratch })
    }

    /// The merged view: what the programs inside see.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// A path by which the merged view can be walked, as long as no component of what follows is a link.
    pub fn root_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.root.as_raw_fd()))
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

    /// Bounds every program that runs inside from now on.
    pub fn limit(&mut self, limits: Limits) {
        self.limits = Some(limits);
    }

    /// Runs a program inside and waits for its end; `watch` hears of everything it does, in order.
    ///
    /// In noop, whatever the program left running is ended with it.
    ///
    /// # Errors
    /// The program could not be started, or the sandbox is gone.
    pub fn run(
        &mut self,
        program: &Program,
        output: OutputUse,
        watch: &mut dyn FnMut(Activity<'_>),
    ) -> Result<Usage, SandboxError> {
        let (out_reader, out_writer) = io::pipe().map_err(process("make a pipe to"))?;
        let (err_reader, err_writer) = io::pipe().map_err(process("make a pipe to"))?;
        let mut program = program.clone();
        if output == OutputUse::Shown {
            let pipe =
                rustix::fs::fstat(&out_writer).map_err(|errno| process("make a pipe to")(errno.into()))?;
            program
                .environment
                .push((shadow::OUTPUT_VARIABLE.into(), format!("{}:{}", pipe.st_dev, pipe.st_ino)));
        }
        self.channel
            .send(&Request::Run(program.clone()), &[out_writer.as_raw_fd(), err_writer.as_raw_fd()])
            .map_err(process("speak to"))?;
        drop((out_writer, err_writer));
        let limits = self.limits.clone();
        let scratch = self.scratch.path().to_owned();
        let mut watchdog = limits.as_ref().map(|limits| {
            let uppers = self.plan.layers().map(Layer::upper).collect();
            Watchdog::start(self.init, limits, &scratch, uppers, &self.root_path())
        });
        let outcome = match self.relay(out_reader, err_reader, watchdog.as_mut(), watch) {
            Err(error @ SandboxError::OverLimit(_)) => {
                watchdog::end_all(self.init);
                self.hear_of_the_end()?;
                return Err(error);
            }
            relayed => relayed?,
        };
        // In noop, the sandbox ended them itself.
        let left = if self.mode == Mode::Live { watchdog::left_behind(self.init) } else { Vec::new() };
        if !left.is_empty() {
            watchdog::end_all(self.init);
            return Err(SandboxError::LeftBehind(left));
        }
        outcome.map_err(|why| SandboxError::Start {
            program: program.argv.first().map(|path| path.display().to_string()).unwrap_or_default(),
            why,
        })
    }

    /// Waits for the word that a program ended which had to be.
    fn hear_of_the_end(&self) -> Result<(), SandboxError> {
        let patience = PollTimeout::try_from(END_OF_A_STEP).unwrap_or(PollTimeout::MAX);
        match wait_for_any(&[(Source::Init, self.channel.as_fd())], patience)?.is_empty() {
            true => Err(SandboxError::Gone),
            false => match self.channel.receive::<Reply>().map_err(process("hear from"))? {
                Some((Reply::Ended(_), _)) => Ok(()),
                Some(_) | None => Err(SandboxError::Gone),
            },
        }
    }

    fn relay(
        &mut self,
        mut stdout: io::PipeReader,
        mut stderr: io::PipeReader,
        mut watchdog: Option<&mut Watchdog<'_>>,
        watch: &mut dyn FnMut(Activity<'_>),
    ) -> Result<Result<Usage, String>, SandboxError> {
        let mut buffer = vec![0; 64 * 1024];
        let mut ended = None;
        let (mut out_open, mut err_open) = (true, true);
        loop {
            // Once the program ended, only what is already in the pipes is waited for: a daemon that a live script
            // started may hold them open for ever.
            let timeout = match (&ended, &watchdog) {
                (Some(_), _) => PollTimeout::ZERO,
                (None, Some(watchdog)) => {
                    PollTimeout::try_from(watchdog.patience()).unwrap_or(PollTimeout::MAX)
                }
                (None, None) => PollTimeout::NONE,
            };
            // What was written before a call is shown before it.
            let mut sources = Vec::from_iter(out_open.then(|| (Source::Output, stdout.as_fd())));
            sources.extend(err_open.then(|| (Source::Complaint, stderr.as_fd())));
            sources.extend(self.calls.callers().map(|(number, fd)| (Source::Caller(number), fd)));
            sources.push((Source::Callers, self.calls.listener()));
            sources.extend(ended.is_none().then(|| (Source::Init, self.channel.as_fd())));
            let ready = wait_for_any(&sources, timeout)?;
            if ready.is_empty()
                && let Some(outcome) = ended
            {
                return Ok(outcome);
            }
            if ended.is_none()
                && let Some(watchdog) = &mut watchdog
            {
                watchdog.look()?;
            }
            let mut wrote = |length| watchdog.as_mut().map_or(Ok(()), |watchdog| watchdog.wrote(length));
            for source in ready {
                match source {
                    Source::Caller(number) => wrote(self.calls.answer(number, watch))?,
                    Source::Callers => self.calls.accept(),
                    Source::Output => {
                        let length = stdout.read(&mut buffer).map_err(process("read from"))?;
                        out_open = length > 0;
                        wrote(length)?;
                        watch(Activity::Output(&buffer[..length]));
                    }
                    Source::Complaint => {
                        let length = stderr.read(&mut buffer).map_err(process("read from"))?;
                        err_open = length > 0;
                        wrote(length)?;
                        watch(Activity::Complaint(&buffer[..length]));
                    }
                    Source::Init => match self.channel.receive::<Reply>().map_err(process("hear from"))? {
                        Some((Reply::Ended(outcome), _)) => ended = Some(outcome),
                        Some(_) | None => return Err(SandboxError::Gone),
                    },
                }
            }
        }
    }
}

/// A sandbox changes its root, and that needs a mount as the root.
fn refuse_odd_roots(mounts: &[mountinfo::Mount]) -> Result<(), SandboxError> {
    match mounts.iter().find(|mount| mount.point == Path::new("/")) {
        None => Err(SandboxError::Chroot),
        Some(root) if root.kind == "rootfs" => Err(SandboxError::InitialRoot),
        Some(_) => Ok(()),
    }
}

/// Where something can come from while a program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// Whoever wants to call.
    Callers,
    /// Somebody who called, by number.
    Caller(usize),
    Output,
    Complaint,
    Init,
}

/// Waits until a source has something to say, or has fallen silent for good; tells which, in the given order.
fn wait_for_any(
    sources: &[(Source, BorrowedFd<'_>)],
    timeout: PollTimeout,
) -> Result<Vec<Source>, SandboxError> {
    let mut polled: Vec<_> = sources.iter().map(|(_, fd)| PollFd::new(*fd, PollFlags::POLLIN)).collect();
    loop {
        match poll(&mut polled, timeout) {
            Ok(_) => break,
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(process("wait for")(errno.into())),
        }
    }
    let ready = sources.iter().zip(&polled).filter(|(_, poll)| poll.any().unwrap_or(false));
    Ok(ready.map(|((source, _), _)| *source).collect())
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        end(self.init);
    }
}

/// Ends a process inside whose sandbox never came to be.
struct Starting {
    init: Option<Pid>,
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(init) = self.init {
            end(init);
        }
    }
}

fn end(init: Pid) {
    // Init is our child and not yet waited for, so the number cannot be anybody else's.
    let _ = kill(init, Signal::SIGKILL);
    let _ = nix::sys::wait::waitpid(init, None);
}
