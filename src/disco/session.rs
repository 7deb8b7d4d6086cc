//! What a person runs in the sandbox that stands: a shell, or a script.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use crate::disco::Mode;
use crate::disco::changes::{Change, ScanError, Scanner, Show};
use crate::disco::commands::{CommandListError, Commands};
use crate::disco::dance::spin::{BASH, PATH, interpreter};
use crate::disco::report::Usage;
use crate::disco::sandbox::plan::{COMMANDS_DIR, PARAMETERS_DIR, RESTRICTED_DIR};
use crate::disco::sandbox::probe::{self, ProbeError};
use crate::disco::sandbox::restricted;
use crate::disco::sandbox::shadow;
use crate::disco::sandbox::standing::Place;
use crate::disco::sandbox::{Activity, Furniture, PARAMETERS_VARIABLE, Program, Sandbox, SandboxError};

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// This machine or this user cannot.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The lists of commands.
    #[error(transparent)]
    Commands(#[from] CommandListError),
    /// The sandbox.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// There is none.
    #[error("no {} sandbox is mounted", .0.name())]
    NotMounted(Mode),
    /// There is one already.
    #[error("the {} sandbox is mounted already", .0.name())]
    Mounted(Mode),
    /// What it changed could not be read.
    #[error("cannot tell what changed")]
    Scan(#[from] ScanError),
    /// The script.
    #[error("cannot read the script {}", path.display())]
    Script {
        /// Which one.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
}

/// The standing sandbox of a mode.
pub struct Standing<'a> {
    mode: Mode,
    etcdir: &'a Path,
    place: Place,
}

impl<'a> Standing<'a> {
    /// Looks at where it stands, or would stand.
    ///
    /// # Errors
    /// This machine cannot hold one, or its directory cannot be made.
    pub fn of(mode: Mode, vardir: &Path, etcdir: &'a Path) -> Result<Self, SessionError> {
        // It is mounted where other commands find it, whatever its mode.
        probe::check(Mode::Live)?;
        Ok(Standing { mode, etcdir, place: Place::of(mode, vardir)? })
    }

    /// Puts it up.
    ///
    /// # Errors
    /// It stands already, or cannot be put up; nothing is left mounted then.
    pub fn mount(&self) -> Result<(), SessionError> {
        let restricted = match self.mode {
            Mode::Noop => restricted::commands(&self.etcdir.join("restricted.d"))?,
            Mode::Live => Vec::new(),
        };
        let furniture = Furniture { commands: self.commands()?, restricted, ..Furniture::default() };
        match self.place.mount(&furniture)? {
            true => Ok(()),
            false => Err(SessionError::Mounted(self.mode)),
        }
    }

    /// Takes it down with everything in it.
    ///
    /// # Errors
    /// There is none, or it does not end.
    pub fn unmount(&self) -> Result<(), SessionError> {
        match self.place.unmount()? {
            true => Ok(()),
            false => Err(SessionError::NotMounted(self.mode)),
        }
    }

    /// Finds it.
    ///
    /// # Errors
    /// There is none.
    pub fn find(&self) -> Result<Sandbox, SessionError> {
        self.place.find(self.commands()?)?.ok_or(SessionError::NotMounted(self.mode))
    }

    /// A live shell works with the system as it is: nothing is merged afterwards, so nothing can be put off until then.
    fn commands(&self) -> Result<Commands, CommandListError> {
        match self.mode {
            Mode::Noop => Commands::read(&self.etcdir.join("commands.d")),
            Mode::Live => Ok(Commands::default()),
        }
    }

    /// What differs in it from the live system, sorted by path.
    ///
    /// # Errors
    /// There is none, or a path cannot be read.
    pub fn changes(&self, show: Show) -> Result<Vec<Change>, SessionError> {
        let sandbox = self.find()?;
        let changes = Scanner::showing(show).scan(&sandbox)?;
        // A shadow that was moved is shown where it is now: nothing of this is merged.
        Ok(shadow::without_shadows(changes, sandbox.shadows()).unwrap_or_else(|(_, changes)| changes))
    }

    /// Where a session's program runs, and how it is called.
    fn program(&self, argv: Vec<OsString>, path: String, more: Vec<(String, String)>) -> Program {
        let mut environment = vec![
            ("PATH".to_owned(), path),
            ("HOME".to_owned(), "/root".to_owned()),
            ("LANG".to_owned(), "C.UTF-8".to_owned()),
            (PARAMETERS_VARIABLE.to_owned(), PARAMETERS_DIR.to_owned()),
        ];
        if self.mode == Mode::Noop {
            environment.push(("NOOP".to_owned(), "true".to_owned()));
        }
        environment.extend(more);
        Program::new(argv, environment)
    }

    /// A shell in which everything can be called; start-up files of the user are read.
    pub fn shell(&self, more: Vec<(String, String)>) -> Program {
        self.program(vec![BASH.into()], format!("{COMMANDS_DIR}:{PATH}"), more)
    }

    /// A restricted shell (bash, "The Restricted Shell"): only what `restricted.d` allows runs. It reads no start-up
    /// file, for that could give it another PATH.
    pub fn restricted_shell(&self, more: Vec<(String, String)>) -> Program {
        let argv = [BASH, "--noprofile", "--norc", "--restricted"].map(OsString::from);
        self.program(argv.into(), format!("{COMMANDS_DIR}:{RESTRICTED_DIR}"), more)
    }

    /// A script by its own `#!` line. `name` is the module in whose name it runs.
    ///
    /// # Errors
    /// The script cannot be read.
    pub fn script(&self, script: &Path, name: Option<&str>) -> Result<Program, SessionError> {
        let unreadable = |source| SessionError::Script { path: script.to_owned(), source };
        let script = fs::canonicalize(script).map_err(unreadable)?;
        let argv = interpreter(&script).map_err(unreadable)?;
        let name = name.map(|name| ("DISCO_MODULE".to_owned(), name.to_owned()));
        Ok(self.program(argv, format!("{COMMANDS_DIR}:{PATH}"), name.into_iter().collect()))
    }
}

/// What a person's program has as its standard input.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// What comes from this descriptor.
    Stream(BorrowedFd<'a>),
    /// A terminal of its own, into which the terminal of this descriptor types.
    Terminal(BorrowedFd<'a>),
}

/// Runs a person's program to its end.
///
/// # Errors
/// It could not be started, or the sandbox is gone.
pub fn run(
    sandbox: &mut Sandbox,
    program: &Program,
    input: Input<'_>,
    watch: &mut dyn FnMut(Activity<'_>),
) -> Result<Usage, SandboxError> {
    match input {
        Input::Stream(from) => sandbox.run_fed(program, from, watch),
        Input::Terminal(caller) => sandbox.run_on_terminal(program, caller, watch),
    }
}
