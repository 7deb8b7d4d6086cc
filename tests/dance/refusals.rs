//! What cannot be danced is refused in a sentence that says where and what to do, with exit code 1, and nothing changes.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};

use testbed::lab::{BINARY, Lab, built_binary};
use testbed::universe::Universe;

#[track_caller]
fn refused(lab: &Lab, words: &[&str]) {
    let before = lab.files();
    lab.acme(&["dance"]).failed_with(words);
    lab.assert_unchanged(&before);
}

#[test]
fn an_unreachable_server() {
    refused(
        &Lab::alone(),
        &[
            "cannot fetch the parameters of localhost.localdomain from rsync://universe.acme.example/parameters/",
            "Connection refused",
            "hint: the universe is rsync://universe.acme.example, from the brand",
        ],
    );
}

#[test]
fn a_node_without_parameters() {
    let universe = Universe::example().unwrap();
    std::fs::remove_dir_all(universe.path().join("parameters/localhost.localdomain")).unwrap();
    refused(
        &Lab::with(universe),
        &["cannot fetch the parameters of localhost.localdomain", "No such file or directory"],
    );
}

#[test]
fn a_missing_module() {
    let universe = Universe::example().unwrap();
    universe.add("gone-1/requires", "").unwrap();
    std::fs::remove_dir_all(universe.path().join("gone-1")).unwrap();
    refused(&Lab::with(universe), &["cannot fetch module gone-1 from rsync://universe.acme.example/gone-1/"]);
}

#[test]
fn a_missing_module_that_another_one_requires() {
    let universe = Universe::example().unwrap();
    universe.add("wants-1/requires", "after gone-1\n").unwrap();
    refused(&Lab::with(universe), &["module wants-1 requires gone-1", "cannot fetch module gone-1"]);
}

#[test]
fn modules_that_require_each_other() {
    let universe = Universe::example().unwrap();
    universe.add("a-1/requires", "\nafter b-1\n").unwrap().add("b-1/requires", "after a-1\n").unwrap();
    refused(
        &Lab::with(universe),
        &[
            "the modules require each other in a circle: a-1 comes first by line 1 of b-1/requires, \
             b-1 comes first by line 2 of a-1/requires",
            "hint: take one of these lines out",
        ],
    );
}

#[test]
fn a_line_of_requires_that_means_nothing() {
    let universe = Universe::example().unwrap();
    universe.add("a-1/requires", "# fine\nnear b-1\n").unwrap();
    refused(&Lab::with(universe), &["module a-1: requires, line 2: `near b-1` means nothing here"]);
}

#[test]
fn names_that_lead_elsewhere() {
    let universe = Universe::example().unwrap();
    universe.add("a-1/requires", "after ../../etc\n").unwrap();
    refused(&Lab::with(universe), &["module a-1: requires, line 1", "`../../etc` is no module name"]);

    let universe = Universe::example().unwrap();
    std::fs::write(universe.path().join("parameters/localhost.localdomain/modules/a b"), "").unwrap();
    refused(
        &Lab::with(universe),
        &["parameters/localhost.localdomain/modules/a b", "`a b` is no module name"],
    );

    let lab = Lab::with(Universe::example().unwrap());
    lab.acme(&["dance", "--node", "../x"]).failed_with(&["`../x` is no node name"]);
    lab.acme(&["dance", "--module", ".."]).failed_with(&["`..` is no module name"]);
}

#[test]
fn links_that_leave_the_tree() {
    let universe = Universe::example().unwrap();
    universe.add("a-1/files/etc/x", "x").unwrap();
    symlink("../../../../etc/shadow", universe.path().join("a-1/files/etc/evil")).unwrap();
    let lab = Lab::with(universe);
    let before = lab.files();
    let live = lab.acme(&["dance"]);
    assert_eq!(live.code, 1, "{live:#?}");
    let line = "a-1/files/etc/evil is a link to ../../../../etc/shadow, which leaves the tree it came with";
    assert!(live.stdout.contains(line), "{}", live.stdout);
    lab.assert_unchanged(&before);
}

