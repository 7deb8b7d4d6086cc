//! The text of a change: two contents in a format of the `diff` command, or the reason why there is none.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use similar::algorithms::{Capture, Compact, IdentifyDistinct, Replace, myers};
use similar::udiff::UnifiedHunkHeader;
use similar::{DiffOp, group_diff_ops};

/// Longest content that is compared line by line; what is longer is told by size and digest.
pub const LONGEST_TEXT: u64 = 1 << 20;

/// Lines around a difference in the unified format, as `diff -u` has them.
const CONTEXT: usize = 3;

/// How what differs inside a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The normal format of `diff`, as the original wrote it.
    #[default]
    Normal,
    /// The unified format, with lines around each difference.
    Unified,
    /// Not at all; reports keep the normal format.
    None,
}

impl FromStr for Format {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "normal" => Ok(Format::Normal),
            "unified" => Ok(Format::Unified),
            "none" => Ok(Format::None),
            _ => Err("write `normal`, `unified` or `none`"),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Format::Normal => "normal",
            Format::Unified => "unified",
            Format::None => "none",
        })
    }
}

/// What can be shown of a change's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", content = "text", rename_all = "lowercase")]
pub enum Content {
    /// The content is what it was, or there is none.
    Same,
    /// The differing lines, in the normal format of `diff` or as hunks of the unified one.
    Text(String),
    /// At least one side is no text.
    Binary,
    /// At least one side is longer than [`LONGEST_TEXT`].
    Long,
    /// Others may not read the file, or it is known to hold secrets, so its content is not shown either.
    Secret,
}

impl Content {
    /// Compares two contents.
    pub fn between(old: &[u8], new: &[u8], format: Format) -> Self {
        if old == new {
            return Content::Same;
        }
        if old.len() as u64 > LONGEST_TEXT || new.len() as u64 > LONGEST_TEXT {
            return Content::Long;
        }
        match (as_text(old), as_text(new)) {
            (Some(old), Some(new)) => Content::Text(match format {
                Format::Normal | Format::None => normal_format(old, new),
                Format::Unified => unified_hunks(old, new),
            }),
            _ => Content::Binary,
        }
    }
}

/// Text is what has no NUL and is UTF-8; anything else would not survive a terminal or a JSON document.
fn as_text(content: &[u8]) -> Option<&str> {
    std::str::from_utf8(content).ok().filter(|text| !text.contains('\0'))
}

/// The lines of two texts, and the steps from the ones to the others.
struct Comparison<'a> {
    old: Vec<&'a str>,
    new: Vec<&'a str>,
    steps: Vec<DiffOp>,
}

impl<'a> Comparison<'a> {
    /// Compares with the one algorithm that is wanted. What chooses among all that the library has brings each of them
    /// into the binary in many copies, a tenth of its size.
    fn of(old: &'a str, new: &'a str) -> Self {
        let (old, new): (Vec<_>, Vec<_>) =
            (old.split_inclusive('\n').collect(), new.split_inclusive('\n').collect());
        let numbered = IdentifyDistinct::<u32>::new(&old[..], 0..old.len(), &new[..], 0..new.len());
        let mut steps = Compact::new(Replace::new(Capture::new()), &old[..], &new[..]);
        let Ok(()) = myers::diff(
            &mut steps,
            numbered.old_lookup(),
            numbered.old_range(),
            numbered.new_lookup(),
            numbered.new_range(),
        );
        let steps = steps.into_inner().into_inner().into_ops();
        Comparison { old, new, steps }
    }
}

/// The normal format: `4a5,6`, `< old`, `---`, `> new` (POSIX, diff, "Diff Default Output Format").
fn normal_format(old: &str, new: &str) -> String {
    let Comparison { old, new, steps } = Comparison::of(old, new);
    let mut text = String::new();
    for step in steps {
        let letter = match step {
            DiffOp::Equal { .. } => continue,
            DiffOp::Insert { .. } => 'a',
            DiffOp::Delete { .. } => 'd',
            DiffOp::Replace { .. } => 'c',
        };
        text.push_str(&format!("{}{letter}{}\n", lines(&step.old_range()), lines(&step.new_range())));
        old[step.old_range()].iter().for_each(|line| push_line(&mut text, "< ", line));
        if letter == 'c' {
            text.push_str("---\n");
        }
        new[step.new_range()].iter().for_each(|line| push_line(&mut text, "> ", line));
    }
    text
}

