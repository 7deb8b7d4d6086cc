//! How much one step of a module may take: words for the settings, and what is said when it is too much.

use std::fmt;
use std::str::FromStr;

use crate::disco::settings::{Row, Setting, SettingError, Sources};

/// Wall clock of one step.
pub const TIME: Row = Row {
    name: "time limit",
    environment: "DISCO_LIMITS_TIME",
    parameter: "disco/limits/time",
    key: "plugin.disco.limits.time",
};

/// Processes of one step and their threads, at one time.
pub const PROCESSES: Row = Row {
    name: "process limit",
    environment: "DISCO_LIMITS_PROCESSES",
    parameter: "disco/limits/processes",
    key: "plugin.disco.limits.processes",
};

/// What a run may write to its upper layers.
pub const SCRATCH: Row = Row {
    name: "scratch limit",
    environment: "DISCO_LIMITS_SCRATCH",
    parameter: "disco/limits/scratch",
    key: "plugin.disco.limits.scratch",
};

/// Memory of all processes of one step.
pub const MEMORY: Row = Row {
    name: "memory limit",
    environment: "DISCO_LIMITS_MEMORY",
    parameter: "disco/limits/memory",
    key: "plugin.disco.limits.memory",
};

/// What one step may write to its output and error streams.
pub const OUTPUT: Row = Row {
    name: "output limit",
    environment: "DISCO_LIMITS_OUTPUT",
    parameter: "disco/limits/output",
    key: "plugin.disco.limits.output",
};

/// What an amount counts; decides the words that a setting may end with.
pub trait Unit {
    /// Words and what they stand for, the largest first.
    const WORDS: &'static [(&'static str, u64)];
    /// What a setting looks like.
    const SAMPLE: &'static str;
}

/// Seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seconds;
/// Bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes;
/// Pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pieces;

impl Unit for Seconds {
    const WORDS: &'static [(&'static str, u64)] = &[("h", 3600), ("m", 60), ("s", 1)];
    const SAMPLE: &'static str = "`90s`, `30m` or `2h`";
}

impl Unit for Bytes {
    const WORDS: &'static [(&'static str, u64)] =
        &[("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)];
    const SAMPLE: &'static str = "`512M` or `16G`";
}

impl Unit for Pieces {
    const WORDS: &'static [(&'static str, u64)] = &[];
    const SAMPLE: &'static str = "`4096`";
}

/// An amount that is not to be exceeded; none: whatever it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AtMost<U> {
    /// The amount, in the smallest unit.
    pub amount: Option<u64>,
    unit: std::marker::PhantomData<U>,
}

impl<U> AtMost<U> {
    fn of(amount: Option<u64>) -> Self {
        AtMost { amount, unit: std::marker::PhantomData }
    }
}

/// A text that is no amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("say a whole number above 0 such as {sample}, or `none`")]
pub struct AmountError {
    sample: &'static str,
}

impl<U: Unit> FromStr for AtMost<U> {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        if text == "none" {
            return Ok(AtMost::of(None));
        }
        let (digits, factor) = U::WORDS
            .iter()
            .find_map(|(word, factor)| Some((text.strip_suffix(word)?, *factor)))
            .unwrap_or((text, 1));
        let number = digits.parse::<u64>().ok().filter(|number| *number > 0);
        match number.and_then(|number| number.checked_mul(factor)) {
            Some(amount) => Ok(AtMost::of(Some(amount))),
            None => Err(AmountError { sample: U::SAMPLE }),
        }
    }
}

impl<U: Unit> fmt::Display for AtMost<U> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(amount) = self.amount else { return out.write_str("none") };
        match U::WORDS.iter().find(|(_, factor)| amount % factor == 0) {
            Some((word, factor)) => write!(out, "{}{word}", amount / factor),
            None => write!(out, "{amount}"),
        }
    }
}

/// The limits of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Wall clock of one step.
    pub time: Setting<AtMost<Seconds>>,
    /// Processes of one step and their threads, at one time.
    pub processes: Setting<AtMost<Pieces>>,
    /// What a run may write to its upper layers.
    pub scratch: Setting<AtMost<Bytes>>,
    /// Memory of all processes of one step.
    pub memory: Setting<AtMost<Bytes>>,
    /// What one step may write to its output and error streams.
    pub output: Setting<AtMost<Bytes>>,
}

impl Limits {
    /// Looks every limit up. Without a setting: an hour, 4096 processes, 16 GiB written, three quarters of the machine's
    /// memory, 64 MiB of output.
    ///
    /// # Errors
    /// Names the first limit whose value means nothing, and where it comes from.
    pub fn resolve(sources: Sources<'_>) -> Result<Self, SettingError> {
        Ok(Limits {
            time: sources.find(&TIME, None, "1h")?,
            processes: sources.find(&PROCESSES, None, "4096")?,
            scratch: sources.find(&SCRATCH, None, "16G")?,
            memory: sources.find(&MEMORY, None, &most_of_the_memory())?,
            output: sources.find(&OUTPUT, None, "64M")?,
        })
    }

    /// Every limit: name, value and origin, for people.
    pub fn lines(&self) -> Vec<(&'static str, String, &crate::disco::settings::Origin)> {
        vec![
            (TIME.name, self.time.value.to_string(), &self.time.origin),
            (PROCESSES.name, self.processes.value.to_string(), &self.processes.origin),
            (SCRATCH.name, self.scratch.value.to_string(), &self.scratch.origin),
            (MEMORY.name, self.memory.value.to_string(), &self.memory.origin),
            (OUTPUT.name, self.output.value.to_string(), &self.output.origin),
        ]
    }
}

/// Three quarters of the machine's memory, in whole MiB; `none` where the kernel does not tell.
fn most_of_the_memory() -> String {
    let told = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = told.lines().find_map(|line| {
        line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
    });
    total.map_or_else(|| "none".to_owned(), |kib| format!("{}M", (kib / 1024 * 3 / 4).max(1)))
}

/// A step that took more than it may.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it {did} more than {limit} and was ended; the limit is {row}, or {key} in server.conf")]
pub struct OverLimit {
    did: &'static str,
    limit: String,
    row: &'static str,
    key: &'static str,
}

impl OverLimit {
    /// Says what was exceeded; `did` is what the step did, in the past.
    pub(crate) fn new(row: &Row, did: &'static str, limit: String) -> Self {
        OverLimit { did, limit, row: row.parameter, key: row.key }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_and_written_in_the_words_of_their_unit() {
        for (text, amount, shown) in [
            ("90", Some(90), "90s"),
            ("2h", Some(7200), "2h"),
            ("120s", Some(120), "2m"),
            ("none", None, "none"),
        ] {
            let read: AtMost<Seconds> = text.parse().unwrap();
            assert_eq!((read.amount, read.to_string().as_str()), (amount, shown), "{text}");
        }
        assert_eq!("16G".parse::<AtMost<Bytes>>().unwrap().amount, Some(16 << 30));
        assert_eq!("1025".parse::<AtMost<Bytes>>().unwrap().to_string(), "1025");
        assert_eq!("4096".parse::<AtMost<Pieces>>().unwrap().to_string(), "4096");
        for text in ["", "0", "-1", "1.5h", "h", "16 G", "99999999999T"] {
            assert!(text.parse::<AtMost<Bytes>>().is_err(), "{text}");
        }
        assert!("4G".parse::<AtMost<Pieces>>().is_err());
    }
}
