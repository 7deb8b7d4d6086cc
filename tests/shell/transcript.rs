//! The session of the original's documentation, step by step as written there, in a person's terminal: what is printed is
//! compared line by line.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use nix::pty::openpty;
use testbed::lab::{BINARY, Ended, Lab};
use testbed::universe::Universe;

/// The commands of the original that the session uses, as the package installs them beside the binary.
const NAMES: &[&str] =
    &["disco-fs-mount", "disco-fs-init", "disco-fs-diff", "disco-fs-unmount", "disco-sh-shell"];

/// Prompt of a restricted shell, which reads no start-up files.
const PROMPT: &str = "bash-5.2# ";

const DANCE: &str = "\
error: othermodule-3.2: rsync: link_stat \"/files/*\" (in othermodule-3.2) failed: No such file or directory (2)
error: testmodule-1.0: rsync: link_stat \"/files/*\" (in testmodule-1.0) failed: No such file or directory (2)
info: Processing othermodule-3.2
info: File: file: /etc/othermodule/stuff.cfg : Created : type=[regular file] device=[_] mode=[81a4] selinux=[?] md5=[77b20e4840b1be13a577e152edc6b443] perms=[root:root 644]
0a1,2
> HOST=localhost.localdomain
> KEY_VALUE=LOLTHISKEYMEANSNOTHING
info: Processing testmodule-1.0
Hello, disco
";

/// A program on a terminal, with somebody who types and reads.
struct Terminal {
    program: Child,
    keys: File,
    shown: Receiver<Vec<u8>>,
}

impl Terminal {
    fn of(command: &mut Command) -> Terminal {
        let pty = openpty(None, None).unwrap();
        let stream = || Stdio::from(pty.slave.try_clone().unwrap());
        command.env("TERM", "dumb").stdin(stream()).stdout(stream()).stderr(stream());
        let program = command.spawn().unwrap();
        // The command has copies of the program's end, which would keep it open.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let (sender, shown) = channel();
        let mut screen = File::from(pty.master.try_clone().unwrap());
        std::thread::spawn(move || {
            let mut buffer = vec![0; 4096];
            // A terminal whose last program went away says EIO.
            while let Ok(length @ 1..) = screen.read(&mut buffer) {
                let _ = sender.send(buffer[..length].to_vec());
            }
        });
        Terminal { program, keys: File::from(pty.master), shown }
    }

    /// Reads until the screen ends with `end`.
    fn until(&self, end: &str) -> String {
        let mut text = Vec::new();
        while !text.ends_with(end.as_bytes()) {
            let more = self.shown.recv_timeout(Duration::from_secs(20));
            text.extend(
                more.unwrap_or_else(|_| panic!("no {end:?} after {}", String::from_utf8_lossy(&text))),
            );
        }
        String::from_utf8(text).unwrap().replace("\r\n", "\n")
    }

    /// Types a line and reads what is shown up to the next prompt, the echo of the line included.
    fn enter(&mut self, line: &str) -> String {
        self.keys.write_all(format!("{line}\n").as_bytes()).unwrap();
        let shown = self.until(PROMPT);
        shown.strip_suffix(PROMPT).unwrap().to_owned()
    }

    /// Waits for the program's end and returns its exit code.
    fn end(mut self) -> i32 {
        self.program.wait().unwrap().code().unwrap_or(-1)
    }
}

