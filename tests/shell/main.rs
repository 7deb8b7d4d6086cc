//! The sandbox that stands between commands, the shell in it, and a command that is tried; each test looks at the node.

mod standing;
mod transcript;

use std::io::Write;
use std::process::Stdio;

use testbed::lab::{BINARY, Ended, Lab};

/// Runs the binary with something on its standard input.
fn fed(lab: &Lab, arguments: &[&str], input: &str) -> Ended {
    let mut child = lab
        .node
        .command(BINARY)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    Ended::from(child.wait_with_output().unwrap())
}

#[test]
fn what_is_done_in_a_restricted_shell_stays_in_the_sandbox_until_it_is_taken_down() {
    let lab = Lab::alone();
    let before = lab.files();
    assert_eq!(lab.acme(&["fs", "mount", "--noop"]).code, 0);
    lab.acme(&["fs", "mount", "--noop"]).failed_with(&["mounted already", "fs unmount --noop"]);
    let init = lab.acme(&["fs", "init", "--noop"]);
    assert_eq!(init.stdout, "info: The noop sandbox is mounted, and nothing is changed in it\n");

    let typed = "rm -f /etc/passwd
grep -v root /etc/shadow | tee tmpfile
mv tmpfile /etc/shadow
echo LOL > /var/lib/p0wnt
echo LOL | tee /var/lib/p0wnt
touch /bin/myhotbash
perl -e 1
exit 7
";
    let shell = fed(&lab, &["sh", "shell", "--noop"], typed);
    assert_eq!(shell.code, 7, "{shell:#?}");
    assert!(shell.stderr.contains("/var/lib/p0wnt: restricted: cannot redirect output"), "{shell:#?}");
    assert!(shell.stdout.contains("LOL\nwarning: Would execute : perl -e 1\n"), "{shell:#?}");

    let diff = lab.acme(&["fs", "diff", "--noop", "--detailed-exitcodes"]);
    assert_eq!(diff.code, 2, "{diff:#?}");
    for line in [
        "info: File: file: /etc/passwd : Deleted\n1,",
        "\n< root:x:0:0:root:/root:/bin/bash\n",
        "info: File: file: /etc/shadow : Modified : md5=[",
        "(secret content, not shown: ",
        "info: File: file: /usr/bin/myhotbash : Created : type=[regular empty file]",
        "info: File: file: /var/lib/p0wnt : Created : type=[regular file]",
        "0a1\n> LOL\n",
        "noop: 2 created, 1 modified, 1 deleted\n",
    ] {
        assert!(diff.stdout.contains(line), "`{line}` is not in {}", diff.stdout);
    }

    assert_eq!(lab.acme(&["fs", "unmount", "--noop"]).code, 0);
    lab.acme(&["fs", "unmount", "--noop"]).failed_with(&["no noop sandbox is mounted"]);
    lab.acme(&["sh", "shell", "--noop"]).failed_with(&["no noop sandbox is mounted", "fs mount --noop"]);
    lab.assert_unchanged(&before);
    assert_eq!(
        lab.shell("ls /var/lib/acme-disco/scratch /var/lib/acme-disco/sandbox/noop").trim(),
        "/var/lib/acme-disco/sandbox/noop:\n\n/var/lib/acme-disco/scratch:"
    );
}

#[test]
fn a_tried_command_keeps_its_place_its_streams_and_its_code_and_changes_nothing() {
    let lab = Lab::alone();
    lab.shell("mkdir -p /srv/here; echo a > /srv/here/a");
    let before = lab.files();
    let tried = lab.shell(
        "cd /srv/here; echo piped | /opt/acme/sbin/acme-disco try -- sh -c 'cat; pwd; echo b >> a; mkdir d; cd d; touch \"x y\"; exit 5' 2> /var/lib/acme-disco/told; echo $?",
    );
    assert_eq!(tried, "piped\n/srv/here\n5\n");
    let told = lab.shell("cat /var/lib/acme-disco/told; rm /var/lib/acme-disco/told");
    for line in [
        "/srv/here/a : Modified : md5=[",
        "1a2\n> b\n",
        "/srv/here/d/x y : Created",
        "try: exit 5, 1 created, 1 modified, 0 deleted",
    ] {
        assert!(told.contains(line), "`{line}` is not in {told}");
    }
    assert_eq!(lab.acme(&["try", "--", "no-such-command"]).code, 127);
    lab.assert_unchanged(&before);

    let applied = lab.acme(&["try", "--apply", "--", "sh", "-c", "echo b > /srv/here/b; rm /srv/here/a"]);
    assert_eq!(applied.code, 0, "{applied:#?}");
    assert_eq!(lab.shell("ls /srv/here"), "b\n");
}

#[test]
fn what_a_tried_command_did_can_be_merged_and_taken_back() {
    let lab = Lab::alone();
    lab.shell("mkdir -p /srv/here; echo a > /srv/here/a");
    let before = lab.shell("ls -la --full-time /srv/here; cat /srv/here/*");
    let applied = lab.acme(&["try", "--apply", "--", "sh", "-c", "echo b > /srv/here/b; rm /srv/here/a"]);
    assert!(
        applied
            .stderr
            .ends_with("try: exit 0, 1 created, 0 modified, 1 deleted, 0 commands held back, merged\n")
    );
    assert_eq!(lab.shell("ls /srv/here"), "b\n");
    let kept = lab.acme(&["report", "--json"]).stdout;
    assert!(kept.contains("\"name\": \"try\"") && !kept.contains("echo b"), "{kept}");
    assert_eq!(lab.acme(&["rollback"]).code, 0);
    assert_eq!(lab.shell("ls -la --full-time /srv/here; cat /srv/here/*"), before);

    // A command that fails is not merged, whatever was asked for.
    let failed = lab.acme(&["try", "--apply", "--", "sh", "-c", "echo b > /srv/here/b; exit 3"]);
    assert_eq!(failed.code, 3);
    assert!(failed.stderr.ends_with("nothing merged\n"), "{failed:#?}");
    assert_eq!(lab.shell("ls /srv/here"), "a\n");
}