/// The unified format without the two lines that name the files (POSIX, diff, "Diff -u or -U Output Format").
fn unified_hunks(old: &str, new: &str) -> String {
    let Comparison { old, new, steps } = Comparison::of(old, new);
    let mut text = String::new();
    for hunk in group_diff_ops(steps, CONTEXT) {
        text.push_str(&format!("{}\n", UnifiedHunkHeader::new(&hunk)));
        for step in hunk {
            if let DiffOp::Equal { .. } = step {
                old[step.old_range()].iter().for_each(|line| push_line(&mut text, " ", line));
                continue;
            }
            old[step.old_range()].iter().for_each(|line| push_line(&mut text, "-", line));
            new[step.new_range()].iter().for_each(|line| push_line(&mut text, "+", line));
        }
    }
    text
}

/// `3` for one line, `3,5` for several; for none, the line before.
fn lines(range: &std::ops::Range<usize>) -> String {
    match range.len() {
        0 => range.start.to_string(),
        1 => (range.start + 1).to_string(),
        _ => format!("{},{}", range.start + 1, range.end),
    }
}

/// Control characters are shown, not obeyed: a file must not write to the reader's terminal.
fn push_line(text: &mut String, mark: &str, line: &str) {
    text.push_str(mark);
    let body = line.strip_suffix('\n');
    for c in body.unwrap_or(line).chars() {
        if c.is_control() && c != '\t' {
            text.extend(c.escape_default());
        } else {
            text.push(c);
        }
    }
    text.push('\n');
    if body.is_none() {
        text.push_str("\\ No newline at end of file\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(old: &str, new: &str) -> String {
        text_in(Format::Normal, old, new)
    }

    fn text_in(format: Format, old: &str, new: &str) -> String {
        match Content::between(old.as_bytes(), new.as_bytes(), format) {
            Content::Text(text) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_normal_format_is_that_of_the_diff_command() {
        assert_eq!(text("", "a\nb\n"), "0a1,2\n> a\n> b\n");
        assert_eq!(text("a\nb\n", ""), "1,2d0\n< a\n< b\n");
        assert_eq!(text("a\nb\nc\n", "a\nx\nc\n"), "2c2\n< b\n---\n> x\n");
        assert_eq!(text("a\n", "a\nb"), "1a2\n> b\n\\ No newline at end of file\n");
    }

    #[test]
    fn the_diff_command_agrees() {
        let directory = tempfile::tempdir().unwrap();
        let (one, two) = (directory.path().join("one"), directory.path().join("two"));
        for (old, new) in
            [("1\n2\n3\n4\n5\n6\n", "1\n3\n4\nfive\nsix\n6\n7\n"), ("x", "y\n"), ("a\nb\n", "b\n")]
        {
            std::fs::write(&one, old).unwrap();
            std::fs::write(&two, new).unwrap();
            let theirs = |option: &str| {
                let mut diff = std::process::Command::new("diff");
                String::from_utf8(diff.arg(option).args([&one, &two]).output().unwrap().stdout).unwrap()
            };
            assert_eq!(text(old, new), theirs("--normal"));
            let unified = theirs("-u");
            let hunks: Vec<_> = unified.split_inclusive('\n').skip(2).collect();
            assert_eq!(text_in(Format::Unified, old, new), hunks.concat());
        }
    }

    #[test]
    fn a_file_cannot_write_to_the_terminal() {
        assert_eq!(text("", "\u{1b}[2J\ta\n"), "0a1\n> \\u{1b}[2J\ta\n");
    }

    #[test]
    fn what_is_no_text_or_too_long_is_not_shown() {
        let between = |old: &[u8], new: &[u8]| Content::between(old, new, Format::Normal);
        assert_eq!(between(b"a", b"\0"), Content::Binary);
        assert_eq!(between(b"a", b"\xff"), Content::Binary);
        assert_eq!(between(b"", &vec![b'a'; LONGEST_TEXT as usize + 1]), Content::Long);
        assert_eq!(between(b"a", b"a"), Content::Same);
    }
}
