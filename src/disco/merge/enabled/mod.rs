//! The twin that changes the host: one journalled transaction, in both directions.
//!
//! 1. **Plan** the steps from the changes that were reported, and refuse what cannot be merged (`plan.rs`).
//! 2. Write down where the stores are (`journal.rs`), **stage** the new objects in them, on the file systems of their
//!    targets (`stage.rs`), write down the plan and sync each file system once. Then look again whether the host still
//!    is what the plan was made for.
//! 3. **Commit**: one word in the journal. Before it, recovery removes what was staged; after it, recovery finishes. What
//!    the run owes then, its deferred commands and its report, was written down before (`pending.rs`).
//! 4. **Drive** every path to its new state by renames (`drive.rs`), sync again, keep the old objects for `rollback`.
//!
//! What fails after the commit turns the direction: every path is driven to its old state. A rollback is the plan of the
//! last live run, driven the other way. Both directions use the same steps, so both are as safe. What nobody needs any
//! more is removed last, and its failure is none of the merge's (`remains.rs`).

mod drive;
mod journal;
mod likeness;
mod lost;
mod pending;
mod plan;
mod reach;
mod rejoin;
mod remains;
mod stage;
mod style;
mod undo;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use self::drive::{Strangers, drive};
use self::journal::{Item, Journal, Phase, Plan, Side, Work};
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
    let current = Journal::current(source.vardir);
    if current.exists() {
        return Err(MergeError::UnderWay);
    }
    let mut planned = plan::plan(changes, source)?;
    let prepared = current
        .make()
        .and_then(|()| current.write_outline(&planned.plan))
        .and_then(|()| pending::record(source.vardir, source.report, source.part))
        .and_then(|()| current.prepare())
        .and_then(|()| stage::make_stores(&planned.plan))
        .and_then(|()| stage::stage(&mut planned, source))
        .and_then(|named| current.write_plan(&planned.plan).map(|()| named))
        .and_then(|named| sync(&planned.plan).map(|()| named))
        .and_then(|named| plan::check_again(&planned, changes, &named, source))
        .and_then(|()| current.enter(Phase::Forward));
    let plans = [planned.plan];
    match prepared {
        Ok(()) => finish(source.vardir, &current, &plans, Strangers::Refuse).map(drop),
        Err(failure) => Err(give_up(failure, clean(source.vardir, &current, &plans))),
    }
}

/// Why a live run could not merge the changes of a noop, sorted by path.
pub(crate) fn objection(changes: &[Change], source: &Source<'_>) -> Option<MergeError> {
    plan::objection(changes, source)
}

/// Finishes or undoes what an interrupted merge or rollback left. The caller holds the lock.
///
/// Meanwhile the host went on, so what somebody else changed since is left as it is: then it looks as if the merge had
/// been finished, or never begun, before they changed it.
///
/// # Errors
/// The journal is damaged, or the way on and the way back are both barred. The journal is kept.
pub(crate) fn recover(vardir: &Path) -> Result<Option<Recovered>, MergeError> {
    pending::tidy(vardir)?;
    remains::tidy(vardir);
    let current = Journal::current(vardir);
    if !current.exists() {
        return Ok(None);
    }
    let phase = current.phase()?;
    let plans = match phase {
        // Nothing was applied, and nothing will be: what it was to be is of no interest.
        Phase::Staging => current.plans().or_else(|error| match error {
            MergeError::Journal { .. } => Ok(Vec::new()),
            error => Err(error),
        })?,
        Phase::Forward | Phase::Backward => current.plans_of_what_is_left()?,
    };
    let (outcome, how, otherwise) = match phase {
        Phase::Staging => (clean(vardir, &current, &plans).map(|()| Vec::new()), "undone", None),
        Phase::Forward => (finish(vardir, &current, &plans, Strangers::Spare), "finished", Some("undone")),
        Phase::Backward => {
            (take_back(vardir, &current, &plans, Strangers::Spare), "undone", Some("finished"))
        }
    };
    let (how, because, spared) = match (outcome, otherwise) {
        (Ok(spared), _) => (how, None, spared),
        (Err(failure @ MergeError::NotUndone { .. }), _) | (Err(failure), None) => return Err(failure),
        (Err(failure), Some(otherwise)) => (otherwise, Some(with_causes(&failure)), Vec::new()),
    };
    let lost = lost::mounts(&plans);
    Ok(plans.first().map(|plan| Recovered { run: plan.run, how, because, spared, lost }))
}