#[test]
fn a_command_that_cannot_be_tried_ends_as_in_a_shell() {
    let lab = Lab::alone();
    lab.shell("echo x > /srv/plain; mkdir /srv/gone");
    let none = lab.acme(&["try", "--", "no-such-command"]);
    assert_eq!(none.code, 127);
    assert!(none.stderr.contains("cannot start no-such-command: No such file or directory"), "{none:#?}");
    assert_eq!(lab.acme(&["try", "--", "/srv/plain"]).code, 126);
    assert_eq!(lab.acme(&["try", "--", "sh", "-c", "kill -TERM $$"]).code, 143);
    let gone = lab.shell(&format!("cd /srv/gone; rmdir /srv/gone; {BINARY} try -- true 2>&1; echo $?"));
    assert!(gone.contains("the current directory cannot be found") && gone.ends_with("\n1\n"), "{gone}");
}

#[test]
fn arguments_may_hold_any_bytes_and_be_as_many_as_a_shell_can_pass() {
    let lab = Lab::alone();
    // 20,000 names of 40 bytes, and one that is no text.
    lab.shell("mkdir /srv/d; cd /srv/d; seq -f 'file-with-a-name-of-forty-characters-%05g' 20000 | xargs touch; touch $(printf 'odd\\377')");
    let before = lab.files();
    let tried = lab.shell(&format!("cd /srv/d; {BINARY} try --json -- rm -- * 2>/dev/null"));
    let tried: serde_json::Value = serde_json::from_str(&tried).unwrap();
    assert_eq!(tried["exit"], 0);
    let deleted = tried["changes"].as_array().unwrap();
    assert_eq!(deleted.len(), 20_001);
    assert_eq!(deleted[20_000]["path"], "/srv/d/odd\\xff");
    assert_eq!(tried["command"][20_003 - 1], "odd\\xff");
    lab.assert_unchanged(&before);
}

#[test]
fn a_dance_can_be_restricted_to_what_a_restricted_shell_may_call() {
    let universe = testbed::universe::Universe::empty().unwrap();
    for (path, content) in [
        ("loose-1/scripts/1-shell", "#!/bin/sh -e\nsed s/a/b/ /etc/hostname > /etc/seen\n"),
        (
            "strict-1/scripts/1-shell",
            "#!/bin/sh -e\ntouch /etc/allowed\nperl -e 'print 1'\necho x | tee /etc/teed | disco-shutup\n",
        ),
        ("strict-1/scripts/2-perl", "#!/usr/bin/perl -w\nopen(F, '>/etc/perl'); print F 'x';\n"),
        ("strict-1/scripts/3-env", "#!/usr/bin/env perl\nopen(F, '>/etc/perl'); print F 'x';\n"),
        ("strict-1/templates/etc/seen", "cat /etc/hostname; perl -e 'print 2'\n"),
    ] {
        universe.add(path, content).unwrap();
    }
    let lab = Lab::with(universe);
    let before = lab.files();
    let noop = lab.acme(&["dance", "--noop", "--restricted", "--no-diff"]);
    assert_eq!(noop.code, 1, "{noop:#?}");
    let script = "localstore/strict-1/scripts";
    for line in [
        "/etc/seen: restricted: cannot redirect output\n",
        "error: loose-1: script loose-1/scripts/1-shell failed: it ended with code 1\n",
        "info: Processing strict-1\nwarning: Would execute : perl -e print 2\n",
        "warning: Would execute : perl -e print 1\n",
        &format!("warning: Would execute : perl -w /var/lib/acme-disco/{script}/2-perl\n"),
        &format!("warning: Would execute : perl /var/lib/acme-disco/{script}/3-env\n"),
        "info: File: file: /etc/allowed : Created",
        "info: File: file: /etc/teed : Created",
        "info: File: file: /etc/seen : Created",
        "noop: 2 modules, 3 created, 0 modified, 0 deleted, 4 commands held back, 1 failed",
    ] {
        assert!(noop.stdout.contains(line), "`{line}` is not in {}", noop.stdout);
    }
    lab.assert_unchanged(&before);
    lab.acme(&["dance", "--restricted"]).failed_with(&["a live run cannot be restricted", "--noop"]);
}

#[test]
fn whoever_tries_a_command_is_asked_on_the_terminal() {
    let lab = Lab::alone();
    lab.shell("cp /bin/touch /srv/touch");
    for (answer, verdict, there) in
        [("n", "nothing merged", ""), ("", "nothing merged", ""), ("y", "merged", "/srv/asked\n")]
    {
        // What is typed before the question is the command's.
        let tried = lab.shell(&format!(
            "(until grep -q Merge /run/seen 2>/dev/null; do sleep 0.05; done; echo '{answer}') |
            script -qfec '{BINARY} try --ask -- /srv/touch /srv/asked' /run/seen; rm /run/seen; ls /srv/asked 2>/dev/null"
        ));
        let tried = tried.replace("\r\n", "\n");
        let question = "/srv/asked : Created : type=[regular empty file]";
        assert!(tried.contains(question) && tried.contains("Merge these changes"), "{tried}");
        assert!(tried.ends_with(&format!(", {verdict}\n{there}")), "{tried}");
    }
    lab.acme(&["try", "--ask", "--", "rm", "/srv/asked"]).failed_with(&[
        "there is no terminal",
        "--apply",
        "Nothing was merged",
    ]);
    assert_eq!(lab.shell("ls /srv"), "asked\ntouch\n");
}
