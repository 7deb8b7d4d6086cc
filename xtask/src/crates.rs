//! The crates that a brand is made of: asked of cargo, embedded for scanners as section `.dep-v0`, told by the SBOM.
//!
//! `cargo metadata` knows licences and who uses whom, but not which crates the brand's features really link; `cargo tree`
//! does. What only the compilation needs (build scripts, procedural macros and theirs) is marked so.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, bail};
use auditable_info::Limits;
use auditable_serde::{DependencyKind, Package, Source, VersionInfo};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde::Deserialize;

/// Name of the brand's own crate in lists. Not that of the brand: what a binary was linked from does not change when
/// only its brand does.
pub(crate) const ROOT: &str = "appliance";

/// Where crates.io's crates come from, in cargo's words.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// All crates of a brand, in the order of their names.
#[derive(Debug, Clone)]
pub(crate) struct Crates(pub(crate) Vec<Crate>);

/// One crate.
#[derive(Debug, Clone)]
pub(crate) struct Crate {
    pub(crate) name: String,
    pub(crate) version: semver::Version,
    /// In cargo's words: `registry+https://…`, `git+https://…?rev=…#…`; nothing for a folder.
    pub(crate) source: Option<String>,
    /// Whether it is in the binary.
    pub(crate) linked: bool,
    /// SPDX expression.
    pub(crate) license: Option<String>,
    pub(crate) repository: Option<String>,
    /// SHA-256 of the archive that the registry serves.
    pub(crate) checksum: Option<String>,
    /// Where its files lie; nothing if it was read from a binary.
    pub(crate) folder: Option<PathBuf>,
    /// Indices of what it uses itself.
    pub(crate) uses: Vec<usize>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Described>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Described {
    id: String,
    name: String,
    version: semver::Version,
    source: Option<String>,
    license: Option<String>,
    repository: Option<String>,
    manifest_path: PathBuf,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
    root: String,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Edge>,
}

#[derive(Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<EdgeKind>,
}

#[derive(Deserialize)]
struct EdgeKind {
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: semver::Version,
    checksum: Option<String>,
}

/// Name and version, as `cargo tree` prints them.
type Listed = BTreeSet<(String, semver::Version)>;

impl Crates {
    /// Asks cargo what the crate of this manifest is made of on a machine. `cargo` makes a command without arguments;
    /// everything that is needed must be on this machine if it is `offline`.
    pub(crate) fn of(
        cargo: &(dyn Fn() -> Command + Sync),
        manifest: &Path,
        triple: &str,
        offline: bool,
    ) -> Result<Self> {
        let ask = |arguments: &[&str]| {
            let mut cargo = cargo();
            cargo.args(arguments).arg("--manifest-path").arg(manifest);
            if offline {
                cargo.arg("--offline");
            }
            let output = cargo.output().context("cannot start cargo")?;
            if !output.status.success() {
                bail!(
                    "`cargo {}` of {} failed: {}",
                    arguments[0],
                    manifest.display(),
                    String::from_utf8_lossy(&output.stderr).trim()
                );
            }
            String::from_utf8(output.stdout).context("cargo did not print UTF-8")
        };
        let tree = |edges: &str| -> Result<Listed> {
            let shape = ["--prefix", "none", "--format", "{p}", "--quiet"];
            listed(&ask(&[&["tree", "--edges", edges, "--target", triple], shape.as_slice()].concat())?)
        };
        let (metadata, linked, all) = thread::scope(|scope| {
            let linked = scope.spawn(|| tree("normal,no-proc-macro"));
            let all = scope.spawn(|| tree("normal,build"));
            let metadata =
                ask(&["metadata", "--format-version", "1", "--quiet", "--filter-platform", triple]);
            let joined = "a question to cargo does not panic";
            (metadata, linked.join().expect(joined), all.join().expect(joined))
        });
        let metadata: Metadata =
            serde_json::from_str(&metadata?).context("`cargo metadata` printed something unexpected")?;
        let lock = manifest.with_file_name("Cargo.lock");
        let lock = fs::read_to_string(&lock).with_context(|| format!("cannot read {}", lock.display()))?;
        let lock: Lock = toml::from_str(&lock).context("the brand's Cargo.lock is not one")?;
        Ok(Self::from(metadata, lock, &linked?, &all?))
    }

