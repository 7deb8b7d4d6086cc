//! The lists of commands as a user meets them: what a noop holds back, what it asks the host, what a live run puts off
//! until after the merge. Services are real processes of the node, and every test looks at them.

use testbed::lab::{Ended, Lab};
use testbed::universe::Universe;

/// Where a site adds lists.
const SITE: &str = "/opt/acme/etc/disco/commands.d/50-site.conf";

/// An init script that keeps a real process, which says at its start what the service's configuration was.
const SERVICE: &str = "#!/bin/sh
case $1 in
start)
    cat /etc/web.conf > /run/web.started 2>/dev/null
    start-stop-daemon --start --background --make-pidfile --pidfile /run/web.pid --exec /bin/sleep -- 1000 ;;
stop) start-stop-daemon --stop --oknodo --retry 5 --pidfile /run/web.pid ;;
restart) echo restarted >> /run/web.restarts; $0 stop; $0 start ;;
status) kill -0 \"$(cat /run/web.pid 2>/dev/null)\" 2>/dev/null && echo web runs || { echo web is stopped >&2; exit 3; } ;;
esac
";

fn lab(files: &[(&str, &str)]) -> Lab {
    let universe = Universe::empty().unwrap();
    for (path, content) in files {
        universe.add(path, content).unwrap();
    }
    let lab = Lab::with(universe);
    lab.node.write("/etc/init.d/web", SERVICE, 0o755).unwrap();
    // As the package brings it.
    let list = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/etc/commands.conf");
    let list = std::fs::read_to_string(list).unwrap();
    lab.node.write("/opt/acme/etc/disco/commands.d/10-default.conf", &list, 0o644).unwrap();
    lab
}

fn web_process(lab: &Lab) -> String {
    lab.shell("pid=$(cat /run/web.pid 2>/dev/null) && kill -0 $pid 2>/dev/null && echo $pid")
}

#[track_caller]
fn assert_order(ended: &Ended, lines: &[&str]) {
    let mut rest = ended.stdout.as_str();
    for line in lines {
        let Some((_, after)) = rest.split_once(&format!("{line}\n")) else {
            panic!("`{line}` is not there, or not after the lines before it, in {ended:#?}");
        };
        rest = after;
    }
}

#[test]
fn a_call_is_held_back_from_wherever_it_comes_and_never_becomes_a_value() {
    let script = "#!/bin/bash
/usr/sbin/service web stop
env service web restart
find /etc/hostname -exec service web reload \\;
python3 -c 'import subprocess; subprocess.check_call([\"/usr/sbin/service\", \"web\", \"start\"])'
cd /usr && x=$(service web force-reload) && echo \"captured [$x]\"
";
    let lab = lab(&[("a-1/scripts/10-all.sh", script)]);
    lab.shell("service web start");
    let process = web_process(&lab);
    assert_ne!(process, "");
    let before = lab.files();
    let noop = lab.acme(&["dance", "--noop"]);
    assert_eq!(noop.code, 0, "{noop:#?}");
    for verb in ["stop", "restart", "reload", "start", "force-reload"] {
        let line = format!("warning: Would execute : service web {verb}\n");
        assert_eq!(noop.stdout.matches(&line).count(), 1, "{verb}: {noop:#?}");
    }
    assert!(noop.stdout.contains("captured []\n"), "{noop:#?}");
    assert!(noop.stdout.contains(" 5 commands held back, 0 failed"), "{noop:#?}");
    lab.assert_unchanged(&before);
    assert_eq!(web_process(&lab), process, "the service must be what it was");

    let json = lab.acme(&["dance", "--noop", "--json"]);
    let run: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    let last = &run["held_back"][4];
    assert_eq!(
        (&last["module"], &last["step"], &last["directory"]),
        (&"a-1".into(), &"10-all.sh".into(), &"/usr".into())
    );
}

#[test]
fn a_question_is_answered_by_the_host() {
    let script = "#!/bin/bash
if answer=$(service web status); then echo \"yes: $answer\"; else echo \"no: $?\"; fi
service web status; echo \"code $?\"
";
    let lab = lab(&[("a-1/scripts/10.sh", script)]);
    let stopped = lab.acme(&["dance", "--noop"]);
    assert_order(&stopped, &["no: 3", "code 3"]);
    assert!(stopped.stdout.contains("web is stopped\n"), "{stopped:#?}");
    lab.shell("service web start");
    let running = lab.acme(&["dance", "--noop"]);
    assert_order(&running, &["yes: web runs", "web runs", "code 0"]);
    assert!(running.stdout.contains(" 0 commands held back"), "{running:#?}");
    // A live run answers the same, by executing it.
    let live = lab.acme(&["dance"]);
    assert_order(&live, &["yes: web runs", "web runs", "code 0"]);
}

