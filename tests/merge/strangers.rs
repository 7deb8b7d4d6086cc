//! Others change the host as well: while a run goes on, while it is merged, and between its death and its recovery. What
//! they did is never undone, and never taken for the run's own.

use std::path::Path;

use testbed::lab::{BINARY, Lab, STATE};
use testbed::universe::Universe;

use crate::{look, tracer, tree};

fn lab(script: &str, before: &str) -> Lab {
    let universe = Universe::empty().unwrap();
    universe.add("m-1/scripts/1.sh", &format!("#!/bin/bash -e\n{script}")).unwrap();
    let lab = Lab::on_disk(universe);
    lab.shell(before);
    lab
}

/// Puts `/srv` back to what it is before a run, and forgets all runs.
fn anew(lab: &Lab, before: &str) {
    lab.shell(&format!(
        "rm -rf /srv /root/away {STATE}/journal {STATE}/undo {STATE}/history/*.json; mkdir /srv; {before}"
    ));
}

/// Merges a plan of what the module does. After each call that renames something, `look` may change the host, and end
/// the client.
fn apply(lab: &Lab, look: &mut (dyn FnMut() -> bool + Send)) -> Option<i32> {
    let noop = lab.acme(&["dance", "--noop", "--out", "/root/plan"]);
    assert_eq!(noop.code, 0, "{noop:#?}");
    let mut renames = false;
    let outcome =
        tracer::follow(&lab.node, &[BINARY, "plan", "apply", "/root/plan"], &mut |_, now, is_entry| {
            let call = now.orig_rax as libc::c_long;
            if is_entry {
                renames = [libc::SYS_rename, libc::SYS_renameat, libc::SYS_renameat2].contains(&call);
            }
            Ok(!is_entry && renames && look())
        });
    outcome.unwrap()
}

/// Whether the merge was committed.
fn is_committed() -> bool {
    Path::new(STATE).join("journal/current/phase").exists()
}

fn kill_at_the_commit(lab: &Lab) {
    assert_eq!(apply(lab, &mut is_committed), None, "it was not killed");
    assert_eq!(lab.shell(&format!("cat {STATE}/journal/current/phase")), "forward\n");
}

/// As if the client had died when everything was done, right before it put its journal aside.
fn die_at_the_end(lab: &Lab, phase: &str) {
    lab.shell(&format!("cd {STATE}/journal; mv last current; echo {phase} > current/phase"));
}

/// Changes of each kind, and what they change.
const BEFORE: &str =
    "mkdir -p /srv/d/e /srv/was; cd /srv; for f in changed gone several mode theirs-changed theirs-gone \
                      theirs-several theirs-mode theirs-removed theirs-pipe; do echo old > $f; done
                      ln several several-other; ln theirs-several theirs-several-other; ln theirs-pipe pipe-other; mkdir theirs-directory theirs-swapped
                      echo x > d/e/x; echo x > was/x; touch -d @1000000000 * d/e/x was/x";
const CHANGE: &str = "cd /srv; for f in changed theirs-changed theirs-removed; do echo new > t; mv t $f; done
    rm gone theirs-gone; for f in several theirs-several theirs-pipe; do echo new > $f; done; chmod 600 mode theirs-mode
    chmod 700 theirs-directory theirs-swapped; echo new | tee new > theirs-new; mkdir made theirs-made theirs-link
    echo new | tee made/x theirs-made/x > theirs-link/x; rm -r was; echo new > was\n";
/// What others do to those whose names say so, in the state of before.
const THEIRS: &str = "cd /srv; for f in changed gone several new; do echo theirs > theirs-$f; done; chmod 640 theirs-mode
    rm theirs-removed; chmod 750 theirs-directory; mkdir theirs-made; echo theirs > theirs-made/theirs; mkdir /root/away
    ln -s /root/away theirs-link; rm theirs-pipe; mkfifo theirs-pipe; rmdir theirs-swapped; ln -s /root/away theirs-swapped";
