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
