//! Packages from one payload description: what lands on a node is decided in `packaging/`, how a format says it in
//! `rpm/` and `deb/`.

mod deb;
mod elf;
mod payload;
mod rpm;

use std::fs;
use std::thread;

use anyhow::{Context, Result};

use crate::project::Project;
use crate::spec::{Format, Spec};
use elf::Linkage;
use payload::{Payload, Values};

/// A finished package.
pub(crate) struct Made {
    pub(crate) file_name: String,
    pub(crate) content: Vec<u8>,
}

/// What a format needs to make a package.
struct Inputs<'a> {
    project: &'a Project,
    spec: &'a Spec,
    payload: Payload,
    values: Values,
    linkage: Linkage,
    /// Time of every file, in seconds since 1970.
    epoch: u32,
}

impl Inputs<'_> {
    /// A text of `rpm/` or `deb/` as it is.
    fn plain(&self, path: &str) -> Result<String> {
        let file = self.project.root.join(path);
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
    }

    /// A text of `rpm/` or `deb/`, filled with values.
    fn text(&self, path: &str) -> Result<String> {
        self.values.fill(&self.plain(path)?).with_context(|| format!("in {path}"))
    }
}

/// Programs that the product runs on a node, by the names of their packages.
const RUNS: [&str; 2] = ["bash", "rsync"];

/// Makes every package that the spec names.
pub(crate) fn make(project: &Project, spec: &Spec, binary: &[u8], epoch: u32) -> Result<Vec<Made>> {
    // Compression takes nearly all the time, and each package is compressed on one core.
    thread::scope(|scope| {
        let makers: Vec<_> = spec
            .packages
            .iter()
            .map(|package| {
                scope.spawn(move || {
                    let values = Values::of(spec);
                    let payload = Payload::read(project, spec, package, &values, binary)?;
                    let values = values.with_units(&payload);
                    let linkage = Linkage::read(binary).context("cannot read the built binary")?;
                    let inputs = Inputs { project, spec, payload, values, linkage, epoch };
                    match package.format {
                        Format::Rpm => rpm::make(&inputs, package),
                        Format::Deb => deb::make(&inputs),
                    }
                    .with_context(|| format!("cannot make the package `{}`", package.name))
                })
            })
            .collect();
        makers.into_iter().map(|maker| maker.join().expect("a package maker does not panic")).collect()
    })
}
