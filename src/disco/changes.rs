//! Finds what a run changed: walks the upper layers and compares what lies there with the live system.
//!
//! The cost follows the number of changes. Only below a directory that was replaced or moved (opaque or redirected in
//! the upper layer) is the merged view compared entry by entry.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::unistd::{Gid, Group, Uid, User};
use serde::{Deserialize, Serialize};

use crate::disco::content;
use crate::disco::diff::{Content, Format};
use crate::disco::sandbox::Sandbox;
use crate::disco::secrets::{self, Secrets};

/// One path that differs from the live system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Where, on the host.
    pub path: HostPath,
    /// What the live system has there; none: nothing.
    pub before: Option<Entry>,
    /// What the run left there; none: nothing.
    pub after: Option<Entry>,
    /// What can be shown of the content.
    pub content: Content,
    /// What differs inside a file whose content is secret; only for a person who asked for it, never kept or printed as
    /// JSON.
    #[serde(skip)]
    pub withheld: Option<Content>,
    /// Whether the path is only noise: neither shown nor counted with the others, and merged like any other.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub noise: bool,
    /// A new directory like any other, of which what lies in it tells already; neither shown nor counted by itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub implied: bool,
    /// The file that was there was changed; otherwise another one took its place. Other names of a file change with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub same_file: bool,
}

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// There was nothing before.
    Created,
    /// It was there before and is different now.
    Modified,
    /// It is gone.
    Deleted,
}

impl Change {
    /// What happened.
    pub fn kind(&self) -> Kind {
        match (&self.before, &self.after) {
            (None, _) => Kind::Created,
            (Some(_), None) => Kind::Deleted,
            (Some(_), Some(_)) => Kind::Modified,
        }
    }
}

/// How many paths were created, modified and deleted, in words.
pub fn counted<'a>(changes: impl Iterator<Item = &'a Change>) -> String {
    let (mut created, mut modified, mut deleted) = (0, 0, 0);
    for change in changes {
        match change.kind() {
            Kind::Created => created += 1,
            Kind::Modified => modified += 1,
            Kind::Deleted => deleted += 1,
        }
    }
    format!("{created} created, {modified} modified, {deleted} deleted")
}

/// A path of the host, any bytes; as text, what a terminal or JSON cannot hold is escaped as `\xNN`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPath(pub PathBuf);

impl fmt::Display for HostPath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&escape(self.0.as_os_str()))
    }
}

/// Writes any bytes as one line of text that can be read back.
pub(crate) fn escape(bytes: &OsStr) -> String {
    let mut text = String::new();
    for chunk in bytes.as_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                c if c.is_control() => text.extend(c.to_string().bytes().map(|b| format!("\\x{b:02x}"))),
                c => text.push(c),
            }
        }
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text
}

/// The bytes that [`escape`] wrote down.
pub fn unescape(text: &str) -> OsString {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let hex = tail.strip_prefix(b"x").and_then(|tail| tail.get(..2));
        match (byte, tail.first(), hex.and_then(|hex| u8::from_str_radix(str::from_utf8(hex).ok()?, 16).ok()))
        {
            (b'\\', _, Some(value)) => {
                bytes.push(value);
                rest = &tail[3..];
            }
            (b'\\', Some(b'\\'), None) => {
                bytes.push(b'\\');
                rest = &tail[1..];
            }
            _ => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    OsString::from_vec(bytes)
}

impl Serialize for HostPath {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.to_string())
    }
}

impl<'de> Deserialize<'de> for HostPath {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(HostPath(PathBuf::from(unescape(&String::deserialize(from)?))))
    }
}