#[test]
fn the_session_of_the_documentation_works_as_it_is_written_there() {
    let lab = Lab::on_disk(Universe::example().unwrap());
    for name in NAMES {
        lab.shell(&format!("ln -s {BINARY} /usr/local/bin/{name}"));
    }
    lab.shell("service postgresql start; chmod 700 /root");
    let run = |name: &str| lab.shell(&format!("NOOP=true {name} 2>&1; echo $?"));

    assert_eq!(run("disco-fs-mount"), "info: The noop sandbox is mounted\n0\n");
    assert_eq!(run("disco-fs-init"), "info: The noop sandbox is mounted, and nothing is changed in it\n0\n");

    let noop = lab.acme(&["dance", "--noop"]);
    let expected = format!(
        "{DANCE}warning: Would execute : service postgresql stop\n\
         noop: 2 modules, 1 created, 0 modified, 0 deleted, 1 command held back, 0 failed (_ s)\n"
    );
    assert_eq!((noop.normal(), noop.code), (expected, 0));
    let live = lab.acme(&["dance"]);
    let expected = format!(
        "{DANCE}info: Deferred : service postgresql stop\ninfo: Executed : service postgresql stop\n\
         live: 2 modules, 1 created, 0 modified, 0 deleted, 1 command deferred, 0 failed (_ s)\n"
    );
    assert_eq!((live.normal(), live.code), (expected, 0));

    let before = lab.files();
    let (passwd, shadow) = (lab.shell("cat /etc/passwd"), lab.shell("cat /etc/shadow"));
    let typed = restricted_session(&lab, &shadow);
    lab.assert_unchanged(&before);

    let diff = lab.node.command("disco-fs-diff").env("NOOP", "true").output().unwrap();
    assert_eq!(normal(&Ended::from(diff)), expected_diff(&passwd, &shadow, typed));
    let asked = Terminal::of(lab.node.command("disco-fs-diff").args(["--noop", "--show-secrets"]));
    let shown = asked.until("deleted\r\n");
    let removed = shadow.lines().find(|line| line.starts_with("root:")).unwrap();
    assert!(shown.contains(&format!("\n< {removed}\n")), "{shown}");
    assert_eq!(asked.end(), 0);
    assert_eq!(run("disco-fs-unmount"), "info: The noop sandbox is gone, and everything in it\n0\n");

    let report = lab.acme(&["report"]).stdout;
    assert_eq!(figures_blotted(&report), expected_report());
}

/// What a person types and sees; returns the length of what was typed.
fn restricted_session(lab: &Lab, shadow: &str) -> usize {
    let mut terminal = Terminal::of(lab.node.command("disco-sh-shell").env("NOOP", "true"));
    assert_eq!(terminal.until(PROMPT), PROMPT);

    let kept = lines_without_root(shadow);
    let mut history = 0;
    for (typed, answer) in [
        ("rm -f /etc/passwd", String::new()),
        ("ls /etc/passwd", "ls: cannot access '/etc/passwd': No such file or directory\n".to_owned()),
        ("grep -v root /etc/shadow | tee tmpfile", kept),
        ("mv tmpfile /etc/shadow", String::new()),
        (
            "echo LOL > /var/lib/p0wnt",
            "bash: /var/lib/p0wnt: restricted: cannot redirect output\n".to_owned(),
        ),
        ("echo LOL | tee /var/lib/p0wnt", "LOL\n".to_owned()),
        ("touch /bin/myhotbash", String::new()),
        ("service postgresql start", "warning: Would execute : service postgresql start\n".to_owned()),
        ("/bin/perl -e 1", "bash: /bin/perl: restricted: cannot specify `/' in command names\n".to_owned()),
        ("perl -e 1", "warning: Would execute : perl -e 1\n".to_owned()),
        ("cd /tmp", "bash: cd: restricted\n".to_owned()),
        ("PATH=/usr/bin", "bash: PATH: readonly variable\n".to_owned()),
        ("grep root /etc/group | disco-shutup", String::new()),
    ] {
        assert_eq!(terminal.enter(typed), format!("{typed}\n{answer}"), "after `{typed}`");
        history += typed.len() + 1;
    }
    terminal.keys.write_all(b"exit\n").unwrap();
    assert_eq!(terminal.until("exit\r\nexit\r\n"), "exit\nexit\n");
    assert_eq!(terminal.end(), 0);
    history + "exit\n".len()
}

