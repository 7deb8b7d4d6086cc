//! `--check-reproducible`: builds once more where everything differs that must not matter, and compares every byte.
//!
//! ```text
//! target/reproducible/
//!   sources/     copy of the project while the check runs; of it only target/ stays, so that the next check is quicker
//!   home/        another HOME, through which cargo and the compiler are seen under other paths
//!   rustc        the compiler without the other date, as is rustdoc
//! ```
//!
//! The second build is this program again, see `elsewhere`.

mod difference;
pub(crate) mod elsewhere;

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::build::Until;
use crate::dist::SUMS;
use crate::project::{Project, cargo_home};
use crate::{flags, matrix, setup};

/// The program that gives others another date.
const FAKETIME: &str = "faketime";

/// Programs that stop for ever with libfaketime, because of their allocator, and the variables by which cargo and build
/// scripts find them. They have no use for a date; what runs them has the other one.
const COMPILER: [(&str, &str); 2] = [("RUSTC", "rustc"), ("RUSTDOC", "rustdoc")];

/// Folder in target/ of what set-up fetched.
const TOOLS: &str = "tools";

/// What stays in the copy between checks.
const KEPT: &str = "target";

/// Builds what the command line names; twice if it says so.
pub(crate) fn run(project: &Project, arguments: &flags::Making, until: Until) -> Result<()> {
    if !arguments.check_reproducible {
        return matrix::run(project, &arguments.build, until);
    }
    // Before anything is built: the check cannot be done by halves.
    ensure!(
        setup::is_installed(FAKETIME),
        "the check needs the program `faketime` to build on another date\n  help: install the package faketime; \
         `cargo xtask setup` does it"
    );
    let specs = matrix::paths(project, &arguments.build)?;
    matrix::run(project, &arguments.build, until)?;
    let started = Instant::now();
    let elsewhere = Elsewhere::prepare(project)?;
    let again = elsewhere.build(&specs, arguments.build.fast, until)?;
    let first = arguments.build.dist.clone().unwrap_or_else(|| project.root.join("dist"));
    let differences = compare(&first, &again, specs.len())?;
    for difference in &differences {
        eprintln!("error: {difference}");
    }
    ensure!(
        differences.is_empty(),
        "not reproducible: a second build elsewhere, as another user, on another date made other bytes\n  help: look \
         for what takes a path, a user, a host's name or a time into the build, such as the build script of a plug"
    );
    eprintln!(
        "reproducible: another folder, user, host and date make the same bytes ({:.1} s)",
        started.elapsed().as_secs_f64()
    );
    Ok(())
}

/// What differs between two folders of brands, the causes first.
fn compare(first: &Path, again: &Path, brands: usize) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = fs::read_dir(again)
        .with_context(|| format!("cannot read {}", again.display()))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<_>>()?;
    folders.sort();
    ensure!(folders.len() == brands, "the second build made {} of {brands} brands", folders.len());
    for folder in folders {
        let brand = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let before = first.join(&brand);
        let (names, others) = (listed(&before)?, listed(&folder)?);
        for only in others.iter().filter(|name| !names.contains(name)) {
            found.push(format!("{brand}/{only}: only the second build made it"));
        }
        for name in names {
            if !others.contains(&name) {
                found.push(format!("{brand}/{name}: the second build did not make it"));
                continue;
            }
            let read = |folder: &Path| {
                fs::read(folder.join(&name)).with_context(|| format!("cannot read {brand}/{name}"))
            };
            if let Some(how) = difference::between(&name, &read(&before)?, &read(&folder)?) {
                found.push(format!("{brand}/{name}: {how}"));
            }
        }
    }
    Ok(found)
}

/// Names of what a build made, the binary first: what differs there differs in all that is made of it.
fn listed(folder: &Path) -> Result<Vec<String>> {
    let path = folder.join(SUMS);
    let sums = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut names: Vec<String> =
        sums.lines().filter_map(|line| Some(line.split_once("  ")?.1.to_owned())).collect();
    let rank = |name: &String| match name.rsplit_once('.').map(|(_, ending)| ending) {
        None => 0,
        Some("rpm" | "deb") => 1,
        Some(_) => 2,
    };
    names.sort_by_key(rank);
    Ok(names)
}

/// Where the second build happens.
struct Elsewhere {
    original: PathBuf,
    /// Folder of all of it.
    folder: PathBuf,
    sources: PathBuf,
    /// Held while somebody checks.
    _lock: File,
}

impl Elsewhere {
    /// Copies the project, and makes the home and the compiler of somebody else.
    fn prepare(project: &Project) -> Result<Self> {
        let folder = project.target().join("reproducible");
        let sources = folder.join("sources");
        fs::create_dir_all(sources.join(KEPT))
            .with_context(|| format!("cannot create {}", sources.display()))?;
        let lock = File::create(folder.join("lock")).context("cannot create the lock of the check")?;
        lock.lock().context("cannot lock the check")?;
        let elsewhere = Elsewhere { original: project.root.clone(), folder, sources, _lock: lock };
        elsewhere.clear().context("cannot remove what an earlier check left")?;
        copy(&project.root, &elsewhere.sources, true).context("cannot copy the project")?;
        if let Some(git) = project.git(&["rev-parse", "--absolute-git-dir"]) {
            // The copy is at the same commit, and as clean or dirty.
            fs::write(elsewhere.sources.join(".git"), format!("gitdir: {git}"))?;
        }
        elsewhere.link_tools(project)?;
        elsewhere.make_home()?;
        elsewhere.make_compiler()?;
        Ok(elsewhere)
    }

