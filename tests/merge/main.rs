//! The merge as a host feels it: all of a run or nothing, whatever happens meanwhile, and a way back.

mod crash;
mod deferred;
mod disk;
mod durable;
mod file_systems;
mod flags;
mod gone;
mod hosts;
mod kinds;
mod mounts;
mod per_module;
mod power;
mod random;
mod refusals;
mod rollback;
mod steps;
mod strangers;
mod tracer;
mod tree;

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use kinds::{AFTER, BEFORE, OTHER_AFTER, OTHER_BEFORE};
use testbed::lab::{Lab, STATE};
use testbed::universe::Universe;
use tree::fingerprint;

/// A node whose module does to `/srv/a`, and to the file system at `/srv/b`, one change of every kind.
fn lab_of_all_kinds() -> Lab {
    lab_of_all_kinds_on("true")
}

/// The same where a line of shell makes `/srv` ready.
fn lab_of_all_kinds_on(srv: &str) -> Lab {
    let universe = Universe::empty().unwrap();
    let script = format!("{}{AFTER}{OTHER_AFTER}", kinds::PRELUDE);
    universe.add("kinds-1/scripts/1.py", &script).unwrap();
    let lab = Lab::on_disk(universe);
    lab.shell(&format!("{srv}; mkdir -p /srv/b; mount -t tmpfs -o size=8m,mode=0755 b /srv/b"));
    prepare(&lab);
    lab
}

/// Makes the trees anew as they are before the module runs, with times in the past.
fn prepare(lab: &Lab) {
    let script = format!("{}{BEFORE}{OTHER_BEFORE}", kinds::PRELUDE);
    lab.node.write("/root/before.py", &script, 0o755).unwrap();
    let said = lab.node.shell("/root/before.py").unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
}

/// Makes an image of a file system of so many bytes, with this machine's tools; a node has none.
fn make_image(at: &Path, kind: &str, size: u64) {
    File::create(at).unwrap().set_len(size).unwrap();
    let made = Command::new(format!("mkfs.{kind}")).arg("-q").arg(at).status().unwrap();
    assert!(made.success(), "mkfs.{kind}: {made}");
}

/// What the host holds where modules of these tests change something.
fn look(lab: &Lab) -> Vec<String> {
    fingerprint(&lab.node.path("/srv"))
}

/// What merges keep: journals, and stores on file systems of their own.
fn kept(lab: &Lab) -> String {
    lab.shell(&format!("ls {STATE}/journal; find /srv -name .acme-disco-undo | sort"))
}

#[test]
fn every_kind_of_change_on_two_file_systems_is_merged_as_if_the_script_had_run_on_the_host() {
    assert_every_kind_is_merged(&lab_of_all_kinds());
}

/// Compares what the script leaves on the host itself with what a run of it leaves there.
fn assert_every_kind_is_merged(lab: &Lab) {
    let script = format!("{}{AFTER}{OTHER_AFTER}", kinds::PRELUDE);
    lab.node.write("/root/after.py", &script, 0o755).unwrap();
    let before = look(lab);
    let said = lab.node.shell("/root/after.py").unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let expected = tree::without_times(&look(lab));
    prepare(lab);
    tree::assert_same(&look(lab), &before);

    let noop = lab.acme(&["dance", "--noop"]);
    // A noop's scripts may not make anything immutable.
    assert_eq!(noop.code, 1, "{noop:#?}");
    tree::assert_same(&look(lab), &before);
    let live = lab.acme(&["dance"]);
    assert_eq!(live.code, 0, "{live:#?}");
    tree::assert_same(&tree::without_times(&look(lab)), &expected);
    for path in ["rename-away-and-back", "touched-only", "mode-and-back", "opened-only"] {
        assert!(!live.stdout.contains(path), "{path}: {}", live.stdout);
    }
}

#[test]
fn ten_thousand_files_are_merged_without_waiting_for_the_disk_for_each() {
    let universe = Universe::empty().unwrap();
    universe
        .add(
            "many-1/scripts/1.py",
            "#!/usr/bin/python3\nfor i in range(10000): open(f'/srv/many/{i}', 'w').write(f'new {i}\\n')\n",
        )
        .unwrap();
    let lab = Lab::on_disk(universe);
    lab.shell(
        "mkdir -p /srv/many; python3 -c \"for i in range(5000): open(f'/srv/many/{i}', 'w').write('old')\"",
    );
    let started = Instant::now();
    let live = lab.acme(&["dance", "--no-diff"]);
    let merge = lab.acme(&["report"]).stdout;
    assert_eq!(live.code, 0, "{}", live.stderr);
    let files = std::fs::read_dir(lab.node.path("/srv/many")).unwrap().count();
    assert_eq!(files, 10_000);
    assert_eq!(lab.shell("cat /srv/many/0 /srv/many/9999"), "new 0\nnew 9999\n");
    // One sync for each file: minutes. The bound leaves room for a busy machine.
    assert!(started.elapsed().as_secs() < 60, "{:?}\n{merge}", started.elapsed());
    println!("10,000 files: {:?} in all", started.elapsed());
    println!("{}", merge.lines().skip_while(|line| !line.contains("merge")).take(2).collect::<String>());
}

#[test]
fn thousands_of_names_of_one_file_stay_names_of_one_file() {
    const NAMES: usize = 2_000;
    let universe = Universe::empty().unwrap();
    // One file is new, of one the names are new, and one is written to by one of its names.
    let script = format!(
        "#!/usr/bin/python3\nimport os\nopen('/srv/new/0', 'w').write('new')\nfor i in range(1, {NAMES}):\n \
         os.link('/srv/new/0', f'/srv/new/{{i}}')\n os.link('/srv/old/z', f'/srv/old/{{i}}')\n\
         open('/srv/written/7', 'a').write('more')\n"
    );
    universe.add("names-1/scripts/1.py", &script).unwrap();
    let lab = Lab::on_disk(universe);
    lab.shell(&format!(
        "mkdir -p /srv/new /srv/old /srv/written; echo old > /srv/old/z; echo written > /srv/written/0
         cd /srv/written; for i in $(seq {}); do ln 0 $i; done",
        NAMES - 1
    ));
    let noop = lab.acme(&["dance", "--noop", "--json", "--no-diff"]);
    // All names of each file would be some 12,000,000.
    assert!(noop.stdout.len() < 10_000_000, "{}", noop.stdout.len());
    let live = lab.acme(&["dance", "--no-diff"]);
    assert_eq!(live.code, 0, "{}", live.stderr);
    for directory in ["new", "old", "written"] {
        let names =
            lab.shell(&format!("ls /srv/{directory} | wc -l; stat -c %i.%h /srv/{directory}/* | sort -u"));
        let (count, files) = names.trim().split_once('\n').unwrap();
        assert_eq!(count, NAMES.to_string(), "{directory}");
        assert!(!files.contains('\n') && files.ends_with(&format!(".{NAMES}")), "{directory}: {files}");
    }
    assert_eq!(lab.shell("cat /srv/written/0"), "written\nmore");
}
