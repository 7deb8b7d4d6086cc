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

/// What merges keep after the dance.
const MERGED: &str = "last\n/srv/.acme-disco-undo\n/srv/b/.acme-disco-undo\n";

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

/// What a command does to the disks.
fn record(lab: &Lab, disks: &Disks, arguments: &[&str]) -> Record {
    lab.shell("sync");
    let start = disks.start();
    let ended = lab.acme(arguments);
    assert_eq!(ended.code, 0, "{ended:#?}");
    disks.record(start)
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

/// The only two states that there may be after a power cut.
struct States {
    /// With times: they are those of before the dance.
    prepared: Vec<String>,
    /// Without times.
    merged: Vec<String>,
}

/// Cuts the power while a command ran that leads to one of both states.
fn assert_all_or_nothing(lab: &Lab, record: &Record, states: &States, ends_merged: bool) {
    let (last, cuts) = (record.moments() - 1, cuts(record));
    let (mut prepared, mut merged, mut recovered) = (0, 0, 0);
    for (moment, unkept) in &cuts {
        record.cut(*moment, *unkept, &lab.node.path(CUT)).unwrap();
        mount(lab, CUT);
        let next = lab.acme(&["rollback", "--noop", "--no-diff"]);
        recovered += u32::from(next.stdout.contains(": Recovered : the merge of run "));
        let (now, left) = (look(lab), kept(lab));
        let when = format!("after moment {moment} of {last}, {unkept:?} kept: {next:#?}\n{left}");
        let is_prepared = tree::difference(&now, &states.prepared);
        let is_merged = tree::difference(&tree::without_times(&now), &states.merged);
        if let (Some(prepared), Some(merged)) = (&is_prepared, &is_merged) {
            panic!("{when}: neither the state before:\n{prepared}\nnor the merged one:\n{merged}");
        }
        let is_merged = is_merged.is_none();
        assert!(*moment < last || is_merged == ends_merged, "lost after the client was done, {when}");
        assert_eq!(left, if is_merged { MERGED } else { "" }, "{when}");
        prepared += u32::from(!is_merged);
        merged += u32::from(is_merged);
        unmount(lab);
    }
    println!(
        "{last} moments, {} cuts: {prepared} times as before, {merged} times merged, {recovered} seen to be recovered",
        cuts.len()
    );
    assert!(prepared > 0 && merged > 0 && recovered > 0);
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
    let prepared = look(&lab);
    let dance = record(&lab, &disks, &["dance", "--no-diff"]);
    let states = States { prepared, merged: tree::without_times(&look(&lab)) };
    let rollback = record(&lab, &disks, &["rollback", "--no-diff"]);
    unmount(&lab);
    lab.shell(&format!("umount {DISKS}"));
    drop(disks);

    assert_all_or_nothing(&lab, &dance, &states, true);
    assert_all_or_nothing(&lab, &rollback, &states, false);
}
