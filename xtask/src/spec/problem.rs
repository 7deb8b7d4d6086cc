//! What is wrong in a spec, drawn with file, line, column, caret and cure.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// One refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// What is wrong, a lowercase fragment.
    pub(crate) title: String,
    /// Where in the file, in bytes; nothing when the file itself is the problem.
    pub(crate) span: Option<Range<usize>>,
    /// What stands below the caret.
    pub(crate) label: String,
    /// How to put it right.
    pub(crate) cures: Vec<String>,
}

impl Problem {
    /// A problem at a place in the file.
    pub(crate) fn at(span: Range<usize>, title: impl Into<String>, label: impl Into<String>) -> Self {
        Problem { title: title.into(), span: Some(span), label: label.into(), cures: Vec::new() }
    }

    /// A problem of the file as a whole.
    pub(crate) fn of_file(title: impl Into<String>) -> Self {
        Problem { title: title.into(), span: None, label: String::new(), cures: Vec::new() }
    }

    /// Adds a way out.
    pub(crate) fn cure(mut self, cure: impl Into<String>) -> Self {
        self.cures.push(cure.into());
        self
    }
}

/// A spec that cannot be built, with all its problems.
#[derive(Debug)]
pub(crate) struct Refused {
    path: String,
    source: String,
    problems: Vec<Problem>,
}

impl Refused {
    /// `secrets` are the places in the source that no drawing may show.
    pub(crate) fn new(
        path: String,
        source: &str,
        mut problems: Vec<Problem>,
        secrets: &[Range<usize>],
    ) -> Self {
        // In the order of the file, however the checks came to them.
        problems.sort_by_key(|problem| problem.span.as_ref().map_or(usize::MAX, |span| span.start));
        Refused { path, source: masked(source, secrets), problems }
    }

    /// All problems, one after the other; coloured if `styled`.
    pub(crate) fn draw(&self, styled: bool) -> String {
        let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
        let mut drawn: Vec<String> =
            self.problems.iter().map(|problem| self.draw_one(problem, &renderer)).collect();
        if self.problems.len() > 1 {
            drawn.push(format!("error: {} problems in {}", self.problems.len(), self.path));
        }
        drawn.join("\n\n")
    }

    fn draw_one(&self, problem: &Problem, renderer: &Renderer) -> String {
        let Some(span) = &problem.span else {
            let group = Level::ERROR
                .primary_title(&problem.title)
                .element(annotate_snippets::Origin::path(&self.path))
                .elements(problem.cures.iter().map(|cure| Level::HELP.message(cure)));
            return renderer.render(&[group]);
        };
        let annotation = AnnotationKind::Primary.span(span.clone()).label(&problem.label);
        let group = Level::ERROR
            .primary_title(&problem.title)
            .element(Snippet::source(&self.source).path(&self.path).annotation(annotation))
            .elements(problem.cures.iter().map(|cure| Level::HELP.message(cure)));
        renderer.render(&[group])
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.draw(false))
    }
}

impl std::error::Error for Refused {}

/// The text with stars for what must not be shown; no byte moves.
fn masked(source: &str, secrets: &[Range<usize>]) -> String {
    let mut text = String::with_capacity(source.len());
    for (at, letter) in source.char_indices() {
        if letter != '\n' && secrets.iter().any(|secret| secret.contains(&at)) {
            text.extend(std::iter::repeat_n('*', letter.len_utf8()));
        } else {
            text.push(letter);
        }
    }
    text
}

/// Where a token may stand in a text that is not even TOML: what follows `token =` on a line.
pub(crate) fn possible_tokens(source: &str) -> Vec<Range<usize>> {
    let mut places = Vec::new();
    let mut start = 0;
    for line in source.split_inclusive('\n') {
        if let Some(word) = line.find("token")
            && let Some(equals) = line[word..].find('=')
        {
            places.push(start + word + equals + 1..start + line.len());
        }
        start += line.len();
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_drawn_as_stars_of_the_same_length() {
        assert_eq!(masked("token = \"äb\"\n", std::slice::from_ref(&(8..13))), "token = *****\n");
    }

    #[test]
    fn a_token_in_broken_toml_is_found() {
        let source = "[provisioning]\ntoken = \"abc\nx = 1\n";
        assert_eq!(masked(source, &possible_tokens(source)), "[provisioning]\ntoken =*****\nx = 1\n");
    }
}
