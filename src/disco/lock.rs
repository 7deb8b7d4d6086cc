//! One dance at a time: a lock that ends with its holder, whatever happens to it.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};

/// Why this dance may not start.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another one runs.
    #[error("another dance is running: process {holder}")]
    Held {
        /// Its process id, as it wrote it down.
        holder: String,
    },
    /// The lock file itself.
    #[error("cannot use the lock file {}", path.display())]
    File {
        /// Where it lies.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
}

/// How long a sandbox may live on after its client.
const END_OF_A_SANDBOX: Duration = Duration::from_secs(5);

/// How long to wait before a lock is tried again that nobody alive took.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Held for the length of a dance.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: Flock<File>,
}

impl Lock {
    /// Takes the lock of this node, or says who has it.
    pub(crate) fn take(vardir: &Path) -> Result<Self, LockError> {
        let path = vardir.join("lock");
        let failed = |source| LockError::File { path: path.clone(), source };
        // Parameters and modules may hold what others must not read.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(vardir).map_err(failed)?;
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        let deadline = Instant::now() + END_OF_A_SANDBOX;
        let mut file = file;
        loop {
            file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(mut file) => {
                    file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
                    write!(file, "{}", std::process::id()).map_err(failed)?;
                    return Ok(Lock { _file: file });
                }
                Err((file, nix::errno::Errno::EWOULDBLOCK)) => file,
                Err((_, errno)) => return Err(failed(errno.into())),
            };
            let mut holder = String::new();
            file.rewind().and_then(|()| file.read_to_string(&mut holder)).map_err(failed)?;
            // The sandbox of a client that was killed holds the lock until the kernel has ended it.
            if Lock::is_held(vardir) || Instant::now() > deadline {
                return Err(LockError::Held { holder });
            }
            sleep(LOOK_AGAIN);
        }
    }

    /// Whether a process that took it is still there, for those who only look: nobody is kept from anything.
    pub(crate) fn is_held(vardir: &Path) -> bool {
        let holder = fs::read_to_string(vardir.join("lock")).unwrap_or_default();
        !holder.is_empty() && Path::new("/proc").join(holder).is_dir()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_dance_is_told_who_holds_the_lock_and_the_lock_ends_with_its_holder() {
        let vardir = tempfile::tempdir().unwrap();
        let first = Lock::take(vardir.path()).unwrap();
        let refused = Lock::take(vardir.path()).unwrap_err();
        assert!(
            matches!(&refused, LockError::Held { holder } if *holder == std::process::id().to_string()),
            "{refused}"
        );
        drop(first);
        Lock::take(vardir.path()).unwrap();
    }
}
