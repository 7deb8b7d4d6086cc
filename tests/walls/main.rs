//! The walls of a noop: every file of `probes/` is one attempt of a script to reach the host, and says itself how the
//! host is looked at afterwards.
//!
//! ```text
//! #? host: a line of shell that prepares the node, before the dance
//! #? escaped: a line of shell that succeeds on the node if the attempt reached it
//! #? control: no: why this attempt cannot be shown to succeed outside the sandbox
//! ```
//!
//! An attempt that would leave no trace says `ESCAPED` itself. All run in one dance, a module each. The same files are
//! then run on a node without any sandbox, where they must succeed: a probe that cannot escape anywhere proves nothing.

mod hosts;
mod limits;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use testbed::lab::{self, Lab};
use testbed::universe::Universe;

const SCRIPT_PRELUDE: &str = include_str!("script-prelude.sh");
const NODE_PRELUDE: &str = include_str!("node-prelude.sh");

/// How often the node is looked at while a daemon may still write.
const POLL: Duration = Duration::from_millis(10);

/// What a script prints when something let it through.
const ESCAPED: &str = "ESCAPED";

struct Probe {
    name: String,
    host: String,
    escaped: Option<String>,
    control: bool,
    body: String,
}

impl Probe {
    fn read(path: &Path) -> Probe {
        let body = fs::read_to_string(path).unwrap();
        let key = |key: &str| {
            let found = body.lines().find_map(|line| line.strip_prefix(&format!("#? {key}: ")));
            found.map(str::to_owned)
        };
        Probe {
            name: path.file_stem().unwrap().to_str().unwrap().to_owned(),
            host: key("host")
                .unwrap_or_else(|| panic!("{} does not say how to prepare the node", path.display())),
            escaped: key("escaped"),
            control: key("control").is_none(),
            body,
        }
    }

    fn script(&self) -> String {
        format!("{SCRIPT_PRELUDE}echo \"began {}\"\n{}\nexit 0\n", self.name, self.body)
    }

    fn prepare(&self, lab: &Lab) {
        let line = format!("{NODE_PRELUDE}\n{{ {}\n}} > /dev/null 2>&1", self.host.replace('\n', " "));
        lab.node.command("bash").args(["-c", &line]).output().unwrap();
    }

    fn reached(&self, lab: &Lab) -> bool {
        let Some(line) = &self.escaped else { return false };
        lab.node.command("bash").args(["-c", line]).output().unwrap().status.success()
    }
}

fn probes() -> Vec<Probe> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/walls/probes");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| Probe::read(path)).collect()
}

/// A node whose loop devices, which are this machine's, are let go at the end.
struct Walled(Lab);

impl Drop for Walled {
    fn drop(&mut self) {
        self.0.shell("[ -e /run/disk.device ] && losetup -d $(cat /run/disk.device)");
    }
}

fn node(universe: Universe) -> Walled {
    let lab = Lab::with(universe);
    // Of this machine's, the node shows all of /dev; what probes may touch of it is to be the node's own.
    lab.shell("mount -t tmpfs shm /dev/shm; [ -d /dev/mqueue ] && mount -t tmpfs mq /dev/mqueue");
    Walled(lab)
}

/// What each module wrote, by its name.
fn said_by_module(output: &str) -> BTreeMap<String, String> {
    let mut said: BTreeMap<String, String> = BTreeMap::new();
    let mut current = String::new();
    for line in output.lines() {
        match line.strip_prefix("info: Processing ") {
            Some(module) => current = module.to_owned(),
            None => said.entry(current.clone()).or_default().push_str(&format!("{line}\n")),
        }
    }
    said
}

