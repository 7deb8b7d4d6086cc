//! The status file: how the server is doing, for local checks; members as the reference's status command reads them.

use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::choria::agents::{Node, Statistics};

/// How often the file is written.
pub const INTERVAL: Duration = Duration::from_secs(10);

/// What stands for "no such time" in the reference's files.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// The file could not be written; a file from before is left as it was.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the status file {}", path.display())]
pub struct StatusError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// What the file says about a node in provisioning mode. `broker`: the connected one, empty if none.
pub fn status(node: &Node, broker: &str, now: i64) -> Value {
    let counted = &node.statistics;
    json!({
        "identity": node.identity.as_str(),
        "uptime": now.saturating_sub(node.started),
        "connected_server": broker,
        "last_message": counted.last_message.load(Ordering::Relaxed),
        "provisioning_mode": true,
        "stats": {
            "total": Statistics::get(&counted.total),
            "valid": Statistics::get(&counted.validated),
            "invalid": Statistics::get(&counted.unvalidated),
            "passed": Statistics::get(&counted.passed),
            "filtered": Statistics::get(&counted.filtered),
            "replies": Statistics::get(&counted.replies),
            "ttlexpired": Statistics::get(&counted.ttl_expired),
            "events": Statistics::get(&counted.events),
        },
        "certificate_expires": NEVER,
        "token_expires": NEVER,
    })
}

/// Replaces the file, readable by all, and makes its directory if that is missing: what lies below `/run` is gone after
/// a restart of the machine. A reader sees the old content or the new one, never a part.
///
/// # Errors
/// The directory cannot be made or written to; nothing is left behind.
pub fn write(path: &Path, status: &Value) -> Result<(), StatusError> {
    let failed = |source| StatusError { path: path.to_owned(), source };
    let directory = path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(directory).map_err(failed)?;
    let mut file = NamedTempFile::new_in(directory).map_err(failed)?;
    file.write_all(status.to_string().as_bytes()).map_err(failed)?;
    file.as_file().set_permissions(Permissions::from_mode(0o644)).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choria::agents::tests::node;

    #[test]
    fn the_file_is_replaced_as_a_whole_and_readable_by_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/status.json");
        for now in [1_760_000_005, 1_760_000_007] {
            write(&path, &status(&node(), "nats://b:1", now)).unwrap();
        }
        let found: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(found["uptime"], 7);
        assert_eq!(found["connected_server"], "nats://b:1");
        assert_eq!(found["provisioning_mode"], true);
        assert_eq!(found["stats"]["ttlexpired"], 0);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(
            std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1,
            "a temporary file stayed behind"
        );
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let error = write(Path::new("/proc/nothing/status.json"), &json!({})).unwrap_err();
        assert!(error.to_string().contains("/proc/nothing/status.json"));
    }
}
