//! Packages as a node gets them: listed by the formats' own tools, installed, upgraded and removed for real, always in
//! throw-away roots.

mod units;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use testbed::node::Node;
use testbed::{built, node_root};

/// Runs a command that must succeed, and returns its standard output.
#[track_caller]
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect("the program starts");
    succeeded(&format!("{program} {}", arguments.join(" ")), &output)
}

#[track_caller]
fn succeeded(what: &str, output: &Output) -> String {
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{what}: {}\n{said}{complained}", output.status);
    said.into_owned()
}

#[track_caller]
fn in_node(node: &Node, line: &str) -> String {
    succeeded(line, &node.shell(line).expect("the node runs a shell"))
}

fn acme(ending: &str) -> String {
    built::dist_file("acme", ending).unwrap().display().to_string()
}

/// What the package owns: mode, owner and path of each, as both formats must say.
const OWNED: &str = "\
drwxr-xr-x root:root /opt/acme
drwxr-xr-x root:root /opt/acme/etc
drwxr-xr-x root:root /opt/acme/etc/disco
drwxr-xr-x root:root /opt/acme/etc/disco/commands.d
-rw-r--r-- root:root /opt/acme/etc/disco/commands.d/10-default.conf
drwxr-xr-x root:root /opt/acme/etc/disco/noise.d
-rw-r--r-- root:root /opt/acme/etc/disco/noise.d/10-default.conf
drwxr-xr-x root:root /opt/acme/etc/disco/restricted.d
-rw-r--r-- root:root /opt/acme/etc/disco/restricted.d/10-default.conf
-rw------- root:root /opt/acme/etc/disco/server.conf
drwxr-xr-x root:root /opt/acme/sbin
-rwxr-xr-x root:root /opt/acme/sbin/acme-disco
-rw-r--r-- root:root /usr/lib/systemd/system/acme-disco-dance.service
-rw-r--r-- root:root /usr/lib/systemd/system/acme-disco-dance.timer
-rw-r--r-- root:root /usr/lib/systemd/system/acme-disco-server.service
-rw-r--r-- root:root /usr/share/bash-completion/completions/acme-disco
drwxr-xr-x root:root /usr/share/doc/acme-disco
-rw-r--r-- root:root /usr/share/doc/acme-disco/LICENSE
-rw-r--r-- root:root /usr/share/doc/acme-disco/sbom.cdx.json
-rw-r--r-- root:root /usr/share/doc/acme-disco/third-party-licences.txt
-rw-r--r-- root:root /usr/share/fish/vendor_completions.d/acme-disco.fish
-rw-r--r-- root:root /usr/share/zsh/site-functions/_acme-disco
drwx------ root:root /var/lib/acme-disco
";

/// What survives an upgrade when somebody edited it.
const CONFIGS: &str = "\
/opt/acme/etc/disco/commands.d/10-default.conf
/opt/acme/etc/disco/noise.d/10-default.conf
/opt/acme/etc/disco/restricted.d/10-default.conf
/opt/acme/etc/disco/server.conf
";

/// What only Debian asks for.
const DEB_ONLY: [&str; 3] = [
    "/usr/share/doc/acme-disco/changelog.Debian.gz",
    "/usr/share/doc/acme-disco/copyright",
    "/usr/share/lintian/overrides/acme-disco",
];

/// Folders of the system that a deb has to list, so that dpkg can put something into them.
const SYSTEM_FOLDERS: [&str; 20] = [
    "/",
    "/opt",
    "/usr",
    "/usr/lib",
    "/usr/lib/systemd",
    "/usr/lib/systemd/system",
    "/usr/share",
    "/usr/share/bash-completion",
    "/usr/share/bash-completion/completions",
    "/usr/share/doc",
    "/usr/share/fish",
    "/usr/share/fish/vendor_completions.d",
    "/usr/share/lintian",
    "/usr/share/lintian/overrides",
    "/usr/share/man",
    "/usr/share/man/man1",
    "/usr/share/zsh",
    "/usr/share/zsh/vendor-completions",
    "/var",
    "/var/lib",
];

