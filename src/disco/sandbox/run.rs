//! Runs a program inside, and carries what goes in and out of it: the client's side.
//!
//! A program gets pipes, or a new terminal of the sandbox's own; never a descriptor of the caller.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::disco::Mode;
use crate::disco::process::time_until;
use crate::disco::report::Usage;
use crate::disco::sandbox::channel::{NotStarted, Program, Reply, Request};
use crate::disco::sandbox::plan::Layer;
use crate::disco::sandbox::terminal::{self, Caller};
use crate::disco::sandbox::watchdog::{self, Watchdog};
use crate::disco::sandbox::{Activity, Keeper, OutputUse, Sandbox, SandboxError, process, shadow};

/// Most that waits to be written to a program that does not read.
const FEED: usize = 64 * 1024;

/// How long the sandbox may take to notice that a program was ended.
const END_OF_A_STEP: Duration = Duration::from_secs(10);

impl Sandbox {
    /// Runs a program inside and waits for its end; `watch` hears of everything it does, in order. Its standard input is
    /// empty.
    ///
    /// Whatever the program left running is ended with it, and in a live run that is an error.
    ///
    /// # Errors
    /// The program could not be started, took more than it may, or left something running; or the sandbox is gone.
    pub fn run(
        &mut self,
        program: &Program,
        output: OutputUse,
        watch: &mut dyn FnMut(Activity<'_>),
    ) -> Result<Usage, SandboxError> {
        self.run_with_pipes(program, output, None, watch)
    }

    /// The same with what can be read from `input` as its standard input.
    ///
    /// # Errors
    /// As [`Sandbox::run`].
    pub fn run_fed(
        &mut self,
        program: &Program,
        input: BorrowedFd<'_>,
        watch: &mut dyn FnMut(Activity<'_>),
    ) -> Result<Usage, SandboxError> {
        self.run_with_pipes(program, OutputUse::Shown, Some(input), watch)
    }

    /// The same on a new terminal of the sandbox's own. What is typed on the caller's terminal goes there, key by key,
    /// and its size follows. The caller's terminal is as it was when this returns.
    ///
    /// # Errors
    /// As [`Sandbox::run`]; the terminal cannot be made; or a signal asked this process to end.
    pub fn run_on_terminal(
        &mut self,
        program: &Program,
        caller: BorrowedFd<'_>,
        watch: &mut dyn FnMut(Activity<'_>),
    ) -> Result<Usage, SandboxError> {
        let unusable = process("make a terminal in");
        let (master, inner) = terminal::open_inside(self.root()).map_err(&unusable)?;
        let caller = Caller::take(caller, &master).map_err(&unusable)?;
        let written = with_output(self.told(program), inner.as_fd()).and_then(|program| program.in_memory());
        let written = written.map_err(&unusable)?;
        let passed = [written.as_raw_fd(), inner.as_raw_fd(), inner.as_raw_fd(), inner.as_raw_fd()];
        self.channel.send(&Request::Run { terminal: true }, &passed).map_err(process("speak to"))?;
        drop(inner);
        let to = master.try_clone().map_err(&unusable)?;
        let relay = Relay {
            output: Some(master),
            complaint: None,
            feed: Some(Feed::new(caller.descriptor(), to).map_err(&unusable)?),
            caller: Some(&caller),
        };
        self.see_to_its_end(relay, program, watch)
    }

    /// The program, told what it cannot see: a live run has the service manager within reach, although the root directory
    /// is another one than its (systemd's ENVIRONMENT.md).
    fn told(&self, program: &Program) -> Program {
        let mut program = program.clone();
        if self.mode == Mode::Live {
            program.environment.push(("SYSTEMD_IGNORE_CHROOT".into(), "1".into()));
        }
        program
    }

    fn run_with_pipes(
        &mut self,
        program: &Program,
        output: OutputUse,
        input: Option<BorrowedFd<'_>>,
        watch: &mut dyn FnMut(Activity<'_>),
    ) -> Result<Usage, SandboxError> {
        let failed = process("make a pipe to");
        let (out_reader, out_writer) = io::pipe().map_err(&failed)?;
        let (err_reader, err_writer) = io::pipe().map_err(&failed)?;
        // A program may read its own output: what was there when the wait ended need not be there any more.
        for reader in [&out_reader, &err_reader] {
            rustix::io::ioctl_fionbio(reader, true).map_err(|errno| failed(errno.into()))?;
        }
        let program = &self.told(program);
        let written = match output {
            OutputUse::Shown => {
                with_output(program.clone(), out_writer.as_fd()).and_then(|told| told.in_memory())
            }
            OutputUse::Captured => program.in_memory(),
        };
        let written = written.map_err(process("pass a program to"))?;
        let mut passed = vec![written.as_raw_fd(), out_writer.as_raw_fd(), err_writer.as_raw_fd()];
        let (mut feed, mut in_reader) = (None, None);
        if let Some(input) = input {
            let (reader, writer) = io::pipe().map_err(&failed)?;
            passed.insert(1, reader.as_raw_fd());
            in_reader = Some(reader);
            feed = Some(Feed::new(input, OwnedFd::from(writer).into()).map_err(&failed)?);
        }
        self.channel.send(&Request::Run { terminal: false }, &passed).map_err(process("speak to"))?;
        drop((out_writer, err_writer, in_reader));
        let relay = Relay {
            output: Some(OwnedFd::from(out_reader).into()),
            complaint: Some(OwnedFd::from(err_reader).into()),
            feed,
            caller: None,
        };
        self.see_to_its_end(relay, program, watch)
    }

    /// Carries the streams of a running program, watches over it, and clears up behind it.
    fn see_to_its_end(
        &mut self,
        relay: Relay<'_>,
        program: &Program,
        watch: &mut dyn FnMut(Activity<'_>),
    ) -> Result<Usage, SandboxError> {
        let own = match &self.keeper {
            Keeper::This { init, scratch } => Some((init.0, scratch.path().to_owned())),
            // Others may be at work in it, and it is not ours to clear up.
            Keeper::Nobody { .. } => None,
        };
        let limits = self.limits.clone();
        let mut watchdog = own.as_ref().zip(limits.as_ref()).map(|((init, scratch), limits)| {
            let uppers = self.plan.layers().map(Layer::upper).collect();
            Watchdog::start(*init, limits, scratch, uppers, &self.root_path())
        });
        let outcome = match (self.relay(relay, watchdog.as_mut(), watch), &own) {
            (Err(error @ SandboxError::OverLimit(_)), Some((init, _))) => {
                watchdog::end_all(*init);
                self.hear_of_the_end()?;
                return Err(error);
            }
            (relayed, _) => relayed?,
        };
        // In noop, the sandbox ended them itself.
        if let (Mode::Live, Some((init, _))) = (self.mode, own) {
            let left = watchdog::left_behind(init);
            if !left.is_empty() {
                watchdog::end_all(init);
                return Err(SandboxError::LeftBehind(left));
            }
        }
        outcome.map_err(|NotStarted { found, why }| SandboxError::Start {
            program: program.name(),
            found,
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
        mut relay: Relay<'_>,
        mut watchdog: Option<&mut Watchdog<'_>>,
        watch: &mut dyn FnMut(Activity<'_>),
    ) -> Result<Result<Usage, NotStarted>, SandboxError> {
        let mut buffer = vec![0; 64 * 1024];
        let mut ended = None;
        loop {
            // Once the program ended, only what is already in the pipes is waited for: a daemon that a live script
            // started may hold them open for ever.
            let timeout = match (&ended, &watchdog) {
                (Some(_), _) => PollTimeout::ZERO,
                (None, Some(watchdog)) => time_until(watchdog.next_look()),
                (None, None) => PollTimeout::NONE,
            };
            // What was written before a call is shown before it.
            let mut sources =
                Vec::from_iter(relay.output.as_ref().map(|file| (Source::Output, file.as_fd())));
            sources.extend(relay.complaint.as_ref().map(|file| (Source::Complaint, file.as_fd())));
            sources.extend(self.calls.callers().map(|(number, fd)| (Source::Caller(number), fd)));
            sources.push((Source::Callers, self.calls.listener()));
            if ended.is_none() {
                sources.push((Source::Init, self.channel.as_fd()));
                sources.extend(relay.feed.as_ref().map(Feed::awaited));
                sources.extend(relay.caller.map(|caller| (Source::Signal, caller.signals())));
            }
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
                        let length = read_some(&mut relay.output, &mut buffer)?;
                        wrote(length)?;
                        watch(Activity::Output(&buffer[..length]));
                    }
                    Source::Complaint => {
                        let length = read_some(&mut relay.complaint, &mut buffer)?;
                        wrote(length)?;
                        watch(Activity::Complaint(&buffer[..length]));
                    }
                    Source::Input | Source::Room => {
                        if relay.feed.as_mut().is_some_and(|feed| !feed.step(source)) {
                            relay.feed = None;
                        }
                    }
                    Source::Signal => {
                        if let (Some(caller), Some(terminal)) = (relay.caller, &relay.output) {
                            caller.obey(terminal)?;
                        }
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

/// Tells shadows which file the program's own output is.
fn with_output(mut program: Program, output: BorrowedFd<'_>) -> io::Result<Program> {
    let found = rustix::fs::fstat(output)?;
    let which = format!("{}:{}", found.st_dev, found.st_ino);
    program.environment.push((shadow::OUTPUT_VARIABLE.into(), which.into()));
    Ok(program)
}

/// Reads what is there; at the end of the stream it is closed. A terminal whose programs are gone says EIO.
fn read_some(stream: &mut Option<File>, buffer: &mut [u8]) -> Result<usize, SandboxError> {
    let length = match stream.as_mut().map_or(Ok(0), |file| file.read(buffer)) {
        Err(error) if error.raw_os_error() == Some(libc::EIO) => 0,
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
            return Ok(0);
        }
        other => other.map_err(process("read from"))?,
    };
    if length == 0 {
        *stream = None;
    }
    Ok(length)
}

/// The client's ends of a running program's streams.
struct Relay<'a> {
    output: Option<File>,
    complaint: Option<File>,
    feed: Option<Feed<'a>>,
    caller: Option<&'a Caller<'a>>,
}

/// What is on its way from the caller to a program; a program that does not read stops nobody.
struct Feed<'a> {
    from: BorrowedFd<'a>,
    to: File,
    waiting: Vec<u8>,
}

impl<'a> Feed<'a> {
    fn new(from: BorrowedFd<'a>, to: File) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&to, true)?;
        Ok(Feed { from, to, waiting: Vec::new() })
    }

    fn awaited(&self) -> (Source, BorrowedFd<'_>) {
        match self.waiting.is_empty() {
            true => (Source::Input, self.from),
            false => (Source::Room, self.to.as_fd()),
        }
    }

    /// Reads or writes what is possible now; tells whether more can follow.
    fn step(&mut self, ready: Source) -> bool {
        if ready == Source::Input {
            self.waiting.resize(FEED, 0);
            let length = match rustix::io::read(self.from, &mut self.waiting) {
                Ok(length) => length,
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {
                    self.waiting.clear();
                    return true;
                }
                // What cannot be read has come to its end.
                Err(_) => 0,
            };
            self.waiting.truncate(length);
            if length == 0 {
                return false;
            }
        }
        match self.to.write(&self.waiting) {
            Ok(written) => {
                self.waiting.drain(..written);
                true
            }
            // A program that closed its input wants no more; others are full for now.
            Err(error) => matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
        }
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
    /// The caller has something for the program.
    Input,
    /// The program has room for what waits.
    Room,
    Signal,
}

/// Waits until a source has something to say, or has fallen silent for good; tells which, in the given order.
fn wait_for_any(
    sources: &[(Source, BorrowedFd<'_>)],
    timeout: PollTimeout,
) -> Result<Vec<Source>, SandboxError> {
    let wanted = |source: Source| if source == Source::Room { PollFlags::POLLOUT } else { PollFlags::POLLIN };
    let mut polled: Vec<_> = sources.iter().map(|(source, fd)| PollFd::new(*fd, wanted(*source))).collect();
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
