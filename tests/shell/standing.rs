//! The sandbox that stands between commands, seen by several who use it, and when something in it dies.

use std::io::Write;
use std::process::Stdio;

use testbed::lab::{BINARY, Lab, STATE};
use testbed::universe::Universe;

/// Number of the sandbox's first process, as the node counts.
const FIRST: &str = "pgrep -o -f '[a]cme-disco fs mount'";

#[test]
fn several_may_work_in_it_at_a_time_and_see_the_same_files() {
    let lab = Lab::alone();
    lab.write_script("wait", "touch /srv/waiting\nuntil [ -e /srv/go ]; do sleep 0.05; done\necho went\n");
    lab.write_script("go", "until [ -e /srv/waiting ]; do sleep 0.05; done\ntouch /srv/go\n");
    let before = lab.files();
    assert_eq!(lab.acme(&["fs", "mount", "--noop"]).code, 0);
    let waiting = lab
        .node
        .command(BINARY)
        .args(["sh", "exec", "--noop", "/opt/wait"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    assert_eq!(lab.acme(&["sh", "exec", "--noop", "/opt/go"]).code, 0);
    let went = waiting.wait_with_output().unwrap();
    assert_eq!((went.stdout, went.status.code()), (b"went\n".to_vec(), Some(0)));
    let diff = lab.acme(&["fs", "diff", "--noop", "--no-diff"]).stdout;
    assert!(diff.contains("/srv/go : Created") && diff.contains("/srv/waiting : Created"), "{diff}");
    let init = lab.acme(&["fs", "init", "--noop"]).stdout;
    assert_eq!(init, "info: The noop sandbox was changed, so it is mounted afresh\n");
    assert_eq!(lab.acme(&["fs", "diff", "--noop"]).stdout, "noop: 0 created, 0 modified, 0 deleted\n");
    assert_eq!(lab.acme(&["fs", "unmount", "--noop"]).code, 0);
    lab.assert_unchanged(&before);
}

#[test]
fn a_dance_and_a_try_leave_it_alone() {
    let universe = Universe::empty().unwrap();
    universe.add("m-1/files/etc/new", "x\n").unwrap();
    let lab = Lab::with(universe);
    assert_eq!(lab.acme(&["fs", "mount", "--noop"]).code, 0);
    lab.write_script("mark", "echo kept > /srv/mark\n");
    assert_eq!(lab.acme(&["sh", "exec", "--noop", "/opt/mark"]).code, 0);
    let noop = lab.acme(&["dance", "--noop"]);
    assert_eq!(noop.code, 0, "{noop:#?}");
    assert!(!noop.stdout.contains("/srv/mark"), "{noop:#?}");
    let tried = lab.acme(&["try", "--", "ls", "/srv", &format!("{STATE}/scratch")]);
    assert_eq!(tried.stdout, format!("/srv:\n\n{STATE}/scratch:\n"), "{tried:#?}");
    assert_eq!(lab.acme(&["dance"]).code, 0);
    let diff = lab.acme(&["fs", "diff", "--noop"]).stdout;
    assert!(diff.contains("/srv/mark : Created") && diff.contains("> kept\n"), "{diff}");
    assert!(!diff.contains("/etc/new"), "the live run's file is no change of this sandbox: {diff}");
}

#[test]
fn one_that_was_killed_is_found_to_be_gone_and_can_be_put_up_again() {
    let lab = Lab::alone();
    lab.write_script("mark", "echo lost > /srv/mark\n");
    assert_eq!(lab.acme(&["fs", "mount", "--noop"]).code, 0);
    assert_eq!(lab.acme(&["sh", "exec", "--noop", "/opt/mark"]).code, 0);
    assert_eq!(
        lab.shell(&format!("kill -9 $({FIRST}); sleep 0.2; {FIRST}; ls {STATE}/scratch")),
        "standing-noop\n"
    );
    for command in [&["fs", "diff", "--noop"][..], &["sh", "exec", "--noop", "/opt/mark"]] {
        lab.acme(command).failed_with(&["no noop sandbox is mounted", "fs mount --noop"]);
    }
    assert_eq!(lab.acme(&["fs", "mount", "--noop"]).code, 0);
    assert_eq!(lab.acme(&["fs", "diff", "--noop"]).stdout, "noop: 0 created, 0 modified, 0 deleted\n");
}

#[test]
fn who_works_in_it_is_told_when_it_goes_and_a_client_that_goes_takes_its_program_along() {
    let lab = Lab::alone();
    lab.write_script("sleep", "touch /srv/asleep; sleep 1000\n");
    assert_eq!(lab.acme(&["fs", "mount", "--noop"]).code, 0);
    let start = || {
        let command = ["sh", "exec", "--noop", "/opt/sleep"];
        lab.node.command(BINARY).args(command).stderr(Stdio::piped()).spawn().unwrap()
    };
    let asleep = "until pgrep -x sleep >/dev/null; do sleep 0.05; done; echo yes";
    let awake = "while pgrep -x sleep >/dev/null; do sleep 0.05; done; echo yes";

    let mut client = start();
    assert_eq!(lab.shell(asleep), "yes\n");
    lab.shell("pkill -9 -f 'acme-disco [s]h exec'");
    client.wait().unwrap();
    assert_eq!(lab.shell(awake), "yes\n");

    let client = start();
    assert_eq!(lab.shell(asleep), "yes\n");
    assert_eq!(lab.acme(&["fs", "unmount", "--noop"]).code, 0);
    let ended = client.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.contains("the sandbox ended by itself"), "{said}");
}

#[test]
fn the_live_one_reaches_the_running_system_and_is_never_merged() {
    let lab = Lab::alone();
    lab.shell("service postgresql start");
    lab.write_script("live", "echo x > /etc/live; service postgresql stop; ls /run/postgresql.pid\n");
    let before = lab.shell("ls -la --full-time /etc");
    assert_eq!(lab.acme(&["fs", "mount"]).stdout, "info: The live sandbox is mounted\n");
    assert_eq!(lab.acme(&["sh", "exec", "/opt/live"]).code, 0);
    assert_eq!(lab.shell("kill -0 $(cat /run/postgresql.pid) 2>/dev/null || echo stopped"), "stopped\n");
    let diff = lab.acme(&["fs", "diff"]).stdout;
    assert!(diff.ends_with("live: 1 created, 0 modified, 0 deleted\n"), "{diff}");
    assert_eq!(lab.acme(&["fs", "unmount"]).code, 0);
    assert_eq!(lab.shell("ls -la --full-time /etc"), before);
}

#[test]
fn what_watched_commands_are_called_in_it_is_told_and_the_host_is_asked() {
    let lab = Lab::alone();
    lab.shell("service postgresql start");
    assert_eq!(lab.acme(&["fs", "mount", "--noop"]).code, 0);
    let mut shell = lab
        .node
        .command(BINARY)
        .args(["sh", "shell", "--noop", "--unrestricted"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let typed = b"/usr/sbin/service postgresql stop; x=$(service postgresql stop); echo \"[$x]\"; hostname h2; hostname\n";
    shell.stdin.take().unwrap().write_all(typed).unwrap();
    let said = String::from_utf8(shell.wait_with_output().unwrap().stdout).unwrap();
    assert!(said.starts_with("warning: Would execute : service postgresql stop\n[]\n"), "{said}");
    assert_eq!(lab.shell("kill -0 $(cat /run/postgresql.pid) && hostname"), "localhost.localdomain\n");
}
