//! apt on a node: two brands side by side through their whole life.

use std::process::Command;

use testbed::node::Node;

use crate::vendor::{Vendor, vendor};
use crate::{run, succeeded};

#[track_caller]
fn inside(node: &Node, line: &str) -> String {
    succeeded(line, &node.shell(line).expect("the node runs a shell"))
}

/// apt without questions; an edited configuration is kept.
const APT: &str = "DEBIAN_FRONTEND=noninteractive apt-get --quiet --yes -o Dpkg::Options::=--force-confold -o APT::Sandbox::User=root";

/// A node that knows the vendor's repository and no other.
fn node(name: &str, vendor: &Vendor) -> Node {
    let node = Node::start(name).unwrap();
    inside(&node, "rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*; mkdir -p /etc/apt/keyrings");
    node.copy_in(&vendor.path("repository/key.asc"), "/etc/apt/keyrings/acme.asc").unwrap();
    node.write(
        "/etc/apt/sources.list",
        "deb [signed-by=/etc/apt/keyrings/acme.asc] file:/srv/repository/apt stable main\n",
        0o644,
    )
    .unwrap();
    serve(&node, vendor, "repository");
    node
}

/// Puts a repository where the node looks.
fn serve(node: &Node, vendor: &Vendor, repository: &str) {
    inside(node, "rm -rf /srv/repository");
    run("cp", &["-r", &vendor.file(repository), node.path("/srv/repository").to_str().unwrap()]);
}

fn version(node: &Node, package: &str) -> String {
    inside(node, &format!("dpkg-query -W -f '${{Status}} ${{Version}}' {package}"))
}

/// Every path of the node with its kind, mode, owner, size and where it points to; not what package managers keep for
/// themselves, nor what is no file of a disk.
fn files(node: &Node) -> String {
    inside(
        node,
        "find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /srv \
         -o -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/cache -o -path /var/log -o -path /root \\) -prune \
         -o ! -type d -printf '%y %m %U:%G %s %p %l\\n' -o -type d -printf '%y %m %U:%G %p\\n' | LC_ALL=C sort",
    )
}

const CONFIG: &str = "/opt/acme/etc/disco/server.conf";
const EDITED: &str = "plugin.disco.server.uri = /srv/universe\n";

#[test]
fn two_brands_are_installed_upgraded_downgraded_removed_and_purged() {
    let vendor = vendor();
    let node = node("apt-node", vendor);
    let before = files(&node);
    inside(&node, &format!("{APT} update"));
    inside(&node, &format!("{APT} install acme-disco umbra-disco"));
    assert_eq!(version(&node, "acme-disco"), "install ok installed 1.4.0-1");
    assert_eq!(version(&node, "umbra-disco"), "install ok installed 1.4.0-1");
    assert_eq!(inside(&node, "dpkg --verify acme-disco umbra-disco"), "");
    for program in ["/opt/acme/sbin/acme-disco", "/usr/sbin/umbra-disco"] {
        assert!(inside(&node, &format!("{program} buildinfo")).contains("Version: 1.4.0\n"), "{program}");
    }
    // By the name of old it is the same program.
    assert_eq!(inside(&node, "readlink /opt/acme/sbin/disco-param"), "acme-disco\n");
    inside(
        &node,
        "/opt/acme/sbin/disco-param --help >/dev/null && /usr/sbin/disco-fs-mount --help >/dev/null",
    );

    node.write(CONFIG, EDITED, 0o600).unwrap();
    inside(&node, "touch /var/lib/acme-disco/state");
    serve(&node, vendor, "repository-next");
    inside(&node, &format!("{APT} update"));
    inside(&node, &format!("{APT} upgrade"));
    assert_eq!(version(&node, "acme-disco"), "install ok installed 1.4.1-1");
    assert_eq!(version(&node, "umbra-disco"), "install ok installed 1.4.1-1");
    assert_eq!(
        inside(&node, &format!("cat {CONFIG}")),
        EDITED,
        "an edited configuration survives an upgrade"
    );
    let default = inside(&node, "cat /etc/umbra-disco/server.conf");
    assert!(default.contains("universe-1-4-1"), "one that nobody edited is the new version's: {default}");

    inside(&node, &format!("{APT} --allow-downgrades install acme-disco=1.4.0-1"));
    assert_eq!(version(&node, "acme-disco"), "install ok installed 1.4.0-1");
    assert!(inside(&node, "/opt/acme/sbin/acme-disco buildinfo").contains("Version: 1.4.0\n"));
    assert_eq!(inside(&node, &format!("cat {CONFIG}")), EDITED, "nor does a downgrade change it");
    inside(&node, "test -e /var/lib/acme-disco/state");

    inside(&node, &format!("{APT} remove acme-disco"));
    assert_eq!(inside(&node, &format!("cat {CONFIG}")), EDITED, "removal keeps the configuration");
    inside(&node, "test ! -e /opt/acme/sbin/acme-disco && test ! -L /opt/acme/sbin/disco-param");
    assert_eq!(inside(&node, "dpkg --verify umbra-disco"), "", "the other brand misses nothing");

    inside(&node, &format!("{APT} purge acme-disco umbra-disco"));
    let after = files(&node);
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let left: Vec<_> = new.iter().filter(|line| !old.contains(line)).collect();
    // No package of Debian owns this folder, so dpkg takes it away with the last package that has something in it.
    let opt = "d 755 0:0 /opt";
    let lost: Vec<_> = old.iter().filter(|line| !new.contains(line) && **line != opt).collect();
    assert!(
        left.is_empty() && lost.is_empty(),
        "after the purge there is {left:?}, and there is no {lost:?}"
    );
}

#[test]
fn apt_refuses_lists_that_were_changed_or_that_another_key_signed() {
    let vendor = vendor();
    let node = node("apt-refuses", vendor);
    let refused = |node: &Node| {
        // Without what an earlier update fetched.
        let line = format!("rm -rf /var/lib/apt/lists/*; {APT} update && {APT} install acme-disco");
        let output = node.shell(&line).unwrap();
        assert!(!output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
    };
    let list = format!("/srv/repository/apt/dists/stable/main/binary-{}/Packages", debian_machine());
    inside(&node, &format!("sed -i 's/^Version: 1.4.0-1$/Version: 1.4.9-1/' {list}"));
    let said = refused(&node);
    assert!(said.contains("Hash Sum mismatch") || said.contains("unexpected size"), "{said}");

    serve(&node, vendor, "repository");
    inside(&node, "sed -i 's/^Suite: stable$/Suite: other/' /srv/repository/apt/dists/stable/InRelease");
    let said = refused(&node);
    assert!(said.contains("BADSIG") || said.contains("not signed"), "{said}");

    serve(&node, vendor, "repository");
    let other = tempfile::tempdir().unwrap();
    let stranger = other.path().join("key.asc");
    testbed::openpgp::public_key(&stranger).unwrap();
    node.copy_in(&stranger, "/etc/apt/keyrings/acme.asc").unwrap();
    let said = refused(&node);
    assert!(said.contains("NO_PUBKEY"), "{said}");
}

fn debian_machine() -> String {
    let output = Command::new("dpkg").arg("--print-architecture").output().unwrap();
    succeeded("dpkg --print-architecture", &output).trim().to_owned()
}
