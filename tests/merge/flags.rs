//! What chattr(1) and fallocate(1) make of a file: no tool shows it, and it is not lost either.

use testbed::lab::Lab;
use testbed::universe::Universe;

use crate::{look, tree};

fn lab(script: &str, before: &str) -> Lab {
    let universe = Universe::empty().unwrap();
    universe.add("m-1/scripts/1.sh", &format!("#!/bin/bash -e\n{script}")).unwrap();
    let lab = Lab::on_disk(universe);
    lab.node.write("/root/flags.py", FLAGS, 0o755).unwrap();
    lab.shell(before);
    lab
}

/// `flags.py set BITS PATH…` adds flags, `flags.py show PATH…` prints those that a person sets.
const FLAGS: &str = "#!/usr/bin/python3
import fcntl, os, struct, sys
def flags(path, add=0):
    file = os.open(path, os.O_RDONLY)
    now = struct.unpack('i', fcntl.ioctl(file, 0x80086601, b'\\0' * 4))[0]
    if add: fcntl.ioctl(file, 0x40086602, struct.pack('l', now | add))
    return now
if sys.argv[1] == 'set': [flags(path, int(sys.argv[2], 16)) for path in sys.argv[3:]]
else: print(*(f'{os.path.basename(path)}={flags(path) & 0x0002ffff & ~0x1000:x}' for path in sys.argv[2:]))
";

#[test]
fn flags_that_are_no_protection_are_kept_inherited_and_set() {
    // No dump: 40; no access times: 80; both are inherited from directories, and neither is copied to an upper layer.
    let before = "mkdir -p /srv/d /srv/plain; cd /srv; for f in edited replaced moded set several; do echo old > plain/$f; done
        ln plain/several plain/other; echo old > d/edited; touch -d @1000000000 plain/* d/*
        /root/flags.py set 40 plain/edited plain/replaced plain/moded plain/several; /root/flags.py set c0 d d/edited";
    let change = "cd /srv/plain; echo new >> edited; echo new > t; mv t replaced; chmod 600 moded; echo new >> several
        /root/flags.py set 80 set; cd ../d; echo new >> edited; echo new > new; mkdir -p made/deep; echo new > made/deep/new\n";
    let lab = lab(change, before);
    let see = || {
        let of = "plain/edited plain/replaced plain/moded plain/set plain/several d d/edited d/new d/made d/made/deep d/made/deep/new";
        lab.shell(&format!("cd /srv; /root/flags.py show $(ls -d {of} 2> /dev/null)"))
    };
    let (old, before) = (see(), look(&lab));
    assert_eq!(old, "d=c0 edited=c0 edited=40 moded=40 replaced=40 set=0 several=40\n");
    let live = lab.acme(&["dance"]);
    assert_eq!(live.code, 0, "{live:#?}");
    assert!(live.stdout.contains("/srv/plain/set : Modified : flags=[none => no-atime]"), "{live:#?}");
    // A file that takes the place of another one has what it inherits, as on any host.
    let merged = see();
    assert_eq!(
        merged,
        "d=c0 edited=c0 made=c0 deep=c0 new=c0 new=c0 edited=40 moded=40 replaced=0 set=80 several=40\n"
    );
    let back = lab.acme(&["rollback"]);
    assert_eq!(back.code, 0, "{back:#?}");
    assert_eq!(see(), old);
    tree::assert_same(&look(&lab), &before);
    lab.shell(change);
    assert_eq!(see(), merged, "as if the script had run on the host");
}

#[test]
fn space_that_is_reserved_stays_reserved() {
    let before = "cd /srv; for f in edited several; do fallocate -l 8M $f; done; ln several other; truncate -s 8M sparse
        echo small > hollowed";
    let change = "cd /srv; fallocate -l 8M new; for f in edited several sparse; do echo x | dd conv=notrunc of=$f 2> /dev/null; done
        truncate -s 8M hollowed\n";
    let see = |lab: &Lab| {
        lab.shell("cd /srv; for f in new edited several sparse hollowed; do [ $(stat -c %b $f) -ge 16384 ] && echo $f $(head -c 2 $f | tr -d '\\0'); done")
    };
    let expected = "new\nedited x\nseveral x\n";
    let merged = lab(change, before);
    let looks = || merged.shell("cd /srv; stat -c '%n %a %s %y %h' *; md5sum *");
    let old = looks();
    let live = merged.acme(&["dance"]);
    assert_eq!(live.code, 0, "{live:#?}");
    assert_eq!(see(&merged), expected);
    let back = merged.acme(&["rollback"]);
    assert_eq!(back.code, 0, "{back:#?}");
    assert_eq!(looks(), old);

    let planned = lab(change, before);
    assert_eq!(planned.acme(&["dance", "--noop", "--out", "/root/plan"]).code, 0);
    let applied = planned.acme(&["plan", "apply", "/root/plan"]);
    assert_eq!(applied.code, 0, "{applied:#?}");
    assert_eq!(see(&planned), expected);
}
