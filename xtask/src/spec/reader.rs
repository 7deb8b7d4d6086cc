//! Reads tables of a spec and notes what is wrong, instead of stopping at the first problem.
//!
//! What a table may have is in `keys.rs`. What is not there is unknown, and the nearest that is there is offered; what
//! is there and never asked for is a mistake of ours, which every test that reads a spec finds.

use std::borrow::Cow;
use std::cell::RefCell;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{self, Key, Shape, Table};
use super::problem::Problem;
use super::secrets;
use crate::signing::KeyPlace;

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

/// What a table may have.
#[derive(Debug, Clone, Copy)]
enum Known {
    /// The file itself: all tables.
    Tables,
    /// Tables of any name, all of the same keys.
    Children(&'static Table),
    /// Keys.
    Keys(&'static Table),
    /// The ways to say where a secret is.
    Places,
    /// The ways to say where a private key is.
    KeyPlaces,
}

/// Where a secret may be.
const PLACES: [&str; 2] = ["env", "file"];

/// Where a private key may be.
const KEY_PLACES: [&str; 2] = ["file", "agent"];

impl Known {
    /// Names with what each lacks.
    fn names(self) -> Vec<(&'static str, Option<&'static str>)> {
        match self {
            Known::Tables => keys::TABLES.iter().map(|table| (table.name, None)).collect(),
            Known::Keys(table) => table.keys.iter().map(|key| (key.name, key.lacks)).collect(),
            Known::Places => PLACES.into_iter().map(|name| (name, None)).collect(),
            Known::KeyPlaces => KEY_PLACES.into_iter().map(|name| (name, None)).collect(),
            Known::Children(_) => Vec::new(),
        }
    }

    /// What the table of this name may have.
    fn below(self, name: &str) -> Self {
        match self {
            Known::Tables => {
                let table =
                    keys::table(name).unwrap_or_else(|| panic!("[{name}] is not in the table of keys"));
                if table.shape == Shape::Named { Known::Children(table) } else { Known::Keys(table) }
            }
            Known::Children(table) => Known::Keys(table),
            Known::Keys(_) | Known::Places | Known::KeyPlaces => panic!("`{name}` is no table of a spec"),
        }
    }
}

/// One table that is being read.
pub(crate) struct TableReader<'a> {
    /// Dotted name, empty for the file itself.
    name: String,
    known: Known,
    /// Where its header is; nothing if the file does not have it.
    span: Option<Range<usize>>,
    entries: Option<&'a DeTable<'a>>,
    asked: Vec<&'static str>,
    problems: &'a Problems,
}

impl<'a> TableReader<'a> {
    /// The whole file.
    pub(crate) fn root(entries: &'a DeTable<'a>, problems: &'a Problems) -> Self {
        TableReader {
            name: String::new(),
            known: Known::Tables,
            span: None,
            entries: Some(entries),
            asked: Vec::new(),
            problems,
        }
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
        let refers = value
            .get_ref()
            .as_table()
            .is_some_and(|table| table.iter().all(|(key, _)| PLACES.contains(&key.get_ref().as_ref())));
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
            known: Known::Places,
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

    /// Where a private key is: a table with one string. A key that stands there itself is not shown.
    pub(crate) fn key_place(&mut self, key: &'static str) -> Option<Spanned<KeyPlace>> {
        let wanted = "{ file = \"path\" } or { agent = \"fingerprint\" }";
        let (_, value) = self.entry(key)?;
        let span = value.span();
        let Some(entries) = value.get_ref().as_table() else {
            self.problems.hide(span.clone());
            self.problems.add(
                Problem::at(
                    span,
                    format!("`{}` has the wrong type", self.dotted(key)),
                    format!("expected {wanted}"),
                )
                .cure("a spec never holds a key, only where it is"),
            );
            return None;
        };
        let mut table = TableReader {
            name: self.dotted(key),
            known: Known::KeyPlaces,
            span: Some(span.clone()),
            entries: Some(entries),
            asked: Vec::new(),
            problems: self.problems,
        };
        let (file, agent) = (table.string("file"), table.string("agent"));
        table.finish();
        match (file, agent) {
            (Some(path), None) => Some(Spanned::new(span, KeyPlace::File(path.into_inner().into()))),
            (None, Some(name)) => Some(Spanned::new(span, KeyPlace::Agent(name.into_inner()))),
            (None, None) if !entries.is_empty() => None,
            _ => {
                self.problems.add(Problem::at(
                    span,
                    format!("`{}` needs either `file` or `agent`", self.dotted(key)),
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

    /// A list of tables below this one, `[[key]]`; each is pointed to by its header.
    pub(crate) fn tables(&mut self, key: &'static str) -> Vec<TableReader<'a>> {
        let Some((_, value)) = self.entry(key) else { return Vec::new() };
        let Some(items) = value.get_ref().as_array() else {
            self.wrong_type(key, value, "a list of tables");
            return Vec::new();
        };
        items.iter().map(|item| self.read_table(self.dotted(key), key, Some((item.span(), item)))).collect()
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
        let known = self.known.below(key);
        TableReader { name, known, span, entries, asked: Vec::new(), problems: self.problems }
    }

    /// Refuses what a spec does not have, and what the product does not have yet.
    pub(crate) fn finish(self) {
        let names = self.known.names();
        let forgotten = names.iter().find(|(name, lacks)| lacks.is_none() && !self.asked.contains(name));
        assert!(forgotten.is_none(), "`{}` is in the table of keys, and nobody reads it", self.name);
        for (key, value) in self.entries.into_iter().flatten() {
            let name = key.get_ref().as_ref();
            if self.asked.contains(&name) || matches!(self.known, Known::Children(_)) {
                continue;
            }
            match names.iter().find(|(known, _)| *known == name) {
                Some((_, lacks)) => self.refuse_what_lacks(key, value, lacks.unwrap_or_default()),
                None => self.refuse_unknown(key, value, &names),
            }
        }
    }

    fn refuse_what_lacks(&self, key: &Spanned<Cow<'_, str>>, value: &Spanned<DeValue<'a>>, lacks: &str) {
        let name = key.get_ref();
        let known = match self.known {
            Known::Keys(table) => table.key(name),
            _ => None,
        };
        let known = known.expect("only keys lack something");
        if is_default(value.get_ref(), known) {
            return;
        }
        let label = match known.default_value() {
            Some(default) => format!("takes only `{default}` for now"),
            None => "not in this version".to_owned(),
        };
        let title = format!("`{}` needs {lacks}, which this version does not have", self.dotted(name));
        self.problems.add(Problem::at(value.span(), title, label).cure(format!("leave `{name}` out")));
    }

    fn refuse_unknown(
        &self,
        key: &Spanned<Cow<'_, str>>,
        value: &Spanned<DeValue<'a>>,
        names: &[(&'static str, Option<&'static str>)],
    ) {
        let name = key.get_ref().as_ref();
        let place =
            if self.name.is_empty() { "at the top".to_owned() } else { format!("in [{}]", self.name) };
        if secrets::is_name_of_one(name) {
            self.problems.hide(value.span());
            self.problems.add(
                Problem::at(
                    key.span(),
                    format!("`{name}` {place} is a secret by its name"),
                    "not for a spec",
                )
                .cure(secrets::CURE),
            );
            return;
        }
        let kind = if self.name.is_empty() { "table" } else { "key" };
        let all: Vec<&'static str> = names.iter().map(|(name, _)| *name).collect();
        let label = match nearest(name, &all) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("not a {kind} of a spec"),
        };
        let accepted: Vec<_> =
            names.iter().filter(|(_, lacks)| lacks.is_none()).map(|(name, _)| format!("`{name}`")).collect();
        self.problems.add(
            Problem::at(key.span(), format!("unknown {kind} `{name}` {place}"), label)
                .cure(format!("accepted here: {}", accepted.join(", "))),
        );
    }
}

/// Whether a value is what holds without it.
fn is_default(value: &DeValue<'_>, key: &Key) -> bool {
    match key.default_value() {
        Some(toml::Value::Boolean(default)) => value.as_bool() == Some(default),
        Some(toml::Value::String(default)) => value.as_str() == Some(&default),
        _ => false,
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
pub(crate) fn nearest(written: &str, accepted: &[&'static str]) -> Option<&'static str> {
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
