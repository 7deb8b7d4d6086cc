//! How an inode looks from outside: owner, mode, attributes, time of modification, flags. Read, written down, put on.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FchmodatFlags, Mode, UtimensatFlags, fchmodat, fstatat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchownat};
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
use serde::{Deserialize, Serialize};

use super::reach::Place;
use crate::disco::changes::{Attributes, Look, View, attributes, protection, unescape};

/// What can be said of a directory, or of a file whose inode stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Style {
    mode: u32,
    ids: (u32, u32),
    modified: (i64, i64),
    attributes: Attributes,
    pub(super) flags: u32,
}

impl Style {
    /// Reads how a path looks.
    pub(super) fn of(path: &Path, view: View) -> io::Result<Self> {
        let found = fs::symlink_metadata(path)?;
        Ok(Style {
            mode: found.mode(),
            ids: (found.uid(), found.gid()),
            modified: (found.mtime(), found.mtime_nsec()),
            attributes: attributes(path, view)?,
            flags: protection(path, &found),
        })
    }

    /// What is reported of it.
    pub(super) fn look(&self) -> Look {
        let Style { mode, ids, attributes, flags, .. } = self;
        Look { mode: *mode, ids: *ids, attributes: attributes.clone(), flags: *flags }
    }

    /// The same with another time of modification.
    pub(super) fn with_time_of(&self, found: &Metadata) -> Self {
        Style { modified: (found.mtime(), found.mtime_nsec()), ..self.clone() }
    }

    /// Whether two look the same, but for their times.
    pub(super) fn looks_like(&self, other: &Style) -> bool {
        (self.mode, self.ids, &self.attributes, self.flags)
            == (other.mode, other.ids, &other.attributes, other.flags)
    }

    /// Puts it on what lies at a place, flags excepted. What is as it should be is not touched: undoing a step that
    /// failed must not fail for the same reason.
    pub(super) fn put_on(&self, place: &Place<'_>) -> io::Result<()> {
        let nofollow = AtFlags::AT_SYMLINK_NOFOLLOW;
        let now = fstatat(&place.parent, place.name, nofollow)?;
        // In this order: a change of owner clears set-id bits and capabilities.
        let other_owner = (now.st_uid, now.st_gid) != self.ids;
        if other_owner {
            let (uid, gid) = self.ids;
            fchownat(
                &place.parent,
                place.name,
                Some(Uid::from_raw(uid)),
                Some(Gid::from_raw(gid)),
                nofollow,
            )?;
        }
        let is_link = self.mode & libc::S_IFMT == libc::S_IFLNK;
        if !is_link && (other_owner || now.st_mode & 0o7777 != self.mode & 0o7777) {
            set_mode(place, self.mode)?;
        }
        let path = place.path();
        let worn = attributes(&path, View::Live)?;
        for (name, value) in self.attributes.iter().filter(|(name, value)| worn.get(*name) != Some(value)) {
            xattr::set(&path, unescape(name), &from_hex(value))?;
        }
        for name in worn.keys().filter(|name| !self.attributes.contains_key(*name)) {
            xattr::remove(&path, unescape(name))?;
        }
        let now = fstatat(&place.parent, place.name, nofollow)?;
        if (now.st_mtime, now.st_mtime_nsec) != self.modified {
            let modified = TimeSpec::new(self.modified.0, self.modified.1);
            let how = UtimensatFlags::NoFollowSymlink;
            utimensat(&place.parent, place.name, &TimeSpec::UTIME_OMIT, &modified, how)?;
        }
        Ok(())
    }
}

fn set_mode(place: &Place<'_>, mode: u32) -> nix::Result<()> {
    let mode = Mode::from_bits_truncate(mode & 0o7777);
    match fchmodat(&place.parent, place.name, mode, FchmodatFlags::NoFollowSymlink) {
        // Kernels before 6.6 and their C libraries cannot refuse to follow; this is no link, so nothing follows.
        Err(Errno::EOPNOTSUPP) => fchmodat(&place.parent, place.name, mode, FchmodatFlags::FollowSymlink),
        other => other,
    }
}

/// Makes a file or directory immutable or append-only, or takes that from it. Nothing but files and directories has
/// such flags, and where a file system knows none, none are asked for.
pub(super) fn set_protection(place: &Place<'_>, wanted: u32) -> io::Result<()> {
    let found = fstatat(&place.parent, place.name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    if !matches!(found.st_mode & libc::S_IFMT, libc::S_IFREG | libc::S_IFDIR) {
        return Ok(());
    }
    let how = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = File::from(openat(&place.parent, place.name, how, Mode::empty())?);
    let all = IFlags::IMMUTABLE | IFlags::APPEND;
    match ioctl_getflags(&file) {
        Ok(now) if (now & all).bits() != wanted => {
            Ok(ioctl_setflags(&file, (now - all) | IFlags::from_bits_truncate(wanted))?)
        }
        Err(error) if wanted != 0 => Err(error.into()),
        _ => Ok(()),
    }
}

fn from_hex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .filter_map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}
