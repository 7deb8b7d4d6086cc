//! Reads tables of a spec and notes what is wrong, instead of stopping at the first problem.
//!
//! The code that asks for a key is the only list of keys: what was never asked for is unknown, and what was asked for
//! is what an unknown key's message offers.

use std::cell::RefCell;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::Problem;

/// Problems found so far, shared by the readers of all tables.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    found: RefCell<Vec<Problem>>,
    secrets: RefCell<Vec<Range<usize>>>,
}

impl Problems {
    pub(crate) fn add(&self, problem: Problem) {
        self.found.borrow_mut().push(problem);
    }

    /// Keeps a place of the file out of all messages.
    pub(crate) fn hide(&self, span: Range<usize>) {
        self.secrets.borrow_mut().push(span);
    }

    /// All problems, and where in the file secrets stand that no message may quote.
    pub(crate) fn into_parts(self) -> (Vec<Problem>, Vec<Range<usize>>) {
        (self.found.into_inner(), self.secrets.into_inner())
    }
}

/// One table that is being read.
pub(crate) struct TableReader<'a> {
    /// Dotted name, empty for the file itself.
    name: String,
    /// Where its header is; nothing if the file does not have it.
    span: Option<Range<usize>>,
    entries: Option<&'a DeTable<'a>>,
    asked: Vec<&'static str>,
    problems: &'a Problems,
}

impl<'a> TableReader<'a> {
    /// The whole file.
    pub(crate) fn root(entries: &'a DeTable<'a>, problems: &'a Problems) -> Self {
        TableReader { name: String::new(), span: None, entries: Some(entries), asked: Vec::new(), problems }
    }

    /// Where the header of the table is.
    pub(crate) fn span(&self) -> Option<Range<usize>> {
        self.span.clone()
    }

    fn entry(&mut self, key: &'static str) -> Option<(Range<usize>, &'a Spanned<DeValue<'a>>)> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        let (found, value) = self.entries?.iter().find(|(found, _)| found.get_ref() == key)?;
        Some((found.span(), value))
    }

    /// Where a key's name stands.
    pub(crate) fn key_span(&self, key: &str) -> Option<Range<usize>> {
        self.entries?.iter().find(|(found, _)| found.get_ref() == key).map(|(found, _)| found.span())
    }

    fn wrong_type(&self, key: &str, value: &Spanned<DeValue<'a>>, wanted: &str) {
        let is = described(value.get_ref());
        self.problems.add(Problem::at(
            value.span(),
            format!("`{}` is {is}, it must be {wanted}", self.dotted(key)),
            format!("expected {wanted}"),
        ));
    }

    fn dotted(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    /// A string on one line without control characters.
    pub(crate) fn string(&mut self, key: &'static str) -> Option<Spanned<String>> {
        let (_, value) = self.entry(key)?;
        self.one_line(key, value, "a string")
    }

    fn one_line(
        &self,
        key: &str,
        value: &Spanned<DeValue<'a>>,
        wanted: &'static str,
    ) -> Option<Spanned<String>> {
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(key, value, wanted);
            return None;
        };
        if text.chars().any(char::is_control) {
            self.problems.add(
                Problem::at(
                    value.span(),
                    format!("`{}` has a line break or another control character", self.dotted(key)),
                    "not one line of text",
                )
                .cure("write it as one line"),
            );
            return None;
        }
        Some(Spanned::new(value.span(), text.to_owned()))
    }

    /// `true` or `false`.
    pub(crate) fn flag(&mut self, key: &'static str) -> Option<Spanned<bool>> {
        let (_, value) = self.entry(key)?;
        let Some(flag) = value.get_ref().as_bool() else {
            self.wrong_type(key, value, "true or false");
            return None;
        };
        Some(Spanned::new(value.span(), flag))
    }

    /// A positive number of 32 bits.
    pub(crate) fn count(&mut self, key: &'static str) -> Option<Spanned<u32>> {
        let (_, value) = self.entry(key)?;
        let wanted = "a number from 1 to 4294967295";
        let Some(number) = value.get_ref().as_integer() else {
            self.wrong_type(key, value, wanted);
            return None;
        };
        match u32::from_str_radix(number.as_str(), number.radix()) {
            Ok(count) if count > 0 => Some(Spanned::new(value.span(), count)),
            _ => {
                let title = format!("`{}` is out of range", self.dotted(key));
                self.problems.add(Problem::at(value.span(), title, format!("expected {wanted}")));
                None
            }
        }
    }

    /// A list of strings.
    pub(crate) fn strings(&mut self, key: &'static str) -> Option<Spanned<Vec<Spanned<String>>>> {
        let (_, value) = self.entry(key)?;
        let Some(items) = value.get_ref().as_array() else {
            self.wrong_type(key, value, "a list of strings");
            return None;
        };
        let read =
            items.iter().filter_map(|item| self.one_line(key, item, "a string in this list")).collect();
        Some(Spanned::new(value.span(), read))
    }

