//! Terminals: a new one inside the sandbox, and the caller's own while it types into that.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use crate::disco::sandbox::{SandboxError, process};

/// Number of `/dev/ptmx` and of `ptmx` in every devpts, on any Linux.
const PTMX: (u32, u32) = (5, 2);

/// Makes a terminal in the devpts of the sandbox whose root this is: the client's end, and the programs'.
pub(super) fn open_inside(root: BorrowedFd<'_>) -> io::Result<(File, OwnedFd)> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let beneath = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    let master = rustix::fs::openat2(root, "dev/pts/ptmx", flags, Mode::empty(), beneath)?;
    let device = rustix::fs::fstat(&master)?.st_rdev;
    if (rustix::fs::major(device), rustix::fs::minor(device)) != PTMX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "/dev/pts/ptmx is something else"));
    }
    let unlocked: libc::c_int = 0;
    // SAFETY: reads one int; ioctl_tty(2), TIOCSPTLCK.
    if unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &unlocked) } == -1 {
        return Err(io::Error::last_os_error());
    }
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: takes flags and returns a descriptor; ioctl_tty(2), TIOCGPTPEER.
    let inner = match unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) } {
        -1 => return Err(io::Error::last_os_error()),
        // SAFETY: the kernel just made this descriptor for this process.
        descriptor => unsafe { OwnedFd::from_raw_fd(descriptor) },
    };
    Ok((File::from(master), inner))
}

/// Makes standard input the controlling terminal of the calling process, which leads a session. Runs after a fork.
pub(super) fn control() -> io::Result<()> {
    // SAFETY: plain integers; async-signal-safe.
    match unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// The caller's terminal while every key goes elsewhere. Dropping it puts everything back.
pub(super) struct Caller<'a> {
    descriptor: BorrowedFd<'a>,
    before: Termios,
    signals: SignalFd,
    mask_before: SigSet,
}

impl<'a> Caller<'a> {
    /// Hands every key on as it is, and gives the other terminal this one's size.
    pub(super) fn take(descriptor: BorrowedFd<'a>, master: &File) -> io::Result<Self> {
        let before = tcgetattr(descriptor)?;
        let mut wanted = SigSet::empty();
        for signal in [Signal::SIGWINCH, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
            wanted.add(signal);
        }
        let signals = SignalFd::with_flags(&wanted, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let mask_before = SigSet::thread_get_mask()?;
        wanted.thread_block()?;
        // From here on the guard puts back what was changed.
        let caller = Caller { descriptor, before, signals, mask_before };
        let mut raw = caller.before.clone();
        raw.make_raw();
        tcsetattr(descriptor, OptionalActions::Drain, &raw)?;
        caller.pass_on_size(master)?;
        Ok(caller)
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'a> {
        self.descriptor
    }

    pub(super) fn signals(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }

    /// Does what signals ask for: another size, or an end.
    pub(super) fn obey(&self, master: &File) -> Result<(), SandboxError> {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            if signal.ssi_signo == Signal::SIGWINCH as u32 {
                self.pass_on_size(master).map_err(process("size the terminal of"))?;
            } else {
                return Err(SandboxError::Interrupted);
            }
        }
        Ok(())
    }

    fn pass_on_size(&self, master: &File) -> io::Result<()> {
        Ok(tcsetwinsize(master, tcgetwinsize(self.descriptor)?)?)
    }
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.descriptor, OptionalActions::Drain, &self.before);
        let _ = self.mask_before.thread_set_mask();
    }
}
