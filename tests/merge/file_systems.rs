//! File systems that keep things their own way: lists of access in attributes of their own, properties, subvolumes.
//!
//! A kernel need not have those but ext4, so they are looked at with `DISCO_FULL` in the environment only.

use std::process::Command;

use testbed::lab::Lab;
use testbed::universe::Universe;

use crate::{assert_every_kind_is_merged, lab_of_all_kinds_on, look, make_image, prepare, tree};

/// Mounts `/srv` of a node, and the directory of the client's state, from images of their own: a run keeps its layers there,
/// and ext4 does not take every flag that a file of xfs goes without.
const MOUNT: &str = "mount -o loop /srv.image /srv; mount -o loop /state.image /var/lib/acme-disco";

fn wanted() -> bool {
    let wanted = std::env::var_os("DISCO_FULL").is_some();
    if !wanted {
        eprintln!("not tried: a kernel need not have xfs and btrfs; `DISCO_FULL=1` asks for it");
    }
    wanted
}

fn make_images(lab: &Lab, kind: &str) {
    for image in ["/srv.image", "/state.image"] {
        make_image(&lab.node.path(image), kind, 512 << 20);
    }
    lab.shell("mkdir -p /var/lib/acme-disco");
}

/// A node whose `/srv` is of this kind, and a module that runs this.
fn lab(kind: &str, script: &str) -> Lab {
    let universe = Universe::empty().unwrap();
    universe.add("m-1/scripts/1.py", &format!("#!/usr/bin/python3\nimport os, struct\n{script}")).unwrap();
    let lab = Lab::on_disk(universe);
    make_images(&lab, kind);
    lab.shell(MOUNT);
    assert_eq!(lab.shell("stat -fc %T /srv"), format!("{kind}\n"));
    lab
}

fn python(lab: &Lab, script: &str) {
    lab.node
        .write("/root/run.py", &format!("#!/usr/bin/python3\nimport os, struct\n{script}"), 0o755)
        .unwrap();
    lab.shell("/root/run.py");
}

/// Dances, sees the same as after the script on the host itself, converges, and goes back.
fn as_on_the_host(lab: &Lab, script: &str, undo: &str) {
    let before = look(lab);
    python(lab, script);
    let expected = tree::without_times(&look(lab));
    python(lab, undo);
    tree::assert_same(&tree::without_times(&look(lab)), &tree::without_times(&before));
    let before = look(lab);
    assert_eq!(lab.acme(&["dance", "--noop"]).code, 0);
    tree::assert_same(&look(lab), &before);
    let live = lab.acme(&["dance"]);
    assert_eq!(live.code, 0, "{live:#?}");
    tree::assert_same(&tree::without_times(&look(lab)), &expected);
    let rolled_back = lab.acme(&["rollback"]);
    assert_eq!(rolled_back.code, 0, "{rolled_back:#?}");
    tree::assert_same(&look(lab), &before);
}

/// Every kind of change where `/srv` and the client's state are file systems of this kind.
fn assert_every_kind_is_merged_on(kind: &str) {
    let lab = lab_of_all_kinds_on("true");
    make_images(&lab, kind);
    lab.shell(&format!("umount /srv/b; {MOUNT}; mkdir /srv/b; mount -t tmpfs -o size=8m,mode=0755 b /srv/b"));
    prepare(&lab);
    assert_every_kind_is_merged(&lab);
}

/// Over two of ext4, an overlay numbers files otherwise than over any others.
#[test]
fn every_kind_of_change_is_merged_to_an_ext4_apart_from_that_of_the_state() {
    assert_every_kind_is_merged_on("ext4");
}

#[test]
fn every_kind_of_change_is_merged_on_them_as_well() {
    for kind in ["xfs", "btrfs"] {
        if wanted() {
            assert_every_kind_is_merged_on(kind);
        }
    }
}

/// A list of access that names the user 5, as the kernel takes it.
const ACL: &str = "
def acl(rights):
    none = 0xffffffff
    entries = [(1, 6, none), (2, rights, 5), (4, 4, none), (0x10, 6, none), (0x20, 4, none)]
    return struct.pack('<I', 2) + b''.join(struct.pack('<HHI', *entry) for entry in entries)
LIST = 'system.posix_acl_access'
";

#[test]
fn lists_of_access_of_xfs() {
    if !wanted() {
        return;
    }
    let script = format!(
        "{ACL}os.setxattr('/srv/changed', LIST, acl(4)); open('/srv/changed', 'a').write('more')
os.removexattr('/srv/removed', LIST)
os.setxattr('/srv/directory', LIST, acl(6))
open('/srv/new', 'w').write('new'); os.setxattr('/srv/new', LIST, acl(6)); os.rename('/srv/new', '/srv/replaced')
"
    );
    let lab = lab("xfs", &script);
    let before = format!(
        "{ACL}
for name in ['changed', 'removed', 'replaced']:
    open('/srv/' + name, 'w').write(name); os.chmod('/srv/' + name, 0o664); os.setxattr('/srv/' + name, LIST, acl(6))
os.makedirs('/srv/directory', exist_ok=True)
if LIST in os.listxattr('/srv/directory'): os.removexattr('/srv/directory', LIST)
os.chmod('/srv/directory', 0o755)
"
    );
    python(&lab, &before);
    as_on_the_host(&lab, &script, &before);
}

#[test]
fn properties_and_subvolumes_of_btrfs() {
    if !wanted() {
        return;
    }
    let script = "
open('/srv/compressed/new', 'w').write('new')
open('/srv/compressed/old', 'a').write('more')
open('/srv/below/sub/new', 'w').write('new')
open('/srv/plain', 'w').write('plain')
";
    let lab = lab("btrfs", script);
    let made = Command::new("btrfs")
        .args(["--quiet", "subvolume", "create"])
        .arg(lab.node.path("/srv/sub"))
        .status()
        .unwrap();
    assert!(made.success());
    let before = "
os.makedirs('/srv/compressed', exist_ok=True); os.makedirs('/srv/below', exist_ok=True)
if os.path.exists('/srv/sub'): os.rename('/srv/sub', '/srv/below/sub')
os.setxattr('/srv/compressed', 'btrfs.compression', b'zstd')
open('/srv/compressed/old', 'w').write('old')
for name in ['compressed/new', 'below/sub/new', 'plain']:
    if os.path.exists('/srv/' + name): os.remove('/srv/' + name)
";
    python(&lab, before);
    as_on_the_host(&lab, script, before);
}
