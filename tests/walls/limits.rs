//! Runaway scripts are ended whole, named with the limit and the setting that raises it, and the other modules run on.

use std::process::Command;

use testbed::lab::{CONFIGURATION, Ended, Lab};
use testbed::universe::Universe;

/// A node with one script and a harmless module after it, and limits set by its parameters.
fn lab(script: &str, limits: &[(&str, &str)]) -> Lab {
    let universe = Universe::empty().unwrap();
    universe.add("a-runaway/scripts/1.sh", &format!("#!/bin/bash\n{script}\n")).unwrap();
    universe.add("b-after/scripts/1.sh", "echo after\n").unwrap();
    let lab = Lab::with(universe);
    for (limit, value) in limits {
        let parameter = format!("disco/limits/{limit}");
        assert_eq!(lab.acme(&["param", "set", &parameter, value]).code, 0);
    }
    lab
}

/// Dances on it.
fn run_away(script: &str, limits: &[(&str, &str)], arguments: &[&str]) -> (Lab, Ended) {
    let lab = lab(script, limits);
    let ended = lab.acme(&[&["dance"], arguments].concat());
    (lab, ended)
}

#[track_caller]
fn assert_named(ended: &Ended, limit: &str, value: &str) {
    assert_eq!(ended.code, 1, "{ended:#?}");
    let all = format!("{}{}", ended.stdout, ended.stderr);
    let line =
        all.lines().find(|line| line.contains("a-runaway/scripts/1.sh failed: ")).unwrap_or_else(|| {
            panic!(
                "no failure is told: {} {}",
                ended.stdout.chars().take(2000).collect::<String>(),
                ended.stderr
            )
        });
    for word in [value, &format!("disco/limits/{limit}"), &format!("plugin.disco.limits.{limit}")] {
        assert!(line.contains(word), "`{word}` is not in {line}");
    }
    assert!(ended.stdout.contains("\nafter\n"), "the next module did not run: {line}");
}

/// No process of a script runs on; `name` is what it called itself.
#[track_caller]
fn assert_gone(lab: &Lab, name: &str) {
    let left = lab.shell("cat /proc/[0-9]*/cmdline | tr '\\0' ' '");
    assert!(!left.contains(name), "{left}");
}

const SLEEPERS: &str = "for _ in 1 2 3; do (trap '' TERM HUP; setsid bash -c 'exec -a runaway-sleeper sleep 600') & done; \
                        exec -a runaway-sleeper sleep 600";

#[test]
fn a_script_that_does_not_end_is_ended_with_all_that_it_started() {
    for arguments in [&["--noop"][..], &[]] {
        let (lab, ended) = run_away(SLEEPERS, &[("time", "1s")], arguments);
        assert_named(&ended, "time", "more than 1s");
        assert_gone(&lab, "runaway-sleeper");
    }
}

#[test]
fn a_fork_bomb_is_put_out() {
    let bomb = "bomb() { bomb | bomb & bomb; sleep 600; }; bomb";
    for arguments in [&["--noop"][..], &[]] {
        let (lab, ended) = run_away(bomb, &[("processes", "100")], arguments);
        assert_named(&ended, "processes", "more than 100 processes");
        assert_gone(&lab, "1.sh");
    }
}

/// Starts 500 threads from one of its own; if there is an argument, the first thread does not live to see that.
const THREADS: &str = "
    #include <pthread.h>
    #include <unistd.h>
    void *wait(void *nothing) { sleep(600); return nothing; }
    void *bomb(void *nothing) {
        pthread_t thread;
        usleep(200000);
        for (int i = 0; i < 500; i++) pthread_create(&thread, 0, wait, 0);
        return wait(nothing);
    }
    int main(int arguments, char **words) {
        pthread_t thread;
        pthread_create(&thread, 0, bomb, 0);
        if (arguments > 1) pthread_exit(0);
        return pthread_join(thread, 0);
    }
";

