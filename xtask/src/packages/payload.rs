//! What goes into a package, from `packaging/payload.toml` and the spec; knows no format.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::Content;
use crate::project::Project;
use crate::spec::{Package, SYSTEM_FOLDERS, Spec};

/// Where units lie.
const UNITS: &str = "/usr/lib/systemd/system/";

/// What an entry is to a package manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// Replaced on upgrade.
    File,
    /// Kept on upgrade if somebody edited it.
    Config,
    /// A folder of the package's own.
    Dir,
    /// A folder that was there before, listed only so that it exists.
    #[serde(skip)]
    StandardDir,
    /// A licence text.
    License,
    /// Documentation.
    Doc,
    /// A symbolic link; its content is where it points to.
    Link,
}

impl Kind {
    pub(super) fn is_dir(self) -> bool {
        matches!(self, Kind::Dir | Kind::StandardDir)
    }
}

/// One path in a package; belongs to root:root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) mode: u32,
    pub(super) kind: Kind,
    pub(super) content: Vec<u8>,
    restart: bool,
}

impl Entry {
    pub(super) fn new(mode: u32, kind: Kind, content: Vec<u8>) -> Self {
        Entry { mode, kind, content, restart: false }
    }
}

/// Every path of a package with what lies there, in the order of their names; parents come before their children.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Payload {
    pub(super) entries: BTreeMap<String, Entry>,
}

/// What a `source` is.
enum Loaded {
    AsIs(Vec<u8>),
    /// Text in which values are put in.
    Template(Vec<u8>),
    /// Files for a folder, by name.
    Folder(BTreeMap<String, Vec<u8>>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    entry: Vec<Row>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    source: Option<String>,
    link: Option<String>,
    destination: String,
    mode: String,
    kind: Kind,
    needs: Option<String>,
    #[serde(default)]
    restart: bool,
}

impl Payload {
    /// Reads the description and everything that it names.
    pub(super) fn read(
        project: &Project,
        spec: &Spec,
        package: &Package,
        values: &Values,
        content: &Content<'_>,
    ) -> Result<Self> {
        let folder = project.root.join("packaging");
        let path = folder.join("payload.toml");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let load = |source: &str| match source {
            "binary" => Ok(Loaded::AsIs(content.binary.to_owned())),
            "sbom" => Ok(Loaded::AsIs(content.bill.to_owned())),
            "licences" => Ok(Loaded::AsIs(content.licences.to_owned())),
            "LICENSE" => Ok(Loaded::AsIs(read(&project.root.join(source))?)),
            "manual" => Ok(Loaded::Folder(content.manual.pages.clone())),
            _ => match source.strip_prefix("completion:") {
                Some(shell) => {
                    let script = content.manual.completions.get(shell);
                    let script = script.with_context(|| format!("there are no completions for {shell}"))?;
                    Ok(Loaded::AsIs(script.clone()))
                }
                None => Ok(Loaded::Template(read(&folder.join(source))?)),
            },
        };
        Self::parse(&text, spec, package, values, load).with_context(|| format!("in {}", path.display()))
    }

