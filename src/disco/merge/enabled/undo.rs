//! What is kept of the last live run, so that it can be undone: what every path was right after it, and what undoing
//! would change.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::MergeError;
use super::drive::{Strangers, is_same_content};
use super::journal::{Item, Journal, Plan, Side, State, Work, read_sealed};
use super::reach::{Reach, is_gone, step};
use super::stage::{self, Copied};
use super::style::Style;
use crate::disco::changes::{self, Change, HostPath, Identity, View};

/// What a path was right after the merge.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Seen {
    Nothing,
    /// The time of a directory changes with its entries; each of those is seen by itself.
    Directory(Style),
    Other(Identity),
    /// What somebody else left there before the merge came to its end. It is never that again.
    Strange,
}

/// Looks at a path, but not through a link that took the place of a directory above it.
fn see(path: &Path, reach: &mut Reach) -> Result<Seen, MergeError> {
    let found = match reach.place(path) {
        Ok(_) => fs::symlink_metadata(path),
        Err(MergeError::Step { source, .. }) => Err(source),
        Err(error) => return Err(error),
    };
    match found {
        Ok(found) if found.is_dir() => {
            step("look at", path, Style::of(path, View::Live)).map(Seen::Directory)
        }
        Ok(found) => Ok(Seen::Other(Identity::of(&found))),
        Err(error) if is_gone(&error) => Ok(Seen::Nothing),
        Err(error) => step("look at", path, Err(error)),
    }
}

/// Writes down what the paths of a plan are now. After a recovery, they may be what somebody else made of them since.
///
/// `before` is the journal of earlier merges of the same run, if this is not its first one.
pub(super) fn write_down(
    journal: &Journal,
    before: &Journal,
    plan: &Plan,
    strangers: Strangers,
) -> Result<(), MergeError> {
    let mut seen = Vec::with_capacity(plan.items.len());
    let mut reach = Reach::default();
    for number in plan.numbers() {
        let path = &plan.items[number].path;
        let mut now = see(&path.0, &mut reach)?;
        if strangers == Strangers::Spare && !is_done(plan, number, &now)? {
            now = Seen::Strange;
        }
        seen.push((path.clone(), now));
    }
    seen.extend(other_names(before, plan, &seen, &mut reach)?);
    journal.write_sealed(&format!("{}.after", plan.name()), &seen)
}

/// A file that an earlier merge of the same run left at a path, and that this one touched by another of its names: its
/// status changed once more.
fn other_names(
    before: &Journal,
    plan: &Plan,
    seen: &[(HostPath, Seen)],
    reach: &mut Reach,
) -> Result<Vec<(HostPath, Seen)>, MergeError> {
    let earlier: Vec<Plan> = match before.plans() {
        Err(MergeError::Journal { .. }) => Vec::new(),
        plans => plans?.into_iter().filter(|earlier| earlier.run == plan.run).collect(),
    };
    if earlier.is_empty() {
        return Ok(Vec::new());
    }
    let mut touched = BTreeSet::new();
    for (item, (_, now)) in plan.numbers().map(|number| &plan.items[number]).zip(seen) {
        let mount = &plan.stores[item.store].mount.0;
        if let Seen::Other(now) = now {
            touched.insert((mount, now.inode));
        }
        if let Work::Place { old: State::Object { shared: Some(inode), .. }, .. } = &item.work {
            touched.insert((mount, inode.number));
        }
    }
    let mut again = Vec::new();
    for earlier in &earlier {
        for (path, then) in seen_after(before, earlier)? {
            let Ok(number) = earlier.items.binary_search_by(|item| item.path.0.cmp(&path.0)) else {
                continue;
            };
            let mount = &earlier.stores[earlier.items[number].store].mount.0;
            if let Seen::Other(then) = then
                && touched.contains(&(mount, then.inode))
                && plan.work_at(&path.0).is_none()
            {
                let now = see(&path.0, reach)?;
                if matches!(now, Seen::Other(now) if now.inode == then.inode) {
                    again.push((path, now));
                }
            }
        }
    }
    Ok(again)
}

/// What was written down of the paths of a plan.
fn seen_after(journal: &Journal, plan: &Plan) -> Result<Vec<(HostPath, Seen)>, MergeError> {
    read_sealed(&journal.directory.join(format!("{}.after", plan.name())))
}

/// Whether what was seen at a path is what the plan was to make of it.
fn is_done(plan: &Plan, number: usize, seen: &Seen) -> Result<bool, MergeError> {
    let Item { path, work, .. } = &plan.items[number];
    let path = &path.0;
    match (work, seen) {
        (Work::Place { new: State::Nothing, .. }, seen) => Ok(*seen == Seen::Nothing),
        (Work::Place { new: State::Object { likeness, .. }, .. }, Seen::Other(_)) => {
            let found = step("look at", path, nix::sys::stat::lstat(path))?;
            Ok(likeness.is_none_or(|likeness| likeness.is_of(&found)))
        }
        (Work::Place { new: State::Directory(style), .. }, Seen::Directory(now)) => Ok(style.looks_like(now)),
        (Work::Style { new, .. }, Seen::Directory(now)) => Ok(new.looks_like(now)),
        (Work::Style { new, content, .. }, Seen::Other(_)) => {
            let is_content = || {
                let slot = plan.slot(number, Side::New);
                let (now, wanted) = (stage::open(path), stage::open(&slot));
                let (now, wanted) = (step("read", path, now)?, step("read", &slot, wanted)?);
                step("read", path, is_same_content(&now, &wanted))
            };
            Ok(step("look at", path, new.is_of(path))? && (!content || is_content()?))
        }
        _ => Ok(false),
    }
}

