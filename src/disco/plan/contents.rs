//! What differs inside the files of a plan, made of what it carries for both sides.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::disco::changes::content;
use crate::disco::changes::diff::{Content, LONGEST_TEXT};
use crate::disco::changes::{Change, Entry};
use crate::disco::plan::{Head, State};

/// How much is carried of what a file held before: all of it, where that is needed to show what differs. Nothing of
/// secret files, of long ones, or of those that could not be read.
pub(super) fn length_before(change: &Change) -> Option<u64> {
    let is_file = |entry: &&Entry| entry.is_file();
    let (before, after) = (change.before.as_ref().filter(is_file), change.after.as_ref().filter(is_file));
    let is_short = |entry: &Entry| entry.size <= LONGEST_TEXT;
    let is_shown = before.is_some_and(|before| is_short(before) && before.md5.is_some())
        && after.is_none_or(is_short)
        && digest(before) != digest(after)
        && !change.is_secret();
    before.filter(|_| is_shown).map(|before| before.size)
}

fn digest(entry: Option<&Entry>) -> Option<&str> {
    entry.and_then(|entry| entry.md5.as_deref())
}

/// Writes anew what can be shown of each change. Returns the number of the first one for which something else is carried
/// than it says.
pub(super) fn show(head: &mut Head, file: &File, begin: u64) -> io::Result<Option<usize>> {
    let mut at = begin;
    let mut news = Vec::new();
    for state in &head.states {
        news.push(at);
        if let State::Data { data, .. } = state {
            at += data.iter().map(|(_, length)| length).sum::<u64>();
        }
    }
    let format = head.run.diff;
    for number in 0..head.run.changes.len() {
        let change = &head.run.changes[number];
        let old = match head.before[number] {
            None => Vec::new(),
            Some(length) => {
                let old = read(file, at, length)?;
                at += length;
                if digest(change.before.as_ref()) != Some(content::digest(&old).as_str()) {
                    return Ok(Some(number));
                }
                old
            }
        };
        let is_unknown = change.before.as_ref().is_some_and(Entry::is_file) && head.before[number].is_none();
        let is_long = |entry: &Entry| entry.is_file() && entry.size > LONGEST_TEXT;
        let shown = if digest(change.before.as_ref()) == digest(change.after.as_ref()) {
            Content::Same
        } else if change.is_secret() {
            Content::Secret
        } else if is_unknown || change.after.as_ref().is_some_and(is_long) {
            Content::Long
        } else {
            let new = new_content(head, number, file, &news)?;
            let is_it = |after: &Entry| !after.is_file() || after.md5 == Some(content::digest(&new));
            if !change.after.as_ref().is_none_or(is_it) {
                return Ok(Some(number));
            }
            Content::between(&old, &new, format)
        };
        head.run.changes[number].content = shown;
    }
    Ok(None)
}

/// What a file of at most [`LONGEST_TEXT`] bytes holds after the plan; nothing for what is no file.
fn new_content(head: &Head, number: usize, file: &File, begins: &[u64]) -> io::Result<Vec<u8>> {
    let number = match head.states[number] {
        State::Link(first) => first,
        _ => number,
    };
    let State::Data { size, data, .. } = &head.states[number] else { return Ok(Vec::new()) };
    if *size > LONGEST_TEXT {
        return Err(io::Error::other("it is longer than it says"));
    }
    let mut content = vec![0; *size as usize];
    let mut at = begins[number];
    for &(offset, length) in data {
        let end = (offset + length) as usize;
        file.read_exact_at(&mut content[offset as usize..end], at)?;
        at += length;
    }
    Ok(content)
}

fn read(file: &File, at: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut content = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut content, at)?;
    Ok(content)
}
