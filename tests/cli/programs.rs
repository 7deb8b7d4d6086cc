//! What programs rely on: exit codes, the schema of the JSON, completions and manual pages.

use std::fs;
use std::process::Command;

use serde_json::Value;
use testbed::lab::{Lab, built_binary};
use testbed::universe::Universe;

/// Holds a value against those words of JSON Schema that our schema uses; an unknown word fails.
fn fit(root: &Value, schema: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
    for (word, rule) in schema.as_object().unwrap() {
        let fine = match word.as_str() {
            "$schema" | "$defs" | "title" | "description" | "minItems" | "maxItems" => true,
            "$ref" => {
                let there = root.pointer(rule.as_str().unwrap().trim_start_matches('#')).unwrap();
                fit(root, there, value, at, wrong);
                true
            }
            "const" => value == rule,
            "enum" => rule.as_array().unwrap().contains(value),
            "type" => match rule.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "integer" => value.is_i64() || value.is_u64(),
                "number" => value.is_number(),
                "boolean" => value.is_boolean(),
                "null" => value.is_null(),
                other => panic!("the schema has a type {other}"),
            },
            "minimum" => value.as_f64() >= rule.as_f64(),
            // Our patterns only say how a text begins or that it is hex or a time: one of three.
            "pattern" => {
                let text = value.as_str().unwrap_or_default();
                match rule.as_str().unwrap() {
                    "^/" => text.starts_with('/'),
                    "^~?[0-9a-f]{32}$" => {
                        let digits = text.strip_prefix('~').unwrap_or(text);
                        digits.len() == 32 && digits.chars().all(|c| c.is_ascii_hexdigit())
                    }
                    _ => text.len() == 20 && text.ends_with('Z') && text.as_bytes()[10] == b'T',
                }
            }
            "oneOf" => {
                let fits = |one: &&Value| {
                    let mut wrong = Vec::new();
                    fit(root, one, value, at, &mut wrong);
                    wrong.is_empty()
                };
                rule.as_array().unwrap().iter().filter(fits).count() == 1
            }
            "required" => {
                rule.as_array().unwrap().iter().all(|key| value.get(key.as_str().unwrap()).is_some())
            }
            "properties" => {
                for (key, rule) in rule.as_object().unwrap() {
                    if let Some(found) = value.get(key) {
                        fit(root, rule, found, &format!("{at}/{key}"), wrong);
                    }
                }
                // A schema that knows less than what is printed documents nothing.
                let known =
                    |key: &str| rule.get(key).is_some() || schema.get("additionalProperties").is_some();
                value.as_object().is_none_or(|value| value.keys().all(|key| known(key)))
            }
            "additionalProperties" => {
                let known = schema.get("properties");
                for (key, found) in value.as_object().into_iter().flatten() {
                    if known.and_then(|known| known.get(key)).is_none() {
                        fit(root, rule, found, &format!("{at}/{key}"), wrong);
                    }
                }
                true
            }
            "items" => {
                for (number, found) in value.as_array().into_iter().flatten().enumerate() {
                    fit(root, rule, found, &format!("{at}/{number}"), wrong);
                }
                true
            }
            other => panic!("the test does not know the word {other}"),
        };
        if !fine {
            wrong.push(format!("{at}: {word} wants {rule}, found {value}"));
        }
    }
}

