//! Hosts whose file systems are put together otherwise: a merge changes, finishes and undoes there as anywhere.

use testbed::lab::{Lab, STATE};
use testbed::universe::Universe;

use crate::{look, tree};

fn lab(script: &str, on_disk: bool) -> Lab {
    let universe = Universe::empty().unwrap();
    universe.add("m-1/scripts/1.sh", &format!("#!/bin/bash -e\n{script}")).unwrap();
    if on_disk { Lab::on_disk(universe) } else { Lab::with(universe) }
}

/// What these modules change, and how it was before.
const BEFORE: &str = "mkdir -p /srv/d /var/spool/x; echo old > /srv/d/file; echo old > /var/spool/x/file; echo gone > /var/spool/gone";
const CHANGE: &str = "echo new > /srv/d/new; echo more >> /srv/d/file; echo t > /var/spool/x/t; mv /var/spool/x/t /var/spool/x/file
    rm /var/spool/gone; mkdir /var/spool/made; echo m > /var/spool/made/m\n";

fn there_and_back(lab: &Lab) {
    let see = || {
        lab.shell(
            "cd /; find srv var/spool -printf '%p %y %m %s %T@\\n' | sort; cat /srv/d/* /var/spool/x/file",
        )
    };
    let before = see();
    let live = lab.acme(&["dance"]);
    assert_eq!(live.code, 0, "{live:#?}");
    let after =
        lab.shell("cat /srv/d/file /srv/d/new /var/spool/x/file /var/spool/made/m; ls /var/spool/gone 2>&1");
    assert_eq!(
        after,
        "old\nmore\nnew\nt\nm\nls: cannot access '/var/spool/gone': No such file or directory\n"
    );
    let back = lab.acme(&["rollback"]);
    assert_eq!(back.code, 0, "{back:#?}");
    assert_eq!(see(), before);
}

#[test]
fn var_is_a_file_system_of_its_own() {
    let lab = lab(CHANGE, false);
    lab.shell(&format!("{BEFORE}; mkdir /new; mount -t tmpfs -o mode=755 v /new; cp -a /var/. /new/; mount --move /new /var; rmdir /new"));
    assert_eq!(lab.shell("stat -c %m /var/lib /var/spool"), "/var\n/var\n");
    there_and_back(&lab);
    assert_eq!(lab.shell("ls -A / | grep undo; ls -A /var | grep undo"), "");
}

#[test]
fn var_is_a_link_and_so_are_others() {
    for other in ["", "mount -t tmpfs -o mode=755 d /data"] {
        let lab = lab(CHANGE, false);
        lab.shell(&format!("{BEFORE}; mkdir /data; {other}"));
        lab.shell(
            "for top in var opt srv tmp root; do
                 cp -a /$top /data/; rm -r --one-file-system /$top; ln -s data/$top /$top
             done",
        );
        assert_eq!(lab.shell(&format!("readlink -f {STATE} /srv")), format!("/data{STATE}\n/data/srv\n"));
        there_and_back(&lab);
        assert_eq!(lab.shell("ls -A / /data | grep undo"), "");
    }
}

#[test]
fn the_state_directory_is_memory() {
    let lab = lab(CHANGE, false);
    lab.shell(&format!("{BEFORE}; mount -t tmpfs -o mode=700 s {STATE}"));
    there_and_back(&lab);
    assert_eq!(
        lab.shell("ls -A / | grep undo"),
        "",
        "what was made on other file systems goes with the rollback"
    );
}

#[test]
fn a_directory_takes_the_place_of_a_link_to_another_file_system() {
    let lab = lab("rm /srv/link; mkdir -p /srv/link/e; echo here > /srv/link/e/file", true);
    lab.shell(
        "mkdir /other; mount -t tmpfs other /other; mkdir /other/e; echo there > /other/e/file; ln -s /other /srv/link",
    );
    let before = look(&lab);
    let live = lab.acme(&["dance"]);
    assert_eq!(live.code, 0, "{live:#?}");
    assert_eq!(
        lab.shell("cat /srv/link/e/file /other/e/file; find /other | sort"),
        "here\nthere\n/other\n/other/e\n/other/e/file\n"
    );
    let back = lab.acme(&["rollback"]);
    assert_eq!(back.code, 0, "{back:#?}");
    tree::assert_same(&look(&lab), &before);
    assert_eq!(lab.shell("readlink /srv/link; cat /srv/link/e/file"), "/other\nthere\n");
}

