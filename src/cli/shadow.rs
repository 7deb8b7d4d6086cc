//! This binary in the place of a command that a noop holds back: it tells what it would execute, and does nothing.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;

use crate::brand::Brand;
use crate::disco::sandbox::ORIGINAL_COMMANDS;
use crate::disco::sandbox::shadow::{self, HeldBack, OUTPUT_VARIABLE};

/// Answers for the command whose place this process took; none if it was called by its own name, or on the host.
pub(super) fn answer(brand: &Brand, arguments: &[OsString]) -> Option<ExitCode> {
    // Not what the caller says (`exec -a`), but what was executed.
    let executed = rustix::param::linux_execfn().to_string_lossy().into_owned();
    let name = Path::new(&executed).file_name()?.to_string_lossy().into_owned();
    let ours = name == brand.binary || ORIGINAL_COMMANDS.contains(&name.as_str());
    if ours || !shadow::inside_noop() {
        return None;
    }
    let mut argv = vec![name];
    argv.extend(arguments.iter().skip(1).map(|argument| argument.to_string_lossy().into_owned()));
    let directory = std::env::current_dir().map(|path| path.display().to_string()).unwrap_or_default();
    let mut call = HeldBack { argv, directory, told: is_the_scripts_output() };
    if call.told {
        // A closed output is the script's business; the report still gets the call.
        let _ = writeln!(std::io::stdout(), "warning: {}", call.warning());
    }
    if shadow::report(&call).is_err() && !call.told {
        // Nobody listens: rather in the wrong place than not at all.
        call.told = true;
        eprintln!("warning: {}", call.warning());
    }
    Some(ExitCode::SUCCESS)
}

/// Whether standard output is the script's own, and not the inside of `$(…)` or of a pipe.
fn is_the_scripts_output() -> bool {
    let own = std::fs::metadata("/proc/self/fd/1").map(|found| format!("{}:{}", found.dev(), found.ino()));
    std::env::var(OUTPUT_VARIABLE).is_ok_and(|wanted| own.is_ok_and(|own| own == wanted))
}