#[test]
fn a_second_dance_while_one_runs() {
    let universe = Universe::empty().unwrap();
    universe.add("slow-1/scripts/1.sh", "echo started; sleep 1000").unwrap();
    let lab = Lab::with(universe);
    let mut first =
        lab.node.command(BINARY).args(["dance", "--noop"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = std::io::BufReader::new(first.stdout.take().unwrap());
    let mut line = String::new();
    while line != "started\n" {
        line.clear();
        assert_ne!(
            std::io::BufRead::read_line(&mut output, &mut line).unwrap(),
            0,
            "the first dance ended early"
        );
    }
    refused(&lab, &["another dance is running: process ", "hint: wait until it ends"]);
    first.kill().unwrap();
    first.wait().unwrap();
}

#[test]
fn somebody_who_is_not_root() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let copy = directory.path().join("acme-disco");
    std::fs::copy(built_binary(), &copy).unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&copy)
        .arg("dance")
        .current_dir("/")
        .output()
        .unwrap();
    testbed::lab::Ended::from(output).failed_with(&["this needs root", "hint: run it again as root"]);
}

#[test]
fn a_kernel_without_overlayfs() {
    let lab = Lab::with(Universe::example().unwrap());
    // What such a kernel shows; the client asks nowhere else.
    lab.shell("grep -v overlay /proc/filesystems > /root/filesystems; mount --bind /root/filesystems /proc/filesystems");
    refused(&lab, &["this kernel has no overlayfs", "hint: load the module with `modprobe overlay`"]);
}

#[test]
fn a_file_that_changed_on_the_host_during_the_run() {
    let universe = Universe::empty().unwrap();
    // A live run sees the host's processes, so it can change the host behind its own sandbox.
    universe
        .add(
            "race-1/scripts/1.sh",
            "echo mine > /etc/raced; echo theirs > /proc/1/root/etc/raced; echo n > /etc/new\n",
        )
        .unwrap();
    let lab = Lab::with(universe);
    lab.shell("echo before > /etc/raced");
    let live = lab.acme(&["dance"]);
    live.failed_with(&["nothing was merged", "/etc/raced changed on the host while the dance ran"]);
    assert_eq!(lab.shell("cat /etc/raced; ls /etc/new 2>/dev/null"), "theirs\n");
}

#[test]
fn a_directory_that_takes_no_entry_is_named_before_anything_is_merged() {
    let universe = Universe::empty().unwrap();
    // A live run reaches the host: the last line lets the merge, not the script, find a directory that takes no entry.
    universe
        .add(
            "m-1/scripts/1.sh",
            "#!/bin/sh -e
cd /etc; echo new > first; rm -r second; echo n > made; chmod 600 zfile; echo n > locked/inner
chattr +i /proc/1/root/etc/locked
",
        )
        .unwrap();
    let lab = Lab::on_disk(universe);
    lab.shell(
        "cd /etc; echo old > first; mkdir second locked; echo s > second/s; echo z > zfile; chmod 644 zfile",
    );
    let live = lab.acme(&["dance"]);
    lab.shell("chattr -i /etc/locked");
    assert!(!live.stdout.contains("error: m-1: script"), "the script itself must not fail: {live:#?}");
    live.failed_with(&["nothing was merged", "/etc/locked is immutable or append-only"]);
    assert!(!live.stderr.contains("moreover"), "{live:#?}");
    let look = "cd /etc; cat first second/s zfile; stat -c '%n %a' zfile locked; ls -d made 2>/dev/null; ls -A locked";
    assert_eq!(lab.shell(look), "old\ns\nz\nzfile 644\nlocked 755\n");
}

#[test]
fn a_file_that_cannot_be_put_in_its_place_is_told_with_the_reason() {
    let universe = Universe::empty().unwrap();
    universe.add("m-1/files/etc/passwd/x", "a file below a file\n").unwrap();
    let lab = Lab::with(universe);
    let before = lab.files();
    let live = lab.acme(&["dance"]);
    assert_eq!(live.code, 1, "{live:#?}");
    assert!(live.stdout.contains("error: m-1: cannot open /etc/passwd: Not a directory"), "{}", live.stdout);
    lab.assert_unchanged(&before);
}
