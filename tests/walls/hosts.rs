//! Hosts whose files lie on many mounts: every change is seen, and reaches the host only in a live run.

use testbed::lab::Lab;
use testbed::universe::Universe;

#[test]
fn home_boot_and_var_on_file_systems_of_their_own_are_covered() {
    let universe = Universe::empty().unwrap();
    let script = "for at in /home /boot /var/log /srv/stacked; do echo new > $at/new; echo more >> $at/old; rm $at/gone; done\n";
    universe.add("hosts-1/scripts/1.sh", script).unwrap();
    let lab = Lab::with(universe);
    lab.shell(
        "mkdir /srv/stacked; mount -t tmpfs below /srv/stacked; mount -t tmpfs -o nosuid,noexec above /srv/stacked
         mount -t tmpfs -o size=4m,noexec home /home; mount -t tmpfs -o size=2m boot /boot; mount -t tmpfs log /var/log
         for at in /home /boot /var/log /srv/stacked; do echo old > $at/old; echo x > $at/gone; done",
    );
    let looked = "cd /; for at in home boot var/log srv/stacked; do echo $at $(ls $at) $(cat $at/old); done";
    let before = lab.shell(looked);
    let noop = lab.acme(&["dance", "--noop"]);
    assert_eq!(noop.code, 0, "{noop:#?}");
    assert_eq!(lab.shell(looked), before);
    for at in ["/home", "/boot", "/var/log", "/srv/stacked"] {
        for line in ["new : Created", "old : Modified", "gone : Deleted"] {
            assert!(noop.stdout.contains(&format!("{at}/{line}")), "{at}/{line}: {}", noop.stdout);
        }
    }
    let live = lab.acme(&["dance"]);
    assert_eq!(live.code, 0, "{live:#?}");
    assert_eq!(lab.shell(looked), before.replace("gone old", "new old").replace(" old\n", " old more\n"));
}

#[test]
fn a_file_that_is_mounted_by_itself_can_be_changed_in_a_noop_and_the_change_is_told() {
    let universe = Universe::empty().unwrap();
    universe.add("hosts-1/scripts/1.sh", "echo nameserver 192.0.2.1 > /etc/resolv.conf\n").unwrap();
    let lab = Lab::with(universe);
    lab.shell("echo own > /srv/own.conf; mount --bind /srv/own.conf /etc/resolv.conf");
    let noop = lab.acme(&["dance", "--noop"]);
    assert_eq!(noop.code, 0, "{noop:#?}");
    assert!(noop.stdout.contains("/etc/resolv.conf : Modified"), "{}", noop.stdout);
    assert!(noop.stdout.contains("< own\n"), "{}", noop.stdout);
    assert_eq!(lab.shell("cat /etc/resolv.conf /srv/own.conf"), "own\nown\n");
}

#[test]
fn an_overlay_over_an_overlay_is_empty_inside_and_a_root_of_that_kind_is_refused_by_name() {
    let universe = Universe::empty().unwrap();
    let script = "ls -A /srv/over; echo new > /etc/new; echo lost > /srv/over/lost || true\n";
    universe.add("hosts-1/scripts/1.sh", script).unwrap();
    let lab = Lab::with(universe);
    assert_eq!(lab.shell("stat -fc %T /"), "overlayfs\n");
    lab.shell(
        "mkdir -p /srv/over /srv/root; mount -t tmpfs layers /mnt; mkdir /mnt/1 /mnt/1w /mnt/2 /mnt/2w
         mount -t overlay one -o lowerdir=/etc,upperdir=/mnt/1,workdir=/mnt/1w /srv/over
         mount -t overlay two -o lowerdir=/,upperdir=/mnt/2,workdir=/mnt/2w /srv/root; echo own > /srv/over/own",
    );
    let note = "warning: /srv/over is an overlay over another one";
    for (arguments, outcome) in [(&["dance", "--noop"][..], "Created"), (&["dance"], "Created")] {
        let ended = lab.acme(arguments);
        assert_eq!(ended.code, 0, "{ended:#?}");
        assert!(ended.stdout.contains(note) && !ended.stdout.contains("own\n"), "{ended:#?}");
        assert!(ended.stdout.contains(&format!("/etc/new : {outcome}")), "{ended:#?}");
    }
    assert_eq!(
        lab.shell("cat /etc/new; ls /srv/over/lost /srv/over/own 2>/dev/null; true"),
        "new\n/srv/over/own\n"
    );

    let inside =
        "mount -t proc proc /srv/root/proc; mount --bind /dev /srv/root/dev; cd /srv/root; mkdir -p old
        pivot_root . old; exec chroot . /opt/acme/sbin/acme-disco dance --noop";
    let said = lab.shell(&format!("unshare --mount sh -c '{inside}' 2>&1; echo code $?"));
    assert!(said.contains("/ is an overlay over another one") && said.ends_with("code 1\n"), "{said}");
}

#[test]
fn a_chroot_is_refused_by_name() {
    let lab = Lab::with(Universe::empty().unwrap());
    lab.shell("mkdir /jail; cp -a /bin /etc /lib* /opt /usr /var /jail/ 2> /dev/null; mkdir -p /jail/proc /jail/dev /jail/tmp; mount -t proc proc /jail/proc; mount --bind /dev /jail/dev");
    let said = lab.shell("chroot /jail /opt/acme/sbin/acme-disco dance --noop 2>&1; echo code $?");
    assert!(
        said.contains("/ is no mount point: the client runs in a chroot") && said.ends_with("code 1\n"),
        "{said}"
    );
}
