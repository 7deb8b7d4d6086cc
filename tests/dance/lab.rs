//! A node with the built binary, a universe that it dances to, and eyes on the node's files.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Output;

use testbed::built;
use testbed::node::Node;
use testbed::universe::{EXAMPLE_NODE, RsyncDaemon, Universe};

/// Where the brand puts its binary, its configuration and its state.
pub(crate) const BINARY: &str = "/opt/acme/sbin/acme-disco";
pub(crate) const CONFIGURATION: &str = "/opt/acme/etc/disco/server.conf";
const STATE: &str = "/var/lib/acme-disco";

/// An init script like any other: it keeps a real process, and stops it.
const SERVICE: &str = "#!/bin/sh
case $1 in
start) start-stop-daemon --start --background --make-pidfile --pidfile /run/postgresql.pid --exec /bin/sleep -- 1000 ;;
stop) start-stop-daemon --stop --oknodo --retry 5 --pidfile /run/postgresql.pid ;;
esac
";

pub(crate) struct Lab {
    pub(crate) node: Node,
    _daemon: Option<RsyncDaemon>,
    _universe: Universe,
}

impl Lab {
    /// A node that reaches the universe by the name that is baked into the brand.
    pub(crate) fn with(universe: Universe) -> Lab {
        Lab::on(Node::start(EXAMPLE_NODE).unwrap(), universe)
    }

    /// The same on a node whose files lie on a disk.
    pub(crate) fn on_disk(universe: Universe) -> Lab {
        Lab::on(Node::start_on_disk(EXAMPLE_NODE).unwrap(), universe)
    }

    fn on(node: Node, universe: Universe) -> Lab {
        prepare(&node);
        let daemon = universe.serve(&node.network_prefix(), 873).unwrap();
        Lab { node, _daemon: Some(daemon), _universe: universe }
    }

    /// A node whose universe does not answer.
    pub(crate) fn alone() -> Lab {
        let node = Node::start(EXAMPLE_NODE).unwrap();
        prepare(&node);
        Lab { node, _daemon: None, _universe: Universe::empty().unwrap() }
    }

    /// Runs the binary and returns how it ended.
    pub(crate) fn acme(&self, arguments: &[&str]) -> Ended {
        Ended::from(self.node.command(BINARY).args(arguments).output().unwrap())
    }

    /// What a line of shell on the node prints.
    pub(crate) fn shell(&self, line: &str) -> String {
        String::from_utf8(self.node.shell(line).unwrap().stdout).unwrap()
    }

    /// Every file of the node but the client's own state: path, type, mode, owner, size, time, link target.
    pub(crate) fn files(&self) -> String {
        let listing = self.shell(&format!(
            "find / -xdev -path {STATE} -prune -o -printf '%p %y %m %U:%G %s %T@ %l\\n' | sort; find /run -printf '%p %y\\n' | sort"
        ));
        assert!(listing.lines().count() > 1000, "{listing}");
        listing
    }

    pub(crate) fn assert_unchanged(&self, before: &str) {
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
    node.write(&format!("{STATE}/reports/README"), "", 0o600).unwrap();
}

/// The brand of `examples/acme.toml`, as `cargo xtask test` built it before it started the tests.
pub(crate) fn built_binary() -> PathBuf {
    built::dist("acme").unwrap().join("acme-disco")
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
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
    pub(crate) fn normal(&self) -> String {
        let mut text = String::new();
        for line in self.stdout.lines() {
            let line = blot(line, "device=[", "]");
            text.push_str(&blot(&line, " failed (", " s)"));
            text.push('\n');
        }
        text
    }

    #[track_caller]
    pub(crate) fn failed_with(&self, words: &[&str]) {
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
