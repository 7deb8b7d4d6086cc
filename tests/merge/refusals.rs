//! What cannot be merged is refused or undone, with the path that was in the way.

use testbed::lab::{Lab, STATE};
use testbed::universe::Universe;

use crate::{look, tree};

/// A node with a directory `/srv/t`, on a small file system of its own, and a module that runs this script.
fn lab(script: &str, size: &str) -> Lab {
    let universe = Universe::empty().unwrap();
    universe.add("m-1/scripts/1.sh", &format!("#!/bin/bash -e\n{script}")).unwrap();
    let lab = Lab::on_disk(universe);
    lab.shell(&format!(
        "mkdir -p /srv/t; mount -t tmpfs -o {size} t /srv/t; mkdir /srv/t/d; echo old > /srv/t/file; ln /srv/t/file /srv/t/name"
    ));
    lab
}

/// A noop knows that a live run would be refused, and saves no plan of what nobody could apply.
#[track_caller]
fn foretold(lab: &Lab, words: &[&str]) {
    let words: Vec<&str> = ["a live run would merge nothing"].iter().chain(words).copied().collect();
    lab.acme(&["dance", "--noop", "--out", "/root/plan"]).failed_with(&words);
    lab.shell("test ! -e /root/plan");
}

#[track_caller]
fn refused(lab: &Lab, words: &[&str]) {
    let before = look(lab);
    lab.acme(&["dance"]).failed_with(words);
    tree::assert_same(&look(lab), &before);
    let left = lab
        .shell(&format!("ls -A {STATE}/journal {STATE}/undo 2>/dev/null; ls -dA /srv/t/.*undo 2>/dev/null"));
    assert!(left.lines().all(|line| line.is_empty() || line.ends_with(':')), "{left}");
}

#[test]
fn a_file_that_the_host_changed_meanwhile() {
    let lab = lab(
        "echo mine >> /srv/t/file; echo x > /srv/t/new; nsenter -t 1 -m sh -c 'echo theirs >> /srv/t/file'",
        "size=1m",
    );
    lab.acme(&["dance"])
        .failed_with(&["nothing was merged", "/srv/t/file changed on the host while the dance ran"]);
    assert_eq!(lab.shell("cat /srv/t/file; ls /srv/t"), "old\ntheirs\nd\nfile\nname\n");
}

#[test]
fn a_path_that_appeared_on_the_host_meanwhile() {
    let lab = lab("echo mine > /srv/t/new; nsenter -t 1 -m sh -c 'echo theirs > /srv/t/new'", "size=1m");
    lab.acme(&["dance"]).failed_with(&["nothing was merged", "/srv/t/new changed on the host"]);
    assert_eq!(lab.shell("cat /srv/t/new"), "theirs\n");
}

#[test]
fn a_file_system_that_came_or_went_meanwhile() {
    for theirs in ["mount -t tmpfs over /srv/t/d", "umount -l /srv/t/d", "mount -t tmpfs over /srv"] {
        let lab = lab(&format!("nsenter -t 1 -m {theirs}; echo x > /srv/t/d/new"), "size=1m");
        lab.shell("mount -t tmpfs first /srv/t/d");
        lab.acme(&["dance"]).failed_with(&[
            "nothing was merged",
            "something was mounted at /srv",
            "or unmounted",
        ]);
        assert_eq!(lab.shell("find /srv -name new; umount -l /srv; find /srv -name new"), "", "{theirs}");
    }
    // Elsewhere it is of no interest.
    let lab = lab("nsenter -t 1 -m mount -t tmpfs over /root; echo x > /srv/t/d/new", "size=1m");
    assert_eq!(lab.acme(&["dance"]).code, 0);
}

#[test]
fn contents_that_do_not_fit() {
    let lab = lab("echo a > /srv/t/a; head -c 4000000 /dev/urandom > /srv/t/big", "size=2m");
    foretold(&lab, &["no space for /srv/t/big"]);
    refused(&lab, &["nothing was merged", "no space for /srv/t/big", "the file system of /srv/t"]);
}

