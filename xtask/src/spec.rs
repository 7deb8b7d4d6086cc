//! The spec of an appliance: read, checked, resolved.
//!
//! A spec is a TOML file. [`load`] turns it into a [`Spec`] with every default filled in and every secret replaced by
//! its digest, or refuses it with all its problems at once. What a value means for the product is written down twice,
//! here and in `src/brand.rs`; the build compares the two by asking the finished binary.

mod checks;
mod explain;
mod keys;
pub(crate) mod plugs;
mod problem;
mod reader;
#[cfg(test)]
mod refusals;
mod resolve;
mod schema;
mod secrets;
mod targets;
mod token;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt::{self, Write};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use serde::{Serialize, Serializer};
use serde_json::Value;
use sha2::{Digest, Sha256};

pub(crate) use checks::SYSTEM_FOLDERS;
pub(crate) use explain::{explain, reference};
use plugs::{Origin, Plug};
pub(crate) use problem::Refused;
pub(crate) use schema::schema;
pub(crate) use targets::Target;

use crate::signing::KeyPlace;

/// A resolved spec. It serialises as what may be shown: secrets as `set` or `not set`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Spec {
    /// Name of the file it was read from, without folders.
    #[serde(skip)]
    pub(crate) file_name: String,
    /// The file it was read from, as it was named.
    #[serde(skip)]
    pub(crate) path: PathBuf,
    pub(crate) brand: Brand,
    pub(crate) paths: Paths,
    pub(crate) features: Features,
    pub(crate) client: Client,
    pub(crate) security: Security,
    pub(crate) broker: Broker,
    pub(crate) provisioning: Provisioning,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resolver: Option<Plug>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) agents: Vec<Plug>,
    /// At least one.
    #[serde(serialize_with = "targets::by_name", skip_serializing_if = "targets_are_unsaid")]
    pub(crate) targets: Vec<Target>,
    #[serde(serialize_with = "packages_by_name")]
    pub(crate) packages: Vec<Package>,
    #[serde(skip_serializing_if = "Signing::is_empty")]
    pub(crate) signing: Signing,
    /// What deserves a warning, without secrets.
    #[serde(skip)]
    pub(crate) warnings: Vec<String>,
    /// The environment variable that held the token; children must not see it.
    #[serde(skip)]
    pub(crate) token_variable: Option<String>,
    /// Tells equal tokens from different ones.
    #[serde(skip)]
    pub(crate) token_identity: TokenIdentity,
}

/// Which token it is, for comparing only: nothing shows it.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct TokenIdentity(Option<[u8; 32]>);

impl TokenIdentity {
    fn of(token: &str) -> Self {
        TokenIdentity(Some(Sha256::digest(token).into()))
    }
}

