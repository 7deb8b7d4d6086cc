//! The project that this xtask belongs to: its folder, version, commit, and how to call cargo in it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Where the project is and what it says about itself.
#[derive(Debug, Clone)]
pub(crate) struct Project {
    /// Absolute folder of the workspace.
    pub(crate) root: PathBuf,
    /// Version in `[workspace.package]`.
    pub(crate) version: String,
    /// Where the project lives on the net.
    pub(crate) repository: String,
    /// Text of the root manifest.
    pub(crate) manifest: String,
    /// Where the project lies of which this is a copy, in a second build.
    pub(crate) original: Option<PathBuf>,
}

/// The commit that is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Commit {
    /// Hash, with `-dirty` if tracked files differ from it.
    pub(crate) sha: String,
    /// Time of the commit in UTC, RFC 3339.
    pub(crate) time: String,
    /// The same in seconds.
    pub(crate) epoch: u32,
}

impl Project {
    /// The project around this program's sources.
    pub(crate) fn find() -> Result<Self> {
        let root =
            Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the project's folder")?;
        Self::at(root)
    }

    /// The project in a folder.
    pub(crate) fn at(root: &Path) -> Result<Self> {
        let root =
            root.canonicalize().with_context(|| format!("cannot find the project at {}", root.display()))?;
        let path = root.join("Cargo.toml");
        let manifest =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let parsed: toml::Table =
            manifest.parse().with_context(|| format!("{} is not a manifest", path.display()))?;
        let package = |key: &str| -> Result<String> {
            let package = parsed.get("workspace").and_then(|workspace| workspace.get("package"));
            let value = package.and_then(|package| package.get(key)).and_then(toml::Value::as_str);
            let value =
                value.with_context(|| format!("{} has no workspace.package.{key}", path.display()))?;
            Ok(value.to_owned())
        };
        let (version, repository) = (package("version")?, package("repository")?);
        Ok(Project { root, version, repository, manifest, original: None })
    }

    /// Where cargo puts what it builds.
    pub(crate) fn target(&self) -> PathBuf {
        self.root.join("target")
    }

    /// The commit of the working tree; nothing if it is not a git repository or git cannot be run.
    pub(crate) fn commit(&self) -> Option<Commit> {
        let git = |arguments: &[&str]| self.git(arguments);
        // Sources that were unpacked somewhere in another repository are no part of its commits.
        let top = git(&["rev-parse", "--show-toplevel"])?;
        if Path::new(top.trim_end_matches('\n')).canonicalize().ok()? != self.root {
            return None;
        }
        let log = git(&[
            "log",
            "-1",
            "--no-show-signature",
            "--date=format-local:%Y-%m-%dT%H:%M:%SZ",
            "--format=%H %cd %ct",
        ])?;
        let mut words = log.split_whitespace();
        let (sha, time, epoch) = (words.next()?, words.next()?, words.next()?.parse().ok()?);
        let dirty = !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
        Some(Commit {
            sha: format!("{sha}{}", if dirty { "-dirty" } else { "" }),
            time: time.to_owned(),
            epoch,
        })
    }

    /// What git says about the project; nothing if it is no repository or git cannot be run.
    pub(crate) fn git(&self, arguments: &[&str]) -> Option<String> {
        // The tree may belong to somebody else than root: it is only read, and so is what git remembers of it.
        let output = Command::new("git")
            .arg("--no-optional-locks")
            .arg("-C")
            .arg(&self.root)
            .args(["-c", "safe.directory=*"])
            .args(arguments)
            .env("TZ", "UTC")
            .output()
            .ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Seconds since 1970 that built things carry: `SOURCE_DATE_EPOCH`, else the commit's time, else 0.
    pub(crate) fn source_date_epoch(&self, commit: Option<u32>) -> Result<u32> {
        match env::var("SOURCE_DATE_EPOCH") {
            Ok(text) => {
                text.parse().with_context(|| format!("SOURCE_DATE_EPOCH is not a number of seconds: {text}"))
            }
            Err(_) => Ok(commit.unwrap_or(0)),
        }
    }

    /// cargo, without what the cargo that runs us left in the environment: build scripts of dependencies watch some of
    /// it, and would run again each time. A test's cargo passes on even what the product's build script gave.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(&self.root);
        for (name, _) in env::vars_os() {
            let left_behind = name.to_str().is_some_and(|name| {
                ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "VERGEN_"]
                    .iter()
                    .any(|by| name.starts_with(by))
                    || matches!(
                        name,
                        "CARGO_PRIMARY_PACKAGE" | "OUT_DIR" | "CARGO_ENCODED_RUSTFLAGS" | "RUSTFLAGS"
                    )
            });
            if left_behind {
                cargo.env_remove(name);
            }
        }
        cargo
    }
}

