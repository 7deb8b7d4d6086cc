//! From a spec to a verified binary and packages.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::brand_crate::{self, BAKED};
use crate::crates::Crates;
use crate::cross::{self, Cross};
use crate::dist::Dist;
use crate::elf::{Glibc, Linkage};
use crate::packages::{Content, Manual};
use crate::project::{Commit, Project, Toolchain, cargo_home};
use crate::rebrand::Base;
use crate::spec::{self, Spec, Surroundings, Target, sha256_hex};
use crate::statement::Origin;
use crate::{licences, packages, sbom, statement};

/// Where a build stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// At the verified binary.
    Binaries,
    /// At the packages.
    Packages,
}

/// Reads a spec with this process's environment around it, and prints its warnings.
pub(crate) fn load(project: &Project, path: &Path) -> Result<Spec> {
    let around =
        Surroundings { project_version: &project.version, environment: &|name: &str| env::var_os(name) };
    let spec = spec::load(path, &around)?;
    for warning in &spec.warnings {
        eprintln!("warning: {warning}");
    }
    Ok(spec)
}

/// What the binary says about itself, in `dist/<brand>/`.
pub(crate) const BUILDINFO: &str = "buildinfo.json";

/// `SOURCE_DATE_EPOCH` of compilations. Not the commit's time: C compilers are made to run again when it changes, and
/// with them everything that links ring. Nothing that is compiled reads it but to leave the real time out; the commit's
/// time travels in the build facts, and packages carry it.
const CARGO_EPOCH: &str = "1";

/// What all brands of one run share.
pub(crate) struct Builder<'a> {
    project: &'a Project,
    commit: Option<Commit>,
    epoch: u32,
    rustflags: OsString,
    toolchain: Toolchain,
    /// Environment variables with secrets, which no child may see.
    hidden: Vec<String>,
    /// Whether packages are compressed quickly rather than well.
    fast: bool,
    /// Where cargo puts what it compiles.
    compiled: PathBuf,
}

/// A binary that was asked what it is, and answered what its spec says.
pub(crate) struct Built {
    target: Target,
    triple: String,
    image: Vec<u8>,
    buildinfo: Value,
    crates: Crates,
    /// Licences of the crates; nothing if they cannot be known.
    licences: Option<String>,
    /// Releases of the crates, where plugs bring others than the product's.
    lock: Option<Vec<u8>>,
    origin: Origin,
    /// Time of what is made of it, in seconds since 1970.
    epoch: u32,
}

impl<'a> Builder<'a> {
    /// `hidden` are environment variables that no child may see.
    pub(crate) fn new(project: &'a Project, hidden: Vec<String>, fast: bool) -> Result<Self> {
        let commit = project.commit();
        if commit.is_none() {
            eprintln!("note: no git commit to be found; the build facts will say `unknown`");
        }
        let epoch = project.source_date_epoch(commit.as_ref().map(|commit| commit.epoch))?;
        let toolchain = Toolchain::find()?;
        let rustflags = neutral_rustflags(project, &toolchain)?;
        let compiled = project.target();
        Ok(Builder { project, commit, epoch, rustflags, toolchain, hidden, fast, compiled })
    }

    /// Shares nothing with what was compiled before.
    pub(crate) fn compiling_in(self, compiled: PathBuf) -> Self {
        Builder { compiled, ..self }
    }

    /// Builds the binaries of one brand, one for each target, and verifies them. A quiet cargo says only what is wrong.
    pub(crate) fn binaries(&self, spec: &Spec, quiet: bool) -> Result<Vec<Built>> {
        let ready =
            |target| -> Result<Cross<'_>> { Cross::to_build(self.project, &self.toolchain, spec, target) };
        let targets = spec.targets.iter().map(ready).collect::<Result<Vec<_>>>()?;
        // Two builds of one brand meet at the same file below target/: the second waits until the first has its copy.
        let _lock = self.lock(spec)?;
        let pins = targets.iter().any(|cross| cross.floor.is_some()).then(cross::pins);
        targets.iter().map(|cross| self.binary(spec, cross, pins.as_deref(), quiet)).collect()
    }