impl fmt::Debug for TokenIdentity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(if self.0.is_some() { "set" } else { "not set" })
    }
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Brand {
    pub(crate) name: String,
    pub(crate) binary: String,
    pub(crate) display_name: String,
    pub(crate) vendor: String,
    pub(crate) contact: String,
    pub(crate) url: String,
    pub(crate) license: String,
    pub(crate) summary: String,
    pub(crate) version: String,
    pub(crate) release: String,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Paths {
    pub(crate) bindir: String,
    pub(crate) etcdir: String,
    pub(crate) vardir: String,
    pub(crate) logdir: String,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Features {
    pub(crate) live: bool,
    pub(crate) shell: bool,
    pub(crate) provisioning: bool,
    pub(crate) plaintext_brokers: bool,
}

impl Features {
    /// Features by the names that cargo knows them by.
    pub(crate) fn by_name(&self) -> [(&'static str, bool); 4] {
        // Taken apart by name: the compiler finds the one that was forgotten here.
        let &Features { live, shell, provisioning, plaintext_brokers } = self;
        [
            ("live", live),
            ("shell", shell),
            ("provisioning", provisioning),
            ("plaintext-brokers", plaintext_brokers),
        ]
    }

    /// Names of the features that are on.
    pub(crate) fn chosen(&self) -> Vec<&'static str> {
        self.by_name().into_iter().filter_map(|(name, on)| on.then_some(name)).collect()
    }
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Client {
    pub(crate) server: String,
    pub(crate) rsync: String,
    pub(crate) interval: String,
    pub(crate) splay: String,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Security {
    pub(crate) tls: bool,
    pub(crate) message_security: bool,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Broker {
    pub(crate) max_clients: u32,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Provisioning {
    pub(crate) default: bool,
    pub(crate) brokers: Vec<String>,
    pub(crate) srv_domain: String,
    pub(crate) tls: bool,
    /// PEM text; shown as its digest.
    #[serde(serialize_with = "as_digest")]
    pub(crate) ca: String,
    /// PHC string, empty for none; shown as `set` or `not set`.
    #[serde(serialize_with = "as_set_or_not")]
    pub(crate) token: String,
    pub(crate) registration_data: String,
    pub(crate) facts: String,
    pub(crate) status_file: String,
    /// Whether the built-in agent choria_provision serves.
    pub(crate) agent: bool,
    /// Whether it has this action.
    pub(crate) reprovision: bool,
    /// Whether it has this one.
    pub(crate) shutdown: bool,
}

/// One package to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Package {
    #[serde(skip)]
    pub(crate) name: String,
    pub(crate) format: Format,
    /// Part of an rpm's release, such as `el9`; empty for none.
    pub(crate) dist: String,
    /// Group of an rpm.
    pub(crate) group: String,
    /// Whether the package brings the configuration file.
    pub(crate) manage_conf: bool,
    /// Name of the one target that it is for; none for a package for each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<String>,
    /// Whether the package brings links by the names of the original's commands.
    pub(crate) compat_commands: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    Rpm,
    Deb,
}

fn targets_are_unsaid(targets: &[Target]) -> bool {
    targets::is_unsaid(targets)
}

/// Where the keys are that sign.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Signing {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rpm_key: Option<KeyPlace>,
    /// `rpm_key`, where the spec does not say another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) repository_key: Option<KeyPlace>,
}

impl Signing {
    fn is_empty(&self) -> bool {
        self.rpm_key.is_none() && self.repository_key.is_none()
    }
}

fn packages_by_name<S: Serializer>(packages: &[Package], out: S) -> Result<S::Ok, S::Error> {
    out.collect_map(packages.iter().map(|package| (&package.name, package)))
}

fn as_digest<S: Serializer>(text: &str, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(&if text.is_empty() { String::new() } else { format!("sha256:{}", sha256_hex(text)) })
}

fn as_set_or_not<S: Serializer>(secret: &str, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(if secret.is_empty() { "not set" } else { "set" })
}

/// SHA-256 in hex.
pub(crate) fn sha256_hex(bytes: impl AsRef<[u8]>) -> String {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        write!(hex, "{byte:02x}").expect("text grows in memory");
    }
    hex
}

/// What a spec may refer to besides itself.
pub(crate) struct Surroundings<'a> {
    /// The project's own version, for specs that do not say one.
    pub(crate) project_version: &'a str,
    /// Reads an environment variable.
    pub(crate) environment: &'a dyn Fn(&str) -> Option<OsString>,
}

/// Reads and resolves a spec.
///
/// # Errors
/// [`Refused`] with everything that is wrong in it, or why it cannot be read.
pub(crate) fn load(path: &Path, around: &Surroundings<'_>) -> Result<Spec> {
    let source = fs::read_to_string(path).map_err(|why| {
        anyhow!(
            "cannot read the spec {}: {why}\n  help: name one with `--spec FILE`; buildspec.toml explains every key, \
             examples/acme.toml is an example",
            path.display()
        )
    })?;
    parse(path, &source, around)
}

/// Resolves the text of a spec; `path` is for messages and for what the spec refers to by relative path.
pub(crate) fn parse(path: &Path, source: &str, around: &Surroundings<'_>) -> Result<Spec> {
    Ok(resolve::resolve(path, source, around)?)
}

/// The text of a start for a new spec of this name.
///
/// # Errors
/// The name is none for a brand.
pub(crate) fn start(name: &str) -> Result<String> {
    match checks::brand_name(name) {
        None => Ok(explain::start(name)),
        Some(fault) => bail!("`{name}` is {}\n  help: {}; `--name` sets it", fault.what, fault.cure),
    }
}

/// What two resolved specs differ in, a line for each key.
pub(crate) fn differences(left: &Spec, right: &Spec) -> Result<Vec<String>> {
    let values = |spec: &Spec| -> Result<BTreeMap<String, String>> {
        let mut values = BTreeMap::new();
        flatten(
            "",
            &serde_json::to_value(spec).context("the resolved spec does not serialise")?,
            &mut values,
        );
        Ok(values)
    };
    let (mut ours, mut theirs) = (values(left)?, values(right)?);
    if left.token_identity != right.token_identity
        && ours.get("provisioning.token") == theirs.get("provisioning.token")
    {
        for values in [&mut ours, &mut theirs] {
            values.insert("provisioning.token".to_owned(), "different".to_owned());
        }
    }
    let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let mut lines = Vec::new();
    for name in names {
        let said = |values: &BTreeMap<String, String>| {
            values.get(name).cloned().unwrap_or_else(|| "not there".to_owned())
        };
        let (left, right) = (said(&ours), said(&theirs));
        if name == "provisioning.token" && left == "different" {
            lines.push(format!("{name}: set in both, different"));
        } else if left != right {
            lines.push(format!("{name}: {left} → {right}"));
        }
    }
    Ok(lines)
}

fn flatten(name: &str, value: &Value, into: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(table) => {
            for (key, value) in table {
                let dotted = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                flatten(&dotted, value, into);
            }
        }
        // Secrets are shown in words already, not as a value.
        Value::String(word) if name == "provisioning.token" => {
            into.insert(name.to_owned(), word.clone());
        }
        value => {
            into.insert(name.to_owned(), value.to_string());
        }
    }
}

impl Spec {
    /// The resolved spec as TOML, secrets as `set` or `not set`.
    pub(crate) fn to_toml(&self) -> Result<String> {
        toml::to_string(self).context("the resolved spec does not serialise")
    }

    /// SHA-256 of everything that a spec decides; the token counts as its digest. Where a key lies that signs afterwards
    /// decides nothing.
    pub(crate) fn digest(&self) -> Result<String> {
        let unsigned = Spec { signing: Signing::default(), ..self.clone() };
        Ok(sha256_hex(format!("{}\ntoken = {}\n", unsigned.to_toml()?, self.provisioning.token)))
    }

    /// The crates of others.
    pub(crate) fn plugs(&self) -> impl Iterator<Item = &Plug> {
        self.resolver.iter().chain(&self.agents)
    }

    /// Whether crates of others are compiled in.
    pub(crate) fn has_plugs(&self) -> bool {
        self.plugs().next().is_some()
    }

    /// The crates of others and which code each is.
    fn plugged(&self) -> String {
        let one = |kind: &str, plug: &Plug| match &plug.origin {
            Origin::Folder { digest, .. } => format!("{kind} {} of sources {digest}", plug.krate),
            Origin::Commit { git, rev } => format!("{kind} {} of {git} at {rev}", plug.krate),
            Origin::Release { version } => format!("{kind} {} {version}", plug.krate),
        };
        let resolver = self.resolver.iter().map(|plug| one("resolver", plug));
        let agents = self.agents.iter().map(|plug| one("agents", plug));
        resolver.chain(agents).collect::<Vec<_>>().join(", ")
    }

    /// What the generated crate bakes: names without their prefix `DISCO_BAKED_`, in the order of `Brand`.
    pub(crate) fn baked(&self) -> Result<Vec<(&'static str, String)>> {
        let Spec { brand, paths, client, security, broker, provisioning, .. } = self;
        Ok(vec![
            ("NAME", brand.name.clone()),
            ("BINARY", brand.binary.clone()),
            ("DISPLAY_NAME", brand.display_name.clone()),
            ("VENDOR", brand.vendor.clone()),
            ("CONTACT", brand.contact.clone()),
            ("URL", brand.url.clone()),
            ("LICENSE", brand.license.clone()),
            ("SUMMARY", brand.summary.clone()),
            ("VERSION", brand.version.clone()),
            ("RELEASE", brand.release.clone()),
            ("BINDIR", paths.bindir.clone()),
            ("ETCDIR", paths.etcdir.clone()),
            ("VARDIR", paths.vardir.clone()),
            ("LOGDIR", paths.logdir.clone()),
            ("CLIENT_SERVER", client.server.clone()),
            ("CLIENT_RSYNC", client.rsync.clone()),
            ("CLIENT_INTERVAL", client.interval.clone()),
            ("CLIENT_SPLAY", client.splay.clone()),
            ("SECURITY_TLS", security.tls.to_string()),
            ("SECURITY_MESSAGE_SECURITY", security.message_security.to_string()),
            ("BROKER_MAX_CLIENTS", broker.max_clients.to_string()),
            ("PROVISIONING_DEFAULT", provisioning.default.to_string()),
            ("PROVISIONING_BROKERS", provisioning.brokers.join(",")),
            ("PROVISIONING_SRV_DOMAIN", provisioning.srv_domain.clone()),
            ("PROVISIONING_TLS", provisioning.tls.to_string()),
            ("PROVISIONING_CA", provisioning.ca.clone()),
            ("PROVISIONING_TOKEN", provisioning.token.clone()),
            ("PROVISIONING_REGISTRATION_DATA", provisioning.registration_data.clone()),
            ("PROVISIONING_FACTS", provisioning.facts.clone()),
            ("PROVISIONING_STATUS_FILE", provisioning.status_file.clone()),
            ("PROVISIONING_AGENT", provisioning.agent.to_string()),
            ("PROVISIONING_REPROVISION", provisioning.reprovision.to_string()),
            ("PROVISIONING_SHUTDOWN", provisioning.shutdown.to_string()),
            ("SPEC_DIGEST", self.digest()?),
            // The product does not ask for these two. They tell what no other brand can change in a finished binary.
            ("FEATURES", self.features.chosen().join(", ")),
            ("PLUGS", self.plugged()),
        ])
    }

    /// What `buildinfo --json` of the finished binary must say, in the same tables.
    pub(crate) fn expected_buildinfo(&self) -> Result<Value> {
        let mut tables = serde_json::to_value(self).context("the resolved spec does not serialise")?;
        let tables_map = tables.as_object_mut().context("a spec is a table")?;
        // What machines it was built for is compared with the machine that it says; packages are made from it later.
        tables_map.shift_remove("packages");
        tables_map.shift_remove("targets");
        tables_map.shift_remove("signing");
        // Plugs name themselves; without one the product says "Default".
        tables_map.shift_remove("agents");
        tables_map.shift_remove("resolver");
        if self.resolver.is_none() {
            tables_map.insert("resolver".into(), serde_json::json!({ "name": "Default" }));
        }
        tables_map.insert(
            "build".into(),
            serde_json::json!({
                "version": self.brand.version,
                "license": self.brand.license,
                "profile": "release",
                "spec_digest": self.digest()?,
            }),
        );
        Ok(tables)
    }
}
