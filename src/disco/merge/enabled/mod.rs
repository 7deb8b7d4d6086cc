//! The twin that changes the host: one journalled transaction, in both directions.
//!
//! 1. **Plan** the steps from the changes that were reported, and refuse what cannot be merged (`plan.rs`).
//! 2. Write the plan down (`journal.rs`), then **stage** the new objects in stores on the file systems of their targets
//!    (`stage.rs`), then sync each file system once.
//! 3. **Commit**: one word in the journal. Before it, recovery removes what was staged; after it, recovery finishes. What
//!    the run owes then, its deferred commands and its report, was written down before (`pending.rs`).
//! 4. **Drive** every path to its new state by renames (`drive.rs`), sync again, keep the old objects for `rollback`.
//!
//! What fails after the commit turns the direction: every path is driven to its old state. A rollback is the plan of the
//! last live run, driven the other way. Both directions use the same steps, so both are as safe.

mod drive;
mod journal;
mod pending;
mod plan;
mod reach;
mod rejoin;
mod stage;
mod style;
mod undo;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use self::drive::{dress_roots, drive};
use self::journal::{Journal, Phase, Plan, Side, Work};
pub(crate) use self::pending::{begin, end, forget, unfinished};
use self::reach::step;
use super::{MergeError, Recovered, Source, Undoable, Unfinished};
use crate::disco::changes::Change;
use crate::disco::dance::with_causes;

/// Merges changes, sorted by path, into the host.
///
/// # Errors
/// Nothing is merged: what was done before the failing step is undone. [`MergeError::NotUndone`] is the exception, and
/// keeps the journal for the next try.
pub(crate) fn merge(changes: &[Change], source: &Source<'_>) -> Result<(), MergeError> {
    if changes.is_empty() {
        return match source.report.pending().next() {
            None => Ok(()),
            Some(_) => pending::record(source.vardir, source.report, source.part),
        };
    }
    let planned = plan::plan(changes, source)?;
    let current = Journal::current(source.vardir);
    let prepared = current
        .make()
        .and_then(|()| current.write_plan(&planned.plan))
        .and_then(|()| pending::record(source.vardir, source.report, source.part))
        .and_then(|()| current.prepare())
        .and_then(|()| stage::make_stores(&planned.plan))
        .and_then(|()| stage::stage(&planned, source))
        .and_then(|()| sync(&planned.plan))
        .and_then(|()| current.enter(Phase::Forward));
    let plans = [planned.plan];
    match prepared {
        Ok(()) => finish(source.vardir, &current, &plans),
        Err(failure) => Err(give_up(failure, clean(source.vardir, &current, &plans))),
    }
}

/// Finishes or undoes what an interrupted merge or rollback left. The caller holds the lock.
///
/// # Errors
/// The journal is damaged, or the way on and the way back are both barred. The journal is kept.
pub(crate) fn recover(vardir: &Path) -> Result<Option<Recovered>, MergeError> {
    pending::tidy(vardir)?;
    let current = Journal::current(vardir);
    if !current.exists() {
        return Ok(None);
    }
    let phase = current.phase()?;
    let plans = match current.plans() {
        // Nothing was applied, and nothing will be: what it was to be is of no interest.
        Err(MergeError::Journal { .. }) if phase == Phase::Staging => Vec::new(),
        plans => plans?,
    };
    let (outcome, how, otherwise) = match phase {
        Phase::Staging => (clean(vardir, &current, &plans), "undone", None),
        Phase::Forward => (finish(vardir, &current, &plans), "finished", Some("undone")),
        Phase::Backward => (take_back(vardir, &current, &plans), "undone", Some("finished")),
    };
    let (how, because) = match (outcome, otherwise) {
        (Ok(()), _) => (how, None),
        (Err(failure @ MergeError::NotUndone { .. }), _) | (Err(failure), None) => return Err(failure),
        (Err(failure), Some(otherwise)) => (otherwise, Some(with_causes(&failure))),
    };
    Ok(plans.first().map(|plan| Recovered { run: plan.run, how, because }))
}

/// Number of the last run that was merged and can be undone, or 0. A run that was killed after its merge is in no history;
/// another one of its number would take what is kept for its rollback for its own.
///
/// # Errors
/// The journal cannot be read. A record that is damaged keeps nothing that could be undone.
pub(crate) fn last_run(vardir: &Path) -> Result<u64, MergeError> {
    let last = Journal::last(vardir);
    if !last.exists() {
        return Ok(0);
    }
    match last.plans() {
        Err(MergeError::Journal { .. }) => Ok(0),
        plans => Ok(plans?.iter().map(|plan| plan.run).max().unwrap_or(0)),
    }
}

/// What a rollback would change. The caller holds the lock.
///
/// # Errors
/// There is nothing to undo, or a path changed since.
pub(crate) fn undoable(vardir: &Path) -> Result<Undoable, MergeError> {
    let last = Journal::last(vardir);
    let plans = if last.exists() { last.plans()? } else { Vec::new() };
    let run = plans.first().ok_or(MergeError::NothingToUndo)?.run;
    undo::check(&last, &plans)?;
    Ok(Undoable { run, changes: undo::changes(&plans)? })
}

