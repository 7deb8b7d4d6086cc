//! `dist/<brand>/`: what a build hands over. A file appears complete or not at all.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::spec::sha256_hex;

/// The list of digests, in the form that `sha256sum --check` reads.
pub(crate) const SUMS: &str = "SHA256SUMS";

/// One brand's folder, while it is being filled.
pub(crate) struct Dist {
    folder: PathBuf,
    digests: BTreeMap<String, String>,
}

impl Dist {
    /// Opens the folder of a brand, creating it if need be.
    pub(crate) fn open(folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(Dist { folder, digests: BTreeMap::new() })
    }

    /// Puts a file there under a temporary name, on disk, and only then under its own.
    pub(crate) fn put(&mut self, name: &str, mode: u32, content: &[u8]) -> Result<PathBuf> {
        self.digests.insert(name.to_owned(), sha256_hex(content));
        self.replace(name, mode, content)
    }

    /// Digests of what was put there, by name.
    pub(crate) fn digests(&self) -> &BTreeMap<String, String> {
        &self.digests
    }

    fn replace(&self, name: &str, mode: u32, content: &[u8]) -> Result<PathBuf> {
        let path = self.folder.join(name);
        let temporary = self.folder.join(format!(".{name}.new"));
        let written = (|| {
            let _ = fs::remove_file(&temporary);
            let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)
        })();
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Writes the digests, and removes what an earlier build listed and this one did not make.
    pub(crate) fn finish(self) -> Result<()> {
        let before = fs::read_to_string(self.folder.join(SUMS)).unwrap_or_default();
        let sums: String = self.digests.iter().map(|(name, digest)| format!("{digest}  {name}\n")).collect();
        self.replace(SUMS, 0o644, sums.as_bytes())?;
        for stale in before.lines().filter_map(|line| line.split_once("  ")).map(|(_, name)| name) {
            // The list is a file that anybody may have edited: only plain names in this folder are ours.
            let plain = Path::new(stale).components().count() == 1 && !stale.starts_with('.');
            if plain && !self.digests.contains_key(stale) {
                let _ = fs::remove_file(self.folder.join(stale));
            }
        }
        let folder = File::open(&self.folder).and_then(|folder| folder.sync_all());
        folder.with_context(|| format!("cannot sync {}", self.folder.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_build_replaces_and_removes_what_the_first_one_made() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("acme");
        let mut first = Dist::open(folder.clone()).unwrap();
        first.put("acme-1.rpm", 0o644, b"one").unwrap();
        first.put("acme", 0o755, b"binary").unwrap();
        first.finish().unwrap();
        fs::write(folder.join("notes.txt"), "somebody's").unwrap();

        let mut second = Dist::open(folder.clone()).unwrap();
        second.put("acme", 0o755, b"newer").unwrap();
        second.finish().unwrap();

        let mut names: Vec<_> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["SHA256SUMS", "acme", "notes.txt"]);
        let sums = fs::read_to_string(folder.join(SUMS)).unwrap();
        assert_eq!(sums, format!("{}  acme\n", sha256_hex("newer")));
    }
}