    fn from(metadata: Metadata, lock: Lock, linked: &Listed, all: &Listed) -> Self {
        let checksums: HashMap<_, _> =
            lock.package.into_iter().map(|locked| ((locked.name, locked.version), locked.checksum)).collect();
        let root = metadata.resolve.root;
        let mut ids = BTreeMap::new();
        for package in metadata.packages {
            let key = (package.name, package.version);
            let is_root = package.id == root;
            if !is_root && !all.contains(&key) {
                continue;
            }
            let (linked, checksum) = (linked.contains(&key), checksums.get(&key).cloned().flatten());
            let (name, version) = key;
            let name = if is_root { ROOT.to_owned() } else { name };
            let krate = Crate {
                name: name.clone(),
                version: version.clone(),
                source: package.source.clone(),
                linked: linked || is_root,
                license: package.license.as_deref().map(expression),
                repository: package.repository,
                checksum,
                folder: package.manifest_path.parent().map(Path::to_owned),
                uses: Vec::new(),
            };
            ids.insert((name, version, package.source), (package.id, krate));
        }
        let (ids, mut crates): (Vec<String>, Vec<Crate>) = ids.into_values().unzip();
        let index: HashMap<&str, usize> =
            ids.iter().enumerate().map(|(index, id)| (id.as_str(), index)).collect();
        for node in &metadata.resolve.nodes {
            let Some(&user) = index.get(node.id.as_str()) else { continue };
            let used = node
                .deps
                .iter()
                .filter(|edge| edge.dep_kinds.iter().any(|kind| kind.kind.as_deref() != Some("dev")));
            crates[user].uses = used.filter_map(|edge| index.get(edge.pkg.as_str()).copied()).collect();
            crates[user].uses.sort_unstable();
            crates[user].uses.dedup();
        }
        Crates(crates)
    }

    /// What the section of a binary says; licences and places are not among it.
    pub(crate) fn embedded(binary: &[u8]) -> Result<Self> {
        let limit = Limits::default().decompressed_json_size;
        let info = auditable_info::audit_info_from_slice(binary, limit)
            .context("the binary does not list its crates in a section .dep-v0")?;
        let crates = info.packages.into_iter().map(|package| Crate {
            source: match package.source {
                Source::CratesIo => Some(CRATES_IO.to_owned()),
                // Which repository or registry it was is not in the section.
                _ => None,
            },
            name: package.name,
            version: package.version,
            linked: package.kind == DependencyKind::Runtime,
            license: None,
            repository: None,
            checksum: None,
            folder: None,
            uses: package.dependencies,
        });
        Ok(Crates(crates.collect()))
    }

    /// The list in the words of `cargo auditable`.
    pub(crate) fn info(&self) -> VersionInfo {
        let packages = self
            .0
            .iter()
            .map(|krate| Package {
                name: krate.name.clone(),
                version: krate.version.clone(),
                source: match krate.source.as_deref() {
                    None => Source::Local,
                    Some(CRATES_IO) => Source::CratesIo,
                    Some(source) if source.starts_with("git+") => Source::Git,
                    Some(_) => Source::Registry,
                },
                kind: if krate.linked { DependencyKind::Runtime } else { DependencyKind::Build },
                dependencies: krate.uses.clone(),
                root: krate.name == ROOT && krate.source.is_none(),
            })
            .collect();
        VersionInfo { packages, format: 0 }
    }

    /// Content of the section `.dep-v0`.
    pub(crate) fn section(&self) -> Result<Vec<u8>> {
        let text = serde_json::to_vec(&self.info()).context("the list of crates does not serialise")?;
        let mut packed = ZlibEncoder::new(Vec::new(), Compression::best());
        packed.write_all(&text)?;
        Ok(packed.finish()?)
    }
}

/// Reads lines such as `serde v1.0.229 (proc-macro) (*)`.
fn listed(tree: &str) -> Result<Listed> {
    tree.lines()
        .filter(|line| !line.is_empty())
        .map(|line| {
            let mut words = line.split_whitespace();
            let (name, version) = (words.next(), words.next().and_then(|word| word.strip_prefix('v')));
            match (name, version.map(semver::Version::parse)) {
                (Some(name), Some(Ok(version))) => Ok((name.to_owned(), version)),
                _ => bail!("`cargo tree` printed a line that names no crate: {line}"),
            }
        })
        .collect()
}

