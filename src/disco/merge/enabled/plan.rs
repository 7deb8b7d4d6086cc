//! Turns changes into a plan, and refuses what cannot be merged before anything is touched.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, StatxFlags, statfs, statvfs, statx};

use super::journal::{Item, Plan, State, Store, Work};
use super::likeness::Likeness;
use super::lost;
use super::reach::{Reach, is_gone, open_directory, step};
use super::rejoin::Inode;
use super::style::Style;
use super::{MergeError, Source};
use crate::disco::changes::{Change, Entry, HostPath, Identity, PROTECTION, View};

/// Space that a merge leaves free: directories and journals of file systems need some, too.
const RESERVE: u64 = 64 << 10;

/// What a new object is made of.
#[derive(Debug)]
pub(super) enum Origin {
    /// The entry at the same path of the source; with `same_file`, it is what became of the file of the host.
    Copy { same_file: bool },
    /// Another name of a file of the host, or of the object of an item before.
    Name(Anchor),
    /// Both contents of a file that is written in place.
    BothContents,
}

/// The file that another name is made for.
#[derive(Debug, Clone)]
pub(super) enum Anchor {
    Live(PathBuf),
    Staged(usize),
}

/// A plan, and how its objects are made, by the number of the item.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) plan: Plan,
    pub(super) origins: BTreeMap<usize, Origin>,
}

/// Plans the merge of changes, which are sorted by path.
pub(super) fn plan(changes: &[Change], source: &Source<'_>) -> Result<Planned, MergeError> {
    let mut planner = Planner::of(source);
    planner.check_all(changes)?;
    let mut origins = BTreeMap::new();
    let mut rewritten = BTreeSet::new();
    for change in changes {
        let path = &change.path.0;
        let work = planner.work(change)?;
        planner.add_parent(path)?;
        if let Work::Style { content: true, .. } = work {
            // Several names of one file: its content is written once.
            let live = step("look at", path, fs::symlink_metadata(path))?;
            if rewritten.insert((live.dev(), live.ino())) {
                origins.insert(path.clone(), Origin::BothContents);
                planner.add(path, work)?;
            }
            continue;
        }
        if let Work::Place { new: State::Object { .. }, .. } = work {
            origins.insert(path.clone(), Origin::Copy { same_file: change.same_file });
        }
        planner.add(path, work)?;
    }
    let (run, part, stores) = (source.report.id, source.part, planner.stores);
    let mut plan = Plan { run, part, stores, items: Vec::new(), lost: BTreeSet::new() };
    for (path, (store, work)) in planner.items {
        plan.items.push(Item { path: HostPath(path), store, work });
    }
    let numbers: BTreeMap<PathBuf, usize> =
        plan.items.iter().enumerate().map(|(number, item)| (item.path.0.clone(), number)).collect();
    let mut origins: BTreeMap<usize, Origin> =
        origins.into_iter().map(|(path, origin)| (numbers[&path], origin)).collect();
    link(changes, &numbers, &plan, &mut origins);
    forget_what_changes(&mut plan)?;
    Ok(Planned { plan, origins })
}

/// Why the changes of a noop, which are sorted by path, could not be merged whenever a live run made them. What others
/// change on the host meanwhile bars this run alone.
pub(super) fn objection(changes: &[Change], source: &Source<'_>) -> Option<MergeError> {
    match Planner::of(source).check_all(changes) {
        Ok(()) | Err(MergeError::Moved { .. } | MergeError::Step { .. }) => None,
        Err(error) => Some(error),
    }
}

/// A file that goes from one of its names and is changed in place by another one is not known again by its looks.
fn forget_what_changes(plan: &mut Plan) -> Result<(), MergeError> {
    let mut changed = BTreeSet::new();
    for item in &plan.items {
        if let Work::Style { .. } = item.work {
            let found = step("look at", &item.path.0, fs::symlink_metadata(&item.path.0))?;
            changed.extend((!found.is_dir()).then(|| (item.store, found.ino())));
        }
    }
    for item in &mut plan.items {
        if let Work::Place { old: State::Object { shared: Some(inode), likeness, .. }, .. } = &mut item.work
            && changed.contains(&(item.store, inode.number))
        {
            *likeness = None;
        }
    }
    Ok(())
}

