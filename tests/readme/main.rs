//! The README is true: its tour is run as it is written, and what it shows is what the programs print.
//!
//! Lines `$ …` of a console block run in the project's folder; lines `localhost.localdomain# …` are typed into the shell
//! that the `cargo xtask demo --shell` before them gives. `cargo xtask demo` and `cargo xtask test` themselves are shown in
//! another kind of block; the latter is what runs this.

mod plugs;

use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use testbed::built::project;

const NODE: &str = "localhost.localdomain# ";

/// The lines of the console blocks, block by block.
fn console_blocks() -> Vec<Vec<String>> {
    let readme = fs::read_to_string(project().unwrap().join("README.md")).unwrap();
    let blocks: Vec<Vec<String>> = readme
        .split("```console\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap().lines().map(str::to_owned).collect())
        .collect();
    assert!(blocks.len() >= 4, "the README has lost its console blocks");
    blocks
}

fn shell(line: &str, input: &str) -> Output {
    let mut command = Command::new("bash");
    // The demo and the builds are run by cargo; a cargo that runs tests would pass its own settings on.
    command.args(["-c", line]).current_dir(project().unwrap()).env_remove("CARGO_MANIFEST_DIR");
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[track_caller]
fn succeeds(line: &str, input: &str) -> String {
    let output = shell(line, input);
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "`{line}` ended with {}\n{stdout}\n{stderr}", output.status);
    stdout.into_owned()
}

/// Blots out times and device numbers.
fn normal(line: &str) -> String {
    let mut line = line.to_owned();
    for (before, after) in [("device=[", "]"), (" failed (", " s)")] {
        if let Some((head, rest)) = line.clone().split_once(before)
            && let Some((_, tail)) = rest.split_once(after)
        {
            line = format!("{head}{before}_{after}{tail}");
        }
    }
    line
}

#[test]
fn the_noop_that_the_readme_shows_is_what_the_demo_prints() {
    let blocks = console_blocks();
    let shown: Vec<String> = blocks[0][1..].iter().map(|line| normal(line)).collect();
    assert_eq!(blocks[0][0], format!("{NODE}acme-disco dance --noop"));
    let demo = succeeds("cargo xtask demo", "");
    let printed: Vec<String> =
        demo.lines().skip_while(|line| *line != blocks[0][0]).skip(1).take(shown.len()).map(normal).collect();
    assert_eq!(printed, shown);
    for promised in
        ["postgresql: running", "live: 2 modules, 1 created", "postgresql: not running", "discovered: "]
    {
        assert!(demo.contains(promised), "{promised} is not in\n{demo}");
    }
    assert!(demo.contains("openssl: self-signature good"), "{demo}");
}

#[test]
fn the_tour_can_be_walked_as_it_is_written() {
    let target = project().unwrap().join("target");
    // What an earlier walk left.
    let _ = fs::remove_dir_all(target.join("my-universe"));
    let mut said = String::new();
    for block in &console_blocks()[1..] {
        let mut lines = block.iter().peekable();
        while let Some(line) = lines.next() {
            let command = line.strip_prefix("$ ").unwrap_or_else(|| panic!("`{line}` follows no shell"));
            let mut typed = String::new();
            while let Some(line) = lines.next_if(|line| line.starts_with(NODE)) {
                typed.push_str(&line[NODE.len()..]);
                typed.push('\n');
            }
            said.push_str(&succeeds(command, &typed));
        }
    }
    for promised in [
        "name = \"acme\"",
        "My Disco",
        "/opt/acme/sbin/acme-disco",
        "noop: 3 modules, 1 created, 1 modified",
        "live: 3 modules, 1 created, 1 modified",
        "This is localhost.localdomain, and it dances.\n",
        "report: motd-1: template",
        "converged",
        "warning: Would execute : service postgresql stop\n",
        "info: File: file: /etc/passwd : Deleted\n",
        "info: The noop sandbox is gone",
        "< This is localhost.localdomain, and it dances.\n",
    ] {
        assert!(said.contains(promised), "{promised} is not in\n{said}");
    }
    fs::remove_dir_all(target.join("my-universe")).unwrap();
}
