//! What merges leave behind and nobody needs any more: the stores of a run that a newer one followed, or that was undone.
//! A file system that cannot be written to now, or is not mounted, keeps them; nothing but their space depends on it, so they
//! are removed when that is possible.

use std::fs;
use std::io;
use std::path::Path;

use super::drive::undress_roots;
use super::journal::{Journal, Phase, Plan, sync_directory};
use super::reach::step;
use super::{MergeError, lost};

/// Nothing that a journal tells counts any more.
pub(super) fn leave(vardir: &Path, journal: &Journal, plans: &[Plan]) -> Result<(), MergeError> {
    // Without a plan, nobody knows of any store.
    let Some(run) = plans.first().map(|plan| plan.run) else { return journal.remove() };
    let gone = Journal::gone(vardir, run);
    // Of the same number: it was removed but for its name.
    gone.remove()?;
    journal.rename_to(&gone)
}

/// Removes the remains of all runs, as far as that is possible.
pub(super) fn tidy(vardir: &Path) {
    for gone in Journal::all_gone(vardir).unwrap_or_default() {
        // What cannot be removed is tried again by the next command.
        let _ = remove(vardir, &gone);
    }
}

fn remove(vardir: &Path, gone: &Journal) -> Result<(), MergeError> {
    let plans = match gone.plans() {
        Err(MergeError::Journal { .. }) => Vec::new(),
        plans => plans?,
    };
    // One that was merged once left its mark on the file systems; of one that was undone, nothing is to be seen.
    let was_undone = gone.phase()? == Phase::Staging;
    for plan in &plans {
        lost::assert_mounted(plan, vardir)?;
        for store in &plan.stores {
            remove_tree(&store.directory.0)?;
            if let Some(above) = store.directory.0.parent().filter(|_| was_undone && store.is_first) {
                // Others may have put theirs beside ours; then it stays.
                let _ = fs::remove_dir(above);
            }
        }
    }
    if was_undone {
        plans.iter().rev().try_for_each(undress_roots)?;
    }
    // Without the journal, nobody knows of the stores; so it goes after them on the disk, too.
    for store in plans.iter().flat_map(|plan| &plan.stores) {
        let left = store.directory.0.ancestors().find(|above| above.exists()).unwrap_or(Path::new("/"));
        sync_directory(left)?;
        if was_undone && store.mount.0.exists() {
            sync_directory(&store.mount.0)?;
        }
    }
    gone.remove()
}

fn remove_tree(path: &Path) -> Result<(), MergeError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => step("remove", path, other),
    }
}
