//! What a script does in a noop does not reach the node: each test looks at the node.

use testbed::lab::Lab;
use testbed::universe::Universe;

/// Dances one script in noop; the node's files must be the same afterwards.
fn noop(script: &str, prepare: &str) -> (Lab, testbed::lab::Ended) {
    let universe = Universe::empty().unwrap();
    universe.add("probe-1/scripts/1.sh", script).unwrap();
    let lab = Lab::with(universe);
    lab.shell(prepare);
    let before = lab.files();
    let ended = lab.acme(&["dance", "--noop"]);
    lab.assert_unchanged(&before);
    (lab, ended)
}

#[test]
fn every_writable_file_system_is_covered() {
    let (lab, ended) = noop(
        "echo x > /srv/data/x; rm /srv/data/old; echo y > '/srv/odd, mount:1/y'; echo z > /tmp/z",
        "mkdir -p /srv/data '/srv/odd, mount:1'; mount -t tmpfs data /srv/data; echo old > /srv/data/old
         mount -t tmpfs odd '/srv/odd, mount:1'; mount -t tmpfs tmp /tmp",
    );
    assert_eq!(ended.code, 0, "{ended:#?}");
    assert_eq!(
        lab.shell("ls /srv/data '/srv/odd, mount:1' /tmp"),
        "/srv/data:\nold\n\n/srv/odd, mount:1:\n\n/tmp:\n"
    );
    for line in [
        "/srv/data/x : Created",
        "/srv/data/old : Deleted",
        "/srv/odd, mount:1/y : Created",
        "/tmp/z : Created",
    ] {
        assert!(ended.stdout.contains(line), "{line}: {}", ended.stdout);
    }
    let live = lab.acme(&["dance"]);
    assert_eq!(live.code, 0, "{live:#?}");
    assert_eq!(
        lab.shell("ls /srv/data '/srv/odd, mount:1' /tmp"),
        "/srv/data:\nx\n\n/srv/odd, mount:1:\ny\n\n/tmp:\nz\n"
    );
}

#[test]
fn a_read_only_mount_stays_read_only() {
    let (_, ended) = noop("echo x > /srv/x", "mount -t tmpfs srv /srv; mount -o remount,ro /srv");
    assert_eq!(ended.code, 1, "{ended:#?}");
    assert!(ended.stdout.contains("Read-only file system"), "{}", ended.stdout);
}

#[test]
fn the_running_system_is_out_of_reach() {
    // The script's own attempts fail or land in the sandbox; whatever it says, the node is looked at afterwards.
    let script = "#!/bin/bash
exec 2>&1
echo \"processes: $(ls -d /proc/[0-9]* | wc -l)\"
builtin kill -9 $(cat /run/victim.pid); builtin kill -9 -1
/bin/bash -c 'hostname changed'
echo 1 > /proc/sys/net/ipv4/ip_forward; echo changed > /proc/sys/kernel/hostname
echo b > /proc/sysrq-trigger
mknod /tmp/disk b $(stat -c '%Hd %Ld' /proc/1/root/etc/passwd) && head -c1 /tmp/disk
chmod 777 /dev/null
echo x > /dev/kmsg
echo x > /proc/1/root/etc/escaped
chroot /proc/1/cwd sh -c 'echo x > /etc/escaped'
unshare -m true; unshare -U true
date -s '2001-01-01'
(sleep 1000 &) >/dev/null 2>&1
exit 0
";
    let (lab, ended) = noop(
        script,
        "echo 0 > /proc/sys/net/ipv4/ip_forward; setsid sleep 777 > /dev/null 2>&1 & echo $! > /run/victim.pid; stat -c %a /dev/null > /run/null",
    );
    assert_eq!(ended.code, 0, "{ended:#?}");
    assert!(ended.stdout.contains("processes: "), "{ended:#?}");
    assert_eq!(lab.shell("kill -0 $(cat /run/victim.pid) && echo alive"), "alive\n");
    assert_eq!(lab.shell("hostname; cat /proc/sys/net/ipv4/ip_forward"), "localhost.localdomain\n0\n");
    assert_eq!(lab.shell("cat /run/null"), lab.shell("stat -c %a /dev/null"));
    assert_eq!(lab.shell("ls /etc/escaped 2>/dev/null"), "");
    assert!(!lab.shell("date +%Y").starts_with("2001"));
}

