//! House rules that no compiler checks. Each rule takes a source and returns what breaks it.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::project::Project;

/// Which modules of the product a module may use; what is not listed may use everything.
const DIRECTION: [(&str, &[&str]); 9] = [
    ("brand", &[]),
    ("dependencies", &[]),
    ("features", &[]),
    ("server_conf", &[]),
    ("buildinfo", &["appliance", "brand", "features"]),
    ("appliance", &["brand", "cli"]),
    ("disco", &["brand", "features", "server_conf"]),
    ("choria", &["brand", "features", "server_conf"]),
    ("provisioning", &["brand", "buildinfo", "choria", "features", "server_conf"]),
];

/// What may hold `unsafe`: what enters namespaces and mounts cannot do without; brands name a section.
const UNSAFE: [&str; 2] = ["src/disco/sandbox/", "xtask/src/brand_crate.rs"];

/// Names that say nothing about what a file owns.
const EMPTY_NAMES: [&str; 6] = ["utils", "helpers", "common", "misc", "manager", "handler"];

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Breach {
    path: String,
    line: usize,
    what: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// One Rust file, by its path from the project's root.
struct Source {
    path: String,
    text: String,
}

/// Checks every rule on every file.
pub(crate) fn run(project: &Project) -> Result<()> {
    let mut sources = Vec::new();
    for folder in ["src", "sdk/src", "xtask/src", "examples", "tests"] {
        collect(&project.root, &project.root.join(folder), &mut sources)?;
    }
    let mut breaches: Vec<Breach> = sources
        .iter()
        .flat_map(|source| {
            [direction, printing, unsafe_code, feature_gates, opening, names]
                .into_iter()
                .flat_map(|rule| rule(source))
        })
        .collect();
    let table = sources
        .iter()
        .find(|source| source.path == "src/features.rs")
        .context("src/features.rs is missing")?;
    breaches.extend(feature_table(table, &project.manifest)?);
    for breach in &breaches {
        eprintln!("{breach}");
    }
    if !breaches.is_empty() {
        bail!("{} house rules are broken, see above", breaches.len());
    }
    eprintln!("tidy: {} files keep the house rules", sources.len());
    Ok(())
}

fn collect(root: &Path, folder: &Path, sources: &mut Vec<Source>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut paths: Vec<_> = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            collect(root, &path, sources)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text =
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let path = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            sources.push(Source { path, text });
        }
    }
    Ok(())
}

impl Source {
    /// Top module of the product that this file belongs to; nothing for `lib.rs`, `main.rs` and other crates.
    fn module(&self) -> Option<&str> {
        let module = self.path.strip_prefix("src/")?.split('/').next()?;
        Some(module.strip_suffix(".rs").unwrap_or(module)).filter(|module| !matches!(*module, "lib" | "main"))
    }

    /// Lines with their numbers, without comments and without the tests at the end.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let end = self.text.find("#[cfg(test)]\nmod ").unwrap_or(self.text.len());
        self.text[..end].lines().enumerate().filter_map(|(index, line)| {
            let code = line.split("//").next().unwrap_or("");
            (!code.trim().is_empty()).then_some((index + 1, code))
        })
    }

    fn breach(&self, line: usize, what: impl Into<String>) -> Breach {
        Breach { path: self.path.clone(), line, what: what.into() }
    }
}

/// Modules use each other in one direction.
fn direction(source: &Source) -> Vec<Breach> {
    let Some(module) = source.module() else { return Vec::new() };
    let Some((_, allowed)) = DIRECTION.iter().find(|(name, _)| *name == module) else { return Vec::new() };
    let mut breaches = Vec::new();
    let code: Vec<(usize, &str)> = source.code().collect();
    for (index, (line, text)) in code.iter().enumerate() {
        // A list in braces may go on over several lines.
        let rest: String = code[index..].iter().take(20).map(|(_, text)| *text).collect::<Vec<_>>().join(" ");
        for (at, _) in text.match_indices("crate::") {
            if text[..at].ends_with(|letter: char| letter.is_alphanumeric() || letter == '_') {
                continue;
            }
            for used in used_modules(&rest[at + "crate::".len()..]) {
                if used != module && !allowed.contains(&used.as_str()) {
                    let may =
                        if allowed.is_empty() { "nothing of ours".to_owned() } else { allowed.join(", ") };
                    let what = format!(
                        "`{module}` uses `{used}`; it may use {may} (ARCHITECTURE.md draws the direction)"
                    );
                    breaches.push(source.breach(*line, what));
                }
            }
        }
    }
    breaches
}

