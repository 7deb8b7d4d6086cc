//! The process inside: enters its namespaces, puts the sandbox together and executes programs one at a time.
//!
//! The only file that forks. The client has no threads, so the child may do whatever it could do. It never returns:
//! when the client's end of the channel closes, or the client dies, it ends, and everything inside with it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::CloneFlags;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use crate::disco::Mode;
use crate::disco::report::Usage;
use crate::disco::sandbox::channel::{Channel, NotStarted, Program, Reply, Request};
use crate::disco::sandbox::confine::Confinement;
use crate::disco::sandbox::plan::{MountPlan, RunDirs};
use crate::disco::sandbox::probe::Rights;
use crate::disco::sandbox::{calls, mount, terminal, watchdog};

/// Everything the child needs to know; it gets a copy of the client's memory.
pub(super) struct Blueprint<'a> {
    pub(super) mode: Mode,
    pub(super) rights: Rights,
    pub(super) plan: &'a MountPlan,
    pub(super) dirs: &'a RunDirs,
    /// This program: it stands in for commands that are held back, and is the original's commands. A path of the host.
    pub(super) client: &'a Path,
    /// How to stay without the client; none: the sandbox ends with it.
    pub(super) stay: Option<Stay<'a>>,
}

/// What a sandbox needs that stands until it is taken down.
pub(super) struct Stay<'a> {
    /// Where others come to it; bound, not yet listening.
    pub(super) listener: &'a OwnedFd,
    /// Its scratch directory.
    pub(super) scratch: &'a OwnedFd,
    /// Paths of the commands whose calls are judged by whoever is its client.
    pub(super) shadows: &'a [PathBuf],
}

/// Starts the process inside and returns its pid; it speaks first, see [`Reply::Ready`]. `outer` is the other end of
/// `inner`, where this process has it.
pub(super) fn start(blueprint: &Blueprint, inner: &Channel, outer: Option<&Channel>) -> io::Result<Pid> {
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
    let namespaces = match blueprint.rights {
        Rights::Root => namespaces,
        // Made before the others, which then belong to it.
        Rights::User => namespaces | libc::CLONE_NEWUSER,
    };
    let ids = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
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
            if let Some(outer) = outer {
                // With a copy of it, the child would never see that the client closed its end.
                // SAFETY: the copy of the client's memory, where it has an owner, is never used for it, nor dropped.
                unsafe { libc::close(outer.as_fd().as_raw_fd()) };
            }
            let code = live_inside(blueprint, inner, ids);
            // SAFETY: `_exit` ends the copy without running what the client registered for its own end.
            unsafe { libc::_exit(code) }
        }
        pid => Ok(Pid::from_raw(pid as libc::pid_t)),
    }
}

