//! The journal: what a merge does, written down before it is done.
//!
//! ```text
//! VARDIR/journal/current/            the merge or rollback that is under way
//!     N.plan                         what it does, with both states of every path; checksummed. While it is staged, only
//!                                    where its stores are
//!     phase                          `forward`: committed, to be finished. `backward`: to be undone. Not there: nothing
//!                                    is applied, only the stores are to be removed
//!     backward                       the phase of that name, ready to be renamed: a full disk keeps nobody from undoing
//! VARDIR/journal/last/               the last live run, which can be undone
//!     N.plan, N.after                one plan for each of its merges, and what each path was right after it
//! VARDIR/journal/gone.RUN/           remains: nothing of it counts any more, and its stores are removed when they can be
//! VARDIR/journal/pending/            a run whose merge is done, or nearly, and whose end is not: see `pending.rs`
//! STORE/RUN.N/ITEM.{new,old}         what takes a place, and what was there; STORE is VARDIR/undo, or
//!                                    MOUNT/.NAME-undo for every other file system, 0700
//! ```
//!
//! Files are written beside, synced and renamed, and directories are synced after; so a file is whole or not there.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::MergeError;
use super::likeness::Likeness;
use super::lost;
use super::reach::step;
use super::rejoin::Inode;
use super::style::Style;
use crate::disco::changes::{HostPath, hex};

/// How the names of journals begin that nobody needs any more.
const GONE: &str = "gone.";

/// First word of every sealed file; a file of another format is not guessed at.
const FORMAT: &str = "disco-journal-1";

/// Everything that one merge does.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) run: u64,
    pub(super) part: u32,
    pub(super) stores: Vec<Store>,
    /// Sorted by path, so parents come before what lies below them.
    pub(super) items: Vec<Item>,
    /// Stores, by number, that went with their file systems; see `lost.rs`.
    #[serde(skip)]
    pub(super) lost: BTreeSet<usize>,
}

/// A plan of which only the stores, and the roots that they lie in, are known. It is read as a plan.
#[derive(Debug, Serialize)]
pub(super) struct Outline<'a> {
    run: u64,
    part: u32,
    stores: &'a [Store],
    items: Vec<&'a Item>,
}

/// Where the objects of one file system lie while they are not in their places.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Store {
    /// Directory of this merge's objects.
    pub(super) directory: HostPath,
    /// Root of the file system.
    pub(super) mount: HostPath,
    /// Whether the directory above was not there before.
    pub(super) is_first: bool,
    /// Whether the file system lies in memory, and is empty after a restart.
    pub(super) is_memory: bool,
}

/// One path, and both of its states.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Item {
    pub(super) path: HostPath,
    /// Index of its store.
    pub(super) store: usize,
    pub(super) work: Work,
}

/// What becomes of a path.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Work {
    /// Something else takes the place.
    Place { old: State, new: State },
    /// The inode stays and looks different. With `content`, the store has a copy of both contents.
    Style { old: Box<Style>, new: Box<Style>, content: bool },
}

/// What is at a path.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Nothing,
    /// A file, link or special file, complete with its attributes; in the store while it is not in its place. Flags that
    /// would keep it from being moved are put on at the end.
    Object {
        flags: u32,
        /// Which file it was, if that had other names.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        shared: Option<Inode>,
        /// How it is known again; none where the merge itself makes it look otherwise, by another name of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        likeness: Option<Likeness>,
    },
    /// A directory; what lies in it has items of its own.
    Directory(Box<Style>),
}

/// The two sides of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Old,
    New,
}

impl Side {
    pub(super) fn other(self) -> Side {
        match self {
            Side::Old => Side::New,
            Side::New => Side::Old,
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Side::Old => "old",
            Side::New => "new",
        }
    }
}

impl Work {
    /// What is at the path on one side, where the inode does not stay.
    pub(super) fn state(&self, side: Side) -> Option<&State> {
        match (self, side) {
            (Work::Place { old, .. }, Side::Old) => Some(old),
            (Work::Place { new, .. }, Side::New) => Some(new),
            (Work::Style { .. }, _) => None,
        }
    }

    /// How what stays or is made in its place looks on one side.
    pub(super) fn style(&self, side: Side) -> Option<&Style> {
        match (self, side) {
            (Work::Style { old, .. }, Side::Old) => Some(old),
            (Work::Style { new, .. }, Side::New) => Some(new),
            (Work::Place { .. }, _) => match self.state(side) {
                Some(State::Directory(style)) => Some(style),
                _ => None,
            },
        }
    }

    /// The flags on one side; none where the path is empty.
    pub(super) fn flags(&self, side: Side) -> u32 {
        match self.state(side) {
            Some(State::Object { flags, .. }) => *flags,
            _ => self.style(side).map_or(0, |style| style.flags),
        }
    }
}

impl Plan {
    /// Where an item's object of one side lies while it is not in its place.
    pub(super) fn slot(&self, index: usize, side: Side) -> PathBuf {
        let store = &self.stores[self.items[index].store];
        store.directory.0.join(format!("{index}.{}", side.suffix()))
    }