    fn binary(&self, spec: &Spec, cross: &Cross<'_>, pins: Option<&str>, quiet: bool) -> Result<Built> {
        let started = Instant::now();
        let (built, crates) = self.compile(spec, cross, quiet)?;
        let lock = brand_crate::lock(self.project, spec)?;
        let image = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
        if let Some(floor) = &cross.floor {
            refuse_above(floor, &image, spec, cross.target)?;
        }
        let commit = self.commit.as_ref().map(|commit| commit.sha.as_str());
        let asked = cross.run(&built);
        let buildinfo = self.verify(spec, &built, asked, &cross.triple, commit)?;
        eprintln!("{}: built and verified in {:.1} s", cross.target.output, started.elapsed().as_secs_f64());
        let (target, triple) = (cross.target.clone(), cross.triple.clone());
        let licences = Some(licences::of(&crates)?);
        let origin = Origin::compiled(
            self.project,
            self.commit.as_ref(),
            &self.toolchain,
            spec,
            &sha256_hex(&lock),
            pins,
        );
        brand_crate::warn_of_places(self.project, spec, &image)?;
        let lock = spec.has_plugs().then_some(lock);
        Ok(Built { target, triple, image, buildinfo, crates, licences, lock, origin, epoch: self.epoch })
    }

    /// Makes the binaries of one brand, one for each target, from those of another, and verifies them.
    pub(crate) fn rebranded(&self, spec: &Spec, bases: &[Base]) -> Result<Vec<Built>> {
        let of = |target| -> Result<_> { Ok((target, Base::of(bases, spec, target)?)) };
        let pairs = spec.targets.iter().map(of).collect::<Result<Vec<_>>>()?;
        pairs.into_iter().map(|(target, base)| self.rebranded_from(spec, target, base)).collect()
    }

    fn rebranded_from(&self, spec: &Spec, target: &Target, base: &Base) -> Result<Built> {
        let started = Instant::now();
        let image = base.branded(spec)?;
        if let Some(floor) = target.floor(&self.toolchain.host) {
            refuse_above(&floor, &image, spec, target)?;
        }
        let patched = started.elapsed();
        // Below target/, where programs may run even if they may not in /tmp.
        let mut file = tempfile::Builder::new()
            .prefix(".rebranded-")
            .permissions(Permissions::from_mode(0o700))
            .tempfile_in(self.project.target())
            .context("cannot make a file below target/")?;
        file.write_all(&image).context("cannot write a file below target/")?;
        // Open for writing it could not be started.
        let file = file.into_temp_path();
        let cross = Cross::to_run(&self.toolchain, spec, target)?;
        let asked = cross.run(&file);
        let buildinfo = self.verify(spec, &file, asked, &cross.triple, Some(base.commit()))?;
        eprintln!(
            "{}: rebranded in {:.1} ms, verified in {:.1} ms",
            spec.brand.binary,
            patched.as_secs_f64() * 1e3,
            (started.elapsed() - patched).as_secs_f64() * 1e3
        );
        let origin = base.origin(self.project);
        // It is as old as the sources that it was compiled from, not as those that lie here.
        let epoch = self.project.source_date_epoch(base.epoch())?;
        let (target, triple) = (target.clone(), cross.triple);
        let (crates, licences) = (base.crates.clone(), base.licences.clone());
        Ok(Built { target, triple, image, buildinfo, crates, licences, lock: None, origin, epoch })
    }

