//! Finds what a run changed: walks the upper layers and compares what lies there with the live system.
//!
//! The cost follows the number of changes. Only below a directory that was replaced or moved (opaque or redirected in
//! the upper layer) is the merged view compared entry by entry.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::disco::changes::compare::{Show, look_closely};
use crate::disco::changes::entry::{names_in, unreadable};
use crate::disco::changes::{Change, HostPath, Identity, ScanError, mark_implied};
use crate::disco::sandbox::Sandbox;

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
