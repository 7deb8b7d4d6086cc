//! What building for a target takes: zig as the linker, the compiler's library for the machine, an emulator to ask the
//! binary what it is. What is missing is told before anything is compiled, with what installs it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};

use crate::elf::Glibc;
use crate::project::{Project, Toolchain};
use crate::setup::is_installed;
use crate::spec::{Spec, Target, sha256_hex};

/// Pinned releases of zig and of what makes cargo use it.
const ZIG: &str = include_str!("../zig.txt");

/// Digest of the pinned releases.
pub(crate) fn pins() -> String {
    sha256_hex(ZIG)
}

/// zig and what makes cargo use it, below `target/`.
#[derive(Debug, Clone)]
pub(crate) struct Zig {
    folder: PathBuf,
}

impl Zig {
    /// The pinned releases, whether they are installed or not: other pins are another folder.
    pub(crate) fn of(project: &Project) -> Self {
        let pins = &pins()[..12];
        Zig { folder: project.target().join(format!("tools/zig-{pins}")) }
    }

    fn program(&self) -> PathBuf {
        self.folder.join("bin/cargo-zigbuild")
    }

    /// Whether it can be used.
    pub(crate) fn is_installed(&self) -> bool {
        self.program().is_file()
    }

    /// Has pip install the releases whose digests are known, whole or not at all.
    pub(crate) fn install(&self) -> Result<()> {
        let tools = self.folder.parent().context("the folder lies in target/tools")?;
        std::fs::create_dir_all(tools).with_context(|| format!("cannot create {}", tools.display()))?;
        let unfinished = tempfile::Builder::new()
            .prefix(".zig-")
            .tempdir_in(tools)
            .with_context(|| format!("cannot make a folder in {}", tools.display()))?;
        let pins = unfinished.path().join("zig.txt");
        std::fs::write(&pins, ZIG).with_context(|| format!("cannot write {}", pins.display()))?;
        let files = unfinished.path().join("files");
        let status = Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-cache-dir"])
            .args(["--root-user-action", "ignore", "--no-deps", "--only-binary", ":all:"])
            .arg("--require-hashes")
            .arg("--target")
            .arg(&files)
            .arg("--requirement")
            .arg(&pins)
            .status()
            .context("cannot start python3")?;
        if !status.success() {
            bail!("pip could not install zig; its messages are above");
        }
        std::fs::rename(&files, &self.folder)
            .with_context(|| format!("cannot make {}", self.folder.display()))
    }

    /// cargo that links with zig; what it caches stays below `target/`, where the home directory may be read-only.
    fn cargo(&self, project: &Project) -> Command {
        let plain = project.cargo();
        let mut cargo = Command::new(self.program());
        cargo.current_dir(&project.root).arg("zigbuild");
        for (name, value) in plain.get_envs() {
            match value {
                Some(value) => cargo.env(name, value),
                None => cargo.env_remove(name),
            };
        }
        let caches = project.target().join("tools/cache");
        cargo
            .env("CARGO_ZIGBUILD_ZIG_PATH", self.folder.join("ziglang/zig"))
            .env("CARGO_ZIGBUILD_CACHE_DIR", caches.join("cargo-zigbuild"))
            .env("ZIG_GLOBAL_CACHE_DIR", caches.join("zig"))
            .env("ZIG_LOCAL_CACHE_DIR", caches.join("zig"));
        cargo
    }
}

/// Runs programs of another machine.
#[derive(Debug, Clone)]
struct Emulator {
    program: String,
    /// Where that machine's C library is.
    root: PathBuf,
}

/// What brings each part of an emulator, as Debian calls it.
pub(crate) struct EmulatorParts {
    /// File that has to be there, and the package that brings it.
    pub(crate) parts: [(String, String); 2],
}

impl EmulatorParts {
    /// Those for a machine, by its name in triples.
    pub(crate) fn of(architecture: &str) -> Self {
        let deb = if architecture == "aarch64" { "arm64" } else { "amd64" };
        let loader = match architecture {
            "aarch64" => "lib/ld-linux-aarch64.so.1",
            _ => "lib64/ld-linux-x86-64.so.2",
        };
        EmulatorParts {
            parts: [
                (format!("qemu-{architecture}-static"), "qemu-user-static".to_owned()),
                (format!("/usr/{architecture}-linux-gnu/{loader}"), format!("libc6-{deb}-cross")),
            ],
        }
    }
}

/// A target of a spec whose binary can be built here.
pub(crate) struct Cross<'a> {
    pub(crate) target: &'a Target,
    /// rustc's name of the machine.
    pub(crate) triple: String,
    /// The oldest C library to run with; none for the build host's.
    pub(crate) floor: Option<Glibc>,
    zig: Option<Zig>,
    emulator: Option<Emulator>,
}

impl<'a> Cross<'a> {
    /// Looks for everything that building for the target takes.
    ///
    /// # Errors
    /// Something is missing; the message says what installs it.
    pub(crate) fn to_build(
        project: &Project,
        toolchain: &Toolchain,
        spec: &Spec,
        target: &'a Target,
    ) -> Result<Self> {
        if let Some(triple) = target.triple.as_ref().filter(|triple| **triple != toolchain.host)
            && !toolchain.has_library_for(triple)?
        {
            let what = format!("{} has no standard library for {triple}", toolchain.version);
            bail!(missing(spec, target, &what, &library_cure(triple)));
        }
        let zig = target.floor(&toolchain.host).map(|_| Zig::of(project));
        if zig.as_ref().is_some_and(|zig| !zig.is_installed()) {
            let cure = format!("`{}` installs it", setup(spec));
            bail!(missing(spec, target, "zig, which links it, is not installed", &cure));
        }
        Ok(Cross { zig, ..Self::to_run(toolchain, spec, target)? })
    }

