//! Packages as a fleet gets them: signed, from repositories that the build makes, by real apt and real dnf, in throw-away
//! roots. One vendor with two brands and two versions serves all tests.

mod apt;
mod dnf;
mod vendor;

use std::process::{Command, Output};

/// Runs a command that must succeed, and returns its standard output.
#[track_caller]
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect("the program starts");
    succeeded(&format!("{program} {}", arguments.join(" ")), &output)
}

#[track_caller]
fn succeeded(what: &str, output: &Output) -> String {
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{what}: {}\n{said}{complained}", output.status);
    said.into_owned()
}

#[test]
fn rpm_verifies_the_signature_with_the_vendor_s_key_and_finds_a_change() {
    let vendor = vendor::vendor();
    let scratch = tempfile::tempdir().unwrap();
    let database = scratch.path().to_str().unwrap();
    let check = |package: &str| {
        Command::new("rpmkeys").args(["--dbpath", database, "--checksig", "-v", package]).output().unwrap()
    };
    let package = vendor.package("1.4.0", "acme", ".rpm");
    let unknown = String::from_utf8(check(&package).stdout).unwrap();
    assert!(unknown.contains("EdDSA/SHA256 Signature, key ID") && unknown.contains(": NOKEY"), "{unknown}");

    run("rpmkeys", &["--dbpath", database, "--import", &vendor.file("repository/key.asc")]);
    let known = succeeded("rpmkeys --checksig", &check(&package));
    assert!(
        known.lines().any(|line| line.contains("EdDSA/SHA256 Signature") && line.ends_with(": OK")),
        "{known}"
    );

    let mut content = std::fs::read(&package).unwrap();
    let last = content.len() - 1000;
    content[last] ^= 1;
    let changed = scratch.path().join("changed.rpm");
    std::fs::write(&changed, content).unwrap();
    let said = check(changed.to_str().unwrap());
    assert!(!said.status.success(), "{said:?}");
}

#[test]
fn a_key_behind_a_passphrase_signs_where_an_agent_keeps_it() {
    let (agent, scratch) = (vendor::Agent::start(), tempfile::tempdir().unwrap());
    let package = agent.signed(scratch.path());
    let (key, database) = (scratch.path().join("public.asc"), scratch.path().join("keys"));
    agent.public_key(&key);
    let rpmkeys =
        |arguments: &[&str]| run("rpmkeys", &[&["--dbpath", database.to_str().unwrap()], arguments].concat());
    rpmkeys(&["--import", key.to_str().unwrap()]);
    let known = rpmkeys(&["--checksig", "-v", package.to_str().unwrap()]);
    assert!(
        known.lines().any(|line| line.contains("EdDSA/SHA256 Signature") && line.ends_with(": OK")),
        "{known}"
    );

    let refused = agent.refused_file(scratch.path());
    assert!(
        refused.contains("a key with a passphrase has to be an agent's: `{ agent = \"fingerprint\" }`"),
        "{refused}"
    );
}

#[test]
fn the_same_key_signs_to_the_same_bytes() {
    let vendor = vendor::vendor();
    let again = vendor.made_again();
    assert!(
        std::fs::read(vendor.package("1.4.0", "acme", ".rpm")).unwrap() == std::fs::read(again).unwrap(),
        "a signed rpm differs from one made a second time"
    );
}

#[test]
fn a_key_in_the_spec_itself_is_refused_and_not_shown() {
    let vendor = vendor::vendor();
    let (refused, key) = vendor.refused_key();
    assert!(refused.contains("`signing.rpm_key` has the wrong type"), "{refused}");
    assert!(refused.contains("a spec never holds a key, only where it is"), "{refused}");
    for line in key.lines().filter(|line| line.len() > 20) {
        assert!(!refused.contains(line), "the key is shown: {refused}");
    }
}

#[test]
fn a_package_is_never_replaced_by_another_of_its_name() {
    let vendor = vendor::vendor();
    let refused = vendor.other_content();
    assert!(refused.contains("is in the repository already, with another content"), "{refused}");
}