#[test]
fn threads_count_like_processes_also_where_the_first_one_ended() {
    let scratch = tempfile::tempdir().unwrap();
    let (source, program) = (scratch.path().join("threads.c"), scratch.path().join("threads"));
    std::fs::write(&source, THREADS).unwrap();
    let compiled = Command::new("cc").arg("-pthread").arg(&source).arg("-o").arg(&program).status().unwrap();
    assert!(compiled.success());
    for arguments in ["", "headless"] {
        let lab = lab(&format!("exec /opt/threads {arguments}"), &[("processes", "100"), ("time", "60s")]);
        lab.node.copy_in(&program, "/opt/threads").unwrap();
        let ended = lab.acme(&["dance", "--noop"]);
        assert_named(&ended, "processes", "more than 100 processes and threads");
        assert_gone(&lab, "/opt/threads");
    }
}

#[test]
fn a_script_that_fills_the_disk_is_ended() {
    for (script, value) in [
        ("yes > /srv/filled", "20M"),
        // Without a name the file is found by the descriptor.
        ("exec 5> /srv/filled; rm /srv/filled; yes >&5", "20M"),
        ("mkdir /srv/many; i=0; while :; do : > /srv/many/$((i++)); done", "2M"),
    ] {
        let (lab, ended) = run_away(script, &[("scratch", value)], &["--noop"]);
        assert_named(&ended, "scratch", &format!("more than {value}"));
        assert_eq!(lab.shell("ls /srv"), "", "{script}");
    }
    let (lab, ended) = run_away("yes > /srv/filled", &[("scratch", "20M")], &[]);
    assert_named(&ended, "scratch", "more than 20M");
    assert_eq!(lab.shell("ls /srv"), "", "a failed run merges nothing");
}

#[test]
fn space_that_no_name_leads_to_is_counted() {
    // Filled by read(2) into the mapping: nothing but the mapping leads to the file any more.
    let mapped = "exec perl -e 'open F, \"+>\", \"/srv/f\"; unlink \"/srv/f\"; truncate F, 100 << 20; \
                  $at = syscall 9, 0, 100 << 20, 3, 1, fileno F, 0; close F; open Z, \"</dev/zero\"; \
                  syscall 0, fileno Z, $at, 100 << 20; sleep 600'";
    let deep = "cd /srv; d=$(printf 'd%.0s' {1..200}); for _ in {1..25}; do mkdir $d; cd -P $d; done; \
                head -c 100M /dev/zero > f; sleep 600";
    for script in [mapped, deep] {
        let universe = Universe::empty().unwrap();
        universe.add("a-runaway/scripts/1.sh", &format!("#!/bin/bash\n{script}\n")).unwrap();
        let lab = Lab::on_disk(universe);
        for (limit, value) in [("scratch", "20M"), ("time", "90s")] {
            assert_eq!(lab.acme(&["param", "set", &format!("disco/limits/{limit}"), value]).code, 0);
        }
        let ended = lab.acme(&["dance", "--noop"]);
        let all = format!("{}{}", ended.stdout, ended.stderr);
        assert!(all.contains("failed: ") && all.contains("disco/limits/scratch"), "{all}");
    }
}

#[test]
fn a_script_that_eats_memory_is_ended() {
    // 319 is memfd_create(2): neither mapped nor below a directory.
    let nameless = "exec perl -e '$name = \"m\"; $fd = syscall 319, $name, 0; open F, \">&=$fd\"; syswrite F, \"x\" x 1000000 while 1'";
    for script in [
        "exec perl -e '$x .= \"x\" x 1000000 while 1'",
        "exec dd if=/dev/zero of=/dev/shm/filled bs=1M",
        nameless,
    ] {
        let (_, ended) = run_away(&format!("sleep 0.05; {script}"), &[("memory", "200M")], &["--noop"]);
        assert_named(&ended, "memory", "more than 200M");
    }
}

#[test]
fn endless_output_is_cut_off() {
    for script in ["yes", "yes >&2", "while :; do service x stop > /dev/null; done"] {
        let value = if script.contains("service") { "10K" } else { "1M" };
        let (_, ended) = run_away(script, &[("output", value)], &["--noop"]);
        assert_named(&ended, "output", &format!("more than {value}"));
        assert!(ended.stdout.len() < 4 << 20, "{}", ended.stdout.len());
    }
}