/// What lies at a path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// `stat`'s wording: `regular file`, `regular empty file`, `directory`, `symbolic link`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// Type and permission bits, as stat(2) gives them.
    pub mode: u32,
    /// Owner by name, or by number where the live system knows no name.
    pub owner: String,
    /// Group by name, or by number where the live system knows no name.
    pub group: String,
    /// Owner and group by number.
    pub ids: (u32, u32),
    /// Length in bytes.
    pub size: u64,
    /// Number of the device it lies on, or will lie on.
    pub device: u64,
    /// Number of the device it is, for device files.
    pub is_device: u64,
    /// Digest of a regular file's content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub md5: Option<String>,
    /// Where a link leads, escaped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Extended attributes, labels and access lists among them; values in hex.
    pub attributes: Attributes,
    /// How many names the file has; 1 for directories.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub names: u64,
    /// Those of its other names that the run touched as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub linked: Vec<HostPath>,
    /// Flags that keep it from being changed, as chattr(1) sets them: immutable, append-only.
    #[serde(default, skip_serializing_if = "is_none_set")]
    pub flags: u32,
    /// Inode number and time of last status change: tells whether somebody else touched it since.
    #[serde(skip)]
    pub identity: Identity,
}

/// Extended attributes: escaped names, values in hex.
pub type Attributes = BTreeMap<String, String>;

fn one() -> u64 {
    1
}

fn is_one(names: &u64) -> bool {
    *names == 1
}

fn is_none_set(flags: &u32) -> bool {
    *flags == 0
}

/// The flag in [`Entry::flags`] of what cannot be changed at all.
pub const IMMUTABLE: u32 = rustix::fs::IFlags::IMMUTABLE.bits();

/// The flag in [`Entry::flags`] of what can only grow.
pub const APPEND_ONLY: u32 = rustix::fs::IFlags::APPEND.bits();

/// Which inode, and in which state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Identity {
    /// Inode number.
    pub inode: u64,
    /// Time of last status change, in seconds and nanoseconds.
    pub changed: (i64, i64),
}

impl Identity {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Identity { inode: metadata.ino(), changed: (metadata.ctime(), metadata.ctime_nsec()) }
    }

    /// Whether two inodes are one, of which the second was seen through an overlay: that keeps the number and adds which
    /// layer it is from in the upper bits (overlayfs documentation, "Inode properties").
    fn is_same_file(self, merged: Identity) -> bool {
        const NUMBER: u64 = u64::MAX >> 8;
        self.inode & NUMBER == merged.inode & NUMBER
    }
}

impl Entry {
    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFDIR
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFREG
    }

    /// A directory about which nothing is known but where it lies.
    fn empty_directory(device: u64) -> Entry {
        Entry {
            kind: "directory".to_owned(),
            mode: libc::S_IFDIR,
            owner: String::new(),
            group: String::new(),
            ids: (0, 0),
            size: 0,
            device,
            is_device: 0,
            md5: None,
            target: None,
            attributes: Attributes::new(),
            names: 1,
            linked: Vec::new(),
            flags: 0,
            identity: Identity::default(),
        }
    }

    /// Whether users other than its owner and group may not read it.
    fn is_secret(&self) -> bool {
        self.is_file() && self.mode & 0o004 == 0
    }

    /// Whether two entries are the same to everybody who looks. Sizes of directories mean nothing.
    pub(crate) fn looks_like(&self, other: &Entry) -> bool {
        self.mode == other.mode
            && self.ids == other.ids
            && self.is_device == other.is_device
            && self.md5 == other.md5
            && self.target == other.target
            && self.attributes == other.attributes
            && self.flags == other.flags
    }
}

/// A path that could not be compared.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}", path.display())]
pub struct ScanError {
    path: PathBuf,
    source: io::Error,
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> ScanError {
    let path = path.to_owned();
    move |source| ScanError { path, source }
}

/// How contents are shown.
#[derive(Debug, Clone, Copy, Default)]
pub struct Show {
    /// In which format.
    pub format: Format,
    /// Whether what secret files hold is kept at hand, for a person who asked for it.
    pub secrets: Secrets,
}

/// Finds the changes of a sandbox, again and again while modules run in it; what did not move since the last time is
/// not read again.
#[derive(Debug, Default)]
pub struct Scanner {
    show: Show,
    known: BTreeMap<PathBuf, (Identity, Option<Identity>, Option<Change>)>,
    found: Vec<Change>,
    /// The touched names of files that have several, by the numbers of device and inode in the merged view.
    names: BTreeMap<(u64, u64), Vec<PathBuf>>,
}

impl Scanner {
    /// A scanner that shows contents like this.
    pub fn showing(show: Show) -> Self {
        Scanner { show, ..Scanner::default() }
    }