#[test]
fn the_rpm_owns_what_the_payload_says() {
    let listed = run(
        "rpm",
        &[
            "-qp",
            "--qf",
            "[%{FILEMODES:perms} %{FILEUSERNAME}:%{FILEGROUPNAME} %{FILENAMES}\\n]",
            &acme(".rpm"),
        ],
    );
    assert_eq!(without_pages(&listed), OWNED);
}

/// A listing without the pages of the manual, of which there is one for each command.
fn without_pages(listed: &str) -> String {
    listed.lines().filter(|line| !line.contains("/man/man1/")).map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_deb_owns_what_the_payload_says_and_its_copyright() {
    let listed: String = run("dpkg-deb", &["-c", &acme(".deb")])
        .lines()
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let path = words[5].trim_start_matches('.').trim_end_matches('/');
            let path = if path.is_empty() { "/" } else { path };
            (words[0].to_owned(), words[1].replace('/', ":"), path.to_owned())
        })
        .filter(|(_, _, path)| !SYSTEM_FOLDERS.contains(&path.as_str()))
        .filter(|(_, _, path)| !DEB_ONLY.contains(&path.as_str()))
        .map(|(mode, owner, path)| format!("{mode} {owner} {path}\n"))
        .collect();
    // Debian's zsh looks for what packages bring in another folder.
    let listed = listed.replace("/zsh/vendor-completions/", "/zsh/site-functions/");
    assert_eq!(without_pages(&listed), OWNED);
    let all = run("dpkg-deb", &["-c", &acme(".deb")]);
    for path in DEB_ONLY {
        assert!(all.lines().any(|line| line.ends_with(&format!(" .{path}"))), "{path}: {all}");
    }
}

/// What a package would put on a node, below a folder.
fn unpacked(package: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let into = root.path().to_str().unwrap();
    if package.ends_with(".deb") {
        run("dpkg-deb", &["-x", package, into]);
    } else {
        run("sh", &["-c", "rpm2cpio \"$1\" | cpio -idm --quiet -D \"$2\"", "sh", package, into]);
    }
    root
}

