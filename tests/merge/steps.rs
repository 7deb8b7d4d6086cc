//! A merge that is killed right after one of the system calls by which it changes files, and so is its recovery: what is
//! left is the old state or the new one, whole. With `DISCO_FULL` after every single one of them, otherwise after some.

use std::path::Path;

use testbed::lab::{BINARY, Lab, STATE};
use testbed::universe::Universe;

use crate::kinds::{self, AFTER};
use crate::tracer::{self, End};
use crate::{look, prepare, tree};

/// How often a merge is killed in the test that always runs.
const FEW: usize = 12;

/// A node with a plan that does one change of every kind. A plan, because merging it takes no sandbox: so a merge takes
/// a few milliseconds, and can be killed at every step.
fn lab() -> Lab {
    let universe = Universe::empty().unwrap();
    let other = "os.chdir('/srv/b'); write('changed', 'after\\n'); os.remove('gone'); rmtree('directory')\n";
    // A noop's scripts may not touch attributes of this kind.
    let after = AFTER
        .replace("; os.setxattr('attribute', 'trusted.added', b'a')", "")
        .replace("; os.removexattr('attribute-removed', 'trusted.gone')", "");
    assert!(!after.contains("trusted"));
    universe.add("kinds-1/scripts/1.py", &format!("{}{after}{other}", kinds::PRELUDE)).unwrap();
    let lab = Lab::on_disk(universe);
    lab.shell("mkdir -p /srv/b; mount -t tmpfs -o size=8m,mode=0755 b /srv/b");
    prepare(&lab);
    let noop = lab.acme(&["dance", "--noop", "--no-diff", "--out", "/root/plan"]);
    assert_eq!(noop.code, 0, "{noop:#?}");
    lab
}

fn forget(lab: &Lab) {
    prepare(lab);
    lab.shell(&format!(
        "rm -rf {STATE}/journal {STATE}/undo {STATE}/history /srv/b/.acme-disco-undo; touch -d @1000000000 /srv/b"
    ));
}

#[test]
fn a_merge_killed_after_any_of_its_steps_is_recovered_to_the_old_state_or_to_the_new_one() {
    let lab = lab();
    let full = std::env::var_os("DISCO_FULL").is_some();
    let apply = [BINARY, "plan", "apply", "/root/plan"];
    let recover = [BINARY, "rollback", "--noop", "--no-diff"];
    let journal = Path::new(STATE).join("journal/current");
    forget(&lab);
    let before = look(&lab);
    let whole = tracer::run(&lab.node, &apply, &journal, None).unwrap();
    let End::Itself { code: 0, calls } = whole else { panic!("{whole:?}") };
    let after = tree::without_times(&look(&lab));
    assert!(calls > 100, "only {calls} steps were seen");

    let (mut olds, mut news, mut twice) = (0, 0, 0);
    let stride = if full { 1 } else { calls / FEW };
    for step in (1..=calls).step_by(stride) {
        forget(&lab);
        let end = tracer::run(&lab.node, &apply, &journal, Some(step)).unwrap();
        // Entries come in another order each time, so now and then a step more or less is needed.
        assert!(end == End::Killed || step + 20 > calls, "{step} of {calls}: {end:?}");
        // Its recovery is killed as well, early, late or not at all.
        let again = tracer::run(&lab.node, &recover, &journal, Some(1 + step * 7 % 60)).unwrap();
        twice += usize::from(again == End::Killed);
        let ended = lab.acme(&recover[1..]);
        let now = look(&lab);
        let is_old = tree::difference(&now, &before);
        let is_new = tree::difference(&tree::without_times(&now), &after);
        match (&is_old, &is_new) {
            (None, _) => olds += 1,
            (_, None) => news += 1,
            (Some(old), Some(new)) => panic!(
                "killed after step {step} of {calls}, {ended:#?}\nneither the old state:\n{old}\nnor the new one:\n{new}"
            ),
        }
        let left = lab.shell(&format!("ls {STATE}/journal; find /srv -name '.disco*'"));
        assert_eq!(left, if is_old.is_none() { "" } else { "last\n" }, "killed after step {step} of {calls}");
    }
    println!("{calls} calls: {olds} times old, {news} times new; {twice} recoveries were killed, too");
    assert!(olds > 2 && news > 2 && twice > 2, "{olds} old, {news} new, {twice} killed twice");
}
