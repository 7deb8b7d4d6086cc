//! What must hold before a plan is merged: its paths make sense by themselves, and the host is what the run saw.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Component, Path};

use crate::disco::changes::{Change, Entry, View, known_flags, names_in, read_entry};
use crate::disco::plan::contents::length_before;
use crate::disco::plan::{Moved, Plan, PlanError, State, failed};

/// Checks a plan by itself: every path is one of a host, none leads through another one of the plan that is no
/// directory, and each new state fits its entry.
pub(super) fn check_paths(plan: &Plan) -> Result<(), PlanError> {
    let changes = &plan.head().run.changes;
    if plan.states().len() != changes.len() {
        return Err(plan.refuse("it has not one state for each change"));
    }
    let carried = &plan.head().before;
    if carried.len() != changes.len() {
        return Err(plan.refuse("it does not say for each change what it carries"));
    }
    if let Some(number) = (0..changes.len()).find(|at| carried[*at] != length_before(&changes[*at])) {
        let path = &changes[number].path;
        return Err(plan.refuse(format!("what it carries of {path} does not fit its entry")));
    }
    let mut directories: BTreeMap<&Path, bool> = BTreeMap::new();
    let mut last: Option<&Path> = None;
    for (number, (change, state)) in changes.iter().zip(plan.states()).enumerate() {
        let path = change.path.0.as_path();
        if !is_host_path(path) {
            return Err(plan.refuse(format!("{} is no absolute path without `.` and `..`", change.path)));
        }
        if last.is_some_and(|last| last >= path) {
            return Err(plan.refuse(format!("{} is not in order", change.path)));
        }
        last = Some(path);
        if let Some(after) = &change.after {
            let through = path.ancestors().skip(1).find(|above| directories.get(above) == Some(&false));
            if let Some(above) = through {
                return Err(plan.refuse(format!(
                    "{} would lie below {}, which it makes no directory",
                    change.path,
                    above.display()
                )));
            }
            directories.insert(path, after.is_directory());
        } else {
            directories.insert(path, false);
        }
        let fits = match (&change.after, state) {
            (None, State::Gone) => change.before.is_some(),
            (Some(after), _) if after.flags & !known_flags() != 0 => false,
            (Some(after), State::Data { size, data, .. }) => {
                after.is_file() && after.size == *size && data_fits(*size, data)
            }
            (Some(after), State::Plain(_)) => !after.is_file() && is_kind(after),
            (Some(after), State::Link(first)) => {
                *first < number
                    && !matches!(plan.states()[*first], State::Gone | State::Link(_))
                    && changes[*first].after.as_ref().is_some_and(|first| {
                        !first.is_directory() && first.mode == after.mode && first.looks_like(after)
                    })
            }
            _ => false,
        };
        if !fits {
            return Err(plan.refuse(format!("the new state of {} does not fit its entry", change.path)));
        }
    }
    Ok(())
}

/// Absolute, and nothing but names.
fn is_host_path(path: &Path) -> bool {
    let mut parts = path.components();
    let rebuilt: std::path::PathBuf = path.components().collect();
    parts.next() == Some(Component::RootDir)
        && parts.all(|part| matches!(part, Component::Normal(_)))
        && rebuilt.as_os_str() == path.as_os_str()
        && !path.as_os_str().as_encoded_bytes().contains(&0)
}

fn is_kind(entry: &Entry) -> bool {
    let kind = entry.mode & libc::S_IFMT;
    [libc::S_IFDIR, libc::S_IFLNK, libc::S_IFIFO, libc::S_IFSOCK, libc::S_IFCHR, libc::S_IFBLK]
        .contains(&kind)
        && (kind == libc::S_IFLNK) == entry.target.is_some()
}

fn data_fits(size: u64, data: &[(u64, u64)]) -> bool {
    let mut at = 0;
    data.iter().all(|&(offset, length)| {
        let fits = offset >= at && offset.checked_add(length).is_some_and(|end| end <= size);
        at = offset.saturating_add(length);
        fits
    })
}

