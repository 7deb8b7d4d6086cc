//! One line on standard error that says what a run is busy with, for a person at a terminal; nothing for anybody else.

use std::io::{self, IsTerminal, Write};

/// Width that is assumed where the terminal does not say its own.
const WIDTH: usize = 80;

/// Takes the line away: back to its beginning, and nothing behind that.
const ERASE: &str = "\r\u{1b}[K";

/// The line, shown or not.
#[derive(Debug)]
pub(super) struct Progress {
    terminal: bool,
    shown: bool,
}

impl Progress {
    /// A line where standard error is a terminal that can erase one.
    pub(super) fn on_stderr() -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Progress { terminal: io::stderr().is_terminal() && !dumb, shown: false }
    }

    /// Says what goes on now, in place of what was said before.
    pub(super) fn say(&mut self, text: &str) {
        if self.terminal {
            // One column stays free: a full line would wrap, and could not be erased.
            let fitting: String = text.chars().take(width().saturating_sub(1)).collect();
            // A terminal that went away is no reason to end the run.
            let _ = write!(io::stderr(), "{ERASE}{fitting}");
            self.shown = true;
        }
    }

    /// Takes the line away; what comes next stands where it was.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(io::stderr(), "{ERASE}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

fn width() -> usize {
    rustix::termios::tcgetwinsize(io::stderr()).map_or(WIDTH, |size| match size.ws_col {
        0 => WIDTH,
        columns => columns.into(),
    })
}
