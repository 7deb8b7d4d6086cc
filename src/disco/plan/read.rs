//! Opens a plan, believing nothing in it, and extracts the new state of its changes to an empty directory.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, UtimensatFlags, fchmodat, mknod, utimensat};
use nix::sys::time::TimeSpec;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::disco::changes::noise::Noise;
use crate::disco::changes::{Change, Entry, HostPath, View, mark_implied, read_entry, unescape};
use crate::disco::plan::check::check_paths;
use crate::disco::plan::contents;
use crate::disco::plan::{DIGEST, Head, PlanError, SCHEMA, State, Times, failed};

/// A plan whose checksum is right and whose head makes sense.
#[derive(Debug)]
pub struct Plan {
    path: PathBuf,
    file: File,
    head: Head,
    /// Where the contents begin, and the digest of the whole file as it was when it was opened.
    contents: u64,
    digest: [u8; DIGEST as usize],
}

impl Plan {
    /// Opens a plan and checks it, without a look at this host but for what counts as noise here.
    ///
    /// # Errors
    /// It is no plan, truncated, altered, or says what cannot be.
    pub fn open(path: &Path, noise: &Noise) -> Result<Plan, PlanError> {
        let mut file = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)
            .map_err(failed("open the plan", path))?;
        let found = file.metadata().map_err(failed("look at the plan", path))?;
        if !found.is_file() {
            return Err(PlanError::NotAPlan { path: path.to_owned() });
        }
        let truncated = |why| PlanError::Truncated { path: path.to_owned(), why };
        let magic = format!("{SCHEMA}\n");
        let mut begin = vec![0; magic.len()];
        let read = read_up_to(&mut file, &mut begin).map_err(failed("read the plan", path))?;
        if begin[..read] != magic.as_bytes()[..read] || read == 0 {
            return Err(PlanError::NotAPlan { path: path.to_owned() });
        }
        let head_begin = magic.len() as u64 + 8;
        if found.len() < head_begin + DIGEST {
            return Err(truncated("it has no head"));
        }
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(failed("read the plan", path))?;
        let length = u64::from_le_bytes(length);
        let contents = head_begin.saturating_add(length);
        if contents.saturating_add(DIGEST) > found.len() {
            return Err(truncated("its head is longer than the file"));
        }
        let mut text = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        file.read_exact(&mut text).map_err(failed("read the plan", path))?;
        let head = understand(path, &text);
        // A file that was cut short fails both; that it was cut is the better word.
        if let Ok(head) = &head
            && contents.saturating_add(length_of_contents(head)).saturating_add(DIGEST) > found.len()
        {
            return Err(truncated("contents are missing"));
        }
        file.rewind().map_err(failed("read the plan", path))?;
        let digest = digest_of(&mut file, found.len() - DIGEST).map_err(failed("read the plan", path))?;
        let mut written = [0; DIGEST as usize];
        file.read_exact(&mut written).map_err(failed("read the plan", path))?;
        if digest != written {
            return Err(PlanError::Altered { path: path.to_owned() });
        }
        let mut plan = Plan { path: path.to_owned(), file, head: head?, contents, digest };
        let whole = contents + length_of_contents(&plan.head) + DIGEST;
        if whole != found.len() {
            return Err(plan.refuse("it is longer than its contents"));
        }
        check_paths(&plan)?;
        mark_implied(&mut plan.head.run.changes);
        noise.mark(&mut plan.head.run.changes);
        let shown = contents::show(&mut plan.head, &plan.file, contents);
        match shown.map_err(failed("read the plan", path))? {
            None => Ok(plan),
            Some(number) => Err(plan.carries_something_else(number)),
        }
    }

    fn carries_something_else(&self, number: usize) -> PlanError {
        let path = &self.head.run.changes[number].path;
        self.refuse(format!("what it carries for {path} is not what it shows"))
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says of itself.
    pub fn head(&self) -> &Head {
        &self.head
    }

    pub(super) fn refuse(&self, why: impl Into<String>) -> PlanError {
        PlanError::Refused { path: self.path.clone(), why: why.into() }
    }

    pub(super) fn states(&self) -> &[State] {
        &self.head.states
    }

    /// Puts the new state of every change below `into`, an empty directory of ours, and compares it with what the plan
    /// says of it. The file is digested again on the way: what is extracted is what was checked.
    ///
    /// # Errors
    /// Something cannot be made, is not what the plan says, or the file changed meanwhile.
    pub(super) fn extract(&mut self, into: &Path) -> Result<(), PlanError> {
        let Plan { path, file, head, contents, .. } = self;
        file.seek(SeekFrom::Start(*contents)).map_err(failed("read the plan", path))?;
        let below = |number: usize| {
            let path: &Path = &head.run.changes[number].path.0;
            into.join(path.strip_prefix("/").unwrap_or(path))
        };
        let around = directories_around(&head.run.changes);
        for directory in &around {
            let at = into.join(directory.strip_prefix("/").unwrap_or(directory));
            DirBuilder::new().recursive(true).mode(0o700).create(&at).map_err(failed("make", &at))?;
        }
        for (number, (change, state)) in head.run.changes.iter().zip(&head.states).enumerate() {
            let Some(after) = &change.after else { continue };
            let at = below(number);
            let made = match state {
                State::Gone => Ok(()),
                State::Link(first) => fs::hard_link(below(*first), &at),
                State::Data { size, data, reserved, .. } => write_data(file, &at, *size, data, *reserved),
                State::Plain(_) => make(&at, after),
            };
            made.and_then(|()| dress(&at, after)).map_err(failed("extract", &change.path.0))?;
        }
        // Times of directories come after the last entry in them.
        for (number, (change, state)) in head.run.changes.iter().zip(&head.states).enumerate().rev() {
            let (State::Plain(times) | State::Data { times, .. }) = state else { continue };
            set_times(&below(number), times).map_err(failed("extract", &change.path.0))?;
        }
        for directory in around.iter().rev() {
            let at = into.join(directory.strip_prefix("/").unwrap_or(directory));
            if let Some(times) = head.around.get(&HostPath(directory.to_path_buf())) {
                set_times(&at, times).map_err(failed("extract", directory))?;
            }
        }
        let mut lied = None;
        for (number, change) in head.run.changes.iter().enumerate() {
            let Some(after) = &change.after else { continue };
            let at = below(number);
            let found = fs::symlink_metadata(&at).map_err(failed("look at", &at))?;
            let read = read_entry(&at, &found, 0, View::Live);
            let (made, _) = read.map_err(|error| failed("look at", &at)(io::Error::other(error)))?;
            if !is_what_it_shows(&made, after) {
                lied = Some(number);
                break;
            }
        }
        if let Some(number) = lied {
            return Err(self.carries_something_else(number));
        }
        self.check_unchanged()
    }

    fn check_unchanged(&mut self) -> Result<(), PlanError> {
        let read = |error| failed("read the plan", &self.path)(error);
        let length = self.contents + length_of_contents(&self.head);
        self.file.rewind().map_err(read)?;
        let now = digest_of(&mut self.file, length).map_err(read)?;
        if now == self.digest { Ok(()) } else { Err(PlanError::Altered { path: self.path.clone() }) }
    }
}