#[test]
fn a_disk_that_is_full_in_the_middle_of_it() {
    // Space for the contents, but not for that many names.
    refused(
        &lab("for i in $(seq 60); do echo $i > /srv/t/$i; done", "size=4m,nr_inodes=40"),
        &["nothing was merged", "cannot", "/srv/t/", "No space left on device"],
    );
}

#[test]
fn a_target_that_became_read_only_meanwhile() {
    refused(
        &lab("echo x > /srv/t/d/x; nsenter -t 1 -m mount -o remount,ro /srv/t", "size=1m"),
        &["nothing was merged", "/srv/t", "Read-only file system"],
    );
}

#[test]
fn a_directory_that_became_immutable_meanwhile() {
    let lab = lab(
        "mkdir -p /root/i; echo x > /srv/i/sub/x; echo y > /srv/y; nsenter -t 1 -m python3 /root/protect.py",
        "size=1m",
    );
    let protect = "import fcntl, os, struct, sys\nfcntl.ioctl(os.open('/srv/i/sub', os.O_RDONLY), 0x40086602, struct.pack('l', 0x10 if len(sys.argv) < 2 else 0))\n";
    lab.node.write("/root/protect.py", protect, 0o644).unwrap();
    lab.shell("mkdir -p /srv/i/sub");
    lab.acme(&["dance"]).failed_with(&["nothing was merged", "/srv/i/sub is immutable"]);
    assert_eq!(
        lab.shell("ls -A /srv/i/sub /srv; python3 /root/protect.py off"),
        "/srv:\ni\nt\n\n/srv/i/sub:\n"
    );
}

#[test]
fn a_journal_that_was_committed_and_is_damaged() {
    let lab = lab("echo x > /srv/t/x", "size=1m");
    lab.shell(&format!("mkdir -p {STATE}/journal/current; cd {STATE}/journal/current; echo forward > phase; echo 'disco-journal-1 00' > 7.0.plan"));
    let before = look(&lab);
    lab.acme(&["dance"])
        .failed_with(&["an interrupted merge could not be recovered", "journal/current/7.0.plan is damaged"]);
    tree::assert_same(&look(&lab), &before);
    // Without the word that commits it, it means nothing.
    lab.shell(&format!("rm {STATE}/journal/current/phase"));
    assert_eq!(lab.acme(&["dance"]).code, 0);
    assert_eq!(lab.shell("cat /srv/t/x"), "x\n");
}

#[test]
fn a_file_that_the_host_removed_or_moved_away_meanwhile() {
    for theirs in
        ["rm /srv/t/alone/file", "mv /srv/t/alone /srv/t/away", "mv /srv/t/alone/file /srv/t/elsewhere"]
    {
        let script = format!("echo mine >> /srv/t/alone/file; nsenter -t 1 -m {theirs}");
        let lab = lab(&script, "size=1m");
        lab.shell("mkdir /srv/t/alone; echo old > /srv/t/alone/file");
        lab.acme(&["dance"]).failed_with(&["nothing was merged", "/srv/t/alone", "changed on the host"]);
        assert_eq!(lab.shell("grep -rl mine /srv/t"), "", "{theirs}");
    }
}

#[test]
fn one_file_that_is_changed_through_two_mounts() {
    let lab = lab("echo one >> /srv/t/file; echo two >> /srv/t/d/single", "size=1m");
    lab.shell("touch /srv/t/d/single; mount --bind /srv/t/file /srv/t/d/single");
    let why = "/srv/t/d/single and /srv/t/file are one file, mounted at two places";
    foretold(&lab, &[why]);
    refused(&lab, &["nothing was merged", why]);
}

#[test]
fn a_file_that_is_mounted_by_itself_and_that_the_run_removes() {
    let lab = lab("rm /srv/t/d/single", "size=1m");
    lab.shell("touch /srv/t/d/single; mount --bind /srv/t/file /srv/t/d/single");
    let why = "/srv/t/d/single is a mount point";
    foretold(&lab, &[why]);
    refused(&lab, &["nothing was merged", why]);
    let tried = lab.acme(&["try", "--", "rm", "/srv/t/d/single"]);
    assert!(tried.stderr.contains(&format!("warning: this cannot be merged: {why}")), "{tried:?}");
}
