//! The figures of a run in the original's blocks, and behind them their total and the slowest steps.

use crate::cli::output::Lines;
use crate::cli::report::{step_name, steps};
use crate::disco::report::{Run, Step, Usage};

/// Says a block for every step, one for all of them, and names the `slowest` ones.
pub(super) fn say(lines: &mut Lines, run: &Run, slowest: usize) {
    let steps = steps(run);
    for (module, step) in &steps {
        say_step(lines, module, step);
    }
    lines.say("report", &format!("_total: {} steps", steps.len()));
    for figures in figures(&total(run, &steps)) {
        lines.say("report", &format!("   {figures}"));
    }
    if slowest > 0 {
        let mut by_time = steps;
        by_time.sort_by(|(_, a), (_, b)| b.usage.real.total_cmp(&a.usage.real));
        by_time.truncate(slowest);
        lines.say("report", "_slowest:");
        for (module, step) in by_time {
            lines.say("report", &format!("   {:.2} s : {}", step.usage.real, step_name(module, step)));
        }
    }
}

/// The original's block: the step, its item if it has one, four lines of figures.
fn say_step(lines: &mut Lines, module: &str, step: &Step) {
    lines.say("report", &format!("{module}: {}", step.kind));
    let mut indent = "  ";
    if let Some(item) = &step.item {
        lines.say("report", &format!("{indent} {item} :"));
        indent = "     ";
    }
    for figures in figures(&step.usage) {
        lines.say("report", &format!("{indent} {figures}"));
    }
}

/// What all steps used together. The time is that of the clock, which steps that ran side by side share; the memory is
/// the largest of all; the exit code is that of the first step that failed.
pub(super) fn total(run: &Run, steps: &[(&str, &Step)]) -> Usage {
    let mut total = Usage { real: run.seconds, ..Usage::default() };
    for (_, Step { usage, .. }) in steps {
        total.user += usage.user;
        total.sys += usage.sys;
        total.mem_max = total.mem_max.max(usage.mem_max);
        total.faults_major += usage.faults_major;
        total.faults_minor += usage.faults_minor;
        total.fs_in += usage.fs_in;
        total.fs_out += usage.fs_out;
        total.sock_in += usage.sock_in;
        total.sock_out += usage.sock_out;
        total.signals += usage.signals;
        if total.exit == 0 {
            total.exit = usage.exit;
        }
    }
    total
}

fn figures(usage: &Usage) -> [String; 4] {
    [
        format!("time_real {:.2} : time_user {:.2} : time_sys {:.2}", usage.real, usage.user, usage.sys),
        format!(
            "mem_avg 0 : mem_max {} : mem_faults_major {} : mem_faults_minor {}",
            usage.mem_max, usage.faults_major, usage.faults_minor
        ),
        format!(
            "io_fsin {} : io_fsout {} : io_sockin {} : io_sockout {} : io_signals {}",
            usage.fs_in, usage.fs_out, usage.sock_in, usage.sock_out, usage.signals
        ),
        format!("exit: {}", usage.exit),
    ]
}
