//! The twin for audit-only builds.

use std::path::Path;

use super::{MergeError, Recovered, Source, Undoable};
use crate::disco::changes::Change;

pub(crate) fn merge(_: &[Change], _: &Source<'_>) -> Result<(), MergeError> {
    Err(MergeError::NotBuiltIn)
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

pub(crate) fn rollback(_: &Path) -> Result<(), MergeError> {
    Err(MergeError::NotBuiltIn)
}
