//! Commands that a live run put off until after its merge, where the client dies between the two or among them.

use std::path::Path;

use testbed::lab::{BINARY, Lab, STATE};
use testbed::universe::Universe;

use crate::tracer::{self, End};

/// What each of the three services does when it is restarted; `second` then ends the client where that is asked for.
const SERVICE: &str = "#!/bin/sh
echo ${0##*/} >> /root/log
[ ${0##*/} != second ] || [ ! -e /root/kill ] || kill -9 $(cat /var/lib/acme-disco/lock)
";

/// A node whose module changes a file and puts three commands off.
fn lab() -> Lab {
    let universe = Universe::empty().unwrap();
    let script =
        "#!/bin/sh\necho new > /srv/file\nfor s in first second third; do service $s restart; done\n";
    universe.add("m-1/scripts/1.sh", script).unwrap();
    let lab = Lab::with(universe);
    lab.shell("echo old > /srv/file");
    for name in ["first", "second", "third"] {
        lab.node.write(&format!("/etc/init.d/{name}"), SERVICE, 0o755).unwrap();
    }
    lab
}

fn file_and_log(lab: &Lab) -> (String, String) {
    (lab.shell("cat /srv/file"), lab.shell("tr '\\n' ' ' < /root/log"))
}

/// A live run that dies while its second command runs.
fn die(lab: &Lab) {
    lab.shell("touch /root/kill");
    let killed = lab.acme(&["dance"]);
    assert_eq!(killed.code, -1, "{killed:#?}");
    lab.shell("rm /root/kill");
    assert_eq!(file_and_log(lab), ("new\n".into(), "first second ".into()));
}

const UNKNOWN: &str = "error: Executed : service second restart : run 1 was interrupted meanwhile, so how it ended is not \
                       known; it is not executed again by itself, see whether it has to be\n";
const PENDING: &str = "warning: Pending : service third restart : run 1 was interrupted before it; the next live run \
                       executes it\n";

#[test]
fn what_a_run_that_died_did_not_come_to_is_named_by_those_who_look_and_executed_by_the_next_live_run() {
    let lab = lab();
    die(&lab);
    let history = lab.acme(&["history"]);
    assert!(history.stderr.ends_with(PENDING), "{history:#?}");
    let doctor = lab.acme(&["doctor"]).stdout;
    assert!(
        doctor.contains("interrupted run: run 1 died before it executed: service third restart"),
        "{doctor}"
    );

    // Twice: it stays named as long as nobody does it.
    for _ in 0..2 {
        let noop = lab.acme(&["dance", "--noop"]);
        assert_eq!(noop.code, 0, "{noop:#?}");
        let begin = format!("info: Recovered : run 1 was interrupted after its merge\n{UNKNOWN}{PENDING}");
        assert!(noop.stdout.starts_with(&begin), "{noop:#?}");
        assert_eq!(file_and_log(&lab).1, "first second ");
    }
    let history = lab.acme(&["history"]).stdout;
    let interrupted = history.lines().find(|line| line.starts_with("1\t")).unwrap();
    assert!(interrupted.contains("\tlive\tmerged, interrupted\t+0 ~1 -0\t"), "{history}");

    let live = lab.acme(&["dance"]);
    assert_eq!(live.code, 0, "{live:#?}");
    assert!(live.stdout.contains("info: Executed : service third restart\n"), "{live:#?}");
    // The new run puts the three off again, and executes them again.
    assert_eq!(file_and_log(&lab).1, "first second third first second third ");
    let report: serde_json::Value =
        serde_json::from_str(&lab.acme(&["report", "1", "--json"]).stdout).unwrap();
    assert_eq!((&report["interrupted"], &report["merged"]), (&true.into(), &true.into()));
    let ends: Vec<_> = report["deferred"].as_array().unwrap().iter().map(|one| &one["ended"]).collect();
    assert_eq!(
        (&ends[0]["usage"]["exit"], ends[1], &ends[2]["usage"]["exit"]),
        (&0.into(), &().into(), &0.into())
    );
    assert_eq!(lab.acme(&["history"]).stderr, "");
    assert_eq!(lab.shell(&format!("ls {STATE}/journal")), "last\n");
}

#[test]
fn a_rollback_drops_what_the_run_that_it_undoes_did_not_come_to() {
    let lab = lab();
    die(&lab);
    let noop = lab.acme(&["rollback", "--noop"]);
    assert!(noop.code == 0 && noop.stdout.contains(PENDING), "{noop:#?}");
    let back = lab.acme(&["rollback"]);
    assert_eq!(back.code, 0, "{back:#?}");
    assert!(back.stdout.contains(UNKNOWN), "{back:#?}");
    assert!(
        back.stdout.contains("warning: Not executed : service third restart : the run was undone\n"),
        "{back:#?}"
    );
    assert_eq!(file_and_log(&lab), ("old\n".into(), "first second ".into()));
    assert_eq!(lab.shell(&format!("ls {STATE}/journal")), "");
    let noop = lab.acme(&["dance", "--noop"]);
    assert!(noop.code == 0 && !noop.stdout.contains("Pending"), "{noop:#?}");
}

#[test]
fn wherever_a_run_dies_each_command_is_executed_once_or_named_and_only_if_the_changes_are_live() {
    let lab = lab();
    let noop = lab.acme(&["dance", "--noop", "--out", "/root/plan"]);
    assert_eq!(noop.code, 0, "{noop:#?}");
    let apply = [BINARY, "plan", "apply", "/root/plan"];
    let journal = Path::new(STATE).join("journal/current");
    let forget = || {
        lab.shell(&format!("rm -rf {STATE}/journal {STATE}/undo {STATE}/history /root/log; echo old > /srv/file; touch /root/log"))
    };
    forget();
    let whole = tracer::run(&lab.node, &apply, &journal, None).unwrap();
    let End::Itself { code: 0, calls } = whole else { panic!("{whole:?}") };
    assert_eq!(file_and_log(&lab), ("new\n".into(), "first second third ".into()));
    let (mut olds, mut named, mut later) = (0, 0, 0);
    for step in 1..=calls {
        forget();
        let end = tracer::run(&lab.node, &apply, &journal, Some(step)).unwrap();
        assert!(end == End::Killed || step + 10 > calls, "{step} of {calls}: {end:?}");
        // A command that was begun is not the client's child any more; what it does, it does soon.
        lab.shell("while pgrep -f '[i]nit.d' >/dev/null; do sleep 0.005; done");
        let before = file_and_log(&lab).1;
        // There is no such plan; what was interrupted is brought to its end first.
        let next = lab.acme(&["plan", "apply", "/root/none"]);
        assert!(next.stderr.contains("cannot open the plan /root/none"), "{next:#?}");
        let (file, log) = file_and_log(&lab);
        let unknown = next.stdout.matches("how it ended is not known").count();
        let at = format!("killed after step {step} of {calls}: {file}{log}\n{next:#?}");
        if file == "old\n" {
            assert_eq!((log.as_str(), unknown), ("", 0), "{at}");
            olds += 1;
        } else {
            let missing: Vec<_> =
                ["first ", "second ", "third "].into_iter().filter(|name| !log.contains(name)).collect();
            assert_eq!(log.split_whitespace().count() + missing.len(), 3, "{at}");
            assert!(missing.len() <= unknown && unknown <= 1, "{missing:?}\n{at}");
            named += unknown;
        }
        later += usize::from(before != log);
        let kept = lab.shell(&format!("cat {STATE}/history/1.json"));
        if file == "new\n" {
            let kept: serde_json::Value = serde_json::from_str(&kept).expect(&at);
            assert_eq!(kept["merged"], true, "{at}");
        }
        let left = lab.shell(&format!("ls {STATE}/journal"));
        assert_eq!(left, if file == "old\n" { "" } else { "last\n" }, "{at}");
    }
    println!(
        "{calls} kills: {olds} before the commit, {named} commands named, {later} times some executed later"
    );
    assert!(olds > 5 && named >= 3 && later > 5);
}
