//! Signatures of packages and repositories, made by gpg: with a key from a file, or one that an agent keeps.

use std::env;
use std::fmt;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::{Serialize, Serializer};
use tempfile::TempDir;

/// Where a private OpenPGP key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeyPlace {
    /// In this file, armored or not.
    File(PathBuf),
    /// With the agent of whoever builds, under this fingerprint.
    Agent(String),
}

impl Serialize for KeyPlace {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        match self {
            KeyPlace::File(path) => out.collect_map([("file", &path.display().to_string())]),
            KeyPlace::Agent(fingerprint) => out.collect_map([("agent", fingerprint)]),
        }
    }
}

/// The way out of what most often goes wrong.
const PASSPHRASE: &str =
    "a key with a passphrase has to be an agent's: `{ agent = \"fingerprint\" }` in the spec";

/// gpg with one private key.
#[derive(Debug)]
pub(crate) struct Signer {
    /// A home of its own for a key from a file; nothing for the agent's.
    home: Option<Home>,
    fingerprint: String,
    /// When the key was made: no earlier signature of it is valid.
    created: u64,
}

impl Signer {
    /// Takes up a key.
    ///
    /// # Errors
    /// gpg is missing, or there is no such key.
    pub(crate) fn of(place: &KeyPlace) -> Result<Self> {
        let mut signer = Signer { home: None, fingerprint: String::new(), created: 0 };
        let listed = match place {
            KeyPlace::File(path) => {
                let key = fs::read(path)
                    .with_context(|| format!("cannot read the signing key {}", path.display()))?;
                signer.home = Some(Home::make()?);
                signer
                    .gpg(&["--import"], &key)
                    .with_context(|| format!("cannot take up the signing key {}", path.display()))?;
                signer.gpg(&["--list-secret-keys", "--with-colons"], &[])?
            }
            KeyPlace::Agent(fingerprint) => signer
                .gpg(&["--list-secret-keys", "--with-colons", fingerprint], &[])
                .with_context(|| format!("gpg's agent has no private key {fingerprint}"))?,
        };
        let listed = String::from_utf8_lossy(&listed);
        let rows = || listed.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let keys = rows().filter(|row| row[0] == "sec").count();
        let fingerprint = rows().find(|row| row[0] == "fpr" && row.len() > 9).map(|row| row[9].to_owned());
        let (1, Some(fingerprint)) = (keys, fingerprint) else {
            bail!("{place} holds {keys} private keys, and exactly one has to sign");
        };
        signer.fingerprint = fingerprint;
        // Of the key or of its youngest part, one of which signs.
        signer.created = rows()
            .filter(|row| ["sec", "ssb"].contains(&row[0]))
            .filter_map(|row| row.get(5)?.parse().ok())
            .max()
            .unwrap_or(0);
        Ok(signer)
    }

    /// A signature beside what is signed, as made at `epoch`.
    pub(crate) fn detached(&self, content: &[u8], armored: bool, epoch: u64) -> Result<Vec<u8>> {
        let armor = if armored { "--armor" } else { "--no-armor" };
        self.sign(&["--detach-sign", armor], content, epoch)
    }

    /// A text with its signature around it, as made at `epoch`.
    pub(crate) fn clear(&self, content: &[u8], epoch: u64) -> Result<Vec<u8>> {
        self.sign(&["--clear-sign"], content, epoch)
    }

    /// The public key, armored.
    pub(crate) fn public(&self) -> Result<Vec<u8>> {
        self.gpg(&["--armor", "--export-options", "export-minimal", "--export", &self.fingerprint], &[])
    }

    /// An rpm with a signature of its header, as made at `epoch`. The header holds digests of all else.
    pub(crate) fn rpm(&self, package: &[u8], epoch: u64) -> Result<Vec<u8>> {
        let folder = tempfile::tempdir().context("cannot make a folder for temporary files")?;
        let file = folder.path().join("package.rpm");
        fs::write(&file, package).with_context(|| format!("cannot write {}", file.display()))?;
        let mut sign = Command::new("rpmsign");
        sign.args([
            "--define",
            &format!("_gpg_name {}", self.fingerprint),
            "--define",
            "_gpg_digest_algo sha256",
        ]);
        sign.args([
            "--define",
            &format!("_gpg_sign_cmd_extra_args --batch --faked-system-time {}!", self.time(epoch)),
        ]);
        // rpm's own idea of where gpg lies is that of the machine that rpm was built on.
        sign.args(["--define", &format!("__gpg {}", program("gpg")?.display())]);
        if let Some(home) = &self.home {
            sign.args(["--define", &format!("_gpg_path {}", home.0.path().display())]);
        }
        sign.arg("--addsign").arg(&file).stdin(Stdio::null());
        let output =
            sign.output().context("cannot start rpmsign; `cargo xtask setup` installs it with rpm")?;
        if !output.status.success() {
            bail!(
                "rpmsign ended with {}: {}\n  help: {PASSPHRASE}",
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        fs::read(&file).with_context(|| format!("cannot read {}", file.display()))
    }

    /// When a signature is said to be made: at `epoch`, if the key was there already.
    fn time(&self, epoch: u64) -> u64 {
        epoch.max(self.created)
    }

    fn sign(&self, how: &[&str], content: &[u8], epoch: u64) -> Result<Vec<u8>> {
        let time = format!("{}!", self.time(epoch));
        let fixed =
            ["--faked-system-time", &time, "--digest-algo", "SHA256", "--local-user", &self.fingerprint];
        self.gpg(&[&fixed, how].concat(), content).with_context(|| format!("cannot sign; {PASSPHRASE}"))
    }

    /// Runs gpg on some input. What is signed, and keys, travel through pipes only.
    fn gpg(&self, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>> {
        let mut gpg = Command::new("gpg");
        gpg.args(["--batch", "--quiet", "--no-tty", "--no-auto-check-trustdb"]);
        if let Some(home) = &self.home {
            gpg.arg("--homedir").arg(home.0.path()).args(["--pinentry-mode", "error"]);
        }
        gpg.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = gpg.spawn().context("cannot start gpg; `cargo xtask setup` installs it")?;
        let mut stdin = child.stdin.take().expect("it is piped");
        let output = std::thread::scope(|scope| {
            // gpg may end before it has read everything: its own words tell why.
            scope.spawn(move || stdin.write_all(input));
            child.wait_with_output()
        });
        let output = output.context("cannot wait for gpg")?;
        if !output.status.success() {
            bail!("gpg ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(output.stdout)
    }
}

/// Where a program lies.
fn program(name: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
        .with_context(|| format!("{name} is not on the PATH; `cargo xtask setup` installs it"))
}

impl fmt::Display for KeyPlace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyPlace::File(path) => write!(out, "{}", path.display()),
            KeyPlace::Agent(fingerprint) => write!(out, "{fingerprint} of gpg's agent"),
        }
    }
}

/// gpg's folder for one key. Its agent ends with it.
#[derive(Debug)]
struct Home(TempDir);

impl Home {
    fn make() -> Result<Self> {
        // In the folder for temporary files, because the path of a socket is short; only we may enter it.
        let folder = tempfile::Builder::new().prefix("signing-").tempdir();
        Ok(Home(folder.context("cannot make a folder for the signing key")?))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let mut end = Command::new("gpgconf");
        end.arg("--homedir").arg::<&Path>(self.0.path()).args(["--kill", "all"]);
        let _ = end.stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}
