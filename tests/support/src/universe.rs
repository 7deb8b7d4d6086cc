//! A universe in a directory of its own, served by a real rsync daemon.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::{NamedTempFile, TempDir};

use crate::node_root::kept_below_target;

/// The node whose parameters the example universe holds.
pub const EXAMPLE_NODE: &str = "localhost.localdomain";

/// How long the daemon may take until it answers.
const START: Duration = Duration::from_secs(10);

/// The folders of a module that version control cannot keep when they are empty.
const FOLDERS: &[&str] = &["parameters", "scripts", "templates"];

/// The files of a universe; gone with the guard, unless they are somebody's own.
#[derive(Debug)]
pub struct Universe {
    root: PathBuf,
    _directory: Option<TempDir>,
}

impl Universe {
    /// A universe without anything but a place for the parameters of one node.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn empty() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("universe-").tempdir_in(kept_below_target()?)?;
        fs::create_dir_all(directory.path().join("parameters").join(EXAMPLE_NODE).join("modules"))?;
        Ok(Universe { root: directory.path().to_owned(), _directory: Some(directory) })
    }

    /// Somebody's own universe, as it is and where it is.
    ///
    /// # Errors
    /// There is no such directory, or it holds no parameters.
    pub fn at(root: &Path) -> Result<Self> {
        let root =
            root.canonicalize().with_context(|| format!("there is no universe at {}", root.display()))?;
        ensure!(root.join("parameters").is_dir(), "{} holds no directory `parameters`", root.display());
        Ok(Universe { root, _directory: None })
    }

    /// A copy of `examples/universe`.
    ///
    /// # Errors
    /// It cannot be copied.
    pub fn example() -> Result<Self> {
        let universe = Universe::empty()?;
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/universe/.");
        let status = Command::new("cp").arg("-a").arg(source).arg(universe.path()).status()?;
        ensure!(status.success(), "cannot copy the example universe");
        for entry in fs::read_dir(universe.path())? {
            let entry = entry?;
            if entry.file_name() != "parameters" {
                for folder in FOLDERS {
                    fs::create_dir_all(entry.path().join(folder))?;
                }
            }
        }
        Ok(universe)
    }

    /// Where its files lie.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Adds a file below the universe, executable where it is a script; a module is wanted by the node from its first
    /// file on.
    ///
    /// # Errors
    /// With the path.
    pub fn add(&self, path: &str, content: &str) -> Result<&Self> {
        let target = self.path().join(path);
        let module = path.split('/').next().unwrap_or_default();
        if module != "parameters" {
            fs::write(self.path().join("parameters").join(EXAMPLE_NODE).join("modules").join(module), "")?;
        }
        fs::create_dir_all(target.parent().unwrap_or(self.path()))?;
        fs::write(&target, content).with_context(|| format!("cannot write {}", target.display()))?;
        if path.contains("/scripts/") {
            fs::set_permissions(&target, fs::Permissions::from_mode(0o755))?;
        }
        Ok(self)
    }

    /// Serves it on a loopback port; `prefix` are words before the daemon's command line, such as those that lead into a
    /// node's network.
    ///
    /// # Errors
    /// The daemon does not start or does not answer.
    pub fn serve(&self, prefix: &[String], port: u16) -> Result<RsyncDaemon> {
        let mut config = tempfile::Builder::new().suffix(".rsyncd.conf").tempfile_in(kept_below_target()?)?;
        config.write_all(self.configuration()?.as_bytes())?;
        let mut command = prefixed(prefix, "rsync");
        command
            .args(["--daemon", "--no-detach", "--address=127.0.0.1"])
            .arg(format!("--port={port}"))
            .arg(format!("--config={}", config.path().display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let child = command.spawn().context("cannot start rsync; `cargo xtask setup` installs it")?;
        let mut daemon = RsyncDaemon { child, _config: config };
        let deadline = Instant::now() + START;
        let url = format!("rsync://127.0.0.1:{port}/");
        while !prefixed(prefix, "rsync")
            .arg(&url)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?
            .success()
        {
            if let Some(status) = daemon.child.try_wait()? {
                bail!("the rsync daemon ended with {status}");
            }
            ensure!(Instant::now() < deadline, "the rsync daemon does not answer at {url}");
        }
        Ok(daemon)
    }

    /// One rsync module for the parameters and one for each DISCO module.
    fn configuration(&self) -> Result<String> {
        let mut text =
            // The daemon runs as root here and would serve as nobody, who may not enter a checkout below somebody's home.
            String::from("use chroot = no\nuid = root\ngid = root\nread only = yes\nlist = yes\n");
        for entry in fs::read_dir(self.path())? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            text.push_str(&format!("[{name}]\npath = {}\n", entry.path().display()));
        }
        Ok(text)
    }
}

fn prefixed(prefix: &[String], program: &str) -> Command {
    match prefix.split_first() {
        Some((first, rest)) => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// A running rsync daemon; killed when dropped.
#[derive(Debug)]
pub struct RsyncDaemon {
    child: Child,
    // The daemon reads it again for every client.
    _config: NamedTempFile,
}

impl Drop for RsyncDaemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
