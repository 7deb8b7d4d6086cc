//! Many brands in one run, built or made from a finished binary: which specs, in which order, and what becomes of the
//! others when one fails.
//!
//! cargo builds one binary after the other, and what brands share once; packages are made meanwhile on other threads.

use std::collections::BTreeMap;
use std::fs;
use std::io::{IsTerminal, stderr};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Error, Result, bail};

use crate::build::{Builder, Built, Until, load};
use crate::flags;
use crate::project::Project;
use crate::rebrand::Base;
use crate::signing::KeyPlace;
use crate::spec::{Refused, Spec};

/// Builds every spec that the command line names; the reference spec if it names none.
pub(crate) fn run(project: &Project, arguments: &flags::Build, until: Until) -> Result<()> {
    all(project, arguments, until, None)
}

/// Makes every brand that the command line names from finished binaries.
pub(crate) fn rebrand(project: &Project, arguments: &flags::Rebrand) -> Result<()> {
    let bases = arguments.binaries.iter().map(|path| Base::read(path)).collect::<Result<Vec<_>>>()?;
    let until = if arguments.packages { Until::Packages } else { Until::Binaries };
    all(project, &arguments.build, until, Some(&bases))
}

fn all(project: &Project, arguments: &flags::Build, until: Until, base: Option<&[Base]>) -> Result<()> {
    let paths = paths(project, arguments)?;
    let total = paths.len();
    let started = Instant::now();
    let mut specs = Vec::new();
    let mut failures = Failures::default();
    for (index, path) in paths.into_iter().enumerate() {
        match load(project, &path).and_then(|spec| signable(spec, until)) {
            Ok(spec) => specs.push(Numbered { number: index + 1, path, spec }),
            // One spec alone: its error is the command's.
            Err(why) if total == 1 => return Err(why),
            Err(why) => failures.note(&path.display().to_string(), why),
        }
    }
    refuse_twins(&specs)?;
    let dist = arguments.dist.clone().unwrap_or_else(|| project.root.join("dist"));
    let hidden: Vec<String> =
        specs.iter().filter_map(|numbered| numbered.spec.token_variable.clone()).collect();
    let builder = Builder::new(project, hidden, arguments.fast)?;
    let run = Run { builder: &builder, base, total, dist: &dist, until, failures: Mutex::new(failures) };
    run.all(&specs);
    let mut failures = run.failures.into_inner().expect("no thread panicked");
    if total == 1 {
        return failures.0.pop().map_or(Ok(()), |failure| Err(failure.1));
    }
    let (good, seconds) = (total - failures.0.len(), started.elapsed().as_secs_f64());
    eprintln!("{good} of {total} brands are made, in {seconds:.1} s");
    if failures.0.is_empty() {
        return Ok(());
    }
    for (name, _) in &failures.0 {
        eprintln!("  failed: {name}");
    }
    bail!("{} of {total} brands failed, see above", failures.0.len());
}

/// The specs, each once, in the order of the command line and of names in a folder.
pub(crate) fn paths(project: &Project, arguments: &flags::Build) -> Result<Vec<PathBuf>> {
    let mut paths = arguments.spec.clone();
    for folder in &arguments.specs {
        let entries =
            fs::read_dir(folder).with_context(|| format!("cannot read the specs in {}", folder.display()))?;
        let mut found = Vec::new();
        for entry in entries {
            let path =
                entry.with_context(|| format!("cannot read the specs in {}", folder.display()))?.path();
            let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            if !hidden && path.is_file() && path.extension().is_some_and(|extension| extension == "toml") {
                found.push(path);
            }
        }
        if found.is_empty() {
            bail!("{} has no specs\n  help: --specs takes every *.toml of a folder", folder.display());
        }
        found.sort();
        paths.extend(found);
    }
    if paths.is_empty() {
        paths.push(project.root.join("buildspec.toml"));
    }
    let mut seen = Vec::new();
    paths.retain(|path| {
        let is = path.canonicalize().unwrap_or_else(|_| path.clone());
        let new = !seen.contains(&is);
        seen.push(is);
        new
    });
    Ok(paths)
}

