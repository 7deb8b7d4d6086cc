//! The page of a run: one file without scripts and without anything from elsewhere, for light and dark.
//!
//! Whatever a universe or a host put into a run goes through [`escape`]; the policy in the head lets nothing load or run
//! even if something got past it.

use std::fmt::Write as _;

use crate::cli::history::result;
use crate::cli::output::{change_fields, content_text};
use crate::cli::report::text::escape;
use crate::cli::report::{commands, figures, graph, step_name, steps, timeline};
use crate::disco::Mode;
use crate::disco::changes::{Change, Kind};
use crate::disco::report::{Outcome, Run};

/// How everything looks.
const STYLE: &str = include_str!("report.css");

/// How many steps the page names as the slowest.
const SLOWEST: usize = 8;

/// Up to this many changes are unfolded from the start.
const FEW: usize = 3;

/// The whole page.
pub(super) fn page(run: &Run, product: &str) -> String {
    let title = format!("{}: run {} of {}", product, run.id, run.node);
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n",
        escape(&title)
    );
    header(&mut page, run, product);
    failures(&mut page, run);
    changes(&mut page, run);
    commands::held_back(&mut page, run);
    commands::deferred(&mut page, run);
    page.push_str("<section>\n<h2>Timeline</h2>\n");
    legend(&mut page, run);
    let _ = writeln!(page, "<div class=\"wide\">{}</div>\n</section>", timeline::draw(run));
    modules(&mut page, run);
    slowest(&mut page, run);
    notes(&mut page, run);
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn header(page: &mut String, run: &Run, product: &str) {
    let mode = match run.mode {
        Mode::Noop => "noop",
        Mode::Live => "live",
    };
    let result = result(run);
    let _ = writeln!(
        page,
        "<header>\n<p class=\"product\">{} · run {}</p>\n<h1>{} <span class=\"badge {mode}\">{mode}</span> \
         <span class=\"badge {}\">{result}</span></h1>\n<p class=\"verdict\">{}</p>\n<p class=\"faint\">{}</p>\n<ul class=\"tiles\">",
        escape(product),
        run.id,
        escape(&run.node),
        result.replace(' ', "-"),
        escape(&run.verdict()),
        escape(&run.started.replace('T', " ").replace('Z', " UTC")),
    );
    let (created, modified, deleted) = run.counts();
    let mut tiles = vec![
        (run.modules.len(), "modules", ""),
        (created, "created", "created"),
        (modified, "modified", "modified"),
        (deleted, "deleted", "deleted"),
    ];
    if run.mode == Mode::Noop {
        tiles.push((run.held_back.len(), "held back", ""));
    }
    if !run.deferred.is_empty() {
        tiles.push((run.deferred.len(), "deferred", ""));
    }
    if run.noise() > 0 {
        tiles.push((run.noise(), "noise", ""));
    }
    tiles.push((run.failed(), "failed", "failed"));
    for (count, name, class) in tiles {
        let class = if count == 0 { "none" } else { class };
        let _ = writeln!(page, "<li class=\"{class}\"><b>{count}</b> {name}</li>");
    }
    page.push_str("</ul>\n</header>\n");
}

fn failures(page: &mut String, run: &Run) {
    let bad: Vec<_> = run.modules.iter().filter(|module| module.outcome != Outcome::Done).collect();
    let refused: Vec<_> = run.deferred.iter().filter(|deferred| deferred.has_failed()).collect();
    if bad.is_empty() && refused.is_empty() {
        return;
    }
    page.push_str("<section>\n<h2>Failures</h2>\n<ul class=\"rows\">\n");
    for module in bad {
        let (class, why) = match &module.outcome {
            Outcome::Failed(why) => ("bad", why.clone()),
            Outcome::Skipped(because) => ("faint", format!("skipped: it requires {because}, which failed")),
            Outcome::Done => continue,
        };
        let _ = writeln!(
            page,
            "<li><b class=\"{class}\">{}</b> <span>{}</span></li>",
            escape(&module.name),
            escape(&why)
        );
    }
    for deferred in refused {
        let why = deferred.ended.as_ref().and_then(|ended| ended.failed.as_deref()).unwrap_or_default();
        let _ = writeln!(
            page,
            "<li><b class=\"bad\">{}</b> <span>{}, executed after the merge: {}</span></li>",
            escape(&deferred.module),
            escape(&deferred.line()),
            escape(why)
        );
    }
    page.push_str("</ul>\n</section>\n");
}

/// What the sandbox could not show faithfully.
fn notes(page: &mut String, run: &Run) {
    if run.notes.is_empty() {
        return;
    }
    page.push_str("<section>\n<h2>Notes</h2>\n<ul class=\"notes\">\n");
    for note in &run.notes {
        let _ = writeln!(page, "<li>{}</li>", escape(note));
    }
    page.push_str("</ul>\n</section>\n");
}