    /// All changes of the sandbox, sorted by path.
    ///
    /// # Errors
    /// The first path that could not be read, on the live side or in the merged view.
    pub fn scan(&mut self, sandbox: &Sandbox) -> Result<Vec<Change>, ScanError> {
        let merged = sandbox.root_path();
        self.found = Vec::new();
        self.names = BTreeMap::new();
        for layer in sandbox.layers() {
            let walk = Walk { merged: &merged, upper: layer.upper(), at: layer.at.clone() };
            self.visit(&walk, Path::new(""))?;
        }
        let mut found = std::mem::take(&mut self.found);
        found.sort_by(|a, b| a.path.cmp(&b.path));
        mark_implied(&mut found);
        self.mark_linked(&mut found);
        Ok(found)
    }

    /// Tells each change which other names its file has now.
    fn mark_linked(&self, changes: &mut [Change]) {
        let mut linked: BTreeMap<&Path, &[PathBuf]> = BTreeMap::new();
        for names in self.names.values() {
            linked.extend(names.iter().map(|name| (name.as_path(), names.as_slice())));
        }
        for change in changes {
            let names = linked.get(change.path.0.as_path()).copied().unwrap_or_default();
            if let Some(after) = &mut change.after {
                let others = names.iter().filter(|name| **name != change.path.0);
                after.linked = others.cloned().map(HostPath).collect();
            }
        }
    }

    /// Looks at one entry of an upper layer, and at what lies below it.
    fn visit(&mut self, walk: &Walk<'_>, relative: &Path) -> Result<(), ScanError> {
        // Joining nothing would leave a slash at the end of the mount point's own path.
        let live = if relative.as_os_str().is_empty() { walk.at.clone() } else { walk.at.join(relative) };
        let upper = walk.upper.join(relative);
        let metadata = fs::symlink_metadata(&upper).map_err(unreadable(&upper))?;
        if is_whiteout(&metadata) {
            return self.compare(walk, &live, None);
        }
        if !metadata.is_dir() {
            // The merged view knows the file's number on the host, and how many names it really has.
            let merged = walk.merged(&live);
            let metadata = fs::symlink_metadata(&merged).map_err(unreadable(&merged))?;
            return self.compare(walk, &live, Some(&metadata));
        }
        if is_replaced(&upper)? {
            return self.compare_trees(walk, &live);
        }
        self.compare(walk, &live, Some(&metadata))?;
        for name in names_in(&upper)? {
            self.visit(walk, &relative.join(name))?;
        }
        Ok(())
    }

    /// Compares a whole directory of the merged view with the live one.
    fn compare_trees(&mut self, walk: &Walk<'_>, live: &Path) -> Result<(), ScanError> {
        let merged = walk.merged(live);
        let metadata = fs::symlink_metadata(&merged).map_err(unreadable(&merged))?;
        self.compare(walk, live, Some(&metadata))?;
        let mut names: BTreeSet<OsString> = names_in(&merged)?.into_iter().collect();
        if live.symlink_metadata().is_ok_and(|live| live.is_dir()) {
            names.extend(names_in(live)?);
        }
        for name in names {
            let (live, merged) = (live.join(&name), merged.join(&name));
            match fs::symlink_metadata(&merged) {
                Ok(metadata) if metadata.is_dir() => self.compare_trees(walk, &live)?,
                Ok(metadata) => self.compare(walk, &live, Some(&metadata))?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.compare(walk, &live, None)?,
                Err(error) => return Err(unreadable(&merged)(error)),
            }
        }
        Ok(())
    }

