//! What a shadow says when it is called, and what it hears.
//!
//! A shadow is this very binary behind the path of the real command (see `cli/shadow.rs`). It tells its command line over
//! a socket, so that the report knows even of calls whose output a script swallowed, and does as it is answered.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::disco::changes::Change;
use crate::disco::sandbox::calls;
use crate::disco::sandbox::plan::RUNTIME_DIR;

/// One call of a command that was held back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldBack {
    /// Name of the command as it was called, without its directory, and its arguments.
    pub argv: Vec<String>,
    /// Working directory of the call.
    pub directory: String,
    /// Whether the shadow itself tells so on the script's own output.
    pub told: bool,
    /// Whether a live run puts it off until after its merge. The client says so, not the shadow.
    #[serde(default)]
    pub deferred: bool,
}

impl HeldBack {
    /// The call as it is shown.
    pub fn line(&self) -> String {
        one_line(&self.argv)
    }

    /// The original's wording, without its prefix.
    pub fn warning(&self) -> String {
        format!("Would execute : {}", self.line())
    }
}

/// A command line as one line of text, whatever its arguments hold.
pub(crate) fn one_line(argv: &[String]) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    argv.join(" ").chars().map(escaped).collect()
}

/// What a shadow tells the client.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Call {
    /// The call, as it is reported if it is held back.
    pub held: HeldBack,
    /// Name of the watched command whose place the shadow took, if the call came by a link of another name: `poweroff` is
    /// `systemctl` on many systems.
    pub behind: String,
    /// Whether a live run is to execute it at once, whatever the lists say.
    pub now: bool,
    /// Whether the arguments are what the caller gave, byte for byte.
    pub exact: bool,
}

/// What the client tells a shadow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// It was held back: go on as if it had been done.
    Held,
    /// It will be executed after the merge: go on as if it had been done.
    Deferred,
    /// Become the real program.
    Run {
        /// Variables that it gets beside its own.
        environment: Vec<(String, String)>,
    },
    /// The host executed it; what it wrote follows, a packet for each stream that it wrote to.
    Answered {
        /// Its exit code.
        exit: i32,
        /// Whether a packet with its standard output follows.
        stdout: bool,
        /// Whether a packet with its standard error follows.
        stderr: bool,
    },
    /// It can be neither held back nor executed; why.
    Refused(String),
}

/// Environment variable that tells a shadow which file the script's own output is: device and inode.
pub const OUTPUT_VARIABLE: &str = "DISCO_OUTPUT";

/// Environment variable by which a script has a live run execute a deferred command at once.
pub const NOW_VARIABLE: &str = "DISCO_NOW";

/// Tells the client of a call and returns its answer with what the host's program wrote on its two streams. Called by a
/// shadow, inside the sandbox.
///
/// # Errors
/// Nobody listens.
pub fn ask(call: &Call) -> io::Result<(Answer, Vec<u8>, Vec<u8>)> {
    calls::call(call)
}

/// Whether this process was started in the place of a watched command.
pub fn is_this_process() -> bool {
    fs::read_link("/proc/self/exe").is_ok_and(|executed| executed == program())
}

/// Name of the watched command behind an executed path: the last name on the way to the shadow program.
pub fn name_behind(executed: &Path) -> Option<String> {
    let mut path = executed.to_owned();
    // More links than the kernel follows.
    for _ in 0..41 {
        let target = path.parent().unwrap_or(Path::new("/")).join(path.read_link().ok()?);
        if target == program() {
            break;
        }
        path = target;
    }
    Some(path.file_name()?.to_string_lossy().into_owned())
}

/// Where the real program of a shadowed command can be reached inside.
pub fn real_program(name: &str) -> PathBuf {
    Path::new(RUNTIME_DIR).join("real").join(name)
}

/// Where every shadow leads to.
pub(super) fn program() -> PathBuf {
    Path::new(RUNTIME_DIR).join("shadow")
}

/// Takes the shadows themselves from the changes of a run: one that was copied up, by `chown --no-dereference` on its
/// directory for instance, is no change of the command behind it.
///
/// # Errors
/// The path to which a shadow was copied or moved, where merged it would lead nowhere; and the other changes.
pub(crate) fn without_shadows(
    changes: Vec<Change>,
    shadows: &[PathBuf],
) -> Result<Vec<Change>, (PathBuf, Vec<Change>)> {
    let program = program();
    let is_shadow = |change: &Change| {
        let target = change.after.as_ref().and_then(|after| after.target.as_deref());
        target.is_some_and(|target| Path::new(target) == program)
    };
    let (found, changes): (Vec<_>, Vec<_>) = changes.into_iter().partition(is_shadow);
    match found.into_iter().find(|change| !shadows.contains(&change.path.0)) {
        Some(misplaced) => Err((misplaced.path.0, changes)),
        None => Ok(changes),
    }
}
