//! File systems that cannot be written to any more, or are not there any more, when the client comes back to them.

use testbed::lab::{Lab, STATE};
use testbed::universe::Universe;

use crate::make_image;

fn lab(script: &str, before: &str) -> Lab {
    let universe = Universe::empty().unwrap();
    universe.add("m-1/scripts/1.sh", &format!("#!/bin/bash -e\n{script}")).unwrap();
    let lab = Lab::on_disk(universe);
    lab.shell(before);
    lab
}

#[test]
fn the_store_of_an_earlier_run_that_cannot_be_removed_now_fails_no_merge() {
    for (away, back_again) in [
        ("mount -o remount,ro /srv/a", "mount -o remount,rw /srv/a"),
        ("umount /srv/a", "mount -o loop /root/image /srv/a"),
    ] {
        let lab = lab(
            "if [ -e /root/second ]; then echo 2 > /srv/m; service web restart; else echo 1 > /srv/a/f; fi",
            "mkdir -p /srv/a; echo 0 > /srv/m",
        );
        make_image(&lab.node.path("/root/image"), "ext4", 16 << 20);
        lab.shell("mount -o loop /root/image /srv/a; rmdir /srv/a/lost+found");
        lab.node.write("/etc/init.d/web", "#!/bin/sh\necho $1 >> /root/log\n", 0o755).unwrap();
        assert_eq!(lab.acme(&["dance"]).code, 0);
        lab.shell(&format!("{away}; touch /root/second"));
        let second = lab.acme(&["dance"]);
        assert_eq!(second.code, 0, "{second:#?}");
        assert_eq!(lab.shell("cat /srv/m /root/log"), "2\nrestart\n");
        assert_eq!(lab.shell(&format!("ls {STATE}/journal")), "gone.1\nlast\n", "{away}");
        // It is removed when it can be; what is kept of the run after it is not touched.
        lab.shell(back_again);
        assert_eq!(lab.shell("cat /srv/a/f; ls /srv/a/.acme-disco-undo"), "1\n1.0\n", "{away}");
        let back = lab.acme(&["rollback"]);
        assert_eq!(back.code, 0, "{back:#?}");
        assert_eq!(lab.shell("cat /srv/a/f /srv/m"), "1\n0\n");
        assert_eq!(
            lab.shell(&format!("ls {STATE}/journal; ls {STATE} | grep undo; ls /srv/a/.acme-disco-undo")),
            "",
            "{away}"
        );
    }
}

#[test]
fn a_merge_whose_target_became_read_only_while_it_was_staged_leaves_nothing_to_recover() {
    let lab = lab(
        "echo 1 > /srv/a/f; nsenter -t 1 -m sh -c 'sleep 0.1; mount -o remount,ro /srv/a'; true",
        "mkdir -p /srv/a; mount -t tmpfs a /srv/a",
    );
    lab.acme(&["dance"]).failed_with(&["nothing was merged", "Read-only file system"]);
    let next = lab.acme(&["rollback"]);
    next.failed_with(&["there is no live run to undo"]);
}

/// What a run did on a disk and in memory, and died when it was done.
fn died_with_memory() -> Lab {
    let lab = lab(
        "echo new > /srv/m/f; echo left > /srv/mem/left; echo v > /usr/made",
        "mkdir -p /srv/m /srv/mem; mount -t tmpfs mem /srv/mem; echo old > /srv/m/f; echo old > /srv/mem/left",
    );
    assert_eq!(lab.acme(&["dance"]).code, 0);
    lab.shell("umount /srv/mem; mount -t tmpfs mem /srv/mem");
    lab
}

const GONE: &str = "the file system of /srv/mem is gone with it\n";

#[test]
fn memory_that_a_restart_emptied_bars_no_recovery() {
    for (phase, how, left) in [("forward", "finished", "new\nv\n"), ("backward", "undone", "old\n")] {
        let lab = died_with_memory();
        lab.shell(&format!("cd {STATE}/journal; mv last current; echo {phase} > current/phase"));
        let next = lab.acme(&["rollback", "--noop", "--no-diff"]);
        let said = format!(
            "info: Recovered : the merge of run 1 was interrupted; it was {how}\nwarning: Recovered : what the merge did on {GONE}"
        );
        assert!(next.stdout.starts_with(&said), "{next:#?}");
        assert_eq!(lab.shell("cat /srv/m/f /usr/made; ls -A /srv/mem"), left);
    }
}

#[test]
fn memory_that_a_restart_emptied_bars_no_rollback() {
    let lab = died_with_memory();
    let back = lab.acme(&["rollback", "--no-diff"]);
    assert_eq!(back.code, 0, "{back:#?}");
    assert!(back.stdout.contains(&format!("warning: what run 1 did on {GONE}")), "{back:#?}");
    assert_eq!(lab.shell("cat /srv/m/f; ls /usr/made; ls -A /srv/mem"), "old\n");
    assert_eq!(lab.shell(&format!("ls {STATE}/journal; ls {STATE} | grep undo")), "");
}

#[test]
fn a_disk_that_is_not_mounted_is_waited_for_until_it_is_back_or_given_up() {
    for is_back in [true, false] {
        let lab = lab(
            "echo new > /srv/m/f; echo new > /srv/disk/f",
            "mkdir -p /srv/m /srv/disk /root/disk; mount --bind /root/disk /srv/disk; echo old | tee /srv/m/f > /srv/disk/f",
        );
        assert_eq!(lab.acme(&["dance"]).code, 0);
        lab.shell(&format!(
            "cd {STATE}/journal; mv last current; echo backward > current/phase; umount /srv/disk"
        ));
        for _ in 0..2 {
            lab.acme(&["rollback", "--noop"]).failed_with(&[
                "an interrupted merge could not be recovered",
                "run 1 changed something on the file system of /srv/disk, which is not mounted: mount it, or, if it is gone for good, remove that directory",
            ]);
            assert_eq!(lab.shell(&format!("cat {STATE}/journal/current/phase /srv/m/f")), "backward\nnew\n");
        }
        lab.shell(if is_back { "mount --bind /root/disk /srv/disk" } else { "rmdir /srv/disk" });
        let next = lab.acme(&["rollback", "--noop", "--no-diff"]);
        assert!(
            next.stdout.starts_with("info: Recovered : the merge of run 1 was interrupted; it was undone\n"),
            "{next:#?}"
        );
        assert_eq!(
            next.stdout.contains("the file system of /srv/disk is gone with it"),
            !is_back,
            "{next:#?}"
        );
        assert_eq!(lab.shell("cat /srv/m/f /root/disk/f"), if is_back { "old\nold\n" } else { "old\nnew\n" });
    }
}
