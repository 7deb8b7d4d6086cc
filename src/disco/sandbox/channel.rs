//! What the client and the sandbox's init say to each other: one JSON document per packet, descriptors beside it.
//!
//! The client owns one end of a `SOCK_SEQPACKET` pair, init the other. The client speaks only after `Ready`; every
//! `Run` is answered by one `Ended`. Whoever finds the other end closed is alone.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg,
    socketpair,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::disco::report::Usage;

/// Largest packet; a command line that a shadow tells stays far below.
const PACKET: usize = 128 * 1024;

/// From the client to init.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// Execute a program. Beside the packet come the program, see [`Program::in_memory`], and its streams: input (without
    /// it, the program has none), output, error.
    Run {
        /// Whether its input is a terminal that it is to control.
        terminal: bool,
    },
}

/// A program to execute inside the sandbox, with everything it gets to see.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Program {
    /// Path of the program, then its arguments.
    pub argv: Vec<OsString>,
    /// The whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Where it starts.
    pub directory: OsString,
}

impl Program {
    /// A program that starts in `/`.
    pub fn new(argv: Vec<OsString>, environment: Vec<(String, String)>) -> Self {
        let environment = environment.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Program { argv, environment, directory: "/".into() }
    }

    /// Writes it to a file without a name: a command line and its environment may be longer than a packet.
    pub(super) fn in_memory(&self) -> io::Result<File> {
        let mut file = File::from(rustix::fs::memfd_create("program", rustix::fs::MemfdFlags::CLOEXEC)?);
        file.write_all(&serde_json::to_vec(self)?)?;
        Ok(file)
    }

    /// Reads it from such a file.
    pub(super) fn from_memory(mut file: File) -> io::Result<Self> {
        file.rewind()?;
        Ok(serde_json::from_reader(io::BufReader::new(file))?)
    }

    /// The program's path, for people.
    pub(super) fn name(&self) -> String {
        self.argv.first().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default()
    }
}

/// Why a program did not start.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct NotStarted {
    /// Whether there is such a program at all.
    pub(super) found: bool,
    /// The system's word.
    pub(super) why: String,
}

impl From<io::Error> for NotStarted {
    fn from(error: io::Error) -> Self {
        NotStarted { found: error.kind() != io::ErrorKind::NotFound, why: error.to_string() }
    }
}

/// From init to the client.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    /// The sandbox stands. The socket on which shadows call comes beside the packet.
    Ready,
    /// Of a sandbox that stands, to whoever connects: the root, the scratch directory and the socket on which shadows call
    /// come beside the packet.
    Standing {
        /// Mount points of the overlays, and their directories relative to the scratch directory.
        layers: Vec<(PathBuf, PathBuf)>,
        /// Paths of the commands whose calls are judged.
        shadows: Vec<PathBuf>,
        /// What the sandbox shows less faithfully than one would expect.
        notes: Vec<String>,
    },
    /// The sandbox could not be put together.
    SetUpFailed(String),
    /// The program ended, or never started.
    Ended(Result<Usage, NotStarted>),
}

/// One end of the conversation.
pub(super) struct Channel(OwnedFd);

impl Channel {
    /// Makes both ends.
    pub(super) fn pair() -> io::Result<(Channel, Channel)> {
        let (here, there) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        Ok((Channel(here), Channel(there)))
    }

    /// The conversation over a `SOCK_SEQPACKET` socket that is connected already.
    pub(super) fn over(socket: OwnedFd) -> Channel {
        Channel(socket)
    }

    /// Sends bytes as they are, in one packet.
    pub(super) fn send_bytes(&self, bytes: &[u8]) -> io::Result<()> {
        sendmsg::<()>(self.0.as_raw_fd(), &[IoSlice::new(bytes)], &[], MsgFlags::MSG_NOSIGNAL, None)?;
        Ok(())
    }

    /// Waits for one packet of bytes; none once the other end is closed.
    pub(super) fn receive_bytes(&self) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; PACKET];
        let length = nix::unistd::read(&self.0, &mut buffer)?;
        buffer.truncate(length);
        Ok(buffer)
    }

    /// Sends one document, with copies of the descriptors.
    pub(super) fn send(&self, message: &impl Serialize, descriptors: &[RawFd]) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        if text.len() > PACKET {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the message is too long"));
        }
        let rights = [ControlMessage::ScmRights(descriptors)];
        let rights = if descriptors.is_empty() { &[][..] } else { &rights[..] };
        sendmsg::<()>(self.0.as_raw_fd(), &[IoSlice::new(&text)], rights, MsgFlags::MSG_NOSIGNAL, None)?;
        Ok(())
    }

    /// Waits for one document of somebody who is not to pass descriptors; the kernel closes those that come beside it.
    pub(super) fn receive_alone<T: DeserializeOwned>(&self) -> io::Result<T> {
        Ok(serde_json::from_slice(&self.receive_bytes()?)?)
    }

    /// Waits for one document; `None` once the other end is closed.
    pub(super) fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let mut buffer = vec![0; PACKET];
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let mut space = nix::cmsg_space!([RawFd; 4]);
        let packet = loop {
            match recvmsg::<()>(self.0.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)
            {
                Err(nix::errno::Errno::EINTR) => {}
                other => break other?,
            }
        };
        let mut descriptors = Vec::new();
        for message in packet.cmsgs()? {
            if let ControlMessageOwned::ScmRights(received) = message {
                // SAFETY: the kernel just installed these descriptors for this process, and nobody else knows them.
                descriptors.extend(received.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
            }
        }
        let length = packet.bytes;
        if length == 0 {
            return Ok(None);
        }
        Ok(Some((serde_json::from_slice(&buffer[..length])?, descriptors)))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}
