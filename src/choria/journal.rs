//! What a running server has to say. Libraries hand it over; the command line decides where it is shown.

use std::fmt;

/// One thing worth telling while the server runs. Never holds a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note<'a> {
    /// An ordinary step.
    Info(&'a str),
    /// Something that an operator may want to look into; the server goes on.
    Warning(&'a str),
    /// Something that keeps a part of the server from working.
    Error(&'a str),
    /// The server is up; a service manager may go on.
    Ready,
    /// The server was told to stop and is doing so.
    Stopping,
}

/// Receives the notes of one server, in their order.
pub trait Journal: Send + Sync {
    /// Takes one note.
    fn note(&self, note: Note<'_>);

    /// Takes an ordinary step.
    fn info(&self, line: &str) {
        self.note(Note::Info(line));
    }

    /// Takes something to look into.
    fn warning(&self, line: &str) {
        self.note(Note::Warning(line));
    }

    /// Takes something that does not work.
    fn error(&self, line: &str) {
        self.note(Note::Error(line));
    }
}

/// Text from the other side of the network, fit for a log: one line, no control characters, not endless.
pub fn printable(text: impl fmt::Display) -> String {
    text.to_string().chars().take(200).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_the_network_stays_on_its_line() {
        assert_eq!(printable("a\nb\u{1b}[2J"), "a\\nb\\u{1b}[2J");
    }
}
