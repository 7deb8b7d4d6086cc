//! One module of a dance: its files, its templates, its scripts.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::disco::Mode;
use crate::disco::dance::place::{self, PlaceError};
use crate::disco::dance::{Event, Watch};
use crate::disco::report::{HeldBackBy, Step, Usage};
use crate::disco::sandbox::plan::{COMMANDS_DIR, PARAMETERS_DIR, RESTRICTED_DIR};
use crate::disco::sandbox::shadow::HeldBack;
use crate::disco::sandbox::{Activity, OutputUse, PARAMETERS_VARIABLE, Program, Sandbox, SandboxError};
use crate::disco::universe::module::{Module, ModuleError};
use crate::disco::universe::params::NodeName;
use crate::disco::universe::tree::{self, TreeError};

/// Longest output of a template; what is longer is a runaway.
const LONGEST_OUTPUT: usize = 64 << 20;

/// Interpreter of templates, and of scripts that name none.
pub(crate) const BASH: &str = "/bin/bash";

/// PATH of scripts and templates behind the original's commands: no caller's habits get in.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why a module did not get to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpinError {
    /// A template did not end well, so its target is what it was.
    #[error("template {module}/templates/{} failed, not replacing /{}: {why}", template.display(), template.display())]
    Template { module: String, template: PathBuf, why: String },
    /// A script did not end well.
    #[error("script {module}/scripts/{} failed: {why}", script.display())]
    Script { module: String, script: PathBuf, why: String },
    #[error(transparent)]
    Module(#[from] ModuleError),
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error(transparent)]
    Place(#[from] PlaceError),
}

/// The sandbox itself is in trouble, and with it the run; or just this module.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error(transparent)]
    Module(SpinError),
    #[error(transparent)]
    Sandbox(SandboxError),
}

impl<E> From<E> for Trouble
where
    SpinError: From<E>,
    E: std::error::Error,
{
    fn from(error: E) -> Self {
        Trouble::Module(error.into())
    }
}

/// What a module did, whether or not it got to its end.
#[derive(Debug, Default)]
pub(crate) struct Spun {
    pub(crate) steps: Vec<Step>,
    pub(crate) held_back: Vec<HeldBackBy>,
    /// Calls that are to be executed after the merge, each with the step that made it.
    pub(crate) deferred: Vec<(String, HeldBack)>,
}

/// The stage on which modules dance.
pub(crate) struct Stage<'a> {
    pub(crate) mode: Mode,
    /// Whether scripts and templates may call only what `restricted.d` allows.
    pub(crate) restricted: bool,
    /// When the run began.
    pub(crate) began: Instant,
    pub(crate) node: &'a NodeName,
    pub(crate) sandbox: &'a mut Sandbox,
}

