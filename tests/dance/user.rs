//! A noop without the rights of root: the same report where only files are changed, and never a change of the host.

use testbed::lab::{CONFIGURATION, Ended, Lab, USER};
use testbed::universe::Universe;

fn acme(lab: &Lab, arguments: &[&str]) -> Ended {
    Ended::from(lab.as_user("/opt/acme/sbin/acme-disco").args(arguments).output().unwrap())
}

/// What the client itself keeps of a user's runs, and what making the user changed.
fn files(lab: &Lab) -> String {
    let all = lab.files();
    let state = format!("/home/{USER}");
    all.lines().filter(|line| !line.starts_with(&state)).map(|line| format!("{line}\n")).collect()
}

/// Everything that files, templates and scripts do to files.
fn universe() -> Universe {
    let universe = Universe::empty().unwrap();
    let script = "sed -i s/Debian/Ours/ /etc/issue\nrm /etc/debian_version\nln -s issue /etc/link\nmkdir -m 700 /etc/made\n\
                  echo new > /etc/made/new\nchmod 600 /etc/hosts\nmv /etc/issue.net /etc/made/moved\n\
                  echo more >> /etc/placed/file\nrm -r /etc/skel; mkdir /etc/skel; echo other > /etc/skel/other\n\
                  touch -d 2001-01-01 /etc/profile\n\
                  mkdir -p /etc/closed/below; echo in > /etc/closed/below/file; chmod 000 /etc/closed/below /etc/closed\n\
                  chmod 0600 /etc/init.d\n";
    // A list of access as setfacl writes it (d:u::rwx,d:g::r-x,d:o::rwx), and a capability as setcap does.
    let attributes = r#"perl -e '
        mkdir "/etc/listed"; open F, ">/etc/listed/program"; print F 1; close F;
        ($p, $n, $v) = ("/etc/listed", "system.posix_acl_default", pack "VvvVvvVvvV", 2, 1, 7, ~0, 4, 5, ~0, 32, 7, ~0);
        syscall(188, $p, $n, $v, length $v, 0) == 0 or die "no list: $!";
        ($p, $n, $v) = ("/etc/listed/program", "security.capability", pack "V5", 0x2000001, 0x2000, 0, 0, 0);
        syscall(188, $p, $n, $v, length $v, 0) == 0 or die "no capability: $!"'"#;
    for (path, content) in [
        ("a-1/files/etc/placed/file", "placed\n"),
        ("a-1/files/etc/motd", "hello\n"),
        ("a-1/files/srv/deep/er/file", "deep\n"),
        ("a-1/files/usr/share/there/file", "placed\n"),
        ("a-1/files/lib/behind/a/link", "placed\n"),
        ("b-1/templates/lib/behind/output", "echo made\n"),
        ("b-1/requires", "after a-1\n"),
        ("b-1/templates/opt/made.conf", "cat /etc/placed/file\n"),
        ("b-1/templates/etc/login.defs", "echo nothing\n"),
        ("b-1/scripts/1.sh", script),
        ("b-1/scripts/3.sh", attributes),
        ("b-1/scripts/2.sh", "service web restart\nid -u\ncat /proc/self/uid_map > /dev/null\n"),
    ] {
        universe.add(path, content).unwrap();
    }
    universe
}

#[test]
fn a_noop_of_a_user_reports_what_that_of_root_reports_and_leaves_nothing_behind() {
    let lab = Lab::on_disk(universe());
    // File systems of their own, one of them below another.
    lab.shell("for at in /boot /srv /srv/deep; do mkdir -p $at; mount -t tmpfs -o mode=0755 x $at; done");
    lab.shell("mkdir -p /usr/share/there; echo old > /usr/share/there/file; echo old > /srv/deep/old");
    assert!(lab.as_user("true").status().unwrap().success());
    let before = files(&lab);
    let by_user = acme(&lab, &["dance", "--noop"]);
    let by_root = lab.acme(&["dance", "--noop"]);
    assert_eq!((by_user.code, by_root.code), (0, 0), "{by_user:#?}\n{by_root:#?}");
    let note = "warning: without root, scripts can change what lies in /etc";
    let said: Vec<_> =
        by_user.normal().lines().filter(|line| !line.starts_with(note)).map(str::to_owned).collect();
    assert_eq!(said.len() + 1, by_user.normal().lines().count(), "{by_user:#?}");
    assert_eq!(said.join("\n"), by_root.normal().trim_end());
    for line in [
        "/srv/deep/er/file : Created",
        "/etc/skel/other : Created",
        "/usr/share/there/file : Modified",
        "/etc/closed/below/file : Created",
        "/etc/init.d : Modified",
        "/etc/listed : Created",
        "security.capability=",
        "system.posix_acl_default=",
    ] {
        assert!(by_root.stdout.contains(line), "{line:?} is not in {}", by_root.stdout);
    }
    let (old, new) = (before, files(&lab));
    let differing: Vec<_> = old
        .lines()
        .filter(|line| !new.contains(line))
        .chain(new.lines().filter(|line| !old.contains(line)))
        .collect();
    assert!(differing.is_empty(), "{differing:#?}");
    let state = format!("/home/{USER}/.local/state/acme-disco");
    assert_eq!(lab.shell(&format!("ls -A {state}/scratch; ls {state}/history")), "1.json\n");
    let report = acme(&lab, &["report"]);
    assert!(report.stdout.contains("noop: 2 modules, "), "{report:#?}");
}