    /// Both builds use the linker that set-up installed: it is pinned, and no part of what is compared.
    fn link_tools(&self, project: &Project) -> Result<()> {
        let (tools, link) = (project.target().join(TOOLS), self.sources.join(KEPT).join(TOOLS));
        if tools.is_dir() && !link.is_symlink() {
            symlink(&tools, &link).with_context(|| format!("cannot link {}", link.display()))?;
        }
        Ok(())
    }

    fn make_home(&self) -> Result<()> {
        let home = self.folder.join("home");
        fs::create_dir_all(&home)?;
        let rustup =
            env::var_os("RUSTUP_HOME").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".rustup")));
        for (name, real) in [(".cargo", Some(cargo_home()?)), (".rustup", rustup)] {
            let Some(real) = real.filter(|real| real.is_dir()) else { continue };
            let link = home.join(name);
            let _ = fs::remove_file(&link);
            symlink(&real, &link).with_context(|| format!("cannot link {}", link.display()))?;
        }
        Ok(())
    }

    /// Hides the other date from the compiler and its kin.
    fn make_compiler(&self) -> Result<()> {
        for (variable, program) in COMPILER {
            let real = env::var(variable).unwrap_or_else(|_| program.into());
            let script = format!("#!/bin/sh\nunset LD_PRELOAD\nexec {} \"$@\"\n", shell_words::quote(&real));
            let path = self.folder.join(program);
            // cargo compiles all anew with a compiler that looks newer.
            if fs::read_to_string(&path).is_ok_and(|now| now == script) {
                continue;
            }
            fs::write(&path, script)
                .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(0o755)))
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    /// Builds there; returns the folder with the results.
    fn build(&self, specs: &[PathBuf], fast: bool, until: Until) -> Result<PathBuf> {
        let dist = self.sources.join("dist");
        let home = self.folder.join("home");
        let mut second = Command::new(FAKETIME);
        second.args(["-f", "+400d"]).arg(env::current_exe().context("this program has no path")?);
        second.arg("elsewhere").arg("--project").arg(&self.sources).arg("--original").arg(&self.original);
        second.arg("--dist").arg(&dist);
        for spec in specs {
            let spec =
                spec.canonicalize().with_context(|| format!("cannot find the spec {}", spec.display()))?;
            // One of the project is found in the copy, so that what it names is found there, too.
            let spec = match spec.strip_prefix(&self.original) {
                Ok(inside) if self.sources.join(inside).is_file() => self.sources.join(inside),
                _ => spec,
            };
            second.arg("--spec").arg(spec);
        }
        if fast {
            second.arg("--fast");
        }
        if until == Until::Binaries {
            second.arg("--binaries");
        }
        // The key that signs, in an agent, is the same one.
        let keys =
            env::var_os("GNUPGHOME").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".gnupg")));
        if let Some(keys) = keys {
            second.env("GNUPGHOME", keys);
        }
        for (name, value) in [
            ("USER", OsStr::new("somebody-else")),
            ("LOGNAME", OsStr::new("somebody-else")),
            ("TZ", OsStr::new("Asia/Kathmandu")),
            ("LC_ALL", OsStr::new("C")),
            ("HOME", home.as_os_str()),
            ("CARGO_HOME", home.join(".cargo").as_os_str()),
            ("RUSTUP_HOME", home.join(".rustup").as_os_str()),
            // cargo compares times of files with each other, and the kernel writes the real ones.
            ("NO_FAKE_STAT", OsStr::new("1")),
        ] {
            second.env(name, value);
        }
        for (variable, program) in COMPILER {
            second.env(variable, self.folder.join(program));
        }
        second.stdout(std::io::stderr());
        let status = second.status().with_context(|| format!("cannot start {FAKETIME}"))?;
        if !status.success() {
            bail!("the second build, in {}, failed: see above", self.sources.display());
        }
        Ok(dist)
    }

    /// Removes the sources, in which there may be secrets.
    fn clear(&self) -> std::io::Result<()> {
        for entry in fs::read_dir(&self.sources)? {
            let entry = entry?;
            if entry.file_name() == KEPT {
                continue;
            }
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        if let Err(why) = self.clear() {
            eprintln!("warning: cannot remove the copy in {}: {why}", self.sources.display());
        }
    }
}

/// Copies a tree; of the project itself everything but what is built and what git keeps.
fn copy(from: &Path, to: &Path, top: bool) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let (name, path) = (entry.file_name(), entry.path());
        if top && [KEPT, "dist", ".git"].iter().any(|left| name == *left) {
            continue;
        }
        let (kind, to) = (entry.file_type()?, to.join(&name));
        if kind.is_dir() {
            fs::create_dir(&to).with_context(|| format!("cannot create {}", to.display()))?;
            copy(&path, &to, false)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(&path)?, &to).with_context(|| format!("cannot link {}", to.display()))?;
        } else if kind.is_file() {
            // With its time, by which cargo sees what changed since the check before.
            let time = entry.metadata().and_then(|about| about.modified());
            fs::copy(&path, &to)
                .and_then(|_| File::open(&to)?.set_modified(time?))
                .with_context(|| format!("cannot copy {}", path.display()))?;
        }
    }
    Ok(())
}