    /// Name of its files and of its directories in the stores.
    pub(super) fn name(&self) -> String {
        format!("{}.{}", self.run, self.part)
    }

    /// Numbers of the items that there is something to be done about: those whose file systems are there.
    pub(super) fn numbers(&self) -> impl DoubleEndedIterator<Item = usize> + '_ {
        (0..self.items.len()).filter(|number| !self.lost.contains(&self.items[*number].store))
    }

    /// The stores that are there.
    pub(super) fn kept_stores(&self) -> impl Iterator<Item = &Store> {
        let stores = self.stores.iter().enumerate();
        stores.filter(|(number, _)| !self.lost.contains(number)).map(|(_, store)| store)
    }

    /// What is to be done about a path.
    pub(super) fn work_at(&self, path: &Path) -> Option<&Work> {
        let found = self.items.binary_search_by(|item| item.path.0.as_path().cmp(path));
        found.ok().map(|number| &self.items[number].work)
    }

    /// What is to be known of it while nothing but its stores is touched.
    pub(super) fn outline(&self) -> Outline<'_> {
        let is_root = |item: &&Item| self.stores.iter().any(|store| store.mount == item.path);
        let items = self.items.iter().filter(is_root).collect();
        Outline { run: self.run, part: self.part, stores: &self.stores, items }
    }
}

/// How far a merge came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing is applied: not yet, or no more.
    Staging,
    /// Committed: it will be finished.
    Forward,
    /// It will be undone.
    Backward,
}

/// One directory of the journal.
#[derive(Debug)]
pub(super) struct Journal {
    pub(super) directory: PathBuf,
}

impl Journal {
    /// The one that is under way.
    pub(super) fn current(vardir: &Path) -> Self {
        Journal { directory: vardir.join("journal/current") }
    }

    /// The one of the last live run.
    pub(super) fn last(vardir: &Path) -> Self {
        Journal { directory: vardir.join("journal/last") }
    }

    /// Where the remains of a run wait to be removed.
    pub(super) fn gone(vardir: &Path, run: u64) -> Self {
        Journal { directory: vardir.join(format!("journal/{GONE}{run}")) }
    }

    /// Those of all runs.
    pub(super) fn all_gone(vardir: &Path) -> Result<Vec<Self>, MergeError> {
        let journal = Journal { directory: vardir.join("journal") };
        let names = journal.names()?.into_iter().filter(|name| name.starts_with(GONE));
        Ok(names.map(|name| Journal { directory: journal.directory.join(name) }).collect())
    }

    pub(super) fn exists(&self) -> bool {
        self.directory.symlink_metadata().is_ok()
    }