/// Number of the last run that was merged and can be undone, or 0. A run that was killed after its merge is in no history;
/// another one of its number would take what is kept for its rollback for its own.
///
/// # Errors
/// The journal cannot be read. A record that is damaged keeps nothing that could be undone.
pub(crate) fn last_run(vardir: &Path) -> Result<u64, MergeError> {
    let mut runs = vec![0];
    for journal in Journal::all_gone(vardir)?.into_iter().chain([Journal::last(vardir)]) {
        match journal.plans() {
            Err(MergeError::Journal { .. }) => {}
            plans => runs.extend(plans?.iter().map(|plan| plan.run)),
        }
    }
    Ok(runs.into_iter().max().unwrap_or_default())
}

/// What a rollback would change. The caller holds the lock.
///
/// # Errors
/// There is nothing to undo, or a path changed since.
pub(crate) fn undoable(vardir: &Path) -> Result<Undoable, MergeError> {
    let last = Journal::last(vardir);
    let plans = last.plans_of_what_is_left()?;
    let run = plans.first().ok_or(MergeError::NothingToUndo)?.run;
    undo::check(&last, &plans)?;
    Ok(Undoable { run, changes: undo::changes(&plans)?, lost: lost::mounts(&plans) })
}

/// Undoes the last live run. The caller holds the lock. Returns the paths that shared a file with others before the run, and
/// are files of their own now: none of the others holds that file any more as it was.
///
/// # Errors
/// As [`undoable`], or a step failed: the host is then as the live run left it.
pub(crate) fn rollback(vardir: &Path) -> Result<Vec<PathBuf>, MergeError> {
    let (last, current) = (Journal::last(vardir), Journal::current(vardir));
    if current.exists() {
        return Err(MergeError::UnderWay);
    }
    undoable(vardir)?;
    let plans = last.plans_of_what_is_left()?;
    last.enter(Phase::Backward)?;
    last.rename_to(&current)?;
    take_back(vardir, &current, &plans, Strangers::Refuse)?;
    Ok(plans.iter().flat_map(rejoin::apart).collect())
}

/// Drives a committed merge to its end, or back where that is not possible. Returns the paths that were spared.
fn finish(
    vardir: &Path,
    current: &Journal,
    plans: &[Plan],
    strangers: Strangers,
) -> Result<Vec<PathBuf>, MergeError> {
    let driven = drive_all(plans, Side::New, strangers);
    match driven.and_then(|spared| write_down(vardir, current, plans, strangers).map(|()| spared)) {
        Ok(spared) => {
            // The merge is complete, whatever becomes of its journal: one that cannot be put aside now is finished, and
            // put aside, by the next command.
            let _ = keep(vardir, current, plans);
            Ok(spared)
        }
        Err(failure) => {
            // Where not even this can be written, recovery would go on, which is as good.
            let _ = current.enter(Phase::Backward);
            let undone = drive_all(plans, Side::Old, Strangers::Spare);
            Err(give_up(failure, undone.and_then(|_| clean(vardir, current, plans))))
        }
    }
}

