//! File systems that are not there any more: a merge that was interrupted, or is to be undone, has nothing to do on them.
//!
//! A store is removed by nobody but the client, together with its journal. Where it is not there and its journal is, its
//! file system was emptied (memory, by a restart), replaced or taken away, and what a merge did there went with it. A file
//! system that is only not mounted would come back with half a merge on it, so this one is waited for.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rustix::fs::statfs;

use super::MergeError;
use super::journal::{Plan, Store};
use super::plan::is_border;
use super::reach::step;

/// The stores of a plan, by number, that went with their file systems.
///
/// # Errors
/// A file system that the plan needs is not mounted, or the store beside the journal was removed.
pub(super) fn stores(plan: &Plan, vardir: &Path) -> Result<BTreeSet<usize>, MergeError> {
    let mut lost = BTreeSet::new();
    for (number, store) in plan.stores.iter().enumerate() {
        let directory = &store.directory.0;
        if directory.symlink_metadata().is_ok() {
            continue;
        }
        if directory.starts_with(vardir) {
            let why = "it is not there, and the journal is".to_owned();
            return Err(MergeError::Journal { path: directory.clone(), why });
        }
        assert_there(plan, store)?;
        lost.insert(number);
    }
    Ok(lost)
}

/// Whether the stores of a plan that are not there were removed, or went with their file systems.
///
/// # Errors
/// A file system is not mounted, and may have one.
pub(super) fn assert_mounted(plan: &Plan, vardir: &Path) -> Result<(), MergeError> {
    let is_missing = |store: &&Store| !store.directory.0.starts_with(vardir) && !store.directory.0.exists();
    plan.stores.iter().filter(is_missing).try_for_each(|store| assert_there(plan, store))
}

fn assert_there(plan: &Plan, store: &Store) -> Result<(), MergeError> {
    match !store.is_memory && is_waited_for(store)? {
        true => Err(MergeError::NotMounted { mount: store.mount.0.clone(), run: plan.run }),
        false => Ok(()),
    }
}

/// Where a file system was mounted that is not now. One whose mount point is removed will not come back.
fn is_waited_for(store: &Store) -> Result<bool, MergeError> {
    let mount = &store.mount.0;
    Ok(mount.is_dir() && !is_border(mount)?)
}

/// Where the file systems were mounted that were lost.
pub(super) fn mounts(plans: &[Plan]) -> Vec<PathBuf> {
    let lost =
        |plan: &Plan| plan.lost.iter().map(|number| plan.stores[*number].mount.0.clone()).collect::<Vec<_>>();
    let mounts: BTreeSet<PathBuf> = plans.iter().flat_map(lost).collect();
    mounts.into_iter().collect()
}

/// Whether a file system lies in memory (statfs(2), "f_type").
pub(super) fn is_memory(mount: &Path) -> Result<bool, MergeError> {
    const TMPFS: u32 = 0x0102_1994;
    const RAMFS: u32 = 0x8584_58f6;
    let found = step("look at the file system of", mount, statfs(mount))?;
    // The width of this number differs between machines, its meaning does not.
    Ok(matches!(found.f_type as u32, TMPFS | RAMFS))
}
