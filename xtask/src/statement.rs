//! The provenance statement: what was built, from which sources, by which tools (in-toto Statement v1, SLSA v1).
//!
//! It is not signed here: it says what a build did, and whoever publishes the build signs it with their own means.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::{Value, json};

use crate::project::{Commit, Project, Toolchain};
use crate::spec::Spec;

/// Its name in `dist/<brand>/`.
pub(crate) const FILE_NAME: &str = "provenance.json";

const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PROVENANCE: &str = "https://slsa.dev/provenance/v1";

/// What a build was made from.
pub(crate) struct Origin<'a> {
    pub(crate) project: &'a Project,
    pub(crate) commit: Option<&'a Commit>,
    pub(crate) toolchain: &'a Toolchain,
    /// SHA-256 of the Cargo.lock that it was built with, if that is known.
    pub(crate) lock: Option<String>,
}

/// The statement about files that are known by name and digest. It names no time and no machine: the same build makes
/// the same bytes.
pub(crate) fn of(origin: &Origin<'_>, spec: &Spec, files: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    let repository = &origin.project.repository;
    let mut inputs = Vec::new();
    if let Some(commit) = origin.commit {
        // A tree with changes is no commit; the digest is of a commit or it is left out.
        let mut source = json!({ "name": "source", "uri": format!("git+{repository}") });
        match commit.sha.strip_suffix("-dirty") {
            None => source["digest"] = json!({ "gitCommit": commit.sha }),
            Some(base) => source["annotations"] = json!({ "changed_since": base }),
        }
        inputs.push(source);
    }
    if let Some(lock) = &origin.lock {
        inputs.push(json!({ "name": "Cargo.lock", "digest": { "sha256": lock } }));
    }
    inputs.push(json!({ "name": "rustc", "annotations": { "version": origin.toolchain.version } }));
    let statement = json!({
        "_type": STATEMENT,
        "subject": files.iter().map(|(name, digest)| json!({ "name": name, "digest": { "sha256": digest } }))
            .collect::<Vec<_>>(),
        "predicateType": PROVENANCE,
        "predicate": {
            "buildDefinition": {
                "buildType": format!("{repository}/build/xtask/v1"),
                "externalParameters": {
                    "spec": spec.file_name,
                    "spec_digest": { "sha256": spec.digest()? },
                    "features": spec.features.chosen(),
                },
                "internalParameters": { "host": origin.toolchain.host, "profile": "release" },
                "resolvedDependencies": inputs,
            },
            "runDetails": {
                "builder": {
                    "id": format!("{repository}/xtask"),
                    "version": { "xtask": origin.project.version },
                },
            },
        },
    });
    let mut text = serde_json::to_vec_pretty(&statement)?;
    text.push(b'\n');
    Ok(text)
}

/// What a statement says.
pub(crate) struct Said {
    /// Digests of files by their names.
    pub(crate) files: BTreeMap<String, String>,
    pub(crate) spec_digest: String,
    /// The commit; nothing if the tree had changes or no git.
    pub(crate) commit: Option<String>,
}

/// Reads a statement; says what it lacks.
pub(crate) fn read(text: &[u8]) -> Result<Said, String> {
    let statement: Value = serde_json::from_slice(text).map_err(|why| format!("is no JSON: {why}"))?;
    for (key, expected) in [("_type", STATEMENT), ("predicateType", PROVENANCE)] {
        if statement[key] != expected {
            return Err(format!("says {} as its {key}, not {expected}", statement[key]));
        }
    }
    let mut files = BTreeMap::new();
    for subject in statement["subject"].as_array().into_iter().flatten() {
        let (Some(name), Some(digest)) = (subject["name"].as_str(), subject["digest"]["sha256"].as_str())
        else {
            return Err(format!("has a subject without name or digest: {subject}"));
        };
        files.insert(name.to_owned(), digest.to_owned());
    }
    let definition = &statement["predicate"]["buildDefinition"];
    let spec_digest = definition["externalParameters"]["spec_digest"]["sha256"].as_str();
    let sources = definition["resolvedDependencies"].as_array().into_iter().flatten();
    let commit = sources.filter_map(|source| source["digest"]["gitCommit"].as_str()).next();
    Ok(Said {
        files,
        spec_digest: spec_digest.ok_or("names no digest of the spec")?.to_owned(),
        commit: commit.map(str::to_owned),
    })
}
