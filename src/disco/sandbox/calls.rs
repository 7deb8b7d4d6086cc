//! The host's end of the conversation with shadows: takes their calls, judges them by the lists and answers.
//!
//! Whoever runs inside may speak here, so a call is a request like any other's: judged by what it says, answered within
//! limits, and never waited for.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, connect, listen, socket,
};

use crate::disco::Mode;
use crate::disco::commands::{Commands, Decision};
use crate::disco::sandbox::Activity;
use crate::disco::sandbox::channel::Channel;
use crate::disco::sandbox::host::Host;
use crate::disco::sandbox::plan::RUNTIME_DIR;
use crate::disco::sandbox::shadow::{Answer, Call};

/// Most callers at a time; each is a process that waits for its answer.
const MOST: usize = 64;

/// Longest path that the kernel takes, and with it the longest working directory.
const LONGEST_PATH: usize = 4096;

fn address() -> io::Result<UnixAddr> {
    Ok(UnixAddr::new(&Path::new(RUNTIME_DIR).join("calls"))?)
}

/// Opens the socket on which shadows call; any user inside may. Called inside, before the runtime directory is sealed.
pub(super) fn listen_inside() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let listener = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
    bind(listener.as_raw_fd(), &address()?)?;
    listen(&listener, Backlog::new(MOST as i32)?)?;
    let path = Path::new(RUNTIME_DIR).join("calls");
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
    Ok(listener)
}

/// Calls the host from inside, and returns the answer with what the host's program wrote.
pub(super) fn call(call: &Call) -> io::Result<(Answer, Vec<u8>, Vec<u8>)> {
    let stream = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
    connect(stream.as_raw_fd(), &address()?)?;
    let channel = Channel::over(stream);
    channel.send(call, &[])?;
    let (answer, _) = channel.receive::<Answer>()?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    if let Answer::Answered { stdout: has_stdout, stderr: has_stderr, .. } = answer {
        if has_stdout {
            stdout = channel.receive_bytes()?;
        }
        if has_stderr {
            stderr = channel.receive_bytes()?;
        }
    }
    Ok((answer, stdout, stderr))
}

/// The calls of one sandbox.
pub(super) struct Calls {
    listener: OwnedFd,
    callers: Vec<Option<Channel>>,
    commands: Commands,
    /// Names of the watched commands whose real program can be reached inside.
    real: Vec<String>,
    mode: Mode,
    host: Host,
}

impl Calls {
    pub(super) fn new(
        listener: OwnedFd,
        commands: Commands,
        real: Vec<String>,
        mode: Mode,
        host: Host,
    ) -> Self {
        Calls { listener, callers: Vec::new(), commands, real, mode, host }
    }

    /// The socket on which new callers come.
    pub(super) fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// The callers that have not been answered, by number.
    pub(super) fn callers(&self) -> impl Iterator<Item = (usize, BorrowedFd<'_>)> {
        self.callers.iter().enumerate().filter_map(|(at, caller)| Some((at, caller.as_ref()?.as_fd())))
    }

    /// Takes a new caller; one too many is let go of, and finds nobody who answers.
    pub(super) fn accept(&mut self) {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let Ok(accepted) = accept4(self.listener.as_raw_fd(), flags) else { return };
        // SAFETY: the kernel just made this descriptor for this process, and nobody else knows it.
        let accepted = unsafe { OwnedFd::from_raw_fd(accepted) };
        self.callers.retain(Option::is_some);
        if self.callers.len() < MOST {
            self.callers.push(Some(Channel::over(accepted)));
        }
    }

    /// Answers a caller that has something to say, and lets go of it; tells how much it said, in bytes.
    pub(super) fn answer(&mut self, number: usize, watch: &mut dyn FnMut(Activity<'_>)) -> usize {
        let Some(caller) = self.callers.get_mut(number).and_then(Option::take) else { return 0 };
        // What does not parse is no call. A caller that does not read its answer is on its own.
        let Ok(call) = caller.receive_alone::<Call>() else { return 0 };
        if call.held.argv.is_empty() || call.held.directory.len() > LONGEST_PATH {
            return 0;
        }
        let words = call.held.argv.iter().chain([&call.held.directory, &call.behind]);
        let said = words.map(|word| word.len() + 1).sum();
        let (answer, stdout, stderr) = self.judge(call, watch);
        if caller.send(&answer, &[]).is_ok() {
            for bytes in [stdout, stderr].iter().filter(|bytes| !bytes.is_empty()) {
                let _ = caller.send_bytes(bytes);
            }
        }
        said
    }

    fn judge(&self, mut call: Call, watch: &mut dyn FnMut(Activity<'_>)) -> (Answer, Vec<u8>, Vec<u8>) {
        let only = |answer| (answer, Vec::new(), Vec::new());
        let live = self.commands.decide(Mode::Live, &call.held.argv, call.now);
        call.held.deferred = call.exact && live == Decision::Defer;
        match self.commands.decide(self.mode, &call.held.argv, call.now) {
            Decision::Run(environment) if self.real.contains(&call.behind) => {
                only(Answer::Run { environment })
            }
            // By another name it is a command of which every call is held back.
            Decision::Run(_) | Decision::Hold => {
                watch(Activity::HeldBack(call.held));
                only(Answer::Held)
            }
            Decision::Defer if call.exact => {
                watch(Activity::Deferred(call.held));
                only(Answer::Deferred)
            }
            Decision::Defer => only(Answer::Refused(
                "an argument is not UTF-8, so the call cannot be kept until after the merge".to_owned(),
            )),
            Decision::Ask(program) => match self.host.ask(&program, &call.held.argv[1..]) {
                Ok(said) => (
                    Answer::Answered {
                        exit: said.exit,
                        stdout: !said.stdout.is_empty(),
                        stderr: !said.stderr.is_empty(),
                    },
                    said.stdout,
                    said.stderr,
                ),
                Err(why) => only(Answer::Refused(format!("the host could not be asked: {why}"))),
            },
        }
    }
}
