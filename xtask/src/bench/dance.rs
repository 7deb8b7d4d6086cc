//! The client against the same work done bare, on a throw-away node.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use testbed::node::Node;
use testbed::universe::{EXAMPLE_NODE, Universe};

use crate::bench::example::{self, Bare};
use crate::bench::{Row, many_files, timing};
use crate::build::Until;
use crate::project::Project;
use crate::{flags, matrix};

/// Where the example brand puts its binary.
pub(crate) const CLIENT: &str = "/opt/acme/sbin/acme-disco";

/// Port of the example universe, as baked; the other one serves a universe of many modules.
const PORTS: [u16; 2] = [873, 874];

/// Everything that `bench dance` measures, in this order; `runs` is how often each of the quick things is done.
pub(crate) fn run(project: &Project, runs: usize) -> Result<Vec<Row>> {
    let spec = vec![project.root.join("examples/acme.toml")];
    matrix::run(project, &flags::Build { spec, ..flags::Build::default() }, Until::Binaries)?;
    let client: PathBuf = project.root.join("dist/acme/acme-disco");

    let node = Node::start_on_disk(EXAMPLE_NODE)?;
    node.write("/etc/hosts", "127.0.0.1 localhost localhost.localdomain universe.acme.example\n", 0o644)?;
    node.write(CLIENT, "", 0o755)?;
    node.copy_in(&client, CLIENT)?;

    let small = Universe::example()?;
    let many = Universe::empty()?;
    example::many_modules(&many, 100, 10)?;
    let _daemons =
        [small.serve(&node.network_prefix(), PORTS[0])?, many.serve(&node.network_prefix(), PORTS[1])?];
    let bare_small = Bare::of(&small, &format!("rsync://127.0.0.1:{}", PORTS[0]))?;
    let bare_many = Bare::of(&many, &format!("rsync://127.0.0.1:{}", PORTS[1]))?;
    node.inside(|| {
        let mut rows = vec![
            sandbox(runs)?,
            noop("noop of the example universe (2 modules)", &bare_small, runs, Some(1.3))?,
            noop("noop of 100 modules with 10 templates each", &bare_many, runs.div_ceil(4), None)?,
        ];
        for count in [1, 100, 10_000] {
            rows.extend(many_files::rows(count, if count > 1000 { runs.div_ceil(4) } else { runs })?);
        }
        Ok(rows)
    })
}

/// The same namespaces, one overlay and a fresh `/proc` by the tools of util-linux: what anybody can have without a client.
const BARE_SANDBOX: &str = "\
set -e
mount -t tmpfs bare /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay bare -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
mount -t proc proc /mnt/root/proc
exec chroot /mnt/root /bin/true";

/// A sandbox is put together, `true` runs in it, its changes are looked for, and it is gone again.
fn sandbox(runs: usize) -> Result<Row> {
    let namespaces =
        ["unshare", "--mount", "--pid", "--ipc", "--uts", "--net", "--cgroup", "--fork", "sh", "-c"];
    let bare: Vec<&str> = namespaces.into_iter().chain([BARE_SANDBOX]).collect();
    let (ours, floor) = timing::in_turn(
        runs,
        || timing::command(&[CLIENT, "try", "--", "/bin/true"]),
        || timing::command(&bare),
    )?;
    Ok(Row {
        what: "sandbox: set-up, `true`, tear-down".into(),
        ours,
        beside: "namespaces and one overlay by unshare(1) and mount(8)".into(),
        floor,
        target: Some(2.0),
    })
}

fn noop(what: &str, bare: &Bare, runs: usize, target: Option<f64>) -> Result<Row> {
    let script = "/root/bare.sh";
    fs::write(script, bare.script()).with_context(|| format!("cannot write {script}"))?;
    let (ours, floor) = timing::in_turn(
        runs,
        || timing::command(&[CLIENT, "dance", "--noop", "--server", bare.server()]),
        || timing::command(&["bash", script]),
    )?;
    Ok(Row {
        what: what.into(),
        ours,
        beside: "the same rsync and bash commands, bare".into(),
        floor,
        target,
    })
}