/// Whether the host still is what the plan was made for. It is asked again when everything is staged, which may have
/// taken its time; `named` are the numbers of files that got another name meanwhile, for which their status changed.
pub(super) fn check_again(
    planned: &Planned,
    changes: &[Change],
    named: &BTreeSet<u64>,
    source: &Source<'_>,
) -> Result<(), MergeError> {
    for mount in step("list what is mounted on", Path::new("/"), source.host.remounted())? {
        if changes.iter().any(|change| change.path.0.starts_with(&mount)) {
            return Err(MergeError::Remounted { mount });
        }
    }
    let mut reach = Reach::default();
    for change in changes {
        let path = &change.path.0;
        let now = existing(&mut reach, path)?;
        let same = match (&change.before, &now) {
            (None, None) => true,
            (Some(before), Some(now)) => {
                let now = Identity::of(now);
                now == before.identity
                    || now.inode == before.identity.inode && (stays(change) || named.contains(&now.inode))
            }
            _ => false,
        };
        if !same {
            return Err(MergeError::Moved { path: path.clone() });
        }
    }
    for Item { path, work, .. } in &planned.plan.items {
        let same = match work {
            Work::Style { old, .. } if old.is_directory() => {
                step("look at", &path.0, Style::of(&path.0, View::Live))?.looks_like(old)
            }
            Work::Style { old, .. } => step("look at", &path.0, old.is_of(&path.0))?,
            Work::Place { old: State::Object { likeness: Some(likeness), .. }, .. } => {
                let found = step("look at", &path.0, nix::sys::stat::lstat(&path.0))?;
                likeness.is_of(&found)
            }
            Work::Place { .. } => true,
        };
        if !same {
            return Err(MergeError::Moved { path: path.0.clone() });
        }
    }
    Ok(())
}

/// Finds the new names that share a file with another path: they become links instead of copies.
fn link(
    changes: &[Change],
    numbers: &BTreeMap<PathBuf, usize>,
    plan: &Plan,
    origins: &mut BTreeMap<usize, Origin>,
) {
    let by_path: BTreeMap<&Path, &Change> =
        changes.iter().map(|change| (change.path.0.as_path(), change)).collect();
    for change in changes {
        let (path, Some(after)) = (&change.path.0, &change.after) else { continue };
        let Some(&number) = numbers.get(path) else { continue };
        if after.names < 2 || !matches!(origins.get(&number), Some(Origin::Copy { .. })) {
            continue;
        }
        // A name that keeps its file on the host comes first: untouched, or changed in place.
        let keeps = |other: &&HostPath| {
            let change = by_path.get(other.0.as_path());
            change.is_none_or(|change| change.same_file)
                && numbers
                    .get(&other.0)
                    .is_none_or(|&number| matches!(plan.items[number].work, Work::Style { .. }))
        };
        let staged = |other: &HostPath| {
            let number = *numbers.get(&other.0)?;
            matches!(origins.get(&number), Some(Origin::Copy { .. })).then_some(number)
        };
        let anchor = match after.linked.iter().find(keeps) {
            Some(other) => Some(Anchor::Live(other.0.clone())),
            None => {
                let first = after.linked.iter().filter_map(staged).min();
                first.filter(|&first| first < number).map(Anchor::Staged)
            }
        };
        // Until the merge it goes by that name still, as by those that nobody touched. Only what is shown as a change, and
        // is on the host what was shown, is linked to.
        let anchor = anchor.or_else(|| {
            let was = after.was.as_ref()?;
            let before = by_path.get(was.0.as_path())?.before.as_ref()?;
            before.looks_like(after).then(|| Anchor::Live(was.0.clone()))
        });
        if let Some(anchor) = anchor {
            origins.insert(number, Origin::Name(anchor));
        }
    }
}