#[test]
fn without_an_argument_a_command_may_be_a_question() {
    let script = "mount | grep -q ' on /srv/mounted ' && echo \"it is mounted\"\nmount -o remount,ro /srv/mounted\n\
                  hostname\nhostname changed\n";
    let lab = lab(&[("a-1/scripts/10.sh", script)]);
    lab.shell("mkdir /srv/mounted; mount -t tmpfs mine /srv/mounted");
    let noop = lab.acme(&["dance", "--noop"]);
    assert_eq!(noop.code, 0, "{noop:#?}");
    let name = lab.shell("hostname");
    assert_order(
        &noop,
        &[
            "it is mounted",
            "warning: Would execute : mount -o remount,ro /srv/mounted",
            name.trim_end(),
            "warning: Would execute : hostname changed",
        ],
    );
    assert_eq!(lab.shell("touch /srv/mounted/file && hostname"), name);
}

#[test]
fn what_is_no_question_does_not_reach_the_host() {
    // Executed on the host, each of these would leave a mark there.
    let script = "#!/bin/bash
mkdir -p /tmp && printf '#!/bin/sh\\ntouch /root/mark-path\\n' > /tmp/evil; chmod 755 /tmp/evil
service ../../tmp/planted status
service ../../tmp/evil status
service web 'status; touch /root/mark-shell'
service $'web\\nstatus' status
service --full-restart status
sysctl -n kernel.domainname=mark
sysctl -w kernel.domainname=mark
ask -rf /
ip -batch /tmp/evil
python3 - <<'EOF'
import socket
def say(argv):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.connect('/var/disco/run/calls')
    s.send(b'{\"held\":{\"argv\":' + argv + b',\"directory\":\"/\",\"told\":false},\"behind\":\"ls\",\"now\":true,\"exact\":true}')
    print('said', s.recv(1 << 17).decode())
say(b'[\"touch\", \"/root/mark-raw\"]')
say(b'[\"../../bin/touch\", \"/root/mark-raw\"]')
say(b'[\"service\", \"../../tmp/planted\", \"status\"]')
say(b'[]')
say(b'[[]')
EOF
echo done
";
    let lab = lab(&[("a-1/scripts/10.sh", script)]);
    lab.node.write("/tmp/planted", "#!/bin/sh\ntouch /root/mark-planted\n", 0o755).unwrap();
    let before = lab.files();
    let domain = lab.shell("cat /proc/sys/kernel/domainname");
    let noop = lab.acme(&["dance", "--noop"]);
    assert!(noop.stdout.contains("done\n"), "{noop:#?}");
    assert_eq!(lab.shell("ls /root"), "");
    assert_eq!(lab.shell("cat /proc/sys/kernel/domainname"), domain);
    lab.assert_unchanged(&before);
    for line in ["service ../../tmp/planted status", "service --full-restart status"] {
        assert!(noop.stdout.contains(&format!("warning: Would execute : {line}\n")), "{line}: {noop:#?}");
    }
    assert_eq!(noop.stdout.matches("said \"Held\"\n").count(), 3, "a call has words: {noop:#?}");
    assert!(noop.stdout.contains("warning: Would execute : service web\\nstatus status\n"), "{noop:#?}");
}

#[test]
fn a_host_that_does_not_answer_is_not_waited_for() {
    let lab = lab(&[(
        "a-1/scripts/10.sh",
        "service slow status; echo \"code $?\"; service chatty status | wc -c\n",
    )]);
    lab.node.write("/etc/init.d/slow", "#!/bin/sh\nsleep 4711 & sleep 4711\n", 0o755).unwrap();
    lab.node.write("/etc/init.d/chatty", "#!/bin/sh\nyes\n", 0o755).unwrap();
    let started = std::time::Instant::now();
    let noop = lab.acme(&["dance", "--noop"]);
    assert!(started.elapsed().as_secs() < 30, "{noop:#?}");
    assert!(noop.stdout.contains("error: service slow status was not executed"), "{noop:#?}");
    assert!(noop.stdout.contains("did not answer within 10 s"), "{noop:#?}");
    assert!(noop.stdout.contains("longer than 64 KiB"), "{noop:#?}");
    assert_eq!(lab.shell("cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c '[s]leep 4711'"), "0\n");
}

