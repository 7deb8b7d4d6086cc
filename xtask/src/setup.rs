//! What building and testing needs from the machine, and how to get it.

use std::borrow::Cow;
use std::env;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::build;
use crate::cross::{self, EmulatorParts, Zig};
use crate::flags;
use crate::project::{Project, Toolchain};

/// A program or a file, the package that brings it, and what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Tool {
    program: Cow<'static, str>,
    package: Cow<'static, str>,
    purpose: &'static str,
}

const fn tool(program: &'static str, package: &'static str, purpose: &'static str) -> Tool {
    Tool { program: Cow::Borrowed(program), package: Cow::Borrowed(package), purpose }
}

const TOOLS: [Tool; 19] = [
    tool("rsync", "rsync", "serves and fetches the universe"),
    tool("nats-server", "nats-server", "is the broker of the provisioning tests"),
    tool("dnsmasq", "dnsmasq-base", "answers the nodes that look for their brokers by name"),
    tool("rpm", "rpm", "installs our rpm into throw-away roots"),
    tool("objdump", "binutils", "reads what binaries need, beside our own reader"),
    tool("openssl", "openssl", "looks at the certificate requests that nodes make"),
    tool("lintian", "lintian", "checks our debs as Debian does"),
    tool("systemd-analyze", "systemd", "checks our units as systemd does"),
    tool("rpmlint", "rpmlint", "checks our rpms as Fedora does"),
    tool("gpg", "gpg", "signs packages and repositories"),
    tool("apt-ftparchive", "apt-utils", "writes the lists of repositories for apt"),
    tool("createrepo_c", "createrepo-c", "writes the lists of repositories for dnf"),
    tool("dnf", "dnf", "installs our rpm from a repository into throw-away roots"),
    tool("cpio", "cpio", "looks into rpms"),
    tool("faketime", "faketime", "gives a second build another date"),
    tool("mmdebstrap", "mmdebstrap", "makes the root of a throw-away node"),
    tool("mkfs.ext4", "e2fsprogs", "makes file systems of ext4 on which a merge is tried"),
    tool("mkfs.xfs", "xfsprogs", "makes such of xfs"),
    tool("mkfs.btrfs", "btrfs-progs", "makes such of btrfs"),
];

/// Installs what is missing, after saying what and why: for building and testing the project, and for the targets of
/// specs.
pub(crate) fn run(project: &Project, arguments: &flags::Setup) -> Result<()> {
    let mut specs = Vec::new();
    for path in &arguments.spec {
        specs.push(build::load(project, path)?);
    }
    let host = Toolchain::find()?.host;
    let targets: Vec<_> = specs.iter().flat_map(|spec| &spec.targets).collect();
    let zig = targets.iter().any(|target| target.floor(&host).is_some()).then(|| Zig::of(project));
    let zig = zig.filter(|zig| !zig.is_installed());
    let mut foreign: Vec<&str> = targets
        .iter()
        .filter_map(|target| target.triple.as_deref())
        .filter(|triple| *triple != host)
        .collect();
    foreign.sort_unstable();
    foreign.dedup();

    let mut tools = TOOLS.to_vec();
    for triple in &foreign {
        let architecture = triple.split('-').next().unwrap_or_default();
        tools.extend(EmulatorParts::of(architecture).parts.map(|(file, package)| Tool {
            program: file.into(),
            package: package.into(),
            purpose: "asks a binary of another machine what it is",
        }));
    }
    if zig.is_some() && !has_pip() {
        tools.push(tool("pip3", "python3-pip", "installs zig, which links for older C libraries"));
    }
    install(&tools)?;
    if let Some(zig) = zig {
        eprintln!(
            "setup: zig is missing; it links for older C libraries and for other machines (100 MB, by pip)"
        );
        zig.install()?;
    }
    for triple in foreign {
        add_library(triple)?;
    }
    Ok(())
}

