//! Makes names that shared a file share it again after they were driven back.
//!
//! What was at a path is kept as a copy where its file has other names on the host: so the file counts its names right,
//! and what is written to it is not written to what is kept. Back in its place, the copy gives way to another name of the
//! file that it was, if one is left that holds the same and looks the same. Nobody keeps a list of a file's names, so the
//! file system is looked through: first around the path, then all of it, which a rollback of such a path may take its
//! time for.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use serde::{Deserialize, Serialize};

use super::MergeError;
use super::drive::is_same_content;
use super::journal::{Plan, Side, State, Work};
use super::reach::{Reach, step};
use super::stage;
use super::style::Style;
use crate::disco::changes::{View, names_of};

/// What tells a file from all others of its file system, also from one that gets its number after it is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Inode {
    pub(super) number: u64,
    born: (i64, u32),
}

impl Inode {
    /// That of a path; a link's own.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let wanted = StatxFlags::INO | StatxFlags::BTIME;
        let found = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT, wanted)?;
        Ok(Inode { number: found.stx_ino, born: (found.stx_btime.tv_sec, found.stx_btime.tv_nsec) })
    }

    fn is_at(self, path: &Path) -> bool {
        Inode::of(path).is_ok_and(|inode| inode == self)
    }
}

/// The items whose old objects shared a file with other names, by store and file.
fn shared(plan: &Plan) -> BTreeMap<(usize, Inode), Vec<usize>> {
    let mut groups: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for number in plan.numbers() {
        let item = &plan.items[number];
        if let Some(State::Object { shared: Some(inode), .. }) = item.work.state(Side::Old) {
            groups.entry((item.store, *inode)).or_default().push(number);
        }
    }
    groups
}

/// Joins what lies in its place as a copy with the file that it was. What cannot be joined stays as it is.
pub(super) fn rejoin(plan: &Plan, reach: &mut Reach) -> Result<(), MergeError> {
    for ((store, inode), numbers) in shared(plan) {
        let path = |number: &usize| plan.items[*number].path.0.as_path();
        let (joined, apart): (Vec<_>, Vec<_>) = numbers.iter().partition(|number| inode.is_at(path(number)));
        let Some(first) = apart.first() else { continue };
        let other = match joined.first() {
            Some(number) => Some(path(number).to_owned()),
            None => find(plan, store, inode, path(first)),
        };
        let Some(other) = other else { continue };
        for number in apart {
            let path = path(&number);
            if is_same(plan, path, &other, inode).unwrap_or(false) {
                let slot = plan.slot(number, Side::Old).with_extension("joined");
                let _ = fs::remove_file(&slot);
                // A file that is immutable now gets no name; then the copy stays.
                if stage::link(&other, &slot).is_ok() {
                    let place = reach.place(path)?;
                    step("put in place", path, fs::rename(&slot, place.path()))?;
                }
            }
        }
    }
    Ok(())
}

/// The paths that are files of their own now and were not before.
pub(super) fn apart(plan: &Plan) -> Vec<PathBuf> {
    let paths = shared(plan).into_iter().flat_map(|((_, inode), numbers)| {
        let path = |number: usize| plan.items[number].path.0.clone();
        numbers.into_iter().map(path).filter(move |path| !inode.is_at(path)).collect::<Vec<_>>()
    });
    paths.collect()
}

/// Whether a copy is what the file is, or will be once the plan is driven back.
fn is_same(plan: &Plan, copy: &Path, other: &Path, inode: Inode) -> io::Result<bool> {
    let (left, right) = (fs::symlink_metadata(copy)?, fs::symlink_metadata(other)?);
    let same_content = match left.mode() & libc::S_IFMT {
        _ if left.mode() & libc::S_IFMT != right.mode() & libc::S_IFMT => false,
        libc::S_IFREG => is_same_content(&stage::open(copy)?, &stage::open(other)?)?,
        libc::S_IFLNK => fs::read_link(copy)? == fs::read_link(other)?,
        _ => left.rdev() == right.rdev(),
    };
    let planned = plan.items.iter().find_map(|item| match &item.work {
        Work::Style { old, .. } if inode.is_at(&item.path.0) => Some(Style::clone(old)),
        _ => None,
    });
    let will = match planned {
        Some(style) => style,
        None => Style::of(other, View::Live)?,
    };
    Ok(same_content && Style::of(copy, View::Live)? == will)
}

/// A name of a file, nearby or anywhere on its file system.
fn find(plan: &Plan, store: usize, inode: Inode, near: &Path) -> Option<PathBuf> {
    let is_store = |path: &Path| plan.stores.iter().any(|store| path == store.directory.0);
    let root = &plan.stores[store].mount.0;
    names_of(inode.number, near, root, &is_store, &|path| inode.is_at(path), 1).pop()
}