    /// Puts a binary and what is made of it into `folder`, and returns what is there now.
    pub(crate) fn deliver(
        &self,
        spec: &Spec,
        built: &[Built],
        folder: &Path,
        until: Until,
    ) -> Result<Vec<PathBuf>> {
        let mut dist = Dist::open(folder.to_owned())?;
        let mut made = Vec::new();
        for one in built {
            made.extend(self.put(spec, one, built.len() == 1, &mut dist, until)?);
        }
        if let Some(lock) = built.iter().find_map(|one| one.lock.as_ref()) {
            made.push(dist.put(brand_crate::LOCK, 0o644, lock)?);
        }
        // All of them come from the same sources, by the same means.
        let origin = &built.first().context("a brand has a binary")?.origin;
        let statement =
            statement::of(self.project, origin, spec, &outputs(built, &self.toolchain.host), dist.digests())?;
        made.push(dist.put(statement::FILE_NAME, 0o644, &statement)?);
        dist.finish()?;
        Ok(made)
    }

    /// Puts the binary of one target there, and what is made of it.
    fn put(
        &self,
        spec: &Spec,
        built: &Built,
        alone: bool,
        dist: &mut Dist,
        until: Until,
    ) -> Result<Vec<PathBuf>> {
        let Built { target, image, buildinfo, crates, licences, epoch, .. } = built;
        let output = &target.output;
        let mut made = vec![dist.put(output, 0o755, image)?];
        let bill = sbom::of(spec, crates, image, *epoch)?;
        if until == Until::Packages {
            let started = Instant::now();
            let Some(licences) = licences else {
                bail!(
                    "packages of {output} would lack the licences of what is in it: {} of the base is missing\n  \
                     help: keep it beside the base, or build this brand",
                    licences::FILE_NAME
                );
            };
            let cross = Cross::to_run(&self.toolchain, spec, target)?;
            let manual = Manual::of(self.project, image, |program| {
                let mut asked = cross.run(program);
                for name in &self.hidden {
                    asked.env_remove(name);
                }
                asked
            })?;
            let content = Content { binary: image, bill: &bill, licences: licences.as_bytes(), manual };
            for package in packages::make(self.project, spec, &target.name, &content, *epoch, self.fast)? {
                made.push(dist.put(&package.file_name, 0o644, &package.content)?);
            }
            eprintln!("{output}: packaged in {:.1} s", started.elapsed().as_secs_f64());
        }
        let mut text = serde_json::to_string_pretty(buildinfo)?;
        text.push('\n');
        made.push(dist.put(&beside(BUILDINFO, output, alone), 0o644, text.as_bytes())?);
        made.push(dist.put(&beside(sbom::FILE_NAME, output, alone), 0o644, &bill)?);
        if let Some(licences) = licences {
            made.push(dist.put(&beside(licences::FILE_NAME, output, alone), 0o644, licences.as_bytes())?);
        }
        Ok(made)
    }

    /// Held while a brand is built; the file stays, the lock goes with the value.
    fn lock(&self, spec: &Spec) -> Result<File> {
        let folder = self.project.target().join("brands");
        let path = folder.join(format!("{}.lock", spec.brand.name));
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let lock = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        lock.lock().with_context(|| format!("cannot lock {}", path.display()))?;
        Ok(lock)
    }

    /// Builds the binary; returns where cargo left it, and what it is made of.
    fn compile(&self, spec: &Spec, cross: &Cross<'_>, quiet: bool) -> Result<(PathBuf, Crates)> {
        let folder = brand_crate::write(self.project, spec)?;
        let manifest = folder.join("Cargo.toml");
        let mut cargo = self.cargo(spec, cross)?;
        cargo.arg("--manifest-path").arg(&manifest);
        let (crates, offline) = self.crates(&manifest, &cross.triple)?;
        brand_crate::write_dependencies(&folder, &crates.section()?)?;
        if offline {
            cargo.arg("--offline");
        }
        if quiet {
            cargo.arg("--quiet");
        }
        // What cargo says is conversation; stdout is for the files that were made.
        cargo.stdout(Stdio::from(std::io::stderr()));
        let status = cargo.status().with_context(|| format!("cannot start {:?}", cargo.get_program()))?;
        if !status.success() {
            bail!(
                "the build of `{}` failed: cargo build of {} ended with {status}",
                spec.brand.binary,
                manifest.display()
            );
        }
        let built = cross.leaves(&self.compiled, &spec.brand.binary);
        if !built.is_file() {
            bail!("cargo built `{}`, but {} is missing", spec.brand.binary, built.display());
        }
        Ok((built, crates))
    }

