//! A vendor: a key of its own, two brands, two versions, and the repositories of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use tempfile::TempDir;
use testbed::{built, openpgp};

use crate::{run, succeeded};

/// Everything of the vendor, below one folder.
///
/// ```text
/// key.asc              the private key
/// acme-1.4.0.toml …    specs
/// 1.4.0/acme/ …        packages
/// repository/          of 1.4.0
/// repository-next/     of both versions
/// ```
pub(crate) struct Vendor {
    folder: TempDir,
}

/// The one vendor of this test program.
pub(crate) fn vendor() -> &'static Vendor {
    static VENDOR: OnceLock<Vendor> = OnceLock::new();
    VENDOR.get_or_init(Vendor::open)
}

/// The two brands: acme as its example says, and umbra, which is where the system keeps its own.
pub(crate) const BRANDS: [&str; 2] = ["acme", "umbra"];

#[track_caller]
fn xtask(arguments: &[&str]) -> Output {
    built::xtask().unwrap().args(arguments).output().unwrap()
}

impl Vendor {
    fn open() -> Self {
        let vendor = Vendor { folder: tempfile::tempdir().unwrap() };
        openpgp::private_key(&vendor.path("key.asc")).unwrap();
        for version in ["1.4.0", "1.4.1"] {
            let mut arguments = vec![
                "rebrand".to_owned(),
                built::dist_file("acme", "acme-disco").unwrap().display().to_string(),
            ];
            for brand in BRANDS {
                let spec = vendor.path(&format!("{brand}-{version}.toml"));
                fs::write(&spec, spec_of(brand, version)).unwrap();
                arguments.extend(["--spec".to_owned(), spec.display().to_string()]);
            }
            arguments.extend(["--packages", "--fast", "--dist"].map(str::to_owned));
            arguments.push(vendor.file(version));
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            succeeded("cargo xtask rebrand", &xtask(&arguments));
        }
        vendor.publish("repository", &["1.4.0"]);
        vendor.publish("repository-next", &["1.4.0"]);
        vendor.publish("repository-next", &["1.4.1"]);
        vendor
    }

