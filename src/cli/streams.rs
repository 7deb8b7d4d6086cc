//! The streams of a program that a person runs in a sandbox: what it gets as input, and where its output is shown.

use std::io::{self, IsTerminal, Write};

use crate::disco::sandbox::Activity;
use crate::disco::session::Input;

/// A terminal of its own for a program that a person will see and type to; else whatever comes.
pub(super) fn input(stdin: std::os::fd::BorrowedFd<'_>) -> Input<'_> {
    match stdin.is_terminal() && io::stdout().is_terminal() {
        true => Input::Terminal(stdin),
        false => Input::Stream(stdin),
    }
}

/// Where the standard output of a program goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Stdout,
    /// Because standard output is for something else.
    Stderr,
}

/// Shows what a program does. A stream that nobody reads any more is the reader's business.
pub(super) fn pass_on(activity: Activity<'_>, answer: Answer) {
    let _ = match activity {
        Activity::Output(bytes) if answer == Answer::Stdout => {
            let mut out = io::stdout().lock();
            out.write_all(bytes).and_then(|()| out.flush())
        }
        Activity::Output(bytes) | Activity::Complaint(bytes) => io::stderr().write_all(bytes),
        Activity::HeldBack(call) if !call.told => {
            io::stderr().write_all(format!("warning: {}\n", call.warning()).as_bytes())
        }
        Activity::HeldBack(_) | Activity::Deferred(_) => Ok(()),
    };
}

/// The exit code of a program as one of ours.
pub(super) fn exit_code(code: i32) -> u8 {
    u8::try_from(code).unwrap_or(u8::MAX)
}
