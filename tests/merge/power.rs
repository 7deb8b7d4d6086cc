//! The power is cut while a merge is made: at every moment that makes a difference to the disks, whatever they kept of what
//! they had not been told to keep.

use std::process::Command;

use testbed::lab::{BINARY, Lab, STATE};

use crate::disk::{Disks, Unkept};
use crate::{lab_of_all_kinds_on, look, prepare, tree};

/// Where the disks are shown.
const DISKS: &str = "/root/disks";
/// Where they are after a power cut.
const CUT: &str = "/root/cut";
/// Size of each, in bytes.
const SIZE: u64 = 48 << 20;

/// What lies on each disk: the client's state, and two file systems that are merged to.
const PLACES: [&str; 3] = [STATE, "/srv", "/srv/b"];

/// Cuts at so many moments that are not right after a flush; with `DISCO_FULL`, at all of them.
const CUTS: usize = 12;

fn made(lab: &Lab, kind: &str) -> Vec<u8> {
    let image = lab.node.path("/root/image");
    std::fs::File::create(&image).unwrap().set_len(SIZE).unwrap();
    let made = Command::new(format!("mkfs.{kind}")).arg("-q").arg(&image).status().unwrap();
    assert!(made.success(), "mkfs.{kind}: {made}");
    std::fs::read(&image).unwrap()
}

fn mount(lab: &Lab, from: &str) {
    for (number, place) in PLACES.iter().enumerate() {
        let line = format!("mkdir -p {place} && mount -o loop {from}/{number} {place} && echo mounted");
        assert_eq!(lab.shell(&line), "mounted\n", "{place}");
    }
}

fn unmount(lab: &Lab) {
    assert_eq!(lab.shell(&format!("umount {} && echo done", ["/srv/b", "/srv", STATE].join(" "))), "done\n");
}

#[test]
fn a_power_cut_at_any_moment_leaves_the_old_state_or_the_new_one() {
    let lab = lab_of_all_kinds_on("true");
    lab.shell(&format!("umount /srv/b; chattr -R -i -a /srv; rm -rf /srv/*; mkdir -p {DISKS} {CUT}"));
    let disks = Disks::show(&lab.node, DISKS, PLACES.map(|_| made(&lab, "ext4")).to_vec()).unwrap();
    mount(&lab, DISKS);
    prepare(&lab);
    let before = look(&lab);
    lab.shell("sync");

    let start = disks.start();
    let live = lab.acme(&["dance", "--no-diff"]);
    assert_eq!(live.code, 0, "{live:#?}");
    let after = tree::without_times(&look(&lab));
    let record = disks.record(start);
    unmount(&lab);
    lab.shell(&format!("umount {DISKS}"));
    drop(disks);

    let is_full = std::env::var_os("DISCO_FULL").is_some();
    let moments = record.moments();
    let mut cuts: Vec<(usize, Unkept)> = record.flushes().map(|moment| (moment, Unkept::None)).collect();
    let step = if is_full { 1 } else { moments / CUTS };
    for moment in (0..moments).step_by(step) {
        cuts.push((moment, Unkept::All));
        cuts.extend((0..if is_full { 4 } else { 1 }).map(|seed| (moment, Unkept::Some(seed))));
    }
    // The client said that it was done.
    cuts.push((moments - 1, Unkept::None));

    let (mut olds, mut news, mut recovered) = (0, 0, 0);
    for (moment, unkept) in &cuts {
        record.cut(*moment, *unkept, &lab.node.path(CUT)).unwrap();
        mount(&lab, CUT);
        let next = lab.acme(&["rollback", "--noop", "--no-diff"]);
        recovered += u32::from(next.stdout.contains("info: Recovered : the merge of run "));
        let now = look(&lab);
        let is_old = tree::difference(&now, &before);
        let is_new = tree::difference(&tree::without_times(&now), &after);
        match (&is_old, &is_new) {
            (None, _) => olds += 1,
            (_, None) => news += 1,
            (Some(old), Some(new)) => {
                panic!(
                    "after moment {moment} of {moments}, {unkept:?}: neither the old state:\n{old}\nnor the new one:\n{new}\n{next:#?}"
                )
            }
        }
        assert!(
            *moment < moments - 1 || is_new.is_none(),
            "lost after the client was done, {unkept:?}: {next:#?}"
        );
        let left = lab.shell(&format!("ls {STATE}/journal; find /srv -name '.disco*'"));
        assert_eq!(left, if is_old.is_none() { "" } else { "last\n" }, "after moment {moment}, {unkept:?}");
        unmount(&lab);
    }
    println!(
        "{moments} moments, {} cuts: {olds} old, {news} new, {recovered} seen to be recovered by {BINARY}",
        cuts.len()
    );
    assert!(olds > 0 && news > 0 && recovered > 0);
}
