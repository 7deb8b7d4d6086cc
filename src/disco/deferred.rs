//! The commands that a live run put off: which ones, in which order, and how they ended on the host after the merge.

use serde::{Deserialize, Serialize};

use crate::disco::commands;
use crate::disco::report::Usage;
use crate::disco::sandbox::shadow::{HeldBack, one_line};
use crate::disco::sandbox::{Host, directory_of};

/// A command that was put off, and by whose step it was called last.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Deferred {
    /// The module.
    pub module: String,
    /// The script or template, relative to its folder in the module.
    pub step: String,
    /// Name of the command and its arguments.
    pub argv: Vec<String>,
    /// Working directory of the call.
    pub directory: String,
    /// Whether it was begun. Without an end, the client was killed meanwhile: whether it did its work is not known.
    #[serde(default)]
    pub begun: bool,
    /// Whether it is not to be executed, because the changes that it was for are not on the host.
    #[serde(default)]
    pub dropped: bool,
    /// How it ended; none if it was not executed, or not to its end.
    pub ended: Option<Ended>,
}

/// How a deferred command ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ended {
    /// What it used; none if it could not be executed to its end.
    pub usage: Option<Usage>,
    /// What it wrote, the beginning of it.
    pub output: String,
    /// Why it failed; none if it ended well.
    pub failed: Option<String>,
}

impl Deferred {
    /// Puts a call off. The same call once more takes the place of the one before it: a service that several modules
    /// want to be restarted is restarted once, after the last of them.
    pub(crate) fn add(queue: &mut Vec<Deferred>, module: &str, step: String, call: HeldBack) {
        let HeldBack { argv, directory, .. } = call;
        queue.retain(|deferred| deferred.argv != argv || deferred.directory != directory);
        queue.push(Deferred {
            module: module.to_owned(),
            step,
            argv,
            directory,
            begun: false,
            dropped: false,
            ended: None,
        });
    }

    /// Whether it was begun and did not end well, as far as is known.
    pub fn has_failed(&self) -> bool {
        self.begun && self.ended.as_ref().is_none_or(|ended| ended.failed.is_some())
    }

    /// Whether it is still to be executed.
    pub fn is_pending(&self) -> bool {
        !self.begun && !self.dropped
    }

    /// The call as it is shown.
    pub fn line(&self) -> String {
        one_line(&self.argv)
    }
}

/// Executes one command that was put off.
pub(crate) fn execute(deferred: &Deferred, host: &Host) -> Ended {
    let Some((name, arguments)) = deferred.argv.split_first() else {
        return Ended { usage: None, output: String::new(), failed: Some("it names no command".to_owned()) };
    };
    // Asked now: the merge may have brought the program.
    let Some(program) = commands::program(name) else {
        let failed = Some("there is no such command on this host".to_owned());
        return Ended { usage: None, output: String::new(), failed };
    };
    let directory = directory_of(&deferred.directory);
    match host.execute(&program, arguments, &directory) {
        Ok((usage, output)) => {
            let failed = (usage.exit != 0).then(|| format!("it ended with code {}", usage.exit));
            Ended { usage: Some(usage), output, failed }
        }
        Err(error) => Ended { usage: None, output: String::new(), failed: Some(error.to_string()) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_call_again_is_executed_once_in_the_place_of_the_last() {
        let mut queue = Vec::new();
        for (line, directory) in
            [("service a restart", "/"), ("service b start", "/"), ("service a restart", "/")]
        {
            let argv = line.split(' ').map(str::to_owned).collect();
            let call = HeldBack { argv, directory: directory.to_owned(), told: false, deferred: false };
            Deferred::add(&mut queue, "m-1", "s".to_owned(), call);
        }
        let lines: Vec<_> = queue.iter().map(Deferred::line).collect();
        assert_eq!(lines, ["service b start", "service a restart"]);
    }
}