/// A licence as SPDX writes it: some crates still have the slash of old.
fn expression(license: &str) -> String {
    license.split('/').map(str::trim).collect::<Vec<_>>().join(" OR ")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const METADATA: &str = r#"{
        "packages": [
            {"id": "p#brand-acme", "name": "brand-acme", "version": "0.0.0", "source": null, "license": null, "repository": null,
             "manifest_path": "/absent/Cargo.toml"},
            {"id": "r#serde", "name": "serde", "version": "1.0.2", "source": "registry+https://github.com/rust-lang/crates.io-index",
             "license": "MIT/Apache-2.0", "repository": "https://serde.example",
             "manifest_path": "/absent/Cargo.toml"},
            {"id": "g#made", "name": "made", "version": "2.0.0", "source": "git+https://git.example/made?rev=12ab#12abcd",
             "license": null, "repository": null,
             "manifest_path": "/absent/Cargo.toml"},
            {"id": "r#absent", "name": "absent", "version": "1.0.0", "source": "registry+https://github.com/rust-lang/crates.io-index",
             "license": "MIT", "repository": null,
             "manifest_path": "/absent/Cargo.toml"}
        ],
        "resolve": {"root": "p#brand-acme", "nodes": [
            {"id": "p#brand-acme", "deps": [{"pkg": "r#serde", "dep_kinds": [{"kind": null}]}]},
            {"id": "r#serde", "deps": [{"pkg": "g#made", "dep_kinds": [{"kind": "build"}]},
                                       {"pkg": "r#absent", "dep_kinds": [{"kind": null}]}]},
            {"id": "g#made", "deps": [{"pkg": "p#brand-acme", "dep_kinds": [{"kind": "dev"}]}]},
            {"id": "r#absent", "deps": []}
        ]}
    }"#;

    /// A brand that links `serde`, which needs `made` to be compiled.
    pub(crate) fn three() -> Crates {
        let checksum = "ab".repeat(32);
        let lock = format!("[[package]]\nname = \"serde\"\nversion = \"1.0.2\"\nchecksum = \"{checksum}\"\n");
        let linked = listed("brand-acme v0.0.0 (/x)\nserde v1.0.2\n").unwrap();
        let all = listed(
            "brand-acme v0.0.0 (/x)\nserde v1.0.2\nmade v2.0.0 (https://git.example)\nserde v1.0.2 (*)\n",
        );
        Crates::from(
            serde_json::from_str(METADATA).unwrap(),
            toml::from_str(&lock).unwrap(),
            &linked,
            &all.unwrap(),
        )
    }

    #[test]
    fn only_what_the_tree_has_is_listed_and_what_only_compiles_is_marked() {
        let info = three().info();
        let names: Vec<_> = info.packages.iter().map(|package| package.name.as_str()).collect();
        assert_eq!(names, [ROOT, "made", "serde"]);
        assert_eq!(info.packages[0].dependencies, [2]);
        assert_eq!(info.packages[2].dependencies, [1], "`absent` is not in the tree");
        assert!(info.packages[1].dependencies.is_empty(), "a test's need is none of the binary's");
        assert_eq!(info.packages[1].kind, DependencyKind::Build);
        assert_eq!(info.packages[2].kind, DependencyKind::Runtime);
        assert_eq!(
            info.packages.iter().map(|package| package.source.clone()).collect::<Vec<_>>(),
            [Source::Local, Source::Git, Source::CratesIo]
        );
    }

    #[test]
    fn the_section_is_one_that_scanners_read() {
        let section = three().section().unwrap();
        let text = flate2::read::ZlibDecoder::new(section.as_slice());
        let text = std::io::read_to_string(text).unwrap();
        let read: VersionInfo = serde_json::from_str(&text).unwrap();
        assert_eq!(read, three().info());
    }

    #[test]
    fn licences_are_written_as_spdx_does() {
        assert_eq!(three().0[2].license.as_deref(), Some("MIT OR Apache-2.0"));
        assert_eq!(expression("(MIT OR Apache-2.0) AND Unicode-3.0"), "(MIT OR Apache-2.0) AND Unicode-3.0");
    }

    #[test]
    fn a_tree_that_is_none_is_refused() {
        assert!(listed("error: what?\n").unwrap_err().to_string().contains("error: what?"));
    }
}
