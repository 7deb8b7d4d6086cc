//! Binaries for older distributions and other machines: what they need of a C library is what the spec allows, they run
//! there, and what cannot be built or would not run is refused with what to do.
//!
//! Building with zig compiles everything again, for minutes; that happens with `DISCO_FULL` in the environment only.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use testbed::built;

#[track_caller]
fn succeeded(what: &str, output: &Output) -> String {
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{what}: {}\n{said}{complained}", output.status);
    said.into_owned()
}

#[track_caller]
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect("the program starts");
    succeeded(&format!("{program} {}", arguments.join(" ")), &output)
}

fn write_spec(folder: &Path, more: &str) -> PathBuf {
    let path = folder.join("old.toml");
    let text =
        format!("[brand]\nname = \"old\"\n[features]\nprovisioning = true\nplaintext-brokers = true\n{more}");
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_binary_that_needs_a_newer_library_than_its_spec_allows_is_refused_by_its_symbols() {
    let scratch = tempfile::tempdir().unwrap();
    let acme = built::dist("acme").unwrap().join("acme-disco");
    let spec = write_spec(scratch.path(), "[targets.el7]\nglibc = \"2.17\"\n");
    let output = built::xtask()
        .unwrap()
        .arg("rebrand")
        .arg(&acme)
        .arg("--spec")
        .arg(&spec)
        .arg("--dist")
        .arg(scratch.path().join("dist"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    let title =
        "error: old-disco does not run with glibc 2.17, the oldest that target `el7` of old.toml allows:\n";
    assert!(said.contains(title), "{said}");
    // The same symbols as another reader of ELF files finds.
    let symbols = run("objdump", &["--dynamic-syms", acme.to_str().unwrap()]);
    let mut newer: Vec<(String, String)> = Vec::new();
    for line in symbols.lines().filter(|line| line.contains("*UND*")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [.., version, symbol] = words[..] else { continue };
        let version = version.trim_matches(['(', ')']);
        let minor = version.strip_prefix("GLIBC_2.").and_then(|minor| minor.split('.').next()?.parse().ok());
        if minor.is_some_and(|minor: u32| minor > 17) {
            newer.push((symbol.to_owned(), version.to_owned()));
        }
    }
    assert!(!newer.is_empty(), "this machine's own binaries run with 2.17 too: {symbols}");
    for (symbol, version) in &newer {
        assert!(said.contains(&format!("\n  {symbol} needs {version}\n")), "{symbol} {version}: {said}");
    }
    assert_eq!(said.matches(" needs GLIBC_").count(), newer.len(), "{said}");
    assert!(!scratch.path().join("dist/old").exists(), "nothing is left behind");
}

#[test]
fn a_machine_that_the_compiler_has_no_library_for_is_refused_with_what_brings_it() {
    let scratch = tempfile::tempdir().unwrap();
    let (host, other) = match std::env::consts::ARCH {
        "aarch64" => ("aarch64-unknown-linux-gnu", "x86_64-unknown-linux-gnu"),
        _ => ("x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"),
    };
    // The same compiler, with Rust's library for this machine only.
    let rustc = PathBuf::from(run("rustc", &["--print", "sysroot"]).trim());
    let sysroot = scratch.path().join("sysroot");
    fs::create_dir_all(sysroot.join("lib/rustlib")).unwrap();
    symlink(rustc.join("lib/rustlib").join(host), sysroot.join("lib/rustlib").join(host)).unwrap();
    let wrapper = scratch.path().join("rustc");
    let script = format!(
        "#!/bin/sh\nexec {} --sysroot {} \"$@\"\n",
        rustc.join("bin/rustc").display(),
        sysroot.display()
    );
    fs::write(&wrapper, script).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    let spec = write_spec(scratch.path(), &format!("[targets.far]\ntriple = \"{other}\"\n"));
    let output = built::xtask()
        .unwrap()
        .env("RUSTC", &wrapper)
        .args(["binaries", "--spec"])
        .arg(&spec)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    let refused = said.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
    assert!(
        refused.starts_with("error: this machine cannot build the target `far` of old.toml: rustc 1."),
        "{said}"
    );
    assert!(refused.ends_with(&format!(" has no standard library for {other}")), "{said}");
    assert!(said.contains(&format!("\n  help: `rustup target add {other}` where rustup brought")), "{said}");
}

/// An unpacked Debian 11, whose C library is 2.31; made once.
fn bullseye() -> PathBuf {
    let folder = built::project().unwrap().join("target/testbed");
    fs::create_dir_all(&folder).unwrap();
    let (root, unfinished) = (folder.join("bullseye-root"), folder.join("bullseye-root.unfinished"));
    if !root.exists() {
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished).unwrap();
        }
        let made = unfinished.display().to_string();
        run(
            "mmdebstrap",
            &["--quiet", "--variant=minbase", "--mode=root", "--include=rsync", "bullseye", &made],
        );
        fs::rename(&unfinished, &root).unwrap();
    }
    root
}

/// Runs a line in a copy-on-write view of a root, with mounts and processes of its own.
fn in_root(root: &Path, files: &[&Path], line: &str) -> Output {
    let scratch = tempfile::tempdir_in(root.parent().unwrap()).unwrap();
    let place = scratch.path().display();
    let copies: String =
        files.iter().map(|file| format!("cp '{}' {place}/merged/root/ && ", file.display())).collect();
    // The work directory of an overlay may not be one itself, so the layers lie in memory.
    let script = format!(
        "mount -t tmpfs none {place} && mkdir {place}/upper {place}/work {place}/merged && \
         mount -t overlay overlay -o lowerdir={},upperdir={place}/upper,workdir={place}/work {place}/merged && \
         {copies} mount -t proc proc {place}/merged/proc && exec chroot {place}/merged sh -c \"$0\"",
        root.display()
    );
    Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", &script, line])
        .output()
        .expect("unshare starts")
}

fn newest_glibc(binary: &Path) -> Vec<u32> {
    newest_version(&run("objdump", &["--dynamic-syms", binary.to_str().unwrap()]))
}

/// The newest version of the C library in a list of versions.
fn newest_version(list: &str) -> Vec<u32> {
    let versions = list.split("GLIBC_").skip(1);
    let numbers = |text: &str| -> Vec<u32> {
        let end = text.find(|letter: char| letter != '.' && !letter.is_ascii_digit()).unwrap_or(text.len());
        text[..end].split('.').filter_map(|number| number.parse().ok()).collect()
    };
    versions.map(numbers).max().expect("it needs a C library")
}

#[test]
fn a_floor_and_another_machine_are_lines_of_a_spec() {
    if std::env::var_os("DISCO_FULL").is_none() {
        eprintln!("not tried: it compiles everything twice; `DISCO_FULL=1` asks for it");
        return;
    }
    assert_eq!(std::env::consts::ARCH, "x86_64", "the test knows one kind of build host");
    let scratch = tempfile::tempdir().unwrap();
    let spec = write_spec(
        scratch.path(),
        "[targets.defaults]\noutput = \"{{binary}}-{{version}}-{{os}}-{{arch}}\"\nglibc = \"2.17\"\n\
         [targets.intel]\n[targets.arm]\ntriple = \"aarch64-unknown-linux-gnu\"\n",
    );
    let xtask = |words: &[&std::ffi::OsStr]| {
        let output = built::xtask().unwrap().args(words).output().unwrap();
        succeeded("cargo xtask", &output)
    };
    let dist = scratch.path().join("dist");
    xtask(&["setup".as_ref(), "--spec".as_ref(), spec.as_ref()]);
    xtask(&[
        "build".as_ref(),
        "--fast".as_ref(),
        "--spec".as_ref(),
        spec.as_ref(),
        "--dist".as_ref(),
        dist.as_ref(),
    ]);
    let folder = dist.join("old");
    xtask(&["verify".as_ref(), folder.as_ref(), "--spec".as_ref(), spec.as_ref()]);

    let version = env!("CARGO_PKG_VERSION");
    let (intel, arm) = (
        folder.join(format!("old-disco-{version}-linux-x86_64")),
        folder.join(format!("old-disco-{version}-linux-aarch64")),
    );
    for binary in [&intel, &arm] {
        assert!(newest_glibc(binary) <= vec![2, 17], "{}: {:?}", binary.display(), newest_glibc(binary));
    }
    let info =
        |name: &str| -> Value { serde_json::from_slice(&fs::read(folder.join(name)).unwrap()).unwrap() };
    for architecture in ["x86_64", "aarch64"] {
        let info = info(&format!("old-disco-{version}-linux-{architecture}.buildinfo.json"));
        assert_eq!(info["build"]["target"], format!("{architecture}-unknown-linux-gnu"));
    }
    // The other machine's works there, not only its answer to the build.
    let emulated = |words: &[&str]| {
        let start = ["-L", "/usr/aarch64-linux-gnu", arm.to_str().unwrap()];
        run("qemu-aarch64-static", &[&start, words].concat())
    };
    assert!(emulated(&["--help"]).contains("dance"), "it helps");

    let deb = |machine: &str| folder.join(format!("old-disco_{version}-1_{machine}.deb"));
    let field = |deb: &Path, name: &str| run("dpkg-deb", &["--field", deb.to_str().unwrap(), name]);
    assert_eq!(field(&deb("arm64"), "Architecture").trim(), "arm64");
    assert!(
        field(&deb("arm64"), "Depends").contains("libc6 (>= 2.17)"),
        "{}",
        field(&deb("arm64"), "Depends")
    );
    let requires = run(
        "rpm",
        &["-qp", "--requires", folder.join(format!("old-disco-{version}-1.x86_64.rpm")).to_str().unwrap()],
    );
    assert!(requires.contains("libc.so.6(GLIBC_2.17)(64bit)\n"), "{requires}");
    assert_eq!(newest_version(&requires), [2, 17], "{requires}");

    // Debian 11 takes its package, whose dependencies hold there, and runs it; this machine's own is refused by dpkg.
    let root = bullseye();
    let name = |deb: &Path| deb.file_name().unwrap().to_string_lossy().into_owned();
    let intel_deb = deb("amd64");
    let output = in_root(
        &root,
        &[&intel_deb],
        &format!(
            "dpkg -i /root/{} && old-disco buildinfo --json && old-disco param set hello world && \
             old-disco param get hello",
            name(&intel_deb)
        ),
    );
    let said = succeeded("in Debian 11", &output);
    assert!(said.contains("\"binary\": \"old-disco\""), "{said}");
    assert!(said.ends_with("world\n"), "{said}");
    let own = built::dist_file("acme", ".deb").unwrap();
    let refused = in_root(&root, &[&own], &format!("dpkg -i /root/{}", name(&own)));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("libc6"), "{said}");
}
