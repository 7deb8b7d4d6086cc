//! Makes the new objects in the stores, complete with their attributes, before anything of the host is touched.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::stat::{Mode, SFlag, mknodat};
use nix::unistd::{Whence, linkat, lseek};
use rustix::fs::{FallocateFlags, IFlags};
use xattr::FileExt;

use super::journal::{Plan, Side, State, Work};
use super::likeness::Likeness;
use super::plan::{Anchor, Origin, Planned};
use super::reach::{Reach, step};
use super::style::{Style, change_flags};
use super::{MergeError, Source};
use crate::disco::changes::{PROTECTION, View};

/// Makes the stores of a plan. Directories above them stay, once they are there.
pub(super) fn make_stores(plan: &Plan) -> Result<(), MergeError> {
    for store in &plan.stores {
        let path = &store.directory.0;
        let first = plan.items.iter().find(|item| plan.stores[item.store].mount == store.mount);
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        // People know the path that they changed, not where we keep things.
        step("keep the old state of", first.map_or(path, |item| &item.path.0), made)?;
    }
    Ok(())
}

/// Makes all objects, and notes in the plan how they are known again. Returns the files of the host, by number, that got
/// another name.
pub(super) fn stage(planned: &mut Planned, source: &Source<'_>) -> Result<BTreeSet<u64>, MergeError> {
    let Planned { plan, origins, .. } = planned;
    let mut reach = Reach::default();
    let mut named = BTreeSet::new();
    for (&number, origin) in &*origins {
        let path = &plan.items[number].path.0;
        let from = source.from.join(path.strip_prefix("/").unwrap_or(path));
        let slot = plan.slot(number, Side::New);
        match origin {
            Origin::Copy { same_file } => {
                let flags = plan.items[number].work.flags(Side::New);
                let merged = Copied::Merged { flags, same_file: *same_file };
                copy(path, &from, merged, &slot, &mut reach)?;
            }
            Origin::Name(anchor) => {
                let anchor = match anchor {
                    Anchor::Live(path) => path.clone(),
                    Anchor::Staged(first) => plan.slot(*first, Side::New),
                };
                step("link", path, link(&anchor, &slot))?;
            }
            Origin::BothContents => {
                copy(path, path, Copied::Live, &plan.slot(number, Side::Old), &mut reach)?;
                let merged = Copied::Merged { flags: 0, same_file: true };
                copy(path, &from, merged, &slot, &mut reach)?;
            }
        }
        let found = step("look at the new", path, fs::symlink_metadata(&slot))?;
        // A file of the host may be changed by another name of it.
        match (origin, &mut plan.items[number].work) {
            (Origin::Name(Anchor::Live(_)), _) => {
                named.insert(found.ino());
            }
            (_, Work::Place { new: State::Object { likeness, .. }, .. }) => {
                *likeness = Some(Likeness::of(&found));
            }
            _ => {}
        }
    }
    Ok(named)
}

/// Gives a file another name; a link gets one itself.
pub(super) fn link(from: &Path, to: &Path) -> nix::Result<()> {
    linkat(AT_FDCWD, from, AT_FDCWD, to, AtFlags::empty())
}

/// What is copied.
#[derive(Clone, Copy)]
pub(super) enum Copied {
    /// An entry of the host.
    Live,
    /// An entry of the merged view. It gets those of its flags that mean something to what is written to it; those that
    /// protect it would bar its way to its place. With `same_file`, it is what became of the file of the host and keeps its
    /// space: what is copied to an upper layer loses what it only had reserved.
    Merged { flags: u32, same_file: bool },
}

