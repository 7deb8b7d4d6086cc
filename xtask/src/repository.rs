//! Repositories for apt and dnf from finished packages: what a vendor puts on a web server.
//!
//! ```text
//! OUT/apt/pool/*.deb                    packages of all runs, side by side
//! OUT/apt/dists/stable/…                what apt asks for: Release, InRelease, Packages of each architecture
//! OUT/rpm/*.rpm, OUT/rpm/repodata/…     the same for dnf
//! OUT/key.asc                           the public key, if the lists are signed
//! ```
//!
//! Packages are added, none is taken away: nodes may go back to an older one.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use crate::build;
use crate::flags;
use crate::project::Project;
use crate::signing::{KeyPlace, Signer};

/// Name of the only suite and the only component.
const SUITE: &str = "stable";
const COMPONENT: &str = "main";

/// Adds the packages of the folders to the repositories, and writes and signs their lists.
pub(crate) fn run(project: &Project, arguments: &flags::Repository) -> Result<()> {
    let signer = match &arguments.spec {
        Some(spec) => {
            let spec = build::load(project, spec)?;
            let place: &KeyPlace = spec.signing.repository_key.as_ref().with_context(|| {
                format!(
                    "{} names no key to sign with\n  help: `cargo xtask spec explain signing`",
                    spec.file_name
                )
            })?;
            Some(Signer::of(place)?)
        }
        None => None,
    };
    let out = &arguments.out;
    let (debs, rpms) = packages(&arguments.folder)?;
    // Two at once would leave out what the other adds.
    fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    let folder = File::open(out).with_context(|| format!("cannot open {}", out.display()))?;
    folder.lock().with_context(|| format!("cannot lock {}", out.display()))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let signer = signer.as_ref();
    if let Some(signer) = signer {
        put(&out.join("key.asc"), &signer.public()?)?;
    }
    if !debs.is_empty() {
        apt(&out.join("apt"), &debs, signer, now)?;
        println!("{}", out.join("apt").display());
    }
    if !rpms.is_empty() {
        dnf(&out.join("rpm"), &rpms, signer, now)?;
        println!("{}", out.join("rpm").display());
    }
    if signer.is_none() {
        eprintln!(
            "note: the lists are not signed; `--spec` names a spec whose [signing] says with which key"
        );
    }
    Ok(())
}

/// The debs and the rpms of some folders.
fn packages(folders: &[PathBuf]) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let (mut debs, mut rpms) = (Vec::new(), Vec::new());
    for folder in folders {
        let before = debs.len() + rpms.len();
        let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
            match path.extension().and_then(|ending| ending.to_str()) {
                Some("deb") => debs.push(path),
                Some("rpm") => rpms.push(path),
                _ => {}
            }
        }
        if debs.len() + rpms.len() == before {
            bail!("{} holds no packages\n  help: `cargo xtask build` makes them", folder.display());
        }
    }
    debs.sort();
    rpms.sort();
    Ok((debs, rpms))
}

fn apt(root: &Path, debs: &[PathBuf], signer: Option<&Signer>, now: u64) -> Result<()> {
    add(&root.join("pool"), debs)?;
    let mut architectures = BTreeSet::new();
    for entry in fs::read_dir(root.join("pool")).context("cannot read the pool")? {
        let name = entry.context("cannot read the pool")?.file_name().to_string_lossy().into_owned();
        // As deb(5) names packages: name_version_architecture.deb.
        if let Some((_, architecture)) = name.strip_suffix(".deb").and_then(|name| name.rsplit_once('_')) {
            architectures.insert(architecture.to_owned());
        }
    }
    // A whole new folder of lists takes the place of the old one, so that a failure leaves that as it was.
    let (new, lists) = (root.join("dists.new"), root.join("dists"));
    remove(&new)?;
    let suite = new.join(SUITE);
    for architecture in &architectures {
        let lists = suite.join(COMPONENT).join(format!("binary-{architecture}"));
        fs::create_dir_all(&lists).with_context(|| format!("cannot create {}", lists.display()))?;
        let list = said(
            Command::new("apt-ftparchive")
                .args(["--arch", architecture, "packages", "pool"])
                .current_dir(root),
        )?;
        put(&lists.join("Packages"), &list)?;
    }
    let mut release = Command::new("apt-ftparchive");
    let architectures = architectures.into_iter().collect::<Vec<_>>().join(" ");
    for (field, value) in [
        ("Suite", SUITE),
        ("Codename", SUITE),
        ("Components", COMPONENT),
        ("Architectures", architectures.as_str()),
    ] {
        release.arg("-o").arg(format!("APT::FTPArchive::Release::{field}={value}"));
    }
    let release = said(release.arg("release").arg(&suite))?;
    put(&suite.join("Release"), &release)?;
    if let Some(signer) = signer {
        put(&suite.join("InRelease"), &signer.clear(&release, now)?)?;
        put(&suite.join("Release.gpg"), &signer.detached(&release, true, now)?)?;
    }
    remove(&lists)?;
    fs::rename(&new, &lists).with_context(|| format!("cannot rename {}", new.display()))
}

fn dnf(root: &Path, rpms: &[PathBuf], signer: Option<&Signer>, now: u64) -> Result<()> {
    add(root, rpms)?;
    // gzip, because the oldest yum reads nothing newer.
    said(Command::new("createrepo_c").args(["--quiet", "--general-compress-type=gz"]).arg(root))?;
    let list = root.join("repodata/repomd.xml");
    let signature = root.join("repodata/repomd.xml.asc");
    match signer {
        Some(signer) => {
            let content = fs::read(&list).with_context(|| format!("cannot read {}", list.display()))?;
            put(&signature, &signer.detached(&content, true, now)?)
        }
        // One of an earlier run would be about other lists.
        None => remove(&signature),
    }
}

/// Copies packages into a folder. One that is there already stays, and another one of the same name is refused: nodes
/// know packages by their names.
fn add(folder: &Path, packages: &[PathBuf]) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for package in packages {
        let content = fs::read(package).with_context(|| format!("cannot read {}", package.display()))?;
        let place = folder.join(package.file_name().unwrap_or_default());
        match fs::read(&place) {
            Ok(there) if there == content => {}
            Ok(_) => bail!(
                "{} is in the repository already, with another content\n  help: give it another `brand.release`; \
                 nodes would not notice the change, or take it for an attack",
                place.display()
            ),
            Err(_) => put(&place, &content)?,
        }
    }
    Ok(())
}

/// Writes a file under another name first.
fn put(path: &Path, content: &[u8]) -> Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    fs::write(&new, content)
        .and_then(|()| File::open(&new)?.sync_all())
        .and_then(|()| fs::rename(&new, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Removes a file or a folder, if it is there.
fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(why) if why.kind() != std::io::ErrorKind::NotFound => {
            Err(why).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Runs a tool that must succeed.
fn said(tool: &mut Command) -> Result<Vec<u8>> {
    let name = tool.get_program().to_string_lossy().into_owned();
    let output =
        tool.output().with_context(|| format!("cannot start {name}; `cargo xtask setup` installs it"))?;
    if !output.status.success() {
        bail!("{name} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}
