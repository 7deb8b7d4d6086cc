//! What a binary writes about its own commands: a manual page for each, and completions for shells.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::project::Project;

/// Shells that packages bring completions for, as the binary calls them.
const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

/// Pages and completions, ready to be packaged.
#[derive(Debug, Clone, Default)]
pub(crate) struct Manual {
    /// Compressed pages by the names of their files: `acme-disco-dance.1.gz`.
    pub(super) pages: BTreeMap<String, Vec<u8>>,
    /// Scripts by the names of their shells.
    pub(super) completions: BTreeMap<&'static str, Vec<u8>>,
}

impl Manual {
    /// Asks a binary; `run` says how a program of its machine is started here.
    ///
    /// # Errors
    /// It cannot be run here, or does not know its commands.
    pub(crate) fn of(project: &Project, binary: &[u8], run: impl Fn(&Path) -> Command) -> Result<Self> {
        // Below target/, where programs may run even if they may not in /tmp.
        let scratch = tempfile::Builder::new()
            .prefix(".manual-")
            .tempdir_in(project.target())
            .context("cannot make a folder below target/")?;
        let program = scratch.path().join("program");
        fs::File::create(&program)
            .and_then(|mut file| {
                file.write_all(binary)?;
                file.set_permissions(Permissions::from_mode(0o700))
            })
            .with_context(|| format!("cannot write {}", program.display()))?;
        let ask = |arguments: &[&Path]| {
            let output =
                run(&program).args(arguments).output().context("cannot run the binary to have its manual")?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr);
                bail!("the binary ended with {} when asked for its manual: {}", output.status, said.trim());
            }
            Ok(output.stdout)
        };
        let mut manual = Manual::default();
        let pages = scratch.path().join("pages");
        ask(&[Path::new("man"), &pages])?;
        let entries = fs::read_dir(&pages).with_context(|| format!("cannot read {}", pages.display()))?;
        for entry in entries {
            let path = entry.with_context(|| format!("cannot read {}", pages.display()))?.path();
            let page = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            manual.pages.insert(format!("{name}.gz"), gzip(&page)?);
        }
        if manual.pages.is_empty() {
            bail!("the binary wrote no page of its manual");
        }
        for shell in SHELLS {
            manual.completions.insert(shell, ask(&[Path::new("completions"), Path::new(shell)])?);
        }
        Ok(manual)
    }
}

/// The same bytes give the same bytes: neither a name nor a time is in them.
pub(super) fn gzip(content: &[u8]) -> Result<Vec<u8>> {
    let mut compressed = GzEncoder::new(Vec::new(), Compression::best());
    compressed.write_all(content)?;
    Ok(compressed.finish()?)
}
