//! What lies at a path, as far as a change is concerned: read once, compared and kept.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::unistd::{Gid, Group, Uid, User};
use rustix::fs::IFlags;
use serde::{Deserialize, Serialize};
use xattr::{FileExt, XAttrs};

use crate::disco::changes::content;
use crate::disco::changes::{HostPath, escape};
use crate::disco::sandbox::probe::Rights;

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
    /// Those of its other names that the run touched as well; up to 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub linked: Vec<HostPath>,
    /// What this very file was called before, where it has other names that the run did not touch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<HostPath>,
    /// Those of [`FLAGS`] that it has, as chattr(1) sets them.
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

/// The flags in [`Entry::flags`] of what cannot be changed at all, and of what can only grow.
pub const PROTECTION: IFlags = IFlags::IMMUTABLE.union(IFlags::APPEND);

/// The flags of files and directories that a person can set, and what they mean.
pub const FLAGS: &[(IFlags, &str)] = &[
    (IFlags::IMMUTABLE, "immutable"),
    (IFlags::APPEND, "append-only"),
    (IFlags::NOATIME, "no-atime"),
    (IFlags::NODUMP, "no-dump"),
    (IFlags::SYNC, "sync"),
    (IFlags::DIRSYNC, "dirsync"),
    (IFlags::NOCOW, "no-cow"),
    (IFlags::COMPRESSED, "compressed"),
    (IFlags::JOURNALING, "journaled"),
    (IFlags::NOTAIL, "no-tail"),
    (IFlags::TOPDIR, "top-directory"),
    (IFlags::SECURE_REMOVAL, "secure-removal"),
    (IFlags::UNRM, "undeletable"),
    (IFlags::PROJECT_INHERIT, "project-inherit"),
];

/// All of [`FLAGS`].
pub(crate) fn known_flags() -> u32 {
    FLAGS.iter().map(|(flag, _)| flag.bits()).fold(0, |all, flag| all | flag)
}

/// Flags that what is new in a directory has from it; a file none of those that are for directories.
pub(super) fn inherited_flags(directory: &Path, metadata: &Metadata) -> (u32, u32) {
    let own = IFlags::from_bits_truncate(flags_at(directory, metadata));
    let of_directory = own - PROTECTION - IFlags::TOPDIR;
    ((of_directory - IFlags::DIRSYNC - IFlags::PROJECT_INHERIT).bits(), of_directory.bits())
}

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
}

/// Whether an inode of the host may have this number in an overlay. A new file of the upper layer may have it by chance.
pub(super) fn is_number_of(inode: u64, merged: u64, is_apart: bool) -> bool {
    numbers_behind(merged, is_apart).contains(&number_of(inode))
}

/// What an overlay keeps of the number of an inode at the very least: it adds which layer it is from in the uppermost bits.
pub(super) fn number_of(inode: u64) -> u64 {
    inode & (u64::MAX >> 8)
}

