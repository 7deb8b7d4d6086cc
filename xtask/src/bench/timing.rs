//! Taking times: two things in turn, and what is said of many figures.

use std::fmt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::bench::readable;

/// Runs that are not counted, until caches are warm.
const WARM_UP: usize = 2;

/// Times of the same thing, sorted.
#[derive(Debug, Clone)]
pub(crate) struct Figures(Vec<Duration>);

impl Figures {
    /// At least one time.
    pub(crate) fn new(mut times: Vec<Duration>) -> Self {
        assert!(!times.is_empty(), "nothing was measured");
        times.sort_unstable();
        Figures(times)
    }

    /// The one in the middle.
    pub(crate) fn median(&self) -> Duration {
        self.0[self.0.len() / 2]
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (least, most) = (self.0[0], self.0[self.0.len() - 1]);
        if self.0.len() == 1 {
            return out.write_str(&readable(least));
        }
        write!(out, "{} ({}–{})", readable(self.median()), readable(least), readable(most))
    }
}

/// Lets two things take turns and times both: `runs` counted times each.
pub(crate) fn in_turn(
    runs: usize,
    mut ours: impl FnMut() -> Result<Duration>,
    mut floor: impl FnMut() -> Result<Duration>,
) -> Result<(Figures, Figures)> {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for run in 0..runs + WARM_UP {
        let (a, b) = (ours()?, floor()?);
        if run >= WARM_UP {
            first.push(a);
            second.push(b);
        }
    }
    Ok((Figures::new(first), Figures::new(second)))
}

/// How long a command takes from its start until it was waited for; it has to end well.
pub(crate) fn command(argv: &[&str]) -> Result<Duration> {
    let mut command = Command::new(argv[0]);
    command.args(&argv[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let started = Instant::now();
    let status = command.status().with_context(|| format!("cannot start {}", argv[0]))?;
    let took = started.elapsed();
    ensure!(status.success(), "`{}` ended with {status}", argv.join(" "));
    Ok(took)
}

/// How long something in this process takes.
pub(crate) fn call(doing: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let started = Instant::now();
    doing()?;
    Ok(started.elapsed())
}
