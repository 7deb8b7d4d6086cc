//! The journey of a rollback, from the lock to the report: the last live run is taken back, or nothing is.

use std::path::Path;
use std::time::Instant;

use crate::disco::Mode;
use crate::disco::changes::HostPath;
use crate::disco::dance::{Event, LockError, Watch};
use crate::disco::ending::{self, EndingError};
use crate::disco::history::{History, HistoryError};
use crate::disco::lock::Lock;
use crate::disco::merge::{self, MergeError};
use crate::disco::report::{Run, Step, Usage};
use crate::disco::sandbox::Host;

/// Why nothing was undone.
#[derive(Debug, thiserror::Error)]
pub enum RollbackError {
    /// A dance runs.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A run, the rollback or one that died before, could not be brought to its end.
    #[error(transparent)]
    Ending(#[from] EndingError),
    /// The last live run cannot be undone.
    #[error("nothing was undone")]
    Merge(#[source] MergeError),
    /// The rollback could not be kept for `report`.
    #[error(transparent)]
    History(#[from] HistoryError),
}

/// What a rollback did, or would do.
#[derive(Debug)]
pub struct RolledBack {
    /// Number of the live run.
    pub undone: u64,
    /// The rollback as a run of its own: it has no modules and one internal step, `rollback`.
    pub run: Run,
}

/// Undoes the last live run; in noop, only tells what that would change.
///
/// # Errors
/// The host is what it was.
pub fn rollback(mode: Mode, vardir: &Path, watch: Watch<'_>) -> Result<RolledBack, RollbackError> {
    let started = Instant::now();
    let _lock = Lock::take(vardir)?;
    let mut left = ending::recover(vardir, watch)?;
    let history = History::of(vardir);
    let undoable = merge::undoable(vardir).map_err(RollbackError::Merge)?;
    match (mode, left.take()) {
        (Mode::Noop, Some(left)) => left.tell(watch),
        // What was put off until the changes are live is not for a host without them.
        (Mode::Live, Some(other)) if other.run() == undoable.run => left = Some(other),
        (Mode::Live, Some(other)) => other.execute(&Host::here().map_err(EndingError::Host)?, watch)?,
        (_, None) => {}
    }
    for change in undoable.changes.iter().filter(|change| !change.implied) {
        watch(Event::Changed { change });
    }
    let lost = undoable.lost.into_iter().map(|mount| {
        let mount = HostPath(mount);
        format!("what run {} did on the file system of {mount} is gone with it", undoable.run)
    });
    let notes: Vec<String> = lost.collect();
    notes.iter().for_each(|text| watch(Event::Note { text }));
    let node = history.run(undoable.run)?.map(|run| run.node).unwrap_or_default();
    let mut run = Run::begin(history.next_number_after(undoable.run)?, mode, &node);
    run.changes = undoable.changes;
    run.notes = notes;
    if mode == Mode::Live {
        let (undoing, began) = (Instant::now(), started.elapsed().as_secs_f64());
        for path in merge::rollback(vardir).map_err(RollbackError::Merge)? {
            let text = format!(
                "{} had other names; it is a file of its own now, because none of them is still what it was",
                HostPath(path)
            );
            watch(Event::Note { text: &text });
            run.notes.push(text);
        }
        let usage = Usage::timed(undoing.elapsed());
        run.internal.push(Step { kind: "rollback".into(), item: None, began, usage });
        run.merged = true;
        run.seconds = started.elapsed().as_secs_f64();
        if let Some(left) = left {
            left.drop("the run was undone", watch)?;
        }
        history.keep(&run)?;
    }
    run.seconds = started.elapsed().as_secs_f64();
    Ok(RolledBack { undone: undoable.run, run })
}