    /// Compares one path; `after` is what the run left there. Live entries below a directory that is one no more are
    /// gone with it.
    fn compare(&mut self, walk: &Walk<'_>, live: &Path, after: Option<&Metadata>) -> Result<(), ScanError> {
        let before = match fs::symlink_metadata(live) {
            Ok(metadata) => Some(metadata),
            // A parent that is no directory on the live side has nothing below it either.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                None
            }
            Err(error) => return Err(unreadable(live)(error)),
        };
        if before.is_none() && after.is_none() {
            return Ok(());
        }
        let was_directory = before.as_ref().is_some_and(Metadata::is_dir);
        if was_directory && !after.is_some_and(Metadata::is_dir) {
            let mount = mount_of(live);
            for name in names_in(live)? {
                let below = live.join(name);
                // What is mounted there is another layer's business. Device numbers do not tell: where the host is an
                // overlay itself, files have others than their directories.
                if mount_of(&below) == mount {
                    self.compare(walk, &below, None)?;
                }
            }
        }
        if let Some(after) = after.filter(|after| !after.is_dir() && after.nlink() > 1) {
            let names = self.names.entry((after.dev(), after.ino())).or_default();
            names.push(live.to_owned());
        }
        let states = (before.as_ref().map(Identity::of).unwrap_or_default(), after.map(Identity::of));
        if let Some((was, is, change)) = self.known.get(live)
            && (*was, *is) == states
        {
            self.found.extend(change.clone());
            return Ok(());
        }
        let change = look_closely(live, before.as_ref(), &walk.merged(live), after, self.show)?;
        self.found.extend(change.clone());
        self.known.insert(live.to_owned(), (states.0, states.1, change));
        Ok(())
    }
}

/// Number of the mount that a path lies on.
fn mount_of(path: &Path) -> Option<u64> {
    let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW | rustix::fs::AtFlags::NO_AUTOMOUNT;
    let found = rustix::fs::statx(rustix::fs::CWD, path, flags, rustix::fs::StatxFlags::MNT_ID);
    found.ok().map(|found| found.stx_mnt_id)
}

/// Finds the new directories that need no line of their own; the changes are sorted by path.
pub(crate) fn mark_implied(changes: &mut [Change]) {
    for at in 0..changes.len() {
        let holds_more = changes.get(at + 1).is_some_and(|next| next.path.0.starts_with(&changes[at].path.0));
        let change = &mut changes[at];
        change.implied = holds_more
            && change.before.is_none()
            && change.after.as_ref().is_some_and(|after| {
                after.is_directory()
                    && after.mode & 0o7777 == 0o755
                    && after.ids == (0, 0)
                    && after.attributes.is_empty()
            });
    }
}

/// One layer on the way through it.
struct Walk<'a> {
    merged: &'a Path,
    upper: PathBuf,
    at: PathBuf,
}

impl Walk<'_> {
    /// A path of the host in the merged view. No component of it is a link: the walk went through directories.
    fn merged(&self, live: &Path) -> PathBuf {
        self.merged.join(live.strip_prefix("/").unwrap_or(live))
    }
}

/// Reads both sides of a path; none if they look the same.
fn look_closely(
    live: &Path,
    before: Option<&Metadata>,
    merged: &Path,
    after: Option<&Metadata>,
    show: Show,
) -> Result<Option<Change>, ScanError> {
    let device = before.map(MetadataExt::dev).or_else(|| {
        let nearest = live.ancestors().skip(1).find_map(|parent| fs::symlink_metadata(parent).ok());
        nearest.map(|parent| parent.dev())
    });
    let device = device.unwrap_or_default();
    let before = before.map(|metadata| read_entry(live, metadata, device, View::Live)).transpose()?;
    let after = after.map(|metadata| read_entry(merged, metadata, device, View::Merged)).transpose()?;
    let mut same_file = false;
    if let (Some((before, _)), Some((after, _))) = (&before, &after) {
        same_file = before.identity.is_same_file(after.identity);
        // An equal copy is no change, unless it parted the file from its other names.
        let names_count = before.names > 1 || after.names > 1;
        if before.looks_like(after) && (same_file || !names_count || before.is_directory()) {
            return Ok(None);
        }
    }
    let content = || match (text(&before), text(&after)) {
        (Some(old), Some(new)) => Content::between(old, new, show.format),
        _ => Content::Long,
    };
    let secret = secrets::is_known(live)
        || [&before, &after].into_iter().flatten().any(|(entry, _)| entry.is_secret());
    let (content, withheld) = match secret {
        _ if digest(&before) == digest(&after) => (Content::Same, None),
        true => (Content::Secret, (show.secrets == Secrets::Shown).then(content)),
        false => (content(), None),
    };
    Ok(Some(Change {
        path: HostPath(live.to_owned()),
        before: before.map(|(entry, _)| entry),
        after: after.map(|(entry, _)| entry),
        content,
        withheld,
        noise: false,
        implied: false,
        same_file,
    }))
}

