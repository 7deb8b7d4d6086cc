//! What building and testing needs from the machine, and how to get it.

use std::env;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// A program, the package that brings it, and what it is for.
struct Tool {
    program: &'static str,
    package: &'static str,
    purpose: &'static str,
}

const TOOLS: [Tool; 7] = [
    Tool { program: "rsync", package: "rsync", purpose: "serves and fetches the universe" },
    Tool {
        program: "nats-server",
        package: "nats-server",
        purpose: "is the broker of the provisioning tests",
    },
    Tool { program: "rpm", package: "rpm", purpose: "installs our rpm into throw-away roots" },
    Tool {
        program: "openssl",
        package: "openssl",
        purpose: "looks at the certificate requests that nodes make",
    },
    Tool { program: "lintian", package: "lintian", purpose: "checks our debs as Debian does" },
    Tool { program: "rpmlint", package: "rpmlint", purpose: "checks our rpms as Fedora does" },
    Tool { program: "mmdebstrap", package: "mmdebstrap", purpose: "makes the root of a throw-away node" },
];

/// Installs what is missing, after saying what and why.
pub(crate) fn run() -> Result<()> {
    let missing: Vec<&Tool> = TOOLS.iter().filter(|tool| !is_installed(tool.program)).collect();
    if missing.is_empty() {
        let present: Vec<_> = TOOLS.iter().map(|tool| tool.program).collect();
        eprintln!("setup: nothing to do; {} are installed", present.join(", "));
        return Ok(());
    }
    for tool in &missing {
        eprintln!("setup: {} is missing; it {}", tool.program, tool.purpose);
    }
    let packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
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
        missing.iter().map(|tool| tool.program).filter(|program| !is_installed(program)).collect();
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

/// Whether a program can be found; system programs count even if the user's PATH leaves their folders out.
fn is_installed(program: &str) -> bool {
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
