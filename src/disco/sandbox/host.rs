//! The host itself, outside the client's own mount namespace: runs commands there, questions that a noop may ask and what a
//! live run deferred, and knows what is mounted there.
//!
//! What a command of the host starts in the client's namespace would stay in it. So each enters the one from which the
//! client came.

use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use caps::Capability;
use nix::sched::CloneFlags;

use crate::disco::process::{Group, wait_until};
use crate::disco::report::Usage;
use crate::disco::sandbox::child::enter_namespace;
use crate::disco::sandbox::mountinfo;
use crate::disco::sandbox::probe::Rights;

/// How long the host may take to answer a question.
const QUESTION: Duration = Duration::from_secs(10);

/// Most bytes of an answer, for each of the two streams: what a socket takes at once.
const LONGEST_ANSWER: usize = 64 << 10;

/// How long a deferred command may take; what a service manager allows a unit to start is far less.
const DEFERRED: Duration = Duration::from_secs(300);

/// Everything that a command of the host gets to see of the client's environment.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("HOME", "/root"),
    ("LANG", "C.UTF-8"),
    ("SYSTEMD_COLORS", "0"),
    ("SYSTEMD_PAGER", ""),
];

/// Number of a mount, its file system, what of it is shown, and where.
type Mounted = (u64, String, PathBuf, PathBuf);

/// The host as it was before the client entered a namespace of its own.
#[derive(Debug)]
pub struct Host {
    /// Without the rights of root the client is still there.
    mounts: Option<OwnedFd>,
    /// Whoever reads it learns what is mounted there, wherever he is (proc_pid_mountinfo(5)).
    table: File,
    /// What it said at first.
    seen: Rc<HashSet<Mounted>>,
}

/// What a command of the host answered.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) exit: i32,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

impl Host {
    /// Takes note of where this process is now.
    pub(crate) fn here() -> io::Result<Self> {
        let mounts = match Rights::own() {
            Rights::Root => Some(File::open("/proc/self/ns/mnt")?.into()),
            Rights::User => None,
        };
        let table = File::open("/proc/self/mountinfo")?;
        let seen = mounted(&table)?.into();
        Ok(Host { mounts, table, seen })
    }

    /// Where something was mounted or unmounted since this process took note of the host.
    pub(crate) fn remounted(&self) -> io::Result<BTreeSet<PathBuf>> {
        let now = mounted(&self.table)?;
        Ok(self.seen.symmetric_difference(&now).map(|(.., point)| point.clone()).collect())
    }

    /// The same host once more.
    pub(super) fn again(&self) -> io::Result<Self> {
        Ok(Host {
            mounts: self.mounts.as_ref().map(OwnedFd::try_clone).transpose()?,
            table: self.table.try_clone()?,
            seen: Rc::clone(&self.seen),
        })
    }

    /// Goes back there, to the same working directory.
    pub(super) fn enter(&self) -> io::Result<()> {
        let Some(mounts) = &self.mounts else { return Ok(()) };
        let directory = std::env::current_dir();
        nix::sched::setns(mounts, CloneFlags::CLONE_NEWNS)?;
        std::env::set_current_dir(directory?)
    }

    fn command(&self, program: &Path, directory: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().envs(ENVIRONMENT.iter().copied()).stdin(Stdio::null());
        match &self.mounts {
            Some(mounts) => enter_namespace(&mut command, mounts, directory),
            None => {
                command.current_dir(directory);
            }
        }
        command
    }