/// The modules that a path after `crate::` begins with: one, or those of a list in braces.
fn used_modules(path: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        let name: String = text
            .trim_start()
            .chars()
            .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
            .collect();
        match name.as_str() {
            // Re-exports at the top of the library.
            "Appliance" => "appliance".to_owned(),
            "Brand" => "brand".to_owned(),
            _ => name,
        }
    };
    let Some(list) = path.strip_prefix('{') else { return vec![word(path)] };
    let mut depth = 0;
    let mut modules = vec![word(list)];
    for (at, letter) in list.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => modules.push(word(&list[at + 1..])),
            _ => {}
        }
    }
    modules.retain(|module| !module.is_empty());
    modules
}

/// Only `cli` talks to people and reads the environment.
fn printing(source: &Source) -> Vec<Breach> {
    if source.module().is_none_or(|module| module == "cli") {
        return Vec::new();
    }
    let mut breaches = Vec::new();
    for (line, code) in source.code() {
        for forbidden in ["println!", "eprintln!", "print!(", "eprint!(", "dbg!(", "env::var"] {
            let found = code.match_indices(forbidden).any(|(at, _)| {
                !code[..at].ends_with(|letter: char| letter.is_alphanumeric() || letter == '_')
            });
            if found {
                let name = forbidden.trim_end_matches('(');
                breaches.push(
                    source.breach(
                        line,
                        format!("`{name}` outside cli; return a value or emit an event instead"),
                    ),
                );
            }
        }
    }
    breaches
}

/// `unsafe` stays where it is needed.
fn unsafe_code(source: &Source) -> Vec<Breach> {
    if UNSAFE.iter().any(|folder| source.path.starts_with(folder)) {
        return Vec::new();
    }
    source
        .code()
        .filter(|(_, code)| {
            ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "#[unsafe("]
                .iter()
                .any(|form| code.match_indices(form).any(|(at, _)| !code[..at].contains('"')))
        })
        .map(|(line, _)| source.breach(line, format!("`unsafe` outside {}", UNSAFE.join(", "))))
        .collect()
}

/// Features switch modules, not lines.
fn feature_gates(source: &Source) -> Vec<Breach> {
    let name = source.path.rsplit('/').next().unwrap_or("");
    if !source.path.starts_with("src/") || matches!(name, "lib.rs" | "features.rs" | "mod.rs") {
        return Vec::new();
    }
    source
        .code()
        .filter(|(_, code)| {
            ["cfg(", "cfg!(", "cfg_attr("].iter().any(|gate| code.contains(gate)) && code.contains("feature")
        })
        .map(|(line, _)| {
            source.breach(line, "a feature gate outside lib.rs, features.rs and mod.rs of a twin")
        })
        .collect()
}

/// A file says first what it owns.
fn opening(source: &Source) -> Vec<Breach> {
    if source.text.starts_with("//! ") {
        return Vec::new();
    }
    vec![source.breach(1, "the file does not open with `//!` and what it owns")]
}

fn names(source: &Source) -> Vec<Breach> {
    let empty = source.path.split('/').find(|part| EMPTY_NAMES.contains(&part.trim_end_matches(".rs")));
    empty
        .map(|part| source.breach(1, format!("`{part}` says nothing; name the file after what it owns")))
        .into_iter()
        .collect()
}