/// Has every probe try to get out of a noop of root, or of a user.
fn assert_nothing_reaches_the_host(as_root: bool) {
    let probes = probes();
    assert!(probes.len() >= 100, "{}", probes.len());
    let universe = Universe::empty().unwrap();
    for probe in &probes {
        universe.add(&format!("{}/scripts/probe.sh", probe.name), &probe.script()).unwrap();
    }
    // What the client itself does where scripts have swapped directories for links.
    universe.add("zy-later/files/srv/target.d/file", "x\n").unwrap();
    universe.add("zy-template/templates/srv/target2.d/file", "echo x\n").unwrap();
    let Walled(lab) = &node(universe);
    // It makes the user, which changes files that probes look at.
    let mut dancer = lab.as_user("sh");
    for probe in &probes {
        probe.prepare(lab);
    }
    lab.shell("echo untouched > /run/inherited");
    let dance = "CLIENT_SECRET=canary-2 /opt/acme/sbin/acme-disco dance --noop \
                 3>> /run/inherited 9<> /run/inherited < /run/inherited > /run/dance.out 2> /run/dance.err";
    let (before, state) = match as_root {
        true => {
            let before = lab.files();
            lab.shell(dance);
            (before, lab::STATE.to_owned())
        }
        false => {
            // The home is the user's, so what lies there is what a script would reach first.
            lab.shell(&format!(
                "mkdir /srv/home; mount -t tmpfs home /srv/home; mkdir /srv/home/state; echo mine > /srv/home/mine; \
                 chown -R {0}: /srv/home; touch /run/dance.out /run/dance.err; chown {0} /run/inherited /run/dance.*",
                lab::USER
            ));
            let before = lab.files() + &lab.shell("ls -l --time-style=full-iso -I state /srv/home");
            dancer.args(["-c", dance]).env("XDG_STATE_HOME", "/srv/home/state").status().unwrap();
            (before, "/srv/home/state/acme-disco".to_owned())
        }
    };
    let (out, err) = (lab.shell("cat /run/dance.out"), lab.shell("cat /run/dance.err"));
    let said = said_by_module(&out);
    let mut holes = Vec::new();
    for probe in &probes {
        let said = said.get(&probe.name).map(String::as_str).unwrap_or_default();
        assert!(
            said.contains(&format!("began {}\n", probe.name)),
            "{} did not run: {said}\n{err}",
            probe.name
        );
        if probe.reached(lab) || said.lines().any(|line| line.starts_with(ESCAPED)) {
            let said: Vec<_> = said.lines().filter(|line| !line.starts_with("info: ")).collect();
            holes.push(format!("{}: {said:#?}", probe.name));
        }
    }
    assert!(holes.is_empty(), "{} holes:\n{}", holes.len(), holes.join("\n"));
    assert!(out.lines().last().is_some_and(|line| line.starts_with("noop: ")), "{err}");
    let raw = out.lines().find(|line| line.contains(|c: char| c.is_control() && c != '\t'));
    assert_eq!(raw, None, "an escape sequence came through");
    assert_eq!(lab.shell("cat /run/received"), "");
    let mut after = lab.files();
    if !as_root {
        after += &lab.shell("ls -l --time-style=full-iso -I state /srv/home");
    }
    assert_same(&before, &after);
    assert_eq!(lab.shell(&format!("ls -A {state}/scratch")), "");
}

#[test]
fn no_script_reaches_the_host() {
    assert_nothing_reaches_the_host(true);
}

#[test]
fn no_script_of_a_user_reaches_the_host() {
    assert_nothing_reaches_the_host(false);
}

#[test]
fn a_tree_that_no_path_reaches_ends_the_run_and_leaves_nothing_behind() {
    let universe = Universe::empty().unwrap();
    let script = r#"perl -e 'chdir "/srv"; for (1 .. 1200) { mkdir "d" x 200; chdir "d" x 200 } open F, ">", "bottom"'"#;
    universe.add("deep-1/scripts/1.sh", script).unwrap();
    let Walled(lab) = &node(universe);
    let before = lab.files();
    lab.acme(&["dance", "--noop"]).failed_with(&[
        "cannot tell what changed",
        "/srv/ddd",
        "File name too long",
    ]);
    assert_eq!(lab.shell(&format!("ls -A {}/scratch", lab::STATE)), "");
    lab.assert_unchanged(&before);
}

/// Compares two listings of the node but for what this test and this machine keep in /run and /dev.
#[track_caller]
fn assert_same(before: &str, after: &str) {
    let of_the_node =
        |line: &&str| !["/run ", "/run/dance.", "/dev "].iter().any(|own| line.starts_with(own));
    let (before, after): (BTreeSet<_>, BTreeSet<_>) =
        (before.lines().filter(of_the_node).collect(), after.lines().filter(of_the_node).collect());
    let differing: Vec<_> = before.symmetric_difference(&after).collect();
    assert!(differing.is_empty(), "{differing:#?}");
}

#[test]
fn without_the_sandbox_the_same_scripts_do_reach_it() {
    let Walled(lab) = &node(Universe::empty().unwrap());
    let mut harmless = Vec::new();
    let controlled: Vec<_> = probes().into_iter().filter(|probe| probe.control).collect();
    assert!(controlled.len() >= 70, "{}", controlled.len());
    for probe in &controlled {
        probe.prepare(lab);
        lab.node.write("/root/probe.sh", &probe.script(), 0o700).unwrap();
        lab.shell(
            "SECRET=canary-1 timeout -k 1 20 setsid bash /root/probe.sh < /dev/null > /run/probe.out 2>&1",
        );
        let said = lab.shell("cat /run/probe.out");
        // Daemons of the node write down what they receive in their own time.
        let reached = (0..20).any(|_| {
            probe.reached(lab) || {
                std::thread::park_timeout(POLL);
                false
            }
        });
        if !reached && !said.lines().any(|line| line.starts_with(ESCAPED)) {
            harmless.push(format!("{}: {said}", probe.name));
        }
    }
    assert!(harmless.is_empty(), "{} probes prove nothing:\n{}", harmless.len(), harmless.join("\n"));
}
