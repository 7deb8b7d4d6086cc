//! A throw-away node: a root of its own in mount, pid, network, ipc and host name namespaces of its own.
//!
//! ```text
//! target/testbed/node-XXXX/root/      the node's files, or where its layers are mounted; gone with the guard
//! ```
//!
//! The first process inside waits for the end of its standard input; when the guard is dropped, or the test dies, it
//! ends, and with it everything inside: that is what the first process of a pid namespace means.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sched::CloneFlags;
use tempfile::TempDir;

use crate::node_root;

/// Puts the node's root together and stays as its first process. Arguments: the root, the host name, and for a node in
/// memory the lower layer.
const FIRST_PROCESS: &str = r#"
set -e
if [ -n "$3" ]; then
    mount -t tmpfs layers "$1"
    mkdir "$1/upper" "$1/work" "$1/root"
    mount -t overlay overlay -o "lowerdir=$3,upperdir=$1/upper,workdir=$1/work" "$1/root"
    cd "$1/root"
else
    mount --bind "$1" "$1"
    cd "$1"
fi
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs tmpfs run
mount --rbind /dev dev
mkdir -p run/old-root
pivot_root . run/old-root
umount -l /run/old-root
rmdir /run/old-root
hostname "$2"
ip link set lo up
echo ready
# bash takes note of the end of every orphan that it inherits as the first process; dash and cat do not.
exec bash -c 'read -r'
"#;

/// How long a node may take to end by itself.
const END: Duration = Duration::from_secs(5);

/// A running node.
#[derive(Debug)]
pub struct Node {
    holder: Child,
    first: u32,
    host_name: String,
    _directory: TempDir,
}

impl Node {
    /// Starts a node whose files are a layer in memory over a small Debian: its root is an overlay.
    ///
    /// # Errors
    /// Says what is missing; nothing is left running.
    pub fn start(host_name: &str) -> Result<Self> {
        Node::start_over(host_name, Some(&node_root::unpacked()?))
    }

    /// Starts a node with a copy of a small Debian on disk; slower, and like most machines.
    ///
    /// # Errors
    /// Says what is missing; nothing is left running.
    pub fn start_on_disk(host_name: &str) -> Result<Self> {
        Node::start_over(host_name, None)
    }

