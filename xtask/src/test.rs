//! Everything that must hold before a commit; what continuous integration runs, too.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::build::Until;
use crate::flags;
use crate::project::Project;
use crate::{matrix, setup, tidy};

/// Features of the tests: everything that a spec can choose, `live` being on by default.
const FEATURES: &str = "provisioning,plaintext-brokers";

/// Environment variable that has tests try everything that they otherwise try a part of.
const FULL: &str = "DISCO_FULL";

/// Runs all stages in order and stops at the first that fails.
pub(crate) fn run(project: &Project, arguments: &flags::Test) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "the tests need root: they mount sandboxes, install packages into throw-away roots and check what belongs \
             to whom. As another user this much works: cargo fmt --check, cargo clippy, cargo xtask tidy, \
             cargo test -p xtask"
        );
    }
    let started = Instant::now();
    stage("setup", || setup::run(project, &flags::Setup::default()))?;
    stage("format", || cargo(project, &["fmt", "--all", "--check"]))?;
    stage("clippy", || {
        cargo(project, &["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"])
    })?;
    stage("clippy with all features", || {
        cargo(
            project,
            &["clippy", "--workspace", "--all-targets", "--all-features", "--", "--deny", "warnings"],
        )
    })?;
    stage("tidy", || tidy::run(project))?;
    stage("build of examples/acme.toml and buildspec.toml", || {
        let spec = ["examples/acme.toml", "buildspec.toml"].map(|path| project.root.join(path)).to_vec();
        matrix::run(project, &flags::Build { spec, ..flags::Build::default() }, Until::Packages)
    })?;
    let extent = if arguments.full { "all tests, and more of each" } else { "tests" };
    stage(extent, || {
        let mut tests = project.cargo();
        tests.args(["test", "--workspace", "--features", FEATURES]);
        if arguments.full {
            tests.env(FULL, "1");
        }
        succeed(&mut tests)
    })?;
    eprintln!("test: all stages passed ({:.0} s)", started.elapsed().as_secs_f64());
    Ok(())
}

fn stage(name: &str, run: impl FnOnce() -> Result<()>) -> Result<()> {
    eprintln!("test: {name}");
    let started = Instant::now();
    run().with_context(|| format!("the stage `{name}` failed"))?;
    eprintln!("test: {name}: passed ({:.1} s)", started.elapsed().as_secs_f64());
    Ok(())
}

fn cargo(project: &Project, arguments: &[&str]) -> Result<()> {
    succeed(project.cargo().args(arguments))
}

fn succeed(cargo: &mut Command) -> Result<()> {
    let status = cargo.status().context("cannot start cargo")?;
    if !status.success() {
        let arguments: Vec<_> = cargo.get_args().map(|argument| argument.to_string_lossy()).collect();
        bail!("`cargo {}` ended with {status}", arguments.join(" "));
    }
    Ok(())
}
