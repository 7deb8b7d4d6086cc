//! A host as distributions set it up, with `/home`, `/boot` and `/var` on file systems of their own: what tools make of it
//! in a run is what they make of it without one.

use testbed::lab::{Lab, STATE};
use testbed::universe::Universe;

use crate::make_image;
use crate::tree::assert_same;

/// What administrators do: accounts, a package that comes, one that is upgraded and one that goes, files that move.
const SCRIPT: &str = "#!/bin/bash -e
groupadd --gid 1700 crew
useradd --create-home --uid 1700 --gid crew --shell /bin/bash carol
userdel --remove dave
dpkg --install /root/packages/new.deb /root/packages/changed-2.deb
dpkg --purge old
mv /home/moved /var/moved
mv /var/lib/apart /boot/apart
cd /home/links; echo more >> one; ln two again; rm three; mv four /home/links-too/
cd /var/lib/tree; rm -r below; mv kept/inside below; chmod 2770 kept; ln -sfn below current
";

/// The packages, and the host as it is before.
const BEFORE: &str = r#"
package() { # NAME VERSION
    mkdir -p $1/DEBIAN $1/etc $1/usr/bin $1/boot $1/var/lib/$1
    printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: x <x@x.example>\nDescription: x\n' $1 $2 > $1/DEBIAN/control
    echo /etc/$1.conf > $1/DEBIAN/conffiles
    echo version $2 | tee $1/etc/$1.conf $1/usr/bin/$1 $1/boot/$1.img > $1/var/lib/$1/data
    ln -f $1/usr/bin/$1 $1/usr/bin/$1-too
    ln -f $1/boot/$1.img $1/boot/$1.old
    printf '#!/bin/sh\nset -e\ncp /var/lib/%s/data /var/lib/%s/of-$1\nln -f /var/lib/%s/data /var/lib/%s/linked\n' $1 $1 $1 $1 > $1/DEBIAN/postinst
    printf '#!/bin/sh\nrm -rf /var/lib/%s/linked /var/lib/%s/of-*\n' $1 $1 > $1/DEBIAN/prerm
    chmod 755 $1/DEBIAN/p*
    dpkg-deb --root-owner-group --build $1 $3 > /dev/null
}
set -e
cd /root/packages
package new 1 new.deb; package old 1 old.deb; package changed 1 changed-1.deb
rm changed/usr/bin/changed-too
echo note > changed/usr/bin/changed-also
package changed 2 changed-2.deb
dpkg --install old.deb changed-1.deb > /dev/null
echo ours >> /etc/old.conf
useradd --create-home --uid 1701 dave
mkdir -p /home/moved/deep /home/links /home/links-too /var/lib/apart /var/lib/tree/below /var/lib/tree/kept/inside
echo x > /home/moved/deep/x; echo y > /var/lib/apart/y; ln /var/lib/apart/y /var/lib/apart/z
cd /home/links; echo 1 > one; ln one one-too; echo 2 > two; echo 3 > three; ln three three-too; echo 4 > four; ln four four-too
cd /var/lib/tree; echo a > below/a; echo b > kept/inside/b; ln -s kept current
"#;

fn host() -> Lab {
    let universe = Universe::empty().unwrap();
    universe.add("site-1/scripts/1.sh", SCRIPT).unwrap();
    let lab = Lab::on_disk(universe);
    lab.shell("mkdir -p /root/images /root/packages");
    for place in ["home", "boot", "var"] {
        make_image(&lab.node.path(&format!("/root/images/{place}")), "ext4", 1 << 30);
        let moved = lab.shell(&format!(
            "set -e; mount -o loop /root/images/{place} /mnt; cp -a /{place}/. /mnt; umount /mnt
             mount -o loop /root/images/{place} /{place}; echo moved"
        ));
        assert_eq!(moved, "moved\n", "{place}");
    }
    lab.write_script("before", &format!("#!/bin/bash\n{BEFORE}"));
    let said = lab.node.shell("/opt/before").unwrap();
    assert!(said.status.success(), "{said:?}");
    lab
}

/// Everything but times, the client's own state, and logs and caches that tell times.
fn look(lab: &Lab) -> Vec<String> {
    let look = lab.shell(&format!(
        r#"find / \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /root/images -o -path {STATE} \
              -o -path /var/log -o -path /var/cache -o -name '.acme-disco-undo' -o -name lost+found \) -prune \
              -o -type d -printf '%p %y %#m %U:%G\n' -o -printf '%p %y %#m %U:%G %n %l\n' | sort
         find /etc /home /boot /var/lib /var/moved /var/backups /usr/bin -path {STATE} -prune -o \
              -o -type f -print 2> /dev/null | sort | xargs -d '\n' md5sum"#
    ));
    look.lines().map(str::to_owned).collect()
}

#[test]
fn a_host_with_home_boot_and_var_on_disks_of_their_own_is_managed_as_by_hand() {
    let (by_hand, danced) = (host(), host());
    let before = look(&danced);
    assert_same(&look(&by_hand), &before);
    by_hand.write_script("script", SCRIPT);
    let said = by_hand.node.shell("/opt/script; rm /opt/script").unwrap();
    assert!(said.status.success(), "{said:?}");
    let expected = look(&by_hand);

    let noop = danced.acme(&["dance", "--noop", "--no-diff"]);
    assert_eq!(noop.code, 0, "{noop:#?}");
    assert_same(&look(&danced), &before);
    let live = danced.acme(&["dance", "--no-diff"]);
    assert_eq!(live.code, 0, "{live:#?}");
    assert_same(&look(&danced), &expected);
    // A log that tells the time has other contents each time.
    let told = |text: &str| -> Vec<String> {
        let changes = text.lines().filter(|line| line.contains("File: file: "));
        changes.map(|line| line.split(" md5=[").next().unwrap().to_owned()).collect()
    };
    assert_eq!(told(&noop.stdout), told(&live.stdout));
    let back = danced.acme(&["rollback", "--no-diff"]);
    assert_eq!(back.code, 0, "{back:#?}");
    assert_same(&look(&danced), &before);
}
