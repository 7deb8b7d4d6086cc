//! What a person and a program see: settings, contents, secrets, noise, exit codes, on a throw-away node.

mod modules;
mod programs;
mod report;
mod showing;