#[test]
fn no_descriptor_of_the_caller_is_passed_on() {
    let universe = Universe::empty().unwrap();
    universe.add("probe-1/scripts/1.sh", "ls -l /proc/self/fd | cat; echo out >&9; echo after\n").unwrap();
    let lab = Lab::with(universe);
    lab.shell("echo untouched > /etc/held");
    let noop = lab.shell("/opt/acme/sbin/acme-disco dance --noop 7</etc/shadow 9>>/etc/held 2>&1");
    assert!(noop.contains("after"), "{noop}");
    assert!(!noop.contains("/etc/shadow") && !noop.contains("/etc/held"), "{noop}");
    assert_eq!(lab.shell("cat /etc/held"), "untouched\n");
}

#[test]
fn processes_left_behind_end_with_their_script() {
    let (lab, ended) = noop("setsid sleep 4711 >/dev/null 2>&1 & echo left", "");
    assert_eq!(ended.code, 0, "{ended:#?}");
    assert_eq!(lab.shell("cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c '[s]leep 4711'"), "0\n");
}

#[test]
fn a_held_back_command_is_reported_from_wherever_it_is_called() {
    let script = "#!/bin/bash
/usr/sbin/service one stop
env service two stop
x=$(service three stop); echo \"captured [$x]\"
service four stop | cat
service five stop > /dev/null
perl -e 'system(\"service\", \"six\", \"stop\")' || true
sh -c 'exec -a innocent service seven stop' || true
";
    let (_, ended) = noop(script, "");
    assert_eq!(ended.code, 0, "{ended:#?}");
    let told: Vec<_> =
        ended.stdout.lines().filter(|line| line.starts_with("warning: Would execute : ")).collect();
    for name in ["one", "two", "three", "four", "five", "six"] {
        let line = format!("warning: Would execute : service {name} stop");
        assert_eq!(told.iter().filter(|told| **told == line).count(), 1, "{name}: {}", ended.stdout);
    }
    assert!(ended.stdout.contains("captured []"), "a warning must not become a value: {}", ended.stdout);
}

#[test]
fn a_script_cannot_take_the_shadows_away() {
    let (_, ended) = noop(
        "rm -rf /var/disco/run; echo > /var/disco/run/shadow; umount /var/disco/run; service one stop\n",
        "",
    );
    assert_eq!(ended.code, 0, "{ended:#?}");
    for line in [
        "warning: Would execute : umount /var/disco/run\n",
        "warning: Would execute : service one stop\n",
        "2 commands held back",
    ] {
        assert!(ended.stdout.contains(line), "{line}: {}", ended.stdout);
    }
}

#[test]
fn a_template_that_calls_a_held_back_command_gets_no_warning_into_its_file() {
    let universe = Universe::empty().unwrap();
    universe.add("t-1/templates/etc/t.conf", "service x stop\necho line\n").unwrap();
    let lab = Lab::with(universe);
    let noop = lab.acme(&["dance", "--noop"]);
    assert!(noop.stdout.contains("0a1\n> line\n"), "{}", noop.stdout);
    assert!(noop.stdout.contains("warning: Would execute : service x stop\n"), "{}", noop.stdout);
}

#[test]
fn what_others_may_not_read_is_not_shown() {
    let (_, ended) = noop("echo 'root:SECRETHASH:1::::::' > /etc/shadow", "");
    assert!(ended.stdout.contains("/etc/shadow : Modified : md5=["), "{}", ended.stdout);
    assert!(!ended.stdout.contains("SECRETHASH"), "{}", ended.stdout);
}