    fn parse(
        text: &str,
        spec: &Spec,
        package: &Package,
        values: &Values,
        load: impl Fn(&str) -> Result<Loaded>,
    ) -> Result<Self> {
        let file: File = toml::from_str(text)?;
        let mut switches = spec.features.by_name().to_vec();
        switches.push(("compat_commands", package.compat_commands));
        let mut entries = BTreeMap::new();
        for row in file.entry {
            if let Some(needed) = &row.needs {
                let Some((_, on)) = switches.iter().find(|(name, _)| name == needed) else {
                    bail!("{}: there is neither a feature nor a choice `{needed}`", row.destination);
                };
                if !on {
                    continue;
                }
            }
            if row.kind == Kind::Config && !package.manage_conf {
                continue;
            }
            let destination = values.fill(&row.destination)?;
            let mode = u32::from_str_radix(&row.mode, 8)
                .with_context(|| format!("{}: `{}` is not an octal mode", row.destination, row.mode))?;
            let content = match (&row.source, &row.link, row.kind) {
                (None, None, Kind::Dir) => Vec::new(),
                (None, Some(target), Kind::Link) => values.fill(target)?.into_bytes(),
                (Some(source), None, kind) if !matches!(kind, Kind::Dir | Kind::Link) => {
                    match load(source)? {
                        Loaded::AsIs(content) => content,
                        Loaded::Template(content) => {
                            let template = String::from_utf8(content)
                                .with_context(|| format!("{source} is not UTF-8"))?;
                            let values =
                                if destination.starts_with(UNITS) { &values.for_units() } else { values };
                            values.fill(&template).with_context(|| format!("in {source}"))?.into_bytes()
                        }
                        Loaded::Folder(files) => {
                            for (name, content) in files {
                                entries
                                    .insert(format!("{destination}{name}"), Entry::new(mode, kind, content));
                            }
                            continue;
                        }
                    }
                }
                _ => bail!(
                    "{}: a directory has no source, a link has `link`, and everything else has a source",
                    row.destination
                ),
            };
            let entry = Entry { mode, kind: row.kind, content, restart: row.restart };
            if entries.insert(destination.clone(), entry).is_some() {
                bail!("{destination} is described twice");
            }
        }
        if let StatusFolder::Own(folder) = StatusFolder::of(spec)
            && spec.features.provisioning
        {
            entries.entry(folder.to_owned()).or_insert_with(|| Entry::new(0o755, Kind::Dir, Vec::new()));
        }
        let mut payload = Payload { entries };
        payload.add_parents();
        Ok(payload)
    }

    /// Adds the folders above every entry.
    pub(super) fn add_parents(&mut self) {
        let paths: Vec<String> = self.entries.keys().cloned().collect();
        for path in paths {
            let mut rest = path.as_str();
            while let Some((parent, _)) = rest.rsplit_once('/') {
                let parent = if parent.is_empty() { "/" } else { parent };
                let kind = if SYSTEM_FOLDERS.contains(&parent) { Kind::StandardDir } else { Kind::Dir };
                self.entries.entry(parent.to_owned()).or_insert_with(|| Entry::new(0o755, kind, Vec::new()));
                if parent == "/" {
                    break;
                }
                rest = parent;
            }
        }
    }

    /// Adds a file that only one format has.
    pub(super) fn add(&mut self, path: String, mode: u32, kind: Kind, content: Vec<u8>) {
        self.entries.insert(path, Entry::new(mode, kind, content));
        self.add_parents();
    }

