//! `cargo xtask verify`: looks again at a finished build, without trusting anything that made it.
//!
//! Digests against the list, the list against the folder, the provenance statement against both, the crates that the
//! binary lists against the SBOM, what the binary says about itself against `buildinfo.json` and the statement, and the
//! binary and the SBOM in every package against those beside it; with a spec, whole packages against those that come out
//! a second time. All that is wrong is told, each with its file.

mod packages;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use auditable_info::Limits;
use auditable_serde::{DependencyKind, VersionInfo};
use liblzma::read::XzDecoder;
use serde_json::Value;

use crate::build::{self, BUILDINFO};
use crate::dist::SUMS;
use crate::elf::{Glibc, Linkage, Machine};
use crate::flags;
use crate::packages::{Content, Manual};
use crate::project::Project;
use crate::spec::{Spec, sha256_hex};
use crate::{licences, sbom, statement};

/// Looks at every folder that the command line names.
pub(crate) fn run(project: &Project, arguments: &flags::Verify) -> Result<()> {
    let spec = arguments.spec.as_deref().map(|path| build::load(project, path)).transpose()?;
    let mut bad = 0;
    for folder in &arguments.folder {
        let problems = Look::at(folder).and_then(|look| look.all(project, spec.as_ref()))?;
        for problem in &problems {
            eprintln!("error: {}: {problem}", folder.display());
        }
        if problems.is_empty() {
            println!("{}: good", folder.display());
        }
        bad += problems.len();
    }
    match bad {
        0 => Ok(()),
        1 => bail!("one thing is wrong; do not ship this, build it again"),
        many => bail!("{many} things are wrong; do not ship this, build it again"),
    }
}

/// A folder, read once.
struct Look<'a> {
    folder: &'a Path,
    /// Digests as the list has them.
    listed: BTreeMap<String, String>,
    files: BTreeMap<String, Vec<u8>>,
    problems: Vec<String>,
}

