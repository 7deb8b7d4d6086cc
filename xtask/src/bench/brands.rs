//! What a brand costs: the first, which compiles everything, and the others, which share it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::bench::timing::{self, Figures};
use crate::bench::{machine, readable};
use crate::build::{Builder, Built, Until, load};
use crate::project::{Project, Toolchain};
use crate::rebrand::Base;
use crate::spec::Spec;

/// The spec whose features all brands have.
const EXAMPLE: &str = "examples/acme.toml";

/// One line of the table.
struct Row {
    what: &'static str,
    takes: Figures,
    target: Option<Duration>,
}

/// Brands of the example's features, one after the other, in a folder of their own.
struct Brands<'a> {
    project: &'a Project,
    /// Where specs and results lie.
    folder: &'a Path,
    made: Vec<String>,
}

impl Brands<'_> {
    /// Writes the spec of a brand that was never built.
    fn next(&mut self) -> Result<PathBuf> {
        let example = self.project.root.join(EXAMPLE);
        let text =
            fs::read_to_string(&example).with_context(|| format!("cannot read {}", example.display()))?;
        let mut spec: toml::Table = text.parse().with_context(|| format!("{EXAMPLE} is not TOML"))?;
        let name = format!("bench-{}", self.made.len() + 1);
        let brand = spec.get_mut("brand").and_then(toml::Value::as_table_mut);
        brand.with_context(|| format!("{EXAMPLE} has no brand"))?.insert("name".into(), name.clone().into());
        let path = self.folder.join(format!("{name}.toml"));
        fs::write(&path, spec.to_string()).with_context(|| format!("cannot write {}", path.display()))?;
        self.made.push(name);
        Ok(path)
    }

    /// From the spec of a new brand to what is asked for.
    fn build(&mut self, builder: &Builder<'_>, until: Option<Until>) -> Result<(Duration, Spec, Vec<Built>)> {
        let path = self.next()?;
        let mut built = None;
        let took = timing::call(|| {
            let spec = load(self.project, &path)?;
            let binaries = builder.binaries(&spec, true)?;
            if let Some(until) = until {
                builder.deliver(&spec, &binaries, &self.folder.join("dist"), until)?;
            }
            built = Some((spec, binaries));
            Ok(())
        })?;
        let (spec, binaries) = built.context("a brand was built")?;
        Ok((took, spec, binaries))
    }

    /// The same for several brands in a row.
    fn several(
        &mut self,
        builder: &Builder<'_>,
        count: usize,
        until: Option<Until>,
    ) -> Result<Vec<Duration>> {
        (0..count).map(|_| self.build(builder, until).map(|(took, ..)| took)).collect()
    }
}

impl Drop for Brands<'_> {
    fn drop(&mut self) {
        for name in &self.made {
            // What is left of a brand below target/ is only in the way.
            let _ = fs::remove_dir_all(self.project.target().join("brands").join(name));
            let _ = fs::remove_file(self.project.target().join("brands").join(format!("{name}.lock")));
        }
    }
}

/// Builds, packages and rebrands; `runs` is how often each of the quick things is done. Returns the section's text.
pub(super) fn run(project: &Project, runs: usize) -> Result<String> {
    if let Some((name, _)) = env::vars().find(|(name, _)| name.starts_with("CARGO_PROFILE_RELEASE_")) {
        bail!("{name} is set: the figures would be of another profile than brands are built with; unset it");
    }
    // Below target/, for its file system; cold means that nothing was compiled there.
    let folder = tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in(project.target())
        .context("cannot make a folder below target/")?;
    let compiled = folder.path().join("target");
    let builder = |fast: bool| -> Result<Builder<'_>> {
        Ok(Builder::new(project, Vec::new(), fast)?.compiling_in(compiled.clone()))
    };
    let (thorough, fast) = (builder(false)?, builder(true)?);
    let mut brands = Brands { project, folder: folder.path(), made: Vec::new() };
    let seconds = Duration::from_millis;

    eprintln!("bench: the first brand compiles everything; that takes minutes");
    let (cold, spec, built) = brands.build(&thorough, None)?;
    let others = brands.several(&thorough, 9, None)?;
    let packaged = brands.several(&thorough, 3, Some(Until::Packages))?;
    let packaged_fast = brands.several(&fast, 3, Some(Until::Packages))?;
    let dist = folder.path().join("dist");
    let packaging = |builder: &Builder<'_>| -> Result<Figures> {
        let once = || timing::call(|| builder.deliver(&spec, &built, &dist, Until::Packages).map(drop));
        Ok(Figures::new((0..runs.div_ceil(2)).map(|_| once()).collect::<Result<_>>()?))
    };
    let (alone, alone_fast) = (packaging(&thorough)?, packaging(&fast)?);
    let base = dist.join(&spec.brand.binary);
    let other = load(project, &brands.next()?)?;
    let rebranding = || {
        timing::call(|| {
            let base = Base::read(&base)?;
            thorough.rebranded(&other, std::slice::from_ref(&base)).map(drop)
        })
    };
    let rebranded = Figures::new((0..runs).map(|_| rebranding()).collect::<Result<_>>()?);

    let one = |took: Duration| Figures::new(vec![took]);
    let rows = [
        Row { what: "the first brand: everything is compiled", takes: one(cold), target: None },
        Row {
            what: "the second brand, same features: spec to verified binary",
            takes: one(others[0]),
            target: Some(seconds(1500)),
        },
        Row { what: "the tenth brand", takes: one(others[8]), target: Some(seconds(1500)) },
        Row {
            what: "another brand with rpm and deb (xz)",
            takes: Figures::new(packaged),
            target: Some(seconds(3000)),
        },
        Row {
            what: "another brand with rpm and deb (`--fast`)",
            takes: Figures::new(packaged_fast),
            target: Some(seconds(2000)),
        },
        Row { what: "rpm and deb alone (xz)", takes: alone, target: None },
        Row { what: "rpm and deb alone (`--fast`)", takes: alone_fast, target: None },
        Row { what: "rebranding a finished binary, and verifying it", takes: rebranded, target: None },
    ];
    table(&rows)
}

fn table(rows: &[Row]) -> Result<String> {
    let mut text = format!(
        "{} {}.\n\n| what | takes | target |\n|---|---|---|\n",
        machine()?,
        Toolchain::find()?.version
    );
    for Row { what, takes, target } in rows {
        let target = target.map_or("–".to_owned(), |target| {
            let kept = if takes.median() <= target { "kept" } else { "**missed**" };
            format!("≤ {}: {kept}", readable(target))
        });
        text.push_str(&format!("| {what} | {takes} | {target} |\n"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_was_missed_says_so() {
        let row = |milliseconds, target| Row {
            what: "a brand",
            takes: Figures::new(vec![Duration::from_millis(milliseconds)]),
            target: Some(Duration::from_millis(target)),
        };
        let text = table(&[row(1400, 1500), row(1600, 1500)]).unwrap();
        assert!(text.contains("| a brand | 1.40 s | ≤ 1.50 s: kept |\n"), "{text}");
        assert!(text.contains("| a brand | 1.60 s | ≤ 1.50 s: **missed** |\n"), "{text}");
    }
}