    /// Makes it, and the journal itself.
    pub(super) fn make(&self) -> Result<(), MergeError> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory);
        step("make the journal", &self.directory, made)?;
        self.sync_above()?;
        // The journal itself may be new, too.
        sync_directory(self.directory.ancestors().nth(2).unwrap_or(Path::new("/")))
    }

    /// Names of its files; none where it is not there.
    pub(super) fn names(&self) -> Result<Vec<String>, MergeError> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => step("read", &self.directory, entries)?,
        };
        let mut names = Vec::new();
        for entry in entries {
            names.push(step("read", &self.directory, entry)?.file_name().to_string_lossy().into_owned());
        }
        Ok(names)
    }

    /// Its plans, in the order in which they were merged.
    pub(super) fn plans(&self) -> Result<Vec<Plan>, MergeError> {
        let mut plans = Vec::new();
        for name in self.names()?.iter().filter(|name| name.ends_with(".plan")) {
            plans.push(read_sealed::<Plan>(&self.directory.join(name))?);
        }
        plans.sort_by_key(|plan| (plan.run, plan.part));
        Ok(plans)
    }

    /// As [`Journal::plans`], of a merge that was committed: with the stores that were lost since.
    pub(super) fn plans_of_what_is_left(&self) -> Result<Vec<Plan>, MergeError> {
        let vardir = self.directory.ancestors().nth(2).unwrap_or(Path::new("/"));
        let mut plans = self.plans()?;
        for plan in &mut plans {
            plan.lost = lost::stores(plan, vardir)?;
        }
        Ok(plans)
    }

    pub(super) fn write_outline(&self, plan: &Plan) -> Result<(), MergeError> {
        self.write_sealed(&format!("{}.plan", plan.name()), &plan.outline())
    }

    pub(super) fn write_plan(&self, plan: &Plan) -> Result<(), MergeError> {
        self.write_sealed(&format!("{}.plan", plan.name()), plan)
    }

    pub(super) fn phase(&self) -> Result<Phase, MergeError> {
        let path = self.directory.join("phase");
        match fs::read_to_string(&path) {
            Ok(word) if word == "forward\n" => Ok(Phase::Forward),
            Ok(word) if word == "backward\n" => Ok(Phase::Backward),
            Ok(word) => Err(MergeError::Journal { path, why: format!("{word:?} is no phase") }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Phase::Staging),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(MergeError::Journal { path, why: "it is no text".into() })
            }
            Err(error) => step("read", &path, Err(error)),
        }
    }

    /// Lays the means to undo ready, while there is space.
    pub(super) fn prepare(&self) -> Result<(), MergeError> {
        self.write("backward", b"backward\n")
    }

    /// Writes down a decision; what comes after may rely on it.
    pub(super) fn enter(&self, phase: Phase) -> Result<(), MergeError> {
        let at = self.directory.join("phase");
        match phase {
            Phase::Forward => return self.write("phase", b"forward\n"),
            Phase::Backward if fs::rename(self.directory.join("backward"), &at).is_err() => {
                return self.write("phase", b"backward\n");
            }
            Phase::Backward => {}
            Phase::Staging => match fs::remove_file(&at) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => step("remove", &at, other)?,
            },
        }
        self.sync()
    }

    pub(super) fn write_sealed(&self, name: &str, value: &impl Serialize) -> Result<(), MergeError> {
        let body = serde_json::to_vec(value).expect("paths and numbers have a text form");
        let mut text = format!("{FORMAT} {}\n", hex(&Sha256::digest(&body))).into_bytes();
        text.extend_from_slice(&body);
        self.write(name, &text)
    }

    pub(super) fn write(&self, name: &str, content: &[u8]) -> Result<(), MergeError> {
        let (path, beside) = (self.directory.join(name), self.directory.join(format!("{name}.new")));
        let opened = File::options().write(true).create(true).truncate(true).mode(0o600).open(&beside);
        let mut file = step("write", &beside, opened)?;
        step("write", &beside, file.write_all(content).and_then(|()| file.sync_all()))?;
        step("write", &path, fs::rename(&beside, &path))?;
        self.sync()
    }

    /// Makes this journal the other one, which is not there.
    pub(super) fn rename_to(&self, other: &Journal) -> Result<(), MergeError> {
        step("rename", &self.directory, fs::rename(&self.directory, &other.directory))?;
        self.sync_above()
    }

    /// Removes it and what it holds.
    pub(super) fn remove(&self) -> Result<(), MergeError> {
        match fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                step("remove", &self.directory, Err(error))
            }
            _ => self.sync_above(),
        }
    }

    /// Hands a file over to another journal.
    pub(super) fn hand_over(&self, name: &str, other: &Journal) -> Result<(), MergeError> {
        let path = self.directory.join(name);
        step("rename", &path, fs::rename(&path, other.directory.join(name)))?;
        other.sync()
    }

    pub(super) fn sync(&self) -> Result<(), MergeError> {
        sync_directory(&self.directory)
    }

    fn sync_above(&self) -> Result<(), MergeError> {
        sync_directory(self.directory.parent().unwrap_or(Path::new("/")))
    }
}

/// Writes a directory's names to disk.
pub(super) fn sync_directory(path: &Path) -> Result<(), MergeError> {
    step("write to disk", path, File::open(path).and_then(|directory| directory.sync_all()))
}

/// Reads a file that [`Journal::write_sealed`] wrote.
pub(super) fn read_sealed<T: DeserializeOwned>(path: &Path) -> Result<T, MergeError> {
    let damaged = |why: &str| MergeError::Journal { path: path.to_owned(), why: why.to_owned() };
    let text = step("read", path, fs::read(path))?;
    let line = text.iter().position(|&byte| byte == b'\n').ok_or_else(|| damaged("it is cut short"))?;
    let (head, body) = (String::from_utf8_lossy(&text[..line]), &text[line + 1..]);
    match head.split_once(' ') {
        Some((FORMAT, sum)) if sum == hex(&Sha256::digest(body)) => {
            serde_json::from_slice(body).map_err(|error| damaged(&error.to_string()))
        }
        Some((FORMAT, _)) => Err(damaged("its checksum does not match its content")),
        _ => Err(damaged("it does not begin as a journal does")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_is_cut_short_or_garbled_is_refused_with_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal { directory: directory.path().to_owned() };
        let path = HostPath("/etc/\u{1}odd\\".into());
        journal.write_sealed("1.0.plan", &path).unwrap();
        let file = directory.path().join("1.0.plan");
        assert_eq!(read_sealed::<HostPath>(&file).unwrap(), path);
        let whole = fs::read(&file).unwrap();
        for length in 0..whole.len() {
            fs::write(&file, &whole[..length]).unwrap();
            let error = read_sealed::<HostPath>(&file).unwrap_err().to_string();
            assert!(error.contains("1.0.plan is damaged"), "{length}: {error}");
        }
        for at in 0..whole.len() {
            let mut garbled = whole.clone();
            garbled[at] ^= 1;
            fs::write(&file, garbled).unwrap();
            assert!(read_sealed::<HostPath>(&file).is_err(), "{at}");
        }
    }
}
