//! Which settings rule a run, and how its changes are shown.

use testbed::lab::{CONFIGURATION, Lab};
use testbed::universe::Universe;

/// Runs a command line on the node with a terminal as its standard output and error.
fn on_a_terminal(lab: &Lab, line: &str) -> String {
    lab.shell(&format!("script -qec '{line}' /dev/null 2>&1"))
}

#[test]
fn explain_tells_every_setting_with_its_origin_and_what_the_sandbox_would_be() {
    let lab = Lab::alone();
    let before = lab.files();
    let rows = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    let baked = lab.acme(&["dance", "--explain", "--noop"]);
    assert_eq!((baked.code, baked.stderr.as_str()), (0, ""), "{baked:#?}");
    let said = rows(&baked.stdout);
    for row in [
        "mode noop from the command line",
        "node localhost.localdomain from the host name",
        "server rsync://universe.acme.example from the brand",
        "diff normal from the brand",
        "/ overlaid: the live files below, what the run writes above",
        "/dev fresh: harmless devices alone",
        "/var/disco/parameters the parameters of this run, read-only",
    ] {
        assert!(said.iter().any(|line| line == row), "{row} is not in {said:#?}");
    }
    assert!(said.iter().any(|line| line.contains("commands are watched at their real paths")), "{said:#?}");

    lab.node.write(CONFIGURATION, "plugin.disco.client.diff = unified\n", 0o644).unwrap();
    lab.node.write("/var/lib/acme-disco/parameters/disco/server/uri", "/srv/universe\n", 0o644).unwrap();
    let told =
        lab.shell("NOOP=true DISCO_RSYNC='rsync -z' /opt/acme/sbin/acme-disco dance --explain --node n1");
    let said = rows(&told);
    for row in [
        "mode noop from NOOP in the environment",
        "node n1 from the command line",
        "server /srv/universe from /var/lib/acme-disco/parameters/disco/server/uri",
        "rsync rsync -z from DISCO_RSYNC in the environment",
        "diff unified from plugin.disco.client.diff in server.conf",
    ] {
        assert!(said.iter().any(|line| line == row), "{row} is not in {said:#?}");
    }
    let live = rows(&lab.acme(&["dance", "--explain"]).stdout);
    assert!(live.iter().any(|line| line == "/run bound: the running system within reach"), "{live:#?}");
    lab.shell("rm -r /var/lib/acme-disco/parameters");
    lab.node.write(CONFIGURATION, "# nothing set\n", 0o644).unwrap();
    let changed: Vec<_> =
        lab.files().lines().filter(|line| !before.contains(*line)).map(str::to_owned).collect();
    assert!(changed.iter().all(|line| line.contains("/opt/acme/etc/disco")), "{changed:#?}");

    lab.acme(&["dance", "--noop", "--diff=sideways"]).failed_with(&[
        "`sideways` is no diff",
        "write `normal`, `unified` or `none`",
        "the command line",
    ]);
}

#[test]
fn contents_are_shown_in_the_format_that_was_asked_for() {
    let universe = Universe::empty().unwrap();
    universe
        .add("m-1/scripts/1.sh", "sed -i s/root/toor/ /etc/hosts.test; echo new > /etc/new.test\n")
        .unwrap();
    let lab = Lab::with(universe);
    lab.node.write("/etc/hosts.test", "one\nroot\nthree\n", 0o644).unwrap();
    let normal = lab.acme(&["dance", "--noop"]).stdout;
    assert!(normal.contains("2c2\n< root\n---\n> toor\n"), "{normal}");
    let unified = lab.acme(&["dance", "--noop", "--diff=unified"]).stdout;
    let expected = "--- /etc/hosts.test\n+++ /etc/hosts.test\n@@ -1,3 +1,3 @@\n one\n-root\n+toor\n three\n";
    assert!(unified.contains(expected), "{unified}");
    assert!(unified.contains("--- /dev/null\n+++ /etc/new.test\n@@ -0,0 +1 @@\n+new\n"), "{unified}");
    for quiet in ["--diff=none", "--no-diff"] {
        let none = lab.acme(&["dance", "--noop", quiet]).stdout;
        assert!(none.contains("/etc/hosts.test : Modified") && !none.contains("toor"), "{none}");
    }
}

