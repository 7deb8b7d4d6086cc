//! Brands as their builders meet them: what a spec fixes is in the binary, what it leaves out is not, a second brand
//! costs seconds, and the token stays with its owner.

use std::fs;
use std::process::{Command, Output};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use testbed::built;

#[track_caller]
fn succeeded(what: &str, output: &Output) -> String {
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{what}: {}\n{said}{complained}", output.status);
    said.into_owned()
}

fn buildinfo(binary: &std::path::Path) -> Value {
    let output = Command::new(binary).args(["buildinfo", "--json"]).output().expect("the binary starts");
    serde_json::from_str(&succeeded("buildinfo --json", &output)).expect("it prints JSON")
}

/// Something that no file has yet. Not a constant: that would be in this test's own program below target/.
fn fresh_word() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    format!("{:x}Zq{:x}", std::process::id(), now)
}

#[test]
fn the_binary_says_what_the_spec_fixed() {
    let folder = built::dist("acme").unwrap();
    let says = buildinfo(&folder.join("acme-disco"));
    assert_eq!(says["brand"]["display_name"], "ACME Disco");
    assert_eq!(says["paths"]["etcdir"], "/opt/acme/etc/disco");
    assert_eq!(says["provisioning"]["brokers"][1], "prov2.acme.example:4222");
    assert_eq!(says["provisioning"]["token"], "set");
    assert_eq!(says["resolver"]["name"], "Default");
    assert_eq!(says["build"]["spec_digest"].as_str().unwrap().len(), 64);
    let beside: Value =
        serde_json::from_str(&fs::read_to_string(folder.join("buildinfo.json")).unwrap()).unwrap();
    assert_eq!(says, beside);
}

#[test]
fn the_reference_spec_makes_the_development_binary() {
    let stock = buildinfo(&built::dist("disco").unwrap().join("disco"));
    let development = buildinfo(std::path::Path::new(env!("CARGO_BIN_EXE_disco")));
    // Features are those of the test run, build facts those of the build; all else comes from the spec.
    for table in ["brand", "paths", "client", "security", "broker", "provisioning", "resolver"] {
        assert_eq!(stock[table], development[table], "{table}");
        assert!(!stock[table].is_null(), "{table}");
    }
}

#[test]
fn another_brand_with_the_same_features_compiles_no_product() {
    let scratch = tempfile::tempdir().unwrap();
    let project = built::project().unwrap();
    let spec = fs::read_to_string(project.join("examples/umbra.toml")).unwrap();
    // A value that was never built before, so that there is something to do; the plug by its full path.
    let url = format!("https://{}.example", fresh_word());
    let plug = project.join("examples/static-targets").display().to_string();
    let spec = spec.replace("https://umbra.example", &url).replace(
        "= \"static-targets\"\npath  = \"static-targets\"",
        &format!("= \"static-targets\"\npath  = \"{plug}\""),
    );
    let path = scratch.path().join("umbra.toml");
    fs::write(&path, spec).unwrap();
    let build = |git: &str| {
        let mut xtask = built::xtask().unwrap();
        xtask.arg("binaries").arg("--spec").arg(&path).arg("--dist").arg(scratch.path());
        xtask.env("GIT_DIR", git).output().unwrap()
    };
    let started = Instant::now();
    let output = build(&project.join(".git").display().to_string());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    succeeded("cargo xtask binaries", &output);
    println!("a second brand took {:.2} s", started.elapsed().as_secs_f64());
    assert!(said.contains("Compiling brand-umbra v"), "{said}");
    assert!(!said.contains("Compiling disco v"), "the product was compiled again:\n{said}");
    assert!(!said.contains("Compiling disco-sdk v"), "the SDK was compiled again:\n{said}");
    let says = buildinfo(&scratch.path().join("umbra/umbra-disco"));
    assert_eq!(says["brand"]["url"], url);
    assert_eq!(says["resolver"]["name"], "static-targets", "the plug is in");
    assert_eq!(says["paths"]["vardir"], "/var/lib/umbra-disco");

    // Another commit, here none at all, is another fact of the brand and not of the product.
    let output = build("/nonexistent");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    succeeded("cargo xtask binaries", &output);
    assert!(!said.contains("Compiling disco v"), "the product was compiled again:\n{said}");
    assert_eq!(buildinfo(&scratch.path().join("umbra/umbra-disco"))["build"]["git_sha"], "unknown");
}

