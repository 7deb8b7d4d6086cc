//! The timeline of a run as SVG: a lane for the run itself and one for each module, a bar for each step.

use std::fmt::Write as _;

use crate::cli::report::text::{escape, shortened};
use crate::disco::report::{Outcome, Run, Step};

/// Width of the drawing, of the names at its left and of the margin at its right, in its own units.
const WIDTH: f64 = 1000.0;
const NAMES: f64 = 210.0;
const MARGIN: f64 = 16.0;

/// Height of the axis and of a lane.
const AXIS: f64 = 26.0;
const LANE: f64 = 20.0;

/// Letters of a name that fit left of the lanes.
const LETTERS: usize = 28;

/// A bar is at least this wide, so that a short step can be seen and pointed at.
const NARROWEST: f64 = 1.5;

/// The kinds of steps in the order of the legend, with the class that colours each.
pub(super) const KINDS: &[(&str, &str)] = &[
    ("fetch_params", "k-fetch"),
    ("fetch", "k-fetch"),
    ("files", "k-files"),
    ("template", "k-template"),
    ("exec", "k-exec"),
    ("diff", "k-diff"),
    ("merge", "k-merge"),
];

struct Lane<'a> {
    name: &'a str,
    failed: bool,
    skipped: bool,
    steps: &'a [Step],
}

/// Draws the run.
pub(super) fn draw(run: &Run) -> String {
    let mut lanes = vec![Lane { name: "(the run)", failed: false, skipped: false, steps: &run.internal }];
    lanes.extend(run.modules.iter().map(|module| Lane {
        name: &module.name,
        failed: matches!(module.outcome, Outcome::Failed(_)),
        skipped: matches!(module.outcome, Outcome::Skipped(_)),
        steps: &module.steps,
    }));
    let end = lanes
        .iter()
        .flat_map(|lane| lane.steps)
        .map(|step| step.began + step.usage.real)
        .fold(run.seconds.max(0.001), f64::max);
    let x = |seconds: f64| NAMES + seconds / end * (WIDTH - NAMES - MARGIN);
    let height = AXIS + LANE * lanes.len() as f64 + 6.0;

    let mut svg = format!(
        "<svg class=\"timeline\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"Timeline of the steps\">\n"
    );
    let tick = tick(end);
    let mut at = 0.0;
    while at <= end {
        let position = x(at);
        let label = seconds(at, tick);
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{position:.1}\" y1=\"{AXIS}\" x2=\"{position:.1}\" y2=\"{height}\"/>\
             <text class=\"tick\" x=\"{position:.1}\" y=\"16\" text-anchor=\"middle\">{label}</text>"
        );
        at += tick;
    }
    for (number, lane) in lanes.iter().enumerate() {
        let top = AXIS + LANE * number as f64;
        let class = match (lane.failed, lane.skipped) {
            (true, _) => "name bad",
            (_, true) => "name faint",
            _ => "name",
        };
        let _ = writeln!(
            svg,
            "<text class=\"{class}\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{}<title>{}</title></text>",
            NAMES - 10.0,
            top + 14.0,
            escape(&shortened(lane.name, LETTERS)),
            escape(lane.name)
        );
        for step in lane.steps {
            let width = (x(step.began + step.usage.real) - x(step.began)).max(NARROWEST);
            let class =
                KINDS.iter().find(|(kind, _)| *kind == step.kind).map_or("k-other", |(_, class)| class);
            let bad = if step.usage.exit == 0 { "" } else { " broke" };
            let _ = writeln!(
                svg,
                "<rect class=\"{class}{bad}\" x=\"{:.2}\" y=\"{}\" width=\"{width:.2}\" height=\"{}\" rx=\"1.5\">\
                 <title>{}: {:.3} s from {:.3} s, exit {}</title></rect>",
                x(step.began),
                top + 3.0,
                LANE - 6.0,
                escape(&format!("{} {}", step.kind, step.item.as_deref().unwrap_or_default())),
                step.usage.real,
                step.began,
                step.usage.exit
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// A round distance of ticks, so that four to ten of them fit.
fn tick(end: f64) -> f64 {
    let decade = 10f64.powf((end / 5.0).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * decade);
    steps.into_iter().find(|step| end / step <= 10.0).unwrap_or(decade * 10.0)
}

/// A time with as many decimals as the ticks need.
fn seconds(at: f64, tick: f64) -> String {
    let decimals = (-tick.log10().floor()).max(0.0) as usize;
    format!("{at:.decimals$} s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_neither_crowded_nor_lonely() {
        for end in [0.004, 0.37, 1.0, 2.72, 9.9, 61.0, 3600.0] {
            let count = end / tick(end);
            assert!((3.9..=10.0).contains(&count), "{end}: {count}");
        }
        assert_eq!(seconds(0.1 + 0.2, tick(0.9)), "0.3 s");
        assert_eq!(seconds(20.0, 10.0), "20 s");
    }
}
