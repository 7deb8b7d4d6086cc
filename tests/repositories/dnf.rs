//! dnf on a root of its own, with packages and lists that must be signed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;
use testbed::node_root;

use crate::vendor::{Vendor, vendor};
use crate::{run, succeeded};

/// A root with two repositories: the vendor's, and one that provides what a distribution has.
struct Machine {
    scratch: TempDir,
}

impl Machine {
    fn new(vendor: &Vendor) -> Self {
        let machine = Machine { scratch: tempfile::tempdir().unwrap() };
        let root = machine.root();
        fs::create_dir(&root).unwrap();
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
        node_root::unpack(&root).unwrap();
        machine.provide_a_base(&vendor.package("1.4.1", "acme", ".rpm"));
        machine.serve(vendor, "repository");
        machine
    }

    fn root(&self) -> PathBuf {
        self.scratch.path().join("root")
    }

    /// A package without files that provides what ours asks of a distribution; the files are there already.
    fn provide_a_base(&self, ours: &str) {
        let required = run("rpm", &["-qp", "--requires", ours]);
        let provided: String = required
            .lines()
            .filter(|line| !line.starts_with("rpmlib(") && !line.starts_with("config("))
            .map(|line| format!("Provides: {line}\n"))
            .collect();
        let base = self.scratch.path().join("base");
        fs::create_dir(&base).unwrap();
        let spec = base.join("base.spec");
        fs::write(
            &spec,
            format!(
                "Name: stub-base\nVersion: 1\nRelease: 1\nSummary: What a distribution has\nLicense: MIT\nAutoReqProv: no\n\
                 {provided}%description\nNothing.\n%files\n"
            ),
        )
        .unwrap();
        let folder = base.display().to_string();
        run(
            "rpmbuild",
            &["-bb", "--quiet", "--define", &format!("_topdir {folder}"), spec.to_str().unwrap()],
        );
        run("createrepo_c", &["--quiet", &format!("{folder}/RPMS")]);
    }

    fn serve(&self, vendor: &Vendor, repository: &str) {
        let place = self.scratch.path().join("vendor");
        let _ = fs::remove_dir_all(&place);
        run("cp", &["-r", &vendor.file(repository), place.to_str().unwrap()]);
        let scratch = self.scratch.path().display();
        fs::write(
            self.scratch.path().join("dnf.conf"),
            format!(
                "[main]\nreposdir=/dev/null\ncachedir={scratch}/cache\npersistdir={scratch}/persist\nlogdir={scratch}/log\n\
                 pluginpath=/dev/null\n\
                 [vendor]\nname=vendor\nbaseurl=file://{scratch}/vendor/rpm\ngpgkey=file://{scratch}/vendor/key.asc\n\
                 gpgcheck=1\nrepo_gpgcheck=1\n\
                 [base]\nname=base\nbaseurl=file://{scratch}/base/RPMS\ngpgcheck=0\n"
            ),
        )
        .unwrap();
    }

    fn dnf(&self, arguments: &[&str]) -> Output {
        let mut dnf = Command::new("dnf");
        dnf.arg(format!("--config={}", self.scratch.path().join("dnf.conf").display()))
            .arg(format!("--installroot={}", self.root().display()))
            .args(["--assumeyes", "--releasever=1", "--noplugins", "--setopt=metadata_expire=0"])
            .args(arguments);
        dnf.output().unwrap()
    }

    #[track_caller]
    fn good(&self, arguments: &[&str]) -> String {
        succeeded(&format!("dnf {}", arguments.join(" ")), &self.dnf(arguments))
    }

    /// What is installed of ours, sorted.
    fn installed(&self) -> String {
        let said = self.good(&[
            "repoquery",
            "--quiet",
            "--installed",
            "--queryformat",
            "%{name} %{version}",
            "acme-disco",
            "umbra-disco",
        ]);
        said.lines().filter(|line| line.contains("-disco ")).map(|line| format!("{line}\n")).collect()
    }

    #[track_caller]
    fn inside(&self, line: &str) -> String {
        run("chroot", &[self.root().to_str().unwrap(), "sh", "-c", line])
    }
}

#[test]
fn two_brands_are_installed_upgraded_downgraded_and_removed() {
    let vendor = vendor();
    let machine = Machine::new(vendor);
    machine.good(&["install", "acme-disco", "umbra-disco"]);
    assert_eq!(machine.installed(), "acme-disco 1.4.0\numbra-disco 1.4.0\n");
    assert!(machine.inside("/opt/acme/sbin/acme-disco buildinfo").contains("Version: 1.4.0\n"));
    assert_eq!(machine.inside("readlink /opt/acme/sbin/disco-param"), "acme-disco\n");

    let config = machine.root().join("opt/acme/etc/disco/server.conf");
    let edited = "plugin.disco.server.uri = /srv/universe\n";
    fs::write(&config, edited).unwrap();
    machine.serve(vendor, "repository-next");
    machine.good(&["upgrade"]);
    assert_eq!(machine.installed(), "acme-disco 1.4.1\numbra-disco 1.4.1\n");
    assert_eq!(fs::read_to_string(&config).unwrap(), edited, "an edited configuration survives an upgrade");
    assert!(read(&machine.root().join("etc/umbra-disco/server.conf")).contains("universe-1-4-1"));

    machine.good(&["downgrade", "acme-disco"]);
    assert_eq!(machine.installed(), "acme-disco 1.4.0\numbra-disco 1.4.1\n");
    assert_eq!(fs::read_to_string(&config).unwrap(), edited);

    machine.good(&["remove", "acme-disco"]);
    assert_eq!(machine.installed(), "umbra-disco 1.4.1\n");
    assert_eq!(read(&config.with_file_name("server.conf.rpmsave")), edited);
    assert!(!machine.root().join("opt/acme/sbin").exists());
    machine.inside("/usr/sbin/umbra-disco buildinfo >/dev/null && test -L /usr/sbin/disco-param");
}

#[test]
fn dnf_refuses_changed_lists_and_packages_without_a_signature() {
    let vendor = vendor();
    let machine = Machine::new(vendor);
    let list = machine.scratch.path().join("vendor/rpm/repodata/repomd.xml");
    let text = read(&list);
    fs::write(&list, format!("{text}\n")).unwrap();
    let said = machine.dnf(&["install", "acme-disco"]);
    assert!(!said.status.success(), "{said:?}");
    let words = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(words.contains("repomd.xml GPG signature verification error"), "{words}");

    // The lists are good, and the package is not signed.
    machine.serve(vendor, "repository");
    let unsigned = testbed::built::dist_file("acme", ".rpm").unwrap();
    let place = machine.scratch.path().join("vendor/rpm");
    for entry in fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.file_name().unwrap().to_str().unwrap().starts_with("acme-disco") {
            fs::copy(&unsigned, &entry).unwrap();
        }
    }
    run("createrepo_c", &["--quiet", place.to_str().unwrap()]);
    let conf = machine.scratch.path().join("dnf.conf");
    fs::write(&conf, read(&conf).replace("repo_gpgcheck=1", "repo_gpgcheck=0")).unwrap();
    let said = machine.dnf(&["install", "acme-disco"]);
    assert!(!said.status.success(), "{said:?}");
    let words = String::from_utf8_lossy(&said.stderr).into_owned() + &String::from_utf8_lossy(&said.stdout);
    assert!(words.contains("is not signed"), "{words}");
}

#[track_caller]
fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}
