//! Saves a plan: beside its place, synced, then renamed, so that a plan is there whole or not at all.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::Whence;
use sha2::{Digest, Sha256};

use crate::disco::changes::content;
use crate::disco::changes::diff::Content;
use crate::disco::changes::{Change, HostPath};
use crate::disco::plan::contents::length_before;
use crate::disco::plan::{Head, PlanError, SCHEMA, State, Times, failed};
use crate::disco::report::Run;

/// Looks whether a plan could be written there, before a run is danced for it.
///
/// # Errors
/// The directory is missing or may not be written, or something other than a file has the name.
pub(crate) fn check_target(out: &Path) -> Result<(), PlanError> {
    let directory = directory_of(out);
    nix::unistd::access(&directory, nix::unistd::AccessFlags::W_OK)
        .map_err(|errno| failed("write a plan to", &directory)(errno.into()))?;
    match fs::symlink_metadata(out) {
        Ok(found) if !found.is_file() => {
            Err(failed("write a plan to", out)(io::Error::other("something other than a file is there")))
        }
        _ => Ok(()),
    }
}

/// Saves the changes of a run whose merged view is mounted at `merged`.
///
/// # Errors
/// With the path; no plan is then written.
pub(crate) fn save(out: &Path, maker: (&str, &str), run: &Run, merged: &Path) -> Result<(), PlanError> {
    let source = |change: &Change| merged.join(change.path.0.strip_prefix("/").unwrap_or(&change.path.0));
    let mut names = BTreeMap::new();
    let mut states = Vec::new();
    for (number, change) in run.changes.iter().enumerate() {
        let state = match &change.after {
            None => State::Gone,
            Some(_) => read_state(&source(change), number, &mut names)
                .map_err(failed("read the new state of", &change.path.0))?,
        };
        states.push(state);
    }
    let around = times_around(&run.changes, source)?;
    let (binary, version) = (maker.0.to_owned(), maker.1.to_owned());
    let before = run.changes.iter().map(length_before).collect();
    let mut run = run.clone();
    // Whoever opens the plan makes it of the contents.
    run.changes.iter_mut().for_each(|change| change.content = Content::Same);
    let head = Head { schema: SCHEMA.to_owned(), binary, version, run, states, before, around };
    let beside = beside(out);
    let written = write_all(&beside, &head, source).and_then(|()| {
        fs::rename(&beside, out).map_err(failed("put in place", out))?;
        File::open(directory_of(out)).and_then(|directory| directory.sync_all()).map_err(failed("write", out))
    });
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

/// The times of directories that hold changes and are none themselves.
fn times_around(
    changes: &[Change],
    source: impl Fn(&Change) -> PathBuf,
) -> Result<BTreeMap<HostPath, Times>, PlanError> {
    let mut around = BTreeMap::new();
    for change in changes {
        let path = &change.path.0;
        let Some(parent) = path.parent().map(|parent| HostPath(parent.to_owned())) else { continue };
        let is_change = |parent: &HostPath| changes.binary_search_by(|other| other.path.cmp(parent)).is_ok();
        if around.contains_key(&parent) || is_change(&parent) {
            continue;
        }
        let merged = source(change);
        let found = fs::symlink_metadata(merged.parent().unwrap_or(&merged))
            .map_err(failed("look at the new", &parent.0))?;
        around.insert(parent, Times::of(&found));
    }
    Ok(around)
}

fn directory_of(out: &Path) -> PathBuf {
    match out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn beside(out: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(out.file_name().unwrap_or_default());
    name.push(format!(".{}.new", std::process::id()));
    directory_of(out).join(name)
}

/// Looks at one new state; `names` remembers files that have more than one name.
fn read_state(path: &Path, number: usize, names: &mut BTreeMap<(u64, u64), usize>) -> io::Result<State> {
    let found = fs::symlink_metadata(path)?;
    let times = Times::of(&found);
    if !found.is_dir() && found.nlink() > 1 {
        match names.entry((found.dev(), found.ino())) {
            std::collections::btree_map::Entry::Occupied(first) => return Ok(State::Link(*first.get())),
            std::collections::btree_map::Entry::Vacant(entry) => entry.insert(number),
        };
    }
    if !found.is_file() {
        return Ok(State::Plain(times));
    }
    let data = data_of(&open(path)?, found.len())?;
    let filled: u64 = data.iter().map(|(_, length)| length).sum();
    let reserved = filled < found.len() && found.blocks().saturating_mul(512) >= found.len();
    Ok(State::Data { times, size: found.len(), data, reserved })
}

/// A regular file, opened without following a link or waiting.
fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
}

/// Where a file has data; what lies between are holes.
fn data_of(file: &File, size: u64) -> io::Result<Vec<(u64, u64)>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < size {
        let begin = match nix::unistd::lseek(file, at as i64, Whence::SeekData) {
            Ok(begin) => begin as u64,
            // Nothing but a hole is left.
            Err(Errno::ENXIO) => break,
            Err(errno) => return Err(errno.into()),
        };
        let end = nix::unistd::lseek(file, begin as i64, Whence::SeekHole)? as u64;
        found.push((begin, end.min(size) - begin));
        at = end;
    }
    Ok(found)
}

fn write_all(beside: &Path, head: &Head, source: impl Fn(&Change) -> PathBuf) -> Result<(), PlanError> {
    let file = File::options().write(true).create_new(true).mode(0o600).open(beside);
    let mut to =
        Hashing { to: BufWriter::new(file.map_err(failed("write", beside))?), digest: Sha256::new() };
    let text = serde_json::to_vec(head).map_err(|error| failed("write", beside)(error.into()))?;
    let begun = to
        .write_all(format!("{SCHEMA}\n").as_bytes())
        .and_then(|()| to.write_all(&(text.len() as u64).to_le_bytes()))
        .and_then(|()| to.write_all(&text));
    begun.map_err(failed("write", beside))?;
    for (change, state) in head.run.changes.iter().zip(&head.states) {
        let State::Data { data, .. } = state else { continue };
        let path = &change.path.0;
        let mut from = open(&source(change)).map_err(failed("read the new state of", path))?;
        for &(offset, length) in data {
            from.seek(SeekFrom::Start(offset)).map_err(failed("read the new state of", path))?;
            let copied = io::copy(&mut (&mut from).take(length), &mut to).map_err(failed("save", path))?;
            if copied != length {
                return Err(failed("save", path)(io::Error::other("it became shorter meanwhile")));
            }
        }
    }
    let carried = head.run.changes.iter().zip(&head.before).filter(|(_, length)| length.is_some());
    for (change, _) in carried {
        let path = &change.path.0;
        let old = content_before(path, change).map_err(failed("save what was in", path))?;
        to.write_all(&old).map_err(failed("write", beside))?;
    }
    let digest = to.digest.finalize();
    let mut file = to.to;
    let done = file.write_all(&digest).and_then(|()| file.flush()).and_then(|()| file.get_ref().sync_all());
    done.map_err(failed("write", beside))
}

/// What a file of the host holds, if that still is what the run saw.
fn content_before(path: &Path, change: &Change) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let (digest, content) = content::read(&file, file.metadata()?.len())?;
    match content {
        Some(content) if change.before.as_ref().is_some_and(|before| before.md5 == Some(digest)) => {
            Ok(content)
        }
        _ => Err(io::Error::other("it changed on the host meanwhile")),
    }
}

/// Writes and digests what is written.
struct Hashing<W> {
    to: W,
    digest: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.digest.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
