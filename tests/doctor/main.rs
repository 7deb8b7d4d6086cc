//! `doctor` on throw-away nodes: one that is well, and ones that were broken on purpose.

use testbed::lab::{CONFIGURATION, Lab, STATE};
use testbed::universe::Universe;

/// The lines of a verdict about something.
fn lines<'a>(text: &'a str, verdict: &str, about: &str) -> Vec<&'a str> {
    let found = |line: &&str| {
        line.strip_prefix(&format!("{verdict}:"))
            .is_some_and(|rest| rest.trim_start().starts_with(&format!("{about}: ")))
    };
    text.lines().filter(found).collect()
}

#[test]
fn a_healthy_node_is_told_so_and_stays_as_it_is() {
    let lab = Lab::on_disk(Universe::example().unwrap());
    let before = lab.files();
    let ended = lab.acme(&["doctor"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:#?}");
    lab.assert_unchanged(&before);
    for about in [
        "user",
        "overlayfs",
        "namespaces",
        "user namespaces",
        "seccomp",
        "capabilities",
        "control groups",
        "mount",
        "state directory",
        "layers",
        "space",
        "bash",
        "rsync",
        "universe",
        "commands.d",
        "noise.d",
        "clock",
        "sandbox",
    ] {
        assert!(!lines(&ended.stdout, "ok", about).is_empty(), "{about} is not well in\n{}", ended.stdout);
    }
    assert!(ended.stdout.contains("works: put together in "), "{}", ended.stdout);
    assert!(ended.stdout.contains("/: overlaid"), "{}", ended.stdout);
    assert!(ended.stdout.ends_with(" ok, 0 warnings, 0 failed\n"), "{}", ended.stdout);
    assert_eq!(lab.shell(&format!("ls -A {STATE}/scratch")), "");

    let json = lab.acme(&["doctor", "--json"]);
    let parsed: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(parsed["schema"], "disco.doctor.v1");
    assert!(parsed["findings"].as_array().unwrap().iter().all(|finding| finding["verdict"] == "ok"));
}

#[test]
fn what_is_broken_is_named_with_a_cure_and_fails() {
    let lab = Lab::with(Universe::example().unwrap());
    for (breaking, verdict, about, words, mending) in [
        (
            "mkdir -p /opt/acme/etc/disco/commands.d; echo nonsense > /opt/acme/etc/disco/commands.d/a.conf",
            "failed",
            "commands.d",
            "/opt/acme/etc/disco/commands.d/a.conf:1",
            "rm /opt/acme/etc/disco/commands.d/a.conf",
        ),
        (
            "mv /usr/bin/rsync /usr/bin/away",
            "failed",
            "rsync",
            "install rsync",
            "mv /usr/bin/away /usr/bin/rsync",
        ),
        (
            "chmod 777 /var/lib/acme-disco",
            "failed",
            "state directory",
            "chmod go-w",
            "chmod 700 /var/lib/acme-disco",
        ),
        (
            "mount -t tmpfs -o size=4m small /var/lib/acme-disco",
            "failed",
            "space",
            "make room",
            "umount /var/lib/acme-disco",
        ),
        (
            "mv /opt/acme/etc/disco/server.conf /root; mkdir /opt/acme/etc/disco/server.conf",
            "failed",
            "settings",
            "server.conf",
            "rmdir /opt/acme/etc/disco/server.conf; mv /root/server.conf /opt/acme/etc/disco",
        ),
        (
            // The lock goes with the process that holds it: the shell becomes the sleeper.
            "sh -c 'exec 9>> /var/lib/acme-disco/lock; flock 9; echo $$ > /run/holder; exec sleep 600' > /dev/null 2>&1 &
             while flock -n /var/lib/acme-disco/lock true; do :; done; until [ -s /run/holder ]; do :; done",
            "warning",
            "sandbox",
            "another dance is running",
"kill $(cat /run/holder)",
        ),
    ] {
        lab.shell(breaking);
        let ended = lab.acme(&["doctor"]);
        let found = lines(&ended.stdout, verdict, about);
        assert!(
            found.iter().any(|line| line.contains(words) && line.contains(" -> ")),
            "{breaking}: {ended:#?}"
        );
        assert_eq!(ended.code, i32::from(verdict == "failed"), "{breaking}: {ended:#?}");
        lab.shell(mending);
    }
    let plain =
        "setpriv --reuid 1000 --regid 1000 --clear-groups /opt/acme/sbin/acme-disco doctor; echo code $?";
    let said = lab.shell(plain);
    // A user without a home keeps the state where nothing of his can be.
    assert!(!lines(&said, "warning", "user").is_empty() && said.ends_with("code 1\n"), "{said}");
    assert!(!lines(&said, "ok", "user namespaces").is_empty(), "{said}");
}

#[test]
fn a_universe_that_does_not_answer_is_found_out() {
    let lab = Lab::alone();
    lab.node.write(CONFIGURATION, "plugin.disco.server.uri = rsync://127.0.0.1:9\n", 0o644).unwrap();
    let ended = lab.acme(&["doctor"]);
    assert_eq!(ended.code, 1);
    let found = lines(&ended.stdout, "failed", "universe");
    assert!(found.len() == 1 && found[0].contains("server.conf"), "{ended:#?}");
}