struct Planner<'a> {
    source: &'a Source<'a>,
    reach: Reach,
    stores: Vec<Store>,
    /// Index of the store by directory that was looked at.
    roots: BTreeMap<PathBuf, PathBuf>,
    /// Files that are mounted by themselves.
    mounted: BTreeSet<PathBuf>,
    /// The files that are changed, by device and number, each with one of its names.
    files: BTreeMap<(u64, u64), PathBuf>,
    items: BTreeMap<PathBuf, (usize, Work)>,
}

impl<'a> Planner<'a> {
    fn of(source: &'a Source<'a>) -> Self {
        Self {
            source,
            reach: Reach::default(),
            stores: Vec::new(),
            roots: BTreeMap::new(),
            mounted: BTreeSet::new(),
            files: BTreeMap::new(),
            items: BTreeMap::new(),
        }
    }

    fn check_all(&mut self, changes: &[Change]) -> Result<(), MergeError> {
        changes.iter().try_for_each(|change| self.check(change))?;
        self.check_space(changes)
    }

    fn merged(&self, path: &Path) -> PathBuf {
        self.source.from.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The host must still be what the run started from, and must let itself be changed.
    fn check(&mut self, change: &Change) -> Result<(), MergeError> {
        let path = &change.path.0;
        let now = existing(&mut self.reach, path)?;
        let same = match (&change.before, &now) {
            (None, None) => !change.vanished,
            (Some(before), Some(now)) if stays(change) => {
                now.is_dir() && now.ino() == before.identity.inode && self.keeps_its_looks(now)
            }
            (Some(before), Some(now)) => {
                Identity::of(now) == before.identity && before.identity.changed <= self.source.began
            }
            _ => false,
        };
        let is_free = |flags: u32| flags & PROTECTION.bits() == 0;
        if !same {
            let path = path.clone();
            return Err(match &change.before {
                // Where that is what changed, another run changes nothing about it.
                Some(before) if !is_free(before.flags) => MergeError::Immutable { path },
                _ => MergeError::Moved { path },
            });
        }
        let (Some(before), Some(now)) = (&change.before, &now) else { return Ok(()) };
        if !now.is_dir() {
            self.is_of_one_mount(path, (now.dev(), now.ino()))?;
        }
        // What the run made mutable itself may change; otherwise nothing inside could change it either.
        let released = change.after.as_ref().is_some_and(|after| is_free(after.flags) && change.same_file);
        if !is_free(before.flags) && !released {
            return Err(MergeError::Immutable { path: path.clone() });
        }
        if !keeps_inode(change) && is_border(path)? {
            // Nothing can take its place, but what it holds can change.
            if !before.is_file() || !change.after.as_ref().is_some_and(Entry::is_file) {
                return Err(MergeError::MountPoint { path: path.clone() });
            }
            self.mounted.insert(path.clone());
        }
        Ok(())
    }

    /// Whether nobody made a directory look otherwise since the run began. The status of a directory changes with its
    /// entries, too, each of which is checked by itself; then its time of modification is the same.
    fn keeps_its_looks(&self, now: &Metadata) -> bool {
        let changed = (now.ctime(), now.ctime_nsec());
        changed <= self.source.began || changed == (now.mtime(), now.mtime_nsec())
    }

    /// Whether the inode stays and only looks different, or is written in place because it has other names.
    fn is_in_place(&self, change: &Change) -> bool {
        keeps_inode(change) || self.mounted.contains(&change.path.0)
    }

    /// The names of a file must be on one mount. The sandbox does not keep together what it has from two.
    fn is_of_one_mount(&mut self, path: &Path, file: (u64, u64)) -> Result<(), MergeError> {
        let Some(known) = self.files.get(&file).cloned() else {
            self.files.insert(file, path.to_owned());
            return Ok(());
        };
        let mut mount = |path: &Path| match is_mount_point(path)? {
            true => Ok::<_, MergeError>(path.to_owned()),
            false => self.mount_of(path),
        };
        match mount(&known)? == mount(path)? {
            true => Ok(()),
            false => Err(MergeError::TwoMounts { paths: [known, path.to_owned()] }),
        }
    }

    /// The new contents must fit, for each file system.
    fn check_space(&mut self, changes: &[Change]) -> Result<(), MergeError> {
        let mut needed: BTreeMap<PathBuf, Vec<(&Path, u64)>> = BTreeMap::new();
        for change in changes {
            let (path, Some(after)) = (&change.path.0, &change.after) else { continue };
            if !after.is_file() || is_same_content(change) && self.is_in_place(change) {
                continue;
            }
            let from = self.merged(path);
            let found = step("look at the new", path, fs::symlink_metadata(from))?;
            let size = found.blocks() * 512;
            needed.entry(self.mount_of(path)?).or_default().push((path, size));
        }
        for (mount, sizes) in needed {
            let total: u64 = sizes.iter().map(|(_, size)| size).sum();
            let found = step("look at the file system of", &mount, statvfs(&mount))?;
            let free = found.f_bfree.saturating_mul(found.f_frsize).saturating_sub(RESERVE);
            let mut sum = 0;
            for (path, size) in sizes {
                sum += size;
                if sum > free {
                    let path = path.to_owned();
                    return Err(MergeError::Space { path, mount, free, needed: total });
                }
            }
        }
        Ok(())
    }

    fn work(&self, change: &Change) -> Result<Work, MergeError> {
        let path = &change.path.0;
        let merged = self.merged(path);
        let old_style = || step("look at", path, Style::of(path, View::Live)).map(Box::new);
        // What lies in a layer has other flags than it is to have on the host.
        let flags = change.after.as_ref().map_or(0, |after| after.flags);
        let new_style = || {
            let style = step("look at the new", path, Style::of(&merged, View::Merged))?;
            Ok::<_, MergeError>(Box::new(style.with_flags(flags)))
        };
        if self.is_in_place(change) {
            let (old, content) = (old_style()?, !is_same_content(change));
            // What was read at the end of the run must be what is undone later.
            if !change.before.as_ref().is_some_and(|before| old.is_look_of(before)) {
                return Err(MergeError::Moved { path: path.clone() });
            }
            return Ok(Work::Style { old, new: new_style()?, content });
        }
        let old = match &change.before {
            None => State::Nothing,
            Some(before) if before.is_directory() => State::Directory(old_style()?),
            Some(before) => {
                let shared = (before.names > 1).then(|| step("look at", path, Inode::of(path)));
                let found = step("look at", path, fs::symlink_metadata(path))?;
                let likeness = Some(Likeness::of(&found));
                State::Object { flags: before.flags, shared: shared.transpose()?, likeness }
            }
        };
        let new = match &change.after {
            None => State::Nothing,
            Some(after) if after.is_directory() => State::Directory(new_style()?),
            // Its file system may keep less of its looks than was wanted: it is known when it is staged.
            Some(_) => State::Object { flags, shared: None, likeness: None },
        };
        Ok(Work::Place { old, new })
    }

    /// The directory around a changed path has a new time, too: that of the run, and after an undo, the old one.
    fn add_parent(&mut self, path: &Path) -> Result<(), MergeError> {
        let Some(parent) = path.parent() else { return Ok(()) };
        if self.items.contains_key(parent) {
            return Ok(());
        }
        let old = step("look at", parent, Style::of(parent, View::Live))?;
        if old.flags & PROTECTION.bits() != 0 {
            return Err(MergeError::Immutable { path: parent.to_owned() });
        }
        // It is no change itself: nothing but its time is taken over.
        let merged = step("look at the new", parent, fs::symlink_metadata(self.merged(parent)))?;
        let new = old.with_time_of(&merged);
        let work = Work::Style { old: Box::new(old), new: Box::new(new), content: false };
        self.add(parent, work)
    }

    fn add(&mut self, path: &Path, work: Work) -> Result<(), MergeError> {
        let mount = self.mount_of(path)?;
        let store = self.store(mount)?;
        self.items.insert(path.to_owned(), (store, work));
        Ok(())
    }

    /// Index of the store of a file system; its first mention brings its root along, whose time the store changes.
    fn store(&mut self, mount: PathBuf) -> Result<usize, MergeError> {
        if let Some(found) = self.stores.iter().position(|store| store.mount.0 == mount) {
            return Ok(found);
        }
        let vardir = self.source.vardir;
        let above = if self.mount_of(vardir)? == mount {
            vardir.join("undo")
        } else {
            let name = vardir.file_name().unwrap_or("disco".as_ref()).to_string_lossy();
            mount.join(format!(".{name}-undo"))
        };
        let is_first = existing(&mut self.reach, &above)?.is_none();
        let is_memory = lost::is_memory(&mount)?;
        let directory = above.join(format!("{}.{}", self.source.report.id, self.source.part));
        let index = self.stores.len();
        let (directory, at) = (HostPath(directory), HostPath(mount.clone()));
        self.stores.push(Store { directory, mount: at, is_first, is_memory });
        if !self.items.contains_key(&mount) && above.parent() == Some(&mount) {
            let now = step("look at", &mount, Style::of(&mount, View::Live))?;
            let merged = Style::of(&self.merged(&mount), View::Merged).unwrap_or_else(|_| now.clone());
            let new = if merged.looks_like(&now) { merged } else { now.clone() };
            let work = Work::Style { old: Box::new(now), new: Box::new(new), content: false };
            self.items.insert(mount, (index, work));
        }
        Ok(index)
    }

    /// The mount point or subvolume that a path, or the place where it will be, belongs to.
    fn mount_of(&mut self, path: &Path) -> Result<PathBuf, MergeError> {
        let directory =
            path.ancestors().find(|above| open_directory(above).is_ok()).unwrap_or(Path::new("/"));
        if let Some(root) = self.roots.get(directory) {
            return Ok(root.clone());
        }
        let mut root = directory;
        while let Some(above) = root.parent() {
            if is_border(root)? {
                break;
            }
            root = above;
        }
        self.roots.insert(directory.to_owned(), root.to_owned());
        Ok(root.to_owned())
    }
}

/// What lies at a path of the host; none: nothing, or the way to it leads over a link.
fn existing(reach: &mut Reach, path: &Path) -> Result<Option<Metadata>, MergeError> {
    let place = reach.place(path);
    match place.and_then(|place| step("look at", path, fs::symlink_metadata(place.path()))) {
        Err(MergeError::Step { source, .. }) if is_gone(&source) => Ok(None),
        found => found.map(Some),
    }
}

/// Whether a path is a directory before and after.
fn stays(change: &Change) -> bool {
    [&change.before, &change.after].into_iter().all(|entry| entry.as_ref().is_some_and(Entry::is_directory))
}

/// Whether the inode stays and only looks different, or is written in place because it has other names.
fn keeps_inode(change: &Change) -> bool {
    let (Some(before), Some(after)) = (&change.before, &change.after) else { return false };
    if stays(change) {
        return true;
    }
    change.same_file
        && before.mode & libc::S_IFMT == after.mode & libc::S_IFMT
        && (is_same_content(change) || before.names > 1 && before.is_file())
}

fn is_same_content(change: &Change) -> bool {
    let content = |entry: &Entry| (entry.md5.clone(), entry.target.clone(), entry.is_device);
    change.before.as_ref().map(content) == change.after.as_ref().map(content)
}

/// Whether nothing can be renamed from inside a path to what is around it: something is mounted there, or it is a subvolume
/// of btrfs, whose root has a number of its own (btrfs(5)).
pub(super) fn is_border(path: &Path) -> Result<bool, MergeError> {
    const BTRFS: u32 = 0x9123_683e;
    const ROOT_OF_A_SUBVOLUME: u64 = 256;
    if is_mount_point(path)? {
        return Ok(true);
    }
    let found = step("look at", path, fs::symlink_metadata(path))?;
    Ok(found.is_dir()
        && found.ino() == ROOT_OF_A_SUBVOLUME
        && step("look at the file system of", path, statfs(path))?.f_type as u32 == BTRFS)
}

/// Whether something is mounted at a path; the root of everything counts.
pub(super) fn is_mount_point(path: &Path) -> Result<bool, MergeError> {
    let Some(above) = path.parent() else { return Ok(true) };
    let mount = |path: &Path| {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        let found = statx(rustix::fs::CWD, path, flags, StatxFlags::MNT_ID);
        step("look at", path, found).map(|found| found.stx_mnt_id)
    };
    Ok(mount(path)? != mount(above)?)
}
