//! The units, as systemd's own tools read them.

use std::fs;

use testbed::built;

use crate::{acme, run, succeeded};

const UNITS: &str = "/usr/lib/systemd/system/acme-disco";

/// Most exposure that systemd may see in the server, in tenths of its ten; a service without any confinement has 96.
const MOST_EXPOSURE: &str = "30";

/// A root with nothing in it but the package's files.
fn root() -> (tempfile::TempDir, String) {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().to_str().unwrap().to_owned();
    run("dpkg", &["--extract", &acme(".deb"), &path]);
    (root, path)
}

#[test]
fn systemd_finds_no_mistake_in_them() {
    let (_held, root) = root();
    let verify = std::process::Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--recursive-errors=no", "--root", &root])
        .args(["-server.service", "-dance.service", "-dance.timer"].map(|ending| format!("{UNITS}{ending}")))
        .output()
        .expect("systemd-analyze starts");
    succeeded("systemd-analyze verify", &verify);
    let said = String::from_utf8_lossy(&verify.stderr);
    // Of the units alone: the root has no other unit that they could wait for.
    let ours: Vec<_> = said.lines().filter(|line| line.contains("acme-disco")).collect();
    assert_eq!(ours, [""; 0]);
}

#[test]
fn the_server_can_do_little_else_than_its_work() {
    let (_held, root) = root();
    let unit = "acme-disco-server.service";
    run(
        "systemd-analyze",
        &["security", "--offline=true", "--threshold", MOST_EXPOSURE, "--no-pager", "--root", &root, unit],
    );
    let text = fs::read_to_string(format!("{root}{UNITS}-server.service")).unwrap();
    assert!(
        text.contains("\nReadWritePaths=-/opt/acme/etc/disco -/var/lib/acme-disco -/var/log\n"),
        "where systemd makes the folder of the status file, it is writable: {text}"
    );
}

#[test]
fn the_server_can_write_its_status_where_the_spec_says() {
    let scratch = tempfile::tempdir().unwrap();
    let example = fs::read_to_string(built::project().unwrap().join("examples/acme.toml")).unwrap();
    let spec = scratch.path().join("acme.toml");
    let moved = example.replace("/run/acme-disco/status.json", "/srv/acme/state/status.json");
    assert_ne!(moved, example);
    fs::write(&spec, moved).unwrap();
    let mut rebrand = built::xtask().unwrap();
    rebrand.args(["rebrand", &acme("acme-disco"), "--packages", "--fast", "--spec"]).arg(&spec);
    rebrand.arg("--dist").arg(scratch.path());
    succeeded("cargo xtask rebrand", &rebrand.output().unwrap());
    let deb = built::one_file(&scratch.path().join("acme"), ".deb").unwrap();
    let root = scratch.path().join("root");
    run("dpkg", &["--extract", deb.to_str().unwrap(), root.to_str().unwrap()]);
    let unit = fs::read_to_string(format!("{}{UNITS}-server.service", root.display())).unwrap();
    assert!(unit.contains(" -/var/log -/srv/acme/state\n"), "{unit}");
    assert!(root.join("srv/acme/state").is_dir(), "the server may not make folders outside its own");
}
