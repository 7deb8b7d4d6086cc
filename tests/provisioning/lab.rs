//! Brands built once for all tests here, their brokers, and a guard around a running node.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use testbed::authority::Authority;
use testbed::brand;
use testbed::broker::{Broker, Options, ServerCertificate, free_port};
use testbed::built;
use testbed::wire::Requester;

/// The provisioning token of all brands.
pub(crate) const TOKEN: &str = "lab-Token-7Qm2xV9sLw4R";

/// Longest time that anything here may take; reached only where something is wrong.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How long silence must last to be believed. A node on loopback answers within milliseconds.
pub(crate) const SILENCE: Duration = Duration::from_millis(700);

/// The facts of every node here.
pub(crate) fn facts() -> Value {
    json!({"os": {"family": "Debian"}, "rack": "a3", "cpus": 4})
}

/// A branded binary, the port of the only broker that it knows, and a directory of its own.
pub(crate) struct Lab {
    binary: PathBuf,
    port: u16,
    directory: PathBuf,
}

/// The right to run nodes and the broker of a brand; one test at a time, because the broker's port is in the binary.
pub(crate) struct Bench {
    lab: &'static Lab,
    _turn: MutexGuard<'static, ()>,
}

/// The brand that speaks to its broker without TLS.
pub(crate) fn plain() -> Bench {
    static LAB: OnceLock<Lab> = OnceLock::new();
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    Bench { lab: LAB.get_or_init(|| Lab::build("wireplain", "tls = false")), _turn: turn }
}

/// The brand that pins an authority, and that authority.
pub(crate) fn pinned() -> (Bench, &'static Authority) {
    static LAB: OnceLock<(Lab, Authority)> = OnceLock::new();
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (lab, authority) = LAB.get_or_init(|| {
        let authority = Authority::new("Lab provisioning authority").unwrap();
        fs::write(directory_of("wirepinned").join("ca.pem"), authority.pem()).unwrap();
        (Lab::build("wirepinned", "tls = true\nca = \"ca.pem\""), authority)
    });
    (Bench { lab, _turn: turn }, authority)
}

/// A brand whose brokers a resolver of the test's own finds, in a file of its directory; the baked list is the port.
pub(crate) fn resolved() -> Bench {
    static LAB: OnceLock<Lab> = OnceLock::new();
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let lab = LAB.get_or_init(|| {
        let directory = directory_of("wireresolved");
        write_resolver(&directory);
        let plug = "tls = false\n[resolver]\ncrate = \"lab-targets\"\npath = \"lab-targets\"";
        Lab::build("wireresolved", plug)
    });
    Bench { lab, _turn: turn }
}

/// A brand whose brokers its domain names, and whose agent has every action.
pub(crate) fn named() -> Bench {
    static LAB: OnceLock<Lab> = OnceLock::new();
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let lab = LAB.get_or_init(|| {
        let more = "tls = false\nreprovision = true\nshutdown = true";
        Lab::knowing("wirenamed", &|_| format!("srv_domain = \"{DOMAIN}\""), more)
    });
    Bench { lab, _turn: turn }
}

/// A brand with agents of two crates beside the built-in ones: the example by its path, a hostile one by its commit.
pub(crate) fn with_agents() -> Bench {
    static LAB: OnceLock<Lab> = OnceLock::new();
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let lab = LAB.get_or_init(|| {
        let directory = directory_of("wireagents");
        let commit = write_agents(&directory.join("lab-agents"));
        let example = built::project().unwrap().join("examples/hello-agent");
        let plugs = format!(
            "tls = false\n\
             [[agents]]\ncrate = \"hello-agent\"\npath = \"{}\"\n\
             [[agents]]\ncrate = \"lab-agents\"\ngit = \"file://{}/lab-agents\"\nrev = \"{commit}\"",
            example.display(),
            directory.display()
        );
        Lab::build("wireagents", &plugs)
    });
    Bench { lab, _turn: turn }
}

/// A crate whose agent panics and hangs, in a git repository of its own; returns its commit.
fn write_agents(root: &Path) -> String {
    fs::create_dir_all(root.join("src")).unwrap();
    let manifest = "[package]\nname = \"lab-agents\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\
                    [dependencies]\ndisco-sdk = \"0.1\"\n[workspace]\n";
    fs::write(root.join("Cargo.toml"), manifest).unwrap();
    let code = r#"//! Goes wrong in every way.
use disco_sdk::{Action, Agent, AgentInfo, Call, Failure};

struct Wrong;

impl Agent for Wrong {
    fn info(&self) -> AgentInfo {
        let info = AgentInfo::new("lab_wrong", "0.1.0").timeout(std::time::Duration::from_secs(2));
        info.action(Action::new("panic", "")).action(Action::new("hang", ""))
    }

    fn invoke(&self, call: &Call<'_>) -> Result<String, Failure> {
        match call.action {
            "panic" => panic!("a bug in lab_wrong"),
            _ => loop {
                std::thread::park();
            },
        }
    }
}

pub fn agents() -> Vec<Box<dyn Agent>> {
    vec![Box::new(Wrong)]
}
"#;
    fs::write(root.join("src/lib.rs"), code).unwrap();
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.arg("-C").arg(root).args(["-c", "user.name=Lab", "-c", "user.email=lab@wire.example"]);
        // The same files are the same commit, whenever the test runs.
        git.env("GIT_AUTHOR_DATE", "2026-01-01T00:00:00Z").env("GIT_COMMITTER_DATE", "2026-01-01T00:00:00Z");
        let output = git.args(arguments).output().unwrap();
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    git(&["init", "--quiet"]);
    git(&["add", "--all"]);
    git(&["commit", "--quiet", "--allow-empty", "--message", "agents"]);
    git(&["rev-parse", "HEAD"])
}

