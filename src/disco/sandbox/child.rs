//! The process inside: enters its namespaces, puts the sandbox together and executes programs one at a time.
//!
//! The only file that forks. The client has no threads, so the child may do whatever it could do. It never returns:
//! when the client's end of the channel closes, or the client dies, it ends, and in noop everything inside with it.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::disco::Mode;
use crate::disco::report::Usage;
use crate::disco::sandbox::channel::{Channel, Program, Reply, Request};
use crate::disco::sandbox::confine::Confinement;
use crate::disco::sandbox::plan::{MountPlan, RunDirs};
use crate::disco::sandbox::{calls, mount};

/// Everything the child needs to know; it gets a copy of the client's memory.
pub(super) struct Blueprint<'a> {
    pub(super) mode: Mode,
    pub(super) plan: &'a MountPlan,
    pub(super) dirs: &'a RunDirs,
    /// This program: it stands in for commands that are held back, and is the original's commands. A path of the host.
    pub(super) client: &'a Path,
}

/// Starts the process inside and returns its pid; it speaks first, see [`Reply::Ready`].
pub(super) fn start(blueprint: &Blueprint, inner: Channel) -> io::Result<Pid> {
    let namespaces = match blueprint.mode {
        Mode::Noop => {
            libc::CLONE_NEWNS
                | libc::CLONE_NEWPID
                | libc::CLONE_NEWIPC
                | libc::CLONE_NEWUTS
                | libc::CLONE_NEWNET
                | libc::CLONE_NEWCGROUP
        }
        Mode::Live => libc::CLONE_NEWNS,
    };
    let client = std::process::id();
    // SAFETY: without CLONE_VM this is fork into new namespaces: the child runs on a copy of the stack, and since the
    // process has one thread, no lock can be held by a thread that the copy lacks.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone,
            (namespaces | libc::SIGCHLD) as libc::c_ulong,
            0usize,
            0usize,
            0usize,
            0usize,
        )
    };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let code = live_inside(blueprint, &inner, client);
            // SAFETY: `_exit` ends the copy without running what the client registered for its own end.
            unsafe { libc::_exit(code) }
        }
        pid => Ok(Pid::from_raw(pid as libc::pid_t)),
    }
}

fn live_inside(blueprint: &Blueprint, channel: &Channel, client: u32) -> libc::c_int {
    let ready = set_up(blueprint, client);
    match ready {
        Ok(inside) => {
            if channel.send(&Reply::Ready, &[inside.calls.as_raw_fd()]).is_err() {
                return 1;
            }
            // The client's alone from here on: if it goes, callers are to notice.
            drop(inside.calls);
            serve(blueprint.mode, channel, inside.confinement.as_ref())
        }
        Err(why) => {
            // If even this cannot be said, the closed channel says it.
            let _ = channel.send(&Reply::SetUpFailed(why.to_string()), &[]);
            1
        }
    }
}

struct Inside {
    calls: OwnedFd,
    confinement: Option<Arc<Confinement>>,
}

fn set_up(blueprint: &Blueprint, client: u32) -> Result<Inside, Box<dyn std::error::Error>> {
    die_with_parent()?;
    if blueprint.mode == Mode::Live && nix::unistd::getppid().as_raw() as u32 != client {
        return Err("the client is gone".into());
    }
    nix::unistd::setsid()?;
    mount::make_private()?;
    mount::enter(blueprint.mode, blueprint.plan, blueprint.dirs, blueprint.client)?;
    if blueprint.mode == Mode::Noop && mount::can_be_climbed_out_of()? {
        return Err("this process runs in a chroot, out of which a script could climb".into());
    }
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    let calls = calls::listen_inside()?;
    mount::seal_runtime()?;
    let confinement = match blueprint.mode {
        Mode::Noop => {
            bring_up_loopback()?;
            Some(Arc::new(Confinement::compile()?))
        }
        Mode::Live => {
            inherit_orphans()?;
            None
        }
    };
    Ok(Inside { calls, confinement })
}

