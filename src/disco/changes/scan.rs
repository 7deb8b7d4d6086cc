//! Finds what a run changed: walks the upper layers and compares what lies there with the live system.
//!
//! The cost follows the number of changes. Only below a directory that was replaced or moved (opaque or redirected in
//! the upper layer) is the merged view compared entry by entry.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs::{self, FileType, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use crate::disco::changes::compare::Show;
use crate::disco::changes::entry::{flags_at, inherited_flags, names_in, unreadable};
use crate::disco::changes::readers::{LayerFlags, Moved, Readers};
use crate::disco::changes::{
    Change, HostPath, Identity, ScanError, View, attributes, is_number_of, mark_implied, names_of, number_of,
    numbers_behind,
};
use crate::disco::sandbox::Sandbox;
use crate::disco::sandbox::probe::Rights;

/// How long a time of status change may stand still: so long a file can be changed again without a sign of it. Kernels
/// before 6.13 count these times in ticks, of 10 ms at most.
const TICK: Duration = Duration::from_millis(20);

/// What was found at a path the last time; no change if both sides looked the same.
#[derive(Debug)]
struct Known {
    states: (Option<Identity>, Option<Identity>),
    change: Option<Box<Change>>,
}

/// Finds the changes of a sandbox, again and again while modules run in it; what did not move since the last time is
/// not read again.
#[derive(Debug, Default)]
pub struct Scanner {
    show: Show,
    known: HashMap<PathBuf, Known>,
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
        let settled = jiff::Timestamp::now() - TICK;
        let settled = (settled.as_second(), i64::from(settled.subsec_nanosecond()));
        let merged = sandbox.root_path();
        let (mut found, several, vanished, read) = thread::scope(|scope| {
            let mut pass = Pass {
                known: &self.known,
                found: Vec::new(),
                moved: Readers::within(scope, self.show),
                several: Vec::new(),
                names: BTreeMap::new(),
                shared: BTreeMap::new(),
                numbers: BTreeSet::new(),
                copied: Vec::new(),
                vanished: BTreeSet::new(),
                new_tree: None,
                inherited: Default::default(),
                opened: OpenedUp::default(),
            };
            for layer in sandbox.layers() {
                let upper = layer.upper();
                let found = fs::symlink_metadata(&upper).map_err(unreadable(&upper))?;
                let flags = flags_at(&upper, &found);
                let index = layer.work().join("index");
                let has_index = index.is_dir();
                let live = fs::symlink_metadata(&layer.at).map_err(unreadable(&layer.at))?;
                let is_apart = live.dev() != found.dev();
                let walk = Walk { merged: &merged, upper, at: layer.at.clone(), flags, has_index, is_apart };
                walk.is_in_its_place()?;
                pass.visit(&walk, Path::new(""))?;
                pass.finish(&walk, &index)?;
            }
            let read = pass.moved.finish();
            drop(pass.opened);
            Ok((pass.found, pass.several, pass.vanished, read))
        })?;
        for (moved, change) in read {
            let change = change?;
            found.extend(change.as_deref().cloned());
            let states = (moved.before.as_ref().map(Identity::of), moved.after.as_ref().map(Identity::of));
            if [states.0, states.1].into_iter().flatten().all(|state| state.changed < settled) {
                self.known.insert(moved.live, Known { states, change });
            } else {
                self.known.remove(&moved.live);
            }
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        mark_implied(&mut found);
        mark_linked(&mut found, &several);
        for change in found.iter_mut().filter(|change| vanished.contains(&change.path.0)) {
            change.vanished = true;
        }
        Ok(found)
    }
}

/// How many names of a file its changes tell. They lead a merge to the file; were all told, what is known of a file would
/// grow with the square of the number of its names.
const MOST_NAMES: usize = 16;

/// Tells each change which other names its file has now, and which one it had.
fn mark_linked(changes: &mut [Change], several: &[Several]) {
    let changed = changes.iter().filter(|change| !change.same_file);
    let other_files: BTreeSet<PathBuf> = changed.map(|change| change.path.0.clone()).collect();
    let mut by_name = BTreeMap::new();
    for file in several {
        let told = told_names(&file.names, &other_files);
        by_name.extend(file.names.iter().map(|name| (name.as_path(), (file, Rc::clone(&told)))));
    }
    for change in changes {
        let (path, Some(after)) = (&change.path.0, &mut change.after) else { continue };
        let Some((file, told)) = by_name.get(path.as_path()) else { continue };
        let others = told.iter().filter(|name| *name != path);
        after.linked = others.map(|name| HostPath(name.to_path_buf())).collect();
        after.was = file.was.clone().filter(|_| !change.same_file).map(HostPath);
    }
}

