//! Plans as a user makes, reads and applies them, on throw-away nodes; and what becomes of damaged and hostile ones.

mod refused;

use serde_json::Value;
use testbed::lab::Lab;
use testbed::universe::Universe;

/// Where the plans of these tests lie, away from everything that a script changes.
const PLAN: &str = "/root/today.plan";

/// What lies on the node before.
const BEFORE: &str = "cd /etc; echo x > gone.txt; mkdir -p gone.d/deep; echo y > gone.d/deep/y; echo m > mode.txt
    echo first > grown.txt; mkdir was.d; echo i > was.d/inside; echo f > was.txt; mkdir old.d; echo o > old.d/o
    echo w > owner.txt; echo h > one; touch -d '2020-02-02' one; echo 'root:x:1::::::' > shadow; chmod 600 shadow";

/// Every kind of change that a script can make.
const SCRIPT: &str = "#!/bin/sh -e
service postgresql stop
[ -z $NOOP ] || swapoff /swap
cd /etc
rm gone.txt; rm -r gone.d; chmod 4750 mode.txt; echo second >> grown.txt; mkdir -m 0700 private.d
ln -s grown.txt link; mkfifo pipe; mknod device c 1 3; chown 3:4 device
rm was.d/inside; rmdir was.d; echo now a file > was.d; rm was.txt; mkdir was.txt; echo x > was.txt/inside
mv old.d new.d; chown 1:2 owner.txt; printf 'a\\nb' > '/etc/odd name\\
of two lines'; echo both > twin; ln twin other; echo more >> one
truncate -s 8M sparse; printf data | dd of=sparse bs=1 seek=5000000 conv=notrunc 2> /dev/null
echo 'root:hush-hush:1::::::' > shadow
touch -d '2001-02-03 04:05:06.789' private.d/old
touch -d '2001-02-03 04:05:07' private.d
";

fn universe() -> Universe {
    let universe = Universe::empty().unwrap();
    universe.add("kinds-1/scripts/10-changes.sh", SCRIPT).unwrap();
    universe.add("kinds-1/files/etc/shipped.conf", "shipped\n").unwrap();
    universe
}

fn lab() -> Lab {
    let lab = Lab::with(universe());
    lab.shell(BEFORE);
    lab
}

