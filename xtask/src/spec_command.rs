//! `cargo xtask spec check|show`: reads a spec without building it.

use std::path::PathBuf;

use anyhow::Result;

use crate::build::load;
use crate::flags::{SpecCommand, SpecFiles};
use crate::project::Project;

/// Checks or shows the specs that the command line names; the reference spec if it names none.
pub(crate) fn run(project: &Project, command: &SpecCommand) -> Result<()> {
    match command {
        SpecCommand::Check(files) => {
            for path in paths(project, files) {
                let spec = load(project, &path)?;
                let packages: Vec<_> = spec.packages.iter().map(|package| package.name.as_str()).collect();
                println!(
                    "{}: good; makes {} {} with {}; packages: {}",
                    path.display(),
                    spec.brand.binary,
                    spec.brand.version,
                    spec.features.chosen().join(", "),
                    packages.join(", ")
                );
            }
        }
        SpecCommand::Show(files) => {
            for path in paths(project, files) {
                let spec = load(project, &path)?;
                println!("# {} resolved, sha256:{}", spec.file_name, spec.digest()?);
                println!("{}", spec.to_toml()?);
            }
        }
    }
    Ok(())
}

fn paths(project: &Project, files: &SpecFiles) -> Vec<PathBuf> {
    if files.spec.is_empty() { vec![project.root.join("buildspec.toml")] } else { files.spec.clone() }
}