    fn publish(&self, out: &str, versions: &[&str]) {
        let folders: Vec<String> = versions
            .iter()
            .flat_map(|version| BRANDS.map(|brand| self.file(&format!("{version}/{brand}"))))
            .collect();
        let (out, spec) = (self.file(out), self.file("acme-1.4.0.toml"));
        let mut arguments = vec!["repository", "--out", &out, "--spec", &spec];
        arguments.extend(folders.iter().map(String::as_str));
        succeeded("cargo xtask repository", &xtask(&arguments));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// The package of a brand.
    pub(crate) fn package(&self, version: &str, brand: &str, ending: &str) -> String {
        built::one_file(&self.path(version).join(brand), ending).unwrap().display().to_string()
    }

    /// The rpm of acme, made and signed once more.
    pub(crate) fn made_again(&self) -> PathBuf {
        let base = built::dist_file("acme", "acme-disco").unwrap().display().to_string();
        let (spec, dist) = (self.file("acme-1.4.0.toml"), self.file("again"));
        succeeded(
            "cargo xtask rebrand",
            &xtask(&["rebrand", &base, "--spec", &spec, "--packages", "--fast", "--dist", &dist]),
        );
        built::one_file(&self.path("again/acme"), ".rpm").unwrap()
    }

    /// What is said to a spec that holds the key itself, and the key.
    pub(crate) fn refused_key(&self) -> (String, String) {
        let key = fs::read_to_string(self.path("key.asc")).unwrap();
        let spec = self.path("mistake.toml");
        fs::write(&spec, format!("[brand]\nname = \"acme\"\n[signing]\nrpm_key = \"\"\"\n{key}\"\"\"\n"))
            .unwrap();
        let output = xtask(&["spec", "check", "--spec", spec.to_str().unwrap()]);
        assert!(!output.status.success(), "{output:?}");
        (String::from_utf8(output.stderr).unwrap(), key)
    }

    /// What is said to another package under a name that the repository has.
    pub(crate) fn other_content(&self) -> String {
        let folder = self.path("other");
        fs::create_dir(&folder).unwrap();
        let deb = PathBuf::from(self.package("1.4.0", "acme", ".deb"));
        fs::copy(self.package("1.4.1", "acme", ".deb"), folder.join(deb.file_name().unwrap())).unwrap();
        let output = xtask(&["repository", "--out", &self.file("repository"), folder.to_str().unwrap()]);
        assert!(!output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }
}

/// An agent of gpg that keeps one private key behind a passphrase, which it was told.
pub(crate) struct Agent {
    home: TempDir,
    fingerprint: String,
}

/// Nobody else is ever told.
const PASSPHRASE: &str = "correct horse battery staple";

impl Agent {
    pub(crate) fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("gpg-agent.conf"), "allow-preset-passphrase\n").unwrap();
        let mut agent = Agent { home, fingerprint: String::new() };
        let user = "Fleet Team <fleet@acme.example>";
        let hidden = ["--pinentry-mode", "loopback", "--passphrase", PASSPHRASE];
        agent.gpg(&[&hidden[..], &["--quick-generate-key", user, "ed25519", "sign", "never"]].concat());
        // What the agent remembers of making the key must not be what signs.
        agent.run("gpgconf", &["--kill", "gpg-agent"]);
        let listed = agent.gpg(&["--with-colons", "--with-keygrip", "--list-secret-keys"]);
        let column = |row: &str| {
            let found = listed.lines().find_map(|line| line.strip_prefix(&format!("{row}:")));
            found.unwrap().split(':').nth(8).unwrap().to_owned()
        };
        agent.fingerprint = column("fpr");
        let tools = run("gpgconf", &["--list-dirs", "libexecdir"]);
        let preset = format!("{}/gpg-preset-passphrase", tools.trim());
        agent.run("gpg-connect-agent", &["/bye"]);
        agent.run(&preset, &["--preset", "--passphrase", PASSPHRASE, &column("grp")]);
        agent
    }

    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(program);
        let output = command.env("GNUPGHOME", self.home.path()).args(arguments).output().unwrap();
        succeeded(program, &output)
    }

    fn gpg(&self, arguments: &[&str]) -> String {
        self.run("gpg", &[&["--batch", "--quiet"], arguments].concat())
    }

    /// Writes the public key into a file.
    pub(crate) fn public_key(&self, file: &Path) {
        fs::write(file, self.gpg(&["--armor", "--export", &self.fingerprint])).unwrap();
    }

    /// Writes the private key, still behind its passphrase, into a file.
    pub(crate) fn private_key(&self, file: &Path) {
        let hidden = ["--pinentry-mode", "loopback", "--passphrase", PASSPHRASE];
        let key = self.gpg(&[&hidden[..], &["--armor", "--export-secret-keys"]].concat());
        fs::write(file, key).unwrap();
    }

    /// What packages acme with this under `[signing]` into a folder, and the folder's name.
    fn packaging(&self, signing: &str, folder: &Path) -> Output {
        let spec = folder.join("acme.toml");
        let example = fs::read_to_string(built::project().unwrap().join("examples/acme.toml")).unwrap();
        fs::write(&spec, format!("{example}\n[signing]\nrpm_key = {signing}\n")).unwrap();
        let mut rebrand = built::xtask().unwrap();
        rebrand.arg("rebrand").arg(built::dist_file("acme", "acme-disco").unwrap());
        rebrand.args(["--packages", "--fast", "--spec"]).arg(&spec).arg("--dist").arg(folder);
        rebrand.env("GNUPGHOME", self.home.path()).output().unwrap()
    }

    /// Packages acme, signed by this agent; the rpm.
    pub(crate) fn signed(&self, folder: &Path) -> PathBuf {
        let signing = format!("{{ agent = \"{}\" }}", self.fingerprint);
        succeeded("cargo xtask rebrand", &self.packaging(&signing, folder));
        let mut verify = built::xtask().unwrap();
        verify.arg("verify").arg(folder.join("acme")).arg("--spec").arg(folder.join("acme.toml"));
        succeeded("cargo xtask verify", &verify.output().unwrap());
        built::one_file(&folder.join("acme"), ".rpm").unwrap()
    }

    /// What is said where the key is to be taken from its file.
    pub(crate) fn refused_file(&self, folder: &Path) -> String {
        self.private_key(&folder.join("key.asc"));
        let output = self.packaging("{ file = \"key.asc\" }", folder);
        assert!(!output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let mut end = Command::new("gpgconf");
        let _ = end.env("GNUPGHOME", self.home.path()).args(["--kill", "all"]).status();
    }
}

/// The example under another name and version. The later version has another default in its configuration file.
fn spec_of(brand: &str, version: &str) -> String {
    let example = fs::read_to_string(built::project().unwrap().join("examples/acme.toml")).unwrap();
    let changed = example
        .replace("\"acme\"", &format!("\"{brand}\""))
        .replace("ACME", &brand.to_uppercase())
        .replace("/opt/acme/sbin", if brand == "acme" { "/opt/acme/sbin" } else { "/usr/sbin" })
        .replace(
            "/opt/acme/etc/disco",
            &if brand == "acme" { "/opt/acme/etc/disco".to_owned() } else { format!("/etc/{brand}-disco") },
        )
        .replace("acme-disco", &format!("{brand}-disco"))
        .replace("\"1.4.0\"", &format!("\"{version}\""))
        .replace("rsync://universe", &format!("rsync://universe-{}", version.replace('.', "-")));
    format!(
        "{changed}\n[packages.defaults]\ncompat_commands = true\n\n[signing]\nrpm_key = {{ file = \"key.asc\" }}\n"
    )
}