/// Refuses a spec whose packages could not be signed in the end.
fn signable(spec: Spec, until: Until) -> Result<Spec> {
    if let (Until::Packages, Some(KeyPlace::File(key))) = (until, &spec.signing.rpm_key)
        && !key.is_file()
    {
        bail!(
            "the key that signs the packages is not there: {}\n  help: put it there, or name another as \
             `signing.rpm_key` in {}; `cargo xtask binaries` needs none",
            key.display(),
            spec.path.display()
        );
    }
    Ok(spec)
}

/// Two specs of one brand would take turns in one folder.
fn refuse_twins(specs: &[Numbered]) -> Result<()> {
    let mut names: BTreeMap<&str, &Path> = BTreeMap::new();
    for numbered in specs {
        if let Some(twin) = names.insert(&numbered.spec.brand.name, &numbered.path) {
            bail!(
                "two specs make the brand `{}`: {} and {}; give one of them another `brand.name`",
                numbered.spec.brand.name,
                twin.display(),
                numbered.path.display()
            );
        }
    }
    Ok(())
}

/// A spec and its place in the run.
struct Numbered {
    number: usize,
    path: PathBuf,
    spec: Spec,
}

/// What failed so far, by brand or file.
#[derive(Default)]
struct Failures(Vec<(String, Error)>);

impl Failures {
    fn note(&mut self, name: &str, why: Error) {
        match why.downcast_ref::<Refused>() {
            Some(refused) => eprintln!("{}\n", refused.draw(stderr().is_terminal())),
            None => eprintln!("error: {name}: {why:#}"),
        }
        self.0.push((name.to_owned(), why));
    }
}

/// What all brands of a run share.
struct Run<'a> {
    builder: &'a Builder<'a>,
    /// The binaries that brands are made from, one for each machine; none where each is built.
    base: Option<&'a [Base]>,
    total: usize,
    dist: &'a Path,
    until: Until,
    failures: Mutex<Failures>,
}

impl Run<'_> {
    fn all(&self, specs: &[Numbered]) {
        // A brand is packaged on a core for each of its packages; one waits, so that a slow one does not stop cargo.
        let packagers = (thread::available_parallelism().map_or(1, usize::from) / 2).max(1);
        let (deliver, delivered) = sync_channel::<(&Numbered, Vec<Built>)>(1);
        let delivered = Mutex::new(delivered);
        thread::scope(|scope| {
            for _ in 0..packagers {
                scope.spawn(|| self.deliver(&delivered));
            }
            for numbered in specs {
                self.say(numbered, if self.base.is_some() { "rebranding" } else { "building" });
                let made = match self.base {
                    Some(base) => self.builder.rebranded(&numbered.spec, base),
                    None => self.builder.binaries(&numbered.spec, self.quiet(numbered)),
                };
                match made {
                    Ok(built) => deliver.send((numbered, built)).expect("packagers take until the end"),
                    Err(why) => self.failed(numbered, why),
                }
            }
            drop(deliver);
        });
    }

    /// Takes binaries and hands over what is made of them, until there are no more.
    fn deliver(&self, delivered: &Mutex<Receiver<(&Numbered, Vec<Built>)>>) {
        loop {
            let next = delivered.lock().expect("no packager panicked").recv();
            let Ok((numbered, built)) = next else { return };
            if self.until == Until::Packages {
                self.say(numbered, "packages");
            }
            let folder = self.dist.join(&numbered.spec.brand.name);
            match self.builder.deliver(&numbered.spec, &built, &folder, self.until) {
                Ok(made) => {
                    // One call, so that the files of one brand stay together.
                    let lines: String = made.iter().map(|path| format!("{}\n", path.display())).collect();
                    print!("{lines}");
                }
                Err(why) => self.failed(numbered, why),
            }
        }
    }

    fn failed(&self, numbered: &Numbered, why: Error) {
        let mut failures = self.failures.lock().expect("no thread panicked");
        let name = &numbered.spec.brand.name;
        match self.total {
            // Its error is the command's, which is shown at the end.
            1 => failures.0.push((name.clone(), why)),
            _ => failures.note(name, why),
        }
    }

    /// Of many brands only the first lets cargo talk: it compiles what the others share.
    fn quiet(&self, numbered: &Numbered) -> bool {
        numbered.number > 1
    }

    fn say(&self, numbered: &Numbered, step: &str) {
        if self.total > 1 {
            eprintln!("[{}/{}] {}: {step}", numbered.number, self.total, numbered.spec.brand.name);
        }
    }
}
