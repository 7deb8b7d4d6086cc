//! The sandbox that stands between commands, the shell in it, and a command that is tried; each test looks at the node.

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
