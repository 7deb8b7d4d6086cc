//! The whole product in one command: the example appliance is built, installed on a throw-away node, danced on real
//! input, and met by a broker. Everything it shows is what the programs print; everything it made is gone afterwards.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use testbed::broker::{Broker, Options};
use testbed::node::Node;
use testbed::universe::{EXAMPLE_NODE, Universe};
use testbed::wire::Requester;

use crate::build::Until;
use crate::project::Project;
use crate::{flags, matrix, setup};

/// The spec that is built; what it bakes is all that the node knows.
const SPEC: &str = "examples/acme.toml";

/// The names that the spec bakes lead to this machine's node.
const HOSTS: &str =
    "127.0.0.1 localhost localhost.localdomain universe.acme.example prov1.acme.example prov2.acme.example\n";

/// Facts that a site's installer would have left on the node.
const FACTS: &str = "{\"site\": \"demo\", \"rack\": \"r7\", \"os\": {\"family\": \"Debian\"}}\n";

/// A small service with a real process, for the example module to stop.
const SERVICE: &str = "#!/bin/sh
pid=/run/postgresql.pid
case $1 in
start) start-stop-daemon --start --background --make-pidfile --pidfile $pid --exec /bin/sleep -- infinity ;;
stop) start-stop-daemon --stop --oknodo --retry 5 --pidfile $pid && echo \"postgresql: stopped\" ;;
status) if start-stop-daemon --status --pidfile $pid; then echo \"postgresql: running\"; else echo \"postgresql: not running\"; fi ;;
esac
";

/// Where the node's own commands are.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How long the node may take until the broker hears of it.
const APPEAR: Duration = Duration::from_secs(20);

/// Shows everything, in the order in which a node would live it; or stops at the installed node and gives a shell there.
pub(crate) fn run(project: &Project, arguments: &flags::Demo) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "the demo needs root: it makes a throw-away node with mounts and namespaces and installs a package there. \
             As another user this much works: cargo xtask spec show --spec {SPEC}, cargo xtask build --spec {SPEC}"
        );
    }
    heading("set-up: what this machine needs for the demo");
    setup::run(project, &flags::Setup::default())?;

    heading("build: from a spec to an installed package");
    let spec = vec![project.root.join(SPEC)];
    say(&format!("$ cargo xtask build --spec {SPEC}"));
    matrix::run(project, &flags::Build { spec, ..flags::Build::default() }, Until::Packages)?;

    heading("node: a throw-away Debian in namespaces of its own");
    say("the first time its files are fetched by mmdebstrap, which takes half a minute");
    let node = Node::start_on_disk(EXAMPLE_NODE)?;
    furnish(&node)?;
    let universe = arguments.universe.as_deref().map_or_else(Universe::example, Universe::at)?;
    let _daemon = universe.serve(&node.network_prefix(), 873)?;
    on_node(&node, "dpkg -i /root/acme-disco.deb")?;
    match arguments.shell {
        true => shell(&node),
        false => journey(project, &node),
    }
}

/// What a site's installer would have left on the node, and the package.
fn furnish(node: &Node) -> Result<()> {
    node.write("/etc/hosts", HOSTS, 0o644)?;
    node.write("/opt/acme/etc/node.json", FACTS, 0o644)?;
    node.write("/etc/init.d/postgresql", SERVICE, 0o755)?;
    node.copy_in(&testbed::built::dist_file("acme", ".deb")?, "/root/acme-disco.deb")
}

/// The person at the terminal takes over; or whatever feeds the standard input.
fn shell(node: &Node) -> Result<()> {
    heading("shell: try `acme-disco dance --noop`; the node is gone when you leave");
    // How the last command of the shell ended is the person's business.
    let mut bash = node.command("bash");
    bash.args(["--norc"])
        .env("PS1", format!("{EXAMPLE_NODE}# "))
        .env("PATH", format!("/opt/acme/sbin:{PATH}"));
    bash.env("TERM", std::env::var_os("TERM").unwrap_or("dumb".into())).stdin(Stdio::inherit()).status()?;
    Ok(())
}

fn journey(project: &Project, node: &Node) -> Result<()> {
    on_node(node, "acme-disco buildinfo")?;

    heading("noop: everything runs for real, nothing reaches the node");
    on_node(node, "service postgresql start")?;
    on_node(node, "acme-disco dance --noop")?;
    on_node(node, "ls /etc/othermodule || true; service postgresql status")?;

    heading("live: the same run, and its changes are merged");
    on_node(node, "acme-disco dance")?;
    on_node(node, "cat /etc/othermodule/stuff.cfg; service postgresql status")?;
    on_node(node, "acme-disco report")?;

    heading("provisioning: an unconfigured node waits at its baked broker");
    meet(node, &token_of(project)?)?;

    heading("done");
    say("the node, its network and the servers in it are gone; dist/acme/ keeps what was built");
    Ok(())
}

