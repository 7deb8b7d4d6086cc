//! Brands built for a test, the way every brand is built: a spec, and the build driver.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::built::xtask;

/// Builds the brand of a spec and returns its binary. Spec and results lie in `directory`; relative paths in the spec
/// begin there. The first build of a set of features takes minutes, every further one seconds.
pub fn build(spec: &str, directory: &Path) -> Result<PathBuf> {
    let file = directory.join("spec.toml");
    fs::write(&file, spec)?;
    let output = xtask()?
        .args(["binaries", "--spec"])
        .arg(&file)
        .arg("--dist")
        .arg(directory.join("dist"))
        .output()
        .context("cannot start cargo")?;
    ensure!(
        output.status.success(),
        "the brand does not build:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // The driver names what it made, the binary first.
    let made = String::from_utf8(output.stdout)?;
    let binary = PathBuf::from(made.lines().next().context("the build driver made nothing")?);
    ensure!(binary.is_file(), "{} was not built", binary.display());
    Ok(binary)
}