/// Every path must be what the last merge that touched it left there.
pub(super) fn check(journal: &Journal, plans: &[Plan]) -> Result<(), MergeError> {
    let mut left = BTreeMap::new();
    let paths =
        |plan: &'_ Plan| plan.numbers().map(|number| plan.items[number].path.0.clone()).collect::<Vec<_>>();
    let there: BTreeSet<PathBuf> = plans.iter().flat_map(paths).collect();
    for plan in plans {
        let seen = seen_after(journal, plan)?;
        for (path, seen) in seen.into_iter().filter(|(path, _)| there.contains(&path.0)) {
            let new = plan.work_at(&path.0).and_then(|work| work.state(Side::New));
            left.insert(path.0, (plan.run, seen, matches!(new, Some(State::Directory(_)))));
        }
    }
    let mut reach = Reach::default();
    for (path, (run, then, _)) in &left {
        let same = match (then, see(path, &mut reach)?) {
            (Seen::Directory(then), Seen::Directory(now)) => then.looks_like(&now),
            (Seen::Strange, _) => false,
            (then, now) => *then == now,
        };
        if !same {
            return Err(MergeError::ChangedSince { path: path.clone(), run: *run });
        }
    }
    // A directory that the run made goes; so nobody may have put anything there.
    for (path, (run, then, made)) in &left {
        if !made || !matches!(then, Seen::Directory(_)) {
            continue;
        }
        for entry in step("read", path, fs::read_dir(path))? {
            let path = step("read", path, entry)?.path();
            if !left.contains_key(&path) {
                return Err(MergeError::ChangedSince { path, run: *run });
            }
        }
    }
    Ok(())
}

/// What undoing changes on the host, sorted by path.
pub(super) fn changes(plans: &[Plan]) -> Result<Vec<Change>, MergeError> {
    let mut first: BTreeMap<&Path, (&Plan, usize)> = BTreeMap::new();
    for plan in plans {
        for number in plan.numbers() {
            first.entry(&plan.items[number].path.0).or_insert((plan, number));
        }
    }
    let mut found = Vec::new();
    for (path, (plan, number)) in first {
        let work = &plan.items[number].work;
        let change = match work.style(Side::Old) {
            Some(style) if !matches!(work, Work::Style { content: true, .. }) => {
                changes::compare_look(path, &style.look())
            }
            // Where nothing was, nothing is in the store either.
            _ => changes::compare(path, &plan.slot(number, Side::Old)),
        };
        found.extend(change.map_err(|error| MergeError::Compare { source: Box::new(error) })?);
    }
    changes::mark_implied(&mut found);
    Ok(found)
}

/// Makes copies of those kept files that still have a name on the host: it would count one name too many, and what is
/// written to it would be written to what is kept. Returns whether there were any.
pub(super) fn part_from_other_names(plan: &Plan) -> Result<bool, MergeError> {
    let mut kept: BTreeMap<(u64, u64), Vec<PathBuf>> = BTreeMap::new();
    for number in plan.numbers() {
        let slot = plan.slot(number, Side::Old);
        let found = fs::symlink_metadata(&slot).ok();
        if let Some(found) = found.filter(|found| !found.is_dir() && found.nlink() > 1) {
            kept.entry((found.dev(), found.ino())).or_default().push(slot);
        }
    }
    let mut reach = Reach::default();
    let mut parted = false;
    for (file, slots) in kept {
        let found = step("look at", &slots[0], fs::symlink_metadata(&slots[0]))?;
        if found.nlink() <= slots.len() as u64 {
            continue;
        }
        let copy = slots[0].with_extension("copy");
        match fs::remove_file(&copy) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => step("remove", &copy, Err(error))?,
            _ => {}
        }
        // By another name, the file may be the new one already.
        let old = changed_in_place(plan, file);
        let content = old.and_then(|(number, _, content)| content.then(|| plan.slot(number, Side::Old)));
        stage::copy(&slots[0], content.as_ref().unwrap_or(&slots[0]), Copied::Live, &copy, &mut reach)?;
        if let Some((_, style, _)) = old {
            step("keep", &slots[0], style.put_on(&reach.place(&copy)?, None))?;
        }
        for slot in &slots[1..] {
            let again = slot.with_extension("again");
            step("keep", slot, stage::link(&copy, &again))?;
            step("keep", slot, fs::rename(&again, slot))?;
        }
        step("keep", &slots[0], fs::rename(&copy, &slots[0]))?;
        parted = true;
    }
    Ok(parted)
}

/// The item that changed a file of this device and number in place, how the file looked before, and whether its content
/// changed, too.
fn changed_in_place(plan: &Plan, file: (u64, u64)) -> Option<(usize, &Style, bool)> {
    plan.items.iter().enumerate().find_map(|(number, item)| match &item.work {
        Work::Style { old, content, .. } => {
            let found = fs::symlink_metadata(&item.path.0).ok()?;
            ((found.dev(), found.ino()) == file).then_some((number, &**old, *content))
        }
        Work::Place { .. } => None,
    })
}