/// A resolver crate as a site would write it: the last line of a file is the broker, and no file is an error.
fn write_resolver(directory: &Path) {
    let root = directory.join("lab-targets");
    fs::create_dir_all(root.join("src")).unwrap();
    let manifest = "[package]\nname = \"lab-targets\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\
                    [dependencies]\ndisco-sdk = \"0.1\"\n[workspace]\n";
    fs::write(root.join("Cargo.toml"), manifest).unwrap();
    let code = r#"//! Finds the broker in a file.
use disco_sdk::{Node, ResolveError, Settings, Target, TargetResolver};

struct File;

impl TargetResolver for File {
    fn name(&self) -> &str {
        "lab-targets"
    }

    fn targets(&self, _: &Node, _: &Settings, _: std::time::Instant) -> Result<Vec<Target>, ResolveError> {
        let port = std::fs::read_to_string("@FILE@").map_err(|error| ResolveError::new(error.to_string()))?;
        let port = port.trim().parse().map_err(|_| ResolveError::new("no port"))?;
        Ok(vec![Target::new("127.0.0.1", port)])
    }
}

pub fn target_resolver() -> impl TargetResolver {
    File
}
"#;
    let file = directory.join("target-port");
    fs::write(root.join("src/lib.rs"), code.replace("@FILE@", file.to_str().unwrap())).unwrap();
}

/// The binary of a brand that cannot be provisioned.
pub(crate) fn without_provisioning() -> PathBuf {
    let directory = directory_of("wirenone");
    let spec = "[brand]\n\
                name = \"wirenone\"\n\
                display_name = \"Wire None\"\n\
                vendor = \"Wire Lab\"\n\
                contact = \"Lab <lab@wire.example>\"\n\
                url = \"https://wire.example\"\n\
                summary = \"A node that nobody provisions\"\n\
                [client]\n\
                server = \"universe.wire.example\"\n";
    brand::build(spec, &directory).unwrap()
}

fn directory_of(brand: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(brand);
    fs::create_dir_all(&directory).unwrap();
    directory
}

impl Lab {
    /// A brand that knows one broker, by the port that is free.
    fn build(name: &str, more: &str) -> Self {
        Lab::knowing(name, &|port| format!("brokers = [\"127.0.0.1:{port}\"]"), more)
    }

    fn knowing(name: &str, brokers: &dyn Fn(u16) -> String, more: &str) -> Self {
        let directory = directory_of(name);
        let port = free_port().unwrap();
        let lies_at = directory.display();
        let brokers = brokers(port);
        let spec = format!(
            "[brand]\n\
             name = \"{name}\"\n\
             display_name = \"Wire Lab\"\n\
             vendor = \"Wire Lab\"\n\
             contact = \"Lab <lab@wire.example>\"\n\
             url = \"https://wire.example\"\n\
             summary = \"A node for tests of the wire\"\n\
             version = \"1.2.3\"\n\
             [paths]\n\
             etcdir = \"{lies_at}/etc\"\n\
             vardir = \"{lies_at}/var\"\n\
             [features]\n\
             provisioning = true\n\
             plaintext-brokers = true\n\
             [client]\n\
             server = \"universe.wire.example\"\n\
             [provisioning]\n\
             default = true\n\
             {brokers}\n\
             token = \"{TOKEN}\"\n\
             facts = \"{lies_at}/facts.json\"\n\
             registration_data = \"{lies_at}/facts.json\"\n\
             status_file = \"{lies_at}/status.json\"\n\
             {more}\n"
        );
        let binary = brand::build(&spec, &directory).unwrap();
        fs::write(directory.join("facts.json"), facts().to_string()).unwrap();
        Lab { binary, port, directory }
    }
}

impl Bench {
    /// Starts the broker that the binary knows.
    pub(crate) fn broker(&self) -> Broker {
        Broker::start_with(&Options { port: Some(self.lab.port), ..Options::default() }).unwrap()
    }

    /// Starts the broker with a certificate.
    pub(crate) fn tls_broker(&self, certificate: ServerCertificate) -> Broker {
        let options = Options { port: Some(self.lab.port), tls: Some(certificate), ..Options::default() };
        Broker::start_with(&options).unwrap()
    }