impl<'a> Look<'a> {
    fn at(folder: &'a Path) -> Result<Self> {
        let mut look = Look { folder, listed: BTreeMap::new(), files: BTreeMap::new(), problems: Vec::new() };
        let sums = fs::read_to_string(folder.join(SUMS)).with_context(|| {
            format!("{} is no finished build: it has no readable {SUMS}", folder.display())
        })?;
        for line in sums.lines() {
            match line.split_once("  ") {
                Some((digest, name)) if Path::new(name).components().count() == 1 => {
                    look.listed.insert(name.to_owned(), digest.to_owned());
                }
                _ => look.problems.push(format!("{SUMS}: a line that is none: {line}")),
            }
        }
        let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == SUMS {
                continue;
            }
            if !entry.file_type()?.is_file() {
                look.problems.push(format!("{name}: is no file, and no build makes it"));
                continue;
            }
            let content = fs::read(entry.path()).with_context(|| format!("cannot read {name}"))?;
            look.files.insert(name, content);
        }
        Ok(look)
    }

    fn all(mut self, project: &Project, spec: Option<&Spec>) -> Result<Vec<String>> {
        self.sums();
        let said = self.statement();
        if !self.problems.is_empty() {
            // A binary that is not the one that was built is not run, and what lies beside it proves nothing.
            return Ok(self.problems);
        }
        let Some(said) = said else { return Ok(self.problems) };
        let alone = said.binaries.len() == 1;
        for output in &said.binaries {
            self.binary(output, &said, alone, spec)?;
        }
        // Made of another spec it would be another package in every respect.
        if let (Some(spec), true) = (spec, self.problems.is_empty()) {
            for output in &said.binaries {
                self.packages_again(project, output, alone, spec)?;
            }
        }
        Ok(self.problems)
    }

    /// Everything about one binary.
    fn binary(
        &mut self,
        output: &statement::Output,
        said: &statement::Said,
        alone: bool,
        spec: Option<&Spec>,
    ) -> Result<()> {
        let file = output.file.as_str();
        let about = [BUILDINFO, sbom::FILE_NAME].map(|name| build::beside(name, file, alone));
        let [Some(info), Some(bill)] = about.each_ref().map(|name| self.parsed(name)) else { return Ok(()) };
        if !self.files.contains_key(file) {
            self.problems
                .push(format!("{}: names the binary `{file}`, which is not here", statement::FILE_NAME));
            return Ok(());
        }
        self.floor(output);
        self.buildinfo(file, &about[0], &info, said, spec)?;
        self.crates(file, &about[1], &bill);
        if said.binaries.iter().position(|other| other.triple == output.triple)
            == said.binaries.iter().position(|other| other.file == output.file)
        {
            self.packages(output, &said.binaries, &info);
        }
        Ok(())
    }

    fn floor(&mut self, output: &statement::Output) {
        let linkage = match Linkage::read(&self.files[&output.file]) {
            Ok(linkage) => linkage,
            Err(why) => return self.problems.push(format!("{}: {why:#}", output.file)),
        };
        let floor: Option<Glibc> = output.glibc.as_deref().and_then(|floor| floor.parse().ok());
        if let Some(floor) = floor {
            let above = linkage.above(&floor).into_iter();
            self.problems.extend(
                above.map(|line| format!("{}: has to run with glibc {floor}, but {line}", output.file)),
            );
        }
    }

    fn parsed(&mut self, name: &str) -> Option<Value> {
        let read = self.files.get(name).map(|text| serde_json::from_slice(text));
        match read {
            Some(Ok(value)) => return Some(value),
            Some(Err(why)) => self.problems.push(format!("{name}: is no JSON: {why}")),
            None => self.problems.push(format!("{name}: is missing")),
        }
        None
    }

    fn sums(&mut self) {
        for (name, digest) in &self.listed {
            match self.files.get(name).map(sha256_hex) {
                None => self.problems.push(format!("{name}: is missing")),
                Some(now) if now != *digest => {
                    self.problems
                        .push(format!("{name}: was changed: its SHA-256 is {now}, {SUMS} says {digest}"));
                }
                Some(_) => {}
            }
        }
        for name in self.files.keys().filter(|name| !self.listed.contains_key(*name)) {
            self.problems.push(format!("{name}: was added: {SUMS} does not list it"));
        }
    }

    fn statement(&mut self) -> Option<statement::Said> {
        let name = statement::FILE_NAME;
        let Some(text) = self.files.get(name) else {
            if !self.listed.contains_key(name) {
                self.problems.push(format!("{name}: is missing"));
            }
            return None;
        };
        let said = match statement::read(text) {
            Ok(said) => said,
            Err(why) => {
                self.problems.push(format!("{name}: {why}"));
                return None;
            }
        };
        let all: BTreeSet<&String> = self.listed.keys().chain(said.files.keys()).collect();
        for file in all.into_iter().filter(|file| *file != name) {
            if self.listed.get(file) != said.files.get(file) {
                self.problems.push(format!("{file}: {name} and {SUMS} say different things about it"));
            }
        }
        Some(said)
    }

    fn buildinfo(
        &mut self,
        binary: &str,
        name: &str,
        beside: &Value,
        said: &statement::Said,
        spec: Option<&Spec>,
    ) -> Result<()> {
        let program = self.folder.join(binary).canonicalize().context("the binary")?;
        // One of another machine does not run here; what it would say is beside it.
        let runs_here = crate::packages::runs_here(&self.files[binary]);
        if runs_here {
            let output = Command::new(&program)
                .args(["buildinfo", "--json"])
                .output()
                .with_context(|| format!("cannot start {}", program.display()))?;
            match serde_json::from_slice::<Value>(&output.stdout) {
                Ok(says) if says == *beside => {}
                Ok(_) => {
                    self.problems.push(format!("{name}: differs from what `{binary} buildinfo --json` says"))
                }
                Err(why) => self.problems.push(format!("{binary}: `buildinfo --json` prints no JSON: {why}")),
            }
        } else {
            eprintln!("note: {binary} is for another machine; it was not run");
        }
        let build = &beside["build"];
        if build["spec_digest"] != said.spec_digest.as_str() {
            self.problems.push(format!(
                "{}: says spec {}, the binary says {}",
                statement::FILE_NAME,
                said.spec_digest,
                build["spec_digest"]
            ));
        }
        if let Some(commit) = &said.commit
            && build["git_sha"] != commit.as_str()
        {
            self.problems.push(format!(
                "{}: says commit {commit}, the binary says {}",
                statement::FILE_NAME,
                build["git_sha"]
            ));
        }
        if let Some(spec) = spec {
            let wanted = spec.digest()?;
            if build["spec_digest"] != wanted.as_str() {
                self.problems.push(format!(
                    "{binary}: was built from another spec: {} is {wanted}, the binary says {}",
                    spec.file_name, build["spec_digest"]
                ));
            }
        }
        Ok(())
    }

    fn crates(&mut self, binary: &str, name: &str, bill: &Value) {
        let content = &self.files[binary];
        let info = match auditable_info::audit_info_from_slice(content, limits().decompressed_json_size) {
            Ok(info) => info,
            Err(why) => {
                self.problems.push(format!("{binary}: its section .dep-v0 cannot be read: {why}"));
                return;
            }
        };
        if bill["metadata"]["component"]["hashes"][0]["content"] != sha256_hex(content).as_str() {
            self.problems.push(format!("{name}: is about another binary"));
        }
        let (binarys, bills) = (of_section(&info), of_bill(bill));
        for only in binarys.difference(&bills) {
            self.problems.push(format!("{name}: lacks what {binary} lists: {only}"));
        }
        for only in bills.difference(&binarys) {
            self.problems.push(format!("{name}: has what {binary} does not list: {only}"));
        }
    }

    /// Makes the packages of a binary again and compares them, if there are any.
    fn packages_again(
        &mut self,
        project: &Project,
        output: &statement::Output,
        alone: bool,
        spec: &Spec,
    ) -> Result<()> {
        let file = output.file.as_str();
        let binary = &self.files[file];
        let Some(machine) = Machine::of_triple(&output.triple) else { return Ok(()) };
        let ends = [format!("_{}.deb", machine.deb()), format!(".{}.rpm", machine.rpm())];
        let found: BTreeMap<&str, &[u8]> = self
            .files
            .iter()
            .filter(|(name, _)| ends.iter().any(|end| name.ends_with(end)))
            .map(|(name, content)| (name.as_str(), content.as_slice()))
            .collect();
        // Only the binary itself writes the manual that packages bring. Of two targets of one machine each has some.
        let twins = spec.targets.iter().filter(|target| target.machine() == Some(machine)).count();
        if found.is_empty() || twins != 1 || !crate::packages::runs_here(binary) {
            return Ok(());
        }
        let beside = |name| build::beside(name, file, alone);
        let (Some(bill), Some(licences)) =
            (self.files.get(&beside(sbom::FILE_NAME)), self.files.get(&beside(licences::FILE_NAME)))
        else {
            return Ok(());
        };
        let date = self.commit_time(&beside(BUILDINFO));
        let epoch = project.source_date_epoch(date)?;
        let manual = Manual::of(project, binary, |program| Command::new(program))?;
        let content = Content { binary, bill, licences, manual };
        let differences = packages::differences(project, spec, &output.target, &content, epoch, &found)?;
        self.problems.extend(differences);
        Ok(())
    }

    /// Time of the commit that a binary says it was built from, in seconds since 1970.
    fn commit_time(&self, name: &str) -> Option<u32> {
        let info: Value = serde_json::from_slice(self.files.get(name)?).ok()?;
        let time: jiff::Timestamp = info["build"]["git_date"].as_str()?.parse().ok()?;
        time.as_second().try_into().ok()
    }

    /// Compares what packages bring with what lies beside them; they tell their machine by their names.
    fn packages(&mut self, output: &statement::Output, all: &[statement::Output], info: &Value) {
        let bindir = info["paths"]["bindir"].as_str().unwrap_or_default();
        let binary = info["brand"]["binary"].as_str().unwrap_or_default();
        // Of two targets of one machine the spec says which is packaged.
        let files: Vec<&str> = all
            .iter()
            .filter(|other| other.triple == output.triple)
            .map(|other| other.file.as_str())
            .collect();
        let bills: Vec<String> =
            files.iter().map(|file| build::beside(sbom::FILE_NAME, file, all.len() == 1)).collect();
        let expected = [
            (format!("{bindir}/{binary}"), files),
            (
                format!("/usr/share/doc/{binary}/{}", sbom::FILE_NAME),
                bills.iter().map(String::as_str).collect(),
            ),
        ];
        let Some(machine) = Machine::of_triple(&output.triple) else { return };
        let ends = [format!("_{}.deb", machine.deb()), format!(".{}.rpm", machine.rpm())];
        for (name, content) in &self.files {
            if !ends.iter().any(|end| name.ends_with(end)) {
                continue;
            }
            let files = if name.ends_with(".deb") { files_of_deb(content) } else { files_of_rpm(content) };
            let files = match files {
                Ok(files) => files,
                Err(why) => {
                    self.problems.push(format!("{name}: cannot be read: {why:#}"));
                    continue;
                }
            };
            for (path, beside) in &expected {
                match files.get(path) {
                    None => self.problems.push(format!("{name}: does not bring {path}")),
                    Some(inside) if !beside.iter().any(|beside| self.files.get(*beside) == Some(inside)) => {
                        let beside = beside.join(" or ");
                        self.problems.push(format!("{name}: brings another {path} than {beside} beside it"));
                    }
                    Some(_) => {}
                }
            }
        }
    }
}

