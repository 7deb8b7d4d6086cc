//! The commands of a run on its page: those that the noop held back, and those that were put off until after the merge.

use std::fmt::Write as _;

use crate::cli::report::text::escape;
use crate::disco::report::Run;
use crate::disco::sandbox::shadow::one_line;

/// What a noop held back.
pub(super) fn held_back(page: &mut String, run: &Run) {
    let rows = run.held_back.iter().map(|held| {
        let call = &held.call;
        [one_line(&call.argv), held.module.clone(), held.step.clone(), call.directory.clone()].to_vec()
    });
    table(page, "Commands held back", &["command", "module", "step", "directory"], rows);
}

/// What a live run executed after the merge, or did not, and what that wrote.
pub(super) fn deferred(page: &mut String, run: &Run) {
    let rows = run.deferred.iter().map(|deferred| {
        let result = match &deferred.ended {
            None if deferred.begun => "not known: the run was interrupted meanwhile".to_owned(),
            None => "not executed".to_owned(),
            Some(ended) => ended.failed.clone().unwrap_or_else(|| "done".to_owned()),
        };
        let output = deferred.ended.as_ref().map(|ended| ended.output.clone()).unwrap_or_default();
        [deferred.line(), deferred.module.clone(), deferred.step.clone(), result, output].to_vec()
    });
    table(page, "Commands after the merge", &["command", "module", "step", "result", "output"], rows);
}

/// A table whose first column are commands; nothing if it has no rows.
fn table(page: &mut String, title: &str, heads: &[&str], rows: impl ExactSizeIterator<Item = Vec<String>>) {
    if rows.len() == 0 {
        return;
    }
    let _ = writeln!(
        page,
        "<section>\n<h2>{title} <small>{}</small></h2>\n<div class=\"wide\"><table>\n<thead><tr>",
        rows.len()
    );
    heads.iter().for_each(|head| page.push_str(&format!("<th>{head}</th>")));
    page.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        page.push_str("<tr>");
        for (head, cell) in heads.iter().zip(row) {
            let cell = escape(cell.trim_end());
            let _ = match *head {
                "command" | "directory" => write!(page, "<td><code>{cell}</code></td>"),
                "output" => write!(page, "<td class=\"output\">{cell}</td>"),
                _ => write!(page, "<td>{cell}</td>"),
            };
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody>\n</table></div>\n</section>\n");
}