#[test]
fn secrets_are_told_by_size_and_digest_and_shown_on_a_terminal_alone() {
    let universe = Universe::empty().unwrap();
    universe
        .add("s-1/scripts/1.sh", "echo hunter2 > /etc/app.key; echo hunter3 >> /etc/hidden.conf\n")
        .unwrap();
    let lab = Lab::with(universe);
    lab.node.write("/etc/hidden.conf", "x\n", 0o640).unwrap();
    let noop = lab.acme(&["dance", "--noop"]);
    assert!(!noop.stdout.contains("hunter"), "{}", noop.stdout);
    let created = "(secret content, not shown: nothing => 8 bytes with md5 ";
    assert!(noop.stdout.contains(created), "{}", noop.stdout);
    assert!(noop.stdout.contains("(secret content, not shown: 2 bytes with md5 "), "{}", noop.stdout);
    for arguments in [&["dance", "--noop", "--json"][..], &["report", "--json"]] {
        let json = lab.acme(arguments);
        assert!(json.stdout.contains("\"secret\"") && !json.stdout.contains("hunter"), "{}", json.stdout);
    }

    lab.acme(&["dance", "--noop", "--show-secrets"])
        .failed_with(&["secrets are shown on a terminal only", "hint: run it without --show-secrets"]);
    let shown = on_a_terminal(&lab, "/opt/acme/sbin/acme-disco dance --noop --show-secrets");
    assert!(shown.contains("> hunter2") && shown.contains("> hunter3"), "{shown}");
    let kept = lab.shell("grep -rl hunter /var/lib/acme-disco/history");
    assert_eq!(kept, "", "what was shown once must not be kept");
}

#[test]
fn noise_is_counted_and_merged_but_not_shown() {
    let universe = Universe::empty().unwrap();
    universe
        .add(
            "n-1/scripts/1.sh",
            "echo ls > /root/.bash_history; touch /etc/.pwd.lock; mkdir -p /root/.cache/a\n",
        )
        .unwrap();
    let lab = Lab::on_disk(universe);
    lab.shell("rm -rf /etc/.pwd.lock /root/.cache /root/.bash_history");
    let noop = lab.acme(&["dance", "--noop", "--detailed-exitcodes"]);
    assert_eq!(noop.code, 0, "noise is nothing that is pending: {noop:#?}");
    assert!(!noop.stdout.contains("File: file:"), "{}", noop.stdout);
    let verdict = noop.stdout.lines().last().unwrap();
    assert!(
        verdict.starts_with(
            "noop: 1 module, 0 created, 0 modified, 0 deleted, 0 commands held back, 3 paths of noise, 0 failed ("
        ),
        "{verdict}"
    );
    let run: serde_json::Value = serde_json::from_str(&lab.acme(&["report", "--json"]).stdout).unwrap();
    assert!(run["changes"].as_array().unwrap().iter().all(|change| change["noise"] == true), "{run:#}");

    lab.node.write("/opt/acme/etc/disco/noise.d/10.conf", "# mine\n/root/.*_history\n", 0o644).unwrap();
    let own = lab.acme(&["dance", "--noop"]).stdout;
    assert!(own.contains("/etc/.pwd.lock : Created") && own.contains("1 path of noise"), "{own}");
    lab.node.write("/opt/acme/etc/disco/noise.d/20.conf", "history\n", 0o644).unwrap();
    lab.acme(&["dance", "--noop"]).failed_with(&["/opt/acme/etc/disco/noise.d/20.conf:1: `history`"]);
    lab.shell("rm /opt/acme/etc/disco/noise.d/20.conf");

    assert_eq!(lab.acme(&["dance"]).code, 0);
    assert_eq!(
        lab.shell("cat /root/.bash_history; ls -d /root/.cache/a /etc/.pwd.lock"),
        "ls\n/etc/.pwd.lock\n/root/.cache/a\n"
    );
}

#[test]
fn colour_and_progress_are_for_terminals_and_a_closed_pipe_is_no_error() {
    let lab = Lab::with(Universe::example().unwrap());
    let dance = "/opt/acme/sbin/acme-disco dance --noop";
    let shown = on_a_terminal(&lab, &format!("TERM=xterm {dance}"));
    assert!(shown.contains("\u{1b}[36minfo:\u{1b}[0m Processing testmodule-1.0"), "{shown:?}");
    assert!(shown.contains("\r\u{1b}[Kmodule 2 of 2: testmodule-1.0\r\u{1b}[K"), "{shown:?}");
    let plain = on_a_terminal(&lab, &format!("NO_COLOR=1 TERM=dumb {dance}"));
    assert!(!plain.contains('\u{1b}'), "{plain:?}");
    let piped = lab.shell(&format!("({dance} | cat) 2>&1"));
    assert!(piped.contains("info: Processing") && !piped.contains('\u{1b}'), "{piped:?}");
    assert_eq!(
        lab.shell(&format!("bash -c '{dance} | head -n 1 >/dev/null; echo ${{PIPESTATUS[0]}}' 2>&1")),
        "0\n"
    );
    assert_eq!(
        lab.shell("bash -c '/opt/acme/sbin/acme-disco report | true; echo ${PIPESTATUS[0]}' 2>&1"),
        "0\n"
    );
}