#[test]
fn a_file_that_is_mounted_by_itself_is_written_in_place() {
    let lab =
        lab("echo new > /srv/single; chmod 600 /srv/single; echo x > /srv/other; chmod 640 /srv/looks", true);
    lab.shell(
        "mkdir /root/real; mount -t tmpfs real /root/real; cd /root/real; echo old | tee single looks; touch -d @1000000000 *
         for f in single looks; do touch /srv/$f; mount --bind $f /srv/$f; done",
    );
    let real = || lab.shell("cd /root/real; stat -c '%n %a %Y %i' *; cat single looks");
    let (before, old) = (look(&lab), real());
    let live = lab.acme(&["dance"]);
    assert_eq!(live.code, 0, "{live:#?}");
    assert_eq!(
        lab.shell("cd /root/real; cat single; stat -c %a *; cat /srv/single /srv/other"),
        "new\n640\n600\nnew\nx\n"
    );
    assert_eq!(lab.shell("grep -c ' /srv/' /proc/self/mountinfo"), "2\n", "they are mounted as they were");
    let back = lab.acme(&["rollback"]);
    assert_eq!(back.code, 0, "{back:#?}");
    tree::assert_same(&look(&lab), &before);
    assert_eq!(real(), old);
}

#[test]
fn hard_links_of_the_lower_layer_of_a_root_that_is_an_overlay() {
    let script = "cd /usr/bin; echo '# more' >> perl; cp perlbug t; echo x >> t; mv t perlthanks\n";
    let see = |lab: &Lab| {
        lab.shell("cd /usr/bin; stat -c '%n %h %a %s' perl perl5.36.0 perlbug perlthanks; md5sum perl*")
    };
    let (native, merged) = (lab("true", false), lab(script, false));
    let before = see(&native);
    assert!(before.contains("perl 2 755 ") && before.contains("perlbug 2 755 "), "{before}");
    native.shell(script);
    let live = merged.acme(&["dance", "--no-diff"]);
    assert_eq!(live.code, 0, "{live:#?}");
    assert_eq!(see(&merged), see(&native));
    let back = merged.acme(&["rollback", "--no-diff"]);
    assert_eq!(back.code, 0, "{back:#?}");
    assert_eq!(see(&merged), before);
}

#[test]
fn the_root_of_a_file_system_keeps_its_attributes_and_what_is_new_in_it_inherits_from_it() {
    let lab = lab("echo x > /srv/t/new; mkdir /srv/t/made; echo x > /srv/t/old/new", true);
    let set = r#"use strict; my ($p, $n, $v) = ("/srv/t", "system.posix_acl_default",
        pack "VvvVvvVvvVvvVvvV", 2, 1, 7, ~0, 2, 5, 1234, 4, 5, ~0, 16, 7, ~0, 32, 0, ~0);
        syscall(188, $p, $n, $v, length $v, 0) == 0 or die "$!"; ($n, $v) = ("user.kept", "k");
        syscall(188, $p, $n, $v, length $v, 0) == 0 or die "$!";"#;
    lab.node.write("/root/set.pl", set, 0o644).unwrap();
    lab.shell("mkdir -p /srv/t; mount -t tmpfs -o mode=755 t /srv/t; mkdir /srv/t/old; perl /root/set.pl");
    let before = look(&lab);
    assert!(before.iter().any(|line| line.contains("posix_acl_default")), "{before:#?}");
    let tried = lab.acme(&["try", "--", "true"]);
    assert!(tried.code == 0 && !tried.stdout.contains("/srv/t"), "{tried:#?}");
    let live = lab.acme(&["dance"]);
    assert!(live.code == 0 && !live.stdout.contains("/srv/t : "), "{live:#?}");
    let merged = tree::without_times(&look(&lab));
    assert_eq!(lab.acme(&["rollback"]).code, 0);
    tree::assert_same(&look(&lab), &before);
    // As if the script had run on the host.
    lab.shell("umask 022; echo x > /srv/t/new; mkdir /srv/t/made; echo x > /srv/t/old/new");
    let native: Vec<_> = tree::without_times(&look(&lab));
    let of_run = |line: &&String| !line.contains("-undo");
    assert_eq!(
        merged.iter().filter(of_run).collect::<Vec<_>>(),
        native.iter().filter(of_run).collect::<Vec<_>>()
    );
}

#[test]
fn a_new_file_that_has_the_number_of_one_of_the_host_by_chance_is_another_one() {
    // The upper layer lies in memory, and counts its files from the beginning.
    let script = "#!/usr/bin/python3
import os
wanted = int(open('/root/number').read())
while True:
    open('/srv/t/x', 'w').write('new\\n')
    number = os.stat('/srv/t/x').st_ino
    if number >= wanted: break
    os.unlink('/srv/t/x')
assert number == wanted, (number, wanted)
os.rename('/srv/t/x', '/srv/t/a')
";
    let universe = Universe::empty().unwrap();
    universe.add("m-1/scripts/1.py", script).unwrap();
    let lab = Lab::on_disk(universe);
    lab.shell(&format!(
        "mount -t tmpfs -o mode=700 s {STATE}; mkdir -p /srv/t; mount -t tmpfs t /srv/t
         python3 -c \"import os
for i in range(3000): open('/srv/t/x', 'w'); os.unlink('/srv/t/x')\"
         cd /srv/t; echo old > a; ln a b; stat -c %i a > /root/number"
    ));
    let live = lab.acme(&["dance"]);
    assert!(live.code == 0 && live.stdout.contains("/srv/t/a : Modified"), "{live:#?}");
    assert_eq!(lab.shell("cat /srv/t/a /srv/t/b; stat -c %h /srv/t/a"), "new\nold\n1\n");
}