/// Undoes the last live run. The caller holds the lock. Returns the paths that shared a file with others before the run, and
/// are files of their own now: none of the others holds that file any more as it was.
///
/// # Errors
/// As [`undoable`], or a step failed: the host is then as the live run left it.
pub(crate) fn rollback(vardir: &Path) -> Result<Vec<PathBuf>, MergeError> {
    let (last, current) = (Journal::last(vardir), Journal::current(vardir));
    undoable(vardir)?;
    let plans = last.plans()?;
    last.enter(Phase::Backward)?;
    last.rename_to(&current)?;
    take_back(vardir, &current, &plans)?;
    Ok(plans.iter().flat_map(rejoin::apart).collect())
}

/// Drives a committed merge to its end, or back where that is not possible.
fn finish(vardir: &Path, current: &Journal, plans: &[Plan]) -> Result<(), MergeError> {
    match drive_all(plans, Side::New).and_then(|()| write_down(current, plans)) {
        Ok(()) => keep(vardir, current, plans),
        Err(failure) => {
            // Where not even this can be written, recovery would go on, which is as good.
            let _ = current.enter(Phase::Backward);
            let undone = drive_all(plans, Side::Old).and_then(|()| clean(vardir, current, plans));
            Err(give_up(failure, undone))
        }
    }
}

/// Drives a merge back to its beginning, or to its end where that is not possible.
fn take_back(vardir: &Path, current: &Journal, plans: &[Plan]) -> Result<(), MergeError> {
    match drive_all(plans, Side::Old) {
        Ok(()) => clean(vardir, current, plans),
        Err(failure) => {
            let undone = current
                .enter(Phase::Forward)
                .and_then(|()| drive_all(plans, Side::New))
                .and_then(|()| write_down(current, plans))
                .and_then(|()| keep(vardir, current, plans));
            Err(give_up(failure, undone))
        }
    }
}

fn give_up(failure: MergeError, undone: Result<(), MergeError>) -> MergeError {
    match undone {
        Ok(()) => failure,
        Err(undoing) => MergeError::NotUndone { failure: Box::new(failure), undoing: Box::new(undoing) },
    }
}

/// Later merges of a run build on earlier ones.
fn drive_all(plans: &[Plan], side: Side) -> Result<(), MergeError> {
    match side {
        Side::New => plans.iter().try_for_each(|plan| drive(plan, side))?,
        Side::Old => plans.iter().rev().try_for_each(|plan| drive(plan, side))?,
    }
    plans.iter().try_for_each(|plan| sync(plan).and_then(|()| sync_mounted_files(plan)))
}

/// Writes files to disk that are mounted by themselves: theirs may be another file system than that of their directory.
fn sync_mounted_files(plan: &Plan) -> Result<(), MergeError> {
    for item in plan.items.iter().filter(|item| matches!(item.work, Work::Style { .. })) {
        let path = &item.path.0;
        let is_file = step("look at", path, fs::symlink_metadata(path))?.is_file();
        if is_file && plan::is_mount_point(path)? {
            step("write to disk", path, stage::open(path).and_then(|file| file.sync_all()))?;
        }
    }
    Ok(())
}

/// Writes to disk what lies on the file systems of a plan: once for each, whatever was changed there.
fn sync(plan: &Plan) -> Result<(), MergeError> {
    for store in &plan.stores {
        let directory = step("open", &store.directory.0, File::open(&store.directory.0))?;
        step("write to disk what lies in", &store.mount.0, nix::unistd::syncfs(directory))?;
    }
    Ok(())
}

/// What a rollback needs; the last step that a full disk can bar.
fn write_down(current: &Journal, plans: &[Plan]) -> Result<(), MergeError> {
    plans.iter().try_for_each(undo::part_from_other_names)?;
    plans.iter().try_for_each(|plan| undo::write_down(current, plan))
}

/// The merge is complete. Its old objects are kept until the next live run; those of the run before are of no more use.
fn keep(vardir: &Path, current: &Journal, plans: &[Plan]) -> Result<(), MergeError> {
    let Some(run) = plans.first().map(|plan| plan.run) else { return current.remove() };
    let last = Journal::last(vardir);
    if !last.exists() {
        return current.rename_to(&last);
    }
    // A record that cannot be read keeps nothing that could be undone.
    let before = last.plans().unwrap_or_default();
    if before.first().is_some_and(|before| before.run == run) {
        for plan in plans {
            current.hand_over(&format!("{}.after", plan.name()), &last)?;
            current.hand_over(&format!("{}.plan", plan.name()), &last)?;
        }
        return current.remove();
    }
    for store in before.iter().flat_map(|plan| &plan.stores) {
        remove_tree(&store.directory.0)?;
    }
    last.remove()?;
    current.rename_to(&last)
}

/// Nothing of the plans is applied; removes what they staged or kept, and the journal.
fn clean(vardir: &Path, current: &Journal, plans: &[Plan]) -> Result<(), MergeError> {
    current.enter(Phase::Staging)?;
    // By their names: a plan that is damaged was not applied either.
    for name in current.names()?.iter().filter_map(|name| name.strip_suffix(".plan")) {
        pending::undone(vardir, name)?;
    }
    for plan in plans {
        for store in &plan.stores {
            remove_tree(&store.directory.0)?;
            if let Some(above) = store.directory.0.parent().filter(|_| store.is_first) {
                // Others may have put theirs beside ours; then it stays.
                let _ = fs::remove_dir(above);
            }
        }
    }
    for plan in plans.iter().rev() {
        dress_roots(plan, Side::Old)?;
    }
    current.remove()
}

fn remove_tree(path: &Path) -> Result<(), MergeError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => step("remove", path, other),
    }
}