/// Compares the host with what the run saw. Returns the changes as they would be found now, with the identity of what
/// lies there, by which the merge sees whether somebody touches it meanwhile.
pub(super) fn check_host(changes: &[Change]) -> Result<Vec<Change>, PlanError> {
    let mut moved = Moved::default();
    let mut fresh = Vec::new();
    for change in changes {
        let path = &change.path.0;
        let live = read_live(path)?;
        if let Some(other) = false_link(change, changes)? {
            moved.0.push((other, "is not the file that the run linked to"));
        }
        match differs(change.before.as_ref(), live.as_ref()) {
            Some(why) => moved.0.push((path.clone(), why)),
            None => fresh.push(Change { before: live, ..change.clone() }),
        }
        // What the run did not see would go with a directory that goes.
        if change.before.as_ref().is_some_and(Entry::is_directory)
            && !change.after.as_ref().is_some_and(Entry::is_directory)
        {
            for name in names_in(path).unwrap_or_default() {
                let below = path.join(name);
                if changes.binary_search_by(|other| other.path.0.cmp(&below)).is_err() {
                    moved.0.push((below, "was not there"));
                }
            }
        }
    }
    if moved.0.is_empty() { Ok(fresh) } else { Err(PlanError::Moved(moved)) }
}

/// A name that a new file is said to share, and whose file is another one; so nothing is linked that was not shown.
fn false_link(change: &Change, changes: &[Change]) -> Result<Option<std::path::PathBuf>, PlanError> {
    let Some(after) = &change.after else { return Ok(None) };
    let alike = |other: &Entry| {
        (other.mode, other.ids, &other.md5, &other.target)
            == (after.mode, after.ids, &after.md5, &after.target)
    };
    for other in &after.linked {
        let path = &other.0;
        let holds = match changes.binary_search_by(|change| change.path.0.cmp(path)) {
            Ok(number) => changes[number].after.as_ref().is_some_and(alike),
            Err(_) => is_host_path(path) && read_live(path)?.as_ref().is_some_and(alike),
        };
        if !holds {
            return Ok(Some(path.clone()));
        }
    }
    Ok(None)
}

/// What lies at a path of the host; none: nothing, or the way to it leads over a link.
fn read_live(path: &Path) -> Result<Option<Entry>, PlanError> {
    let over_link = path
        .ancestors()
        .skip(1)
        .any(|above| fs::symlink_metadata(above).is_ok_and(|found| found.file_type().is_symlink()));
    if over_link {
        return Ok(None);
    }
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(failed("look at", path)(error)),
    };
    let read = read_entry(path, &found, std::os::unix::fs::MetadataExt::dev(&found), View::Live);
    let (entry, _) = read.map_err(|error| failed("read", path)(io::Error::other(error)))?;
    Ok(Some(entry))
}

/// Why what lies there is not what was there; none if it is.
fn differs(before: Option<&Entry>, live: Option<&Entry>) -> Option<&'static str> {
    match (before, live) {
        (None, None) => None,
        (None, Some(_)) => Some("was not there"),
        (Some(_), None) => Some("is gone"),
        (Some(before), Some(live))
            if before.looks_like(live) && (!before.is_file() || before.size == live.size) =>
        {
            None
        }
        (Some(before), Some(live)) => Some(match () {
            () if before.mode & libc::S_IFMT != live.mode & libc::S_IFMT => "has another type",
            () if before.md5 != live.md5 || before.is_file() && before.size != live.size => {
                "has another content"
            }
            () if before.target != live.target => "leads elsewhere",
            () if before.ids != live.ids => "has another owner",
            () if before.mode != live.mode => "has another mode",
            () if before.attributes != live.attributes => "has other attributes",
            () => "is another one",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_absolute_paths_of_names_are_host_paths() {
        for path in ["/etc/x", "/a b/..c"] {
            assert!(is_host_path(Path::new(path)), "{path}");
        }
        for path in ["etc/x", "/etc/../x", "/etc/./x", "//x", "/x/", "", ".."] {
            assert!(!is_host_path(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn data_lies_inside_the_file_and_in_order() {
        assert!(data_fits(10, &[(0, 3), (5, 5)]));
        assert!(!data_fits(10, &[(5, 6)]));
        assert!(!data_fits(10, &[(5, 2), (4, 1)]));
        assert!(!data_fits(10, &[(u64::MAX, 2)]));
    }
}
