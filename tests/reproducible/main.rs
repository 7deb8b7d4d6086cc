//! `cargo xtask build --check-reproducible`: says yes where nothing but folder, user, host and date differ, and no, with
//! the place, where a plug bakes one of them.

use std::fs;
use std::path::Path;
use std::process::Command;

use testbed::built;

/// A resolver whose build script looks around, as build scripts that bake build facts do.
const BUILD_SCRIPT: &str = r#"
use std::os::unix::fs::MetadataExt;
fn main() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let user = std::fs::metadata("/proc/self").unwrap().uid();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let made = format!("day {} uid {user} host {} ", now.as_secs() / 86400, host.trim());
    // Of one length, so that nothing else moves in the binary.
    println!("cargo:rustc-env=MADE={made:.<90}");
}
"#;

const RESOLVER: &str = r#"
use std::time::Instant;
use disco_sdk::{Node, ResolveError, Settings, Target, TargetResolver};
struct Dated;
impl TargetResolver for Dated {
    fn name(&self) -> &str {
        env!("MADE")
    }
    fn targets(&self, _: &Node, _: &Settings, _: Instant) -> Result<Vec<Target>, ResolveError> {
        Ok(Vec::new())
    }
}
pub fn target_resolver() -> impl TargetResolver {
    Dated
}
"#;

fn write_plug(folder: &Path) {
    fs::create_dir_all(folder.join("src")).unwrap();
    let manifest = "[package]\nname = \"dated\"\nversion = \"1.0.0\"\nedition = \"2024\"\nlicense = \"MIT\"\n\
                    [dependencies]\ndisco-sdk = \"0.1\"\n";
    fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    fs::write(folder.join("build.rs"), BUILD_SCRIPT).unwrap();
    fs::write(folder.join("src/lib.rs"), RESOLVER).unwrap();
}

#[test]
fn what_bakes_its_surroundings_is_found_and_all_else_is_the_same() {
    let scratch = tempfile::tempdir().unwrap();
    let project = built::project().unwrap();
    let plug = scratch.path().join("dated");
    write_plug(&plug);
    testbed::openpgp::private_key(&scratch.path().join("key.asc")).unwrap();
    let write = |name: &str, krate: &str, path: &Path| {
        let spec = scratch.path().join(format!("{name}.toml"));
        let text = format!(
            "[brand]\nname = \"{name}\"\n[features]\nprovisioning = true\nplaintext-brokers = true\n[provisioning]\n\
             default = true\n[resolver]\ncrate = \"{krate}\"\npath = \"{}\"\n\
             [signing]\nrpm_key = {{ file = \"key.asc\" }}\n",
            path.display()
        );
        fs::write(&spec, text).unwrap();
        spec
    };
    let same = write("samebytes", "static-targets", &project.join("examples/static-targets"));
    let dated = write("datedbytes", "dated", &plug);
    let dist = scratch.path().join("dist");
    let check = |specs: &[&Path]| {
        let mut xtask = built::xtask().unwrap();
        xtask.args(["build", "--fast", "--check-reproducible", "--dist"]).arg(&dist);
        for spec in specs {
            xtask.arg("--spec").arg(spec);
        }
        let output = xtask.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };

    let (code, said) = check(&[&same]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("\nreproducible: another folder, user, host and date make the same bytes ("),
        "{said}"
    );

    let (code, said) = check(&[&same, &dated]);
    assert_eq!(code, Some(1), "{said}");
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let user = nix::unistd::getuid();
    let binary = said
        .lines()
        .find(|line| {
            line.starts_with("error: datedbytes/datedbytes-disco: differs in section .rodata at byte ")
        })
        .unwrap_or_else(|| panic!("{said}"));
    let days: Vec<u64> = binary
        .split("day ")
        .skip(1)
        .map(|rest| rest.split_whitespace().next().unwrap().parse().unwrap())
        .collect();
    assert!(days.len() == 2 && (400..=401).contains(&(days[1] - days[0])), "{binary}");
    assert!(binary.contains(&format!(" uid {user} host {}", host.trim())), "{binary}");
    assert!(binary.contains(" uid 4711 host another-host"), "{binary}");
    for file in ["datedbytes-disco_0.1.0-1_amd64.deb", "datedbytes-disco-0.1.0-1.x86_64.rpm"] {
        let line = format!(
            "error: datedbytes/{file}: brings another /usr/sbin/datedbytes-disco: it differs in section .rodata"
        );
        assert!(said.contains(&line), "{said}");
    }
    assert!(!said.contains("error: samebytes"), "{said}");
    assert!(said.contains("not reproducible: a second build elsewhere"), "{said}");
    let note = format!("note: {} lies outside the project", plug.display());
    assert!(said.contains(&note), "{said}");
    // Of the copy nothing stays but what was compiled.
    let left: Vec<_> = fs::read_dir(project.join("target/reproducible/sources"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["target"]);
}

#[test]
fn without_another_date_nothing_is_checked() {
    // The programs of the build, and no faketime.
    let scratch = tempfile::tempdir().unwrap();
    let path = std::env::var_os("PATH").unwrap();
    for folder in std::env::split_paths(&path) {
        for entry in folder.read_dir().into_iter().flatten().flatten() {
            let name = entry.file_name();
            if name != "faketime" {
                let _ = std::os::unix::fs::symlink(entry.path(), scratch.path().join(name));
            }
        }
    }
    let dist = scratch.path().join("dist");
    let xtask = built::project().unwrap().join("target/debug/xtask");
    let mut command = Command::new(xtask);
    command.args(["binaries", "--check-reproducible", "--dist"]).arg(&dist).env("PATH", scratch.path());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "error: the check needs the program `faketime` to build on another date\n  help: install the package faketime; \
         `cargo xtask setup` does it\n"
    );
    assert!(!dist.exists(), "it is refused before anything is built");
}
