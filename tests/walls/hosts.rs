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
fn a_chroot_is_refused_by_name() {
    let lab = Lab::with(Universe::empty().unwrap());
    lab.shell("mkdir /jail; cp -a /bin /etc /lib* /opt /usr /var /jail/ 2> /dev/null; mkdir -p /jail/proc /jail/dev /jail/tmp; mount -t proc proc /jail/proc; mount --bind /dev /jail/dev");
    let said = lab.shell("chroot /jail /opt/acme/sbin/acme-disco dance --noop 2>&1; echo code $?");
    assert!(
        said.contains("/ is no mount point: the client runs in a chroot") && said.ends_with("code 1\n"),
        "{said}"
    );
}
