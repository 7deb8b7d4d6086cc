//! What comes with a build so that others can trust it: the crates in the binary, the bill of materials, the statement
//! of provenance, and `cargo xtask verify`, which finds what somebody changed afterwards.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use testbed::built;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).expect("the build made it")).expect("it is JSON")
}

/// What `buildinfo --dependencies --json` of a brand lists.
fn crates(brand: &str, binary: &str) -> Vec<Value> {
    let binary = built::dist(brand).unwrap().join(binary);
    let output = Command::new(binary).args(["buildinfo", "--dependencies", "--json"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let says: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(says["schema"], "disco.dependencies.v1");
    says["crates"].as_array().unwrap().clone()
}

fn verify(folder: &Path) -> Output {
    built::xtask().unwrap().arg("verify").arg(folder).output().unwrap()
}

/// What is wrong with a folder, a line each.
#[track_caller]
fn complaints(folder: &Path) -> String {
    let output = verify(folder);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    text(&output.stderr)
}

/// A copy of the build of acme, to be spoilt.
fn copy() -> (tempfile::TempDir, PathBuf) {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("acme");
    fs::create_dir(&folder).unwrap();
    for entry in built::dist("acme").unwrap().read_dir().unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
    }
    (scratch, folder)
}

/// Writes the digests anew, as somebody would who changed a file and knows of the list.
fn list_again(folder: &Path) {
    let output = Command::new("sh")
        .args([
            "-c",
            "find . -type f ! -name SHA256SUMS -printf '%P\\0' | sort -z | xargs -0 sha256sum >SHA256SUMS",
        ])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// States the digests of all files anew, as somebody would who knows of the statement, too.
fn state_again(folder: &Path) {
    let path = folder.join("provenance.json");
    let mut statement = json(&path);
    for subject in statement["subject"].as_array_mut().unwrap() {
        let file = folder.join(subject["name"].as_str().unwrap());
        let output = Command::new("sha256sum").arg(file).output().unwrap();
        subject["digest"]["sha256"] = text(&output.stdout)[..64].into();
    }
    fs::write(path, statement.to_string()).unwrap();
    list_again(folder);
}

#[test]
fn a_build_that_nobody_touched_is_good() {
    for brand in ["acme", "disco"] {
        let output = verify(&built::dist(brand).unwrap());
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(text(&output.stdout).ends_with(&format!("dist/{brand}: good\n")));
    }
}

#[test]
fn whichever_file_is_changed_is_named() {
    let (_scratch, folder) = copy();
    let mut names = Vec::new();
    for entry in folder.read_dir().unwrap() {
        names.push(entry.unwrap().file_name().into_string().unwrap());
    }
    assert!(names.len() >= 7, "{names:?}");
    for name in names.iter().filter(|name| *name != "SHA256SUMS") {
        let path = folder.join(name);
        let before = fs::read(&path).unwrap();
        let mut changed = before.clone();
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        fs::write(&path, changed).unwrap();
        let said = complaints(&folder);
        assert!(said.contains(&format!("acme: {name}: was changed: its SHA-256 is ")), "{said}");
        fs::write(&path, before).unwrap();
    }
    fs::write(folder.join("extra"), "").unwrap();
    assert!(complaints(&folder).contains("extra: was added: SHA256SUMS does not list it"));
    fs::remove_file(folder.join("extra")).unwrap();
    fs::remove_file(folder.join("buildinfo.json")).unwrap();
    assert!(complaints(&folder).contains("buildinfo.json: is missing"));
}

#[test]
fn new_digests_do_not_hide_a_change() {
    let (_scratch, folder) = copy();
    let path = folder.join("sbom.cdx.json");
    let mut bill = json(&path);
    let hidden = bill["components"].as_array_mut().unwrap().remove(0);
    let hidden = format!("{} {}", hidden["name"].as_str().unwrap(), hidden["version"].as_str().unwrap());
    fs::write(&path, bill.to_string()).unwrap();
    list_again(&folder);
    let said = complaints(&folder);
    assert!(
        said.contains("sbom.cdx.json: provenance.json and SHA256SUMS say different things about it"),
        "{said}"
    );

    state_again(&folder);
    let said = complaints(&folder);
    assert!(said.contains(&format!("sbom.cdx.json: lacks what acme-disco lists: {hidden}")), "{said}");
    for package in [".deb", ".rpm"] {
        let package = built::one_file(&folder, package).unwrap();
        let package = package.file_name().unwrap().to_string_lossy().into_owned();
        let expected = format!(
            "{package}: brings another /usr/share/doc/acme-disco/sbom.cdx.json than sbom.cdx.json beside it"
        );
        assert!(said.contains(&expected), "{said}");
    }
}

#[test]
fn another_binary_than_that_in_the_packages_is_found() {
    let (_scratch, folder) = copy();
    fs::copy(built::dist("disco").unwrap().join("disco"), folder.join("acme-disco")).unwrap();
    state_again(&folder);
    let said = complaints(&folder);
    assert!(said.contains("buildinfo.json: differs from what `acme-disco buildinfo --json` says"), "{said}");
    assert!(said.contains("sbom.cdx.json: is about another binary"), "{said}");
    assert!(
        said.contains(".deb: brings another /opt/acme/sbin/acme-disco than acme-disco beside it"),
        "{said}"
    );
    assert!(
        said.contains(".rpm: brings another /opt/acme/sbin/acme-disco than acme-disco beside it"),
        "{said}"
    );
}

/// A package whose scripts were exchanged by somebody who made all digests anew: the spec finds it.
#[test]
fn a_package_with_another_script_is_found_by_its_spec() {
    let (scratch, folder) = copy();
    let spec = built::project().unwrap().join("examples/acme.toml");
    let against_spec = || {
        let mut verify = built::xtask().unwrap();
        verify.arg("verify").arg(&folder).arg("--spec").arg(&spec).output().unwrap()
    };
    let output = against_spec();
    assert!(output.status.success(), "{}", text(&output.stderr));

    let deb = built::one_file(&folder, ".deb").unwrap();
    let line = "dpkg-deb -R \"$1\" tree && echo 'touch /root/been-here' >> tree/DEBIAN/postinst && \
                dpkg-deb -Zxz --root-owner-group -b tree \"$1\"";
    let mut repack = Command::new("sh");
    repack.args(["-c", line, "sh"]).arg(&deb).current_dir(scratch.path());
    let output = repack.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    state_again(&folder);
    let name = deb.file_name().unwrap().to_string_lossy().into_owned();
    let said = text(&against_spec().stderr);
    let expected =
        format!("{name}: is another package than this project makes of acme.toml and the binary beside it\n");
    assert!(said.contains(&expected), "{said}");

    fs::remove_file(&deb).unwrap();
    let sums = fs::read_to_string(folder.join("SHA256SUMS")).unwrap();
    assert!(sums.contains(&name), "{sums}");
    let mut statement = json(&folder.join("provenance.json"));
    statement["subject"].as_array_mut().unwrap().retain(|subject| subject["name"] != name.as_str());
    fs::write(folder.join("provenance.json"), statement.to_string()).unwrap();
    state_again(&folder);
    let said = text(&against_spec().stderr);
    assert!(said.contains(&format!("{name}: is missing, and acme.toml asks for it\n")), "{said}");
}

#[test]
fn the_statement_names_sources_and_results() {
    let folder = built::dist("acme").unwrap();
    let statement = json(&folder.join("provenance.json"));
    let info = json(&folder.join("buildinfo.json"));
    let definition = &statement["predicate"]["buildDefinition"];
    assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
    assert_eq!(definition["externalParameters"]["spec"], "acme.toml");
    assert_eq!(definition["externalParameters"]["spec_digest"]["sha256"], info["build"]["spec_digest"]);
    let lock = built::project().unwrap().join("Cargo.lock");
    let lock = text(&Command::new("sha256sum").arg(lock).output().unwrap().stdout)[..64].to_owned();
    let inputs = definition["resolvedDependencies"].as_array().unwrap();
    assert!(inputs.iter().any(|input| input["digest"]["sha256"] == lock.as_str()), "{inputs:?}");
    let subjects: BTreeSet<_> = statement["subject"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|subject| subject["name"].as_str())
        .collect();
    for name in ["acme-disco", "buildinfo.json", "sbom.cdx.json"] {
        assert!(subjects.contains(name), "{subjects:?}");
    }
}

#[test]
fn a_binary_lists_the_crates_of_its_features() {
    let names = |crates: &[Value]| -> BTreeSet<String> {
        crates.iter().map(|krate| krate["name"].as_str().unwrap().to_owned()).collect()
    };
    let (acme, stock) = (crates("acme", "acme-disco"), crates("disco", "disco"));
    assert!(names(&acme).contains("async-nats") && names(&acme).contains("clap"));
    assert!(!names(&stock).contains("async-nats") && names(&stock).contains("clap"));
    let named = |name: &str| acme.iter().find(|krate| krate["name"] == name).expect("it is listed").clone();
    assert_eq!(named("serde_derive")["linked"], false, "a procedural macro is not in the binary");
    assert_eq!(named("serde")["linked"], true);
    assert_eq!(named("serde")["source"], "crates.io");
    let uses = named("appliance")["uses"].to_string();
    assert!(uses.contains("disco "), "{uses}");
    // The development binary has no section.
    let output =
        Command::new(env!("CARGO_BIN_EXE_disco")).args(["buildinfo", "--dependencies"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr),
        "error: this binary has no list of its crates\n  hint: binaries that `cargo xtask build` made have one\n"
    );
}

#[test]
fn the_bill_has_licences() {
    let bill = json(&built::dist("acme").unwrap().join("sbom.cdx.json"));
    let components = bill["components"].as_array().unwrap();
    assert!(components.len() > 100, "{}", components.len());
    for component in components {
        // A crate of this repository, or a plug, may leave its licence to the package.
        if component["purl"].is_string() {
            assert!(component["licenses"][0]["expression"].is_string(), "no licence: {component}");
        }
    }
}

#[test]
fn a_rebranded_binary_is_documented_from_what_lies_beside_its_base() {
    let scratch = tempfile::tempdir().unwrap();
    let spec = scratch.path().join("initech.toml");
    fs::write(
        &spec,
        "[brand]\nname = \"initech\"\n[features]\nprovisioning = true\nplaintext-brokers = true\n",
    )
    .unwrap();
    let acme = built::dist("acme").unwrap().join("acme-disco");
    let rebrand = |base: &Path, packages: &[&str], folder: &Path| {
        let mut xtask = built::xtask().unwrap();
        xtask.arg("rebrand").arg(base).arg("--spec").arg(&spec).args(packages).arg("--dist").arg(folder);
        xtask.output().unwrap()
    };
    let rebranded = |base: &Path, packages: &[&str], dist: &str| {
        let folder = scratch.path().join(dist);
        let output = rebrand(base, packages, &folder);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let folder = folder.join("initech");
        let looked = verify(&folder);
        assert!(looked.status.success(), "{}", text(&looked.stderr));
        (folder, text(&output.stderr))
    };
    let inputs = |folder: &Path| {
        let definition = json(&folder.join("provenance.json"))["predicate"]["buildDefinition"].clone();
        assert!(definition["buildType"].as_str().unwrap().ends_with("/xtask-rebrand/v1"), "{definition}");
        definition["resolvedDependencies"].as_array().unwrap().clone()
    };

    let (folder, said) = rebranded(&acme, &["--packages", "--fast"], "documented");
    assert!(!said.contains("note: no "), "{said}");
    let bills =
        [built::dist("acme").unwrap(), folder.clone()].map(|folder| json(&folder.join("sbom.cdx.json")));
    assert_eq!(bills[0]["components"], bills[1]["components"], "licences and places are those of the base");
    assert_eq!(bills[0]["metadata"]["timestamp"], bills[1]["metadata"]["timestamp"]);
    assert_eq!(bills[1]["metadata"]["component"]["name"], "initech-disco");
    let own = inputs(&folder);
    let digest = text(&Command::new("sha256sum").arg(&acme).output().unwrap().stdout)[..64].to_owned();
    assert_eq!(own[0]["name"], "acme-disco");
    assert_eq!(own[0]["digest"]["sha256"], digest.as_str());
    let acmes = json(&built::dist("acme").unwrap().join("provenance.json"));
    let acmes = acmes["predicate"]["buildDefinition"]["resolvedDependencies"].as_array().unwrap().clone();
    assert_eq!(own[1..], acmes[..], "and what its base was made from");

    // A binary that came alone: what is not known is not said.
    let alone = scratch.path().join("alone");
    fs::copy(&acme, &alone).unwrap();
    let refused = rebrand(&alone, &["--packages", "--fast"], &scratch.path().join("refused"));
    assert!(!refused.status.success());
    assert!(
        text(&refused.stderr).contains("third-party-licences.txt of the base is missing"),
        "{}",
        text(&refused.stderr)
    );
    let (folder, said) = rebranded(&alone, &[], "alone-made");
    let shown = alone.display();
    assert!(said.contains(&format!(
        "note: no sbom.cdx.json about {shown} lies beside it; new bills name its crates without licences\n"
    )), "{said}");
    assert!(
        said.contains(&format!(
            "note: no provenance.json about {shown} lies beside it; new statements name no compiler\n"
        )),
        "{said}"
    );
    let own = inputs(&folder);
    assert_eq!(own[0]["digest"]["sha256"], digest.as_str());
    assert!(own.iter().all(|input| input["name"] != "rustc" && input["name"] != "Cargo.lock"), "{own:?}");
    let bill = json(&folder.join("sbom.cdx.json"));
    let named = |bill: &Value| -> BTreeSet<String> {
        let components = bill["components"].as_array().unwrap();
        components.iter().map(|krate| format!("{} {}", krate["name"], krate["version"])).collect()
    };
    assert_eq!(named(&bill), named(&bills[0]), "all crates are named all the same");
    assert!(bill["components"].as_array().unwrap().iter().all(|krate| krate["licenses"].is_null()));
}
