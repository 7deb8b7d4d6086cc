//! A sandbox that stands between commands: left by one client, found by the next ones.
//!
//! ```text
//! VARDIR/sandbox/MODE/control      where its first process listens; the directory is for root only
//! VARDIR/scratch/standing-MODE/    its layers, locked as long as it stands
//! ```
//!
//! Its first process belongs to nobody and ends when it is taken down, or with the machine. Whoever connects gets the
//! root, the layers and the socket of the shadows as descriptors, so that it can look even where the layers are memory.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, bind, connect, getsockopt, socket, sockopt,
};

use crate::disco::Mode;
use crate::disco::commands::Commands;
use crate::disco::sandbox::calls::Calls;
use crate::disco::sandbox::channel::{Channel, Reply};
use crate::disco::sandbox::plan::{Layer, MountPlan, RunDirs, Step};
use crate::disco::sandbox::probe::Rights;
use crate::disco::sandbox::{
    Furniture, Host, Keeper, Sandbox, SandboxError, Scratch, child, files, first_word, plan_for, probe,
    process, remove,
};

/// How long the first process may take to end once it was killed.
const END_MILLISECONDS: u16 = 10_000;

/// The standing sandbox of a mode, whether or not it stands.
pub(crate) struct Place {
    mode: Mode,
    vardir: PathBuf,
    // Commands that put it up or take it down come one after another.
    directory: File,
    path: PathBuf,
}

impl Place {
    /// Looks at the place.
    ///
    /// # Errors
    /// Its directory cannot be made.
    pub(crate) fn of(mode: Mode, vardir: &Path) -> Result<Self, SandboxError> {
        let path = vardir.join("sandbox").join(mode.name());
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(files("make", &path))?;
        let directory = File::open(&path).map_err(files("open", &path))?;
        Ok(Place { mode, vardir: vardir.to_owned(), directory, path })
    }

    /// The sandbox, if it stands. From now on `commands` judge the calls that come from inside; with several clients at a
    /// time, each hears some of them.
    ///
    /// # Errors
    /// It answers something else than a sandbox.
    pub(crate) fn find(&self, commands: Commands) -> Result<Option<Sandbox>, SandboxError> {
        let Some(socket) = self.connect()? else { return Ok(None) };
        let channel = Channel::over(socket);
        let (layers, shadows, notes, descriptors) = match channel.receive().map_err(process("hear from"))? {
            Some((Reply::Standing { layers, shadows, notes }, descriptors)) => {
                (layers, shadows, notes, descriptors)
            }
            Some(_) | None => return Err(SandboxError::Gone),
        };
        let [root, scratch, listener] =
            <[OwnedFd; 3]>::try_from(descriptors).map_err(|_| SandboxError::Gone)?;
        let host = Host::here().map_err(process("look at the mounts for"))?;
        let real = commands.real_programs(self.mode).into_iter().map(|(name, _)| name).collect();
        let calls = Calls::new(listener, commands, real, self.mode, host);
        let below = PathBuf::from(format!("/proc/self/fd/{}", scratch.as_raw_fd()));
        let steps = layers.into_iter().map(|(at, dir)| Step::Overlay(Layer::seen(at, below.join(dir))));
        let plan = MountPlan { steps: steps.collect(), notes };
        let keeper = Keeper::Nobody { _scratch: scratch };
        Ok(Some(Sandbox { channel, root, calls, shadows, plan, mode: self.mode, limits: None, keeper }))
    }

