//! `dance --per-module`: what a module changed is on the host before the next one begins, and one that fails is alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use testbed::lab::{BINARY, Lab, STATE};
use testbed::universe::Universe;

use crate::tracer::{self, End};
use crate::{look, tree};

fn lab(modules: &[(&str, &str)]) -> Lab {
    let universe = Universe::empty().unwrap();
    for (path, content) in modules {
        universe.add(path, content).unwrap();
    }
    let lab = Lab::on_disk(universe);
    lab.shell("mkdir -p /srv/d; echo old > /srv/file; echo gone > /srv/gone");
    lab
}

/// Runs what follows on the host itself, not in the sandbox.
const HOST: &str = "nsenter -t 1 -m";

#[test]
fn each_module_is_on_the_host_before_the_next_and_one_rollback_takes_back_all() {
    let second = format!(
        "#!/bin/bash -e\nlook='cat /srv/file /srv/d/first'\n[ \"$NOOP\" ] || look=\"{HOST} $look\"\n$look > /srv/seen\necho twice > /srv/file\nrm /srv/d/first\n\
         mkdir /srv/gone\n"
    );
    let lab = lab(&[
        ("a-1/scripts/1.sh", "echo once > /srv/file; echo 1 > /srv/d/first; rm /srv/gone\n"),
        ("b-1/requires", "after a-1\n"),
        ("b-1/scripts/1.sh", &second),
        ("c-1/requires", "after b-1\n"),
        ("c-1/scripts/1.sh", "cat /srv/seen; echo c > /srv/gone/c\n"),
    ]);
    let before = look(&lab);
    let noop = lab.acme(&["dance", "--noop", "--per-module"]);
    assert!(noop.stdout.contains("\nnoop: 3 modules, 2 created, 2 modified, 0 deleted, "), "{noop:#?}");
    tree::assert_same(&look(&lab), &before);

    let live = lab.acme(&["dance", "--per-module"]);
    assert_eq!(live.code, 0, "{live:#?}");
    // The second module took away what the first one made: both are told, as both were on the host.
    assert!(
        live.stdout.contains("\nlive: 3 modules, 4 created, 2 modified, 2 deleted, 0 failed ("),
        "{live:#?}"
    );
    assert!(live.stdout.contains("\nonce\n1\n"), "{live:#?}");
    assert_eq!(
        lab.shell("cat /srv/file /srv/seen; ls /srv /srv/d /srv/gone"),
        "twice\nonce\n1\n/srv:\nd\nfile\ngone\nseen\n\n/srv/d:\n\n/srv/gone:\nc\n"
    );

    assert_eq!(lab.acme(&["rollback"]).code, 0);
    tree::assert_same(&look(&lab), &before);
}

#[test]
fn a_module_that_fails_is_dropped_with_those_that_need_it_and_the_others_are_merged() {
    let lab = lab(&[
        ("a-1/scripts/1.sh", "echo a > /srv/a\n"),
        ("b-1/scripts/1.sh", "echo b > /srv/b\nexit 3\n"),
        ("c-1/requires", "after b-1\n"),
        ("c-1/scripts/1.sh", "echo c > /srv/c\n"),
        ("d-1/scripts/1.sh", &format!("echo mine >> /srv/file; {HOST} sh -c 'echo theirs >> /srv/file'\n")),
        ("e-1/scripts/1.sh", "ls /srv > /srv/e\n"),
    ]);
    let live = lab.acme(&["dance", "--per-module", "--detailed-exitcodes"]);
    assert_eq!(live.code, 6, "{live:#?}");
    for line in [
        "script b-1/scripts/1.sh failed: it ended with code 3",
        "nothing of it was merged: /srv/file changed on the host while the dance ran",
        "\nlive: 5 modules, 2 created, 0 modified, 0 deleted, 3 failed (",
    ] {
        assert!(live.stdout.contains(line), "{line:?} is not in {live:#?}");
    }
    assert_eq!(
        lab.shell("ls /srv; cat /srv/e /srv/file"),
        "a\nd\ne\nfile\ngone\na\nd\ne\nfile\ngone\nold\ntheirs\n"
    );
    let report = lab.acme(&["report", "--json"]);
    let run: serde_json::Value = serde_json::from_str(&report.stdout).unwrap();
    assert_eq!(run["merged"], true);
    assert_eq!(run["modules"][2]["outcome"]["skipped"], "b-1");
    assert!(run["modules"][3]["outcome"]["failed"].as_str().unwrap().starts_with("nothing of it was merged"));
}

#[test]
fn what_is_mounted_by_one_module_is_covered_for_the_next() {
    let lab = lab(&[
        (
            "a-1/scripts/1.sh",
            &format!("mkdir /srv/m; {HOST} sh -c 'mkdir /srv/m2; mount -t tmpfs m /srv/m2'\n"),
        ),
        ("b-1/requires", "after a-1\n"),
        ("b-1/scripts/1.sh", &format!("echo m > /srv/m2/new; {HOST} ls /srv/m2\n")),
    ]);
    let live = lab.acme(&["dance", "--per-module"]);
    assert_eq!(live.code, 0, "{live:#?}");
    assert!(live.stdout.contains("/srv/m2/new : Created"), "{live:#?}");
    assert_eq!(lab.shell("cat /srv/m2/new"), "m\n");
}

/// Kills the client this many times, spread over a whole run; with `DISCO_FULL`, ten times as often.
const CUTS: u32 = 12;

