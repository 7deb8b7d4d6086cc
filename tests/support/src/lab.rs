//! A node with the built binary of `examples/acme.toml`, a universe that it dances to, and eyes on the node's files.
//!
//! Its methods panic with what went wrong: a lab stands in tests only.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Output;

use crate::built;
use crate::node::Node;
use crate::universe::{EXAMPLE_NODE, RsyncDaemon, Universe};

/// Where the brand puts its binary.
pub const BINARY: &str = "/opt/acme/sbin/acme-disco";
/// Where the brand's configuration lies.
pub const CONFIGURATION: &str = "/opt/acme/etc/disco/server.conf";
/// Where the brand keeps its state.
pub const STATE: &str = "/var/lib/acme-disco";

/// An init script like any other: it keeps a real process, and stops it.
const SERVICE: &str = "#!/bin/sh
case $1 in
start) start-stop-daemon --start --background --make-pidfile --pidfile /run/postgresql.pid --exec /bin/sleep -- 1000 ;;
stop) start-stop-daemon --stop --oknodo --retry 5 --pidfile /run/postgresql.pid ;;
esac
";

/// A node that is ready to dance.
#[derive(Debug)]
pub struct Lab {
    /// The node.
    pub node: Node,
    _daemon: Option<RsyncDaemon>,
    _universe: Universe,
}

/// Who [`Lab::as_user`] is.
pub const USER: &str = "tester";

impl Lab {
    /// A node that reaches the universe by the name that is baked into the brand.
    pub fn with(universe: Universe) -> Lab {
        Lab::on(Node::start(EXAMPLE_NODE).unwrap(), universe)
    }

    /// The same on a node whose files lie on a disk.
    pub fn on_disk(universe: Universe) -> Lab {
        Lab::on(Node::start_on_disk(EXAMPLE_NODE).unwrap(), universe)
    }

    fn on(node: Node, universe: Universe) -> Lab {
        prepare(&node);
        let daemon = universe.serve(&node.network_prefix(), 873).unwrap();
        Lab { node, _daemon: Some(daemon), _universe: universe }
    }

    /// A node whose universe does not answer.
    pub fn alone() -> Lab {
        let node = Node::start(EXAMPLE_NODE).unwrap();
        prepare(&node);
        Lab { node, _daemon: None, _universe: Universe::empty().unwrap() }
    }

    /// Runs the binary and returns how it ended.
    pub fn acme(&self, arguments: &[&str]) -> Ended {
        Ended::from(self.node.command(BINARY).args(arguments).output().unwrap())
    }

    /// What a line of shell on the node prints; bytes that are no text are replaced.
    pub fn shell(&self, line: &str) -> String {
        String::from_utf8_lossy(&self.node.shell(line).unwrap().stdout).into_owned()
    }

    /// A command of a user of the node who has no right at all, and a home.
    pub fn as_user(&self, program: &str) -> std::process::Command {
        self.shell(&format!("id {USER} > /dev/null 2>&1 || useradd --create-home --uid 1000 {USER}"));
        let mut command = self.node.command("setpriv");
        command.args(["--reuid=1000", "--regid=1000", "--clear-groups", program]);
        command.env("HOME", format!("/home/{USER}")).current_dir("/");
        command
    }

    /// Puts a script for bash on the node, at `/opt/NAME`.
    pub fn write_script(&self, name: &str, content: &str) {
        self.node.write(&format!("/opt/{name}"), content, 0o755).unwrap();
    }

    /// Every file of the node but the client's own state: path, type, mode, owner, size, time, link target. Without
    /// `/sys`: its own time is that of the first look that anybody on the machine takes at its attributes.
    pub fn files(&self) -> String {
        let listing = self.shell(&format!(
            "find / -xdev \\( -path {STATE} -o -path /sys \\) -prune -o -printf '%p %y %m %U:%G %s %T@ %l\\n' | sort; find /run -printf '%p %y\\n' | sort"
        ));
        assert!(listing.lines().count() > 1000, "{listing}");
        listing
    }

    /// Panics with every file of the node that is not as it was when `before` was taken by [`Lab::files`].
    #[track_caller]
    pub fn assert_unchanged(&self, before: &str) {
        let after = self.files();
        let (before, after): (BTreeSet<_>, BTreeSet<_>) = (before.lines().collect(), after.lines().collect());
        let differing: Vec<_> = before.symmetric_difference(&after).collect();
        assert!(differing.is_empty(), "{differing:#?}");
    }
}

/// What the package and the site would have brought.
fn prepare(node: &Node) {
    node.write("/etc/hosts", "127.0.0.1 localhost localhost.localdomain universe.acme.example\n", 0o644)
        .unwrap();
    node.write(CONFIGURATION, "# nothing set\n", 0o644).unwrap();
    node.write("/etc/init.d/postgresql", SERVICE, 0o755).unwrap();
    node.write(BINARY, "", 0o755).unwrap();
    node.copy_in(&built_binary(), BINARY).unwrap();
    node.write(&format!("{STATE}/history/README"), "", 0o600).unwrap();
}

/// The brand of `examples/acme.toml`, as `cargo xtask test` built it before it started the tests.
pub fn built_binary() -> PathBuf {
    built::dist("acme").unwrap().join("acme-disco")
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// Exit code, -1 if a signal ended it.
    pub code: i32,
    /// All it wrote to standard output.
    pub stdout: String,
    /// All it wrote to standard error.
    pub stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Ended {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ended {
    /// Standard output with times and device numbers blotted out.
    pub fn normal(&self) -> String {
        let mut text = String::new();
        for line in self.stdout.lines() {
            let line = blot(line, "device=[", "]");
            text.push_str(&blot(&line, " failed (", " s)"));
            text.push('\n');
        }
        text
    }

    /// Panics unless it ended with code 1 and said all these words on standard error.
    #[track_caller]
    pub fn failed_with(&self, words: &[&str]) {
        assert_eq!(self.code, 1, "{self:#?}");
        for word in words {
            assert!(self.stderr.contains(word), "`{word}` is not in {self:#?}");
        }
    }
}

fn blot(line: &str, before: &str, after: &str) -> String {
    let found = line.split_once(before).and_then(|(head, rest)| Some((head, rest.split_once(after)?.1)));
    match found {
        Some((head, tail)) => format!("{head}{before}_{after}{tail}"),
        None => line.to_owned(),
    }
}
