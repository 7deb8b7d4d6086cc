//! Another brand of the same features and plugs from a finished binary, without a compiler.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::brand_block::Block;
use crate::brand_crate::SOURCE;
use crate::spec::Spec;

/// A finished binary that others are made from.
pub(crate) struct Base {
    shown: String,
    image: Vec<u8>,
    block: Block,
}

impl Base {
    /// Reads a binary that `cargo xtask build` made.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let shown = path.display().to_string();
        let image = fs::read(path).with_context(|| format!("cannot read {shown}"))?;
        let block = Block::find(&image).with_context(|| format!("{shown} cannot be rebranded"))?;
        Ok(Base { shown, image, block })
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