    /// cargo with the baked values, and with flags that are the same for all brands: a flag that names one brand would
    /// compile every dependency again.
    fn cargo(&self, spec: &Spec, cross: &Cross<'_>) -> Result<Command> {
        let mut cargo = cross.cargo(self.project);
        cargo
            .env("CARGO_TARGET_DIR", &self.compiled)
            .env("CARGO_ENCODED_RUSTFLAGS", &self.rustflags)
            .env("SOURCE_DATE_EPOCH", CARGO_EPOCH)
            .env("DISCO_SOURCE_IS_BAKED", "yes");
        let (sha, time) =
            self.commit.as_ref().map_or(("unknown", "unknown"), |commit| (&commit.sha, &commit.time));
        cargo.env(format!("{BAKED}SOURCE_COMMIT"), sha).env(format!("{BAKED}SOURCE_DATE"), time);
        for name in &self.hidden {
            cargo.env_remove(name);
        }
        for (name, value) in spec.baked()? {
            cargo.env(format!("{BAKED}{name}"), value);
        }
        Ok(cargo)
    }

    /// What a brand is made of, and whether all of it is on this machine already.
    fn crates(&self, manifest: &Path, triple: &str) -> Result<(Crates, bool)> {
        let cargo = || {
            let mut cargo = self.project.cargo();
            for name in &self.hidden {
                cargo.env_remove(name);
            }
            cargo
        };
        let ask = |offline: bool| Crates::of(&cargo, manifest, triple, offline);
        match ask(true) {
            Ok(crates) => Ok((crates, true)),
            Err(_) => Ok((ask(false)?, false)),
        }
    }