#[test]
fn a_service_is_restarted_after_the_merge_on_the_new_file_and_once() {
    let script = "service web restart; echo asked once; service web restart; /usr/sbin/service web restart\n";
    let lab = lab(&[
        ("a-1/files/etc/web.conf", "new\n"),
        ("a-1/scripts/10.sh", script),
        ("b-1/requires", "after a-1\n"),
        ("b-1/scripts/20.sh", "service web restart; cat /run/web.started\n"),
    ]);
    lab.node.write("/etc/web.conf", "old\n", 0o644).unwrap();
    lab.shell("service web start");
    let process = web_process(&lab);
    assert_eq!(lab.shell("cat /run/web.started"), "old\n");

    let noop = lab.acme(&["dance", "--noop"]);
    assert!(noop.stdout.contains("warning: Would execute : service web restart\n"), "{noop:#?}");
    assert_eq!(web_process(&lab), process);

    let live = lab.acme(&["dance"]);
    assert_eq!(live.code, 0, "{live:#?}");
    assert_order(
        &live,
        &[
            "info: Deferred : service web restart",
            "asked once",
            "info: Processing b-1",
            "old",
            "info: Executed : service web restart",
        ],
    );
    assert!(live.stdout.contains(" 1 command deferred, 0 failed"), "{live:#?}");
    assert_eq!(lab.shell("cat /run/web.started; cat /run/web.restarts"), "new\nrestarted\n");
    let restarted = web_process(&lab);
    assert!(!restarted.is_empty() && restarted != process, "{restarted}");
    // The service lives on the host and not in what the client had around itself.
    assert_eq!(
        lab.shell(&format!("readlink /proc/{}/ns/mnt", restarted.trim())),
        lab.shell("readlink /proc/1/ns/mnt")
    );
    assert_eq!(lab.shell(&format!("readlink /proc/{}/root", restarted.trim())), "/\n");

    let report = lab.acme(&["report", "--json"]);
    let run: serde_json::Value = serde_json::from_str(&report.stdout).unwrap();
    let deferred = &run["deferred"][0];
    assert_eq!(deferred["argv"], serde_json::json!(["service", "web", "restart"]));
    assert_eq!((&deferred["module"], &deferred["step"]), (&"b-1".into(), &"20.sh".into()));
    assert_eq!(deferred["ended"]["usage"]["exit"], 0);
}

#[test]
fn a_run_that_fails_never_leaves_a_service_stopped() {
    let lab = lab(&[("a-1/scripts/10.sh", "service web stop\n"), ("a-1/scripts/20.sh", "exit 7\n")]);
    lab.shell("service web start");
    let process = web_process(&lab);
    let live = lab.acme(&["dance"]);
    assert_eq!(live.code, 1, "{live:#?}");
    assert_order(
        &live,
        &[
            "info: Deferred : service web stop",
            "warning: Not executed : service web stop : nothing was merged",
        ],
    );
    assert_eq!(web_process(&lab), process);
}

