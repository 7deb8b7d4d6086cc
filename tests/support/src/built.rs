//! What `cargo xtask` built: where it is, and how to build more.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The project's folder.
///
/// # Errors
/// If it moved since the tests were compiled.
pub fn project() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().with_context(|| format!("cannot find the project at {}", root.display()))
}

/// The folder with everything that was built of a brand: `dist/<brand>`, or where `DISCO_DIST_<BRAND>` says.
///
/// # Errors
/// If nothing was built; says what to run.
pub fn dist(brand: &str) -> Result<PathBuf> {
    let variable = format!("DISCO_DIST_{}", brand.to_uppercase());
    let folder = match env::var_os(&variable) {
        Some(folder) => PathBuf::from(folder),
        None => project()?.join("dist").join(brand),
    };
    ensure!(
        folder.join("SHA256SUMS").is_file(),
        "{} has no finished build; run `cargo xtask test`, which builds before it tests",
        folder.display()
    );
    Ok(folder)
}

/// The one file of a build whose name ends like this.
///
/// # Errors
/// If there is none or more than one.
pub fn dist_file(brand: &str, ending: &str) -> Result<PathBuf> {
    one_file(&dist(brand)?, ending)
}

/// The one file of a folder whose name ends like this.
///
/// # Errors
/// If there is none or more than one.
pub fn one_file(folder: &Path, ending: &str) -> Result<PathBuf> {
    let mut found = Vec::new();
    for entry in folder.read_dir().with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    ensure!(found.len() == 1, "{} has {} files that end with {ending}", folder.display(), found.len());
    Ok(found.remove(0))
}

/// `cargo xtask`, to which arguments are to be added.
///
/// # Errors
/// If the project cannot be found.
pub fn xtask() -> Result<Command> {
    let mut xtask = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    xtask.current_dir(project()?).args(["run", "--quiet", "--package", "xtask", "--"]);
    Ok(xtask)
}