/// The names of a file that are told: the first of those that are no other file's on the host, which can lead to it there,
/// and the first of all, by which a merge makes it where none does.
fn told_names<'names>(
    names: &'names [PathBuf],
    other_files: &BTreeSet<PathBuf>,
) -> Rc<BTreeSet<&'names Path>> {
    let mut all: Vec<&Path> = names.iter().map(PathBuf::as_path).collect();
    all.sort_unstable();
    let had = all.iter().filter(|name| !other_files.contains(**name)).take(MOST_NAMES / 2);
    Rc::new(had.chain(all.iter().take(MOST_NAMES / 2)).copied().collect())
}

/// One way through all layers.
struct Pass<'scope, 'env, 'known> {
    known: &'known HashMap<PathBuf, Known>,
    /// Changes at which nothing moved since the last time.
    found: Vec<Change>,
    /// Paths at which something did.
    moved: Readers<'scope, 'env>,
    /// Files that have several names in the merged view, of the layers that were visited.
    several: Vec<Several>,
    /// The touched names of those of this layer, and the number of the inode in the merged view, by the numbers of device
    /// and inode.
    names: BTreeMap<(u64, u64), (u64, Vec<PathBuf>)>,
    /// The touched names of live files that have several, of this layer, by device and number on the host.
    shared: BTreeMap<(u64, u64), Shared>,
    /// Numbers of the live files at touched paths of this layer.
    numbers: BTreeSet<u64>,
    /// Where this layer has a copy of a live file and the host nothing, and the numbers of which one is that file's.
    copied: Vec<(PathBuf, [u64; 2])>,
    /// Those of them, in the layers that were visited, whose file was at no other touched path, so that the run did not
    /// move it here.
    vanished: BTreeSet<PathBuf>,
    /// The directory seen last that is none on the host. All below it is new, even where a link of the host has its name
    /// and leads to something.
    new_tree: Option<PathBuf>,
    /// The directory asked for last, and what is inherited from it.
    inherited: (PathBuf, (u32, u32)),
    opened: OpenedUp,
}

/// Directories of a user's noop that a script closed even for their owner, who is the caller: open until this is dropped.
/// Root needs none.
#[derive(Debug, Default)]
struct OpenedUp(Vec<(PathBuf, Metadata)>);

impl OpenedUp {
    /// Opens a directory of the merged view, if need be, and tells what it is without that.
    fn open(&mut self, merged: &Path) -> Result<Metadata, ScanError> {
        let metadata = fs::symlink_metadata(merged).map_err(unreadable(merged))?;
        if Rights::own() == Rights::User && metadata.mode() & OWNERS != OWNERS {
            let open = Permissions::from_mode(metadata.mode() | OWNERS);
            fs::set_permissions(merged, open).map_err(unreadable(merged))?;
            self.0.push((merged.to_owned(), metadata.clone()));
        }
        Ok(metadata)
    }
}

impl Drop for OpenedUp {
    fn drop(&mut self) {
        // Those below first: the way to them is still open.
        for (merged, metadata) in self.0.iter().rev() {
            let _ = fs::set_permissions(merged, metadata.permissions());
        }
    }
}

/// What an owner needs to look into a directory.
const OWNERS: u32 = 0o700;

/// A file that has several names in the merged view.
#[derive(Debug)]
struct Several {
    /// The touched ones.
    names: Vec<PathBuf>,
    /// One that it had on the host, where others of it were not touched.
    was: Option<PathBuf>,
}

/// A live file that has several names.
#[derive(Debug)]
struct Shared {
    before: Metadata,
    touched: Vec<PathBuf>,
    /// Whether one of its names is another file's now, or nobody's.
    lost: bool,
}

impl Shared {
    /// Whether it has names that no layer shows, although one of those that a layer shows is its name no more.
    fn is_left_elsewhere(&self) -> bool {
        self.lost && (self.touched.len() as u64) < self.before.nlink()
    }
}