#[test]
fn limits_come_from_the_configuration_too_and_one_that_means_nothing_is_refused() {
    let universe = Universe::empty().unwrap();
    universe.add("a-runaway/scripts/1.sh", "sleep 600\n").unwrap();
    let lab = Lab::with(universe);
    lab.node.write(CONFIGURATION, "plugin.disco.limits.time = 1s\n", 0o644).unwrap();
    let ended = lab.acme(&["dance", "--noop"]);
    assert!(format!("{ended:?}").contains("it ran more than 1s"), "{ended:#?}");
    lab.node.write(CONFIGURATION, "plugin.disco.limits.scratch = much\n", 0o644).unwrap();
    lab.acme(&["dance", "--noop"]).failed_with(&[
        "`much` is no scratch limit",
        "`512M` or `16G`",
        "plugin.disco.limits.scratch",
    ]);
}

#[test]
fn a_daemon_that_a_live_script_leaves_in_the_sandbox_is_ended_and_named() {
    let script = "(setsid bash -c 'exec -a left-in-the-overlay sleep 600' > /dev/null 2>&1 &); sleep 0.1; echo x > /etc/made";
    let (lab, ended) = run_away(script, &[], &[]);
    assert_eq!(ended.code, 1, "{ended:#?}");
    let all = format!("{}{}", ended.stdout, ended.stderr);
    for word in ["a-runaway/scripts/1.sh failed: it left behind ", "(left-in-the-overlay 600)", "\nafter\n"] {
        assert!(all.contains(word), "`{word}` is not in {all}");
    }
    assert_gone(&lab, "left-in-the-overlay");
    assert_eq!(lab.shell("ls /etc/made 2> /dev/null"), "", "a failed run merges nothing");
    // What is about to end by itself may do so.
    let (lab, ended) = run_away("sleep 0.1 & echo x > /etc/made", &[], &[]);
    assert_eq!(ended.code, 0, "{ended:#?}");
    assert_eq!(lab.shell("ls /etc/made"), "/etc/made\n");
}

#[test]
fn a_script_that_takes_back_its_own_output_holds_up_nobody() {
    let thief = "exec perl -MFcntl -e 'sysopen R, \"/proc/self/fd/1\", O_RDONLY | O_NONBLOCK; $end = time + 2; \
                 while (time < $end) { for (1 .. 200) { syswrite STDOUT, \"x\"; sysread R, $b, 10 } } sleep 600'";
    let (_, ended) = run_away(thief, &[("time", "4s")], &["--noop"]);
    assert_named(&ended, "time", "more than 4s");
}

#[test]
fn descriptors_and_long_words_that_callers_pass_stay_with_nobody() {
    let passing = r#"perl -e '
        for (1 .. 400) {
            socket S, 1, 5, 0; connect S, pack "S a108", 1, "/var/disco/run/calls" or die;
            $b = "x"; $iov = pack "P Q", $b, 1; $c = pack "Q i10", 48, 1, 1, (0) x 8;
            $m = pack "Q Q P Q P Q Q", 0, 0, $iov, 1, $c, 48, 0;
            syscall(46, fileno S, $m, 0) == 1 or die $!; sysread S, $b, 1; close S }
        print "passed\n"'"#;
    let (_, ended) = run_away(passing, &[], &["--noop"]);
    assert_eq!(ended.code, 0, "{ended:#?}");
    assert!(ended.stdout.contains("\npassed\n") && ended.stdout.contains("\nafter\n"), "{}", ended.stdout);

    let talking = r#"perl -e '
        $call = sprintf "{\"held\":{\"argv\":[\"x\"],\"directory\":\"%s\",\"told\":true},\"behind\":\"\",\"now\":false,\"exact\":true}", "D" x 4000;
        for (1 .. 100) {
            socket S, 1, 5, 0; connect S, pack "S a108", 1, "/var/disco/run/calls" or die;
            syswrite S, $call; sysread S, $b, 9; close S }
        sleep 600'"#;
    let (_, ended) = run_away(talking, &[("output", "100K")], &["--noop"]);
    assert_named(&ended, "output", "more than 100K");
}
