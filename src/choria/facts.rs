//! The node's facts: one JSON document, read when it is asked for, and paths into it.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

/// Largest fact file, in bytes, that is read. A reply must fit a broker's message, 1 MiB by default.
const LARGEST: u64 = 512 * 1024;

/// Why there are no facts to show.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// The file cannot be read.
    #[error("cannot read facts from {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The file is larger than what is read.
    #[error("facts in {} are larger than {LARGEST} bytes", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
    },
    /// The file is not JSON.
    #[error("facts in {} are not JSON", path.display())]
    Parse {
        /// Which file.
        path: PathBuf,
        /// What the parser says.
        #[source]
        source: serde_json::Error,
    },
    /// The file is JSON, but facts have names.
    #[error("facts in {} are not a JSON object", path.display())]
    NoObject {
        /// Which file.
        path: PathBuf,
    },
}

/// Reads a fact file.
///
/// # Errors
/// The file cannot be read, is too large, or is not a JSON object.
pub fn read(path: &Path) -> Result<Map<String, Value>, FactsError> {
    let path_buf = || path.to_owned();
    let unreadable = |source| FactsError::Read { path: path_buf(), source };
    let mut text = Vec::new();
    File::open(path).map_err(unreadable)?.take(LARGEST + 1).read_to_end(&mut text).map_err(unreadable)?;
    if text.len() as u64 > LARGEST {
        return Err(FactsError::TooLarge { path: path_buf() });
    }
    match serde_json::from_slice(&text) {
        Ok(Value::Object(facts)) => Ok(facts),
        Ok(_) => Err(FactsError::NoObject { path: path_buf() }),
        Err(source) => Err(FactsError::Parse { path: path_buf(), source }),
    }
}

/// Follows a path into a document: names and list positions separated by dots, `\.` for a dot within a name, `*` and
/// `?` for any characters or any one. `None` where nothing is there.
pub fn lookup<'a>(document: &'a Value, path: &str) -> Option<&'a Value> {
    split(path).into_iter().try_fold(document, |value, part| match value {
        Value::Object(members) if part.is_pattern() => {
            members.iter().find(|(name, _)| part.matches(name)).map(|(_, value)| value)
        }
        Value::Object(members) => members.get(&part.literal()),
        Value::Array(items) => items.get(part.literal().parse::<usize>().ok()?),
        _ => None,
    })
}

/// One part of a path: characters, and the wildcards among them.
struct Part(Vec<Piece>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Piece {
    Exactly(char),
    AnyOne,
    AnyMany,
}

impl Part {
    fn is_pattern(&self) -> bool {
        self.0.iter().any(|piece| !matches!(piece, Piece::Exactly(_)))
    }

    fn literal(&self) -> String {
        let character = |piece: &Piece| match piece {
            Piece::Exactly(character) => *character,
            Piece::AnyOne => '?',
            Piece::AnyMany => '*',
        };
        self.0.iter().map(character).collect()
    }

    /// Greedy matching that remembers only the last `*`: linear in space, quadratic in time at worst.
    fn matches(&self, name: &str) -> bool {
        let name: Vec<char> = name.chars().collect();
        let (mut piece, mut character) = (0, 0);
        let mut retry: Option<(usize, usize)> = None;
        while character < name.len() {
            match self.0.get(piece) {
                Some(Piece::AnyMany) => {
                    retry = Some((piece, character));
                    piece += 1;
                }
                Some(Piece::AnyOne) => (piece, character) = (piece + 1, character + 1),
                Some(Piece::Exactly(wanted)) if *wanted == name[character] => {
                    (piece, character) = (piece + 1, character + 1);
                }
                _ => match retry {
                    Some((star, from)) => {
                        retry = Some((star, from + 1));
                        (piece, character) = (star + 1, from + 1);
                    }
                    None => return false,
                },
            }
        }
        self.0[piece..].iter().all(|piece| *piece == Piece::AnyMany)
    }
}

fn split(path: &str) -> Vec<Part> {
    let mut parts = vec![Part(Vec::new())];
    let mut characters = path.chars();
    while let Some(character) = characters.next() {
        let piece = match character {
            '.' => {
                parts.push(Part(Vec::new()));
                continue;
            }
            '*' => Piece::AnyMany,
            '?' => Piece::AnyOne,
            '\\' => Piece::Exactly(characters.next().unwrap_or('\\')),
            other => Piece::Exactly(other),
        };
        parts.last_mut().expect("there is always a part").0.push(piece);
    }
    parts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_find_what_they_name() {
        let document =
            json!({"os": {"family": "Debian", "a.b": 1}, "disks": ["sda", {"name": "sdb"}], "x*": 2});
        let rows = [
            ("os.family", Some(json!("Debian"))),
            (r"os.a\.b", Some(json!(1))),
            ("os.fam*", Some(json!("Debian"))),
            ("os.f?mily", Some(json!("Debian"))),
            ("os.*z", None),
            (r"x\*", Some(json!(2))),
            ("disks.0", Some(json!("sda"))),
            ("disks.1.name", Some(json!("sdb"))),
            ("disks.2", None),
            ("os.family.more", None),
            ("", None),
            ("..", None),
        ];
        for (path, expected) in rows {
            assert_eq!(lookup(&document, path).cloned(), expected, "{path}");
        }
    }

    #[test]
    fn a_long_pattern_of_stars_ends() {
        let document = json!({"a".repeat(2000): 1});
        assert_eq!(lookup(&document, &format!("{}b", "*a".repeat(1000))), None);
    }

    #[test]
    fn a_file_without_facts_is_an_error_that_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("facts.json");
        assert!(read(&file).unwrap_err().to_string().contains("facts.json"));
        std::fs::write(&file, "[]").unwrap();
        assert!(matches!(read(&file), Err(FactsError::NoObject { .. })));
        std::fs::write(&file, "{").unwrap();
        assert!(matches!(read(&file), Err(FactsError::Parse { .. })));
        std::fs::write(&file, r#"{"a":1}"#).unwrap();
        assert_eq!(read(&file).unwrap()["a"], 1);
        std::fs::write(&file, vec![b' '; 600 * 1024]).unwrap();
        assert!(matches!(read(&file), Err(FactsError::TooLarge { .. })));
    }
}