/// Everything below /etc but the times of what was made during the run.
fn tree(lab: &Lab) -> String {
    lab.shell(
        "cd /etc; find . -printf '%p %y %#m %U:%G %n %l\\n' | sort; find . -type f -exec md5sum {} + | sort
         stat -c '%t:%T' device; stat -c '%n %y' private.d private.d/old; stat -c %s sparse
         [ \"$(stat -c %b sparse)\" -lt 1000 ] && echo sparse",
    )
}

#[test]
fn a_plan_that_is_applied_leaves_what_a_live_dance_leaves() {
    let on_disk = || {
        let lab = Lab::on_disk(universe());
        lab.shell(BEFORE);
        lab
    };
    let (planned, danced) = (on_disk(), on_disk());
    let before = tree(&planned);
    let noop = planned.acme(&["dance", "--noop", "--out", PLAN]);
    assert_eq!(noop.code, 0, "{noop:#?}");
    assert!(noop.stdout.contains(&format!("info: Plan : saved=[{PLAN}]\nnoop: 1 module")), "{}", noop.stdout);
    assert_eq!(tree(&planned), before);
    assert_eq!(
        planned.shell(&format!("stat -c '%a %U' {PLAN}; ls -A /root | grep plan")),
        "600 root\ntoday.plan\n"
    );

    let live = danced.acme(&["dance"]);
    assert_eq!(live.code, 0, "{live:#?}");
    let applied = planned.acme(&["plan", "apply", PLAN]);
    assert_eq!((applied.code, applied.stderr.as_str()), (0, ""), "{applied:#?}");
    assert!(applied.stdout.contains("\nlive: 1 module, "), "{}", applied.stdout);
    let held_back =
        "warning: Would execute : swapoff /swap (kinds-1, 10-changes.sh) : not put off by commands.d";
    for line in [
        "info: Deferred : service postgresql stop\n",
        "info: Executed : service postgresql stop\n",
        held_back,
    ] {
        assert!(applied.stdout.contains(line), "{line}: {}", applied.stdout);
    }
    assert_eq!(tree(&planned), tree(&danced));
    assert_ne!(tree(&planned), before);

    let kept: Value = serde_json::from_str(&planned.acme(&["report", "--json"]).stdout).unwrap();
    assert_eq!((&kept["mode"], &kept["merged"]), (&"live".into(), &true.into()));
    assert_eq!(kept["id"], 2);

    let again = planned.acme(&["plan", "apply", PLAN]);
    again.failed_with(&[
        "the host moved since the plan was made: /etc/device (was not there), ",
        " more",
        "hint: ",
    ]);
    assert_eq!(tree(&planned), tree(&danced));
    assert_eq!(planned.shell("ls -A /var/lib/acme-disco/scratch"), "");
}

#[test]
fn a_plan_can_be_read_anywhere_and_tells_no_secret() {
    let lab = lab();
    let noop = lab.acme(&["dance", "--noop", "--out", PLAN]);
    assert_eq!(noop.code, 0, "{noop:#?}");
    let elsewhere = Lab::alone();
    std::fs::copy(lab.node.path(PLAN), elsewhere.node.path("/srv/copy")).unwrap();
    elsewhere.shell("chmod 644 /srv/copy; hostname elsewhere");
    let show =
        "setpriv --reuid 1000 --regid 1000 --clear-groups /opt/acme/sbin/acme-disco plan show /srv/copy 2>&1";
    let shown = elsewhere.shell(show);
    for line in [
        "info: Plan : node=[localhost.localdomain] made=[20",
        "info: File: file: /etc/gone.txt : Deleted\n1d0\n< x\n",
        "info: File: file: /etc/shadow : Modified : md5=[",
        "info: Deferred : service postgresql stop (kinds-1, 10-changes.sh)\n",
        "warning: Would execute : swapoff /swap (kinds-1, 10-changes.sh)\n",
        "2 commands held back, 0 failed",
    ] {
        assert!(shown.contains(line), "{line:?} is not in\n{shown}");
    }
    let changes = |text: &str| text.lines().filter(|line| line.contains("File: file:")).count();
    assert_eq!(changes(&shown), changes(&noop.stdout));
    let json = elsewhere.shell(&format!("{show} --json"));
    let parsed: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(parsed["schema"], "disco.plan.v1");
    assert_eq!(parsed["run"]["node"], "localhost.localdomain");
    assert!(!shown.contains("hush-hush") && !json.contains("hush-hush"), "{shown}");

    let foreign = elsewhere.acme(&["plan", "apply", "/srv/copy"]);
    foreign.failed_with(&["is for the node localhost.localdomain, and this is elsewhere", "hint: "]);
}

#[test]
fn a_failed_or_a_live_run_leaves_no_plan() {
    let universe = universe();
    universe.add("kinds-1/scripts/20-fails.sh", "#!/bin/sh\nexit 3\n").unwrap();
    let lab = Lab::with(universe);
    lab.shell(BEFORE);
    let noop = lab.acme(&["dance", "--noop", "--out", PLAN]);
    assert_eq!(noop.code, 1);
    assert!(noop.stdout.contains("error: no plan was saved, because the run failed\n"), "{}", noop.stdout);
    lab.acme(&["dance", "--out", PLAN]).failed_with(&["no plan to save", "--noop"]);
    lab.acme(&["dance", "--noop", "--out", "/nowhere/plan"]).failed_with(&["write a plan to /nowhere"]);
    assert_eq!(lab.shell("ls -A /root | grep plan"), "");
}
