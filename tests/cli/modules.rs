//! `module`: what somebody who writes a module is told.

use testbed::lab::Lab;
use testbed::universe::Universe;

#[test]
fn a_new_module_is_right_and_a_wrong_one_is_told_everything_at_once() {
    let lab = Lab::alone();
    let module = |line: &str| {
        lab.shell(&format!("cd /srv; /opt/acme/sbin/acme-disco module {line} 2>&1; echo \"=$?\""))
    };
    assert_eq!(module("init motd-1.0"), "motd-1.0: files, parameters, requires, scripts, templates\n=0\n");
    assert_eq!(
        lab.shell("cd /srv/motd-1.0; find . -type d | sort; find . -type f -printf '%m %p\\n' | sort"),
        ".\n./files\n./parameters\n./parameters/motd-1.0\n./scripts\n./templates\n644 ./requires\n755 ./scripts/10-example.sh\n"
    );
    assert_eq!(module("check motd-1.0"), "motd-1.0: nothing wrong\n=0\n");
    assert_eq!(module("requires motd-1.0"), "motd-1.0\n=0\n");
    assert!(module("init motd-1.0").starts_with("error: cannot make motd-1.0: File exists"));

    lab.shell(
        "cd /srv/motd-1.0
        printf '# fine\\nnear x-1\\nafter ../x\\n' > requires
        printf 'echo one\\nif true\\n' > templates/motd
        printf '#!/usr/bin/nosuch\\n' > scripts/20-x.sh; chmod 755 scripts/20-x.sh
        printf '#!/bin/sh\\ntrue\\n' > scripts/30-x.sh; chmod 644 scripts/30-x.sh
        printf '#!/usr/bin/env nosuchtongue\\n' > scripts/40-x.py; chmod 755 scripts/40-x.py
        mkdir scripts/sub notes; ln -s ../../../../etc/passwd files/out; touch 'parameters/a b'",
    );
    let told = module("check motd-1.0");
    for line in [
        "error: /srv/motd-1.0/requires:2: `near x-1` means nothing here; write `after NAME` or `before NAME`",
        "error: /srv/motd-1.0/requires:3: `../x` is no module name",
        "error: /srv/motd-1.0/templates/motd:3: syntax error: unexpected end of file",
        "error: /srv/motd-1.0/scripts/20-x.sh:1: `/usr/bin/nosuch` is not on this machine; install it",
        "error: /srv/motd-1.0/scripts/30-x.sh: has a `#!` line and is not executable; run `chmod +x` on it",
        "error: /srv/motd-1.0/scripts/40-x.py:1: `nosuchtongue` is not on this machine",
        "error: /srv/motd-1.0/scripts/sub: is a directory, and only files of `scripts` run",
        "error: /srv/motd-1.0/notes: is never fetched",
        "which leaves the tree it came with; take it out of the module",
        "/srv/motd-1.0/parameters/a b: Invalid characters in pathname",
    ] {
        assert!(told.contains(line), "{line} is not in\n{told}");
    }
    assert!(told.ends_with("=1\n"), "{told}");
    assert!(module("check nowhere").starts_with("error: there is no directory nowhere\n"));
}

#[test]
fn modules_are_fetched_and_their_order_is_told() {
    let universe = Universe::empty().unwrap();
    universe
        .add("top-1/requires", "after low-1\nbefore late-1\n")
        .unwrap()
        .add("low-1/scripts/1.sh", "true\n")
        .unwrap()
        .add("late-1/files/etc/late", "late\n")
        .unwrap();
    let lab = Lab::with(universe);
    let module = |line: &str| {
        lab.shell(&format!("cd /srv; /opt/acme/sbin/acme-disco module {line} 2>&1; echo \"=$?\""))
    };
    assert_eq!(module("fetch top-1 --into ."), "/srv/top-1\n=0\n");
    let missing = module("requires top-1");
    assert!(missing.contains("module top-1 requires late-1, which is not in /srv"), "{missing}");
    assert!(missing.contains("hint: fetch it: module fetch late-1 --into /srv"), "{missing}");
    assert_eq!(module("fetch late-1 low-1 --into /srv"), "/srv/late-1\n/srv/low-1\n=0\n");
    assert_eq!(lab.shell("cat /srv/late-1/files/etc/late"), "late\n");
    assert_eq!(module("requires top-1"), "low-1\ntop-1\nlate-1\n=0\n");
    let again = module("fetch top-1 --into .");
    assert!(again.contains("/srv/top-1 is there already") && again.ends_with("=1\n"), "{again}");
    assert!(module("fetch nosuch-1 --into .").contains("nosuch-1"));
    assert_eq!(lab.shell("ls -A /srv"), "late-1\nlow-1\ntop-1\n", "nothing unfinished is left");
    assert_eq!(module("fetch top-1"), "/var/lib/acme-disco/localstore/top-1\n=0\n");
    assert_eq!(lab.shell("ls /var/lib/acme-disco/localstore"), "top-1\n");
}