/// Makes a complete copy of the entry that lies at `from` and belongs at `path`.
pub(super) fn copy(
    path: &Path,
    from: &Path,
    copied: Copied,
    to: &PathBuf,
    reach: &mut Reach,
) -> Result<(), MergeError> {
    let (view, flags, same_file) = match copied {
        Copied::Live => (View::Live, 0, false),
        Copied::Merged { flags, same_file } => (View::Merged, flags, same_file),
    };
    let found = step("look at the new", path, fs::symlink_metadata(from))?;
    match found.mode() & libc::S_IFMT {
        libc::S_IFREG => {
            let (reader, writer) =
                (open(from), File::options().write(true).create_new(true).mode(0o600).open(to));
            let (reader, writer) = (step("read the new", path, reader)?, step("write", path, writer)?);
            let flags = flags & !PROTECTION.bits();
            if flags != 0 {
                step("set the flags of", path, change_flags(&writer, IFlags::all(), flags))?;
            }
            if view == View::Merged {
                step("set the properties of", path, compress_like(path, &writer))?;
            }
            step("write", path, copy_content(&reader, &writer))?;
            // Before it gets its looks: this changes its time, and takes its capabilities.
            if same_file
                && !has_all_its_space(&writer)
                && let Some(live) = host_file(path, reach)
            {
                step("reserve the space of", path, reserve_as(&live, &writer))?;
            }
        }
        libc::S_IFLNK => {
            let target = step("read the new", path, fs::read_link(from))?;
            step("make", path, std::os::unix::fs::symlink(target, to))?;
        }
        kind => {
            let kind = SFlag::from_bits_truncate(kind);
            step("make", path, mknodat(AT_FDCWD, to, kind, Mode::S_IRUSR, found.rdev()))?;
        }
    }
    let style = step("look at the new", path, Style::of(from, view))?;
    step("set mode and owner of", path, style.put_on(&reach.place(to)?, None)).map(drop)
}

/// Has btrfs compress a new file as it does the one that is at its path, or whatever is new in that directory. A layer of
/// another type holds no such property, and the flag of the same meaning does not tell which algorithm.
fn compress_like(path: &Path, new: &File) -> io::Result<()> {
    const PROPERTY: &str = "btrfs.compression";
    let property = |path: &Path| xattr::get(path, PROPERTY).ok().flatten();
    let found = fs::symlink_metadata(path).is_ok_and(|found| found.is_file());
    let from = if found { Some(path) } else { path.ancestors().skip(1).find(|above| above.is_dir()) };
    match from.and_then(property) {
        Some(wanted) if new.get_xattr(PROPERTY)?.as_ref() != Some(&wanted) => {
            new.set_xattr(PROPERTY, &wanted)
        }
        _ => Ok(()),
    }
}

/// Opens a regular file to read it; never waits, never follows a link.
pub(super) fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
}

/// The regular file at a path of the host, if there is one.
fn host_file(path: &Path, reach: &mut Reach) -> Option<File> {
    let file = open(&reach.place(path).ok()?.path()).ok()?;
    file.metadata().is_ok_and(|found| found.is_file()).then_some(file)
}

/// Whether a file has space for all of its length, written or only reserved, as fallocate(2) does it. What is only reserved
/// cannot be told from holes by looking for data: some file systems find data there once somebody read it.
fn has_all_its_space(file: &File) -> bool {
    file.metadata().is_ok_and(|found| found.blocks().saturating_mul(512) >= found.len())
}

/// Gives a file the space of another one, if that has all for its length.
fn reserve_as(from: &File, to: &File) -> io::Result<()> {
    let length = from.metadata()?.len().min(to.metadata()?.len());
    if length == 0 || has_all_its_space(to) || !has_all_its_space(from) {
        return Ok(());
    }
    match rustix::fs::fallocate(to, FallocateFlags::KEEP_SIZE, 0, length) {
        // A file system that cannot promise space.
        Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
        other => Ok(other?),
    }
}

/// Copies what a file holds; where it holds nothing, nothing is written. Space that it only has reserved is reserved.
pub(super) fn copy_content(mut from: &File, mut to: &File) -> io::Result<()> {
    let length = from.metadata()?.len();
    let mut at: i64 = 0;
    loop {
        at = match lseek(from, at, Whence::SeekData) {
            Ok(data) => data,
            // No data from here to the end.
            Err(Errno::ENXIO) => break,
            Err(errno) => return Err(errno.into()),
        };
        let hole = lseek(from, at, Whence::SeekHole)?;
        lseek(from, at, Whence::SeekSet)?;
        lseek(to, at, Whence::SeekSet)?;
        let count = u64::try_from(hole - at).unwrap_or_default();
        io::copy(&mut io::Read::take(&mut from, count), &mut to)?;
        at = hole;
    }
    to.set_len(length)?;
    reserve_as(from, to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_space_for_all_of_its_length_is_copied_with_it_and_a_hollow_file_without() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = directory.path().join(name);
            File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap()
        };
        let (reserved, hollow) = (file("reserved"), file("hollow"));
        rustix::fs::fallocate(&reserved, FallocateFlags::empty(), 0, 1 << 20).unwrap();
        hollow.set_len(1 << 20).unwrap();
        for (from, name) in [(&reserved, "one"), (&hollow, "two")] {
            let to = file(name);
            copy_content(from, &to).unwrap();
            assert_eq!(has_all_its_space(&to), name == "one");
        }
    }
}