#[test]
fn a_root_that_is_an_overlay_itself_can_be_danced_on() {
    let lab = Lab::with(Universe::example().unwrap());
    assert_eq!(lab.shell("stat -f -c %T /"), "overlayfs\n");
    assert_eq!(lab.acme(&["dance", "--noop"]).code, 0);
    assert_eq!(lab.shell("ls -d /etc/othermodule 2>/dev/null"), "");
    assert_eq!(lab.acme(&["dance"]).code, 0);
    assert!(lab.shell("cat /etc/othermodule/stuff.cfg").ends_with("KEY_VALUE=LOLTHISKEYMEANSNOTHING\n"));
}

#[test]
fn a_file_far_longer_than_the_disk_costs_what_is_in_it() {
    let universe = Universe::empty().unwrap();
    universe.add("hollow-1/scripts/1.sh", "truncate -s 3T /srv/hollow; echo end >> /srv/hollow\n").unwrap();
    let lab = Lab::with(universe);
    for mode in [&["dance", "--noop"][..], &["dance"]] {
        let run = lab.acme(mode);
        assert_eq!(run.code, 0, "{run:#?}");
        assert!(run.stdout.contains("/srv/hollow : Created : type=[regular file]"), "{run:#?}");
        assert!(run.stdout.contains(" md5=[~"), "{run:#?}");
    }
    assert_eq!(
        lab.shell("stat -c %s /srv/hollow; tail -c 4 /srv/hollow; du -k /srv/hollow"),
        "3298534883332\nend\n4\t/srv/hollow\n"
    );
    let again = lab.acme(&["dance", "--noop", "--detailed-exitcodes"]);
    assert_eq!(again.code, 0, "{again:#?}");
}

#[test]
fn a_mark_of_a_user_s_overlay_is_an_attribute_like_others() {
    let universe = Universe::empty().unwrap();
    let mark = "perl -e '$n = \"user.overlay.opaque\"; $p = $ARGV[0]; $v = \"y\"; exit(syscall(188, $p, $n, $v, 1, 0) ? 1 : 0)'";
    universe.add("marks/scripts/1.sh", &format!("{mark} /var && {mark} /srv\n")).unwrap();
    let lab = Lab::with(universe);
    for mode in [&["dance", "--noop"][..], &["dance"]] {
        let run = lab.acme(mode);
        assert_eq!(run.code, 0, "{run:#?}");
        let changes: Vec<&str> = run.stdout.lines().filter(|line| line.contains(" file: /")).collect();
        let of =
            |path| format!("info: File: file: {path} : Modified : attributes=[? => user.overlay.opaque=79]");
        assert_eq!(changes, [of("/srv"), of("/var")], "{run:#?}");
    }
}

/// A live script has the host's processes around it, so nothing but the client ends those that it left.
#[test]
fn what_a_live_script_started_ends_with_a_client_that_is_killed() {
    let universe = Universe::empty().unwrap();
    let script = "#!/bin/bash
trap '' TERM HUP
(trap '' TERM HUP; setsid bash -c 'while :; do sleep 0.07531; done') &
grep SigBlk /proc/self/status > /run/blocked
touch /run/started; sleep 7531
";
    universe.add("m-1/scripts/1.sh", script).unwrap();
    let lab = Lab::with(universe);
    for signal in ["TERM", "HUP", "INT", "QUIT", "KILL"] {
        // A shell has its background ignore some of them, and nohup another one.
        let client = lab.shell(&format!(
            "rm -f /run/started; perl -e '$SIG{{$_}} = \"DEFAULT\" for qw(HUP INT QUIT TERM); exec @ARGV' \
                 /opt/acme/sbin/acme-disco dance > /run/said 2>&1 & client=$!
             for i in $(seq 1000); do [ -e /run/started ] && break; sleep 0.02; done; kill -{signal} $client
             wait $client; echo \"code $?\"
             for i in $(seq 500); do grep -lzE '^753[1]$|0.0753[1]' /proc/[0-9]*/cmdline > /run/left 2>/dev/null || break; sleep 0.02; done
             cat /run/left; ls /run/started"
        ));
        assert!(client.ends_with("/run/started\n") && !client.contains("/proc/"), "{signal}: {client}");
        assert!(!client.contains("code 0"), "{signal}: {client}");
        assert_eq!(lab.shell("cat /run/blocked"), "SigBlk:\t0000000000000000\n");
    }
}