    /// Asks the binary what it was made to be and compares with the spec.
    fn verify(
        &self,
        spec: &Spec,
        binary: &Path,
        mut asked: Command,
        triple: &str,
        commit: Option<&str>,
    ) -> Result<Value> {
        asked.args(["buildinfo", "--json"]);
        for name in &self.hidden {
            asked.env_remove(name);
        }
        let output = asked.output().with_context(|| format!("cannot start {}", binary.display()))?;
        if !output.status.success() {
            bail!(
                "`{} buildinfo --json` ended with {}: {}",
                binary.display(),
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        let says: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("`{} buildinfo --json` printed no JSON", binary.display()))?;
        let mut expected = spec.expected_buildinfo()?;
        expected["build"]["target"] = triple.into();
        if let Some(commit) = commit {
            expected["build"]["git_sha"] = commit.into();
        }
        let mut differences = differences(&expected, &says);
        if let Some(resolver) = &spec.resolver
            && says["resolver"]["name"] == "Default"
        {
            differences.push(format!(
                "resolver.name: the spec says crate {}, the binary says Default",
                resolver.krate
            ));
        }
        let agents: Vec<&str> =
            says["agents"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if spec.features.provisioning && !agents.contains(&"choria_provision") {
            differences.push("agents: the spec turns `provisioning.agent` off, and no crate of [[agents]] brings choria_provision".into());
        }
        // Without the server there is nobody to serve them.
        let built_in = if spec.features.provisioning { 2 + usize::from(spec.provisioning.agent) } else { 0 };
        if agents.len() < built_in + spec.agents.len() {
            differences.push(format!(
                "agents: the spec names {} crates, the binary has {}",
                spec.agents.len(),
                agents.join(", ")
            ));
        }
        if !differences.is_empty() {
            bail!(
                "{} is not what the spec {} asked for:\n  {}",
                binary.display(),
                spec.file_name,
                differences.join("\n  ")
            );
        }
        Ok(says)
    }
}

/// Name of a file that is about one binary: that of the only target, or with the binary's name before it.
pub(crate) fn beside(name: &str, output: &str, alone: bool) -> String {
    if alone { name.to_owned() } else { format!("{output}.{name}") }
}

/// What the statement says about the binaries.
fn outputs(built: &[Built], host: &str) -> Vec<statement::Output> {
    let output = |built: &Built| statement::Output {
        target: built.target.name.clone(),
        triple: built.triple.clone(),
        glibc: built.target.floor(host).map(|floor| floor.to_string()),
        file: built.target.output.clone(),
    };
    built.iter().map(output).collect()
}

/// Refuses a binary that needs a newer C library than its target allows.
fn refuse_above(floor: &Glibc, image: &[u8], spec: &Spec, target: &Target) -> Result<()> {
    let above = Linkage::read(image).context("cannot read the built binary")?.above(floor);
    if above.is_empty() {
        return Ok(());
    }
    bail!(
        "{} does not run with glibc {floor}, the oldest that target `{}` of {} allows:\n  {}\n  help: allow a newer one \
         in `glibc`, or take out the crate that needs these; a binary that is rebranded has to be built for {floor} too",
        target.output,
        target.name,
        spec.file_name,
        above.join("\n  ")
    )
}

/// Flags that take this machine's folders out of the binary.
fn neutral_rustflags(project: &Project, toolchain: &Toolchain) -> Result<OsString> {
    let mut flags = OsString::new();
    let home = cargo_home()?;
    for (folder, name) in [(&project.root, "/src"), (&home, "/cargo"), (&toolchain.sysroot, "/rust")] {
        if !flags.is_empty() {
            // cargo's separator of encoded flags.
            flags.push("\u{1f}");
        }
        flags.push("--remap-path-prefix=");
        flags.push(folder);
        flags.push("=");
        flags.push(name);
    }
    Ok(flags)
}

/// Every key of the spec that the binary answers differently, and every key of a spec's table that only the binary has.
fn differences(spec: &Value, binary: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for (table, values) in spec.as_object().into_iter().flatten() {
        let Some(values) = values.as_object() else { continue };
        for (key, value) in values {
            let said = binary.get(table).and_then(|table| table.get(key));
            if said != Some(value) {
                let said = said.map_or("nothing".to_owned(), Value::to_string);
                found.push(format!("{table}.{key}: the spec says {value}, the binary says {said}"));
            }
        }
        // The build facts are the binary's own; all other tables are the spec's, whole.
        if table != "build" {
            for (key, said) in binary.get(table).and_then(Value::as_object).into_iter().flatten() {
                if !values.contains_key(key) {
                    found.push(format!("{table}.{key}: the spec says nothing, the binary says {said}"));
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::differences;

    #[test]
    fn equal_answers_have_no_difference() {
        let spec = json!({"paths": {"etcdir": "/etc/a"}, "build": {"version": "1"}});
        let binary =
            json!({"paths": {"etcdir": "/etc/a"}, "build": {"version": "1", "target": "x"}, "schema": "s"});
        assert_eq!(differences(&spec, &binary), Vec::<String>::new());
    }

    #[test]
    fn every_difference_names_key_and_both_values() {
        let spec = json!({"paths": {"etcdir": "/etc/a", "vardir": "/v"}, "features": {"live": true}});
        let binary = json!({"paths": {"etcdir": "/etc/b"}, "features": {"live": true, "shell": false}});
        assert_eq!(
            differences(&spec, &binary),
            [
                "paths.etcdir: the spec says \"/etc/a\", the binary says \"/etc/b\"",
                "paths.vardir: the spec says \"/v\", the binary says nothing",
                "features.shell: the spec says nothing, the binary says false",
            ]
        );
    }
}
