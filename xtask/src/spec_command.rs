//! `cargo xtask spec …`: everything about a spec but building it.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::build::load;
use crate::flags::{SpecCommand, SpecFiles, SpecInit};
use crate::project::Project;
use crate::spec;

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
        SpecCommand::Explain { key } => print!("{}", spec::explain(key.as_deref())?),
        SpecCommand::Init(arguments) => init(arguments)?,
        SpecCommand::Schema => println!("{}", serde_json::to_string_pretty(&spec::schema())?),
        SpecCommand::Reference => print!("{}", spec::reference()),
        SpecCommand::Diff { left, right } => {
            let differences = spec::differences(&load(project, left)?, &load(project, right)?)?;
            for line in &differences {
                println!("{line}");
            }
            if differences.is_empty() {
                println!("no difference: {} and {} resolve to the same", left.display(), right.display());
            }
        }
    }
    Ok(())
}

/// Writes a start for a new spec; a file that is there is somebody's work.
fn init(arguments: &SpecInit) -> Result<()> {
    let SpecInit { file, name } = arguments;
    let name = match name {
        Some(name) => name.clone(),
        None => file.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
    };
    let text = spec::start(&name)?;
    let written = OpenOptions::new().write(true).create_new(true).open(file).and_then(|mut new| {
        new.write_all(text.as_bytes())?;
        new.sync_all()
    });
    match written {
        Err(why) if why.kind() == ErrorKind::AlreadyExists => bail!(
            "{} is there already and stays as it is\n  help: name another file, or move that one away",
            file.display()
        ),
        other => other.with_context(|| format!("cannot write {}", file.display()))?,
    }
    println!("{}: written; next: edit it, then `cargo xtask spec check --spec {0}`", file.display());
    Ok(())
}

fn paths(project: &Project, files: &SpecFiles) -> Vec<PathBuf> {
    if files.spec.is_empty() { vec![project.root.join("buildspec.toml")] } else { files.spec.clone() }
}
