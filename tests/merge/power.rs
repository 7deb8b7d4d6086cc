//! The power is cut while a merge is made: at every moment that makes a difference to the disks, whatever they kept of what
//! they had not been told to keep.

use testbed::lab::{Lab, STATE};

use crate::disk::{Disks, Record, Unkept};
use crate::{kept, lab_of_all_kinds_on, look, make_image, prepare, tree};

/// Where the disks are shown.
const DISKS: &str = "/root/disks";
/// Where they are after a power cut.
const CUT: &str = "/root/cut";
/// Size of each, in bytes.
const SIZE: u64 = 48 << 20;

/// What lies on each disk: the client's state, and two file systems that are merged to.
const PLACES: [&str; 3] = [STATE, "/srv", "/srv/b"];

/// Without `DISCO_FULL`, one of so many cuts is tried.
const ONE_OF: usize = 40;

fn mount(lab: &Lab, from: &str) {
    for (number, place) in PLACES.iter().enumerate() {
        let line = format!("mkdir -p {place} && mount -o loop {from}/{number} {place} && echo mounted");
        assert_eq!(lab.shell(&line), "mounted\n", "{place}");
    }
}

fn unmount(lab: &Lab) {
    assert_eq!(lab.shell(&format!("umount {} && echo done", ["/srv/b", "/srv", STATE].join(" "))), "done\n");
}

/// What a command did to the disks.
struct Recorded {
    record: Record,
    before: Vec<String>,
    after: Vec<String>,
}

fn record(lab: &Lab, disks: &Disks, arguments: &[&str]) -> Recorded {
    lab.shell("sync");
    let before = look(lab);
    let start = disks.start();
    let ended = lab.acme(arguments);
    assert_eq!(ended.code, 0, "{ended:#?}");
    Recorded { record: disks.record(start), before, after: look(lab) }
}

/// Where to cut the power, and what is kept then.
fn cuts(record: &Record) -> Vec<(usize, Unkept)> {
    let flushes = record.flushes().map(|moment| (moment, Unkept::None));
    let kept =
        |moment| [Unkept::All].into_iter().chain((0..4).map(Unkept::Some)).map(move |kept| (moment, kept));
    let all = flushes.chain((0..record.moments()).flat_map(kept));
    let step = if std::env::var_os("DISCO_FULL").is_some() { 1 } else { ONE_OF };
    // The last one comes after the client said that it was done.
    all.step_by(step).chain([(record.moments() - 1, Unkept::None)]).collect()
}

/// Cuts the power while the command ran. Of `remains`, the first is what merges are to keep when nothing of the command is left,
/// the other one when all of it is.
fn assert_all_or_nothing(lab: &Lab, recorded: &Recorded, remains: [&str; 2]) {
    let Recorded { record, before, after } = recorded;
    let (before, after) = (tree::without_times(before), tree::without_times(after));
    let (last, cuts) = (record.moments() - 1, cuts(record));
    let (mut olds, mut news, mut recovered) = (0, 0, 0);
    for (moment, unkept) in &cuts {
        record.cut(*moment, *unkept, &lab.node.path(CUT)).unwrap();
        mount(lab, CUT);
        let next = lab.acme(&["rollback", "--noop", "--no-diff"]);
        recovered += u32::from(next.stdout.contains(": Recovered : the merge of run "));
        let now = tree::without_times(&look(lab));
        let (is_old, is_new) = (tree::difference(&now, &before), tree::difference(&now, &after));
        let left = kept(lab);
        let when = format!("after moment {moment} of {last}, {unkept:?} kept: {next:#?}\n{left}");
        match (&is_old, &is_new) {
            (None, _) => olds += 1,
            (_, None) => news += 1,
            (Some(old), Some(new)) => {
                panic!("{when}: neither the old state:\n{old}\nnor the new one:\n{new}")
            }
        }
        assert!(*moment < last || is_new.is_none(), "lost after the client was done, {when}");
        assert_eq!(left, remains[usize::from(is_new.is_none())], "{when}");
        unmount(lab);
    }
    println!("{last} moments, {} cuts: {olds} old, {news} new, {recovered} seen to be recovered", cuts.len());
    assert!(olds > 0 && news > 0 && recovered > 0);
}

#[test]
fn a_power_cut_at_any_moment_leaves_the_old_state_or_the_new_one() {
    let lab = lab_of_all_kinds_on("true");
    lab.shell(&format!("umount /srv/b; chattr -R -i -a /srv; rm -rf /srv/*; mkdir -p {DISKS} {CUT}"));
    let disk = || {
        let image = lab.node.path("/root/image");
        make_image(&image, "ext4", SIZE);
        std::fs::read(image).unwrap()
    };
    let disks = Disks::show(&lab.node, DISKS, PLACES.map(|_| disk()).to_vec()).unwrap();
    mount(&lab, DISKS);
    prepare(&lab);
    let dance = record(&lab, &disks, &["dance", "--no-diff"]);
    let rollback = record(&lab, &disks, &["rollback", "--no-diff"]);
    unmount(&lab);
    lab.shell(&format!("umount {DISKS}"));
    drop(disks);

    let merged = "last\n/srv/.acme-disco-undo\n/srv/b/.acme-disco-undo\n";
    assert_all_or_nothing(&lab, &dance, ["", merged]);
    assert_all_or_nothing(&lab, &rollback, [merged, ""]);
}