#[test]
fn of_many_brands_those_that_fail_stop_no_other() {
    let scratch = tempfile::tempdir().unwrap();
    let specs = scratch.path().join("specs");
    fs::create_dir_all(specs.join("broken-plug/src")).unwrap();
    // A crate that cannot be compiled: what fails here fails in cargo, after the specs were read.
    fs::write(
        specs.join("broken-plug/Cargo.toml"),
        "[package]\nname = \"broken-plug\"\nversion = \"0.0.0\"\nedition = \"2024\"\n",
    )
    .unwrap();
    fs::write(specs.join("broken-plug/src/lib.rs"), "this is not Rust\n").unwrap();
    let spec = |name: &str, more: &str| {
        fs::write(specs.join(format!("{name}.toml")), format!("[brand]\nname = \"{name}\"\n{more}")).unwrap();
    };
    spec("m-a", "");
    spec("m-b", "[paths]\nbindir = \"relative\"\n");
    spec(
        "m-c",
        "[features]\nprovisioning = true\n[resolver]\ncrate = \"broken-plug\"\npath = \"broken-plug\"\n",
    );
    spec("m-d", "");
    fs::write(specs.join("notes.txt"), "not a spec\n").unwrap();
    let mut xtask = built::xtask().unwrap();
    let output = xtask
        .args(["build", "--fast", "--specs"])
        .arg(&specs)
        .arg("--dist")
        .arg(scratch.path().join("dist"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for line in [
        "error: `paths.bindir` is refused",
        "[1/4] m-a: building",
        "[4/4] m-d: packages",
        "2 of 4 brands are made",
        "m-b.toml\n  failed: m-c\n",
        "error: 2 of 4 brands failed, see above",
    ] {
        assert!(said.contains(line), "`{line}` is missing:\n{said}");
    }
    for name in ["m-a", "m-d"] {
        let folder = scratch.path().join("dist").join(name);
        assert_eq!(buildinfo(&folder.join(format!("{name}-disco")))["brand"]["name"], name);
        built::one_file(&folder, ".rpm").unwrap();
        built::one_file(&folder, ".deb").unwrap();
        let sums =
            Command::new("sha256sum").args(["--check", "SHA256SUMS"]).current_dir(&folder).output().unwrap();
        succeeded("sha256sum --check", &sums);
    }
    let mut made: Vec<_> = fs::read_dir(scratch.path().join("dist"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    made.sort();
    assert_eq!(made, ["m-a", "m-d"], "what failed left nothing behind");
}

#[test]
fn a_rebranded_binary_says_what_a_full_build_says() {
    let scratch = tempfile::tempdir().unwrap();
    let acme = built::dist("acme").unwrap().join("acme-disco");
    let write = |name: &str, features: &str, more: &str| {
        let path = scratch.path().join(format!("{name}.toml"));
        let text = format!("[brand]\nname = \"{name}\"\n[features]\n{features}{more}");
        fs::write(&path, text).unwrap();
        path
    };
    let same = "provisioning = true\nplaintext-brokers = true\n";
    let spec = write(
        "globex",
        same,
        "[paths]\nbindir = \"/srv/globex/bin\"\n[client]\ninterval = \"3h\"\n[broker]\nmax_clients = 7\n[provisioning]\n\
         default = true\nbrokers = [\"one.globex.example:4222\", \"two.globex.example:4223\"]\ntoken = \
         \"K7!pVq2-wZ9m#Rt4\"\n",
    );
    let run = |words: &[&std::ffi::OsStr], dist: &str| {
        let mut xtask = built::xtask().unwrap();
        xtask.args(words).arg("--dist").arg(scratch.path().join(dist)).output().unwrap()
    };
    let rebrand = |spec: &std::path::Path, binary: &std::path::Path| {
        run(&["rebrand".as_ref(), binary.as_ref(), "--spec".as_ref(), spec.as_ref()], "rebranded")
    };
    let output = rebrand(&spec, &acme);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    succeeded("cargo xtask rebrand", &output);
    println!("{said}");
    assert!(!said.contains("Compiling"), "{said}");
    succeeded("cargo xtask binaries", &run(&["binaries".as_ref(), "--spec".as_ref(), spec.as_ref()], "full"));
    let folder = scratch.path().join("rebranded/globex");
    let (rebranded, full) = (folder.join("globex-disco"), scratch.path().join("full/globex/globex-disco"));
    let mut expected = buildinfo(&full);
    // It stays what it was compiled from; the base may be older than the project is now.
    let base = buildinfo(&acme);
    for fact in ["git_sha", "git_date"] {
        expected["build"][fact] = base["build"][fact].clone();
    }
    assert_eq!(buildinfo(&rebranded), expected);
    assert_eq!(expected["provisioning"]["brokers"][1], "two.globex.example:4223");
    let sums =
        Command::new("sha256sum").args(["--check", "SHA256SUMS"]).current_dir(&folder).output().unwrap();
    succeeded("sha256sum --check", &sums);
    // Nothing is left of the brand that it was made from.
    let holds = |text: &str| {
        fs::read(&rebranded).unwrap().windows(text.len()).any(|window| window == text.as_bytes())
    };
    assert!(holds("one.globex.example:4222") && !holds("prov1.acme.example") && !holds("ACME"));
    // And back again, to the byte.
    let project = built::project().unwrap();
    succeeded("rebranding back", &rebrand(&project.join("examples/acme.toml"), &rebranded));
    let again = fs::read(scratch.path().join("rebranded/acme/acme-disco")).unwrap();
    assert!(again == fs::read(&acme).unwrap(), "the way back leads to other bytes");

    let refused = |spec: &std::path::Path, binary: &std::path::Path, expected: &str| {
        let output = rebrand(spec, binary);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(said, expected.replace("ACME", &acme.display().to_string()));
    };
    refused(
        &write("other", "provisioning = true\n", ""),
        &acme,
        "error: ACME has other features than other.toml asks for: live, shell, provisioning, plaintext-brokers instead of live, shell, \
         provisioning\n  help: build it: `cargo xtask build --spec other.toml`\n",
    );
    let plug = format!(
        "[resolver]\ncrate = \"static-targets\"\npath = \"{}\"\n",
        project.join("examples/static-targets").display()
    );
    let output = rebrand(&write("plugged", same, &plug), &acme);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let (before, after) = said.split_once(" of sources ").unwrap_or_else(|| panic!("{said}"));
    assert_eq!(
        before.replace(&acme.display().to_string(), "ACME"),
        "error: ACME has other plugs than plugged.toml asks for: none instead of resolver static-targets"
    );
    let (digest, help) = after.split_at(64);
    assert!(digest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{said}");
    assert_eq!(help, "\n  help: build it: `cargo xtask build --spec plugged.toml`\n");
    refused(
        &spec,
        std::path::Path::new("/bin/true"),
        "error: /bin/true cannot be rebranded: it has 0 brand blocks, where a binary of `cargo xtask build` has one\n",
    );
    let mut damaged = fs::read(&acme).unwrap();
    let at = damaged.windows(11).position(|window| window == b"brand block").unwrap();
    damaged[at + 18] = 0xff;
    let path = scratch.path().join("damaged");
    fs::write(&path, &damaged).unwrap();
    let output = rebrand(&spec, &path);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("its brand block is damaged"), "{output:?}");
    let rsync = format!("rsync --exclude={}", "x".repeat(20_000));
    let large = scratch.path().join("large.toml");
    fs::write(
        &large,
        format!("[brand]\nname = \"large\"\n[client]\nrsync = \"{rsync}\"\n[features]\n{same}"),
    )
    .unwrap();
    let output = rebrand(&large, &acme);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(" has no room for the brand large: the values need "), "{said}");
    assert!(!scratch.path().join("rebranded/large").exists(), "a refusal leaves nothing behind");

    // Every target of a spec gets its binary, or nothing is made.
    let twice = "[packages.defaults]\ntarget = \"one\"\n[targets.one]\noutput = \"{{binary}}-one\"\n[targets.two]\noutput = \"{{binary}}-two\"\n";
    succeeded("two targets of one machine", &rebrand(&write("twice", same, twice), &acme));
    for output in ["twice-disco-one", "twice-disco-two"] {
        assert_eq!(buildinfo(&scratch.path().join("rebranded/twice").join(output))["brand"]["name"], "twice");
    }
    let machines = format!(
        "{twice}triple = \"{}-unknown-linux-gnu\"\n",
        match std::env::consts::ARCH {
            "aarch64" => "x86_64",
            _ => "aarch64",
        }
    );
    refused(
        &write("machines", same, &machines),
        &acme,
        &format!(
            "error: no binary was given for the target `two` of machines.toml: ACME is for {}\n  help: name a binary of \
             each of its machines\n",
            std::env::consts::ARCH
        ),
    );
}

#[test]
fn the_token_is_nowhere_but_with_its_owner() {
    let scratch = tempfile::tempdir().unwrap();
    let project = built::project().unwrap();
    let token = fresh_word();
    let spec = "[brand]\nname = \"marked\"\n[features]\nprovisioning = true\nplaintext-brokers = true\n[provisioning]\n\
                default = true\nbrokers = [\"prov.example:4222\"]\ntoken = { env = \"DISCO_TEST_MARKER\" }\n";
    let path = scratch.path().join("marked.toml");
    fs::write(&path, spec).unwrap();
    // Below dist/, so that the search covers packages too.
    let dist = tempfile::Builder::new().prefix("marked-").tempdir_in(project.join("dist")).unwrap();
    let mut xtask = built::xtask().unwrap();
    let output = xtask
        .args(["build", "--spec"])
        .arg(&path)
        .arg("--dist")
        .arg(dist.path())
        .env("DISCO_TEST_MARKER", &token)
        .output()
        .unwrap();
    succeeded("cargo xtask build", &output);
    let log = [output.stdout, output.stderr].concat();
    assert!(!String::from_utf8_lossy(&log).contains(&token), "the log has the token");

    let says = buildinfo(&dist.path().join("marked/marked-disco"));
    assert_eq!(says["provisioning"]["token"], "set");
    let with = |word: &str| {
        let output = Command::new("grep")
            .args(["--recursive", "--text", "--files-with-matches", "--fixed-strings", "--", word])
            .arg(project.join("target"))
            .arg(project.join("dist"))
            .output()
            .expect("grep starts");
        // 1: nothing found. Files of other tests may vanish meanwhile, which makes it 2 even so.
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(with(&token), "", "files with the token");
    // The same search does find what was baked.
    assert!(with("prov.example:4222").contains("marked-disco"), "the search finds nothing at all");
    // Packages are compressed: look inside.
    let unpacked = scratch.path().join("unpacked");
    let deb = built::one_file(&dist.path().join("marked"), ".deb").unwrap();
    let output = Command::new("dpkg-deb").arg("-R").arg(&deb).arg(&unpacked).output().unwrap();
    succeeded("dpkg-deb -R", &output);
    let output = Command::new("grep").args(["-rlaF", "--", &token]).arg(&unpacked).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "the package has the token: {output:?}");
}

/// Names of all crates that a brand's binary is linked from.
fn crates_of(brand: &str) -> Vec<String> {
    let project = built::project().unwrap();
    built::dist(brand).unwrap();
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "tree",
            "--offline",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
            "--manifest-path",
        ])
        .arg(project.join("target/brands").join(brand).join("Cargo.toml"))
        .output()
        .unwrap();
    let listed = succeeded("cargo tree", &output);
    listed.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn a_build_without_provisioning_links_no_network() {
    let network = ["async-nats", "tokio", "rustls", "rcgen"];
    let (stock, acme) = (crates_of("disco"), crates_of("acme"));
    assert!(stock.contains(&"clap".to_owned()), "{stock:?}");
    for name in network {
        assert!(!stock.contains(&name.to_owned()), "the stock build links {name}");
        assert!(acme.contains(&name.to_owned()), "acme does not link {name}");
    }
}

#[test]
fn the_stock_binary_refuses_to_be_a_server_and_says_how_to_get_one() {
    let stock = built::dist("disco").unwrap().join("disco");
    let output = Command::new(stock).args(["server", "run"]).output().unwrap();
    assert!(!output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("this build of disco cannot be provisioned and has no server"), "{said}");
    assert!(said.contains("`provisioning = true` under [features]"), "{said}");
}

#[test]
fn an_audit_only_appliance_cannot_change_its_host() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("auditor.toml");
    fs::write(
        &path,
        "[brand]\nname = \"auditor\"\n[features]\nlive = false\nshell = false\n[client]\nserver = \"/nowhere\"\n",
    )
    .unwrap();
    let mut xtask = built::xtask().unwrap();
    let output =
        xtask.args(["build", "--spec"]).arg(&path).arg("--dist").arg(scratch.path()).output().unwrap();
    succeeded("cargo xtask build", &output);

    let auditor = scratch.path().join("auditor/auditor-disco");
    let output = Command::new(&auditor).arg("dance").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("this build of auditor-disco cannot change a host\n  hint: run it with --noop"),
        "{said}"
    );

    // The word by which a journal begins is the merge's own.
    let holds = |binary: &std::path::Path, text: &str| {
        fs::read(binary).unwrap().windows(text.len()).any(|window| window == text.as_bytes())
    };
    let acme = built::dist("acme").unwrap().join("acme-disco");
    assert!(
        holds(&acme, "disco-journal-1") && !holds(&auditor, "disco-journal-1"),
        "the merge is in the binary"
    );

    // Neither is the shell: no command leads to it, no help tells of it, its words are not there.
    for command in [["fs", "mount", "--noop"], ["sh", "shell", "--noop"]] {
        let said = Command::new(&auditor).args(command).output().unwrap();
        let said = String::from_utf8_lossy(&said.stderr);
        assert!(said.contains("this build of auditor-disco has no shell"), "{said}");
        assert!(said.contains("`shell = true` under [features]"), "{said}");
    }
    let help = Command::new(&auditor).arg("--help").output().unwrap();
    let help = String::from_utf8_lossy(&help.stdout);
    assert!(help.contains("\n  try ") && !help.contains("\n  fs ") && !help.contains("\n  sh "), "{help}");
    let words = "was changed, so it is mounted afresh";
    assert!(holds(&acme, words) && !holds(&auditor, words), "the shell is in the binary");

    let deb = built::one_file(&scratch.path().join("auditor"), ".deb").unwrap();
    let unpacked = scratch.path().join("unpacked");
    succeeded("dpkg-deb -x", &Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&unpacked).output().unwrap());
    let unit = unpacked.join("usr/lib/systemd/system/auditor-disco-dance.service");
    let unit = fs::read_to_string(unit).unwrap();
    assert!(unit.contains("ExecStart=/usr/sbin/auditor-disco dance --noop\n"), "{unit}");
}