#[test]
fn every_command_has_a_page_and_shells_complete_it() {
    let binary = acme("acme-disco");
    let pages = tempfile::tempdir().unwrap();
    run(&binary, &["man", pages.path().to_str().unwrap()]);
    let mut wanted: Vec<PathBuf> =
        fs::read_dir(pages.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    wanted.sort();
    assert!(wanted.len() > 20, "{wanted:?}");
    for (format, zsh) in [(".deb", "vendor-completions"), (".rpm", "site-functions")] {
        let root = unpacked(&acme(format));
        for page in &wanted {
            let name = page.file_name().unwrap().to_str().unwrap();
            let packed = root.path().join(format!("usr/share/man/man1/{name}.gz"));
            let inside = run("gzip", &["--decompress", "--stdout", packed.to_str().unwrap()]);
            assert_eq!(inside, fs::read_to_string(page).unwrap(), "{name} in the {format}");
        }
        let in_package = fs::read_dir(root.path().join("usr/share/man/man1")).unwrap().count();
        assert_eq!(in_package, wanted.len(), "no page is about a command that is not there");
        for (shell, path) in [
            ("bash", "usr/share/bash-completion/completions/acme-disco".to_owned()),
            ("zsh", format!("usr/share/zsh/{zsh}/_acme-disco")),
            ("fish", "usr/share/fish/vendor_completions.d/acme-disco.fish".to_owned()),
        ] {
            let packed = fs::read_to_string(root.path().join(&path)).expect(&path);
            assert_eq!(packed, run(&binary, &["completions", shell]), "{path}");
        }
    }
    // bash takes the script, and completes a command's name with it.
    let root = unpacked(&acme(".deb"));
    let script = root.path().join("usr/share/bash-completion/completions/acme-disco");
    let line = "source \"$1\"; COMP_WORDS=(acme-disco modu); COMP_CWORD=1; \
                completer=$(complete -p acme-disco | sed 's/.*-F \\([^ ]*\\).*/\\1/'); \
                $completer acme-disco modu acme-disco; echo \"${COMPREPLY[*]}\"";
    assert_eq!(run("bash", &["-c", line, "bash", script.to_str().unwrap()]), "module\n");
}

#[test]
fn the_licence_of_every_crate_in_the_binary_is_in_both_packages() {
    let bill = fs::read_to_string(acme("sbom.cdx.json")).unwrap();
    let bill: serde_json::Value = serde_json::from_str(&bill).unwrap();
    let beside = fs::read_to_string(acme("third-party-licences.txt")).unwrap();
    for format in [".deb", ".rpm"] {
        let root = unpacked(&acme(format));
        let path = root.path().join("usr/share/doc/acme-disco/third-party-licences.txt");
        assert!(fs::read_to_string(path).unwrap() == beside, "the {format} brings another one");
    }
    let linked = bill["components"].as_array().unwrap().iter().filter(|component| {
        component["scope"] != "excluded" && component["purl"].as_str().is_some_and(|purl| !purl.contains('?'))
    });
    let mut count = 0;
    for component in linked {
        let (name, version) = (component["name"].as_str().unwrap(), component["version"].as_str().unwrap());
        assert!(beside.contains(&format!("\n{name} {version}: ")), "{name} {version} is missing");
        count += 1;
    }
    assert!(count > 50, "{count} crates: the bill is read wrongly");
    assert!(beside.contains("Permission is hereby granted, free of charge"), "the texts are there");
    let listed = run("rpm", &["-qp", "--licensefiles", &acme(".rpm")]);
    assert!(listed.contains("/usr/share/doc/acme-disco/third-party-licences.txt\n"), "{listed}");
    let copyright = run(
        "sh",
        &[
            "-c",
            "dpkg-deb --fsys-tarfile \"$1\" | tar -xO ./usr/share/doc/acme-disco/copyright",
            "sh",
            &acme(".deb"),
        ],
    );
    assert!(copyright.contains("/usr/share/doc/acme-disco/third-party-licences.txt"), "{copyright}");
}

#[test]
fn the_formats_own_checkers_find_no_error() {
    for (brand, deb, rpm) in [("acme", ".deb", ".rpm"), ("disco", ".deb", ".rpm")] {
        let package = built::dist_file(brand, deb).unwrap().display().to_string();
        let found = run("lintian", &["--allow-root", "--fail-on", "error", &package]);
        assert!(!found.contains("\nE: ") && !found.starts_with("E: "), "{brand}: {found}");
        let package = built::dist_file(brand, rpm).unwrap().display().to_string();
        let waivers = built::project().unwrap().join("rpm/rpmlint.toml").display().to_string();
        let found = run("rpmlint", &["--config", &waivers, &package]);
        assert!(found.contains(" 0 errors, "), "{brand}: {found}");
    }
}

#[test]
fn the_configuration_is_marked_in_both_formats() {
    assert_eq!(run("rpm", &["-qcp", &acme(".rpm")]), CONFIGS);
    assert_eq!(run("dpkg-deb", &["-I", &acme(".deb"), "conffiles"]), CONFIGS);
}

#[test]
fn both_formats_name_the_programs_and_the_c_library_that_the_binary_needs() {
    let depends = run("dpkg-deb", &["-f", &acme(".deb"), "Depends"]);
    let required = run("rpm", &["-qp", "--requires", &acme(".rpm")]);
    for program in ["bash", "rsync"] {
        assert!(required.lines().any(|line| line == program), "{required}");
    }
    assert!(depends.trim().ends_with(", rsync") && !depends.contains("bash"), "bash is essential: {depends}");
    let version =
        depends.split("libc6 (>= ").nth(1).and_then(|rest| rest.split(')').next()).expect("a C library");
    assert!(
        required.lines().any(|line| line == format!("libc.so.6(GLIBC_{version})(64bit)")),
        "{version}: {required}"
    );
    // What the tools of the machine find in the binary is the same.
    let symbols = run("objdump", &["-p", &acme("acme-disco")]);
    assert!(symbols.contains(&format!("GLIBC_{version}\n")), "{version}: {symbols}");
}

#[test]
fn both_formats_describe_the_brand() {
    let rpm = run(
        "rpm",
        &[
            "-qp",
            "--qf",
            "%{NAME} %{VERSION} %{RELEASE}|%{VENDOR}|%{URL}|%{LICENSE}|%{SUMMARY}|%{PAYLOADCOMPRESSOR}",
            &acme(".rpm"),
        ],
    );
    assert_eq!(
        rpm,
        "acme-disco 1.4.0 1|ACME Corp|https://fleet.acme.example|Apache-2.0|ACME configuration and provisioning agent|xz"
    );
    let deb = run("dpkg-deb", &["-f", &acme(".deb"), "Package", "Version", "Maintainer", "Homepage"]);
    assert_eq!(
        deb,
        "Package: acme-disco\nVersion: 1.4.0-1\nMaintainer: Fleet Team <fleet@acme.example>\n\
         Homepage: https://fleet.acme.example\n"
    );
}

#[test]
fn digests_beside_the_packages_are_theirs() {
    let folder = built::dist("acme").unwrap();
    let output =
        Command::new("sha256sum").args(["--check", "SHA256SUMS"]).current_dir(&folder).output().unwrap();
    let said = succeeded("sha256sum --check", &output);
    for ending in ["acme-disco: OK", ".rpm: OK", ".deb: OK", "buildinfo.json: OK"] {
        assert!(said.lines().any(|line| line.ends_with(ending)), "{ending}: {said}");
    }
}

/// The example spec with another version, built into a folder of its own.
fn next_version() -> (tempfile::TempDir, PathBuf) {
    let scratch = tempfile::tempdir().unwrap();
    let spec = fs::read_to_string(built::project().unwrap().join("examples/acme.toml")).unwrap();
    let next = spec.replace("= \"1.4.0\"", "= \"1.4.1\"");
    assert_ne!(spec, next, "the example has a version to change");
    let path = scratch.path().join("acme.toml");
    fs::write(&path, next).unwrap();
    let mut xtask = built::xtask().unwrap();
    let output =
        xtask.arg("build").arg("--spec").arg(&path).arg("--dist").arg(scratch.path()).output().unwrap();
    succeeded("cargo xtask build", &output);
    let folder = scratch.path().join("acme");
    (scratch, folder)
}

const CONFIG: &str = "/opt/acme/etc/disco/server.conf";
const EDITED: &str = "plugin.disco.server.uri = /srv/universe\n";

/// What is left on a node that carries our name, outside of what the package manager keeps for itself.
fn left_behind(root: &Path) -> String {
    let root = root.display().to_string().trim_end_matches('/').to_owned();
    let found = run(
        "find",
        &[
            // The way into a node is a link.
            "-H",
            &root,
            "-xdev",
            "-path",
            &format!("{root}/proc"),
            "-prune",
            "-o",
            "-path",
            &format!("{root}/sys"),
            "-prune",
            "-o",
            "-path",
            &format!("{root}/var/lib/dpkg"),
            "-prune",
            "-o",
            "-path",
            &format!("{root}/var/log"),
            "-prune",
            "-o",
            "-name",
            "*acme*",
            "-print",
        ],
    );
    found.replace(&root, "")
}

#[test]
fn a_deb_installs_upgrades_and_purges() {
    let (scratch, next) = next_version();
    let node = Node::start("deb-node").unwrap();
    node.copy_in(Path::new(&acme(".deb")), "/root/first.deb").unwrap();
    node.copy_in(&built::one_file(&next, ".deb").unwrap(), "/root/second.deb").unwrap();
    // Records what the scripts would tell systemd, which a namespace cannot run.
    node.write("/usr/bin/systemctl", "#!/bin/sh\necho \"$*\" >> /root/systemctl.log\n", 0o755).unwrap();
    in_node(&node, "mkdir -p /run/systemd/system");

    in_node(&node, "dpkg --install /root/first.deb");
    assert_eq!(
        in_node(&node, "dpkg-query -W -f '${Status} ${Version}' acme-disco"),
        "install ok installed 1.4.0-1"
    );
    assert_eq!(in_node(&node, "dpkg --verify acme-disco"), "");
    assert_eq!(in_node(&node, "stat -c '%a %U:%G' /opt/acme/sbin/acme-disco"), "755 root:root\n");
    assert_eq!(in_node(&node, "stat -c '%a %U:%G' /var/lib/acme-disco"), "700 root:root\n");
    let buildinfo = in_node(&node, "/opt/acme/sbin/acme-disco buildinfo");
    assert!(buildinfo.contains("Version: 1.4.0\n"), "{buildinfo}");
    assert_eq!(in_node(&node, "cat /root/systemctl.log"), "daemon-reload\n", "nothing is started on install");

    node.write(CONFIG, EDITED, 0o600).unwrap();
    in_node(&node, "touch /var/lib/acme-disco/state; rm /root/systemctl.log");
    in_node(&node, "dpkg --install /root/second.deb");
    assert_eq!(in_node(&node, "dpkg-query -W -f '${Version}' acme-disco"), "1.4.1-1");
    assert!(in_node(&node, "/opt/acme/sbin/acme-disco buildinfo").contains("Version: 1.4.1\n"));
    assert_eq!(in_node(&node, &format!("cat {CONFIG}")), EDITED);
    assert_eq!(in_node(&node, "stat -c '%a' /opt/acme/etc/disco/server.conf"), "600\n");
    assert_eq!(
        in_node(&node, "cat /root/systemctl.log"),
        "daemon-reload\ntry-restart acme-disco-server.service\n"
    );

    in_node(&node, "rm /root/systemctl.log; dpkg --remove acme-disco");
    assert_eq!(in_node(&node, &format!("cat {CONFIG}")), EDITED, "removal keeps the configuration");
    in_node(&node, "test -e /var/lib/acme-disco/state");
    assert!(left_behind(&node.path("")).contains("/opt/acme\n"), "what is left can be seen");
    assert_eq!(
        in_node(&node, "cat /root/systemctl.log"),
        "--no-reload disable --now acme-disco-dance.service acme-disco-dance.timer acme-disco-server.service\n\
         daemon-reload\n"
    );
    in_node(&node, "dpkg --purge acme-disco");
    assert_eq!(left_behind(&node.path("")), "", "purge leaves nothing");
    drop(scratch);
}

#[test]
fn a_purge_keeps_what_others_put_beside_the_configuration() {
    let node = Node::start("purge-node").unwrap();
    node.copy_in(Path::new(&acme(".deb")), "/root/acme.deb").unwrap();
    // An image that is being built: systemd does not run, and units can be enabled all the same.
    node.write("/usr/bin/systemctl", "#!/bin/sh\necho \"$*\" >> /root/systemctl.log\n", 0o755).unwrap();
    in_node(&node, "dpkg --install /root/acme.deb && test ! -e /root/systemctl.log");
    node.write("/opt/acme/etc/disco/id_ed25519", "a key of the site's own\n", 0o600).unwrap();
    in_node(&node, "dpkg --purge acme-disco");
    assert_eq!(
        in_node(&node, "cat /root/systemctl.log"),
        "--no-reload disable acme-disco-dance.service acme-disco-dance.timer acme-disco-server.service\n"
    );
    in_node(&node, "test -e /opt/acme/etc/disco/id_ed25519");
    in_node(&node, "test ! -e /var/lib/acme-disco");
}

/// `rpm` on a root with a database inside it, and the scriptlets run in it.
#[track_caller]
fn rpm_in(root: &Path, arguments: &[&str]) -> String {
    let root = root.display().to_string();
    run("rpm", &[&["--root", &root, "--dbpath", "/var/lib/rpm"], arguments].concat())
}

#[test]
fn an_rpm_installs_upgrades_and_erases() {
    let (scratch, next) = next_version();
    let files = tempfile::tempdir().unwrap();
    let root = files.path().join("root");
    fs::create_dir(&root).unwrap();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
    node_root::unpack(&root).unwrap();
    let systemd = root.join("run/systemd/system");
    fs::create_dir_all(&systemd).unwrap();
    let systemctl = root.join("usr/bin/systemctl");
    fs::write(&systemctl, "#!/bin/sh\necho \"$*\" >> /root/systemctl.log\n").unwrap();
    fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755)).unwrap();
    let log = root.join("root/systemctl.log");
    let told = || fs::read_to_string(&log).unwrap_or_default();
    let inside = |line: &str| run("chroot", &[root.to_str().unwrap(), "sh", "-c", line]);

    // Without the database of a distribution there is nothing that provides a C library.
    rpm_in(&root, &["--nodeps", "--install", &acme(".rpm")]);
    assert_eq!(
        rpm_in(&root, &["-q", "acme-disco"]),
        "acme-disco-1.4.0-1.x86_64\n".replace("x86_64", std::env::consts::ARCH)
    );
    assert_eq!(rpm_in(&root, &["-V", "--nodeps", "acme-disco"]), "");
    assert!(inside("/opt/acme/sbin/acme-disco buildinfo").contains("Version: 1.4.0\n"));
    assert_eq!(told(), "daemon-reload\n", "nothing is started on install");

    fs::write(root.join(&CONFIG[1..]), EDITED).unwrap();
    fs::remove_file(&log).unwrap();
    let second = built::one_file(&next, ".rpm").unwrap().display().to_string();
    rpm_in(&root, &["--nodeps", "--upgrade", &second]);
    assert!(inside("/opt/acme/sbin/acme-disco buildinfo").contains("Version: 1.4.1\n"));
    assert_eq!(fs::read_to_string(root.join(&CONFIG[1..])).unwrap(), EDITED);
    assert_eq!(
        told(),
        "daemon-reload\ndaemon-reload\ntry-restart acme-disco-server.service\n",
        "an upgrade continues what runs and disables nothing"
    );

    fs::remove_file(&log).unwrap();
    rpm_in(&root, &["--erase", "acme-disco"]);
    assert_eq!(
        told(),
        "--no-reload disable --now acme-disco-dance.service acme-disco-dance.timer acme-disco-server.service\n\
         daemon-reload\n"
    );
    assert_eq!(
        fs::read_to_string(root.join("opt/acme/etc/disco/server.conf.rpmsave")).unwrap(),
        EDITED,
        "an edited configuration is kept aside"
    );
    assert_eq!(left_behind(&root), "/opt/acme\n", "only the folders of the kept file stay");

    // The same in an image that is being built, where systemd does not run.
    fs::remove_dir(&systemd).unwrap();
    fs::remove_file(&log).unwrap();
    rpm_in(&root, &["--nodeps", "--install", &acme(".rpm")]);
    assert_eq!(told(), "");
    rpm_in(&root, &["--erase", "acme-disco"]);
    assert_eq!(
        told(),
        "--no-reload disable acme-disco-dance.service acme-disco-dance.timer acme-disco-server.service\n"
    );
    drop(scratch);
}