fn live_inside(blueprint: &Blueprint, channel: &Channel, ids: (u32, u32)) -> libc::c_int {
    let ready = set_up(blueprint, ids);
    match ready {
        Ok(inside) => {
            if let Some(stay) = &blueprint.stay {
                return stand(blueprint, stay, channel, &inside).unwrap_or(1);
            }
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

fn set_up(blueprint: &Blueprint, ids: (u32, u32)) -> Result<Inside, Box<dyn std::error::Error>> {
    if blueprint.rights == Rights::User {
        become_root_inside(ids)?;
    }
    // In noop everything inside ends with this process. In a live run it has to end the others itself, see `serve`.
    if blueprint.stay.is_none() && blueprint.mode == Mode::Noop {
        die_with_parent()?;
    }
    nix::unistd::setsid()?;
    mount::make_private()?;
    mount::enter(blueprint.mode, blueprint.rights, blueprint.plan, blueprint.dirs, blueprint.client)?;
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

/// Makes the caller's user and group those of root in the user namespace of this process; no other id exists there.
fn become_root_inside((user, group): (u32, u32)) -> io::Result<()> {
    // Without it a process could leave groups that keep it from files.
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("0 {group} 1"))
}

/// Becomes root in a user namespace for a moment, as far as a sandbox needs it.
pub(super) fn try_user_namespace() -> io::Result<()> {
    let ids = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    // SAFETY: this process has one thread, so the copy may do what it could do before.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let tried = nix::sched::unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)
                .map_err(io::Error::from)
                .and_then(|()| become_root_inside(ids))
                // Where something confines users, they get a namespace without any right in it.
                .and_then(|()| mount::make_private().map_err(io::Error::from));
            let code = tried.map_or_else(|error| error.raw_os_error().unwrap_or(libc::EIO), |()| 0);
            // SAFETY: ends the copy without running what the original registered for its own end.
            unsafe { libc::_exit(code) }
        }
        copy => match nix::sys::wait::waitpid(Pid::from_raw(copy), None)? {
            WaitStatus::Exited(_, 0) => Ok(()),
            WaitStatus::Exited(_, errno) => Err(io::Error::from_raw_os_error(errno)),
            _ => Err(io::ErrorKind::Interrupted.into()),
        },
    }
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
    // By its number: C libraries before 2.34 have no function of this name.
    // SAFETY: marks descriptors, and closes none that is in use before the exec.
    if unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) } == 0 {
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

/// Executes programs for the client until it lets go of the sandbox or dies. Nothing that they started survives that.
fn serve(mode: Mode, channel: &Channel, confinement: Option<&Arc<Confinement>>) -> libc::c_int {
    let Ok(ends) = EndsOfChildren::watched() else { return 1 };
    while let Ok(Some((Request::Run { terminal }, descriptors))) = channel.receive::<Request>() {
        let outcome = match spawn(terminal, descriptors, confinement) {
            Ok((child, started)) => match ends.of(&child, started, channel) {
                Ok(Some(usage)) => Ok(usage),
                Ok(None) => {
                    // A program that goes on without the client would change the host behind its back.
                    watchdog::end_all(Pid::this());
                    return 1;
                }
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        end_what_is_left(mode);
        if channel.send(&Reply::Ended(outcome.map_err(NotStarted::from)), &[]).is_err() {
            return 1;
        }
    }
    0
}

/// Starts the program that came, with the streams that came with it.
fn spawn(
    terminal: bool,
    mut descriptors: Vec<OwnedFd>,
    confinement: Option<&Arc<Confinement>>,
) -> io::Result<(Child, Instant)> {
    let stdin = match descriptors.len() {
        4 => Stdio::from(descriptors.remove(1)),
        _ => Stdio::null(),
    };
    let [program, stdout, stderr]: [OwnedFd; 3] = descriptors.try_into().map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidInput, "a program needs an output and an error stream")
    })?;
    let program = Program::from_memory(File::from(program))?;
    let (path, arguments) = program.argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(path);
    command
        .args(arguments)
        .env_clear()
        .envs(program.environment.iter().map(|(name, value)| (name, value)))
        .current_dir(&program.directory)
        .stdin(stdin)
        .stdout(File::from(stdout))
        .stderr(File::from(stderr));
    let confinement = confinement.cloned();
    // SAFETY: this process has one thread, so the child of the fork may do what it could do before.
    unsafe {
        command.pre_exec(move || {
            nix::unistd::setsid()?;
            if terminal {
                terminal::control()?;
            }
            die_with_parent()?;
            keep_only_standard_streams()?;
            confinement.as_deref().map_or(Ok(()), Confinement::apply)
        })
    };
    let started = Instant::now();
    // The command holds the pipes' other ends, whose readers wait for the last one to be closed; it ends here.
    Ok((command.spawn()?, started))
}