    fn start_over(host_name: &str, lower: Option<&Path>) -> Result<Self> {
        ensure!(
            nix::unistd::geteuid().is_root(),
            "a throw-away node needs root: it mounts and makes namespaces"
        );
        let directory =
            tempfile::Builder::new().prefix("node-").tempdir_in(node_root::kept_below_target()?)?;
        let root = directory.path().join("root");
        fs::create_dir(&root)?;
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755))?;
        if lower.is_none() {
            node_root::unpack(&root)?;
        }
        let mut holder = Command::new("unshare")
            .args([
                "--mount",
                "--uts",
                "--net",
                "--ipc",
                "--pid",
                "--fork",
                "--kill-child",
                "--propagation",
                "private",
            ])
            .args(["sh", "-c", FIRST_PROCESS, "first-process"])
            .arg(&root)
            .arg(host_name)
            .args(lower)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start unshare (package util-linux)")?;
        let mut said = String::new();
        BufReader::new(holder.stdout.as_mut().expect("it is piped")).read_line(&mut said)?;
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", holder.id()));
        let mut node = Node { holder, first: 0, host_name: host_name.to_owned(), _directory: directory };
        ensure!(said == "ready\n", "the node did not come up; its own words are above");
        node.first = children?.trim().parse().context("the node has no first process")?;
        Ok(node)
    }

    /// Its host name.
    pub fn host_name(&self) -> &str {
        &self.host_name
    }

    /// The node's file at an absolute path, as this process reaches it. Only for paths without links.
    pub fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.first)).join(inside.trim_start_matches('/'))
    }

    /// Writes a file of the node, and its directories.
    ///
    /// # Errors
    /// With the path.
    pub fn write(&self, inside: &str, content: &str, mode: u32) -> Result<()> {
        let path = self.path(inside);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        Ok(())
    }

    /// Copies a file of this machine to the node.
    ///
    /// # Errors
    /// With the path.
    pub fn copy_in(&self, from: &Path, inside: &str) -> Result<()> {
        fs::copy(from, self.path(inside))
            .with_context(|| format!("cannot copy {} to the node", from.display()))?;
        Ok(())
    }

    /// A command that runs inside the node as its root, with an environment of its own.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--mount", "--uts", "--net", "--ipc", "--pid", "--root", "--wd"])
            .arg(format!("--target={}", self.first))
            .args(["--", program])
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", "/root")
            .stdin(Stdio::null());
        command
    }

    /// Runs a line of shell inside the node and returns what it said.
    ///
    /// # Errors
    /// It could not be started. A line that fails is the caller's to judge.
    pub fn shell(&self, line: &str) -> Result<Output> {
        Ok(self.command("sh").args(["-c", line]).output()?)
    }

    /// Does something of this process in the node's network, on a thread of its own.
    ///
    /// # Errors
    /// The network cannot be entered, or what was done there failed.
    pub fn in_network<T: Send>(&self, doing: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.on_a_thread_in(&["net"], doing)
    }

    /// Does something of this process inside the node, on a thread of its own: paths are the node's, and so is whatever
    /// the thread starts.
    ///
    /// # Errors
    /// The node cannot be entered, or what was done there failed.
    pub fn inside<T: Send>(&self, doing: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.on_a_thread_in(&["pid", "ipc", "uts", "net", "mnt"], doing)
    }

    fn on_a_thread_in<T: Send>(
        &self,
        namespaces: &[&str],
        doing: impl FnOnce() -> Result<T> + Send,
    ) -> Result<T> {
        let open = |name: &&str| fs::File::open(format!("/proc/{}/ns/{name}", self.first));
        let namespaces = namespaces.iter().map(open).collect::<std::io::Result<Vec<_>>>()?;
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                // A thread that shares its root directory with others may not change it.
                nix::sched::unshare(CloneFlags::CLONE_FS)?;
                for namespace in namespaces {
                    nix::sched::setns(namespace, CloneFlags::empty())?;
                }
                doing()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Words before a command of this machine that is to run in the node's network.
    pub fn network_prefix(&self) -> Vec<String> {
        vec!["nsenter".into(), format!("--target={}", self.first), "--net".into(), "--".into()]
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // At the end of its input the first process ends, everything inside with it, and `unshare` takes note of it: so
        // nothing is left for this machine's own first process, which in a container may take note of nobody's end.
        drop(self.holder.stdin.take());
        let deadline = Instant::now() + END;
        while matches!(self.holder.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.holder.kill();
            }
            std::thread::park_timeout(Duration::from_millis(2));
        }
        let directory = self._directory.path();
        if fs::remove_dir_all(directory).is_err() {
            // Something in it was made immutable; removing it is tried once more after this.
            let mut release = Command::new("chattr");
            release.args(["-R", "-f", "-i", "-a"]).arg(directory);
            let _ = release.stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_a_root_a_name_and_a_network_of_its_own_and_leaves_nothing_behind() {
        for start in [Node::start, Node::start_on_disk] {
            let node = start("n1.example").unwrap();
            let directory = node._directory.path().to_owned();
            let first = node.first;
            let said = node
                .shell("hostname; ls /sys/class/net; echo $$ > /etc/mark; chattr +i /etc/mark; ls /proc | grep -c '^[0-9]'")
                .unwrap();
            let said = String::from_utf8(said.stdout).unwrap();
            assert!(said.starts_with("n1.example\nlo\n"), "{said}");
            assert!(!Path::new("/etc/mark").exists(), "the node wrote to this machine");
            drop(node);
            assert!(!directory.exists());
            let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
            assert!(!mounts.contains(directory.to_str().unwrap()));
            assert!(
                !Path::new(&format!("/proc/{first}")).exists(),
                "the node's first process is still there"
            );
        }
    }
}
