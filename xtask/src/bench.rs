//! Figures: what the product takes beside what the same work takes bare, in one run on one machine; what a brand costs.
//!
//! Every benchmark writes its table into its own section of `docs/benchmarks.md` and leaves the others as they are.

mod brands;
mod dance;
mod example;
mod many_files;
mod timing;

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::flags;
use crate::project::Project;
use timing::Figures;

/// Where the tables are kept, from the project's folder.
const PAGE: &str = "docs/benchmarks.md";

/// The head of the page, where there is none yet.
const HEAD: &str = "\
# Benchmarks

Each table was measured in one run of `cargo xtask bench`. Where the product is compared with something, both took turns, so
that they met the same machine in the same mood. Figures are medians, with the least and the most in brackets. Quote the
ratios; the times are those of one machine.
";

/// One line of a table.
#[derive(Debug)]
pub(crate) struct Row {
    /// What was done.
    pub(crate) what: String,
    /// What it took the product.
    pub(crate) ours: Figures,
    /// With what it is compared.
    pub(crate) beside: String,
    /// What that took.
    pub(crate) floor: Figures,
    /// What the ratio should be at most; none where nothing was promised.
    pub(crate) target: Option<f64>,
}

impl Row {
    fn ratio(&self) -> f64 {
        self.ours.median().as_secs_f64() / self.floor.median().as_secs_f64()
    }

    fn cells(&self) -> String {
        let target = self.target.map_or("–".to_owned(), |target| format!("≤ {target}"));
        format!(
            "| {} | {} | {} | {} | **{:.2}** | {target} |",
            self.what,
            self.ours,
            self.beside,
            self.floor,
            self.ratio()
        )
    }
}

/// Runs one benchmark, prints its table and writes it to the page.
pub(crate) fn run(project: &Project, arguments: &flags::Bench) -> Result<()> {
    let (section, table) = match arguments.what {
        flags::BenchWhat::Dance if !nix::unistd::geteuid().is_root() => bail!(
            "benchmarks of the dance need root: they run on a throw-away node, with mounts and namespaces of its own"
        ),
        flags::BenchWhat::Dance => ("dance", table(&dance::run(project, arguments.runs)?)?),
        flags::BenchWhat::Build => ("build", brands::run(project, arguments.runs)?),
    };
    println!("{table}");
    write_section(&project.root.join(PAGE), section, &table)?;
    eprintln!("bench: written to {PAGE}");
    Ok(())
}

fn table(rows: &[Row]) -> Result<String> {
    let mut text = format!(
        "{}\n\n| what | the product | beside | that takes | ratio | target |\n|---|---|---|---|---|---|\n",
        machine()?
    );
    for row in rows {
        text.push_str(&row.cells());
        text.push('\n');
    }
    Ok(text)
}

/// What the figures were taken on.
fn machine() -> Result<String> {
    let kernel =
        fs::read_to_string("/proc/sys/kernel/osrelease").context("cannot read the kernel's release")?;
    let processors = std::thread::available_parallelism().context("cannot count the processors")?;
    let load = fs::read_to_string("/proc/loadavg").context("cannot read the load")?;
    let load = load.split(' ').next().unwrap_or_default();
    Ok(format!("Linux {}, {processors} processors, load {load} at the end.", kernel.trim()))
}

/// Replaces one section of the page, or adds it.
fn write_section(page: &Path, name: &str, table: &str) -> Result<()> {
    let old = match fs::read_to_string(page) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => HEAD.to_owned(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", page.display())),
    };
    let folder = page.parent().context("the page lies in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::write(page, with_section(&old, name, table))
        .with_context(|| format!("cannot write {}", page.display()))
}

/// The page with this section in the place of the old one; sections begin with `## cargo xtask bench NAME`.
fn with_section(page: &str, name: &str, table: &str) -> String {
    let heading = format!("## cargo xtask bench {name}\n");
    let (before, after) = match page.split_once(&heading) {
        Some((before, rest)) => (before, rest.find("\n## ").map_or("", |at| &rest[at + 1..])),
        None => (page, ""),
    };
    let mut text = format!("{}\n\n{heading}\n{}\n", before.trim_end(), table.trim_end());
    if !after.is_empty() {
        text.push('\n');
        text.push_str(after);
    }
    text
}

/// A duration as people read it.
fn readable(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds < 0.001 => format!("{:.0} µs", seconds * 1e6),
        seconds if seconds < 0.1 => format!("{:.1} ms", seconds * 1e3),
        seconds if seconds < 1.0 => format!("{:.0} ms", seconds * 1e3),
        seconds => format!("{seconds:.2} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_replaced_where_it_is_and_the_others_stay() {
        let page = with_section(HEAD, "dance", "old");
        let page = with_section(&page, "build", "b");
        let page = with_section(&page, "dance", "new");
        let sections: Vec<&str> = page.split("## cargo xtask bench ").skip(1).map(str::trim).collect();
        assert_eq!(sections, ["dance\n\nnew", "build\n\nb"]);
        assert!(page.starts_with(HEAD));
    }

    #[test]
    fn a_time_has_the_unit_that_people_would_choose() {
        let shown = [40e-6, 0.0051, 0.366, 2.5].map(|seconds| readable(Duration::from_secs_f64(seconds)));
        assert_eq!(shown, ["40 µs", "5.1 ms", "366 ms", "2.50 s"]);
    }
}
