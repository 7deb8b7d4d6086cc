//! Tries a sandbox: puts one together, runs `true` inside, drops it, and takes the time.

use std::fs;
use std::time::{Duration, Instant};

use crate::disco::Mode;
use crate::disco::commands::Commands;
use crate::disco::doctor::{Finding, Patient};
use crate::disco::lock::{Lock, LockError};
use crate::disco::sandbox::probe;
use crate::disco::sandbox::{Furniture, OutputUse, Program, Sandbox, SandboxError, Scratch};

pub(super) fn examine(patient: &Patient<'_>) -> Option<Finding> {
    let about = "sandbox";
    // What is missing is among the findings already.
    probe::check(Mode::Noop).ok()?;
    let _lock = match Lock::take(&patient.vardir) {
        Ok(lock) => lock,
        Err(held @ LockError::Held { .. }) => {
            return Some(Finding::warning(
                about,
                format!("not tried: {held}"),
                "ask again when it has ended",
            ));
        }
        Err(error) => {
            let cure = "see the permissions of the state directory and its file system";
            return Some(Finding::failed(about, crate::disco::dance::with_causes(&error), cure));
        }
    };
    Some(match try_one(patient) {
        Ok([set_up, used, dropped]) => Finding::ok(
            about,
            format!(
                "works: put together in {:.1} ms, `true` in {:.1} ms, dropped in {:.1} ms",
                milliseconds(set_up),
                milliseconds(used),
                milliseconds(dropped)
            ),
        ),
        Err(error) => Finding::failed(
            about,
            crate::disco::dance::with_causes(&error),
            "correct what is named; in a container, give it the rights to mount and to make namespaces",
        ),
    })
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn try_one(patient: &Patient<'_>) -> Result<[Duration; 3], SandboxError> {
    let commands = Commands::read(&patient.etcdir.join("commands.d")).unwrap_or_default();
    let began = Instant::now();
    let scratch = Scratch::make(&patient.vardir)?;
    let parameters = scratch.path().join("parameters");
    fs::create_dir(&parameters).map_err(|source| SandboxError::Files {
        action: "make",
        path: parameters.clone(),
        source,
    })?;
    let mut sandbox =
        Sandbox::open(Mode::Noop, scratch, &parameters, Furniture { commands, ..Furniture::default() })?;
    let set_up = began.elapsed();
    let program = Program::new(vec!["/bin/true".into()], Vec::new());
    let began = Instant::now();
    sandbox.run(&program, OutputUse::Shown, &mut |_| {})?;
    let used = began.elapsed();
    let began = Instant::now();
    drop(sandbox);
    Ok([set_up, used, began.elapsed()])
}
