//! How an inode looks from outside: owner, mode, attributes, time of modification, flags. Read, written down, put on.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, UtimensatFlags, fstat, fstatat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchownat};
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
use serde::{Deserialize, Serialize};

use super::reach::Place;
use crate::disco::changes::{Attributes, Entry, Look, View, attributes, flags_at, known_flags, unescape};

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
            flags: flags_at(path, &found),
        })
    }

    /// What is reported of it.
    pub(super) fn look(&self) -> Look {
        let Style { mode, ids, attributes, flags, .. } = self;
        Look { mode: *mode, ids: *ids, attributes: attributes.clone(), flags: *flags }
    }

    /// Whether it is what was read of a path.
    pub(super) fn is_look_of(&self, entry: &Entry) -> bool {
        (self.mode, self.ids, &self.attributes, self.flags)
            == (entry.mode, entry.ids, &entry.attributes, entry.flags)
    }

    pub(super) fn is_directory(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFDIR
    }

    /// The same with another time of modification.
    pub(super) fn with_time_of(&self, found: &Metadata) -> Self {
        Style { modified: (found.mtime(), found.mtime_nsec()), ..self.clone() }
    }

    /// The same with other flags.
    pub(super) fn with_flags(self, flags: u32) -> Self {
        Style { flags, ..self }
    }

    /// Whether two look the same, but for their times.
    pub(super) fn looks_like(&self, other: &Style) -> bool {
        (self.mode, self.ids, &self.attributes, self.flags)
            == (other.mode, other.ids, &other.attributes, other.flags)
    }

    /// Whether something of which only this is known looks the same, and was not written to since.
    pub(super) fn is_of(&self, path: &Path) -> io::Result<bool> {
        let now = Style::of(path, View::Live)?;
        Ok(self.looks_like(&now) && (self.is_directory() || self.modified == now.modified))
    }

    /// Puts it on what lies at a place, flags excepted. What is as it should be is not touched: undoing a step that
    /// failed must not fail for the same reason.
    ///
    /// Where it is known how it looked before, in one of several ways, everything else that is found is somebody else's
    /// doing, and stays. Returns whether nothing was found that had to stay.
    pub(super) fn put_on(&self, place: &Place<'_>, known: Option<&[Style]>) -> io::Result<bool> {
        let nofollow = AtFlags::AT_SYMLINK_NOFOLLOW;
        let may_change = |is: &dyn Fn(&Style) -> bool| known.is_none_or(|known| known.iter().any(is));
        let found = fstatat(&place.parent, place.name, nofollow)?;
        if known.is_some() && found.st_mode & libc::S_IFMT != self.mode & libc::S_IFMT {
            return Ok(false);
        }
        let mut is_whole = true;
        // In this order: a change of owner clears set-id bits and capabilities, a list of access sets bits of the mode.
        let ids = (found.st_uid, found.st_gid);
        if ids != self.ids {
            if may_change(&|style| style.ids == ids) {
                let (uid, gid) = (Uid::from_raw(self.ids.0), Gid::from_raw(self.ids.1));
                fchownat(&place.parent, place.name, Some(uid), Some(gid), nofollow)?;
            } else {
                is_whole = false;
            }
        }
        let path = place.path();
        let worn = attributes(&path, View::Live)?;
        let names: BTreeSet<&String> = self.attributes.keys().chain(worn.keys()).collect();
        for name in names {
            let (wanted, is) = (self.attributes.get(name), worn.get(name));
            match wanted {
                _ if wanted == is => {}
                _ if !may_change(&|style| style.attributes.get(name) == is) => is_whole = false,
                Some(value) => xattr::set(&path, unescape(name), &from_hex(value))?,
                None => xattr::remove(&path, unescape(name))?,
            }
        }
        let is_link = self.mode & libc::S_IFMT == libc::S_IFLNK;
        // Set-id bits may have gone with the owner of before.
        let permissions = |mode: u32| mode & 0o777;
        let is_known = |style: &Style| permissions(style.mode) == permissions(found.st_mode);
        if !is_link && (permissions(found.st_mode) == permissions(self.mode) || may_change(&is_known)) {
            set_mode(place, self.mode)?;
        } else {
            is_whole &= is_link;
        }
        let now = fstatat(&place.parent, place.name, nofollow)?;
        if (now.st_mtime, now.st_mtime_nsec) != self.modified {
            let modified = TimeSpec::new(self.modified.0, self.modified.1);
            let how = UtimensatFlags::NoFollowSymlink;
            utimensat(&place.parent, place.name, &TimeSpec::UTIME_OMIT, &modified, how)?;
        }
        Ok(is_whole)
    }
}

/// Sets the mode of what lies at a place, if that is another one; never through a link. Few kernels can be told not to
/// follow one, so what is there is held first.
fn set_mode(place: &Place<'_>, mode: u32) -> io::Result<()> {
    let how = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let held = openat(&place.parent, place.name, how, Mode::empty())?;
    let found = fstat(&held)?;
    if found.st_mode & libc::S_IFMT != mode & libc::S_IFMT {
        return Err(io::Error::other("something of another type took its place"));
    }
    if found.st_mode & 0o7777 == mode & 0o7777 {
        return Ok(());
    }
    fs::set_permissions(
        format!("/proc/self/fd/{}", held.as_raw_fd()),
        fs::Permissions::from_mode(mode & 0o7777),
    )
}

/// Gives a file or directory those of some flags that it is to have, and takes the others of them from it. Nothing but
/// files and directories has flags, and where a file system knows none, none are asked for.
pub(super) fn set_flags(place: &Place<'_>, some: IFlags, wanted: u32) -> io::Result<()> {
    let found = fstatat(&place.parent, place.name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    if !matches!(found.st_mode & libc::S_IFMT, libc::S_IFREG | libc::S_IFDIR) {
        return Ok(());
    }
    let how = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    change_flags(&File::from(openat(&place.parent, place.name, how, Mode::empty())?), some, wanted)
}

/// The same with an open one.
pub(super) fn change_flags(file: &File, some: IFlags, wanted: u32) -> io::Result<()> {
    // The file system has flags of its own, which nobody sets.
    let some = some & IFlags::from_bits_truncate(known_flags());
    match ioctl_getflags(file) {
        Ok(now) if (now & some).bits() != wanted => {
            Ok(ioctl_setflags(file, (now - some) | IFlags::from_bits_truncate(wanted))?)
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::reach::Reach;
    use super::*;

    #[test]
    fn a_link_in_the_place_of_a_file_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let [file, link, other] = ["file", "link", "other"].map(|name| directory.path().join(name));
        fs::write(&other, "x").unwrap();
        fs::write(&file, "x").unwrap();
        symlink(&file, &link).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let mut reach = Reach::default();
        assert!(set_mode(&reach.place(&link).unwrap(), libc::S_IFREG | 0o777).is_err());
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o644);
        set_mode(&reach.place(&other).unwrap(), libc::S_IFREG | 0o4711).unwrap();
        assert_eq!(fs::metadata(&other).unwrap().mode() & 0o7777, 0o4711);
    }
}