/// An entry, and its content if it is short enough to be shown.
type Side = Option<(Entry, Option<Vec<u8>>)>;

fn digest(side: &Side) -> Option<&str> {
    side.as_ref().and_then(|(entry, _)| entry.md5.as_deref())
}

fn text(side: &Side) -> Option<&[u8]> {
    match side {
        None => Some(b""),
        Some((entry, _)) if !entry.is_file() => Some(b""),
        Some((_, content)) => content.as_deref(),
    }
}

/// Reads what lies at a path, and its content if it is short enough to be shown.
pub(crate) fn read_entry(
    path: &Path,
    metadata: &Metadata,
    device: u64,
    view: View,
) -> Result<(Entry, Option<Vec<u8>>), ScanError> {
    let kind = metadata.file_type();
    let (mut md5, mut content, mut flags) = (None, None, 0);
    if kind.is_file() {
        let file = open(path).map_err(unreadable(path))?;
        let (digest, text) = content::read(&file, metadata.len()).map_err(unreadable(path))?;
        (md5, content, flags) = (Some(digest), text, protection_of(&file));
    } else if kind.is_dir() {
        flags = protection(path, metadata);
    }
    let target = match kind.is_symlink() {
        true => Some(escape(fs::read_link(path).map_err(unreadable(path))?.as_os_str())),
        false => None,
    };
    let entry = Entry {
        kind: words_for(metadata).to_owned(),
        mode: metadata.mode(),
        owner: owner_name(metadata.uid()),
        group: group_name(metadata.gid()),
        ids: (metadata.uid(), metadata.gid()),
        size: metadata.len(),
        device,
        is_device: metadata.rdev(),
        md5,
        target,
        attributes: attributes(path, view).map_err(unreadable(path))?,
        names: if kind.is_dir() { 1 } else { metadata.nlink() },
        linked: Vec::new(),
        flags,
        identity: Identity::of(metadata),
    };
    Ok((entry, content))
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Through what a path is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// The host's own file system.
    Live,
    /// The merged view of an overlay.
    Merged,
}

/// What a directory, or a file that stays, is to look like.
#[derive(Debug)]
pub struct Look {
    /// Type and permission bits.
    pub mode: u32,
    /// Owner and group.
    pub ids: (u32, u32),
    /// Extended attributes.
    pub attributes: Attributes,
    /// Flags as in [`Entry::flags`].
    pub flags: u32,
}

/// Compares what lies at a path of the host with how it is to look; where there is nothing, or something else than a
/// directory that is to be one, with a directory of that look.
pub fn compare_look(live: &Path, look: &Look) -> Result<Option<Change>, ScanError> {
    let before = match fs::symlink_metadata(live) {
        Ok(found) => Some(read_entry(live, &found, found.dev(), View::Live)?.0),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => None,
        Err(error) => return Err(unreadable(live)(error)),
    };
    let stays = before.clone().filter(|before| before.mode & libc::S_IFMT == look.mode & libc::S_IFMT);
    let after = Entry {
        mode: look.mode,
        owner: owner_name(look.ids.0),
        group: group_name(look.ids.1),
        ids: look.ids,
        attributes: look.attributes.clone(),
        flags: look.flags,
        ..stays.unwrap_or_else(|| Entry::empty_directory(before.as_ref().map_or(0, |before| before.device)))
    };
    if before.as_ref().is_some_and(|before| before.looks_like(&after)) {
        return Ok(None);
    }
    let path = HostPath(live.to_owned());
    let (content, withheld) = (Content::Same, None);
    Ok(Some(Change {
        path,
        before,
        after: Some(after),
        content,
        withheld,
        noise: false,
        implied: false,
        same_file: true,
    }))
}

