//! A client that is killed while it merges, and what the next command makes of it.

use testbed::lab::{BINARY, Lab, STATE};
use testbed::universe::Universe;

use crate::{kept, lab_of_all_kinds, look, prepare, tree};

/// Kills the client this many times, later and later after it began its journal; with `DISCO_FULL`, at every tenth of a
/// millisecond or so.
const CUTS: u32 = 12;

#[test]
fn a_client_killed_at_any_moment_leaves_the_old_state_or_the_new_one() {
    let lab = lab_of_all_kinds();
    let before = look(&lab);
    let first = lab.acme(&["dance"]);
    assert_eq!(first.code, 0, "{first:#?}");
    let (after, merged) = (tree::without_times(&look(&lab)), kept(&lab));
    assert_eq!(lab.acme(&["rollback"]).code, 0);

    let cuts = if std::env::var_os("DISCO_FULL").is_some() { CUTS * 20 } else { CUTS };
    let (mut olds, mut news, mut recovered) = (0, 0, 0);
    for cut in 0..cuts {
        prepare(&lab);
        lab.shell(&format!(
            "rm -rf {STATE}/journal {STATE}/undo /srv/b/.acme-disco-undo; touch -d @1000000000 /srv/b"
        ));
        tree::assert_same(&look(&lab), &before);
        // From the first sign of a journal on; a merge of these changes takes some tens of milliseconds.
        let wait = f64::from(cut) * 0.06 / f64::from(cuts);
        lab.shell(&format!(
            "{BINARY} dance >/dev/null 2>&1 & client=$!
             while [ ! -e {STATE}/journal/current ] && kill -0 $client; do :; done
             sleep {wait:.5}; kill -9 $client; wait"
        ));
        // Recovery itself is killed, too.
        lab.shell(&format!(
            "{BINARY} rollback --noop >/dev/null 2>&1 & client=$!; sleep {:.5}; kill -9 $client; wait",
            f64::from(cut % 5) * 0.004
        ));
        let next = lab.acme(&["rollback", "--noop", "--no-diff"]);
        recovered += u32::from(next.stdout.contains("info: Recovered : the merge of run "));
        let now = look(&lab);
        let is_old = tree::difference(&now, &before);
        let is_new = tree::difference(&tree::without_times(&now), &after);
        match (&is_old, &is_new) {
            (None, _) => olds += 1,
            (_, None) => news += 1,
            (Some(old), Some(new)) => panic!("neither the old state:\n{old}\nnor the new one:\n{new}"),
        }
        assert_eq!(kept(&lab), if is_old.is_none() { "" } else { &merged }, "after {wait} s");
    }
    println!("{cuts} cuts: {olds} old, {news} new, {recovered} seen to be recovered by the last command");
    // How many come before the commit depends on the machine; `steps.rs` has kills on both sides of it.
}

#[test]
fn a_committed_merge_that_cannot_be_finished_any_more_is_undone_by_the_next_command() {
    let universe = Universe::empty().unwrap();
    universe
        .add(
            "many-1/scripts/1.py",
            "#!/usr/bin/python3\nimport os\n\
             for i in range(3000): open(f'/srv/many/{i}', 'w').write(f'new {i}\\n')\n\
             os.remove('/srv/gone')\nopen('/srv/zz/last', 'w').write('new')\n",
        )
        .unwrap();
    let lab = Lab::on_disk(universe);
    lab.shell(
        "mkdir -p /srv/many /srv/zz; echo gone > /srv/gone; echo old > /srv/zz/last
         for i in 1 2 3; do echo old $i > /srv/many/$i; done",
    );
    let before = look(&lab);
    lab.shell(&format!(
        "{BINARY} dance >/dev/null 2>&1 & client=$!
         while [ ! -e {STATE}/journal/current/phase ] && kill -0 $client; do :; done
         kill -9 $client; wait; chattr +i /srv/zz"
    ));
    assert_eq!(lab.shell(&format!("cat {STATE}/journal/current/phase")), "forward\n", "it was committed");
    assert!(tree::difference(&look(&lab), &before).is_some(), "some of it was applied");
    let next = lab.acme(&["rollback", "--noop"]);
    next.failed_with(&["there is no live run to undo"]);
    assert_eq!(
        next.stdout,
        "warning: Recovered : the merge of run 1 was interrupted; it was undone, because: cannot put in place \
         /srv/zz/last: Operation not permitted (os error 1)\n"
    );
    lab.shell("chattr -i /srv/zz");
    tree::assert_same(&look(&lab), &before);
    assert_eq!(lab.shell(&format!("ls {STATE}/journal; ls {STATE}/undo 2>/dev/null")), "");
}

#[test]
fn a_run_after_one_that_was_killed_is_undone_by_itself() {
    let universe = Universe::empty().unwrap();
    let script = "#!/bin/sh\nread old < /srv/a\necho $old and more > /srv/a.new\nmv /srv/a.new /srv/a\n";
    universe.add("m-1/scripts/1.sh", script).unwrap();
    let lab = Lab::on_disk(universe);
    lab.shell("echo first > /srv/a");
    assert_eq!(lab.acme(&["dance"]).code, 0);
    // As if it had been killed between the end of its merge and the beginning of its report.
    lab.shell(&format!("rm {STATE}/history/*.json"));
    assert_eq!(lab.acme(&["dance"]).code, 0);
    assert_eq!(lab.shell("cat /srv/a"), "first and more and more\n");
    let back = lab.acme(&["rollback"]);
    assert_eq!(back.code, 0, "{back:#?}");
    assert!(back.stdout.contains("rollback: run 2, "), "{back:#?}");
    assert_eq!(lab.shell("cat /srv/a"), "first and more\n");
}