/// Whether there is a pip for the interpreter on the PATH.
fn has_pip() -> bool {
    let mut asked = Command::new("python3");
    asked.args(["-m", "pip", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    asked.status().is_ok_and(|status| status.success())
}

/// Brings Rust's own library for a machine, where that is rustup's to do.
fn add_library(triple: &str) -> Result<()> {
    let toolchain = Toolchain::find()?;
    if toolchain.has_library_for(triple)? {
        return Ok(());
    }
    let cure = cross::library_cure(triple);
    eprintln!("setup: {} has no standard library for {triple}", toolchain.version);
    if !cross::has_rustup() {
        bail!("{} has no standard library for {triple}\n  help: {cure}", toolchain.version);
    }
    let status = Command::new("rustup").args(["target", "add", triple]).status();
    if !status.context("cannot start rustup")?.success() {
        bail!("rustup could not install Rust's library for {triple}; its messages are above");
    }
    Ok(())
}

fn install(tools: &[Tool]) -> Result<()> {
    let missing: Vec<&Tool> = tools.iter().filter(|tool| !is_installed(&tool.program)).collect();
    if missing.is_empty() {
        let present: Vec<_> = tools.iter().map(|tool| tool.program.as_ref()).collect();
        eprintln!("setup: nothing to do; {} are installed", present.join(", "));
        return Ok(());
    }
    for tool in &missing {
        eprintln!("setup: {} is missing; it {}", tool.program, tool.purpose);
    }
    let packages: Vec<&str> = missing.iter().map(|tool| tool.package.as_ref()).collect();
    let refusal = refusal(&packages, is_installed("apt-get"), nix::unistd::geteuid().is_root());
    if let Some(refusal) = refusal {
        bail!(refusal);
    }
    eprintln!("setup: {}", install_command(&packages));
    // The lists of a fresh machine are empty or old; where they are not, this saves the download.
    if !apt_get(&[&["install", "--yes", "--no-install-recommends"], packages.as_slice()].concat())? {
        eprintln!("setup: that failed; again with fresh package lists");
        apt_get(&["update"])?;
        if !apt_get(&[&["install", "--yes", "--no-install-recommends"], packages.as_slice()].concat())? {
            bail!("apt-get could not install {}; its messages are above", packages.join(", "));
        }
    }
    let still: Vec<&str> =
        missing.iter().map(|tool| tool.program.as_ref()).filter(|program| !is_installed(program)).collect();
    if !still.is_empty() {
        bail!(
            "apt-get installed {}, but {} cannot be found on the PATH",
            packages.join(", "),
            still.join(", ")
        );
    }
    Ok(())
}

/// Why nothing can be installed here, and what somebody else has to do.
fn refusal(packages: &[&str], has_apt_get: bool, is_root: bool) -> Option<String> {
    if !has_apt_get {
        return Some(format!(
            "this system has no apt-get; install these with its own package manager (Debian's names): {}",
            packages.join(", ")
        ));
    }
    (!is_root).then(|| format!("only root installs packages; run: sudo {}", install_command(packages)))
}

fn install_command(packages: &[&str]) -> String {
    format!("apt-get install --yes --no-install-recommends {}", packages.join(" "))
}

fn apt_get(arguments: &[&str]) -> Result<bool> {
    let status = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status()
        .context("cannot start apt-get")?;
    Ok(status.success())
}

/// Whether a program can be found, or a file by its whole path; system programs count even if the user's PATH leaves
/// their folders out.
pub(crate) fn is_installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(Into::into))
        .any(|folder: std::path::PathBuf| Path::new(&folder).join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_root_the_command_to_run_is_said() {
        assert_eq!(
            refusal(&["rpm", "rsync"], true, false).unwrap(),
            "only root installs packages; run: sudo apt-get install --yes --no-install-recommends rpm rsync"
        );
        assert_eq!(refusal(&["rpm"], true, true), None);
    }

    #[test]
    fn without_apt_get_the_packages_are_named() {
        assert_eq!(
            refusal(&["rpm", "rsync"], false, true).unwrap(),
            "this system has no apt-get; install these with its own package manager (Debian's names): rpm, rsync"
        );
    }

    #[test]
    fn programs_are_looked_for_on_the_path() {
        assert!(is_installed("sh"));
        assert!(!is_installed("no-such-program-anywhere"));
    }
}