    /// Looks for what asking a finished binary of the target takes.
    ///
    /// # Errors
    /// As for [`Cross::to_build`].
    pub(crate) fn to_run(toolchain: &Toolchain, spec: &Spec, target: &'a Target) -> Result<Self> {
        let host = &toolchain.host;
        let triple = target.triple.clone().unwrap_or_else(|| host.clone());
        let emulator = if triple == *host { None } else { Some(Emulator::find(&triple)) };
        let emulator = emulator.transpose().map_err(|packages| {
            let what = format!("{} is missing, to ask its binary what it is", packages.join(" and "));
            anyhow!(missing(spec, target, &what, &format!("`{}` installs it", setup(spec))))
        })?;
        Ok(Cross { target, triple, floor: target.floor(host), zig: None, emulator })
    }

    /// cargo for this target, with its first arguments: `build --release` and what tells the machine.
    pub(crate) fn cargo(&self, project: &Project) -> Command {
        match (&self.zig, &self.floor) {
            (Some(zig), Some(floor)) => {
                let mut cargo = zig.cargo(project);
                cargo.arg("--release").arg("--target").arg(format!("{}.{floor}", self.triple));
                cargo
            }
            _ => {
                let mut cargo = project.cargo();
                cargo.args(["build", "--release"]);
                cargo
            }
        }
    }

    /// Where cargo leaves a binary.
    pub(crate) fn leaves(&self, target_folder: &Path, binary: &str) -> PathBuf {
        let folder = if self.zig.is_some() { target_folder.join(&self.triple) } else { target_folder.into() };
        folder.join("release").join(binary)
    }

    /// The start of a command that runs a binary of this target.
    pub(crate) fn run(&self, binary: &Path) -> Command {
        let Some(emulator) = &self.emulator else { return Command::new(binary) };
        let mut command = Command::new(&emulator.program);
        command.arg("-L").arg(&emulator.root).arg(binary);
        command
    }
}

/// That a target cannot be built, and what to do.
fn missing(spec: &Spec, target: &Target, what: &str, cure: &str) -> String {
    format!(
        "this machine cannot build the target `{}` of {}: {what}\n  help: {cure}",
        target.name, spec.file_name
    )
}

/// The command that installs what the targets of a spec take.
fn setup(spec: &Spec) -> String {
    format!("cargo xtask setup --spec {}", spec.path.display())
}

impl Emulator {
    /// The emulator of a machine, or the packages that are missing for it.
    fn find(triple: &str) -> Result<Self, Vec<String>> {
        let architecture = triple.split('-').next().unwrap_or_default();
        let [program, library] = EmulatorParts::of(architecture).parts;
        let missing: Vec<String> = [&program, &library]
            .into_iter()
            .filter(|(file, _)| !is_installed(file))
            .map(|(_, package)| package.clone())
            .collect();
        if !missing.is_empty() {
            return Err(missing);
        }
        Ok(Emulator { program: program.0, root: format!("/usr/{architecture}-linux-gnu").into() })
    }
}

/// Whether the compiler is one that rustup looks after.
pub(crate) fn has_rustup() -> bool {
    env::var_os("RUSTC").is_none() && is_installed("rustup")
}

/// What brings a standard library: it depends on who brought the compiler.
pub(crate) fn library_cure(triple: &str) -> String {
    if has_rustup() {
        return format!("`rustup target add {triple}`");
    }
    let deb = if triple.starts_with("aarch64") { "arm64" } else { "amd64" };
    format!(
        "`rustup target add {triple}` where rustup brought the compiler; Debian's compiler takes the package \
         libstd-rust-dev:{deb}; another one needs its own library for that machine"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Surroundings;

    #[test]
    fn other_pins_are_another_folder() {
        assert_eq!(ZIG.matches("==").count(), 2, "two tools, each at one version");
        assert_eq!(ZIG.matches("--hash=sha256:").count(), 4, "for two machines each");
        let project = Project::find().unwrap();
        assert!(Zig::of(&project).folder.starts_with(project.target().join("tools")));
    }

    fn spec(text: &str) -> Spec {
        let around = Surroundings { project_version: "0.1.0", environment: &|_| None };
        let text = format!("[brand]\nname = \"acme\"\n{text}");
        crate::spec::parse(Path::new("brands/acme.toml"), &text, &around).unwrap()
    }

    #[test]
    fn without_zig_the_command_that_installs_it_is_said() {
        let scratch = tempfile::tempdir().unwrap();
        let project = Project { root: scratch.path().to_owned(), ..Project::find().unwrap() };
        let spec = spec("[targets.old]\nglibc = \"2.17\"\n");
        let toolchain = Toolchain::find().unwrap();
        let refused = Cross::to_build(&project, &toolchain, &spec, &spec.targets[0]).err().unwrap();
        assert_eq!(
            refused.to_string(),
            "this machine cannot build the target `old` of acme.toml: zig, which links it, is not installed\n  help: \
             `cargo xtask setup --spec brands/acme.toml` installs it"
        );
    }

    #[test]
    fn what_no_machine_has_is_missing_by_the_names_of_its_packages() {
        let missing = Emulator::find("marsian-unknown-linux-gnu").unwrap_err();
        assert_eq!(missing, ["qemu-user-static", "libc6-amd64-cross"]);
    }
}
