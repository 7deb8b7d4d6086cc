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

/// Names of files in several directories, one of them replaced, removed, or changed in place by the run.
const LINKED: &str = "cd /srv; mkdir -p d/deep e; for f in replaced removed moved both twice styled; do
    echo $f > $f; ln $f d/deep/$f; done; ln both e/both; ln -s nowhere link; ln link d/deep/link; touch -hd @1000000000 link
    setfattr -n user.kept -v x replaced; chown 3:4 replaced";
const UNLINK: &str = "cd /srv; echo new > t; mv t replaced; rm removed; mv moved e/moved; rm both d/deep/both
    echo more >> d/deep/twice; rm twice; chmod 600 d/deep/styled; rm styled; rm link";

#[test]
fn names_that_shared_a_file_share_it_again() {
    for on_disk in [true, false] {
        let universe = Universe::empty().unwrap();
        universe.add("m-1/scripts/1.sh", &format!("#!/bin/bash -e\n{UNLINK}")).unwrap();
        let lab = if on_disk { Lab::on_disk(universe) } else { Lab::with(universe) };
        lab.shell(LINKED);
        let before = look(&lab);
        let live = lab.acme(&["dance"]);
        assert_eq!(live.code, 0, "{live:#?}");
        assert!(tree::difference(&look(&lab), &before).is_some());
        let back = lab.acme(&["rollback"]);
        assert!(back.code == 0 && !back.stdout.contains("of its own"), "{back:#?}");
        tree::assert_same(&look(&lab), &before);
    }
}

#[test]
fn a_name_whose_file_became_another_one_meanwhile_gets_its_own_back() {
    let lab = lab("cd /srv; echo new > t; mv t one; echo new > t; mv t two; echo new > t; mv t three");
    lab.shell("cd /srv; for f in one two three; do echo $f > $f; ln $f $f.other; done");
    assert_eq!(lab.acme(&["dance"]).code, 0);
    // Another content; another look; gone, and another file of the same content by that name.
    lab.shell(
        "cd /srv; echo theirs >> one.other; chmod 600 two.other; rm three.other; echo three > three.other",
    );
    let back = lab.acme(&["rollback"]);
    assert_eq!(back.code, 0, "{back:#?}");
    for name in ["one", "two", "three"] {
        let said = format!(
            "warning: /srv/{name} had other names; it is a file of its own now, because none of them"
        );
        assert!(back.stdout.contains(&said), "{back:#?}");
        assert_eq!(
            lab.shell(&format!("cat /srv/{name}; stat -c '%h %a' /srv/{name} /srv/{name}.other | uniq")),
            if name == "two" { format!("{name}\n1 644\n1 600\n") } else { format!("{name}\n1 644\n") }
        );
    }
    assert_eq!(lab.shell("cat /srv/one.other"), "one\ntheirs\n");
}

#[test]
fn a_link_that_takes_the_place_of_a_directory_is_not_followed() {
    let lab = lab(
        "cd /srv; mv loop was; ln -s loop loop; mv away were; ln -s other away; rm away/x; echo m > away/made",
    );
    lab.shell("cd /srv; mkdir -p loop/a/b other away/a; echo x | tee loop/a/x away/x > other/x");
    let before = look(&lab);
    let live = lab.acme(&["dance"]);
    assert_eq!(live.code, 0, "{live:#?}");
    assert_eq!(
        lab.shell("cd /srv; readlink loop away; cat was/a/x were/x; ls other"),
        "loop\nother\nx\nx\nmade\n"
    );
    let noop = lab.acme(&["rollback", "--noop"]);
    assert!(noop.stdout.contains("/srv/loop/a/x : Created"), "{noop:#?}");
    let back = lab.acme(&["rollback"]);
    assert_eq!(back.code, 0, "{back:#?}");
    tree::assert_same(&look(&lab), &before);
}