/// The feature table and the manifest list the same features.
fn feature_table(table: &Source, manifest: &str) -> Result<Vec<Breach>> {
    let manifest: toml::Table = manifest.parse().context("Cargo.toml is not TOML")?;
    let features =
        manifest.get("features").and_then(toml::Value::as_table).context("Cargo.toml has no [features]")?;
    let cargo: Vec<&str> = features.keys().map(String::as_str).filter(|name| *name != "default").collect();
    let rows: Vec<(usize, &str)> = table
        .code()
        .filter_map(|(line, code)| {
            // A short row is one line.
            let (_, name) = code.split_once("name: \"")?;
            Some((line, name.split_once('"')?.0))
        })
        .collect();
    let mut breaches: Vec<Breach> = rows
        .iter()
        .filter(|(_, name)| !cargo.contains(name))
        .map(|(line, name)| table.breach(*line, format!("`{name}` is not a feature of Cargo.toml")))
        .collect();
    for name in cargo {
        if !rows.iter().any(|(_, row)| *row == name) {
            breaches.push(table.breach(1, format!("the feature `{name}` of Cargo.toml has no row")));
        }
    }
    Ok(breaches)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), text: text.to_owned() }
    }

    fn said(breaches: &[Breach]) -> Vec<String> {
        breaches.iter().map(Breach::to_string).collect()
    }

    #[test]
    fn the_client_may_not_use_the_wire() {
        let bad =
            source("src/disco/dance.rs", "//! x\nuse crate::choria::Message;\nuse crate::disco::order;\n");
        assert_eq!(
            said(&direction(&bad)),
            [
                "src/disco/dance.rs:2: `disco` uses `choria`; it may use brand, features, server_conf (ARCHITECTURE.md draws the direction)"
            ]
        );
    }

    #[test]
    fn lists_in_braces_and_paths_in_code_count_too() {
        let bad = source(
            "src/choria/mod.rs",
            "//! x\nuse crate::{\n    brand::Brand,\n    cli::{exit, error},\n};\nfn f() { crate::provisioning::start(); }\n",
        );
        let said = said(&direction(&bad));
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].starts_with("src/choria/mod.rs:2: `choria` uses `cli`"), "{said:?}");
        assert!(said[1].starts_with("src/choria/mod.rs:6: `choria` uses `provisioning`"), "{said:?}");
    }

    #[test]
    fn leaves_use_nothing_and_cli_uses_everything() {
        assert_eq!(direction(&source("src/brand.rs", "//! x\nuse crate::features;\n")).len(), 1);
        assert_eq!(direction(&source("src/cli/dance.rs", "//! x\nuse crate::{disco, provisioning};\n")), []);
    }

    #[test]
    fn only_cli_prints_and_reads_the_environment() {
        let text = "//! x\nfn f() { println!(\"x\"); let _ = std::env::var(\"HOME\"); }\n// println!\n";
        assert_eq!(printing(&source("src/disco/fetch.rs", text)).len(), 2);
        assert_eq!(printing(&source("src/cli/dance.rs", text)), []);
        let tests = "//! x\n#[cfg(test)]\nmod tests {\n    fn f() { println!(\"x\"); }\n}\n";
        assert_eq!(printing(&source("src/disco/fetch.rs", tests)), []);
    }

    #[test]
    fn unsafe_stays_in_the_sandbox() {
        let text = "//! x\nfn f() { unsafe { g() } }\n";
        assert_eq!(unsafe_code(&source("src/choria/mod.rs", text)).len(), 1);
        assert_eq!(unsafe_code(&source("src/disco/sandbox/mount.rs", text)), []);
    }

    #[test]
    fn feature_gates_stay_at_module_borders() {
        let text = "//! x\n#[cfg(feature = \"live\")]\nfn f() {}\n";
        assert_eq!(feature_gates(&source("src/disco/merge.rs", text)).len(), 1);
        assert_eq!(feature_gates(&source("src/cli/server/mod.rs", text)), []);
        assert_eq!(feature_gates(&source("src/disco/merge.rs", "//! x\n#[cfg(unix)]\nfn f() {}\n")), []);
    }

    #[test]
    fn files_say_what_they_own_and_have_names() {
        assert_eq!(opening(&source("src/disco/order.rs", "use std::fs;\n")).len(), 1);
        assert_eq!(opening(&source("src/disco/order.rs", "//! Order.\n")), []);
        assert_eq!(names(&source("src/disco/utils.rs", "//! x\n")).len(), 1);
        assert_eq!(names(&source("tests/common/mod.rs", "//! x\n")).len(), 1);
        assert_eq!(names(&source("src/disco/order.rs", "//! x\n")), []);
    }

    #[test]
    fn the_feature_table_and_the_manifest_agree() {
        let manifest = "[features]\ndefault = [\"live\"]\nlive = []\nshell = []\n";
        let table = source(
            "src/features.rs",
            "//! x\n    Feature {\n        name: \"live\",\n    },\n    Feature { name: \"choria\", adds: \"\" },\n",
        );
        assert_eq!(
            said(&feature_table(&table, manifest).unwrap()),
            [
                "src/features.rs:5: `choria` is not a feature of Cargo.toml",
                "src/features.rs:1: the feature `shell` of Cargo.toml has no row",
            ]
        );
    }
}
