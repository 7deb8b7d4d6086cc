//! Crates of others that a spec compiles into its brand: a resolver, agents. Where they come from, and whether that says
//! for sure which code it is.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use toml::Spanned;

use super::checks;
use super::problem::Problem;
use super::reader::TableReader;
use super::resolve::Resolution;
use super::sha256_hex;

/// One crate and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Plug {
    #[serde(rename = "crate")]
    pub(crate) krate: String,
    #[serde(flatten)]
    pub(crate) origin: Origin,
}

impl Plug {
    /// How Rust code names the crate.
    pub(crate) fn module(&self) -> String {
        self.krate.replace('-', "_")
    }
}

/// Where a crate comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum Origin {
    /// A folder of this machine.
    Folder {
        /// As written, relative to the spec.
        path: String,
        /// Where that is on this machine.
        #[serde(skip)]
        folder: PathBuf,
        /// SHA-256 of what lies there: the code is no other than it was.
        #[serde(skip)]
        digest: String,
    },
    /// One commit of a git repository.
    Commit {
        /// The repository.
        git: String,
        /// The whole hash.
        rev: String,
    },
    /// A release in cargo's registry; the brand's lock file keeps the one that was chosen.
    Release {
        /// A requirement as cargo reads it.
        version: String,
    },
}

impl<'a> Resolution<'a> {
    /// The crate that finds the brokers, if the spec names one.
    pub(super) fn resolver(&self, table: TableReader<'a>, provisioning: bool) -> Option<Plug> {
        if !provisioning {
            self.refuse_unserved(&table, "[resolver]", "a build without provisioning never asks for brokers");
        }
        self.plug(table, "resolver", "static-targets")
    }

    /// The crates that bring agents, in the order of the spec.
    pub(super) fn agents(&self, tables: Vec<TableReader<'a>>, provisioning: bool) -> Vec<Plug> {
        let mut names = BTreeSet::new();
        let mut plugs = Vec::new();
        for table in tables {
            if !provisioning {
                self.refuse_unserved(&table, "[[agents]]", "a build without provisioning serves nobody");
            }
            let header = table.span();
            let Some(plug) = self.plug(table, "agents", "acme-agents") else { continue };
            if !names.insert(plug.krate.clone()) {
                let title = format!("the crate `{}` is in two tables of [[agents]]", plug.krate);
                let problem = Problem::at(header.unwrap_or_default(), title, "the second one");
                self.problems.add(problem.cure("name each crate once; one crate may bring several agents"));
            }
            plugs.push(plug);
        }
        plugs
    }

    fn refuse_unserved(&self, table: &TableReader<'a>, name: &str, why: &str) {
        let Some(span) = table.span() else { return };
        self.problems.add(
            Problem::at(span, format!("{name} is set, but `features.provisioning` is off"), why)
                .cure(format!("set `provisioning = true` under [features], or leave {name} out")),
        );
    }

    fn plug(&self, mut table: TableReader<'a>, name: &str, example: &str) -> Option<Plug> {
        let header = table.span();
        let krate = table.string("crate");
        let path = table.string("path");
        let git = table.string("git");
        let rev = table.string("rev");
        let version = table.string("version");
        let written = ["path", "git", "version"].into_iter().filter(|key| table.key_span(key).is_some());
        let written: Vec<_> = written.collect();
        let (rev_span, has_crate) = (table.key_span("rev"), table.key_span("crate").is_some());
        table.finish();
        let header = header?;
        if !has_crate {
            let cure = format!("write the name of the crate, such as `crate = \"{example}\"`");
            self.missing(&format!("{name}.crate"), Some(header.clone()), &cure);
        }
        if written.len() != 1 {
            let title = match written.as_slice() {
                [] => format!("`{name}` does not say where its crate is"),
                several => format!("`{name}` says in {} ways where its crate is", several.len()),
            };
            let cure = "write one of `path = \"…\"`, `git = \"…\"` with `rev = \"…\"`, or `version = \"…\"`";
            self.problems.add(Problem::at(header.clone(), title, "in this table").cure(cure));
        }
        if let Some(span) = rev_span.clone().filter(|_| !written.contains(&"git")) {
            let title = format!("`{name}.rev` is set without `{name}.git`");
            let problem = Problem::at(span, title, "a commit of which repository?");
            self.problems.add(problem.cure("write the repository's URL as `git`, or leave `rev` out"));
        }
        let krate = self.checked(krate, &format!("{name}.crate"), checks::crate_name);
        let origin = match (path, git, version) {
            (Some(path), None, None) => self.folder(path, name),
            (None, Some(git), None) => {
                let git = self.checked(Some(git), &format!("{name}.git"), checks::repository);
                if rev_span.is_none() {
                    let cure = "write the whole hash of the commit; branches and tags move";
                    self.missing(&format!("{name}.rev"), Some(header), cure);
                }
                let rev = self.checked(rev, &format!("{name}.rev"), checks::commit);
                Origin::Commit { git: git?, rev: rev? }
            }
            (None, None, Some(version)) => {
                let version = self.checked(Some(version), &format!("{name}.version"), checks::requirement);
                Origin::Release { version: version? }
            }
            _ => return None,
        };
        Some(Plug { krate: krate?, origin })
    }

    fn folder(&self, path: Spanned<String>, name: &str) -> Origin {
        let folder = self.beside(path.get_ref());
        let manifest = folder.join("Cargo.toml");
        if !manifest.is_file() {
            let title = format!("`{name}.path` has no crate: {} is missing", manifest.display());
            let problem = Problem::at(path.span(), title, "looked for here, relative to the spec");
            self.problems.add(problem.cure("name the folder that has the Cargo.toml of the crate"));
        }
        let digest = digest(&folder).unwrap_or_else(|why| {
            let title = format!("`{name}.path` cannot be read: {why}");
            let problem = Problem::at(path.span(), title, "relative to the spec");
            self.problems.add(problem.cure("let the build read the whole folder of the crate"));
            String::new()
        });
        Origin::Folder { path: path.into_inner(), folder, digest }
    }

    /// Refuses one crate that comes from two places: cargo builds one.
    pub(super) fn refuse_other_origin(&self, resolver: Option<&Plug>, agents: &[Plug]) {
        let Some(resolver) = resolver else { return };
        if agents.iter().any(|plug| plug.krate == resolver.krate && plug.origin != resolver.origin) {
            let title = format!("the crate `{}` comes from two places", resolver.krate);
            let cure = "say the same in [resolver] and in [[agents]], or give one of the crates another name";
            self.problems.add(Problem::of_file(title).cure(cure));
        }
    }
}

/// Digest of the names and contents of a crate's files, without what is built and what is hidden.
fn digest(folder: &Path) -> io::Result<String> {
    let mut lines = String::new();
    // One that is missing has a message of its own.
    if folder.is_dir() {
        list(folder, "", &mut lines)?;
    }
    Ok(sha256_hex(lines))
}

fn list(folder: &Path, below: &str, lines: &mut String) -> io::Result<()> {
    let mut entries: Vec<_> = fs::read_dir(folder)?.collect::<io::Result<_>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') || below.is_empty() && name == "target" {
            continue;
        }
        let path = format!("{below}/{name}");
        let kind = entry.file_type()?;
        let content = if kind.is_dir() {
            list(&entry.path(), &path, lines)?;
            continue;
        } else if kind.is_symlink() {
            fs::read_link(entry.path())?.into_os_string().into_encoded_bytes()
        } else if kind.is_file() {
            fs::read(entry.path())?
        } else {
            continue;
        };
        lines.push_str(&format!("{} {path:?}\n", sha256_hex(content)));
    }
    Ok(())
}