/// The directories that hold changes and are none themselves; none of them lies below something that is made no
/// directory.
fn directories_around(changes: &[Change]) -> BTreeSet<&Path> {
    let is_directory: BTreeMap<&Path, bool> = changes
        .iter()
        .map(|change| (change.path.0.as_path(), change.after.as_ref().is_some_and(Entry::is_directory)))
        .collect();
    let parents = changes.iter().filter_map(|change| change.path.0.parent());
    parents
        .filter(|parent| !is_directory.contains_key(parent))
        .filter(|parent| parent.ancestors().all(|above| is_directory.get(above) != Some(&false)))
        .collect()
}

fn read_up_to(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

fn digest_of(file: &mut File, length: u64) -> io::Result<[u8; DIGEST as usize]> {
    let mut digest = Sha256::new();
    let mut rest = file.take(length);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match rest.read(&mut buffer)? {
            0 => return Ok(digest.finalize().into()),
            read => digest.update(&buffer[..read]),
        }
    }
}

fn length_of_contents(head: &Head) -> u64 {
    let data = head.states.iter().filter_map(|state| match state {
        State::Data { data, .. } => Some(data),
        _ => None,
    });
    let lengths = data.flatten().map(|(_, length)| *length);
    lengths.chain(head.before.iter().flatten().copied()).fold(0, u64::saturating_add)
}

