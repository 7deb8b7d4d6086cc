//! Packages from one payload description: what lands on a node is decided in `packaging/`, how a format says it in
//! `rpm/` and `deb/`.

mod deb;
mod manual;

mod payload;
mod rpm;

use std::fs;
use std::thread;

use anyhow::{Context, Result};

use crate::elf::Linkage;
use crate::project::Project;
use crate::spec::{Format, Spec};
pub(crate) use manual::Manual;
use payload::{Payload, Values};

/// A finished package.
pub(crate) struct Made {
    pub(crate) file_name: String,
    pub(crate) content: Vec<u8>,
}

/// What packages bring besides the files of `packaging/`.
pub(crate) struct Content<'a> {
    pub(crate) binary: &'a [u8],
    /// Bill of materials.
    pub(crate) bill: &'a [u8],
    /// Licences of the crates in the binary.
    pub(crate) licences: &'a [u8],
    pub(crate) manual: Manual,
}

/// What a format needs to make a package.
struct Inputs<'a> {
    project: &'a Project,
    spec: &'a Spec,
    payload: Payload,
    values: Values,
    linkage: Linkage,
    /// Time of every file, in seconds since 1970.
    epoch: u32,
    /// How hard xz tries.
    xz_level: u32,
}

/// An eighth smaller packages, of level 6, would take five times as long to make.
const XZ_LEVEL: u32 = 1;
/// Twice as fast again, and a twentieth larger.
const FAST_XZ_LEVEL: u32 = 0;

impl Format {
    /// Where zsh looks for what packages bring.
    fn zsh_completions(self) -> String {
        match self {
            Format::Rpm => "/usr/share/zsh/site-functions".to_owned(),
            Format::Deb => "/usr/share/zsh/vendor-completions".to_owned(),
        }
    }
}

impl Inputs<'_> {
    /// A text of `rpm/` or `deb/` as it is.
    fn plain(&self, path: &str) -> Result<String> {
        let file = self.project.root.join(path);
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
    }

    /// A text of `rpm/` or `deb/`, filled with values.
    fn text(&self, path: &str) -> Result<String> {
        self.values.fill(&self.plain(path)?).with_context(|| format!("in {path}"))
    }
}

/// Programs that the product runs on a node, by the names of their packages.
const RUNS: [&str; 2] = ["bash", "rsync"];

/// Makes every package that the spec names for one of its targets.
pub(crate) fn make(
    project: &Project,
    spec: &Spec,
    target: &str,
    content: &Content<'_>,
    epoch: u32,
    fast: bool,
) -> Result<Vec<Made>> {
    let xz_level = if fast { FAST_XZ_LEVEL } else { XZ_LEVEL };
    // Compression takes nearly all the time, and each package is compressed on one core.
    thread::scope(|scope| {
        let makers: Vec<_> = spec
            .packages
            .iter()
            .filter(|package| package.target.as_deref().is_none_or(|only| only == target))
            .map(|package| {
                scope.spawn(move || {
                    let values = Values::of(spec).with("zsh_completions", package.format.zsh_completions());
                    let payload = Payload::read(project, spec, package, &values, content)?;
                    let values = values.with_units(&payload).at(epoch)?;
                    let linkage = Linkage::read(content.binary).context("cannot read the built binary")?;
                    let inputs = Inputs { project, spec, payload, values, linkage, epoch, xz_level };
                    match package.format {
                        Format::Rpm => rpm::make(&inputs, package),
                        Format::Deb => deb::make(&inputs),
                    }
                    .with_context(|| format!("cannot make the package `{}`", package.name))
                })
            })
            .collect();
        makers.into_iter().map(|maker| maker.join().expect("a package maker does not panic")).collect()
    })
}