/// What they have then.
const SEE_THEIRS: &str =
    "cd /srv; cat theirs-changed theirs-gone theirs-several theirs-new theirs-made/theirs
    stat -c %a theirs-mode theirs-directory /root/away; readlink theirs-link theirs-swapped; stat -c %F theirs-pipe; ls theirs-removed /root/away";

#[test]
fn what_others_changed_since_a_merge_was_interrupted_survives_its_recovery() {
    let lab = lab(CHANGE, BEFORE);
    kill_at_the_commit(&lab);
    lab.shell(THEIRS);
    let theirs = lab.shell(SEE_THEIRS);
    let next = lab.acme(&["rollback", "--noop", "--no-diff"]);
    for path in
        ["changed", "gone", "several", "new", "mode", "removed", "directory", "link", "pipe", "swapped"]
    {
        let said =
            format!("warning: Recovered : /srv/theirs-{path} is left as it is: somebody changed it since\n");
        assert!(next.stdout.contains(&said), "{path}: {next:#?}");
    }
    assert!(
        next.stdout.starts_with("info: Recovered : the merge of run 2 was interrupted; it was finished\n"),
        "{next:#?}"
    );
    assert_eq!(lab.shell(SEE_THEIRS), theirs);
    assert_eq!(
        lab.shell("cd /srv; cat changed several several-other new made/x theirs-made/x was; stat -c %a mode; ls gone"),
        "new\nnew\nnew\nnew\nnew\nnew\nnew\n600\n"
    );
    next.failed_with(&["nothing was undone", "/srv/theirs-", "changed on the host since run 2"]);
    let (before, back) = (look(&lab), lab.acme(&["rollback"]));
    assert_ne!(back.code, 0, "{back:#?}");
    tree::assert_same(&look(&lab), &before);
}

#[test]
fn what_others_changed_since_an_undoing_was_interrupted_survives_its_recovery() {
    let lab = lab(CHANGE, BEFORE);
    assert_eq!(lab.acme(&["dance"]).code, 0);
    die_at_the_end(&lab, "backward");
    let theirs =
        "cd /srv; for f in changed gone several new; do echo theirs > theirs-$f; done; chmod 640 theirs-mode
        rm theirs-removed; chmod 750 theirs-directory; echo theirs > theirs-made/theirs; rm -r theirs-link
        mkdir /root/away; ln -s /root/away theirs-link; rm theirs-pipe; mkfifo theirs-pipe; rmdir theirs-swapped
        ln -s /root/away theirs-swapped";
    lab.shell(theirs);
    let theirs = lab.shell(SEE_THEIRS);
    let next = lab.acme(&["rollback", "--noop", "--no-diff"]);
    assert!(
        next.stdout.starts_with("info: Recovered : the merge of run 1 was interrupted; it was undone\n"),
        "{next:#?}"
    );
    assert_eq!(lab.shell(SEE_THEIRS), theirs);
    assert_eq!(
        lab.shell(
            "cd /srv; cat changed several several-other gone was/x; stat -c %a mode; ls new made theirs-made"
        ),
        "old\nold\nold\nold\nx\n644\ntheirs-made:\ntheirs\n"
    );
    next.failed_with(&["there is no live run to undo"]);
}

#[test]
fn what_others_changed_after_the_last_step_is_not_taken_for_the_runs_own() {
    let lab = lab(CHANGE, "");
    for change in
        ["echo theirs > changed", "chmod 640 mode", "echo theirs > several", "rm new", "echo theirs > gone"]
    {
        anew(&lab, BEFORE);
        assert_eq!(lab.acme(&["dance"]).code, 0);
        die_at_the_end(&lab, "forward");
        lab.shell(&format!("cd /srv; {change}"));
        let before = look(&lab);
        let back = lab.acme(&["rollback"]);
        back.failed_with(&["nothing was undone", "changed on the host since run "]);
        // The times of directories are those that the run gave them.
        tree::assert_same(&tree::without_times(&look(&lab)), &tree::without_times(&before));
    }
}

