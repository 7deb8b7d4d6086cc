//! The way back: one live run, while nothing else touched its paths.

use testbed::lab::{Lab, STATE};
use testbed::universe::Universe;

use crate::{look, tree};

fn lab(script: &str) -> Lab {
    let universe = Universe::empty().unwrap();
    universe.add("m-1/scripts/1.sh", &format!("#!/bin/bash -e\n{script}")).unwrap();
    let lab = Lab::on_disk(universe);
    lab.shell("mkdir -p /srv/d; echo old > /srv/file; echo gone > /srv/d/gone");
    lab
}

#[test]
fn a_rollback_tells_what_it_does_and_does_it_once() {
    let lab =
        lab("echo new > /srv/file; rm /srv/d/gone; mkdir /srv/made; echo m > /srv/made/m; chmod 700 /srv/d");
    lab.acme(&["rollback"]).failed_with(&["nothing was undone", "there is no live run to undo"]);
    let before = look(&lab);
    assert_eq!(lab.acme(&["dance"]).code, 0);
    let after = look(&lab);

    let noop = lab.acme(&["rollback", "--noop"]);
    assert_eq!(noop.code, 0, "{noop:#?}");
    for line in [
        "/srv/file : Modified : md5=[",
        "1c1\n< new\n---\n> old\n",
        "/srv/d/gone : Created : type=[regular file]",
        "/srv/d : Modified : perms=[root:root 700 => root:root 755]",
        "/srv/made : Deleted",
        "/srv/made/m : Deleted",
        "\nrollback, noop: run 1, 1 created, 2 modified, 2 deleted (",
    ] {
        assert!(noop.stdout.contains(line), "{line:?} is not in\n{}", noop.stdout);
    }
    tree::assert_same(&look(&lab), &after);

    let back = lab.acme(&["rollback"]);
    assert_eq!(back.code, 0, "{back:#?}");
    assert!(back.stdout.contains("\nrollback: run 1, 1 created, 2 modified, 2 deleted ("), "{}", back.stdout);
    tree::assert_same(&look(&lab), &before);
    assert!(lab.acme(&["report"]).stdout.contains("_internal: rollback"), "it is a run of its own");
    lab.acme(&["rollback"]).failed_with(&["there is no live run to undo"]);
}

#[test]
fn a_rollback_is_refused_when_a_path_changed_since() {
    let lab = lab("echo new > /srv/file; mkdir /srv/made; echo m > /srv/made/m");
    assert_eq!(lab.acme(&["dance"]).code, 0);
    for (change, named, restore) in [
        ("echo theirs >> /srv/file", "/srv/file changed on the host since run 1", ""),
        (
            "echo x > /srv/made/theirs",
            "/srv/made/theirs changed on the host since run 1",
            "rm /srv/made/theirs",
        ),
        ("chmod 700 /srv/made", "/srv/made changed on the host since run 1", "chmod 755 /srv/made"),
    ]
    .into_iter()
    .rev()
    {
        lab.shell(change);
        let before = look(&lab);
        lab.acme(&["rollback"]).failed_with(&["nothing was undone", named]);
        tree::assert_same(&look(&lab), &before);
        lab.shell(restore);
    }
}

#[test]
fn only_the_last_live_run_is_kept() {
    let lab = lab("date +%N > /srv/file");
    assert_eq!(lab.acme(&["dance"]).code, 0);
    let first = lab.shell("cat /srv/file");
    assert_eq!(lab.acme(&["dance"]).code, 0);
    assert_eq!(lab.shell(&format!("ls {STATE}/undo; ls {STATE}/journal")), "2.0\nlast\n");
    assert_eq!(lab.acme(&["rollback"]).code, 0);
    assert_eq!(lab.shell("cat /srv/file"), first);
}
