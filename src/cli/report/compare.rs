//! Two runs side by side: what became slower, what is new, what is gone.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cli::output::Lines;
use crate::cli::report::{step_name, steps};
use crate::disco::report::Run;

/// Version of the JSON of a comparison.
const SCHEMA: &str = "disco.comparison.v1";

/// A run compared with one before it.
#[derive(Debug, Serialize)]
pub(super) struct Comparison {
    schema: &'static str,
    before: Side,
    after: Side,
    /// Largest difference first; then those that one run alone has.
    steps: Vec<Pair>,
}

#[derive(Debug, Serialize)]
struct Side {
    id: u64,
    started: String,
    seconds: f64,
    verdict: String,
}

/// One step in both runs; none: it was not part of that run. Times in seconds.
#[derive(Debug, Serialize)]
struct Pair {
    step: String,
    before: Option<f64>,
    after: Option<f64>,
}

impl Pair {
    fn difference(&self) -> f64 {
        self.after.unwrap_or(0.0) - self.before.unwrap_or(0.0)
    }
}

impl Comparison {
    /// Compares `after` with `before`.
    pub(super) fn of(before: &Run, after: &Run) -> Self {
        let mut pairs: BTreeMap<String, (Option<f64>, Option<f64>)> = BTreeMap::new();
        for (module, step) in steps(before) {
            pairs.entry(step_name(module, step)).or_default().0 = Some(step.usage.real);
        }
        for (module, step) in steps(after) {
            pairs.entry(step_name(module, step)).or_default().1 = Some(step.usage.real);
        }
        let mut steps: Vec<Pair> =
            pairs.into_iter().map(|(step, (before, after))| Pair { step, before, after }).collect();
        steps.sort_by(|a, b| b.difference().abs().total_cmp(&a.difference().abs()));
        let side = |run: &Run| Side {
            id: run.id,
            started: run.started.clone(),
            seconds: run.seconds,
            verdict: run.verdict(),
        };
        Comparison { schema: SCHEMA, before: side(before), after: side(after), steps }
    }
}

/// Says how long both runs took, and the `most` steps that differ most.
pub(super) fn say(lines: &mut Lines, comparison: &Comparison, most: usize) {
    let Comparison { before, after, steps, .. } = comparison;
    lines.say("report", &format!("_compare: run {} with run {}", after.id, before.id));
    lines.say("report", &format!("   run {} : {} : {}", before.id, before.started, before.verdict));
    lines.say("report", &format!("   run {} : {} : {}", after.id, after.started, after.verdict));
    lines.say("report", &format!("   {} : the whole run", times(Some(before.seconds), Some(after.seconds))));
    for pair in steps.iter().take(most) {
        lines.say("report", &format!("   {} : {}", times(pair.before, pair.after), pair.step));
    }
}

/// `0.30 => 0.45 s : +0.15 s (+50 %)`
fn times(before: Option<f64>, after: Option<f64>) -> String {
    match (before, after) {
        (Some(before), Some(after)) => {
            let difference = after - before;
            let share = if before > 0.0 {
                format!(" ({:+.0} %)", 100.0 * difference / before)
            } else {
                String::new()
            };
            format!("{before:.2} => {after:.2} s : {difference:+.2} s{share}")
        }
        (None, Some(after)) => format!("new, {after:.2} s"),
        (Some(before), None) => format!("gone, was {before:.2} s"),
        (None, None) => unreachable!("a step is part of one run at least"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_tell_how_much_and_in_which_direction() {
        assert_eq!(times(Some(0.3), Some(0.45)), "0.30 => 0.45 s : +0.15 s (+50 %)");
        assert_eq!(times(Some(2.0), Some(1.0)), "2.00 => 1.00 s : -1.00 s (-50 %)");
        assert_eq!(times(Some(0.0), Some(1.0)), "0.00 => 1.00 s : +1.00 s");
        assert_eq!(times(None, Some(1.0)), "new, 1.00 s");
        assert_eq!(times(Some(1.0), None), "gone, was 1.00 s");
    }
}
