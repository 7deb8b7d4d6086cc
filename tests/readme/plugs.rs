//! docs/plugs.md is true: its files are written as they stand there, and its commands run.

use std::fs;
use std::path::Path;
use std::process::Command;

use testbed::built::project;

/// Runs a line of the page as somebody whose home is `home`, with the same cargo.
fn shell(line: &str, home: &Path) -> String {
    let kept = |name: &str, folder: &str| {
        std::env::var_os(name).unwrap_or_else(|| std::env::home_dir().unwrap().join(folder).into())
    };
    let mut command = Command::new("bash");
    command.args(["-c", line]).current_dir(project().unwrap()).env_remove("CARGO_MANIFEST_DIR");
    command
        .env("CARGO_HOME", kept("CARGO_HOME", ".cargo"))
        .env("RUSTUP_HOME", kept("RUSTUP_HOME", ".rustup"));
    let output = command.env("HOME", home).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "`{line}` ended with {}\n{stdout}\n{stderr}", output.status);
    stdout.into_owned()
}

#[test]
fn a_stranger_can_write_a_resolver_by_the_page() {
    let home = tempfile::tempdir().unwrap();
    let page = fs::read_to_string(project().unwrap().join("docs/plugs.md")).unwrap();
    let (mut files, mut commands) = (0, 0);
    let mut name = None;
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(path) = line.strip_prefix("`~/").and_then(|line| line.strip_suffix("`:")) {
            name = Some(home.path().join(path));
        }
        let Some(kind) = line.strip_prefix("```") else { continue };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        match (kind, name.take()) {
            ("console", _) => {
                let mut said = String::new();
                for line in block {
                    match line.strip_prefix("$ ") {
                        Some(command) => {
                            said = shell(command, home.path());
                            commands += 1;
                        }
                        None => assert!(said.lines().any(|said| said == line), "{line}\nis not in\n{said}"),
                    }
                }
            }
            (_, Some(path)) => {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, block.join("\n") + "\n").unwrap();
                files += 1;
            }
            (_, None) => panic!("nobody says which file this is:\n{}", block.join("\n")),
        }
    }
    assert_eq!((files, commands), (3, 3), "the page has lost some of its blocks");

    // What it says about the lock file.
    let site = home.path().join("my-site");
    let lock = fs::read_to_string(site.join("dist/mysite/Cargo.lock")).unwrap();
    assert!(lock.contains("name = \"rack-targets\""), "{lock}");
    let build = "cargo xtask binaries --spec ~/my-site/my-site.toml --dist ~/my-site/dist";
    fs::write(site.join("my-site.lock"), &lock).unwrap();
    shell(build, home.path());
    assert_eq!(fs::read_to_string(site.join("dist/mysite/Cargo.lock")).unwrap(), lock);
    fs::write(site.join("my-site.lock"), "no lock file").unwrap();
    let refused = shell(&format!("! {build} 2>&1"), home.path());
    assert!(refused.contains("Cargo.lock"), "nobody looks at it: {refused}");
}
