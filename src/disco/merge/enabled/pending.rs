//! What is left to do once a merge is done: the run's deferred commands and its report. It is written down before the
//! merge is committed, so a run that dies at any moment after that is still known, with everything that it owes.
//!
//! ```text
//! VARDIR/journal/pending/
//!     N.run             the run as it was when its merge N was about to be committed; sealed. It counts where that merge
//!                       is in no journal that is still under way: then it is on the host
//!     N.undone          the same of a merge that was undone
//!     N.COMMAND.begun   this deferred command of it was begun
//!     N.COMMAND.ended   how it ended; sealed
//! ```

use std::fs;
use std::io;
use std::path::Path;

use super::journal::{Journal, read_sealed};
use super::reach::step;
use super::{MergeError, Unfinished};
use crate::disco::deferred::Ended;
use crate::disco::report::Run;

fn pending(vardir: &Path) -> Journal {
    Journal { directory: vardir.join("journal/pending") }
}

/// What nobody looks at any more.
fn settled(vardir: &Path) -> Journal {
    Journal { directory: vardir.join("journal/settled") }
}

/// Run and number of a merge, as in the names of its files.
fn name_of(run: u64, part: u32) -> String {
    format!("{run}.{part}")
}

/// Writes a run down whose merge is about to be committed, or that has nothing to merge but commands to execute.
pub(super) fn record(vardir: &Path, run: &Run, part: u32) -> Result<(), MergeError> {
    let pending = pending(vardir);
    pending.make()?;
    pending.write_sealed(&format!("{}.run", name_of(run.id, part)), run)
}

/// A merge was undone: what its run owes, it owes no more.
pub(super) fn undone(vardir: &Path, name: &str) -> Result<(), MergeError> {
    let pending = pending(vardir);
    let path = pending.directory.join(format!("{name}.run"));
    match fs::rename(&path, path.with_extension("undone")) {
        // It was not written down yet, or not to its end.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let is_record = |name: &String| name.ends_with(".run") || name.ends_with(".undone");
            if pending.names()?.iter().any(is_record) { Ok(()) } else { pending.remove() }
        }
        other => step("rename", &path, other).and_then(|()| pending.sync()),
    }
}

/// The run that died after its last merge and before its report was kept. Nothing is known while a merge is under way.
///
/// # Errors
/// What it left is damaged or cannot be read.
pub(crate) fn unfinished(vardir: &Path) -> Result<Option<Unfinished>, MergeError> {
    if Journal::current(vardir).exists() {
        return Ok(None);
    }
    let pending = pending(vardir);
    let names = pending.names()?;
    let last = |extension: &str| {
        let numbers = names.iter().filter_map(|name| {
            let (run, part) = name.strip_suffix(extension)?.split_once('.')?;
            Some((run.parse::<u64>().ok()?, part.parse::<u32>().ok()?))
        });
        numbers.max()
    };
    let (merged, (run, part)) = match (last(".run"), last(".undone")) {
        (Some(last), _) => (true, last),
        (None, Some(last)) => (false, last),
        (None, None) => return Ok(None),
    };
    let name = name_of(run, part);
    let record = pending.directory.join(format!("{name}.{}", if merged { "run" } else { "undone" }));
    let mut run: Run = read_sealed(&record)?;
    run.merged = merged;
    run.interrupted = true;
    for (number, deferred) in run.deferred.iter_mut().enumerate() {
        let mark = |what| format!("{name}.{number}.{what}");
        deferred.begun |= names.contains(&mark("begun"));
        if names.contains(&mark("ended")) {
            deferred.ended = Some(read_sealed(&pending.directory.join(mark("ended")))?);
        }
    }
    Ok(Some(Unfinished { run, part }))
}

/// Notes that a deferred command of a run is about to be executed.
///
/// # Errors
/// It could not be noted; so it must not be executed.
pub(crate) fn begin(vardir: &Path, (run, part): (u64, u32), command: usize) -> Result<(), MergeError> {
    pending(vardir).write(&format!("{}.{command}.begun", name_of(run, part)), b"")
}

/// Notes how it ended.
///
/// # Errors
/// It could not be noted.
pub(crate) fn end(
    vardir: &Path,
    (run, part): (u64, u32),
    command: usize,
    ended: &Ended,
) -> Result<(), MergeError> {
    pending(vardir).write_sealed(&format!("{}.{command}.ended", name_of(run, part)), ended)
}

/// The report of this run is kept: it owes nothing any more. Where its merge could neither be finished nor undone, it does.
///
/// # Errors
/// What it left cannot be removed.
pub(crate) fn forget(vardir: &Path, run: u64) -> Result<(), MergeError> {
    let pending = pending(vardir);
    let its = format!("{run}.");
    if Journal::current(vardir).exists() || !pending.names()?.iter().any(|name| name.starts_with(&its)) {
        return Ok(());
    }
    // Removed file by file, it could owe again what a mark says was done.
    tidy(vardir)?;
    let settled = settled(vardir);
    pending.rename_to(&settled)?;
    settled.remove()
}

/// Removes what was about to be removed when its run died.
pub(super) fn tidy(vardir: &Path) -> Result<(), MergeError> {
    let settled = settled(vardir);
    if settled.exists() { settled.remove() } else { Ok(()) }
}
