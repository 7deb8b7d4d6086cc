//! The twin for audit-only builds.

use std::path::Path;

use super::MergeError;
use crate::disco::changes::Change;

pub(crate) fn merge(_: &[Change], _: &Path, _: (i64, i64)) -> Result<(), MergeError> {
    Err(MergeError::NotBuiltIn)
}