impl Pass<'_, '_, '_> {
    /// Ends a layer.
    fn finish(&mut self, walk: &Walk<'_>, index: &Path) -> Result<(), ScanError> {
        let mut left = std::mem::take(&mut self.shared);
        left.retain(|_, file| file.is_left_elsewhere());
        self.visit_other_names(walk, index, &left)?;
        self.shared = BTreeMap::new();
        let numbers = std::mem::take(&mut self.numbers);
        let copied = std::mem::take(&mut self.copied).into_iter();
        let is_left = |behind: &[u64; 2]| behind.iter().any(|number| numbers.contains(number));
        self.vanished.extend(copied.filter(|(_, behind)| !is_left(behind)).map(|(live, _)| live));
        for (inode, names) in std::mem::take(&mut self.names).into_values() {
            let is_it = |file: &&Shared| {
                is_number_of(file.before.ino(), inode, walk.is_apart) && walk.is_of_host(&names[0])
            };
            let was = left.values().find(is_it);
            self.several.push(Several { names, was: was.map(|file| file.touched[0].clone()) });
        }
        Ok(())
    }

    /// A file may have been changed by a name that it lost afterwards: then no layer shows its other names, although they
    /// changed with it. What such a file is now, only the index of the overlay knows.
    fn visit_other_names(
        &mut self,
        walk: &Walk<'_>,
        index: &Path,
        left: &BTreeMap<(u64, u64), Shared>,
    ) -> Result<(), ScanError> {
        for ((device, inode), Shared { before, touched, .. }) in left {
            if !is_changed_in(index, &touched[0], before)? {
                continue;
            }
            let is_it = |path: &Path| {
                fs::symlink_metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == (*device, *inode))
            };
            let scratch = walk.upper.ancestors().nth(2).unwrap_or(&walk.upper).to_owned();
            let most = usize::try_from(before.nlink()).unwrap_or(usize::MAX);
            let names = names_of(*inode, &touched[0], &walk.at, &|path| path == scratch, &is_it, most);
            for live in names.iter().filter(|name| !touched.contains(name)) {
                let after = fs::symlink_metadata(walk.merged(live)).ok();
                self.compare(walk, live, after.as_ref())?;
            }
        }
        Ok(())
    }

    /// Looks at a directory of an upper layer, and at what lies below it.
    fn visit(&mut self, walk: &Walk<'_>, relative: &Path) -> Result<(), ScanError> {
        let (live, upper) = (walk.live(relative), walk.upper.join(relative));
        let metadata = fs::symlink_metadata(&upper).map_err(unreadable(&upper))?;
        let shown = self.opened.open(&walk.merged(&live))?;
        if is_replaced(&upper)? {
            return self.compare_trees(walk, &live, &shown);
        }
        self.compare(walk, &live, Some(&metadata))?;
        // What the directory knows of an entry spares looking at most of them here.
        for (name, kind) in entries_in(&upper)? {
            let below = relative.join(name);
            if kind.is_dir() {
                self.visit(walk, &below)?;
                continue;
            }
            let live = walk.live(&below);
            if kind.is_char_device() && is_whiteout(&walk.upper.join(&below))? {
                self.compare(walk, &live, None)?;
                continue;
            }
            // The merged view knows the file's number on the host, and how many names it really has.
            let merged = walk.merged(&live);
            let metadata = fs::symlink_metadata(&merged).map_err(unreadable(&merged))?;
            self.compare(walk, &live, Some(&metadata))?;
        }
        Ok(())
    }

    /// Compares a whole directory of the merged view with the live one.
    fn compare_trees(&mut self, walk: &Walk<'_>, live: &Path, metadata: &Metadata) -> Result<(), ScanError> {
        let merged = walk.merged(live);
        self.compare(walk, live, Some(metadata))?;
        let mut names: BTreeSet<OsString> = names_in(&merged)?.into_iter().collect();
        let is_new = self.is_new(live);
        if !is_new {
            names.extend(names_in(live)?);
        }
        let mounts = (mount_of(live), mount_of(&merged));
        for name in names {
            let (live, merged) = (live.join(&name), merged.join(&name));
            // What is mounted there is another layer's business.
            let is_mounted = |path: &Path, mount| mount_of(path).is_some_and(|at| Some(at) != mount);
            if !is_new && is_mounted(&live, mounts.0) || is_mounted(&merged, mounts.1) {
                continue;
            }
            match fs::symlink_metadata(&merged) {
                Ok(metadata) if metadata.is_dir() => {
                    self.opened.open(&merged)?;
                    self.compare_trees(walk, &live, &metadata)?;
                }
                Ok(metadata) => self.compare(walk, &live, Some(&metadata))?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.compare(walk, &live, None)?,
                Err(error) => return Err(unreadable(&merged)(error)),
            }
        }
        Ok(())
    }

    /// The flags that what is new at a path of the host would inherit from the directory there.
    fn inherited_at(&mut self, live: &Path) -> (u32, u32) {
        let parent = live.parent().unwrap_or(live);
        if self.inherited.0 != parent {
            let found = |above: &Path| {
                let found = fs::symlink_metadata(above).ok().filter(Metadata::is_dir)?;
                Some(inherited_flags(above, &found))
            };
            self.inherited = (parent.to_owned(), parent.ancestors().find_map(found).unwrap_or_default());
        }
        self.inherited.1
    }

    /// Whether a directory of the merged view is none on the host, or lies below one that is none there.
    fn is_new(&self, live: &Path) -> bool {
        self.new_tree.as_ref().is_some_and(|new| live.starts_with(new))
    }

    /// Compares one path; `after` is what the run left there. Live entries below a directory that is one no more are
    /// gone with it.
    fn compare(&mut self, walk: &Walk<'_>, live: &Path, after: Option<&Metadata>) -> Result<(), ScanError> {
        let before = match live.parent().is_some_and(|parent| self.is_new(parent)) {
            true => None,
            false => on_host(live)?,
        };
        if before.is_none() && after.is_none() {
            return Ok(());
        }
        let was_directory = before.as_ref().is_some_and(Metadata::is_dir);
        if !was_directory && after.is_some_and(Metadata::is_dir) && !self.is_new(live) {
            self.new_tree = Some(live.to_owned());
        }
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
        let same_file = match (&before, after) {
            (Some(before), Some(after)) => {
                is_number_of(before.ino(), after.ino(), walk.is_apart) && walk.is_of_host(live)
            }
            _ => false,
        };
        if let Some(before) = before.as_ref().filter(|before| !before.is_dir()) {
            self.numbers.insert(number_of(before.ino()));
        }
        // Without an index, what was moved or got another name has a number that only the layer knows.
        if let (None, Some(after)) = (&before, after.filter(|after| !after.is_dir()))
            && walk.has_index
            && walk.has_copied_up(live)
        {
            self.copied.push((live.to_owned(), numbers_behind(after.ino(), walk.is_apart)));
        }
        if let Some(after) = after.filter(|after| !after.is_dir() && after.nlink() > 1) {
            let several = self.names.entry(walk.file_at(live, after)).or_insert((after.ino(), Vec::new()));
            several.1.push(live.to_owned());
        }
        if let Some(before) = before.as_ref().filter(|before| !before.is_dir() && before.nlink() > 1) {
            let file = (before.dev(), before.ino());
            let unseen = || Shared { before: before.clone(), touched: Vec::new(), lost: false };
            let shared = self.shared.entry(file).or_insert_with(unseen);
            shared.touched.push(live.to_owned());
            shared.lost |= !same_file;
        }
        let states = (before.as_ref().map(Identity::of), after.map(Identity::of));
        match self.known.get(live) {
            Some(known) if known.states == states => self.found.extend(known.change.as_deref().cloned()),
            _ => {
                let (live, merged) = (live.to_owned(), walk.merged(live));
                let flags = LayerFlags { of_layer: walk.flags, inherited: self.inherited_at(&live) };
                self.moved.read(Moved { live, merged, before, after: after.cloned(), same_file, flags });
            }
        }
        Ok(())
    }
}