/// Stays without the client: serves whoever connects, each by a process of its own, until it is killed.
fn stand(blueprint: &Blueprint, stay: &Stay, client: &Channel, inside: &Inside) -> io::Result<libc::c_int> {
    let root = File::open("/")?;
    // The peer's credentials are those of whoever listens: by them the process is found that is to be ended.
    nix::sys::socket::listen(stay.listener, nix::sys::socket::Backlog::new(16)?)?;
    // Nobody here waits for the processes that serve, nor for the orphans that the first process inherits.
    end_of_children(libc::SIG_IGN);
    client.send(&Reply::Ready, &[])?;
    let layers = blueprint.plan.layers().map(|layer| {
        let below = layer.dir.strip_prefix(&blueprint.dirs.scratch).unwrap_or(&layer.dir);
        (layer.at.clone(), below.to_owned())
    });
    let greeting = Reply::Standing {
        layers: layers.collect(),
        shadows: stay.shadows.to_vec(),
        notes: blueprint.plan.notes.clone(),
    };
    let descriptors = [root.as_raw_fd(), stay.scratch.as_raw_fd(), inside.calls.as_raw_fd()];
    let own_user = nix::unistd::geteuid().as_raw();
    loop {
        let connected =
            nix::sys::socket::accept4(stay.listener.as_raw_fd(), nix::sys::socket::SockFlag::SOCK_CLOEXEC);
        let connected = match connected {
            // SAFETY: the kernel just made this descriptor for this process.
            Ok(descriptor) => unsafe { OwnedFd::from_raw_fd(descriptor) },
            Err(nix::errno::Errno::EINTR | nix::errno::Errno::ECONNABORTED) => continue,
            Err(errno) => return Err(errno.into()),
        };
        let peer = nix::sys::socket::getsockopt(&connected, nix::sys::socket::sockopt::PeerCredentials)?;
        if peer.uid() != own_user {
            continue;
        }
        // SAFETY: this process has one thread, so the copy may do what it could do before.
        if unsafe { libc::fork() } == 0 {
            end_of_children(libc::SIG_DFL);
            let channel = Channel::over(connected);
            let served = die_with_parent()
                .and_then(|()| channel.send(&greeting, &descriptors))
                .map(|()| serve_a_guest(&channel, inside.confinement.as_ref()));
            // SAFETY: ends the copy without running what the original registered for its own end.
            unsafe { libc::_exit(served.unwrap_or(1)) }
        }
    }
}

/// What the kernel does about children that end: keeps them to be waited for, or forgets them.
fn end_of_children(action: libc::sighandler_t) {
    // SAFETY: sets one of the two predefined actions.
    unsafe { libc::signal(libc::SIGCHLD, action) };
}

/// Executes programs for a client of a standing sandbox. What they leave running stays; a client that goes away takes
/// its running program along.
fn serve_a_guest(channel: &Channel, confinement: Option<&Arc<Confinement>>) -> libc::c_int {
    while let Ok(Some((Request::Run { terminal }, descriptors))) = channel.receive::<Request>() {
        let outcome = match spawn(terminal, descriptors, confinement) {
            Ok((child, started)) => match ended_before_the_client(channel, &child) {
                Ok(true) => wait_for(child, started),
                Ok(false) => {
                    // It leads the group in which its own programs are, unless they chose another.
                    let _ = kill(Pid::from_raw(-(child.id() as libc::pid_t)), Signal::SIGKILL);
                    return 1;
                }
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        if channel.send(&Reply::Ended(outcome.map_err(NotStarted::from)), &[]).is_err() {
            return 1;
        }
    }
    0
}

/// Waits until a program ended, or the client went away.
fn ended_before_the_client(channel: &Channel, child: &Child) -> io::Result<bool> {
    let end = watch_end(child)?;
    let mut polled =
        [PollFd::new(end.as_fd(), PollFlags::POLLIN), PollFd::new(channel.as_fd(), PollFlags::empty())];
    loop {
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) => return Ok(polled[0].any().unwrap_or(false)),
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// A descriptor that can be read once a process ended; pidfd_open(2).
pub(super) fn pidfd(process: libc::pid_t) -> io::Result<OwnedFd> {
    // SAFETY: plain integers.
    match unsafe { libc::syscall(libc::SYS_pidfd_open, process, 0) } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: the kernel just made this descriptor for this process.
        descriptor => Ok(unsafe { OwnedFd::from_raw_fd(descriptor as libc::c_int) }),
    }
}

/// Kills the process of a descriptor; pidfd_send_signal(2).
pub(super) fn kill_by(process: &OwnedFd) -> io::Result<()> {
    // SAFETY: plain integers and no information beside the signal.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            process.as_raw_fd(),
            libc::SIGKILL,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if sent == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Does something in a copy of this process that has a session of its own, none of the caller's streams, and no
/// descriptors but `kept`; waits until the copy ended, not for what it started.
pub(super) fn detached(kept: &[RawFd], doing: impl FnOnce()) -> io::Result<()> {
    // SAFETY: this process has one thread, so the copy may do what it could do before.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            if let Ok(()) = let_go_of_the_caller(kept) {
                doing();
            }
            // SAFETY: ends the copy without running what the client registered for its own end.
            unsafe { libc::_exit(0) }
        }
        copy => {
            nix::sys::wait::waitpid(Pid::from_raw(copy), None)?;
            Ok(())
        }
    }
}

