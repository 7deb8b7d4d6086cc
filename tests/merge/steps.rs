//! A merge that is killed right after one of the system calls by which it changes files, and so is its recovery: what is
//! left is the old state or the new one, whole, and a rollback of the new one is the old one again, with every time and
//! every name of every file. In memory after every single call; on a disk after some, with `DISCO_FULL` after every one.

use std::path::Path;

use testbed::lab::{BINARY, Lab, STATE};
use testbed::universe::Universe;

use crate::kinds::{self, AFTER};
use crate::tracer::{self, End};
use crate::{kept, look, prepare, tree};

/// How often a merge on a disk is killed in the test that always runs.
const FEW: usize = 12;

/// A node with a plan that does one change of every kind. A plan, because merging it takes no sandbox: so a merge takes
/// a few milliseconds, and can be killed at every step.
fn lab(in_memory: bool) -> Lab {
    let universe = Universe::empty().unwrap();
    let other = "os.chdir('/srv/b'); write('changed', 'after\\n'); os.remove('gone'); rmtree('directory')\n";
    // A noop's scripts may not touch attributes of this kind.
    let after = AFTER
        .replace("; os.setxattr('attribute', 'trusted.added', b'a')", "")
        .replace("; os.removexattr('attribute-removed', 'trusted.gone')", "");
    assert!(!after.contains("trusted"));
    universe.add("kinds-1/scripts/1.py", &format!("{}{after}{other}", kinds::PRELUDE)).unwrap();
    let lab = if in_memory { Lab::with(universe) } else { Lab::on_disk(universe) };
    if in_memory {
        lab.shell(&format!("mount -t tmpfs a /srv; mount -t tmpfs -o mode=0700 state {STATE}"));
    }
    lab.shell("mkdir -p /srv/b; mount -t tmpfs -o size=8m,mode=0755 b /srv/b");
    prepare(&lab);
    let noop = lab.acme(&["dance", "--noop", "--no-diff", "--out", "/root/plan"]);
    assert_eq!(noop.code, 0, "{noop:#?}");
    lab
}

const RECOVER: [&str; 4] = [BINARY, "rollback", "--noop", "--no-diff"];

/// Kills the merge of the plan after every call whose number `picks` picks, and its recovery after another one.
fn kill_after(lab: &Lab, picks: &dyn Fn(usize, usize) -> bool) {
    let apply = [BINARY, "plan", "apply", "/root/plan"];
    let journal = Path::new(STATE).join("journal/current");
    lab.shell("touch -d @1000000000 /srv/b");
    let before = look(lab);
    let undo = || {
        let back = lab.acme(&["rollback", "--no-diff"]);
        assert_eq!(back.code, 0, "{back:#?}");
        tree::assert_same(&look(lab), &before);
        let _ = std::fs::remove_dir_all(lab.node.path(STATE).join("history"));
    };
    let whole = tracer::run(&lab.node, &apply, &journal, None).unwrap();
    let End::Itself { code: 0, calls } = whole else { panic!("{whole:?}") };
    let (after, merged) = (tree::without_times(&look(lab)), kept(lab));
    assert!(calls > 100, "only {calls} steps were seen");
    undo();

    let (mut kills, mut olds, mut news, mut twice) = (0, 0, 0, 0);
    for step in (1..=calls).filter(|step| picks(*step, calls)) {
        let end = tracer::run(&lab.node, &apply, &journal, Some(step)).unwrap();
        // Entries come in another order each time, so now and then a step more or less is needed.
        assert!(end == End::Killed || step + 20 > calls, "{step} of {calls}: {end:?}");
        kills += 1;
        // Its recovery is killed as well, early, late or not at all.
        let again = tracer::run(&lab.node, &RECOVER, &journal, Some(1 + step * 7 % 60)).unwrap();
        twice += usize::from(again == End::Killed);
        let ended = lab.acme(&RECOVER[1..]);
        let now = look(lab);
        let is_old = tree::difference(&now, &before);
        let is_new = tree::difference(&tree::without_times(&now), &after);
        assert_eq!(
            kept(lab),
            if is_old.is_none() { "" } else { &merged },
            "killed after step {step} of {calls}"
        );
        match (&is_old, &is_new) {
            (None, _) => olds += 1,
            (_, None) => {
                news += 1;
                undo();
            }
            (Some(old), Some(new)) => panic!(
                "killed after step {step} of {calls}, {ended:#?}\nneither the old state:\n{old}\nnor the new one:\n{new}"
            ),
        }
    }
    println!(
        "{calls} calls, {kills} kills: {olds} times old, {news} times new; {twice} recoveries were killed, too"
    );
    assert!(olds > 2 && news > 2 && twice > 2, "{olds} old, {news} new, {twice} killed twice");
}

/// Two nodes share the steps, as two processors share the work.
#[test]
fn a_merge_killed_after_every_single_step_is_recovered_to_the_old_state_or_to_the_new_one() {
    std::thread::scope(|scope| {
        for half in 0..2 {
            scope.spawn(move || kill_after(&lab(true), &|step, _| step % 2 == half));
        }
    });
}

#[test]
fn a_merge_on_a_disk_killed_after_any_of_its_steps_is_recovered() {
    let full = std::env::var_os("DISCO_FULL").is_some();
    kill_after(&lab(false), &|step, calls| full || step % (calls / FEW) == 1);
}