/// Whether a binary is made for a machine like this one.
pub(crate) fn runs_here(binary: &[u8]) -> bool {
    Linkage::read(binary).is_ok_and(|linkage| linkage.machine.rpm() == std::env::consts::ARCH)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::spec::{self, Surroundings};

    /// Some small ELF program of the machine; what a package holds does not matter to its format.
    fn program() -> Vec<u8> {
        fs::read("/bin/true").unwrap()
    }

    fn resolved(text: &str) -> Spec {
        let around = Surroundings { project_version: "0.1.0", environment: &|_| None };
        spec::parse(Path::new("test.toml"), &format!("[brand]\nname = \"acme\"\n{text}"), &around).unwrap()
    }

    fn content(program: &[u8]) -> Content<'_> {
        let mut manual = Manual::default();
        manual.pages.insert("acme-disco.1.gz".to_owned(), b"a page".to_vec());
        for shell in ["bash", "zsh", "fish"] {
            manual.completions.insert(shell, b"a script".to_vec());
        }
        Content { binary: program, bill: b"{}", licences: b"MIT", manual }
    }

    fn made(text: &str, epoch: u32) -> Vec<Made> {
        let spec = resolved(text);
        let target = &spec.targets[0].name;
        make(&Project::find().unwrap(), &spec, target, &content(&program()), epoch, false).unwrap()
    }

    fn payload(text: &str) -> Payload {
        let spec = resolved(text);
        let project = Project::find().unwrap();
        let package = &spec.packages[0];
        let values = Values::of(&spec).with("zsh_completions", package.format.zsh_completions());
        Payload::read(&project, &spec, package, &values, &content(&program())).unwrap()
    }

    #[test]
    fn the_names_of_old_are_links_where_the_spec_wants_them() {
        let link = "/opt/acme/disco-fs-mount";
        let paths = "[paths]\nbindir = \"/opt/acme\"\n";
        assert!(!payload(paths).entries.contains_key(link));
        let payload = payload(&format!("{paths}[packages.defaults]\ncompat_commands = true\n"));
        assert_eq!(payload.entries[link].kind, payload::Kind::Link);
        assert_eq!(payload.entries[link].content, b"acme-disco");
        assert_eq!(
            payload.entries.values().filter(|entry| entry.kind == payload::Kind::Link).count(),
            8,
            "one for each command of the original"
        );
    }

    #[test]
    fn the_same_inputs_make_the_same_bytes() {
        let (first, second) = (made("", 1_700_000_000), made("", 1_700_000_000));
        assert_eq!(first.len(), 2);
        for (first, second) in first.iter().zip(&second) {
            assert_eq!(first.file_name, second.file_name);
            assert!(first.content == second.content, "{} differs", first.file_name);
        }
        assert!(first[1].content != made("", 1_700_000_001)[1].content, "the time is in the package");
    }

    #[test]
    fn names_of_packages_follow_their_formats() {
        let names: Vec<_> = made("version = \"2.0\"\nrelease = \"3\"\n[packages.el]\nformat = \"rpm\"\ndist = \"el9\"\n[packages.debian]\nformat = \"deb\"\n", 1)
            .into_iter()
            .map(|package| package.file_name)
            .collect();
        let (rpm, deb) = match std::env::consts::ARCH {
            "aarch64" => ("aarch64", "arm64"),
            _ => ("x86_64", "amd64"),
        };
        assert_eq!(names, [format!("acme-disco-2.0-3.el9.{rpm}.rpm"), format!("acme-disco_2.0-3_{deb}.deb")]);
    }

    #[test]
    fn the_server_s_unit_needs_the_feature() {
        let unit = "/usr/lib/systemd/system/acme-disco-server.service";
        assert!(!payload("").entries.contains_key(unit));
        assert!(payload("[features]\nprovisioning = true\n").entries.contains_key(unit));
    }

    #[test]
    fn the_configuration_stays_out_if_others_manage_it() {
        let config = "/etc/acme-disco/server.conf";
        assert!(payload("").entries.contains_key(config));
        assert!(!payload("[packages.defaults]\nmanage_conf = false\n").entries.contains_key(config));
    }

    #[test]
    fn folders_of_our_own_are_ours_and_the_system_s_are_not() {
        let payload = payload("[paths]\nbindir = \"/opt/acme/sbin\"\n");
        assert_eq!(payload.entries["/opt/acme/sbin"].kind, payload::Kind::Dir);
        assert_eq!(payload.entries["/opt/acme"].kind, payload::Kind::Dir);
        assert_eq!(payload.entries["/opt"].kind, payload::Kind::StandardDir);
        assert_eq!(payload.entries["/var/lib/acme-disco"].mode, 0o700);
    }

    #[test]
    fn units_carry_the_values_of_the_spec() {
        let payload = payload("display_name = \"100% ACME\"\n[client]\ninterval = \"7m\"\nsplay = \"3m\"\n");
        let timer = &payload.entries["/usr/lib/systemd/system/acme-disco-dance.timer"].content;
        let timer = String::from_utf8_lossy(timer);
        assert!(timer.contains("\nOnUnitActiveSec=7m\n"), "{timer}");
        assert!(timer.contains("\nRandomizedDelaySec=3m\n"), "{timer}");
        assert!(timer.contains("Description=100%% ACME: "), "`%` opens a specifier in units: {timer}");
        let service = &payload.entries["/usr/lib/systemd/system/acme-disco-dance.service"].content;
        assert!(String::from_utf8_lossy(service).contains("\nExecStart=/usr/sbin/acme-disco dance\n"));
    }

    #[test]
    fn systemd_makes_the_folder_of_a_status_file_below_run() {
        let unit = "/usr/lib/systemd/system/acme-disco-server.service";
        let runtime = |status: &str| {
            let spec =
                format!("[features]\nprovisioning = true\n[provisioning]\nstatus_file = \"{status}\"\n");
            let payload = payload(&spec);
            assert!(!payload.entries.contains_key("/run"), "{status}");
            let text = String::from_utf8(payload.entries[unit].content.clone()).unwrap();
            text.lines().find_map(|line| line.strip_prefix("RuntimeDirectory=")).unwrap().to_owned()
        };
        assert_eq!(runtime("/run/acme-disco/status.json"), "acme-disco");
        assert_eq!(runtime("/run/site/acme/status.json"), "acme-disco site/acme");
        assert_eq!(runtime("/var/lib/acme-disco/status.json"), "acme-disco");
    }

    #[test]
    fn a_value_that_nobody_knows_is_a_mistake() {
        let values = Values::of(&resolved(""));
        assert_eq!(values.fill("{{bindir}}/{{binary}}").unwrap(), "/usr/sbin/acme-disco");
        assert_eq!(values.fill("{{nonsense}}").unwrap_err().to_string(), "there is no value `nonsense`");
        assert_eq!(values.fill("{{binary").unwrap_err().to_string(), "`{{` without `}}`");
    }
}