/// Extended attributes of a path itself.
///
/// Those by which an overlay keeps its books, on a host's file system that is itself an upper layer, are not the file's.
/// The merged view shows none of them: what has such a name there was set inside.
pub fn attributes(path: &Path, view: View) -> io::Result<Attributes> {
    let mut found = BTreeMap::new();
    let names = match xattr::list(path) {
        Ok(names) => names,
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => return Ok(found),
        Err(error) => return Err(error),
    };
    for name in names {
        if view == View::Live && name.as_bytes().starts_with(b"trusted.overlay.") {
            continue;
        }
        if let Some(value) = xattr::get(path, &name)? {
            found.insert(escape(&name), hex(&value));
        }
    }
    Ok(found)
}

/// The flags of a file or directory that keep it from being changed. Where they cannot be asked for, there are none.
pub fn protection(path: &Path, metadata: &Metadata) -> u32 {
    if !metadata.is_file() && !metadata.is_dir() {
        return 0;
    }
    open(path).map_or(0, |file| protection_of(&file))
}

fn protection_of(file: &File) -> u32 {
    let flags = rustix::fs::ioctl_getflags(file);
    flags.map_or(0, |flags| flags.bits() & (IMMUTABLE | APPEND_ONLY))
}

/// Opens what lies at a path to be read. Never follows a link, never waits.
fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
}

/// Compares what lies at a path of the host with what would take its place from `instead`; none if they look the same.
pub fn compare(live: &Path, instead: &Path) -> Result<Option<Change>, ScanError> {
    let look = |path: &Path| match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(unreadable(path)(error)),
    };
    look_closely(live, look(live)?.as_ref(), instead, look(instead)?.as_ref(), Show::default())
}

fn words_for(metadata: &Metadata) -> &'static str {
    let kind = metadata.file_type();
    if kind.is_file() {
        if metadata.len() == 0 { "regular empty file" } else { "regular file" }
    } else if kind.is_dir() {
        "directory"
    } else if kind.is_symlink() {
        "symbolic link"
    } else if kind.is_fifo() {
        "fifo"
    } else if kind.is_socket() {
        "socket"
    } else if kind.is_block_device() {
        "block special file"
    } else {
        "character special file"
    }
}

/// Names of users and groups by their numbers, as far as somebody asked: each costs reading a file.
static NAMES: Mutex<[BTreeMap<u32, String>; 2]> = Mutex::new([BTreeMap::new(), BTreeMap::new()]);

fn owner_name(uid: u32) -> String {
    name(0, uid, || User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name))
}

fn group_name(gid: u32) -> String {
    name(1, gid, || Group::from_gid(Gid::from_raw(gid)).ok().flatten().map(|group| group.name))
}

fn name(which: usize, number: u32, look_up: impl FnOnce() -> Option<String>) -> String {
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    names[which].entry(number).or_insert_with(|| look_up().unwrap_or_else(|| number.to_string())).clone()
}

/// A whiteout is a character device with number 0:0.
fn is_whiteout(metadata: &Metadata) -> bool {
    metadata.file_type().is_char_device() && metadata.rdev() == 0
}

/// Whether a directory of an upper layer hides the live one of the same name: opaque, or moved here from elsewhere.
fn is_replaced(upper: &Path) -> Result<bool, ScanError> {
    let opaque = xattr::get(upper, "trusted.overlay.opaque").map_err(unreadable(upper))?;
    let redirect = xattr::get(upper, "trusted.overlay.redirect").map_err(unreadable(upper))?;
    Ok(opaque.is_some_and(|value| value == b"y") || redirect.is_some())
}

/// The names in a directory, sorted.
pub(crate) fn names_in(directory: &Path) -> Result<Vec<OsString>, ScanError> {
    let entries = fs::read_dir(directory).map_err(unreadable(directory))?;
    let mut names = entries
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(unreadable(directory))?;
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_survives_being_written_down() {
        for name in [&b"/etc/x"[..], b"/a\nb\x1b", b"/a\\x41", b"/\xff\xfe", "/ä".as_bytes()] {
            let path = HostPath(PathBuf::from(OsString::from_vec(name.to_vec())));
            let text = serde_json::to_string(&path).unwrap();
            assert_eq!(serde_json::from_str::<HostPath>(&text).unwrap(), path, "{text}");
        }
        assert_eq!(HostPath("/a\nb".into()).to_string(), "/a\\x0ab");
    }
}