    /// The branded binary.
    pub(crate) fn binary(&self) -> &Path {
        &self.lab.binary
    }

    /// The directory of this brand's tests.
    pub(crate) fn directory(&self) -> &Path {
        &self.lab.directory
    }

    /// The status file that the binary writes.
    pub(crate) fn status_file(&self) -> PathBuf {
        self.lab.directory.join("status.json")
    }

    /// Starts a node with a fresh configuration directory and no configuration.
    pub(crate) fn node(&self) -> Node {
        Node::start(Command::new(&self.lab.binary), None, None)
    }

    /// Starts a node that asks this server for names.
    pub(crate) fn node_asking(&self, names: &Names) -> Node {
        Node::start(names.asked_by(&self.lab.binary), None, None)
    }

    /// The port of the broker that [`Bench::broker`] starts.
    pub(crate) fn port(&self) -> u16 {
        self.lab.port
    }

    /// Starts a node with this configuration.
    pub(crate) fn node_with(&self, configuration: &str) -> Node {
        Node::start(Command::new(&self.lab.binary), Some(configuration), None)
    }

    /// Starts a node under a service manager that listens on this socket.
    pub(crate) fn node_notifying(&self, socket: &Path) -> Node {
        Node::start(Command::new(&self.lab.binary), None, Some(socket))
    }
}

/// Domain of the brand whose brokers are looked up.
pub(crate) const DOMAIN: &str = "prov.wire.example";

/// A server of names on loopback; ended when dropped.
pub(crate) struct Names {
    child: Child,
    directory: tempfile::TempDir,
}

impl Names {
    /// An address of its own, so that no other server on this machine is in the way.
    const ADDRESS: &str = "127.53.77.1";

    /// Answers for [`DOMAIN`] with these records: priority, host and port. All hosts are this machine.
    pub(crate) fn serve(records: &[(u16, &str, u16)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("resolv.conf"), format!("nameserver {}\n", Self::ADDRESS)).unwrap();
        let mut command = Command::new("dnsmasq");
        command.args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--user=root",
        ]);
        command.args(["--bind-interfaces", "--pid-file=", "--address=/wire.example/127.0.0.1"]);
        command.arg(format!("--listen-address={}", Self::ADDRESS));
        for (priority, host, port) in records {
            command.arg(format!("--srv-host=_choria-provisioner._tcp.{DOMAIN},{host},{port},{priority}"));
        }
        let child = command.spawn().expect("dnsmasq starts");
        let deadline = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect((Self::ADDRESS, 53)).is_err() {
            assert!(Instant::now() < deadline, "dnsmasq does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
        Names { child, directory }
    }

    /// Runs a program that asks this server, in a mount namespace of its own.
    fn asked_by(&self, program: &Path) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-ec", "mount --bind \"$0\" /etc/resolv.conf; exec \"$@\""]);
        command.arg(self.directory.path().join("resolv.conf")).arg(program);
        command
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A running node; killed when dropped.
pub(crate) struct Node {
    child: Child,
    log: Receiver<String>,
    seen: Vec<String>,
    etcdir: tempfile::TempDir,
}

impl Node {
    fn start(mut command: Command, configuration: Option<&str>, notify: Option<&Path>) -> Self {
        let etcdir = tempfile::tempdir().unwrap();
        let file = etcdir.path().join("server.conf");
        if let Some(text) = configuration {
            fs::write(&file, text).unwrap();
        }
        command.env_remove("NOTIFY_SOCKET");
        if let Some(socket) = notify {
            command.env("NOTIFY_SOCKET", socket);
        }
        let mut child = command
            .args(["server", "run", "--config"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, log) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Node { child, log, seen: Vec::new(), etcdir }
    }

    /// Waits until the log has a line with this text, and returns that line.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.log.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("the node never said {text:?}, but:\n{}", self.seen.join("\n"))
                }
            }
        }
    }

    /// Waits until the node listens.
    pub(crate) fn connected(mut self) -> Self {
        self.wait_for("info: connected to ");
        self
    }

    /// Everything in the log so far.
    pub(crate) fn log(&mut self) -> String {
        self.seen.extend(self.log.try_iter());
        self.seen.join("\n")
    }

    /// Where its keys go.
    pub(crate) fn ssl_directory(&self) -> PathBuf {
        self.etcdir.path().join("ssl")
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        self.wait()
    }

    /// Waits for the end; the log is complete then.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        // Its stderr ends with it.
        while let Ok(line) = self.log.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            self.seen.push(line);
        }
        match self.child.try_wait().unwrap() {
            Some(status) => status,
            None if Instant::now() < deadline => self.child.wait().unwrap(),
            None => panic!("the node does not end:\n{}", self.seen.join("\n")),
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The one node that answers a discovery.
pub(crate) fn only_node(requester: &mut Requester) -> String {
    let found = requester.discover(&json!({}), PATIENCE).unwrap();
    let [identity] = found.as_slice() else { panic!("discovered {found:?}") };
    identity.clone()
}