#[test]
fn what_others_change_while_a_merge_is_staged_is_a_conflict() {
    let before = "mkdir -p /srv/d; echo old > /srv/file; echo gone > /srv/gone";
    let change = "echo new > /srv/file; rm /srv/gone; echo new > /srv/d/new; chmod 711 /srv/d";
    let lab = lab(change, "");
    for theirs in [
        "echo theirs >> /srv/file",
        "chmod 700 /srv/d",
        "echo theirs > /srv/d/new",
        "rm /srv/gone; echo other > /srv/gone",
    ] {
        anew(&lab, before);
        let journal = Path::new(STATE).join("journal/current/backward");
        let mut done = false;
        let code = apply(&lab, &mut || {
            if !done && journal.exists() {
                done = true;
                assert!(std::process::Command::new("sh").args(["-c", theirs]).status().unwrap().success());
            }
            false
        });
        assert_eq!(code, Some(1), "{theirs}");
        let see = "cat /srv/file /srv/gone /srv/d/new; stat -c %a /srv/d";
        let merged = lab.shell(see);
        let left = lab.shell(&format!("ls {STATE}/journal; ls {STATE} | grep undo"));
        anew(&lab, before);
        lab.shell(theirs);
        assert_eq!((merged, left), (lab.shell(see), String::new()), "{theirs}");
    }
}

#[test]
fn what_others_change_while_a_merge_is_driven_ends_it() {
    let before = "cd /srv; echo old | tee a z z-several > z-gone; ln z-several other";
    let change =
        "cd /srv; for f in a z; do echo new > t; mv t $f; done; rm z-gone; echo new | tee z-new > z-several";
    let lab = lab(change, "");
    for theirs in [
        "echo theirs >> /srv/z",
        "echo theirs > /srv/z-new",
        "rm /srv/z-gone; echo theirs > /srv/z-gone",
        "echo theirs >> /srv/z-several",
    ] {
        anew(&lab, before);
        let mut done = false;
        let code = apply(&lab, &mut || {
            if !done && is_committed() {
                done = true;
                assert!(std::process::Command::new("sh").args(["-c", theirs]).status().unwrap().success());
            }
            false
        });
        assert_eq!(code, Some(1), "{theirs}");
        let see = "cd /srv; cat a z z-gone z-new z-several other";
        let merged = lab.shell(see);
        anew(&lab, before);
        lab.shell(theirs);
        assert_eq!(merged, lab.shell(see), "{theirs}");
    }
}

/// Runs what follows on the host itself, not in the sandbox.
const HOST: &str = "nsenter -t 1 -m";

#[test]
fn a_directory_that_others_made_look_otherwise_while_the_run_went_on() {
    let lab = lab(&format!("echo x > /srv/d/x; {HOST} chmod 700 /srv/d\n"), "mkdir -p /srv/d");
    lab.acme(&["dance"])
        .failed_with(&["nothing was merged", "/srv/d changed on the host while the dance ran"]);
    assert_eq!(lab.shell("stat -c %a /srv/d; ls /srv/d"), "700\n");
}

#[test]
fn a_directory_in_which_others_work_while_the_run_makes_it_look_otherwise() {
    let lab = lab(&format!("chmod 700 /srv/d; {HOST} touch /srv/d/theirs\n"), "mkdir -p /srv/d");
    let live = lab.acme(&["dance"]);
    assert_eq!(live.code, 0, "{live:#?}");
    assert_eq!(lab.shell("stat -c %a /srv/d; ls /srv/d"), "700\ntheirs\n");
}

#[test]
fn what_others_moved_into_a_directory_that_the_run_replaced() {
    for replace in ["rm -rf /srv/cache; mkdir /srv/cache", "rm -rf /srv/cache"] {
        let lab = lab(
            &format!("{replace}; {HOST} mv /srv/mine /srv/cache/mine\n"),
            "mkdir -p /srv/cache /srv/mine; echo x > /srv/cache/x; echo mine > /srv/mine/m; touch -d @1000000000 /srv/mine/m",
        );
        lab.acme(&["dance"]).failed_with(&["nothing was merged", "changed on the host while the dance ran"]);
        assert_eq!(lab.shell("cat /srv/cache/x /srv/cache/mine/m"), "x\nmine\n");
    }
}