/// Whether the index of an overlay holds another file than one that looks as this one of the host did before. An overlay
/// whose lower layer cannot keep names together has no index.
fn is_changed_in(index: &Path, live: &Path, before: &Metadata) -> Result<bool, ScanError> {
    let look = |found: &Metadata| {
        (found.mode(), found.uid(), found.gid(), found.size(), found.mtime(), found.mtime_nsec())
    };
    let entries = match fs::read_dir(index) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        entries => entries.map_err(unreadable(index))?,
    };
    let attributes_of = |path: &Path| attributes(path, View::Live).map_err(unreadable(path));
    let had = attributes_of(live)?;
    for entry in entries {
        let entry = entry.map_err(unreadable(index))?;
        let (path, found) = (entry.path(), entry.metadata().map_err(unreadable(index))?);
        let is_whiteout = found.file_type().is_char_device() && found.rdev() == 0;
        if found.is_dir() || is_whiteout {
            continue;
        }
        // The overlay keeps the flags of its files as an attribute of its own.
        let has_flags =
            || Ok(xattr::get(&path, "trusted.overlay.protattr").map_err(unreadable(&path))?.is_some());
        if look(&found) != look(before) || attributes_of(&path)? != had || has_flags()? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What lies at a path of the host, if anything.
fn on_host(live: &Path) -> Result<Option<Metadata>, ScanError> {
    match fs::symlink_metadata(live) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(live)(error)),
    }
}