fn let_go_of_the_caller(kept: &[RawFd]) -> io::Result<()> {
    nix::unistd::setsid()?;
    nix::unistd::chdir("/")?;
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    for stream in 0..=2 {
        // SAFETY: plain integers; the standard streams are never owned.
        if unsafe { libc::dup2(null.as_raw_fd(), stream) } == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    let open: Vec<RawFd> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|descriptor| *descriptor > 2 && !kept.contains(descriptor))
        .filter(|descriptor| *descriptor != null.as_raw_fd())
        .collect();
    for descriptor in open {
        // SAFETY: this copy never drops what it inherited: it ends by `_exit`.
        unsafe { libc::close(descriptor) };
    }
    Ok(())
}

/// A descriptor that can be read once a child ended.
pub(crate) fn watch_end(child: &Child) -> io::Result<OwnedFd> {
    // The child is not yet waited for, so the number is its own.
    pidfd(child.id() as libc::pid_t)
}

/// Waits for a child and returns what it used, its waited-for children included (wait4(2)).
pub(crate) fn wait_for(child: Child, started: Instant) -> io::Result<Usage> {
    // `child` goes with this function, so nobody waits for the number again.
    let pid = child.id() as libc::pid_t;
    let (_, status, used) = wait4(pid, 0)?.ok_or(io::ErrorKind::NotFound)?;
    Ok(Usage::of(started.elapsed(), status, &used))
}

/// Tells the first process of a sandbox, which inherits every orphan, that children ended: somebody has to take note of
/// that, or a script that stops a daemon of its own would wait for it for ever.
struct EndsOfChildren(SignalFd);

impl EndsOfChildren {
    /// From now on. Programs start without signals held back.
    fn watched() -> io::Result<Self> {
        let mut ends = SigSet::empty();
        ends.add(Signal::SIGCHLD);
        ends.thread_block()?;
        Ok(EndsOfChildren(SignalFd::with_flags(&ends, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?))
    }

    /// Waits for a child and returns what it used; nothing where the client goes away before that.
    fn of(&self, child: &Child, started: Instant, client: &Channel) -> io::Result<Option<Usage>> {
        let pid = child.id() as libc::pid_t;
        let mut polled =
            [PollFd::new(self.0.as_fd(), PollFlags::POLLIN), PollFd::new(client.as_fd(), PollFlags::empty())];
        loop {
            match poll(&mut polled, PollTimeout::NONE) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            // Several ends may have come as one signal.
            while self.0.read_signal()?.is_some() {}
            while let Some((ended, status, used)) = wait4(-1, libc::WNOHANG)? {
                if ended == pid {
                    return Ok(Some(Usage::of(started.elapsed(), status, &used)));
                }
            }
            if polled[1].any().unwrap_or(false) {
                return Ok(None);
            }
        }
    }
}

/// Waits for a child, or any for -1; none if none ended yet and `options` say not to wait.
fn wait4(
    child: libc::pid_t,
    options: libc::c_int,
) -> io::Result<Option<(libc::pid_t, libc::c_int, libc::rusage)>> {
    let mut status = 0;
    // SAFETY: all zeroes is a valid rusage.
    let mut used: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both pointers lead to live, writable values of the right types.
        match unsafe { libc::wait4(child, &mut status, options, &mut used) } {
            -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            -1 => return Err(io::Error::last_os_error()),
            0 => return Ok(None),
            ended => return Ok(Some((ended, status, used))),
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
