//! Exit codes: few, stable, part of the interface.

/// Everything went well.
pub const FINE: u8 = 0;
/// The command could not run, or something failed.
pub const FAILED: u8 = 1;
/// The command line was not understood (clap's own code), or there are changes (`--detailed-exitcodes`).
pub const USAGE: u8 = 2;
/// With `--detailed-exitcodes`: there are changes; in noop, they are pending.
pub const CHANGES: u8 = 2;
/// With `--detailed-exitcodes`: steps failed and nothing changed.
pub const FAILURES: u8 = 4;
/// With `--detailed-exitcodes`: there are changes, and steps failed.
pub const CHANGES_AND_FAILURES: u8 = 6;