impl Stage<'_> {
    /// Runs one module. `spun` collects what it did, up to the step that failed.
    pub(crate) fn spin(&mut self, module: &Module, spun: &mut Spun, watch: Watch<'_>) -> Result<(), Trouble> {
        tree::check(&module.directory)?;
        self.files(module, spun)?;
        for template in module.templates()? {
            self.template(module, &template, spun, watch)?;
        }
        for script in module.scripts()? {
            self.script(module, &script, spun, watch)?;
        }
        Ok(())
    }

    fn files(&self, module: &Module, spun: &mut Spun) -> Result<(), Trouble> {
        let files = module.directory.join("files");
        if files.is_dir() {
            let started = Instant::now();
            place::place_tree(self.sandbox.root(), &files)?;
            let usage = Usage::timed(started.elapsed());
            spun.steps.push(Step::new("files", None, self.began, started, usage));
        }
        Ok(())
    }

    fn template(
        &mut self,
        module: &Module,
        template: &Path,
        spun: &mut Spun,
        watch: Watch<'_>,
    ) -> Result<(), Trouble> {
        let source = module.directory.join("templates").join(template);
        let failed =
            |why| SpinError::Template { module: module.name.to_string(), template: template.into(), why };
        let program = self.program(module, vec![BASH.into(), source.clone().into()]);
        let started = Instant::now();
        let ran = self.run(module, template, &program, OutputUse::Captured, spun, watch);
        let (usage, content) = ran.map_err(|error| unless_broken(error, failed))?;
        let item = Some(template.display().to_string());
        spun.steps.push(Step::new("template", item, self.began, started, usage));
        if usage.exit != 0 {
            return Err(failed(ending(usage.exit)).into());
        }
        if content.len() > LONGEST_OUTPUT {
            return Err(failed(format!("it wrote more than {} MiB", LONGEST_OUTPUT >> 20)).into());
        }
        place::place_output(self.sandbox.root(), &Path::new("/").join(template), &source, &content)?;
        Ok(())
    }

    fn script(
        &mut self,
        module: &Module,
        script: &Path,
        spun: &mut Spun,
        watch: Watch<'_>,
    ) -> Result<(), Trouble> {
        let source = module.directory.join("scripts").join(script);
        let failed = |why| SpinError::Script { module: module.name.to_string(), script: script.into(), why };
        let argv = interpreter(&source).map_err(|error| failed(error.to_string()))?;
        let program = self.program(module, argv);
        let started = Instant::now();
        let ran = self.run(module, script, &program, OutputUse::Shown, spun, watch);
        let (usage, _) = ran.map_err(|error| unless_broken(error, failed))?;
        let item = Some(script.display().to_string());
        spun.steps.push(Step::new("exec", item, self.began, started, usage));
        if usage.exit == 0 { Ok(()) } else { Err(failed(ending(usage.exit)).into()) }
    }

    /// Runs a program of a module and returns what it used, and its output if that is to be captured.
    fn run(
        &mut self,
        module: &Module,
        item: &Path,
        program: &Program,
        output: OutputUse,
        spun: &mut Spun,
        watch: Watch<'_>,
    ) -> Result<(Usage, Vec<u8>), SandboxError> {
        let name = module.name.as_str();
        let (mut captured, mut shown, mut complaints) = (Vec::new(), Lines::default(), Lines::default());
        let (held_back, deferred) = (&mut spun.held_back, &mut spun.deferred);
        let usage = self.sandbox.run(program, output, &mut |activity| match activity {
            Activity::Output(bytes) if output == OutputUse::Captured => {
                // One byte too many is enough to know.
                captured.extend_from_slice(&bytes[..bytes.len().min(LONGEST_OUTPUT + 1 - captured.len())]);
            }
            Activity::Output(bytes) => {
                shown.push(bytes, &mut |line| watch(Event::Output { module: name, line }))
            }
            Activity::Complaint(bytes) => {
                complaints.push(bytes, &mut |line| watch(Event::Output { module: name, line }));
            }
            Activity::Deferred(call) => {
                watch(Event::Deferred { module: name, call: &call });
                deferred.push((item.display().to_string(), call));
            }
            Activity::HeldBack(call) => {
                if !call.told {
                    watch(Event::HeldBack { module: name, call: &call });
                }
                held_back.push(HeldBackBy { module: name.into(), step: item.display().to_string(), call });
            }
        })?;
        shown.finish(&mut |line| watch(Event::Output { module: name, line }));
        complaints.finish(&mut |line| watch(Event::Output { module: name, line }));
        Ok((usage, captured))
    }

    fn program(&self, module: &Module, mut argv: Vec<OsString>) -> Program {
        let mut path = format!("{COMMANDS_DIR}:{PATH}");
        if self.restricted {
            path = format!("{COMMANDS_DIR}:{RESTRICTED_DIR}");
            argv = restricted(argv);
        }
        let mut environment = vec![
            ("PATH".to_owned(), path),
            ("HOME".to_owned(), "/root".to_owned()),
            ("LANG".to_owned(), "C.UTF-8".to_owned()),
            ("DISCO_MODULE".to_owned(), module.name.to_string()),
            ("DISCO_NODE".to_owned(), self.node.as_str().to_owned()),
            (PARAMETERS_VARIABLE.to_owned(), PARAMETERS_DIR.to_owned()),
        ];
        if self.mode == Mode::Noop {
            environment.push(("NOOP".to_owned(), "true".to_owned()));
        }
        Program::new(argv, environment)
    }
}

/// A program that did not start or went too far is its module's failure; a sandbox that is gone is the run's.
fn unless_broken(error: SandboxError, failed: impl FnOnce(String) -> SpinError) -> Trouble {
    match error {
        SandboxError::Start { .. } | SandboxError::OverLimit(_) | SandboxError::LeftBehind(_) => {
            Trouble::Module(failed(error.to_string()))
        }
        broken => Trouble::Sandbox(broken),
    }
}

fn ending(exit: i32) -> String {
    // As a shell tells them; there are 64 signals.
    match exit - 128 {
        signal @ 1..=64 => format!("signal {signal} ended it"),
        _ => format!("it ended with code {exit}"),
    }
}