    fn units(&self, wanted: impl Fn(&Entry) -> bool) -> String {
        let units: Vec<&str> = self
            .entries
            .iter()
            .filter(|(_, entry)| wanted(entry))
            .filter_map(|(path, _)| path.strip_prefix(UNITS))
            .collect();
        units.join(" ")
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Where the server writes besides the folders of the spec: where its status file lies.
enum StatusFolder<'a> {
    /// The spec has none, or it lies in a folder that the server has anyway.
    None,
    /// A folder below `/run`, which systemd makes.
    OfSystemd(&'a str),
    /// A folder that was there before.
    Standard(&'a str),
    /// A folder that the package brings.
    Own(&'a str),
}

impl<'a> StatusFolder<'a> {
    fn of(spec: &'a Spec) -> Self {
        let Spec { paths, brand, provisioning, .. } = spec;
        let status = Path::new(&provisioning.status_file);
        let Some(folder) = status.parent().and_then(Path::to_str).filter(|folder| !folder.is_empty()) else {
            return StatusFolder::None;
        };
        let inside = |known: &String| Path::new(folder).starts_with(known);
        if [&paths.etcdir, &paths.vardir, &paths.logdir].into_iter().any(inside) {
            return StatusFolder::None;
        }
        match folder.strip_prefix("/run/") {
            Some(name) if Path::new(name).starts_with(&brand.binary) => StatusFolder::None,
            Some(name) => StatusFolder::OfSystemd(name),
            None if SYSTEM_FOLDERS.contains(&folder) => StatusFolder::Standard(folder),
            None => StatusFolder::Own(folder),
        }
    }
}

/// Where the server writes, as a unit says it: a folder that is not there is no mistake. What systemd makes below `/run`
/// for the server is not among them.
fn written(spec: &Spec) -> String {
    let paths = &spec.paths;
    let mut folders = vec![paths.etcdir.as_str(), paths.vardir.as_str(), paths.logdir.as_str()];
    if let StatusFolder::Standard(folder) | StatusFolder::Own(folder) = StatusFolder::of(spec) {
        folders.push(folder);
    }
    folders.iter().map(|folder| format!("-{folder}")).collect::<Vec<_>>().join(" ")
}

/// The folders below `/run` that systemd makes for the server.
fn runtime(spec: &Spec) -> String {
    match StatusFolder::of(spec) {
        StatusFolder::OfSystemd(name) => format!("{} {name}", spec.brand.binary),
        _ => spec.brand.binary.clone(),
    }
}

/// What `{{…}}` in texts stands for.
#[derive(Debug, Clone)]
pub(super) struct Values(BTreeMap<&'static str, String>);

impl Values {
    /// The values of a spec.
    pub(super) fn of(spec: &Spec) -> Self {
        let Spec { brand, paths, client, .. } = spec;
        Values(
            [
                ("binary", &brand.binary),
                ("display_name", &brand.display_name),
                ("vendor", &brand.vendor),
                ("contact", &brand.contact),
                ("url", &brand.url),
                ("license", &brand.license),
                ("summary", &brand.summary),
                ("version", &brand.version),
                ("release", &brand.release),
                ("bindir", &paths.bindir),
                ("etcdir", &paths.etcdir),
                ("vardir", &paths.vardir),
                ("logdir", &paths.logdir),
                ("server", &client.server),
                ("rsync", &client.rsync),
                ("interval", &client.interval),
                ("splay", &client.splay),
            ]
            .into_iter()
            .map(|(name, value)| (name, value.clone()))
            // What the timer starts: an appliance that may not change its host looks only.
            .chain([("dance", if spec.features.live { "dance" } else { "dance --noop" }.to_owned())])
            .chain([("written", written(spec)), ("runtime", runtime(spec))])
            .collect(),
        )
    }

    /// The same and which units a package brings: all, and those to be restarted on upgrade.
    pub(super) fn with_units(mut self, payload: &Payload) -> Self {
        self.0.insert("units", payload.units(|entry| !entry.kind.is_dir()));
        self.0.insert("restart_units", payload.units(|entry| entry.restart));
        self
    }

    /// The same and when the package is made: `year`, and `date` as RFC 2822 has it.
    pub(super) fn at(self, epoch: u32) -> Result<Self> {
        let time = jiff::Timestamp::from_second(epoch.into())?.to_zoned(jiff::tz::TimeZone::UTC);
        let date = jiff::fmt::rfc2822::to_string(&time)?;
        Ok(self.with("year", time.year().to_string()).with("date", date))
    }

    /// The same and one more.
    pub(super) fn with(&self, name: &'static str, value: String) -> Self {
        let mut values = self.clone();
        values.0.insert(name, value);
        values
    }

    /// The same for unit files, where `%` opens a specifier.
    fn for_units(&self) -> Self {
        Values(self.0.iter().map(|(name, value)| (*name, value.replace('%', "%%"))).collect())
    }

    /// Puts values in for `{{…}}`; an unknown name is a mistake of ours.
    pub(super) fn fill(&self, template: &str) -> Result<String> {
        let mut text = String::with_capacity(template.len());
        let mut rest = template;
        while let Some((before, after)) = rest.split_once("{{") {
            let Some((name, after)) = after.split_once("}}") else { bail!("`{{{{` without `}}}}`") };
            let Some(value) = self.0.get(name) else { bail!("there is no value `{name}`") };
            text.push_str(before);
            text.push_str(value);
            rest = after;
        }
        text.push_str(rest);
        Ok(text)
    }
}