/// Asks the kernel to kill this process when its parent ends.
fn die_with_parent() -> io::Result<()> {
    // SAFETY: a prctl with plain integers.
    match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Has a program of the host end with this process, however that ends.
pub(crate) fn end_with_this_process(command: &mut Command) {
    // SAFETY: this process has one thread, so the child of the fork may do what it could do before.
    unsafe { command.pre_exec(die_with_parent) };
}

/// Has a program be executed in another mount namespace, with a working directory there.
///
/// The namespace must stay open until the program was started.
pub(super) fn enter_namespace(command: &mut Command, namespace: &OwnedFd, directory: &Path) {
    let namespace = namespace.as_raw_fd();
    let directory = directory.to_owned();
    // SAFETY: this process has one thread, so the child of the fork may do what it could do before.
    unsafe {
        command.pre_exec(move || {
            // SAFETY: plain integers; the descriptor is open, see above.
            if libc::setns(namespace, libc::CLONE_NEWNS) == -1 {
                return Err(io::Error::last_os_error());
            }
            Ok(nix::unistd::chdir(&directory)?)
        })
    };
}

/// Makes this process the parent of every orphan below it, as the first one of a pid namespace is by itself: so nothing
/// that a script leaves running is lost sight of.
fn inherit_orphans() -> io::Result<()> {
    // SAFETY: a prctl with plain integers.
    match unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Lets no other descriptor survive the exec that follows: whoever started the client may have left some open, and each
/// is a way out of the sandbox.
fn keep_only_standard_streams() -> io::Result<()> {
    // SAFETY: marks descriptors, and closes none that is in use before the exec.
    if unsafe { libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC as libc::c_int) } == 0 {
        return Ok(());
    }
    // Kernels before 5.11 do not know the call or its flag.
    let open: Vec<libc::c_int> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&descriptor| descriptor > 2)
        .collect();
    for descriptor in open {
        // SAFETY: plain integers; the one that listed the directory is closed already, which is no harm.
        unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(())
}

/// A new network namespace has its loopback device down; scripts may talk to themselves.
fn bring_up_loopback() -> io::Result<()> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?;
    // SAFETY: all zeroes is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (at, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *at = *byte as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one ifreq.
    match unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn serve(mode: Mode, channel: &Channel, confinement: Option<&Arc<Confinement>>) -> libc::c_int {
    loop {
        match channel.receive::<Request>() {
            Ok(Some((Request::Run(program), descriptors))) => {
                let outcome = execute(&program, descriptors, confinement).map_err(|why| why.to_string());
                end_what_is_left(mode);
                if channel.send(&Reply::Ended(outcome), &[]).is_err() {
                    return 1;
                }
            }
            Ok(None) => return 0,
            Err(_) => return 1,
        }
    }
}

fn execute(
    program: &Program,
    descriptors: Vec<OwnedFd>,
    confinement: Option<&Arc<Confinement>>,
) -> io::Result<Usage> {
    let [stdout, stderr]: [OwnedFd; 2] = descriptors.try_into().map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidInput, "a program needs an output and an error stream")
    })?;
    let (path, arguments) = program.argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(path);
    command
        .args(arguments)
        .env_clear()
        .envs(program.environment.iter().map(|(name, value)| (name, value)))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(File::from(stdout))
        .stderr(File::from(stderr));
    let confinement = confinement.cloned();
    // SAFETY: this process has one thread, so the child of the fork may do what it could do before.
    unsafe {
        command.pre_exec(move || {
            nix::unistd::setsid()?;
            die_with_parent()?;
            keep_only_standard_streams()?;
            confinement.as_deref().map_or(Ok(()), Confinement::apply)
        })
    };
    let started = Instant::now();
    let child = command.spawn()?;
    // It holds the pipes' other ends, whose readers wait for the last one to be closed.
    drop(command);
    wait_among_orphans(child, started)
}

/// A descriptor that can be read once a child ended; pidfd_open(2).
pub(crate) fn watch_end(child: &Child) -> io::Result<OwnedFd> {
    // SAFETY: plain integers. The child is not yet waited for, so the number is its own.
    let opened = unsafe { libc::syscall(libc::SYS_pidfd_open, child.id() as libc::pid_t, 0) };
    match opened {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: the kernel just made this descriptor for this process.
        descriptor => Ok(unsafe { OwnedFd::from_raw_fd(descriptor as libc::c_int) }),
    }
}

/// Waits for a child and returns what it used, its waited-for children included (wait4(2)).
pub(crate) fn wait_for(child: Child, started: Instant) -> io::Result<Usage> {
    // `child` goes with this function, so nobody waits for the number again.
    let pid = child.id() as libc::pid_t;
    wait4(pid).map(|(_, status, used)| Usage::of(started.elapsed(), status, &used))
}

/// The same for the first process of a namespace, which inherits every orphan: somebody has to take note of their end,
/// or a script that stops a daemon of its own would wait for it for ever.
fn wait_among_orphans(child: Child, started: Instant) -> io::Result<Usage> {
    let pid = child.id() as libc::pid_t;
    loop {
        match wait4(-1)? {
            (ended, status, used) if ended == pid => return Ok(Usage::of(started.elapsed(), status, &used)),
            _ => {}
        }
    }
}

fn wait4(pid: libc::pid_t) -> io::Result<(libc::pid_t, libc::c_int, libc::rusage)> {
    let mut status = 0;
    // SAFETY: all zeroes is a valid rusage.
    let mut used: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both pointers lead to live, writable values of the right types.
        match unsafe { libc::wait4(pid, &mut status, 0, &mut used) } {
            -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            -1 => return Err(io::Error::last_os_error()),
            ended => return Ok((ended, status, used)),
        }
    }
}

/// Ends what a program left running. In noop that is everything but init itself, which the kernel spares.
fn end_what_is_left(mode: Mode) {
    // Signalling everybody is right only for the first process of a pid namespace.
    if mode == Mode::Noop && std::process::id() == 1 {
        // ESRCH says that nothing was left.
        let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
        while nix::sys::wait::wait().is_ok() {}
    }
}
