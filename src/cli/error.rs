//! The edge where library errors become words, hints and an exit code.

use std::error::Error;

use crate::cli::exit;

/// Why a command ended badly, and what the person at the terminal can do about it.
#[derive(Debug)]
pub struct CommandError {
    error: Box<dyn Error + Send + Sync>,
    hints: Vec<String>,
}

impl CommandError {
    /// The command ended with this error.
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        CommandError { error: error.into(), hints: Vec::new() }
    }

    /// Adds something to do that is true in this very situation.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The exit code that goes with it.
    pub fn exit_code(&self) -> u8 {
        exit::FAILED
    }

    /// The error, its causes and the hints, a line each.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("error: {}", self.error)];
        let mut cause = self.error.source();
        while let Some(error) = cause {
            lines.push(format!("  caused by: {error}"));
            cause = error.source();
        }
        lines.extend(self.hints.iter().map(|hint| format!("  hint: {hint}")));
        lines
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for CommandError {
    fn from(error: E) -> Self {
        CommandError::new(error)
    }
}
