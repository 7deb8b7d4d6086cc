//! The crates that this binary was linked from, as its section `.dep-v0` lists them for scanners.
//!
//! The section is the list of `cargo auditable`: compressed JSON. xtask writes it, the generated brand crate holds it.

use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;

/// Longest list that is unpacked; a thousand crates take a tenth of it.
const LONGEST: usize = 1 << 20;

/// Every crate of a binary.
#[derive(Debug, Deserialize)]
pub struct Dependencies {
    packages: Vec<Package>,
}

/// One crate.
#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    version: String,
    source: String,
    #[serde(default)]
    kind: Kind,
    /// Indices of what it uses itself.
    #[serde(default)]
    dependencies: Vec<usize>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// Only the compilation needed it.
    Build,
    /// It is in the binary.
    #[default]
    Runtime,
}

/// Why the crates cannot be told.
#[derive(Debug, Error)]
pub enum Unreadable {
    /// The binary has no such section.
    #[error("this binary has no list of its crates")]
    Absent,
    /// The section is not a compressed text.
    #[error("the list of crates in this binary does not unpack: {0}")]
    Packed(String),
    /// The text is no list of crates.
    #[error("the list of crates in this binary is damaged")]
    Damaged(#[from] serde_json::Error),
}

impl Dependencies {
    /// Reads the content of a section.
    ///
    /// # Errors
    /// The section is empty or damaged.
    pub fn read(section: &[u8]) -> Result<Self, Unreadable> {
        if section.is_empty() {
            return Err(Unreadable::Absent);
        }
        let text = miniz_oxide::inflate::decompress_to_vec_zlib_with_limit(section, LONGEST)
            .map_err(|why| Unreadable::Packed(why.to_string()))?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// One object: crates in the order of their names, each with the crates that it uses itself.
    pub fn to_json(&self) -> Value {
        let crates: Vec<Value> = self
            .packages
            .iter()
            .map(|package| {
                let uses: Vec<String> = package
                    .dependencies
                    .iter()
                    .filter_map(|index| self.packages.get(*index))
                    .map(|used| format!("{} {}", used.name, used.version))
                    .collect();
                json!({
                    "name": package.name,
                    "version": package.version,
                    "source": package.source,
                    "linked": package.kind == Kind::Runtime,
                    "uses": uses,
                })
            })
            .collect();
        json!({ "schema": "disco.dependencies.v1", "crates": crates })
    }

    /// A line for each crate: name, version, source, and whether only the compilation needed it.
    pub fn to_text(&self) -> String {
        let widest = |field: fn(&Package) -> &str| {
            self.packages.iter().map(|package| field(package).len()).max().unwrap_or_default()
        };
        let (name, version) = (widest(|package| &package.name), widest(|package| &package.version));
        let mut text = String::new();
        for package in &self.packages {
            let built = if package.kind == Kind::Build { "  build only" } else { "" };
            text.push_str(&format!(
                "{:name$}  {:version$}  {}{built}\n",
                package.name, package.version, package.source
            ));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(text: &str) -> Vec<u8> {
        miniz_oxide::deflate::compress_to_vec_zlib(text.as_bytes(), 7)
    }

    #[test]
    fn crates_are_told_with_what_they_use() {
        let section = section(
            r#"{"packages":[{"name":"appliance","version":"0.0.0","source":"local","dependencies":[1],"root":true},
                {"name":"serde","version":"1.0.229","source":"crates.io"},
                {"name":"syn","version":"2.0.1","source":"crates.io","kind":"build"}],"format":0}"#,
        );
        let dependencies = Dependencies::read(&section).unwrap();
        assert_eq!(
            dependencies.to_text(),
            "appliance  0.0.0    local\nserde      1.0.229  crates.io\nsyn        2.0.1    crates.io  build only\n"
        );
        let says = dependencies.to_json();
        assert_eq!(says["crates"][0]["uses"], json!(["serde 1.0.229"]));
        assert_eq!(says["crates"][2]["linked"], false);
    }

    #[test]
    fn what_is_no_list_is_refused_with_its_reason() {
        let said = |section: &[u8]| Dependencies::read(section).unwrap_err().to_string();
        assert_eq!(said(b""), "this binary has no list of its crates");
        assert!(said(b"no zlib").starts_with("the list of crates in this binary does not unpack"));
        assert_eq!(said(&section("[]")), "the list of crates in this binary is damaged");
        assert!(said(&section(&" ".repeat(LONGEST + 1))).contains("does not unpack"), "the limit holds");
    }
}