    /// Has a program answer a question. The caller has made sure that it is one.
    pub(super) fn ask(&self, program: &Path, arguments: &[String]) -> io::Result<Said> {
        let (mut stdout, out) = io::pipe()?;
        let (mut stderr, err) = io::pipe()?;
        let mut command = self.command(program, Path::new("/"));
        if self.mounts.is_some() {
            only_look(&mut command);
        }
        command.args(arguments).stdout(out).stderr(err);
        let group = Group::start(&mut command)?;
        // It holds the pipes' other ends.
        drop(command);
        let deadline = Instant::now() + QUESTION;
        let (mut said, mut complained) = (Vec::new(), Vec::new());
        let (mut out_open, mut err_open) = (true, true);
        while out_open || err_open {
            let ready = wait_until(&[stdout.as_fd(), stderr.as_fd(), group.as_fd()], deadline)?;
            if ready.is_empty() {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "it did not answer within 10 s"));
            }
            let (out_ready, err_ready) = (out_open && ready.contains(&0), err_open && ready.contains(&1));
            if out_ready {
                out_open = read_some(&mut stdout, &mut said)?;
            }
            if err_ready {
                err_open = read_some(&mut stderr, &mut complained)?;
            }
            // Something that it left behind may keep a pipe open for ever.
            if ready.contains(&2) && !out_ready && !err_ready {
                break;
            }
            if said.len() > LONGEST_ANSWER || complained.len() > LONGEST_ANSWER {
                return Err(io::Error::other("its answer is longer than 64 KiB"));
            }
        }
        let usage = group.end_before(deadline)?;
        Ok(Said { exit: usage.exit, stdout: said, stderr: complained })
    }

    /// Executes a deferred command and returns what it used and the beginning of what it wrote.
    ///
    /// # Errors
    /// It could not be started, or did not end in time and was ended.
    pub fn execute(
        &self,
        program: &Path,
        arguments: &[String],
        directory: &Path,
    ) -> io::Result<(Usage, String)> {
        // Not a pipe: a daemon that keeps it open must not wait for a reader that is gone.
        let mut output = File::from(memory_file()?);
        let mut command = self.command(program, directory);
        command.args(arguments).stdout(output.try_clone()?).stderr(output.try_clone()?);
        let usage = Group::start(&mut command)?.finish_before(Instant::now() + DEFERRED)?;
        let mut text = Vec::new();
        output.rewind()?;
        output.take(LONGEST_ANSWER as u64).read_to_end(&mut text)?;
        Ok((usage, String::from_utf8_lossy(&text).into_owned()))
    }
}

/// What a question may need: to see other users' files and processes, and for scripts of services to become their users.
const LOOKING: &[Capability] = &[
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_DAC_READ_SEARCH,
    Capability::CAP_KILL,
    Capability::CAP_SETGID,
    Capability::CAP_SETUID,
    Capability::CAP_SYS_PTRACE,
];

fn mounted(mut table: &File) -> io::Result<HashSet<Mounted>> {
    let mut text = Vec::new();
    table.rewind()?;
    table.read_to_end(&mut text)?;
    let mounts = mountinfo::parse(&text).into_iter();
    Ok(mounts.map(|mount| (mount.id, mount.device, mount.root, mount.point)).collect())
}

/// Takes from root what a question does not need: even a question for the state of a network can make the kernel load a
/// module of that name.
fn only_look(command: &mut Command) {
    let dropped: Vec<Capability> =
        caps::all().into_iter().filter(|capability| !LOOKING.contains(capability)).collect();
    // SAFETY: this process has one thread, so the child of the fork may do what it could do before.
    unsafe {
        command.pre_exec(move || {
            for capability in &dropped {
                // One that this kernel does not know cannot be dropped, and gives nothing.
                // SAFETY: a prctl with plain integers.
                libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability.index()));
            }
            Ok(())
        })
    };
}

/// A file without a name, in memory.
pub(super) fn memory_file() -> io::Result<OwnedFd> {
    Ok(rustix::fs::memfd_create("deferred", rustix::fs::MemfdFlags::CLOEXEC)?)
}

/// Reads what is there; whether there may be more.
fn read_some(pipe: &mut io::PipeReader, into: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = [0; 8192];
    let length = pipe.read(&mut buffer)?;
    into.extend_from_slice(&buffer[..length]);
    Ok(length > 0)
}

/// Where a deferred command is executed: where it was called, if that is a directory of the host.
pub(crate) fn directory_of(called_in: &str) -> PathBuf {
    let directory = PathBuf::from(called_in);
    if directory.is_absolute() && directory.is_dir() { directory } else { PathBuf::from("/") }
}
