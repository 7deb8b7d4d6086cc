//! The twin for audit-only builds.

use std::path::{Path, PathBuf};

use super::{MergeError, Recovered, Source, Undoable, Unfinished};
use crate::disco::changes::Change;
use crate::disco::deferred::Ended;

pub(crate) fn merge(_: &[Change], _: &Source<'_>) -> Result<(), MergeError> {
    Err(MergeError::NotBuiltIn)
}

/// No noop of a build that cannot merge foretells a merge.
pub(crate) fn objection(_: &[Change], _: &Source<'_>) -> Option<MergeError> {
    None
}

/// A build that cannot merge leaves no merge behind.
pub(crate) fn recover(_: &Path) -> Result<Option<Recovered>, MergeError> {
    Ok(None)
}

/// A build that cannot merge has no merge to number another run after.
pub(crate) fn last_run(_: &Path) -> Result<u64, MergeError> {
    Ok(0)
}

pub(crate) fn undoable(_: &Path) -> Result<Undoable, MergeError> {
    Err(MergeError::NotBuiltIn)
}

pub(crate) fn rollback(_: &Path) -> Result<Vec<PathBuf>, MergeError> {
    Err(MergeError::NotBuiltIn)
}

/// A build that cannot merge leaves no run without an end.
pub(crate) fn unfinished(_: &Path) -> Result<Option<Unfinished>, MergeError> {
    Ok(None)
}

pub(crate) fn begin(_: &Path, _: (u64, u32), _: usize) -> Result<(), MergeError> {
    Err(MergeError::NotBuiltIn)
}

pub(crate) fn end(_: &Path, _: (u64, u32), _: usize, _: &Ended) -> Result<(), MergeError> {
    Err(MergeError::NotBuiltIn)
}

/// There is nothing to forget.
pub(crate) fn forget(_: &Path, _: u64) -> Result<(), MergeError> {
    Ok(())
}