#[test]
fn deferred_commands_keep_their_order_and_one_that_fails_fails_the_run_but_not_the_merge() {
    let script = "service web stop; service gone start; env service web start; echo x > /etc/merged\n";
    let lab = lab(&[("a-1/scripts/10.sh", script)]);
    lab.shell("service web start");
    let process = web_process(&lab);
    let live = lab.acme(&["dance", "--detailed-exitcodes"]);
    assert_eq!(live.code, 6, "{live:#?}");
    assert_order(&live, &["info: Executed : service web stop"]);
    assert!(live.stdout.contains("error: Executed : service gone start : it ended with code 1"), "{live:#?}");
    assert_order(&live, &["info: Executed : service web stop", "info: Executed : service web start"]);
    assert_eq!(lab.shell("cat /etc/merged"), "x\n");
    let now = web_process(&lab);
    assert!(!now.is_empty() && now != process);
    assert!(live.stdout.lines().last().unwrap().starts_with("live: 1 module"), "{live:#?}");
    let page = lab.acme(&["report", "--html"]).stdout;
    for part in [
        "<b class=\"bad\">a-1</b> <span>service gone start, executed after the merge: it ended with code 1</span>",
        "<h2>Commands after the merge <small>3</small></h2>",
        "<td><code>service web stop</code></td><td>a-1</td><td>10.sh</td><td>done</td>",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
}

#[test]
fn a_module_can_stop_a_service_before_it_changes_something() {
    let script = "DISCO_NOW=1 service web stop; service web status; echo \"code $?\"; service web start\n";
    let lab = lab(&[("a-1/scripts/10.sh", script)]);
    lab.shell("service web start");
    let process = web_process(&lab);
    let noop = lab.acme(&["dance", "--noop"]);
    assert!(noop.stdout.contains("warning: Would execute : service web stop\n"), "{noop:#?}");
    assert_eq!(web_process(&lab), process);
    let live = lab.acme(&["dance"]);
    assert_order(
        &live,
        &["code 3", "info: Deferred : service web start", "info: Executed : service web start"],
    );
    assert!(!live.stdout.contains("Deferred : service web stop"), "{live:#?}");
    let now = web_process(&lab);
    assert!(!now.is_empty() && now != process);
}

/// Copies a program of this machine to the node, with the libraries that the node lacks.
fn copy_program(lab: &Lab, program: &str) {
    let said = std::process::Command::new("ldd").arg(program).output().unwrap();
    assert!(said.status.success(), "{said:?}");
    let said = String::from_utf8(said.stdout).unwrap();
    let libraries = said.split_whitespace().filter(|word| word.starts_with('/'));
    for path in libraries.chain([program]) {
        let inside = lab.node.path(path);
        if !inside.exists() {
            lab.shell(&format!(
                "mkdir -p {}",
                inside.parent().unwrap().strip_prefix(lab.node.path("/")).unwrap().display()
            ));
            lab.node.copy_in(std::path::Path::new(path), path).unwrap();
        }
    }
}

#[test]
fn a_unit_is_enabled_by_links_that_are_shown_merged_and_undone() {
    const LINK: &str = "/etc/systemd/system/multi-user.target.wants/site.service";
    let unit = "[Service]\nExecStart=/bin/sleep 1000\n[Install]\nWantedBy=multi-user.target\n";
    let lab = lab(&[
        ("a-1/files/etc/systemd/system/site.service", unit),
        ("a-1/scripts/10.sh", "systemctl enable site && systemctl is-enabled site\n"),
    ]);
    copy_program(&lab, "/usr/bin/systemctl");
    let before = lab.files();
    let noop = lab.acme(&["dance", "--noop"]);
    assert_order(&noop, &["enabled"]);
    assert!(noop.stdout.contains(&format!("{LINK} : Created")), "{noop:#?}");
    lab.assert_unchanged(&before);

    let live = lab.acme(&["dance"]);
    assert_eq!(live.code, 0, "{live:#?}");
    assert_eq!(lab.shell(&format!("readlink {LINK}")), "/etc/systemd/system/site.service\n");
    let again = lab.acme(&["dance", "--noop"]);
    assert!(again.stdout.contains(" 0 created, 0 modified, 0 deleted, 0 commands held back"), "{again:#?}");
    assert_eq!(lab.acme(&["rollback"]).code, 0);
    lab.shell(&format!("test ! -e {LINK} -a ! -L {LINK}"));

    // Where it acts as well, it is put off as a whole.
    lab.node.write(SITE, "", 0o644).unwrap();
    let now = lab.acme(&["try", "--", "systemctl", "enable", "--now", "site"]);
    assert!(now.stderr.contains(" 0 created, 0 modified, 0 deleted, 1 command held back"), "{now:#?}");
}

#[test]
fn a_line_gives_a_command_variables_of_its_own() {
    let lab = lab(&[("a-1/scripts/10.sh", "printenv GREETING; GREETING=theirs printenv GREETING NAME\n")]);
    lab.node.write(SITE, "allow GREETING=ours NAME=a=b printenv\n", 0o644).unwrap();
    assert_order(&lab.acme(&["dance", "--noop"]), &["ours", "ours", "a=b"]);
    lab.node.write(SITE, "report GREETING=ours printenv\n", 0o644).unwrap();
    lab.acme(&["dance", "--noop"]).failed_with(&["50-site.conf:1: ", "only allow takes NAME=VALUE"]);
}

#[test]
fn a_file_system_is_mounted_on_the_host_after_the_merge() {
    let lab = lab(&[(
        "a-1/scripts/10.sh",
        "echo 'new /srv/new tmpfs' >> /etc/fstab; mkdir /srv/new; mount /srv/new\n",
    )]);
    let noop = lab.acme(&["dance", "--noop"]);
    assert!(noop.stdout.contains("warning: Would execute : mount /srv/new\n"), "{noop:#?}");
    let live = lab.acme(&["dance"]);
    assert_order(&live, &["info: Deferred : mount /srv/new", "info: Executed : mount /srv/new"]);
    assert_eq!(lab.shell("grep -c ' /srv/new tmpfs ' /proc/1/mounts"), "1\n");
}

#[test]
fn a_site_says_otherwise_in_a_list_of_its_own() {
    let lab = lab(&[(
        "a-1/scripts/10.sh",
        "service web probe; mkfs.ext4 /dev/null; mkfs.ext4 -V 2>&1 | grep -c Using\n",
    )]);
    lab.node
        .write("/etc/init.d/web", "#!/bin/sh\necho probed inside $NOOP$$ > /tmp/probed\n", 0o755)
        .unwrap();
    lab.node
        .write(SITE, "# ours\nallow service web probe\nreport mkfs.ext4\nallow mkfs.ext4 -V\n", 0o644)
        .unwrap();
    let noop = lab.acme(&["dance", "--noop"]);
    assert_eq!(noop.code, 0, "{noop:#?}");
    assert!(noop.stdout.contains("File: file: /tmp/probed : Created"), "{noop:#?}");
    assert!(noop.stdout.contains("warning: Would execute : mkfs.ext4 /dev/null\n1\n"), "{noop:#?}");
    assert_eq!(lab.shell("ls /tmp"), "");

    lab.node.write(SITE, "# ours\nforbid reboot\n", 0o644).unwrap();
    lab.acme(&["dance", "--noop"]).failed_with(&[
        "50-site.conf:2: `forbid reboot` begins with no verdict: write allow, report, ask-host or defer",
    ]);
}

#[test]
fn the_command_behind_a_shadow_is_never_replaced_by_it() {
    let lab = lab(&[(
        "a-1/scripts/10.sh",
        "chown --no-dereference root:root /usr/sbin/service; echo x > /etc/merged\n",
    )]);
    let before = lab.shell("sha256sum /usr/sbin/service; stat -c %F /usr/sbin/service");
    let live = lab.acme(&["dance"]);
    assert_eq!(live.code, 0, "{live:#?}");
    assert_eq!(lab.shell("cat /etc/merged"), "x\n");
    assert_eq!(lab.shell("sha256sum /usr/sbin/service; stat -c %F /usr/sbin/service"), before);

    let lab = self::lab(&[("a-1/scripts/10.sh", "mv /usr/sbin/service /usr/sbin/service.old\n")]);
    let live = lab.acme(&["dance"]);
    assert_eq!(live.code, 1, "{live:#?}");
    assert!(live.stdout.contains("was moved to /usr/sbin/service.old"), "{live:#?}");
    assert_eq!(lab.shell("sha256sum /usr/sbin/service; stat -c %F /usr/sbin/service"), before);
}

#[test]
fn a_link_of_another_name_is_the_command_behind_it() {
    let lab = lab(&[(
        "a-1/scripts/10.sh",
        "/usr/sbin/webctl web stop; DISCO_NOW=1 /usr/sbin/webctl web restart && echo fine\n",
    )]);
    lab.shell("ln -s service /usr/sbin/webctl; service web start");
    let process = web_process(&lab);
    let noop = lab.acme(&["dance", "--noop"]);
    assert!(noop.stdout.contains("warning: Would execute : webctl web stop\n"), "{noop:#?}");
    assert_eq!(web_process(&lab), process);
    // Nothing puts a call by this name off: it is executed, by the program that the link leads to.
    let live = lab.acme(&["dance"]);
    assert_order(&live, &["fine"]);
    assert_eq!(lab.shell("cat /run/web.restarts"), "restarted\n");
}

#[test]
fn a_command_is_watched_where_it_really_lies() {
    let script =
        "#!/bin/bash -e\nservice web stop\n/opt/local/sbin/service web restart\ncat /usr/local/share/note\n";
    let lab = lab(&[("a-1/scripts/10.sh", script)]);
    lab.shell("mv /usr/local /opt/local; ln -s ../opt/local /usr/local; echo seen > /usr/local/share/note");
    lab.shell("mv /usr/sbin/service /usr/local/sbin/service; service web start");
    let process = web_process(&lab);
    assert_ne!(process, "");
    let before = lab.files();
    let noop = lab.acme(&["dance", "--noop"]);
    assert_eq!(noop.code, 0, "{noop:#?}");
    assert_order(
        &noop,
        &[
            "warning: Would execute : service web stop",
            "warning: Would execute : service web restart",
            "seen",
        ],
    );
    lab.assert_unchanged(&before);
    assert_eq!(web_process(&lab), process);
}