/// How much a scanner takes in.
fn limits() -> Limits {
    Limits::default()
}

/// Crates and who uses whom, a line each.
fn of_section(info: &VersionInfo) -> BTreeSet<String> {
    let called = |index: &usize| {
        let package = &info.packages[*index];
        format!("{} {}", package.name, package.version)
    };
    let mut lines = BTreeSet::new();
    for (index, package) in info.packages.iter().enumerate() {
        let user = called(&index);
        let linked = if package.kind == DependencyKind::Runtime { "linked" } else { "build only" };
        if !package.root {
            lines.insert(format!("{user} ({linked})"));
        }
        let user = if package.root { "the appliance" } else { &user };
        lines.extend(package.dependencies.iter().map(|used| format!("{user} uses {}", called(used))));
    }
    lines
}

/// The same of a bill.
fn of_bill(bill: &Value) -> BTreeSet<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let root = text(&bill["metadata"]["component"]["bom-ref"]);
    let mut called = BTreeMap::from([(root, "the appliance".to_owned())]);
    let mut lines = BTreeSet::new();
    for component in bill["components"].as_array().into_iter().flatten() {
        let name = format!("{} {}", text(&component["name"]), text(&component["version"]));
        let linked = if component["scope"] == "excluded" { "build only" } else { "linked" };
        lines.insert(format!("{name} ({linked})"));
        called.insert(text(&component["bom-ref"]), name);
    }
    let name = |reference: &Value| {
        let reference = text(reference);
        called.get(&reference).cloned().unwrap_or(reference)
    };
    for dependency in bill["dependencies"].as_array().into_iter().flatten() {
        let user = name(&dependency["ref"]);
        let used = dependency["dependsOn"].as_array().into_iter().flatten();
        lines.extend(used.map(|used| format!("{user} uses {}", name(used))));
    }
    lines
}

/// Regular files of a deb by their paths.
pub(crate) fn files_of_deb(content: &[u8]) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut archive = ar::Archive::new(content);
    while let Some(member) = archive.next_entry() {
        let member = member?;
        if member.header().identifier() != b"data.tar.xz" {
            continue;
        }
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(XzDecoder::new(member)).entries()? {
            let mut entry = entry?;
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let path = entry.path()?.to_string_lossy().trim_start_matches('.').to_owned();
            let mut content = Vec::new();
            entry.read_to_end(&mut content)?;
            files.insert(path, content);
        }
        return Ok(files);
    }
    bail!("it has no data.tar.xz")
}

/// Regular files of an rpm by their paths, after a look at its own digests.
pub(crate) fn files_of_rpm(content: &[u8]) -> Result<BTreeMap<String, Vec<u8>>> {
    let package = rpm::Package::parse(&mut &content[..]).context("it is no rpm")?;
    package.verify_digests().context("its own digests do not hold")?;
    let mut files = BTreeMap::new();
    for file in package.files()? {
        let file = file?;
        if let Some(content) = file.content() {
            files.insert(file.metadata.path().to_string_lossy().into_owned(), content.to_owned());
        }
    }
    Ok(files)
}