    /// A string, or a table with one string: what a secret looks like.
    pub(crate) fn literal_or_reference(&mut self, key: &'static str) -> Option<Spanned<Reference>> {
        let wanted = "a string, { env = \"NAME\" } or { file = \"path\" }";
        let (_, value) = self.entry(key)?;
        let span = value.span();
        let refers = value.get_ref().as_table().is_some_and(|table| {
            table.iter().all(|(key, _)| matches!(key.get_ref().as_ref(), "env" | "file"))
        });
        if !refers {
            self.problems.hide(span.clone());
        }
        if value.get_ref().is_str() {
            let text = self.one_line(key, value, wanted)?;
            return Some(Spanned::new(span, Reference::Literal(text.into_inner())));
        }
        let Some(entries) = value.get_ref().as_table() else {
            self.problems.add(Problem::at(
                span,
                format!("`{}` has the wrong type", self.dotted(key)),
                format!("expected {wanted}"),
            ));
            return None;
        };
        let mut table = TableReader {
            name: self.dotted(key),
            span: Some(span.clone()),
            entries: Some(entries),
            asked: Vec::new(),
            problems: self.problems,
        };
        let variable = table.string("env");
        let file = table.string("file");
        table.finish();
        match (variable, file) {
            (Some(name), None) => Some(Spanned::new(span, Reference::Variable(name.into_inner()))),
            (None, Some(path)) => Some(Spanned::new(span, Reference::File(path.into_inner()))),
            (None, None) if !entries.is_empty() => None,
            _ => {
                self.problems.add(Problem::at(
                    span,
                    format!("`{}` needs either `env` or `file`", self.dotted(key)),
                    format!("expected {wanted}"),
                ));
                None
            }
        }
    }

    /// A table below this one; an absent one reads as empty.
    pub(crate) fn table(&mut self, key: &'static str) -> TableReader<'a> {
        let name = self.dotted(key);
        let found = self.entry(key);
        self.read_table(name, key, found)
    }

    /// All tables below this one except those asked for, by name.
    pub(crate) fn other_tables(&mut self) -> Vec<(Spanned<String>, TableReader<'a>)> {
        let Some(entries) = self.entries else { return Vec::new() };
        let asked = std::mem::take(&mut self.asked);
        let tables = entries
            .iter()
            .filter(|(key, _)| !asked.contains(&key.get_ref().as_ref()))
            .map(|(key, value)| {
                let table =
                    self.read_table(self.dotted(key.get_ref()), key.get_ref(), Some((key.span(), value)));
                (Spanned::new(key.span(), key.get_ref().to_string()), table)
            })
            .collect();
        self.asked = asked;
        tables
    }

    fn read_table(
        &self,
        name: String,
        key: &str,
        found: Option<(Range<usize>, &'a Spanned<DeValue<'a>>)>,
    ) -> TableReader<'a> {
        let (span, entries) = match found {
            None => (None, None),
            Some((span, value)) => match value.get_ref().as_table() {
                Some(entries) => (Some(span), Some(entries)),
                None => {
                    self.wrong_type(key, value, "a table");
                    (None, None)
                }
            },
        };
        TableReader { name, span, entries, asked: Vec::new(), problems: self.problems }
    }

    /// Refuses what nobody asked for.
    pub(crate) fn finish(self) {
        for (key, _) in self.entries.into_iter().flatten() {
            let name = key.get_ref().as_ref();
            if self.asked.contains(&name) {
                continue;
            }
            let place =
                if self.name.is_empty() { "at the top".to_owned() } else { format!("in [{}]", self.name) };
            let kind = if self.name.is_empty() { "table" } else { "key" };
            let label = match nearest(name, &self.asked) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("not a {kind} of a spec"),
            };
            let accepted: Vec<_> = self.asked.iter().map(|key| format!("`{key}`")).collect();
            self.problems.add(
                Problem::at(key.span(), format!("unknown {kind} `{name}` {place}"), label)
                    .cure(format!("accepted here: {}", accepted.join(", "))),
            );
        }
    }
}

/// Where a secret is.
#[derive(Debug)]
pub(crate) enum Reference {
    /// In the spec itself.
    Literal(String),
    /// In an environment variable.
    Variable(String),
    /// In a file, relative to the spec.
    File(String),
}

fn described(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a fractional number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The accepted key that was probably meant: at most a third of its letters differ.
fn nearest(written: &str, accepted: &[&'static str]) -> Option<&'static str> {
    accepted
        .iter()
        .map(|key| (edit_distance(written, key), *key))
        .filter(|(distance, key)| *distance <= key.len().max(3) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, key)| key)
}

/// How many letters to insert, delete or replace (Levenshtein).
fn edit_distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, letter) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, other) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_offered_and_a_far_one_is_not() {
        assert_eq!(edit_distance("brockers", "brokers"), 1);
        assert_eq!(edit_distance("", "tls"), 3);
        assert_eq!(nearest("brockers", &["default", "brokers", "tls"]), Some("brokers"));
        assert_eq!(nearest("zzz", &["default", "brokers", "tls"]), None);
    }
}
