//! What a module may rely on, sentence by sentence: its order, its environment, and what becomes of its templates and
//! scripts.

use testbed::lab::Lab;
use testbed::universe::Universe;

fn lab(files: &[(&str, &str)]) -> Lab {
    let universe = Universe::empty().unwrap();
    for (path, content) in files {
        universe.add(path, content).unwrap();
    }
    Lab::with(universe)
}

#[test]
fn requires_bring_modules_in_and_order_them() {
    let say = "echo \"ran $DISCO_MODULE\"\n";
    let lab = lab(&[
        (
            "m-1/requires",
            "# what this wants\n\nplain-1\nafter first-1   # with a reason\n  before zlast-1\nbefore alast-1\n",
        ),
        ("m-1/scripts/1.sh", say),
        ("plain-1/scripts/1.sh", say),
        ("first-1/scripts/1.sh", say),
        ("zlast-1/scripts/1.sh", say),
        ("alast-1/scripts/1.sh", say),
    ]);
    let noop = lab.acme(&["dance", "--noop", "--module", "m-1"]);
    assert_eq!(noop.code, 0, "{noop:#?}");
    let ran: Vec<_> = noop.stdout.lines().filter_map(|line| line.strip_prefix("ran ")).collect();
    assert_eq!(ran, ["first-1", "plain-1", "m-1", "alast-1", "zlast-1"]);
    for name in ["plain-1", "first-1", "zlast-1", "alast-1"] {
        assert!(noop.stdout.contains(&format!("info: Discovered dependency : {name} (required by m-1)\n")));
    }
}

#[test]
fn a_template_keeps_the_mode_and_owner_of_its_target_and_a_new_file_gets_its_own_without_execution() {
    let universe = Universe::empty().unwrap();
    universe
        .add("t-1/templates/etc/kept", "echo new\n")
        .unwrap()
        .add("t-1/templates/etc/made", "echo made\n")
        .unwrap();
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &str, mode| {
        std::fs::set_permissions(universe.path().join(path), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("t-1/templates/etc/kept", 0o755);
    mode("t-1/templates/etc/made", 0o751);
    let lab = Lab::with(universe);
    lab.shell("echo old > /etc/kept; chown 12:34 /etc/kept; chmod 4710 /etc/kept");
    let live = lab.acme(&["dance"]);
    assert_eq!(live.code, 0, "{live:#?}");
    assert_eq!(
        lab.shell("stat -c '%a %u:%g' /etc/kept /etc/made; cat /etc/kept /etc/made"),
        "4710 12:34\n640 0:0\nnew\nmade\n"
    );
}

#[test]
fn scripts_run_in_the_order_of_their_names_each_by_its_own_first_line() {
    let lab = lab(&[
        (
            "s-1/scripts/20-python",
            "#!/usr/bin/python3\nimport os\nprint('python', os.environ['DISCO_MODULE'], os.environ['DISCO_NODE'], os.environ.get('NOOP'))\n",
        ),
        ("s-1/scripts/10-bash", "a=(x y); echo \"bash ${a[1]} ${NOOP:-live}\"\n"),
        ("s-1/scripts/30-env", "#!/usr/bin/env -S sh -e\nfalse; echo never\n"),
        ("s-1/scripts/40-after", "echo never\n"),
        ("needs-1/requires", "after s-1\n"),
        ("needs-1/scripts/1.sh", "echo never\n"),
        ("other-1/scripts/1.sh", "echo other runs\n"),
    ]);
    let noop = lab.acme(&["dance", "--noop"]);
    assert_eq!(noop.code, 1, "{noop:#?}");
    for line in ["bash y true\n", "python s-1 localhost.localdomain true\n", "other runs\n"] {
        assert!(noop.stdout.contains(line), "{line}: {noop:#?}");
    }
    assert!(noop.stdout.find("bash y").unwrap() < noop.stdout.find("python s-1").unwrap());
    assert!(!noop.stdout.contains("never"), "{noop:#?}");
    assert!(noop.stdout.contains("s-1/scripts/30-env failed"), "{noop:#?}");
    assert!(noop.stdout.contains("warning: Skipping needs-1 : it requires s-1, which failed\n"), "{noop:#?}");
    let live = lab.acme(&["dance"]);
    assert!(live.stdout.contains("bash y live\n") && live.stdout.contains("localdomain None\n"), "{live:#?}");
}
