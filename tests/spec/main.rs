//! `cargo xtask spec` as somebody uses it who writes a first spec: start it, ask, check, compare.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;
use testbed::built;

fn xtask(folder: &Path, arguments: &[&str]) -> Output {
    // The folder first: xtask itself runs in the project, so files go by their full paths.
    let mut xtask = built::xtask().unwrap();
    for argument in arguments {
        match argument.strip_prefix('@') {
            Some(file) => xtask.arg(folder.join(file)),
            None => xtask.arg(argument),
        };
    }
    xtask.output().expect("cargo starts")
}

#[track_caller]
fn said(folder: &Path, arguments: &[&str]) -> String {
    let output = xtask(folder, arguments);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {}\n{complained}", output.status);
    String::from_utf8(output.stdout).expect("it prints text")
}

#[track_caller]
fn refused(folder: &Path, arguments: &[&str]) -> String {
    let output = xtask(folder, arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{arguments:?}");
    String::from_utf8(output.stderr).expect("it prints text").replace(&format!("{}/", folder.display()), "")
}

#[test]
fn a_first_spec_is_started_checked_and_compared() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    said(folder, &["spec", "init", "@acme.toml"]);
    let good = said(folder, &["spec", "check", "--spec", "@acme.toml"]);
    assert!(good.contains("good; makes acme-disco "), "{good}");

    // Somebody's work is not written over.
    let mine = fs::read_to_string(folder.join("acme.toml"))
        .unwrap()
        .replace("# interval = \"30m\"", "interval = \"7m\"");
    fs::write(folder.join("acme.toml"), &mine).unwrap();
    assert_eq!(
        refused(folder, &["spec", "init", "@acme.toml"]),
        "error: acme.toml is there already and stays as it is\n  help: name another file, or move that one away\n"
    );
    assert_eq!(fs::read_to_string(folder.join("acme.toml")).unwrap(), mine);
    assert_eq!(
        refused(folder, &["spec", "init", "@Big Co.toml"]),
        "error: `Big Co` is not a brand name\n  help: use a lowercase letter and then up to 30 of `a-z`, `0-9` and `-`; \
         `--name` sets it\n"
    );
    assert!(!folder.join("Big Co.toml").exists());

    said(folder, &["spec", "init", "--name", "acme", "@other.toml"]);
    assert_eq!(
        said(folder, &["spec", "diff", "@acme.toml", "@other.toml"]),
        "client.interval: \"7m\" → \"30m\"\n"
    );
}

#[test]
fn tokens_are_compared_and_never_shown() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    let spec = |name: &str, brand: &str, token: &str| {
        let text = format!(
            "[brand]\nname = \"{brand}\"\nbinary = \"x\"\n[features]\nprovisioning = true\n[provisioning]\n{token}\n"
        );
        fs::write(folder.join(name), text).unwrap();
    };
    spec("a.toml", "a", "token = \"K7!pVq2-wZ9m#Rt4\"");
    spec("b.toml", "b", "token = \"K7!pVq2-wZ9m#Rt4\"");
    spec("c.toml", "a", "token = \"other-K7!pVq2-wZ9m#Rt4\"");
    spec("d.toml", "a", "");
    assert_eq!(said(folder, &["spec", "diff", "@a.toml", "@b.toml"]), "brand.name: \"a\" → \"b\"\n");
    assert_eq!(
        said(folder, &["spec", "diff", "@a.toml", "@c.toml"]),
        "provisioning.token: set in both, different\n"
    );
    assert_eq!(said(folder, &["spec", "diff", "@a.toml", "@d.toml"]), "provisioning.token: set → not set\n");
    let same = said(folder, &["spec", "diff", "@a.toml", "@a.toml"]);
    assert!(same.starts_with("no difference: "), "{same}");
}

#[test]
fn every_key_is_explained_and_in_the_schema() {
    let scratch = tempfile::tempdir().unwrap();
    let shown: toml::Table = said(scratch.path(), &["spec", "show"]).parse().expect("it prints TOML");
    let schema: Value =
        serde_json::from_str(&said(scratch.path(), &["spec", "schema"])).expect("it prints JSON");
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let explained = said(scratch.path(), &["spec", "explain"]);
    let mut keys = 0;
    for (table, values) in &shown {
        let facts = &schema["properties"][table];
        let facts =
            if facts["additionalProperties"].is_object() { &facts["additionalProperties"] } else { facts };
        let values = values.as_table().unwrap();
        let values = if table == "packages" { values["rpm"].as_table().unwrap() } else { values };
        for key in values.keys() {
            assert!(
                facts["properties"][key]["description"].is_string(),
                "{table}.{key} is not in the schema"
            );
            assert!(explained.contains(&format!("\n    {key} ")), "{table}.{key} is not explained");
            keys += 1;
        }
    }
    assert!(keys > 30, "{keys}");
    let token = said(scratch.path(), &["spec", "explain", "provisioning.token"]);
    assert!(token.contains("  example: token = { env = \"ACME_PROVISIONING_TOKEN\" }\n"), "{token}");
}

#[test]
fn without_arguments_it_explains_itself() {
    let output = xtask(Path::new("/"), &[]);
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    for part in [
        "A TOML file, the spec, says what an appliance is",
        "cargo xtask build --spec examples/acme.toml",
        "cargo xtask spec init",
        "  test ",
    ] {
        assert!(text.contains(part), "`{part}` is missing:\n{text}");
    }
}