/// Number of the mount that a path lies on.
fn mount_of(path: &Path) -> Option<u64> {
    let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW | rustix::fs::AtFlags::NO_AUTOMOUNT;
    let found = rustix::fs::statx(rustix::fs::CWD, path, flags, rustix::fs::StatxFlags::MNT_ID);
    found.ok().map(|found| found.stx_mnt_id)
}

/// One layer on the way through it.
struct Walk<'a> {
    merged: &'a Path,
    upper: PathBuf,
    at: PathBuf,
    /// Those of the upper layer itself, which all in it inherits.
    flags: u32,
    /// Whether the overlay keeps the names of a file together. Over an overlay it cannot.
    has_index: bool,
    /// Whether the upper layer lies on another file system.
    is_apart: bool,
}

impl Walk<'_> {
    /// A path of the layer on the host.
    fn live(&self, relative: &Path) -> PathBuf {
        // Joining nothing would leave a slash at the end of the mount point's own path.
        if relative.as_os_str().is_empty() { self.at.clone() } else { self.at.join(relative) }
    }

    /// The layer's mount point must be where it was: what was moved with a directory above it, no path of the host leads to.
    fn is_in_its_place(&self) -> Result<(), ScanError> {
        let merged = self.merged(&self.at);
        let is_there = self.at == Path::new("/") || mount_of(&merged) != merged.parent().and_then(mount_of);
        match is_there && merged.symlink_metadata().is_ok() {
            true => Ok(()),
            false => {
                let why =
                    "a directory above this mount point was moved or replaced, which a sandbox cannot follow";
                Err(unreadable(&self.at)(io::Error::other(why)))
            }
        }
    }

    /// The upper layer's entry for a path of the host.
    fn in_upper(&self, live: &Path) -> PathBuf {
        self.upper.join(live.strip_prefix(&self.at).unwrap_or(live))
    }

    /// Whether the upper layer has a copy of a file of the host, of which it knows where it came from.
    fn has_copied_up(&self, live: &Path) -> bool {
        xattr::get(self.in_upper(live), "trusted.overlay.origin").is_ok_and(|origin| origin.is_some())
    }

    /// By which numbers a file is known that has several names: those of the merged view, and where that numbers each name
    /// by itself, those of the upper layer.
    fn file_at(&self, live: &Path, merged: &Metadata) -> (u64, u64) {
        let upper = if self.has_index { None } else { self.in_upper(live).symlink_metadata().ok() };
        let found = upper.as_ref().unwrap_or(merged);
        (found.dev(), found.ino())
    }

    /// Whether what the merged view has at a path of the host is something of the host: as it is there, or a copy of it,
    /// of which the upper layer knows where it came from.
    fn is_of_host(&self, live: &Path) -> bool {
        // Where the upper layer has nothing, this is an error. Nobody copied the root of a layer, and a user's overlay cannot
        // always keep where something came from.
        let origin = xattr::get(self.in_upper(live), "trusted.overlay.origin");
        origin.map_or(true, |origin| origin.is_some()) || live == self.at || Rights::own() == Rights::User
    }

    /// A path of the host in the merged view. No component of it is a link: the walk went through directories.
    fn merged(&self, live: &Path) -> PathBuf {
        self.merged.join(live.strip_prefix("/").unwrap_or(live))
    }
}

/// A whiteout is a character device with number 0:0.
fn is_whiteout(upper: &Path) -> Result<bool, ScanError> {
    Ok(fs::symlink_metadata(upper).map_err(unreadable(upper))?.rdev() == 0)
}

/// Names and types of what lies in a directory, sorted.
fn entries_in(directory: &Path) -> Result<Vec<(OsString, FileType)>, ScanError> {
    let read = || -> io::Result<Vec<_>> {
        let entries = fs::read_dir(directory)?.map(|entry| {
            let entry = entry?;
            Ok((entry.file_name(), entry.file_type()?))
        });
        entries.collect()
    };
    let mut entries = read().map_err(unreadable(directory))?;
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(entries)
}

/// Whether a directory of an upper layer hides the live one of the same name: opaque, or moved here from elsewhere.
fn is_replaced(upper: &Path) -> Result<bool, ScanError> {
    // A user's overlay has its marks among the user's attributes, where root's has what scripts set.
    let (opaque, redirect) = match Rights::own() {
        Rights::Root => ("trusted.overlay.opaque", "trusted.overlay.redirect"),
        Rights::User => ("user.overlay.opaque", "user.overlay.redirect"),
    };
    if xattr::get(upper, opaque).map_err(unreadable(upper))?.is_some_and(|value| value == b"y") {
        return Ok(true);
    }
    Ok(xattr::get(upper, redirect).map_err(unreadable(upper))?.is_some())
}