/// How a script runs where only what is allowed may be called: a shell as a restricted bash, any other interpreter by what
/// a restricted shell would find under its name.
fn restricted(mut argv: Vec<OsString>) -> Vec<OsString> {
    let name = Path::new(&argv[0]).file_name().unwrap_or_default();
    if name == "bash" || name == "sh" {
        // Long options come first.
        argv.splice(..1, [BASH, "--restricted"].map(OsString::from));
    } else {
        argv[0] = Path::new(RESTRICTED_DIR).join(name).into();
    }
    argv
}

/// What runs a script: its own `#!` line, one argument included as the kernel does it, or bash.
pub(crate) fn interpreter(script: &Path) -> io::Result<Vec<OsString>> {
    let mut head = Vec::new();
    fs::File::open(script)?.take(256).read_to_end(&mut head)?;
    let line = head
        .strip_prefix(b"#!")
        .and_then(|rest| rest.split(|&byte| byte == b'\n').next())
        .unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut argv: Vec<OsString> = match line.trim().split_once(char::is_whitespace) {
        Some((program, argument)) => vec![program.into(), argument.trim().into()],
        None if line.trim().is_empty() => vec![BASH.into()],
        None => vec![line.trim().into()],
    };
    argv.push(script.into());
    Ok(argv)
}

/// Cuts a stream into lines; what cannot be shown on a terminal is escaped.
#[derive(Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// Longest line that is waited for; a longer one is cut.
    const LONGEST: usize = 64 << 10;

    fn push(&mut self, bytes: &[u8], show: &mut dyn FnMut(&str)) {
        for &byte in bytes {
            if byte == b'\n' || self.rest.len() >= Self::LONGEST {
                show(&printable(&self.rest));
                self.rest.clear();
            }
            if byte != b'\n' {
                self.rest.push(byte);
            }
        }
    }

    fn finish(self, show: &mut dyn FnMut(&str)) {
        if !self.rest.is_empty() {
            show(&printable(&self.rest));
        }
    }
}

fn printable(line: &[u8]) -> String {
    let mut text = String::with_capacity(line.len());
    for c in String::from_utf8_lossy(line).chars() {
        match c {
            '\r' => {}
            c if c.is_control() && c != '\t' => text.extend(c.escape_default()),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_run_by_its_own_first_line_or_by_bash() {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("s");
        for (text, expected) in [
            ("#!/bin/sh\n", vec!["/bin/sh"]),
            ("#! /usr/bin/env  python3 -u \nprint()", vec!["/usr/bin/env", "python3 -u"]),
            ("echo x\n", vec![BASH]),
            ("#!\n", vec![BASH]),
            ("", vec![BASH]),
        ] {
            fs::write(&script, text).unwrap();
            let mut argv = interpreter(&script).unwrap();
            assert_eq!(argv.pop().as_deref(), Some(script.as_os_str()));
            assert_eq!(argv, expected, "{text:?}");
        }
    }

    #[test]
    fn a_restricted_script_is_run_by_a_restricted_bash_or_by_what_is_allowed() {
        for (argv, expected) in [
            (["/bin/sh", "-e", "s"], vec![BASH, "--restricted", "-e", "s"]),
            (["/usr/bin/env", "python3", "s"], vec!["/var/disco/restricted/env", "python3", "s"]),
            (["/usr/bin/python3", "-u", "s"], vec!["/var/disco/restricted/python3", "-u", "s"]),
        ] {
            assert_eq!(restricted(argv.map(OsString::from).into()), expected);
        }
    }

    #[test]
    fn codes_of_signals_are_told_from_others() {
        for (exit, said) in
            [(3, "it ended with code 3"), (137, "signal 9 ended it"), (255, "it ended with code 255")]
        {
            assert_eq!(ending(exit), said);
        }
    }

    #[test]
    fn a_stream_is_cut_into_lines_that_cannot_hurt_a_terminal() {
        let mut shown = Vec::new();
        let mut lines = Lines::default();
        for part in ["on", "e\ntwo\n\x1b[2J", "x\r\nlast"] {
            lines.push(part.as_bytes(), &mut |line| shown.push(line.to_owned()));
        }
        lines.finish(&mut |line| shown.push(line.to_owned()));
        assert_eq!(shown, ["one", "two", "\\u{1b}[2Jx", "last"]);
    }
}