fn changes(page: &mut String, run: &Run) {
    let told: Vec<&Change> = run.told().collect();
    let _ = writeln!(page, "<section>\n<h2>Changes <small>{}</small></h2>", told.len());
    if told.is_empty() {
        page.push_str("<p class=\"faint\">Nothing differs from what the modules want.</p>\n");
    }
    let open = if told.len() <= FEW { " open" } else { "" };
    for change in told {
        let (mark, class) = match change.kind() {
            Kind::Created => ("+", "created"),
            Kind::Modified => ("~", "modified"),
            Kind::Deleted => ("−", "deleted"),
        };
        let summary = format!(
            "<span class=\"mark {class}\" title=\"{class}\">{mark}</span> <code>{}</code> <small>{}</small>",
            escape(&change.path.to_string()),
            escape(change.module.as_deref().unwrap_or_default())
        );
        let _ = writeln!(page, "<details class=\"change\"{open}>\n<summary>{summary}</summary>\n<dl>");
        for (name, value) in change_fields(change) {
            let _ = writeln!(page, "<dt>{name}</dt><dd>{}</dd>", escape(&value));
        }
        page.push_str("</dl>\n");
        diff(page, &content_text(change, &change.content));
        page.push_str("</details>\n");
    }
    if run.noise() > 0 {
        let _ = writeln!(
            page,
            "<details class=\"change\">\n<summary>{} more are noise</summary>\n<ul>",
            run.noise()
        );
        for change in run.changes.iter().filter(|change| change.noise && !change.implied) {
            let _ = writeln!(page, "<li><code>{}</code></li>", escape(&change.path.to_string()));
        }
        page.push_str("</ul>\n</details>\n");
    }
    page.push_str("</section>\n");
}

/// What differs inside, in either format.
fn diff(page: &mut String, text: &str) {
    if text.is_empty() {
        return;
    }
    page.push_str("<pre class=\"diff\">");
    for (number, line) in text.lines().enumerate() {
        let class = match line.as_bytes() {
            [b'<' | b'-', ..] => "old",
            [b'>' | b'+', ..] => "new",
            [b'@' | b'(' | b'0'..=b'9', ..] => "at",
            _ => "same",
        };
        // `---` between the two sides of the normal format belongs to neither; nor do the names of the files, which only
        // the unified format has, in its first two lines.
        let names = number < 2 && (line.starts_with("--- ") || line.starts_with("+++ "));
        let class = if names || line == "---" { "at" } else { class };
        let _ = writeln!(page, "<span class=\"{class}\">{}</span>", escape(line));
    }
    page.push_str("</pre>\n");
}

/// The kinds of steps that this run has.
fn legend(page: &mut String, run: &Run) {
    let steps = steps(run);
    page.push_str("<p class=\"legend\">");
    for (kind, class) in timeline::KINDS.iter().filter(|(kind, _)| *kind != "fetch_params") {
        if steps.iter().any(|(_, step)| step.kind == *kind) {
            let _ = write!(page, "<span><i class=\"{class}\"></i>{kind}</span> ");
        }
    }
    page.push_str("</p>\n");
}

fn modules(page: &mut String, run: &Run) {
    page.push_str("<section>\n<h2>Modules</h2>\n");
    let edges = |name: &str| run.edges.iter().any(|edge| edge.first == name || edge.then == name);
    if let Some(drawing) = graph::draw(run) {
        let _ = writeln!(page, "<div class=\"wide\">{drawing}</div>");
    }
    let alone: Vec<String> = run
        .modules
        .iter()
        .filter(|module| !edges(&module.name))
        .map(|module| format!("<code>{}</code>", escape(&module.name)))
        .collect();
    if !alone.is_empty() {
        let _ = writeln!(page, "<p class=\"alone\">Without requires: {}</p>", alone.join(" "));
    }
    page.push_str("</section>\n");
}

fn slowest(page: &mut String, run: &Run) {
    let all = steps(run);
    let total = figures::total(run, &all);
    let mut by_time = all.clone();
    by_time.sort_by(|(_, a), (_, b)| b.usage.real.total_cmp(&a.usage.real));
    let head = "<div class=\"wide\"><table class=\"figures\">\n<thead><tr><th>step</th><th>real</th><th>user</th><th>system</th>\
                <th>memory</th><th>faults</th><th>in</th><th>out</th><th>exit</th></tr></thead>\n<tbody>\n";
    let row = |page: &mut String, name: &str, usage: &crate::disco::report::Usage| {
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{:.2} s</td><td>{:.2} s</td><td>{:.2} s</td><td>{} KiB</td><td>{}</td><td>{}</td><td>{}</td>\
             <td>{}</td></tr>",
            escape(name),
            usage.real,
            usage.user,
            usage.sys,
            usage.mem_max,
            usage.faults_major + usage.faults_minor,
            usage.fs_in,
            usage.fs_out,
            usage.exit
        );
    };
    let _ = write!(page, "<section>\n<h2>Slowest steps</h2>\n{head}");
    for (module, step) in by_time.iter().take(SLOWEST) {
        row(page, &step_name(module, step), &step.usage);
    }
    row(page, &format!("all {} steps", all.len()), &total);
    page.push_str("</tbody>\n</table></div>\n");
    if all.len() > SLOWEST {
        let _ = write!(page, "<details>\n<summary>Every step in its order</summary>\n{head}");
        for (module, step) in &all {
            row(page, &step_name(module, step), &step.usage);
        }
        page.push_str("</tbody>\n</table></div>\n</details>\n");
    }
    page.push_str("</section>\n");
}
