//! Another brand of the same features and plugs from a finished binary, without a compiler.
//!
//! What the binary does not say about itself (licences of crates, the compiler) is taken from the bill and the statement
//! beside it, if they are about this binary; else the new brand's say less, and that is told.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::brand_block::Block;
use crate::brand_crate::SOURCE;
use crate::build;
use crate::crates::Crates;
use crate::elf::{Linkage, Machine};
use crate::licences;
use crate::project::Project;
use crate::sbom;
use crate::spec::{Spec, Target, sha256_hex};
use crate::statement::{self, Origin};

/// A finished binary that others are made from.
pub(crate) struct Base {
    shown: String,
    /// Name of the file.
    name: String,
    image: Vec<u8>,
    digest: String,
    block: Block,
    machine: Machine,
    /// What it is linked from.
    pub(crate) crates: Crates,
    /// Licences of these crates; nothing if none that fit lie beside it.
    pub(crate) licences: Option<String>,
    /// What its statement of provenance names as inputs; nothing if none lies beside it.
    stated: Option<Vec<Value>>,
}

impl Base {
    /// Reads a binary that `cargo xtask build` made.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let shown = path.display().to_string();
        let image = fs::read(path).with_context(|| format!("cannot read {shown}"))?;
        let block = Block::find(&image).with_context(|| format!("{shown} cannot be rebranded"))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let digest = sha256_hex(&image);
        let machine = Linkage::read(&image).with_context(|| format!("cannot read {shown}"))?.machine;
        let mut crates = Crates::embedded(&image).with_context(|| format!("{shown} cannot be rebranded"))?;
        let beside = |file: &str| fs::read(path.with_file_name(file)).ok();
        // Where a brand has several binaries, each has a bill of its own name.
        let bills = [true, false].map(|alone| build::beside(sbom::FILE_NAME, &name, alone));
        let bill = bills
            .iter()
            .any(|bill| beside(bill).is_some_and(|bill| sbom::complete(&mut crates, &bill, &digest)));
        if !bill {
            eprintln!(
                "note: no {} about {shown} lies beside it; new bills name its crates without licences",
                sbom::FILE_NAME
            );
        }
        let said = beside(statement::FILE_NAME).and_then(|text| statement::read(&text).ok());
        let stated = said.filter(|said| said.files.get(&name) == Some(&digest)).map(|said| said.inputs);
        if stated.is_none() {
            eprintln!(
                "note: no {} about {shown} lies beside it; new statements name no compiler",
                statement::FILE_NAME
            );
        }
        let licences = [true, false].map(|alone| build::beside(licences::FILE_NAME, &name, alone));
        let licences = licences.iter().find_map(|file| String::from_utf8(beside(file)?).ok());
        let licences = licences.filter(|text| licences::cover(text, &crates));
        Ok(Base { shown, name, image, digest, block, machine, crates, licences, stated })
    }

    /// Time of the commit that it was built from, in seconds since 1970.
    pub(crate) fn epoch(&self) -> Option<u32> {
        let time: jiff::Timestamp = self.block.value(SOURCE[1])?.parse().ok()?;
        time.as_second().try_into().ok()
    }

    /// What the statement about a brand that was made from it says.
    pub(crate) fn origin(&self, project: &Project) -> Origin {
        Origin::rebranded(project, &self.name, &self.digest, self.stated.clone(), self.commit())
    }

    /// The one of several binaries that is for a target's machine.
    pub(crate) fn of<'b>(bases: &'b [Base], spec: &Spec, target: &Target) -> Result<&'b Base> {
        bases.iter().find(|base| target.machine() == Some(base.machine)).with_context(|| {
            let given: Vec<_> =
                bases.iter().map(|base| format!("{} is for {}", base.shown, base.machine.rpm())).collect();
            format!(
                "no binary was given for the target `{}` of {}: {}\n  help: name a binary of each of its machines",
                target.name,
                spec.file_name,
                given.join(", ")
            )
        })
    }

    /// The commit that it was built from.
    pub(crate) fn commit(&self) -> &str {
        self.block.value(SOURCE[0]).unwrap_or("unknown")
    }

    /// The same binary as the brand of another spec.
    pub(crate) fn branded(&self, spec: &Spec) -> Result<Vec<u8>> {
        let cure = format!("build it: `cargo xtask build --spec {}`", spec.file_name);
        let baked = spec.baked()?;
        for (fact, what) in [("FEATURES", "features"), ("PLUGS", "plugs")] {
            let asked = baked.iter().find(|(name, _)| *name == fact).map_or("", |(_, value)| value.as_str());
            let has = self.block.value(fact).unwrap_or("");
            if has != asked {
                let or_none = |list: &str| if list.is_empty() { "none".to_owned() } else { list.to_owned() };
                bail!(
                    "{} has other {what} than {} asks for: {} instead of {}\n  help: {cure}",
                    self.shown,
                    spec.file_name,
                    or_none(has),
                    or_none(asked)
                );
            }
        }
        let mut records = Vec::new();
        for (name, value) in &baked {
            if self.block.value(name).is_none() {
                bail!("{} was made by another version of the project\n  help: {cure}", self.shown);
            }
            records.push(((*name).to_owned(), value.clone()));
        }
        for name in SOURCE {
            records.push((name.to_owned(), self.block.value(name).unwrap_or("unknown").to_owned()));
        }
        if records.len() != self.block.records.len() {
            bail!("{} was made by another version of the project\n  help: {cure}", self.shown);
        }
        self.block
            .replaced(&self.image, &records)
            .with_context(|| format!("{} has no room for the brand {}", self.shown, spec.brand.name))
    }
}
