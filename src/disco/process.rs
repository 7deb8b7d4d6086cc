//! Programs of the host that the client starts and does not trust to end: a process group of their own, which ends with
//! the client, and can be waited for together with others until a deadline.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::disco::report::Usage;
use crate::disco::sandbox::{end_with_this_process, wait_for, watch_end};

/// A running program and whatever it starts. Dropped before its end was taken note of, the whole group is killed.
#[derive(Debug)]
pub(crate) struct Group {
    child: Option<Child>,
    pid: Pid,
    /// Readable once the program ended; pidfd_open(2).
    ended: OwnedFd,
    started: Instant,
}

impl Group {
    /// Starts a program in a group of its own.
    ///
    /// # Errors
    /// It could not be started; nothing is left running.
    pub(crate) fn start(command: &mut Command) -> io::Result<Self> {
        command.process_group(0);
        end_with_this_process(command);
        let started = Instant::now();
        let child = command.spawn()?;
        let pid = Pid::from_raw(child.id().cast_signed());
        match watch_end(&child) {
            Ok(ended) => Ok(Group { child: Some(child), pid, ended, started }),
            Err(error) => {
                end(pid, child);
                Err(error)
            }
        }
    }

    /// When it was started.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// As [`Group::finish`], for a program that must end in time.
    ///
    /// # Errors
    /// It did not, and was ended with whatever it started.
    pub(crate) fn finish_before(self, deadline: Instant) -> io::Result<Usage> {
        if wait_until(&[self.as_fd()], deadline)?.is_empty() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "it did not end in time"));
        }
        self.finish()
    }

    /// As [`Group::finish_before`], and ends whatever the program left behind.
    pub(crate) fn end_before(self, deadline: Instant) -> io::Result<Usage> {
        let leader = self.pid;
        if wait_until(&[self.as_fd()], deadline)?.is_empty() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "it did not end in time"));
        }
        // The leader ended and is not yet waited for, so the group's number is still its own.
        let _ = killpg(leader, Signal::SIGKILL);
        self.finish()
    }

    /// Takes note of the program's end, waiting for it if need be, and returns what it used. What it started and left
    /// behind lives on.
    pub(crate) fn finish(mut self) -> io::Result<Usage> {
        match self.child.take() {
            Some(child) => wait_for(child, self.started),
            None => Ok(Usage::default()),
        }
    }
}

/// Ends a group whose leader was not yet waited for, so nobody else's group can have its number.
fn end(leader: Pid, mut child: Child) {
    let _ = killpg(leader, Signal::SIGKILL);
    let _ = child.wait();
}

impl AsFd for Group {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ended.as_fd()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            end(self.pid, child);
        }
    }
}

/// What poll(2) may wait. A millisecond more than what is left, so that rounding never makes anybody spin.
pub(crate) fn time_until(deadline: Instant) -> PollTimeout {
    let left = deadline.saturating_duration_since(Instant::now());
    let left = i32::try_from(left.as_millis().saturating_add(1)).unwrap_or(i32::MAX);
    PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
}

/// Waits until one of these can be read, or the deadline passed; tells which, by position. None: the deadline passed.
pub(crate) fn wait_until(sources: &[BorrowedFd<'_>], deadline: Instant) -> io::Result<Vec<usize>> {
    let mut polled: Vec<_> = sources.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
    loop {
        match poll(&mut polled, time_until(deadline)) {
            Ok(_) => break,
            Err(Errno::EINTR) if Instant::now() < deadline => {}
            Err(Errno::EINTR) => return Ok(Vec::new()),
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(polled.iter().enumerate().filter(|(_, poll)| poll.any().unwrap_or(false)).map(|(at, _)| at).collect())
}