#[test]
fn a_client_that_is_killed_leaves_each_module_whole_or_undone_and_none_before_its_turn() {
    let script = |name: &str| format!("#!/bin/sh\nfor i in $(seq 60); do echo new > /srv/{name}/$i; done\n");
    let lab = lab(&[
        ("a-1/scripts/1.sh", &script("a")),
        ("b-1/requires", "after a-1\n"),
        ("b-1/scripts/1.sh", &script("b")),
        ("c-1/requires", "after b-1\n"),
        ("c-1/scripts/1.sh", &script("c")),
    ]);
    lab.shell("mkdir /srv/a /srv/b /srv/c");
    let make_old = "for m in a b c; do for i in $(seq 60); do echo old > /srv/$m/$i; done; done";
    let contents = || lab.shell("for m in a b c; do echo $(cat /srv/$m/* | sort -u); done");
    lab.shell(make_old);
    let started = Instant::now();
    assert_eq!(lab.acme(&["dance", "--per-module"]).code, 0);
    let whole = started.elapsed().as_secs_f64();
    assert_eq!(contents(), "new\nnew\nnew\n");

    let cuts = if std::env::var_os("DISCO_FULL").is_some() { CUTS * 10 } else { CUTS };
    let mut seen = BTreeMap::new();
    for cut in 0..cuts {
        lab.shell(make_old);
        let wait = whole * (f64::from(cut) + 0.5) / f64::from(cuts);
        lab.shell(&format!(
            "{BINARY} dance --per-module >/dev/null 2>&1 & client=$!; sleep {wait:.4}; kill -9 $client; wait"
        ));
        let recovered = lab.acme(&["rollback", "--noop", "--no-diff"]);
        let now = contents();
        let is_whole = ["old\nold\nold\n", "new\nold\nold\n", "new\nnew\nold\n", "new\nnew\nnew\n"];
        assert!(is_whole.contains(&now.as_str()), "after {wait} s: {now}{recovered:#?}");
        *seen.entry(now).or_insert(0) += 1;
    }
    println!("{seen:?}");
    assert!(seen.len() > 1, "all kills came at the same stage: {seen:?}");
    lab.shell(make_old);
    assert_eq!(lab.acme(&["dance", "--per-module"]).code, 0, "nothing stands in the way of the next run");
    assert_eq!(contents(), "new\nnew\nnew\n");
}

#[test]
fn a_rollback_takes_back_what_one_module_put_into_the_new_directory_of_another() {
    let lab = lab(&[
        ("a-1/scripts/1.sh", "mkdir /srv/made; echo 1 > /srv/made/one; echo 1 > /srv/made/again\n"),
        ("b-1/requires", "after a-1\n"),
        (
            "b-1/scripts/1.sh",
            "echo 2 > /srv/made/two; echo 2 > t; mv t /srv/made/again; chmod 700 /srv/made; rm /srv/made/one\n",
        ),
    ]);
    let before = look(&lab);
    assert_eq!(lab.acme(&["dance", "--per-module"]).code, 0);
    let after = look(&lab);
    let back = lab.acme(&["rollback"]);
    assert_eq!(back.code, 0, "{back:#?}");
    tree::assert_same(&look(&lab), &before);

    // Killed at some steps, with `DISCO_FULL` at every one, and taken up again.
    let journal = Path::new(STATE).join("journal/current");
    let mut kills = 0;
    let every = if std::env::var_os("DISCO_FULL").is_some() { 1 } else { 4 };
    for step in (1..).step_by(every) {
        lab.shell(&format!("rm -rf {STATE}/history/*.json"));
        assert_eq!(lab.acme(&["dance", "--per-module"]).code, 0);
        tree::assert_same(&tree::without_times(&look(&lab)), &tree::without_times(&after));
        let end = tracer::run(&lab.node, &[BINARY, "rollback"], &journal, Some(step)).unwrap();
        let next = lab.acme(&["rollback", "--noop", "--no-diff"]);
        assert!(!next.stdout.contains("left as it is"), "{step}: {next:#?}");
        tree::assert_same(&look(&lab), &before);
        if end != End::Killed {
            break;
        }
        kills += 1;
    }
    println!("{kills} kills");
    assert!(kills > 5, "{kills}");
}

#[test]
fn a_rollback_knows_a_file_that_a_later_module_touched_by_another_of_its_names() {
    for (old, first, second) in [
        ("true", "echo v > /srv/f; ln /srv/f /srv/h", "echo x >> /srv/f"),
        ("true", "echo v > /srv/f; ln /srv/f /srv/h", "rm /srv/f"),
        ("true", "echo v > /srv/f", "ln /srv/f /srv/h"),
        (
            "echo v > /srv/f; ln /srv/f /srv/h; ln /srv/f /srv/k",
            "rm /srv/h; ln /srv/f /srv/h2",
            "chmod 600 /srv/f",
        ),
    ] {
        let lab = lab(&[
            ("a-1/scripts/1.sh", first),
            ("b-1/requires", "after a-1\n"),
            ("b-1/scripts/1.sh", second),
        ]);
        lab.shell(old);
        let before = look(&lab);
        assert_eq!(lab.acme(&["dance", "--per-module"]).code, 0);
        let back = lab.acme(&["rollback"]);
        assert_eq!(back.code, 0, "{first}; {second}: {back:#?}");
        tree::assert_same(&look(&lab), &before);
    }
}
