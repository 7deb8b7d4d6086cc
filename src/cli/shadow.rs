//! This binary in the place of a command that acts on the running system: it asks the client what to do, and does that.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use crate::disco::sandbox::shadow::{self, Answer, Call, HeldBack, NOW_VARIABLE, OUTPUT_VARIABLE};

/// Answers for the command whose place this process took; none if it is the client itself.
pub(super) fn answer(arguments: &[OsString]) -> Option<ExitCode> {
    // By what is executed, not by its name: a command of a host may have ours.
    if !shadow::is_this_process() {
        return None;
    }
    // Not what the caller says (`exec -a`), but what was executed.
    let executed = rustix::param::linux_execfn().to_string_lossy().into_owned();
    let name = Path::new(&executed).file_name()?.to_string_lossy().into_owned();
    let arguments = arguments.get(1..).unwrap_or_default();
    let mut argv = vec![name.clone()];
    argv.extend(arguments.iter().map(|argument| argument.to_string_lossy().into_owned()));
    let directory = std::env::current_dir().map(|path| path.display().to_string()).unwrap_or_default();
    let held = HeldBack { argv, directory, told: is_the_scripts_output(), deferred: false };
    let now = std::env::var_os(NOW_VARIABLE).is_some_and(|value| !value.is_empty());
    let exact = arguments.iter().all(|argument| argument.to_str().is_some());
    let behind = shadow::name_behind(Path::new(&executed)).unwrap_or(name);
    let call = Call { held, behind, now, exact };
    // A closed output is the script's business; the report still gets the call.
    Some(match shadow::ask(&call) {
        Ok((Answer::Held, ..)) => {
            if call.held.told {
                let _ = writeln!(std::io::stdout(), "warning: {}", call.held.warning());
            }
            ExitCode::SUCCESS
        }
        Ok((Answer::Deferred, ..)) => ExitCode::SUCCESS,
        Ok((Answer::Run { environment }, ..)) => {
            let mut real = Command::new(shadow::real_program(&call.behind));
            let failed = real.arg0(&executed).args(arguments).envs(environment).exec();
            refused(&call, &failed.to_string())
        }
        Ok((Answer::Answered { exit, .. }, stdout, stderr)) => {
            let _ = std::io::stdout().write_all(&stdout).and_then(|()| std::io::stdout().flush());
            let _ = std::io::stderr().write_all(&stderr);
            ExitCode::from(u8::try_from(exit).unwrap_or(1))
        }
        Ok((Answer::Refused(why), ..)) => refused(&call, &why),
        Err(error) => refused(&call, &format!("nobody can be asked what becomes of it: {error}")),
    })
}

fn refused(call: &Call, why: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "error: {} was not executed: {why}", call.held.line());
    ExitCode::FAILURE
}

/// Whether standard output is the script's own, and not the inside of `$(…)` or of a pipe.
fn is_the_scripts_output() -> bool {
    let own = std::fs::metadata("/proc/self/fd/1").map(|found| format!("{}:{}", found.dev(), found.ino()));
    std::env::var(OUTPUT_VARIABLE).is_ok_and(|wanted| own.is_ok_and(|own| own == wanted))
}