/// Where cargo keeps its registry: `CARGO_HOME`, or `.cargo` in the home directory.
pub(crate) fn cargo_home() -> Result<PathBuf> {
    if let Some(home) = env::var_os("CARGO_HOME").filter(|home| !home.is_empty()) {
        return Ok(PathBuf::from(home));
    }
    let home = env::home_dir().context("no home directory: set CARGO_HOME or HOME")?;
    Ok(home.join(".cargo"))
}

/// The compiler.
#[derive(Debug, Clone)]
pub(crate) struct Toolchain {
    /// Folder of its own libraries.
    pub(crate) sysroot: PathBuf,
    /// The machine that it runs on, as it names machines.
    pub(crate) host: String,
    /// What it says about its version.
    pub(crate) version: String,
}

impl Toolchain {
    /// Asks the compiler that cargo will use.
    pub(crate) fn find() -> Result<Self> {
        let said = ask_rustc(&["--print", "sysroot", "--print", "host-tuple"])?;
        let mut lines = said.lines();
        let (Some(sysroot), Some(host)) = (lines.next(), lines.next()) else {
            bail!("rustc did not say where it lives and what it runs on: {said}")
        };
        Ok(Toolchain {
            sysroot: PathBuf::from(sysroot),
            host: host.to_owned(),
            version: ask_rustc(&["--version"])?.trim().to_owned(),
        })
    }

    /// Whether it can build for a machine: whether it has Rust's own library for it.
    pub(crate) fn has_library_for(&self, triple: &str) -> Result<bool> {
        let folder = ask_rustc(&["--print", "target-libdir", "--target", triple])?;
        let entries = fs::read_dir(folder.trim()).into_iter().flatten().flatten();
        Ok(entries.map(|entry| entry.file_name()).any(|name| name.to_string_lossy().starts_with("libstd-")))
    }
}

fn ask_rustc(arguments: &[&str]) -> Result<String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(&rustc)
        .args(arguments)
        .output()
        .with_context(|| format!("cannot start {}", rustc.to_string_lossy()))?;
    if !output.status.success() {
        bail!("`rustc {}` failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_in_somebody_else_s_repository_have_no_commit() {
        let outer = tempfile::tempdir().unwrap();
        let sources = outer.path().join("vendor/product");
        fs::create_dir_all(&sources).unwrap();
        let manifest = "[workspace.package]\nversion = \"1.0.0\"\nrepository = \"https://disco.example\"\n";
        fs::write(sources.join("Cargo.toml"), manifest).unwrap();
        let git = |folder: &Path, words: &[&str]| {
            let who = ["-c", "user.name=a", "-c", "user.email=a@b.example"];
            let output = Command::new("git").arg("-C").arg(folder).args(who).args(words).output().unwrap();
            assert!(output.status.success(), "{output:?}");
        };
        let project = Project::at(&sources).unwrap();
        for folder in [outer.path(), &sources] {
            git(folder, &["init", "--quiet"]);
            git(folder, &["commit", "--quiet", "--allow-empty", "--message", "first"]);
            assert_eq!(project.commit().is_some(), folder == sources, "{}", folder.display());
        }
    }
}
