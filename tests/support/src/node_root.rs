//! The files of a throw-away node: a small Debian, made once by mmdebstrap and kept below `target/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// What a node needs beyond the smallest Debian: the client's transport, and `ip` to bring loopback up.
const PACKAGES: &str = "iproute2,rsync";

/// Debian release of the node, where this machine is no Debian that says its own.
const FALLBACK_SUITE: &str = "bookworm";

/// Path of the archive of a node's files; makes it if it is not there yet, which takes half a minute.
///
/// # Errors
/// mmdebstrap is missing, or ends badly; its own words are on standard error.
pub fn tarball() -> Result<PathBuf> {
    let directory = kept_below_target()?;
    // Test programs run side by side: the first one makes the archive, the others wait for it.
    let lock = fs::File::create(directory.join("node-root.lock"))?;
    lock.lock()?;
    let tarball = directory.join("node-root.tar");
    if tarball.exists() {
        return Ok(tarball);
    }
    let unfinished = directory.join("node-root.unfinished.tar");
    let status = Command::new("mmdebstrap")
        .args(["--quiet", "--variant=minbase", "--mode=root", "--format=tar"])
        .arg(format!("--include={PACKAGES}"))
        .arg(suite())
        .arg(&unfinished)
        .stdin(Stdio::null())
        .status()
        .context("cannot start mmdebstrap; `cargo xtask setup` installs it")?;
    ensure!(status.success(), "mmdebstrap could not make the files of a node: {status}");
    fs::rename(&unfinished, &tarball)?;
    Ok(tarball)
}

/// Unpacks the files of a node into an existing directory, with their owners.
///
/// # Errors
/// The archive cannot be made, or tar ends badly.
pub fn unpack(into: &Path) -> Result<()> {
    let status = Command::new("tar")
        .args(["--extract", "--numeric-owner", "--preserve-permissions", "--xattrs", "--xattrs-include=*"])
        .arg("--directory")
        .arg(into)
        .arg("--file")
        .arg(tarball()?)
        .args(["--exclude=./dev/*"])
        .status()
        .context("cannot start tar")?;
    ensure!(status.success(), "tar could not unpack the files of a node: {status}");
    Ok(())
}

/// Directory `target/testbed` of this checkout.
pub(crate) fn kept_below_target() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let directory = root.canonicalize()?.join("target/testbed");
    fs::create_dir_all(&directory)?;
    Ok(directory)
}

/// The release of this machine if it is a Debian: its archive is the one within reach.
fn suite() -> String {
    let os = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let value =
        |key: &str| os.lines().find_map(|line| line.strip_prefix(key)).map(|value| value.trim_matches('"'));
    match (value("ID="), value("VERSION_CODENAME=")) {
        (Some("debian"), Some(codename)) => codename.to_owned(),
        _ => FALLBACK_SUITE.to_owned(),
    }
}
