//! The end of a run whose changes are live: its deferred commands are executed, its report is kept. And the same for a run
//! that died before that, by the next command.
//!
//! A command is noted before it is begun and when it ended. One that was begun and whose end nobody saw is named and not
//! executed again: doing twice what must be done once is worse than leaving it to somebody who can look.

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::disco::dance::{Event, Watch};
use crate::disco::deferred;
use crate::disco::history::{History, HistoryError};
use crate::disco::lock::Lock;
use crate::disco::merge::{self, MergeError, Unfinished};
use crate::disco::report::{Run, Step, Usage};
use crate::disco::sandbox::Host;

/// Why a run could not be brought to its end. What it owes is still written down.
#[derive(Debug, thiserror::Error)]
pub enum EndingError {
    /// A merge that was interrupted could neither be finished nor undone, or what is left of it is damaged.
    #[error("an interrupted merge could not be recovered")]
    Recovery(#[source] MergeError),
    /// A deferred command, and all that come after it, were not executed: nobody would know that they were.
    #[error("cannot keep account of deferred commands, so `{command}` was not executed")]
    Account {
        /// The first one.
        command: String,
        /// What kept it from being noted.
        source: MergeError,
    },
    /// The report is kept, but the run still counts as unfinished.
    #[error("cannot close the account of the run")]
    Close(#[source] MergeError),
    /// The run could not be kept for `report`.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// Where commands of the host are executed is not known.
    #[error("cannot look at the mounts of this process")]
    Host(#[source] std::io::Error),
}

/// Executes the commands that are left of a run whose merge `part` is done, in order. One that fails keeps no other from
/// being executed.
pub(crate) fn execute(
    vardir: &Path,
    run: &mut Run,
    part: u32,
    started: Instant,
    host: &Host,
    watch: Watch<'_>,
) -> Result<(), EndingError> {
    if run.pending().next().is_none() {
        return Ok(());
    }
    let (merge, began) = ((run.id, part), Instant::now());
    let pending = run.deferred.iter_mut().enumerate().filter(|(_, deferred)| deferred.is_pending());
    for (number, deferred) in pending {
        let noted = merge::begin(vardir, merge, number);
        noted.map_err(|source| EndingError::Account { command: deferred.line(), source })?;
        deferred.begun = true;
        let ended = deferred::execute(deferred, host);
        // Where this cannot be written, the report still can.
        let _ = merge::end(vardir, merge, number, &ended);
        deferred.ended = Some(ended);
        watch(Event::Executed { deferred });
    }
    run.internal.push(Step::new("deferred", None, started, began, Usage::timed(began.elapsed())));
    Ok(())
}

/// The commands that are left of a run are not to be executed.
pub(crate) fn drop_commands(run: &mut Run, why: &str, watch: Watch<'_>) {
    for deferred in run.deferred.iter_mut().filter(|deferred| deferred.is_pending()) {
        deferred.dropped = true;
        watch(Event::Dropped { deferred, why });
    }
}

/// Keeps the report; after that, nothing is owed.
pub(crate) fn close(vardir: &Path, run: &Run) -> Result<(), EndingError> {
    History::of(vardir).keep(run)?;
    merge::forget(vardir, run.id).map_err(EndingError::Close)
}

/// A run that died before it had executed its deferred commands.
#[derive(Debug)]
pub(crate) struct Left {
    vardir: PathBuf,
    unfinished: Unfinished,
}

/// Finishes or undoes a merge that was interrupted, and keeps the report of a run that died before it could. Returns the
/// run if commands are left of it. The caller holds the lock.
pub(crate) fn recover(vardir: &Path, watch: Watch<'_>) -> Result<Option<Left>, EndingError> {
    let recovered = merge::recover(vardir).map_err(EndingError::Recovery)?;
    if let Some(recovered) = &recovered {
        watch(Event::Recovered { recovered });
    }
    let Some(mut unfinished) = merge::unfinished(vardir).map_err(EndingError::Recovery)? else {
        return Ok(None);
    };
    let run = &mut unfinished.run;
    if recovered.is_none() {
        watch(Event::Interrupted { run: run.id });
    }
    let begun = run.deferred.iter().filter(|deferred| deferred.begun && deferred.ended.is_none());
    begun.for_each(|deferred| watch(Event::Unknown { run: run.id, deferred }));
    if run.merged && run.pending().next().is_some() {
        History::of(vardir).keep(run)?;
        return Ok(Some(Left { vardir: vardir.to_owned(), unfinished }));
    }
    if !run.merged {
        drop_commands(run, "nothing was merged", watch);
    }
    close(vardir, run)?;
    Ok(None)
}

impl Left {
    /// Number of the run.
    pub(crate) fn run(&self) -> u64 {
        self.unfinished.run.id
    }

    /// Executes what is left, in order.
    pub(crate) fn execute(self, host: &Host, watch: Watch<'_>) -> Result<(), EndingError> {
        let Left { vardir, unfinished: Unfinished { mut run, part } } = self;
        execute(&vardir, &mut run, part, Instant::now(), host, watch)?;
        close(&vardir, &run)
    }

    /// Names what is left, and leaves it.
    pub(crate) fn tell(&self, watch: Watch<'_>) {
        let run = &self.unfinished.run;
        run.pending().for_each(|deferred| watch(Event::Pending { run: run.id, deferred }));
    }

    /// Names what is left and will not be executed any more.
    pub(crate) fn drop(mut self, why: &str, watch: Watch<'_>) -> Result<(), EndingError> {
        drop_commands(&mut self.unfinished.run, why, watch);
        close(&self.vardir, &self.unfinished.run)
    }
}

/// The run that died before its end, for those who only look; none while somebody works on it.
///
/// # Errors
/// What it left is damaged or may not be read.
pub fn unfinished(vardir: &Path) -> Result<Option<Run>, MergeError> {
    match Lock::is_held(vardir) {
        true => Ok(None),
        false => Ok(merge::unfinished(vardir)?.map(|unfinished| unfinished.run)),
    }
}
