//! The licences of the crates in a binary: which crate has which, and the texts that come with their sources.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::crates::{Crate, Crates, ROOT};

/// Name of the file in `dist/<brand>/`.
pub(crate) const FILE_NAME: &str = "third-party-licences.txt";

/// How the names of licence files start, in capitals.
const NAMES: [&str; 6] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"];

/// Between two texts.
const RULE: &str = "--------------------------------------------------------------------------------";

/// One file for all: a list of the crates, then every text once with the crates that it is about. Nothing in it is of
/// one brand.
///
/// # Errors
/// A folder of a crate cannot be read.
pub(crate) fn of(crates: &Crates) -> Result<String> {
    let mut list = String::new();
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for krate in third_parties(crates) {
        let mut files = match &krate.folder {
            Some(folder) => texts_in(folder)
                .with_context(|| format!("cannot read the licences in {}", folder.display()))?,
            None => Vec::new(),
        };
        writeln!(list, "{}", line(krate, files.is_empty()))?;
        for (name, text) in files.drain(..) {
            texts.entry(text).or_default().push(format!("{} {} ({name})", krate.name, krate.version));
        }
    }
    let mut all = format!("This program is made with these libraries, under these licences:\n\n{list}");
    // In the order of the first crate that each is about.
    let mut texts: Vec<(Vec<String>, String)> =
        texts.into_iter().map(|(text, crates)| (crates, text)).collect();
    texts.sort();
    for (crates, text) in texts {
        write!(all, "\n{RULE}\n{}\n{RULE}\n\n{}\n", crates.join(",\n"), text.trim_end())?;
    }
    Ok(all)
}

/// Whether a file that [`of`] made is about all of these crates.
pub(crate) fn cover(text: &str, crates: &Crates) -> bool {
    let listed = |krate: &Crate| {
        let start = format!("{} {}: ", krate.name, krate.version);
        text.lines().take_while(|line| *line != RULE).any(|line| line.starts_with(&start))
    };
    third_parties(crates).all(listed)
}

/// What is in the binary and not the project's own.
fn third_parties(crates: &Crates) -> impl Iterator<Item = &Crate> {
    // What lies in a folder is the project's, or a plug of the brand's own.
    crates.0.iter().filter(|krate| krate.linked && krate.name != ROOT && krate.source.is_some())
}

fn line(krate: &Crate, bare: bool) -> String {
    let license = krate.license.as_deref().unwrap_or("no licence is told");
    let place = krate.repository.as_deref().map(|place| format!(", {place}")).unwrap_or_default();
    let bare = if bare { " (its sources bring no text)" } else { "" };
    format!("{} {}: {license}{place}{bare}", krate.name, krate.version)
}

/// Names and texts of the licences in a crate's folder, in the order of their names.
fn texts_in(folder: &Path) -> Result<Vec<(String, String)>> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let capitals = name.to_uppercase();
        if NAMES.iter().any(|start| capitals.starts_with(start)) && entry.path().is_file() {
            let text = fs::read(entry.path())?;
            texts.push((name, String::from_utf8_lossy(&text).replace("\r\n", "\n")));
        }
    }
    texts.sort();
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crates::tests::three;

    #[test]
    fn a_text_that_two_crates_share_is_there_once_with_both_names() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("LICENSE-MIT"), "Do what you like.\r\n").unwrap();
        fs::write(folder.path().join("src.rs"), "not a licence").unwrap();
        let mut crates = three();
        for krate in &mut crates.0 {
            krate.folder = Some(folder.path().to_owned());
            krate.linked = true;
        }
        let text = of(&crates).unwrap();
        assert!(text.contains("\nserde 1.0.2: MIT OR Apache-2.0, https://serde.example\n"), "{text}");
        assert!(text.contains("\nmade 2.0.0 (LICENSE-MIT),\nserde 1.0.2 (LICENSE-MIT)\n"), "{text}");
        assert_eq!(text.matches("Do what you like.\n").count(), 1, "{text}");
        assert!(cover(&text, &crates));
        crates.0.last_mut().unwrap().version = semver::Version::new(9, 9, 9);
        assert!(!cover(&text, &crates), "it is about another version");
    }

    #[test]
    fn a_crate_without_a_text_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let mut crates = three();
        for krate in &mut crates.0 {
            krate.folder = Some(folder.path().to_owned());
        }
        let text = of(&crates).unwrap();
        assert!(text.contains("https://serde.example (its sources bring no text)\n"), "{text}");
        assert!(!text.contains("made 2.0.0"), "it is not in the binary: {text}");
    }
}