#[test]
fn what_only_root_could_change_fails_and_is_said() {
    let universe = Universe::empty().unwrap();
    universe.add("a-1/scripts/1.sh", "echo x > /usr/lib/new-file\n").unwrap();
    universe.add("b-1/scripts/1.sh", "rm -f /etc/shadow; echo mine > /home/tester/mine\n").unwrap();
    let lab = Lab::on_disk(universe);
    let noop = acme(&lab, &["dance", "--noop"]);
    assert_eq!(noop.code, 1, "{noop:#?}");
    assert!(noop.stdout.contains("script a-1/scripts/1.sh failed"), "{noop:#?}");
    assert!(noop.stdout.contains("/usr/lib/new-file: Permission denied"), "{noop:#?}");
    assert!(noop.stdout.contains("/etc/shadow : Deleted"), "{noop:#?}");
    assert!(noop.stdout.contains("/home/tester/mine : Created"), "{noop:#?}");
    assert_eq!(lab.shell("ls /home/tester; stat -c %s /etc/shadow | grep -c ."), "1\n");
}

#[test]
fn only_a_noop_works_without_root() {
    let lab = Lab::on_disk(Universe::empty().unwrap());
    for arguments in [&["dance"][..], &["try", "--apply", "--", "true"], &["fs", "mount", "--noop"]] {
        acme(&lab, arguments).failed_with(&["this needs root", "hint: run it again as root"]);
    }
    let tried = acme(&lab, &["try", "--", "sh", "-c", "echo x > /etc/new; rm /etc/motd"]);
    assert_eq!(tried.code, 0, "{tried:#?}");
    assert!(
        tried.stderr.contains("/etc/new : Created") && tried.stderr.contains("/etc/motd : Deleted"),
        "{tried:#?}"
    );
    assert_eq!(lab.shell("ls /etc/new /etc/motd 2> /dev/null"), "/etc/motd\n");
    let doctor = acme(&lab, &["doctor"]);
    assert!(doctor.stdout.contains("warning: user: not root: "), "{doctor:#?}");
    assert!(doctor.stdout.contains("ok:      sandbox: works"), "{doctor:#?}");
    assert!(doctor.stdout.lines().last().unwrap().ends_with(" 1 warnings, 0 failed"), "{doctor:#?}");
}

#[test]
fn a_kernel_that_gives_users_no_namespace_is_named() {
    let lab = Lab::on_disk(Universe::empty().unwrap());
    // The limit of the namespace in which the user is root already: nobody below may make one.
    let line = "echo 0 > /proc/sys/user/max_user_namespaces; exec /opt/acme/sbin/acme-disco dance --noop";
    let ended = lab
        .as_user("unshare")
        .args(["--user", "--map-user=1000", "--keep-caps", "sh", "-c", line])
        .output()
        .unwrap();
    Ended::from(ended)
        .failed_with(&["a noop without root needs a user namespace", "sysctls user.max_user_namespaces"]);
}

#[test]
fn a_user_s_noop_goes_without_a_configuration_that_is_for_root_alone() {
    let universe = Universe::empty().unwrap();
    universe.add("m-1/scripts/1.sh", "echo x > /etc/motd\n").unwrap();
    let lab = Lab::on_disk(universe);
    lab.shell(&format!("echo '{SECRET}' >> {CONFIGURATION}; chmod 600 {CONFIGURATION}"));
    let noop = acme(&lab, &["dance", "--noop"]);
    assert_eq!(noop.code, 0, "{noop:#?}");
    assert!(noop.stderr.contains("server.conf is for root alone"), "{noop:#?}");
    assert!(noop.stdout.contains("/etc/motd : Modified"), "{noop:#?}");
    let doctor = acme(&lab, &["doctor"]);
    assert!(doctor.code == 0 && !doctor.stdout.contains("SECRET"), "{doctor:#?}");
}

/// A line that a user must not learn.
const SECRET: &str = "plugin.disco.server.uri = SECRET";