    /// Puts the sandbox up; tells whether it did, or found one that stands already.
    ///
    /// # Errors
    /// Says which step failed. Nothing is left mounted.
    pub(crate) fn mount(&self, furniture: &Furniture) -> Result<bool, SandboxError> {
        self.directory.lock().map_err(files("lock", &self.path))?;
        if self.connect()?.is_some() {
            return Ok(false);
        }
        self.remove_socket()?;
        let parameters = self.vardir.join("parameters");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&parameters)
            .map_err(files("make", &parameters))?;
        let kind = SockType::SeqPacket;
        let listener =
            socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None).map_err(|e| self.failed(e))?;
        bind(listener.as_raw_fd(), &self.address()?).map_err(|e| self.failed(e))?;
        let control = self.path.join("control");
        fs::set_permissions(&control, fs::Permissions::from_mode(0o600))
            .map_err(files("restrict", &control))?;
        let (channel, inner) = Channel::pair().map_err(process("make a channel to"))?;
        let kept = [listener.as_raw_fd(), inner.as_fd().as_raw_fd()];
        child::detached(&kept, || {
            if let Err(error) = self.put_up(furniture, &parameters, &listener, &inner) {
                // If even this cannot be said, the closed channel says it.
                let _ = inner.send(&Reply::SetUpFailed(error.to_string()), &[]);
            }
        })
        .map_err(process("start"))?;
        drop(inner);
        match first_word(&channel) {
            Ok(_) => Ok(true),
            Err(error) => {
                self.remove_socket()?;
                Err(error)
            }
        }
    }

    /// Takes the sandbox down with everything in it; tells whether there was one.
    ///
    /// # Errors
    /// It does not end, or what it held cannot be removed.
    pub(crate) fn unmount(&self) -> Result<bool, SandboxError> {
        self.directory.lock().map_err(files("lock", &self.path))?;
        let Some(connected) = self.connect()? else {
            self.remove_socket()?;
            return Ok(false);
        };
        let ended = process("end");
        let peer = getsockopt(&connected, sockopt::PeerCredentials).map_err(|errno| ended(errno.into()))?;
        let first = child::pidfd(peer.pid()).map_err(&ended)?;
        // The greeting proves that the process is still the one that listens, so the number is its own.
        if Channel::over(connected).receive::<Reply>().map_err(&ended)?.is_none() {
            return Err(SandboxError::Gone);
        }
        child::kill_by(&first).map_err(&ended)?;
        let mut polled = [PollFd::new(first.as_fd(), PollFlags::POLLIN)];
        let known = poll(&mut polled, PollTimeout::from(END_MILLISECONDS)).map_err(|e| ended(e.into()))?;
        if known == 0 {
            return Err(ended(io::ErrorKind::TimedOut.into()));
        }
        self.remove_socket()?;
        let scratch = self.vardir.join("scratch").join(scratch_name(self.mode));
        match remove::remove_tree(&scratch) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(files("remove", &scratch)(error)),
            _ => Ok(true),
        }
    }

    /// Runs in a process that ends afterwards; the sandbox stays.
    fn put_up(
        &self,
        furniture: &Furniture,
        parameters: &Path,
        listener: &OwnedFd,
        inner: &Channel,
    ) -> Result<(), SandboxError> {
        let scratch = Scratch::named(&self.vardir, &scratch_name(self.mode))?;
        let dirs = RunDirs::of(scratch.path().to_owned(), parameters.to_owned());
        let plan = plan_for(self.mode, &dirs, furniture)?;
        let client = probe::own_binary().map_err(process("find the program for"))?;
        // Opened after a memory file system may have been mounted on it.
        let layers: OwnedFd = File::open(scratch.path()).map_err(files("open", scratch.path()))?.into();
        let shadows = plan.shadows();
        let stay = child::Stay { listener, scratch: &layers, shadows: &shadows };
        let blueprint = child::Blueprint {
            mode: self.mode,
            rights: Rights::own(),
            plan: &plan,
            dirs: &dirs,
            client: &client,
            stay: Some(stay),
        };
        child::start(&blueprint, inner, None).map_err(process("start"))?;
        // It belongs to the sandbox now.
        std::mem::forget(scratch);
        Ok(())
    }

    /// A connection to the first process, if it lives.
    fn connect(&self) -> Result<Option<OwnedFd>, SandboxError> {
        let made = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)
            .map_err(|errno| self.failed(errno))?;
        match connect(made.as_raw_fd(), &self.address()?) {
            Ok(()) => Ok(Some(made)),
            Err(nix::errno::Errno::ENOENT | nix::errno::Errno::ECONNREFUSED) => Ok(None),
            Err(errno) => Err(self.failed(errno)),
        }
    }

    /// By descriptor: the path may be longer than an address can be.
    fn address(&self) -> Result<UnixAddr, SandboxError> {
        let path = format!("/proc/self/fd/{}/control", self.directory.as_raw_fd());
        UnixAddr::new(path.as_str()).map_err(|errno| self.failed(errno))
    }

    fn remove_socket(&self) -> Result<(), SandboxError> {
        let control = self.path.join("control");
        match fs::remove_file(&control) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(files("remove", &control)(error)),
            _ => Ok(()),
        }
    }

    fn failed(&self, errno: nix::errno::Errno) -> SandboxError {
        files("use", &self.path.join("control"))(errno.into())
    }
}

fn scratch_name(mode: Mode) -> String {
    format!("standing-{}", mode.name())
}
