//! Brands built for a test, the way every brand is built: a spec, and the build driver.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Builds the brand of a spec and returns its binary. The spec is written into `directory`, where relative paths in it
/// begin.
pub fn build(spec: &str, directory: &Path) -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .context("this crate lies two below the root")?;
    let name = brand_name(spec).context("the spec names no brand")?;
    let file = directory.join(format!("{name}.toml"));
    fs::write(&file, spec)?;
    let output = Command::new(env!("CARGO"))
        .args(["run", "-q", "-p", "xtask", "--", "binaries", "--spec"])
        .arg(&file)
        .current_dir(root)
        .output()
        .context("cannot start cargo")?;
    ensure!(
        output.status.success(),
        "the brand does not build:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let binary = root.join("dist").join(&name).join(format!("{name}-disco"));
    ensure!(binary.is_file(), "{} was not built", binary.display());
    Ok(binary)
}

fn brand_name(spec: &str) -> Option<String> {
    let line = spec.lines().map(str::trim).find(|line| line.starts_with("name"))?;
    let (_, value) = line.split_once('=')?;
    Some(value.trim().trim_matches('"').to_owned())
}