fn assert_fits_the_schema(text: &str) -> Value {
    let schema = fs::read_to_string(testbed::built::project().unwrap().join("docs/run-schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let run: Value = serde_json::from_str(text).unwrap();
    let mut wrong = Vec::new();
    fit(&schema, &schema, &run, "", &mut wrong);
    assert!(wrong.is_empty(), "{wrong:#?}");
    run
}

#[test]
fn every_exit_code_says_what_it_should_and_every_run_fits_the_schema() {
    let universe = Universe::empty().unwrap();
    universe
        .add(
            "a-1/scripts/1.sh",
            "set -e; [ ! -e /etc/want.failure ] || service x y
             [ ! -e /etc/want.change ] || { echo x > /etc/new; ln /etc/new /etc/second; chattr +d /etc/new; }
             [ ! -e /etc/want.change ] || { echo x >> /etc/old; mv /etc/name /etc/renamed; service postgresql start; }\n",
        )
        .unwrap()
        .add("b-1/requires", "after a-1\n")
        .unwrap()
        .add("b-1/scripts/1.sh", "[ ! -e /etc/want.failure ]\n")
        .unwrap()
        .add("c-1/requires", "after b-1\n")
        .unwrap();
    let lab = Lab::on_disk(universe);
    lab.shell("echo old > /etc/old; echo name > /etc/name; ln /etc/name /etc/other");
    for (change, failure, detailed, plain) in
        [(false, false, 0, 0), (true, false, 2, 0), (false, true, 4, 1), (true, true, 6, 1)]
    {
        lab.shell("rm -f /etc/want.*");
        lab.shell(&format!("{change} && touch /etc/want.change; {failure} && touch /etc/want.failure"));
        let noop = lab.acme(&["dance", "--noop", "--detailed-exitcodes"]);
        assert_eq!(noop.code, detailed, "change {change}, failure {failure}: {noop:#?}");
        let json = lab.acme(&["dance", "--noop", "--json"]);
        assert_eq!((json.code, json.stderr.as_str()), (plain, ""), "change {change}, failure {failure}");
        let run = assert_fits_the_schema(&json.stdout);
        assert_eq!(run["edges"][0], serde_json::json!({ "first": "a-1", "then": "b-1" }));
        assert_eq!(assert_fits_the_schema(&lab.acme(&["report", "--json"]).stdout), run);
    }
    let failed = lab.acme(&["dance", "--json", "--diff=unified"]);
    assert_eq!(failed.code, 1);
    assert_eq!(assert_fits_the_schema(&failed.stdout)["merged"], false);
    lab.shell("rm -f /etc/want.failure");
    let live = lab.acme(&["dance", "--json", "--detailed-exitcodes"]);
    assert_eq!(live.code, 2);
    let run = assert_fits_the_schema(&live.stdout);
    assert_eq!(run["merged"], true);
    for key in ["names", "linked", "flags", "was", "module", "same_file"] {
        let has = |change: &Value| !change[key].is_null() || !change["after"][key].is_null();
        assert!(run["changes"].as_array().unwrap().iter().any(has), "no change has {key}: {run:#}");
    }
    // Could not run: 1, with or without details, and nothing on standard output.
    for arguments in
        [&["dance", "--noop", "--server", "nonsense/x", "--detailed-exitcodes"][..], &["report", "99"]]
    {
        let ended = lab.acme(arguments);
        assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{ended:#?}");
    }
}

#[test]
fn every_command_explains_itself_with_examples() {
    let help = |arguments: &[&str]| {
        let output = Command::new(built_binary()).args(arguments).arg("--help").output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let main = help(&[]);
    let commands = main.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names: Vec<&str> = commands.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.len() >= 9, "{names:?}");
    for name in names {
        let text = help(&[name]);
        assert!(text.contains("Example"), "{name} has no examples:\n{text}");
    }
}

#[test]
fn completions_complete_in_a_real_bash_and_pages_name_every_command() {
    let binary = built_binary();
    let completed = |words: &str| {
        let count = words.split(' ').count();
        let line = format!(
            "source <({0} completions bash); COMP_WORDS=({1} {words}); COMP_CWORD={count}; \
             _acme__disco {1} \"${{COMP_WORDS[-1]}}\" x; echo \"${{COMPREPLY[@]}}\"",
            binary.display(),
            "acme-disco"
        );
        let said = Command::new("bash").args(["-c", &line]).output().unwrap();
        assert!(said.stderr.is_empty(), "{said:?}");
        String::from_utf8(said.stdout).unwrap()
    };
    assert_eq!(completed("da"), "dance\n");
    for flag in ["--noop", "--node", "--no-diff"] {
        assert!(completed("dance --no").contains(flag), "{flag}");
    }
    for shell in ["zsh", "fish"] {
        let script = Command::new(&binary).args(["completions", shell]).output().unwrap();
        assert!(String::from_utf8(script.stdout).unwrap().contains("acme-disco"), "{shell}");
    }

    let pages = tempfile::tempdir().unwrap();
    let status = Command::new(&binary).arg("man").arg(pages.path()).status().unwrap();
    assert!(status.success());
    for page in ["acme-disco.1", "acme-disco-dance.1", "acme-disco-report.1", "acme-disco-module-check.1"] {
        let text = fs::read_to_string(pages.path().join(page)).unwrap();
        assert!(text.contains(".TH acme") && text.contains(".SH SYNOPSIS"), "{page}: {text}");
    }
    let main = Command::new(&binary).arg("man").output().unwrap().stdout;
    assert_eq!(main, fs::read(pages.path().join("acme-disco.1")).unwrap());
}