#[test]
fn a_file_system_that_is_mounted_at_two_places_is_one_in_the_sandbox_too() {
    let script = "echo one >> /srv/a/file; cat /mnt/b/file > /srv/seen; echo two >> /mnt/b/file; echo n > /mnt/b/new\n";
    let lab = lab(script, true);
    lab.shell("mkdir -p /srv/a /mnt/b; echo old > /srv/a/file; mount --bind /srv/a /mnt/b");
    let before = look(&lab);
    let noop = lab.acme(&["dance", "--noop"]);
    assert!(noop.code == 0 && noop.stdout.contains("/mnt/b/new : Created"), "{noop:#?}");
    assert!(!noop.stdout.contains("/srv/a/"), "each change is told once: {noop:#?}");
    tree::assert_same(&look(&lab), &before);
    let live = lab.acme(&["dance"]);
    assert_eq!(live.code, 0, "{live:#?}");
    assert_eq!(
        lab.shell("cat /srv/a/file; echo; cat /srv/seen; ls /mnt/b"),
        "old\none\ntwo\n\nold\none\nfile\nnew\n"
    );
    let back = lab.acme(&["rollback"]);
    assert_eq!(back.code, 0, "{back:#?}");
    tree::assert_same(&look(&lab), &before);
}

#[test]
fn a_file_system_at_three_places_is_one_whatever_else_is_mounted() {
    let script =
        "echo a >> /mnt/a/file; cat /mnt/d/file > /srv/seen; echo d >> /mnt/d/file; echo c > /mnt/c/new
        echo other > /mnt/between/new; rm /mnt/c/gone\n";
    let lab = lab(script, true);
    lab.shell(
        "mkdir -p /mnt/a /mnt/between /mnt/c /mnt/d; mount -t tmpfs one /mnt/a; mount -t tmpfs other /mnt/between
         echo old > /mnt/a/file; touch /mnt/a/gone; mount --bind /mnt/a /mnt/c; mount --bind /mnt/a /mnt/d",
    );
    let noop = lab.acme(&["dance", "--noop"]);
    assert!(noop.code == 0 && noop.stdout.contains(" 3 created, 1 modified, 1 deleted"), "{noop:#?}");
    let live = lab.acme(&["dance"]);
    assert_eq!(live.code, 0, "{live:#?}");
    assert_eq!(
        lab.shell("cat /mnt/c/file /srv/seen; cd /mnt; ls a between c d"),
        "old\na\nd\nold\na\na:\nfile\nnew\n\nbetween:\nnew\n\nc:\nfile\nnew\n\nd:\nfile\nnew\n"
    );
    let back = lab.acme(&["rollback"]);
    assert_eq!(back.code, 0, "{back:#?}");
    assert_eq!(
        lab.shell("cat /mnt/d/file; ls /mnt/a /mnt/between"),
        "old\n/mnt/a:\nfile\ngone\n\n/mnt/between:\n"
    );
}

#[test]
fn a_directory_above_a_mount_point_that_was_moved_is_named() {
    let lab = lab("mv /srv/above /srv/elsewhere", true);
    lab.shell("mkdir -p /srv/above/m; mount -t tmpfs m /srv/above/m");
    let before = look(&lab);
    for arguments in [&["dance", "--noop"][..], &["dance"]] {
        lab.acme(arguments).failed_with(&["cannot read /srv/above/m", "which a sandbox cannot follow"]);
        tree::assert_same(&look(&lab), &before);
    }
}

#[test]
fn a_new_directory_takes_what_a_default_list_of_access_leaves_its_owner() {
    let lab = lab("mkdir /srv/d/made; echo x > /srv/d/made/file\n", true);
    // The owner gets no right to enter what is made there.
    let set = r#"use strict; my ($p, $n, $v) = ("/srv/d", "system.posix_acl_default",
        pack "VvvVvvVvvV", 2, 1, 6, ~0, 4, 5, ~0, 32, 5, ~0);
        syscall(188, $p, $n, $v, length $v, 0) == 0 or die "$!";"#;
    lab.node.write("/root/set.pl", set, 0o644).unwrap();
    lab.shell("mkdir /srv/d; perl /root/set.pl");
    let before = look(&lab);
    let live = lab.acme(&["dance"]);
    assert_eq!(live.code, 0, "{live:#?}");
    assert_eq!(lab.shell("stat -c %a /srv/d/made; cat /srv/d/made/file"), "655\nx\n");
    let back = lab.acme(&["rollback"]);
    assert_eq!(back.code, 0, "{back:#?}");
    tree::assert_same(&look(&lab), &before);
}