/// What can be told of a file that is not the same on every machine is blotted out: its device, and here its digest.
fn normal(ended: &Ended) -> String {
    let mut text = ended.normal();
    let digest = |word: &&str| word.len() == 32 && word.chars().all(|c| c.is_ascii_hexdigit());
    let digests =
        |text: &str| text.split(|c: char| !c.is_ascii_alphanumeric()).find(digest).map(str::to_owned);
    while let Some(found) = digests(&text) {
        text = text.replace(&found, "_");
    }
    text
}

fn expected_diff(passwd: &str, shadow: &str, typed: usize) -> String {
    let lines = passwd.lines().count();
    let removed: String = passwd.lines().map(|line| format!("< {line}\n")).collect();
    let after = lines_without_root(shadow);
    let created = "Created : type=[regular file] device=[_]";
    format!(
        "info: File: file: /etc/passwd : Deleted\n1,{lines}d0\n{removed}\
         info: File: file: /etc/shadow : Modified : md5=[_ => _] perms=[root:shadow 640 => root:root 644] mode=[81a0 => 81a4]\n\
         (secret content, not shown: {} bytes with md5 _ => {} bytes with md5 _)\n\
         info: File: file: /root/.bash_history : {created} mode=[8180] selinux=[?] md5=[_] perms=[root:root 600]\n\
         (secret content, not shown: nothing => {typed} bytes with md5 _)\n\
         info: File: file: /usr/bin/myhotbash : Created : type=[regular empty file] device=[_] mode=[81a4] selinux=[?] \
         md5=[_] perms=[root:root 644]\n\
         info: File: file: /var/lib/p0wnt : {created} mode=[81a4] selinux=[?] md5=[_] perms=[root:root 644]\n\
         0a1\n> LOL\nnoop: 3 created, 1 modified, 1 deleted\n",
        shadow.len(),
        after.len(),
    )
}

fn lines_without_root(text: &str) -> String {
    text.lines().filter(|line| !line.contains("root")).map(|line| format!("{line}\n")).collect()
}

/// The report without its volatile parts: the figures but for exit codes, and which steps were the slowest.
fn figures_blotted(report: &str) -> String {
    let (steps, slowest) = report.split_once("report: _slowest:\n").unwrap();
    assert_eq!(slowest.lines().filter(|line| line.contains(" s : ")).count(), 5, "{slowest}");
    let blotted = |line: &str| {
        let figures = line.starts_with("report:    ") && !line.contains("exit: ");
        let blot = |word| if figures && str::parse::<f64>(word).is_ok() { "_" } else { word };
        line.split(' ').map(blot).collect::<Vec<_>>().join(" ") + "\n"
    };
    steps.lines().map(blotted).collect()
}

fn expected_report() -> String {
    let mut report = String::new();
    for (step, item) in [
        ("_internal: fetch_params", ""),
        ("_internal: merge", ""),
        ("_internal: deferred", ""),
        ("othermodule-3.2: fetch", ""),
        ("othermodule-3.2: template", "etc/othermodule/stuff.cfg"),
        ("othermodule-3.2: diff", ""),
        ("testmodule-1.0: fetch", ""),
        ("testmodule-1.0: exec", "00-hello.sh"),
        ("testmodule-1.0: exec", "10-service_stop.sh"),
        ("testmodule-1.0: diff", ""),
        ("_total: 10 steps", ""),
    ] {
        report.push_str(&format!("report: {step}\n"));
        let mut indent = "report:    ".to_owned();
        if !item.is_empty() {
            report.push_str(&format!("{indent}{item} :\n"));
            indent.push_str("   ");
        }
        for figures in [
            "time_real _ : time_user _ : time_sys _",
            "mem_avg _ : mem_max _ : mem_faults_major _ : mem_faults_minor _",
            "io_fsin _ : io_fsout _ : io_sockin _ : io_sockout _ : io_signals _",
            "exit: 0",
        ] {
            report.push_str(&format!("{indent}{figures}\n"));
        }
    }
    report
}