/// Drives a merge back to its beginning, or to its end where that is not possible. Returns the paths that were spared.
fn take_back(
    vardir: &Path,
    current: &Journal,
    plans: &[Plan],
    strangers: Strangers,
) -> Result<Vec<PathBuf>, MergeError> {
    match drive_all(plans, Side::Old, strangers) {
        Ok(spared) => clean(vardir, current, plans).map(|()| spared),
        Err(failure) => {
            let undone = current
                .enter(Phase::Forward)
                .and_then(|()| drive_all(plans, Side::New, Strangers::Spare))
                .and_then(|_| write_down(vardir, current, plans, Strangers::Spare))
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

/// Later merges of a run build on earlier ones. Returns the paths that were spared.
fn drive_all(plans: &[Plan], side: Side, strangers: Strangers) -> Result<Vec<PathBuf>, MergeError> {
    let mut spared = BTreeSet::new();
    let mut go = |plan| drive(plan, side, plans, strangers).map(|paths| spared.extend(paths));
    match side {
        Side::New => plans.iter().try_for_each(&mut go)?,
        Side::Old => plans.iter().rev().try_for_each(&mut go)?,
    }
    plans.iter().try_for_each(|plan| sync(plan).and_then(|()| sync_mounted_files(plan)))?;
    Ok(spared.into_iter().collect())
}

/// Writes files to disk that are mounted by themselves: theirs may be another file system than that of their directory.
fn sync_mounted_files(plan: &Plan) -> Result<(), MergeError> {
    for Item { path, work, .. } in plan.numbers().map(|number| &plan.items[number]) {
        let path = &path.0;
        // On the way back, it may lie in a directory that an earlier merge of the run made and that is gone.
        let is_file = || fs::symlink_metadata(path).is_ok_and(|found| found.is_file());
        if matches!(work, Work::Style { .. }) && is_file() && plan::is_mount_point(path)? {
            step("write to disk", path, stage::open(path).and_then(|file| file.sync_all()))?;
        }
    }
    Ok(())
}

/// Writes to disk what lies on the file systems of a plan: once for each, whatever was changed there.
fn sync(plan: &Plan) -> Result<(), MergeError> {
    for store in plan.kept_stores() {
        let directory = step("open", &store.directory.0, File::open(&store.directory.0))?;
        step("write to disk what lies in", &store.mount.0, nix::unistd::syncfs(directory))?;
    }
    Ok(())
}

/// What a rollback needs; the last step that a full disk can bar.
fn write_down(
    vardir: &Path,
    current: &Journal,
    plans: &[Plan],
    strangers: Strangers,
) -> Result<(), MergeError> {
    for plan in plans {
        if undo::part_from_other_names(plan)? {
            sync(plan)?;
        }
    }
    let last = Journal::last(vardir);
    plans.iter().try_for_each(|plan| undo::write_down(current, &last, plan, strangers))
}

/// The merge is complete. Its old objects are kept until the next live run; those of the run before are of no more use.
fn keep(vardir: &Path, current: &Journal, plans: &[Plan]) -> Result<(), MergeError> {
    let Some(run) = plans.first().map(|plan| plan.run) else { return current.remove() };
    let last = Journal::last(vardir);
    // A record that cannot be read keeps nothing that could be undone.
    let before = last.plans().unwrap_or_default();
    if before.first().is_some_and(|before| before.run == run) {
        for plan in plans {
            current.hand_over(&format!("{}.after", plan.name()), &last)?;
            current.hand_over(&format!("{}.plan", plan.name()), &last)?;
        }
        return current.remove();
    }
    if last.exists() {
        remains::leave(vardir, &last, &before)?;
    }
    current.rename_to(&last)?;
    remains::tidy(vardir);
    Ok(())
}

/// Nothing of the plans is applied: what they staged or kept is of no use any more, and neither is the journal.
fn clean(vardir: &Path, current: &Journal, plans: &[Plan]) -> Result<(), MergeError> {
    current.enter(Phase::Staging)?;
    // By their names: a plan that is damaged was not applied either.
    for name in current.names()?.iter().filter_map(|name| name.strip_suffix(".plan")) {
        pending::undone(vardir, name)?;
    }
    remains::leave(vardir, current, plans)?;
    remains::tidy(vardir);
    Ok(())
}