fn understand(path: &Path, text: &[u8]) -> Result<Head, PlanError> {
    let refused = |error: serde_json::Error| PlanError::Refused {
        path: path.to_owned(),
        why: format!("its head is not understood: {error}"),
    };
    let mut head: Value = serde_json::from_slice(text).map_err(refused)?;
    tame(&mut head, false);
    serde_json::from_value(head).map_err(refused)
}

/// Escapes control characters in every text of a head: it must not write to the reader's terminal. Only what differs
/// inside a file has lines.
fn tame(value: &mut Value, has_lines: bool) {
    match value {
        Value::String(text) => {
            let obeys = |c: char| c.is_control() && !(has_lines && matches!(c, '\n' | '\t'));
            if text.contains(obeys) {
                let escape = |c: char| if obeys(c) { c.escape_default().to_string() } else { c.to_string() };
                *text = text.chars().map(escape).collect();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| tame(item, has_lines)),
        Value::Object(fields) => fields.iter_mut().for_each(|(name, item)| tame(item, name == "text")),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Whether what was extracted is what the entry tells people of. Names of owners may be new with this very plan, and flags
/// are set where it belongs.
fn is_what_it_shows(made: &Entry, shown: &Entry) -> bool {
    let named = |name: &str, now: &str, id: u32| name == now || name == id.to_string();
    Entry { flags: shown.flags, ..made.clone() }.looks_like(shown)
        && made.kind == shown.kind
        && (!made.is_file() || made.size == shown.size)
        && named(&shown.owner, &made.owner, made.ids.0)
        && named(&shown.group, &made.group, made.ids.1)
}

fn write_data(from: &mut File, at: &Path, size: u64, data: &[(u64, u64)], reserved: bool) -> io::Result<()> {
    let to = File::options().write(true).create_new(true).mode(0o600).open(at)?;
    to.set_len(size)?;
    if reserved && size > 0 {
        rustix::fs::fallocate(&to, rustix::fs::FallocateFlags::KEEP_SIZE, 0, size)?;
    }
    let mut buffer = vec![0; 64 * 1024];
    for &(offset, length) in data {
        let mut done = 0;
        while done < length {
            let part = usize::try_from(length - done).unwrap_or(usize::MAX).min(buffer.len());
            from.read_exact(&mut buffer[..part])?;
            to.write_all_at(&buffer[..part], offset + done)?;
            done += part as u64;
        }
    }
    Ok(())
}

/// Makes anything but a regular file.
fn make(at: &Path, after: &Entry) -> io::Result<()> {
    match after.mode & libc::S_IFMT {
        // The root of the host is there already: it is the directory that is extracted to.
        libc::S_IFDIR => DirBuilder::new().recursive(true).mode(0o700).create(at),
        libc::S_IFLNK => symlink(unescape(after.target.as_deref().unwrap_or_default()), at),
        kind => Ok(mknod(at, SFlag::from_bits_truncate(kind), Mode::S_IRUSR, after.is_device)?),
    }
}

/// Gives owner, mode and attributes, in this order: a change of owner clears set-id bits and capabilities.
fn dress(at: &Path, after: &Entry) -> io::Result<()> {
    lchown(at, Some(after.ids.0), Some(after.ids.1))?;
    // What is made in a directory inherits from its list, which the run may have set later.
    for name in ["system.posix_acl_access", "system.posix_acl_default"] {
        if !after.attributes.contains_key(name) && xattr::get(at, name).is_ok_and(|value| value.is_some()) {
            xattr::remove(at, name)?;
        }
    }
    if after.mode & libc::S_IFMT != libc::S_IFLNK {
        let mode = Mode::from_bits_truncate(after.mode & 0o7777);
        fchmodat(AT_FDCWD, at, mode, FchmodatFlags::FollowSymlink)?;
    }
    for (name, value) in &after.attributes {
        let bytes: Option<Vec<u8>> = value
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok())
            .collect();
        let bytes = bytes.ok_or_else(|| io::Error::other("an attribute is not written in hex"))?;
        xattr::set(at, OsStr::from_bytes(unescape(name).as_bytes()), &bytes)?;
    }
    Ok(())
}

fn set_times(at: &Path, times: &Times) -> io::Result<()> {
    let modified = TimeSpec::new(times.modified.0, times.modified.1);
    Ok(utimensat(AT_FDCWD, at, &TimeSpec::UTIME_OMIT, &modified, UtimensatFlags::NoFollowSymlink)?)
}
