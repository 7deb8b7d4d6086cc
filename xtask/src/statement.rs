//! The provenance statement: what was built, from which sources, by which tools (in-toto Statement v1, SLSA v1).
//!
//! It is not signed here: it says what a build did, and whoever publishes the build signs it with their own means.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::project::{Commit, Project, Toolchain};
use crate::spec::Spec;
use crate::spec::plugs::{self, Plug};

/// Its name in `dist/<brand>/`.
pub(crate) const FILE_NAME: &str = "provenance.json";

const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PROVENANCE: &str = "https://slsa.dev/provenance/v1";

/// What a binary was made from, in the statement's words.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// Last part of the build type's name.
    how: &'static str,
    internal: Value,
    inputs: Vec<Value>,
}

impl Origin {
    /// Compiled from this project's sources and the plugs of a spec; `lock` is the digest of the brand's lock file, `zig` that of the
    /// linker's pins, where it links.
    pub(crate) fn compiled(
        project: &Project,
        commit: Option<&Commit>,
        toolchain: &Toolchain,
        spec: &Spec,
        lock: &str,
        zig: Option<&str>,
    ) -> Self {
        let mut inputs: Vec<Value> =
            commit.iter().map(|commit| source(&project.repository, &commit.sha)).collect();
        inputs.extend(spec.plugs().map(plug));
        inputs.push(json!({ "name": "Cargo.lock", "digest": { "sha256": lock } }));
        inputs.push(json!({ "name": "rustc", "annotations": { "version": toolchain.version } }));
        // The pins name the releases of the linker by their digests.
        inputs.extend(zig.map(|pins| json!({ "name": "xtask/zig.txt", "digest": { "sha256": pins } })));
        Origin { how: "xtask/v1", internal: json!({ "host": toolchain.host, "profile": "release" }), inputs }
    }

    /// Made from a finished binary: what that one's own statement names as inputs, if it is known, else the commit that
    /// the binary itself names. This machine's compiler and sources had no part in it.
    pub(crate) fn rebranded(
        project: &Project,
        name: &str,
        digest: &str,
        stated: Option<Vec<Value>>,
        commit: &str,
    ) -> Self {
        let mut inputs = vec![json!({ "name": name, "digest": { "sha256": digest } })];
        match stated {
            Some(stated) => inputs.extend(stated),
            None if commit != "unknown" => inputs.push(source(&project.repository, commit)),
            None => {}
        }
        Origin { how: "xtask-rebrand/v1", internal: json!({}), inputs }
    }
}

/// The sources as an input. A tree with changes is no commit; the digest is of a commit or it is left out.
fn source(repository: &str, sha: &str) -> Value {
    let mut source = json!({ "name": "source", "uri": format!("git+{repository}") });
    match sha.strip_suffix("-dirty") {
        None => source["digest"] = json!({ "gitCommit": sha }),
        Some(base) => source["annotations"] = json!({ "changed_since": base }),
    }
    source
}

/// A plug as an input.
fn plug(plug: &Plug) -> Value {
    match &plug.origin {
        plugs::Origin::Folder { digest, .. } => json!({ "name": plug.krate, "digest": { "sha256": digest } }),
        plugs::Origin::Commit { git, rev } => {
            json!({ "name": plug.krate, "uri": format!("git+{git}"), "digest": { "gitCommit": rev } })
        }
        // The lock file says which one it is.
        plugs::Origin::Release { version } => {
            json!({ "name": plug.krate, "annotations": { "requirement": version } })
        }
    }
}

/// A binary among the results.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Output {
    pub(crate) target: String,
    /// The machine, as rustc names it.
    pub(crate) triple: String,
    /// The oldest C library that it has to run with; none where it is the build host's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) glibc: Option<String>,
    /// Its name.
    pub(crate) file: String,
}

/// The statement about files that are known by name and digest. It names no time and no machine: the same build makes
/// the same bytes.
pub(crate) fn of(
    project: &Project,
    origin: &Origin,
    spec: &Spec,
    outputs: &[Output],
    files: &BTreeMap<String, String>,
) -> Result<Vec<u8>> {
    let repository = &project.repository;
    let statement = json!({
        "_type": STATEMENT,
        "subject": files.iter().map(|(name, digest)| json!({ "name": name, "digest": { "sha256": digest } }))
            .collect::<Vec<_>>(),
        "predicateType": PROVENANCE,
        "predicate": {
            "buildDefinition": {
                "buildType": format!("{repository}/build/{}", origin.how),
                "externalParameters": {
                    "spec": spec.file_name,
                    "spec_digest": { "sha256": spec.digest()? },
                    "features": spec.features.chosen(),
                    "binaries": outputs,
                },
                "internalParameters": origin.internal,
                "resolvedDependencies": origin.inputs,
            },
            "runDetails": {
                "builder": {
                    "id": format!("{repository}/xtask"),
                    "version": { "xtask": project.version },
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
    /// At least one.
    pub(crate) binaries: Vec<Output>,
    /// The commit; nothing if the tree had changes or no git.
    pub(crate) commit: Option<String>,
    /// What went into the build, as the statement has it.
    pub(crate) inputs: Vec<Value>,
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
    let binaries = Vec::<Output>::deserialize(&definition["externalParameters"]["binaries"])
        .map_err(|why| format!("does not say which files are binaries: {why}"))?;
    if binaries.is_empty() {
        return Err("names no binary".to_owned());
    }
    let inputs = definition["resolvedDependencies"].as_array().cloned().unwrap_or_default();
    let commit = inputs.iter().find_map(|source| source["digest"]["gitCommit"].as_str()).map(str::to_owned);
    Ok(Said {
        files,
        binaries,
        spec_digest: spec_digest.ok_or("names no digest of the spec")?.to_owned(),
        commit,
        inputs,
    })
}
