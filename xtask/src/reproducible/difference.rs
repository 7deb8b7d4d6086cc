//! Where two files that should be the same differ, as deep as it can be named: section, member, path, offset.

use std::collections::BTreeMap;

use anyhow::Result;
use object::{Object, ObjectSection};

use crate::verify::{files_of_deb, files_of_rpm};

/// What differs first; nothing if the bytes are the same.
pub(super) fn between(name: &str, left: &[u8], right: &[u8]) -> Option<String> {
    let at = first(left, right)?;
    Some(match name.rsplit('.').next() {
        Some("deb") => in_package(files_of_deb, left, right, at),
        Some("rpm") => in_package(files_of_rpm, left, right, at),
        _ => in_file(left, right, at),
    })
}

/// Offset of the first byte that differs.
fn first(left: &[u8], right: &[u8]) -> Option<usize> {
    if left == right {
        return None;
    }
    let common = left.iter().zip(right).position(|(left, right)| left != right);
    Some(common.unwrap_or(left.len().min(right.len())))
}

fn in_file(left: &[u8], right: &[u8], at: usize) -> String {
    if let (Ok(left), Ok(right)) = (object::File::parse(left), object::File::parse(right))
        && let Some(place) = in_program(&left, &right)
    {
        return place;
    }
    format!("differs at byte {at}: {} here, {} there", around(left, at), around(right, at))
}

/// The first section that differs; those come first that say most, and last those that only follow from others.
fn in_program(left: &object::File<'_>, right: &object::File<'_>) -> Option<String> {
    let mut sections: Vec<_> = left.sections().collect();
    sections.sort_by_key(|section| match section.name() {
        Ok(".rodata" | ".data" | ".dep-v0") => 0,
        Ok(".text") => 1,
        Ok(".note.gnu.build-id") => 3,
        _ => 2,
    });
    for section in sections {
        let name = section.name().ok()?;
        let content = section.data().ok()?;
        let Some(other) = right.section_by_name(name) else {
            return Some(format!("section {name} is missing there"));
        };
        let other = other.data().ok()?;
        if let Some(at) = first(content, other) {
            let (here, there) = (around(content, at), around(other, at));
            return Some(format!("differs in section {name} at byte {at} of it: {here} here, {there} there"));
        }
    }
    None
}

/// Reads the files of a package by their paths.
type Reader = fn(&[u8]) -> Result<BTreeMap<String, Vec<u8>>>;

fn in_package(files: Reader, left: &[u8], right: &[u8], at: usize) -> String {
    let (left_files, right_files) = match (files(left), files(right)) {
        (Ok(left), Ok(right)) => (left, right),
        (Err(why), _) | (_, Err(why)) => return format!("cannot be read: {why:#}"),
    };
    for (path, content) in &left_files {
        let Some(other) = right_files.get(path) else { return format!("{path} is missing there") };
        if let Some(at) = first(content, other) {
            return format!("brings another {path}: it {}", in_file(content, other, at));
        }
    }
    if let Some(path) = right_files.keys().find(|path| !left_files.contains_key(*path)) {
        return format!("{path} is only there");
    }
    format!(
        "brings the same files, but their times, modes, order or the package's own facts differ (byte {at})"
    )
}

/// A few bytes as text, so that a path or a date can be recognised.
fn around(bytes: &[u8], at: usize) -> String {
    let readable = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
    // From where the text begins in which the difference lies, if it is one.
    let before = bytes[..at].iter().rev().take(24).take_while(|byte| readable(byte)).count();
    let end = (at + 40).min(bytes.len());
    let shown: String = bytes[at - before..end]
        .iter()
        .map(|byte| if readable(byte) { char::from(*byte).to_string() } else { format!("\\x{byte:02x}") })
        .collect();
    format!("`{shown}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_bytes_have_no_difference() {
        assert_eq!(between("x", b"same", b"same"), None);
    }

    #[test]
    fn a_text_is_shown_around_its_first_difference() {
        assert_eq!(
            between("a.json", b"{\"at\":\"/home/one\"}", b"{\"at\":\"/home/another\"}").unwrap(),
            "differs at byte 13: `{\"at\":\"/home/one\"}` here, `{\"at\":\"/home/another\"}` there"
        );
        assert_eq!(between("a", b"ab", b"abc").unwrap(), "differs at byte 2: `ab` here, `abc` there");
    }

    #[test]
    fn the_section_of_a_program_is_named() {
        let program = std::fs::read("/bin/true").unwrap();
        let parsed = object::File::parse(program.as_slice()).unwrap();
        let (start, _) = parsed.section_by_name(".rodata").unwrap().file_range().unwrap();
        let mut changed = program.clone();
        changed[usize::try_from(start).unwrap() + 5] ^= 0xff;
        let said = between("true", &program, &changed).unwrap();
        assert!(said.starts_with("differs in section .rodata at byte 5 of it: `"), "{said}");
    }

    #[test]
    fn what_is_no_package_is_said() {
        assert!(between("a.deb", b"one", b"two").unwrap().starts_with("cannot be read: "));
    }
}
