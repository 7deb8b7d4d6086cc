//! The files of a throw-away node: a small Debian, made once by mmdebstrap and kept below `target/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// What a node needs beyond the smallest Debian: both ends of the client's transports, `ip` to bring loopback up, and an
/// interpreter that is no shell.
const PACKAGES: &str = "iproute2,openssh-client,openssh-server,python3-minimal,rsync";

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
    // Another list of packages is another node.
    let listed = directory.join("node-root.packages");
    let is_of_this_list = fs::read_to_string(&listed).is_ok_and(|packages| packages == PACKAGES);
    if tarball.exists() && is_of_this_list {
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
    let unpacked = tarball.with_extension("");
    if unpacked.exists() {
        fs::remove_dir_all(&unpacked)?;
    }
    fs::rename(&unfinished, &tarball)?;
    fs::write(&listed, PACKAGES)?;
    Ok(tarball)
}

/// Directory with the files of a node, unpacked once and only ever read: the lower layer of nodes that need no disk.
///
/// # Errors
/// As [`tarball`] and [`unpack`].
pub fn unpacked() -> Result<PathBuf> {
    let tarball = tarball()?;
    let directory = tarball.with_file_name("node-root");
    let lock = fs::File::create(tarball.with_file_name("node-root.lock"))?;
    lock.lock()?;
    if !directory.exists() {
        let unfinished = tarball.with_file_name("node-root.unfinished");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)?;
        }
        fs::create_dir(&unfinished)?;
        unpack_archive(&tarball, &unfinished)?;
        fs::rename(&unfinished, &directory)?;
    }
    Ok(directory)
}

/// Unpacks the files of a node into an existing directory, with their owners.
///
/// # Errors
/// The archive cannot be made, or tar ends badly.
pub fn unpack(into: &Path) -> Result<()> {
    unpack_archive(&tarball()?, into)
}

fn unpack_archive(tarball: &Path, into: &Path) -> Result<()> {
    let status = Command::new("tar")
        .args(["--extract", "--numeric-owner", "--preserve-permissions", "--xattrs", "--xattrs-include=*"])
        .arg("--directory")
        .arg(into)
        .arg("--file")
        .arg(tarball)
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