/// The numbers of which one is that of the inode of the host which has this number in an overlay. With `is_apart`, the upper
/// layer lies on another file system: where both number inodes with 32 bits, the layer is told by the bits right above
/// those, and by the uppermost ones otherwise (`xino_mode` of fs/overlayfs/super.c).
pub(super) fn numbers_behind(merged: u64, is_apart: bool) -> [u64; 2] {
    let number = number_of(merged);
    match is_apart && number == merged {
        true => [number, number & u64::from(u32::MAX)],
        false => [number, number],
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
    pub(super) fn empty_directory(device: u64) -> Entry {
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
            was: None,
            flags: 0,
            identity: Identity::default(),
        }
    }

    /// Whether users other than its owner and group may not read it.
    pub(super) fn is_secret(&self) -> bool {
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

pub(super) fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> ScanError {
    let path = path.to_owned();
    move |source| ScanError { path, source }
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
    let mut opened = None;
    if kind.is_file() {
        match open(path) {
            Ok(file) => {
                let (digest, text) = content::read(&file, metadata.len()).map_err(unreadable(path))?;
                (md5, content, flags) = (Some(digest), text, flags_of(&file));
                opened = Some(file);
            }
            // What is in it is not for the user who runs this noop.
            Err(error)
                if error.kind() == io::ErrorKind::PermissionDenied && Rights::own() == Rights::User => {}
            Err(error) => return Err(unreadable(path)(error)),
        }
    } else if kind.is_dir() {
        flags = flags_at(path, metadata);
    }
    let attributes = match &opened {
        // The way to it need not be gone again.
        Some(file) => kept(file.list_xattr(), |name| file.get_xattr(name), view),
        None => attributes(path, view),
    };
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
        attributes: attributes.map_err(unreadable(path))?,
        names: if kind.is_dir() { 1 } else { metadata.nlink() },
        linked: Vec::new(),
        was: None,
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

/// Extended attributes of a path itself.
///
/// Those by which an overlay keeps its books, on a host's file system that is itself an upper layer, are not the file's.
/// The merged view shows none of them: what has such a name there was set inside.
pub fn attributes(path: &Path, view: View) -> io::Result<Attributes> {
    kept(xattr::list(path), |name| xattr::get(path, name), view)
}

/// Those of the names that are the file's own, with their values.
fn kept(
    names: io::Result<XAttrs>,
    value: impl Fn(&OsStr) -> io::Result<Option<Vec<u8>>>,
    view: View,
) -> io::Result<Attributes> {
    let mut found = BTreeMap::new();
    let names = match names {
        Ok(names) => names,
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => return Ok(found),
        Err(error) => return Err(error),
    };
    for name in names {
        if view == View::Live && is_of_an_overlay(&name) || is_of_a_file_system(&name) {
            continue;
        }
        if let Some(value) = value(&name)? {
            found.insert(escape(&name), hex(&value));
        }
    }
    Ok(found)
}

/// Whether an overlay keeps its books in an attribute. Those of users' overlays mean nothing to root's.
pub(crate) fn is_of_an_overlay(name: &OsStr) -> bool {
    let is_in = |books: &str| name.as_bytes().starts_with(books.as_bytes());
    is_in("trusted.overlay.") || Rights::own() == Rights::User && is_in("user.overlay.")
}

/// Whether an attribute is what one type of file system makes of something else, which no layer of another type can hold:
/// XFS lists its lists of access once more (fs/xfs/libxfs/xfs_da_format.h), btrfs how it compresses (btrfs(5)).
pub(crate) fn is_of_a_file_system(name: &OsStr) -> bool {
    ["trusted.SGI_ACL_", "btrfs."].iter().any(|start| name.as_bytes().starts_with(start.as_bytes()))
}

/// Those of [`FLAGS`] that a file or directory has. Where they cannot be asked for, there are none.
pub fn flags_at(path: &Path, metadata: &Metadata) -> u32 {
    if !metadata.is_file() && !metadata.is_dir() {
        return 0;
    }
    open(path).map_or(0, |file| flags_of(&file))
}

fn flags_of(file: &File) -> u32 {
    rustix::fs::ioctl_getflags(file).map_or(0, |flags| flags.bits() & known_flags())
}

/// Opens what lies at a path to be read. Never follows a link, never waits.
fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
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

pub(super) fn owner_name(uid: u32) -> String {
    name(0, uid, || User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name))
}

pub(super) fn group_name(gid: u32) -> String {
    name(1, gid, || Group::from_gid(Gid::from_raw(gid)).ok().flatten().map(|group| group.name))
}

fn name(which: usize, number: u32, look_up: impl FnOnce() -> Option<String>) -> String {
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    names[which].entry(number).or_insert_with(|| look_up().unwrap_or_else(|| number.to_string())).clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_the_host_is_known_by_its_number_in_whatever_overlay() {
        let large = 0x21_0000_000d;
        for (inode, merged, is_apart) in [
            (13, 13, false),
            (13, 13 | 1 << 63, true),
            (large, large, false),
            (large, large | 1 << 63, true),
            (13, 13 | 1 << 33, true),
            (13, 13 | 2 << 33, true),
        ] {
            assert!(is_number_of(inode, merged, is_apart), "{inode:x} {merged:x}");
            assert!(!is_number_of(inode + 1, merged, is_apart), "{inode:x} {merged:x}");
        }
        // Over one file system, and where the uppermost bits tell the layer, nothing else is part of the number.
        assert!(!is_number_of(13, large, false));
        assert!(!is_number_of(13, large | 1 << 63, true));
    }
}