/// Boots the node's server beside a broker, and talks to it as a provisioner would.
fn meet(node: &Node, token: &str) -> Result<()> {
    let broker = Options { port: Some(4222), prefix: node.network_prefix(), ..Options::default() };
    let _broker = Broker::start_with(&broker)?;
    node.in_network(|| {
        let mut provisioner = Requester::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, 4222)))?;
        provisioner.subscribe("choria.lifecycle.event.startup.provision_mode_server")?;
        say(&format!("{EXAMPLE_NODE}# acme-disco server run"));
        let mut server = node.command("/opt/acme/sbin/acme-disco");
        let mut server = server.args(["server", "run"]).stdout(Stdio::null()).spawn()?;
        let met = talk(&mut provisioner, token);
        stop(node, &mut server)?;
        met
    })
}

fn talk(provisioner: &mut Requester, token: &str) -> Result<()> {
    let startup = provisioner.next(APPEAR)?.context("the node did not come to the broker")?;
    say(&format!("broker: {} {}", startup.subject, String::from_utf8_lossy(&startup.payload)));
    let found = provisioner.discover(&json!({"agent": ["choria_provision"]}), Duration::from_secs(2))?;
    say(&format!("discovered: {}", found.join(", ")));
    ensure!(found == [EXAMPLE_NODE], "the node should have been discovered, once");
    let inventory = provisioner.request(EXAMPLE_NODE, "rpcutil", "inventory", &json!({}))?;
    say(&format!("rpcutil#inventory: {}", inventory["data"]["facts"]));
    let refused =
        provisioner.request(EXAMPLE_NODE, "choria_provision", "gencsr", &json!({"token": "guessed"}))?;
    say(&format!("choria_provision#gencsr with a guessed token: {}", refused["statusmsg"]));
    ensure!(refused["statuscode"] == 1, "a guessed token must not do");
    let answer = provisioner.request(EXAMPLE_NODE, "choria_provision", "gencsr", &json!({"token": token}))?;
    let csr = answer["data"]["csr"].as_str().context("the node gave no certificate request")?;
    say("choria_provision#gencsr with the token of the spec:");
    say(csr.trim_end());
    let subject = subject_of(csr)?;
    say(&format!("openssl: self-signature good, {subject}"));
    Ok(())
}

/// What openssl says of a certificate request whose self-signature it checked.
fn subject_of(csr: &str) -> Result<String> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("node.csr");
    fs::write(&file, csr)?;
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-verify", "-noout", "-subject", "-in"]).arg(&file);
    let output = openssl.output().context("cannot start openssl")?;
    let subject = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    ensure!(output.status.success() && !subject.is_empty(), "openssl refuses the request of the node");
    Ok(subject)
}

/// Asks the server to stop; it says goodbye and ends with 0.
fn stop(node: &Node, server: &mut std::process::Child) -> Result<()> {
    // The child is `nsenter`, which only waits; the server is the process inside that it started.
    let inside = fs::read_to_string(format!("/proc/{0}/task/{0}/children", server.id()))?;
    let pid = inside.trim().parse().context("the server is not running any more")?;
    kill(Pid::from_raw(pid), Signal::SIGTERM)?;
    let status = server.wait()?;
    ensure!(status.success(), "the server on {} ended with {status}", node.host_name());
    say("SIGTERM: the server said goodbye and ended with 0");
    Ok(())
}

/// The token that the spec holds as a literal: the provisioner's side knows it.
fn token_of(project: &Project) -> Result<String> {
    let text = fs::read_to_string(project.root.join(SPEC))?;
    let spec: toml::Table = text.parse()?;
    let token =
        spec.get("provisioning").and_then(|table| table.get("token")).and_then(|token| token.as_str());
    Ok(token.with_context(|| format!("{SPEC} holds no literal token"))?.to_owned())
}

/// Shows a line of shell and what it prints on the node.
fn on_node(node: &Node, line: &str) -> Result<()> {
    say(&format!("\n{EXAMPLE_NODE}# {line}"));
    let mut shell = node.command("sh");
    let status = shell.args(["-c", line]).env("PATH", format!("/opt/acme/sbin:{PATH}")).status()?;
    ensure!(status.success(), "`{line}` ended with {status} on the node");
    Ok(())
}

fn heading(text: &str) {
    say(&format!("\n== {text}"));
}

fn say(text: &str) {
    println!("{text}");
}
