//! What this kernel, this host and this configuration allow, and what to do about what they do not. Nothing is changed,
//! but for a sandbox that is put together, used once and dropped.
//!
//! * `kernel.rs` asks the kernel, `host.rs` looks at state, programs and configuration, `trial.rs` tries a sandbox.

mod host;
mod kernel;
mod trial;

use std::path::PathBuf;

use serde::Serialize;

use crate::disco::settings::Settings;

/// Version of the JSON that `doctor --json` prints.
pub const SCHEMA: &str = "disco.doctor.v1";

/// What is to be examined.
#[derive(Debug)]
pub struct Patient<'a> {
    /// The settings, or why there are none.
    pub settings: Result<Settings, String>,
    /// State directory of the brand.
    pub vardir: PathBuf,
    /// Configuration directory of the brand.
    pub etcdir: PathBuf,
    /// Time of the commit that the binary was built from, RFC 3339; a right clock is later.
    pub built: &'a str,
}

/// How good it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// A dance works, with less than it could have.
    Warning,
    /// A dance does not work.
    Failed,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How good it is.
    pub verdict: Verdict,
    /// What was looked at.
    pub about: &'static str,
    /// What was found.
    pub found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
}

impl Finding {
    fn ok(about: &'static str, found: impl Into<String>) -> Self {
        Finding { verdict: Verdict::Ok, about, found: found.into(), cure: None }
    }

    fn warning(about: &'static str, found: impl Into<String>, cure: impl Into<String>) -> Self {
        Finding { verdict: Verdict::Warning, about, found: found.into(), cure: Some(cure.into()) }
    }

    fn failed(about: &'static str, found: impl Into<String>, cure: impl Into<String>) -> Self {
        Finding { verdict: Verdict::Failed, about, found: found.into(), cure: Some(cure.into()) }
    }
}

/// Examines everything; the last finding is how a sandbox fared.
///
/// Afterwards this process is in a mount namespace of its own.
pub fn examine(patient: &Patient<'_>) -> Vec<Finding> {
    let mut findings = kernel::examine();
    findings.extend(host::examine(patient));
    findings.extend(trial::examine(patient));
    findings
}
