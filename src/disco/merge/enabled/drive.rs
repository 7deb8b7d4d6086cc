//! Brings the paths of a plan to one of its sides, from whatever mix of both they are in.
//!
//! Every step asks first whether it was done: an object that is not in the store is in its place. So a merge that was
//! interrupted is finished by doing it again, and undone by doing it in the other direction. And every step asks whether
//! what it takes away or writes over is what the plan knows to be there: what somebody else put there is never touched.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, renameat};
use nix::sys::stat::{FileStat, Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use rustix::fs::{CWD, IFlags, RenameFlags, renameat_with};

use super::MergeError;
use super::journal::{Item, Plan, Side, State, Work};
use super::reach::{Place, Reach, is_gone, step};
use super::rejoin::rejoin;
use super::stage;
use super::style::{Style, set_flags};
use crate::disco::changes::PROTECTION;

/// What becomes of a path that somebody else changed after the plan was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strangers {
    /// It ends the drive, which can go the other way then.
    Refuse,
    /// It is left as it is. So it is when the direction is not free any more: what the host has then is what it would
    /// have if the plan had been driven to its end first and the path changed afterwards.
    Spare,
}

/// Brings every path of a plan, one of those that belong together, to a side. Returns the paths that were spared.
///
/// # Errors
/// The first step that failed. Driving to either side is possible afterwards.
pub(super) fn drive(
    plan: &Plan,
    side: Side,
    plans: &[Plan],
    strangers: Strangers,
) -> Result<Vec<PathBuf>, MergeError> {
    let mut drive = Drive { plan, side, plans, strangers, reach: Reach::default(), spared: BTreeSet::new() };
    for number in plan.numbers() {
        drive.release(number)?;
    }
    // Innermost first: a directory is empty when it goes.
    for number in plan.numbers().rev() {
        drive.take_away(number)?;
    }
    for number in plan.numbers() {
        drive.put(number)?;
    }
    for number in plan.numbers() {
        drive.rewrite(number)?;
    }
    if side == Side::Old {
        rejoin(plan, &mut drive.reach)?;
    }
    // Innermost first again: a directory's time is set after the last change below it.
    for number in plan.numbers().rev() {
        drive.dress(number)?;
    }
    // Last, because nothing below an immutable directory can change.
    for number in plan.numbers().rev() {
        drive.protect(number)?;
    }
    Ok(drive.spared.iter().map(|number| plan.items[*number].path.0.clone()).collect())
}

/// Puts times and looks of before on the roots of those file systems that got their first store. Nothing else of the plan
/// was done.
pub(super) fn undress_roots(plan: &Plan) -> Result<(), MergeError> {
    let (side, strangers) = (Side::Old, Strangers::Spare);
    let plans = std::slice::from_ref(plan);
    let mut drive = Drive { plan, side, plans, strangers, reach: Reach::default(), spared: BTreeSet::new() };
    for number in plan.numbers() {
        let item = &plan.items[number];
        if plan.stores.iter().any(|store| store.is_first && store.mount == item.path) {
            drive.dress(number)?;
        }
    }
    Ok(())
}

struct Drive<'a> {
    plan: &'a Plan,
    side: Side,
    /// All plans that may have changed the same paths.
    plans: &'a [Plan],
    strangers: Strangers,
    reach: Reach,
    /// Numbers of the items that somebody else changed.
    spared: BTreeSet<usize>,
}

impl<'a> Drive<'a> {
    /// The place of an item; none where the way to it is gone and stays so.
    fn item(&mut self, number: usize) -> Result<Option<(&'a Path, Place<'a>)>, MergeError> {
        let path = &self.plan.items[number].path.0;
        match self.reach.place(path) {
            Err(MergeError::Step { source, .. })
                if is_gone(&source) && self.strangers == Strangers::Spare =>
            {
                // On the way back, an earlier plan may have taken the directory that it made.
                if self.side == Side::New {
                    self.spared.insert(number);
                }
                Ok(None)
            }
            place => Ok(Some((path, place?))),
        }
    }

    /// Somebody else's doing was found at a path.
    fn spare(&mut self, number: usize) -> Result<(), MergeError> {
        match self.strangers {
            Strangers::Refuse => Err(MergeError::Stranger { path: self.plan.items[number].path.0.clone() }),
            Strangers::Spare => {
                self.spared.insert(number);
                Ok(())
            }
        }
    }

    /// All that is planned for a path.
    fn works(&self, path: &'a Path) -> impl Iterator<Item = &'a Work> + use<'a> {
        self.plans.iter().filter_map(move |plan| plan.work_at(path))
    }

    /// How a path looked before any plan, between them and after all of them.
    fn styles(&self, path: &'a Path) -> Vec<Style> {
        let of = |work: &'a Work| [Side::Old, Side::New].into_iter().filter_map(|side| work.style(side));
        self.works(path).flat_map(of).cloned().collect()
    }

    /// Whether what was found at a path is what the plan leads from there, or what another plan left of it.
    fn is_ours(&self, number: usize, found: &FileStat) -> bool {
        let Item { path, work, .. } = &self.plan.items[number];
        let is_it = |state: &State| match state {
            State::Object { likeness: Some(likeness), .. } => likeness.is_of(found),
            State::Object { likeness: None, .. } => found.st_mode & libc::S_IFMT != libc::S_IFDIR,
            State::Nothing | State::Directory(_) => false,
        };
        work.state(self.side.other()).is_some_and(is_it)
            || self.works(&path.0).any(|work| match work {
                Work::Place { old, new } => is_it(old) || is_it(new),
                Work::Style { .. } => found.st_mode & libc::S_IFMT == libc::S_IFREG,
            })
    }

    /// What could keep an entry from being moved or changed is taken from it.
    fn release(&mut self, number: usize) -> Result<(), MergeError> {
        let Item { path, work, .. } = &self.plan.items[number];
        if (work.flags(Side::Old) | work.flags(Side::New)) & PROTECTION.bits() == 0 {
            return Ok(());
        }
        // The parent may not be there yet, or no more.
        let Ok(place) = self.reach.place(&path.0) else { return Ok(()) };
        if step("look at", &path.0, place.look())?.is_some() {
            step("release", &path.0, set_flags(&place, PROTECTION, 0))?;
        }
        Ok(())
    }

    fn take_away(&mut self, number: usize) -> Result<(), MergeError> {
        let work = &self.plan.items[number].work;
        let (Some(is), Some(will)) = (work.state(self.side.other()), work.state(self.side)) else {
            return Ok(());
        };
        match (is, will) {
            (State::Object { .. }, State::Nothing | State::Directory(_)) => self.take_object(number),
            (State::Directory(_), State::Nothing | State::Object { .. }) => self.take_directory(number),
            _ => Ok(()),
        }
    }

    fn take_object(&mut self, number: usize) -> Result<(), MergeError> {
        let slot = self.plan.slot(number, self.side.other());
        if lies_at(&slot) {
            return Ok(());
        }
        let Some((path, place)) = self.item(number)? else { return Ok(()) };
        match step("look at", path, place.look())? {
            None => Ok(()),
            Some(found) if self.is_ours(number, &found) => {
                step("take away", path, renameat(&place.parent, place.name, AT_FDCWD, &slot))
            }
            Some(_) => self.spare(number),
        }
    }

    fn take_directory(&mut self, number: usize) -> Result<(), MergeError> {
        let path = &self.plan.items[number].path.0;
        // Where the parent is gone, so is this.
        let place = match self.reach.place(path) {
            Err(MergeError::Step { source, .. }) if is_gone(&source) => return Ok(()),
            place => place?,
        };
        match unlinkat(&place.parent, place.name, UnlinkatFlags::RemoveDir) {
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(()),
            Err(Errno::ENOTEMPTY | Errno::EEXIST) => self.spare(number),
            other => step("remove the directory", path, other),
        }
    }

    fn put(&mut self, number: usize) -> Result<(), MergeError> {
        match self.plan.items[number].work.state(self.side) {
            _ if self.spared.contains(&number) => Ok(()),
            Some(State::Directory(_)) => self.put_directory(number),
            Some(State::Object { .. }) => self.put_object(number),
            Some(State::Nothing) | None => Ok(()),
        }
    }

    fn put_directory(&mut self, number: usize) -> Result<(), MergeError> {
        let Some((path, place)) = self.item(number)? else { return Ok(()) };
        // Closed until it is complete; its own mode comes last.
        match mkdirat(&place.parent, place.name, Mode::S_IRWXU) {
            Err(Errno::EEXIST) if self.strangers == Strangers::Spare => {
                let found = step("look at", path, place.look())?;
                let is_directory = |found: FileStat| found.st_mode & libc::S_IFMT == libc::S_IFDIR;
                if found.is_some_and(is_directory) { Ok(()) } else { self.spare(number) }
            }
            Err(Errno::EEXIST) => self.spare(number),
            other => step("make the directory", path, other),
        }
    }

    fn put_object(&mut self, number: usize) -> Result<(), MergeError> {
        let (comes, goes) = (self.plan.slot(number, self.side), self.plan.slot(number, self.side.other()));
        if !lies_at(&comes) {
            return Ok(());
        }
        let Some((path, place)) = self.item(number)? else { return Ok(()) };
        let other = self.plan.items[number].work.state(self.side.other());
        if !matches!(other, Some(State::Object { .. })) {
            // rustix asks the kernel itself: C libraries before 2.28 have no function for it.
            return match renameat_with(CWD, &comes, &place.parent, place.name, RenameFlags::NOREPLACE) {
                Err(rustix::io::Errno::EXIST) => self.spare(number),
                other => step("put in place", path, other),
            };
        }
        let Some(found) = step("look at", path, place.look())? else { return self.spare(number) };
        let is_in = |slot: &Path| {
            let kept = step("look at", path, nix::sys::stat::lstat(slot))?;
            Ok::<_, MergeError>((kept.st_dev, kept.st_ino) == (found.st_dev, found.st_ino))
        };
        // What goes gets a second name before its first one is taken: at no time is the path empty.
        if !lies_at(&goes) {
            if !self.is_ours(number, &found) {
                return self.spare(number);
            }
            step("keep", path, stage::link(&place.path(), &goes))?;
        } else if !is_in(&goes)? && !is_in(&comes)? {
            return self.spare(number);
        }
        step("put in place", path, renameat(AT_FDCWD, &comes, &place.parent, place.name))?;
        // Two names of one file are left alone by a rename: it was in its place already.
        if lies_at(&comes) {
            step("tidy up", path, fs::remove_file(&comes))?;
        }
        Ok(())
    }

    /// Writes a file in place, because it has names that the plan does not know. What it holds already is not written
    /// again.
    fn rewrite(&mut self, number: usize) -> Result<(), MergeError> {
        let Work::Style { content: true, .. } = self.plan.items[number].work else { return Ok(()) };
        let slot = |side| self.plan.slot(number, side);
        let (comes, goes) = (slot(self.side), slot(self.side.other()));
        let Some((path, place)) = self.item(number)? else { return Ok(()) };
        let live = place.path();
        let now = match stage::open(&live) {
            Err(error) if is_gone(&error) => return self.spare(number),
            now => step("read", path, now)?,
        };
        if !step("read", path, now.metadata())?.is_file() {
            return self.spare(number);
        }
        let (wanted, old) = (stage::open(&comes), stage::open(&goes));
        let (wanted, old) = (step("read the new", path, wanted)?, step("read the old", path, old)?);
        if !step("read", path, is_same_content(&now, &old))? {
            if step("read", path, is_same_content(&now, &wanted))? {
                return Ok(());
            }
            // What was being written when the client died is a part of one of both.
            let is_part = |whole| step("read", path, is_part_of(&now, whole));
            if self.strangers == Strangers::Refuse || !is_part(&wanted)? && !is_part(&old)? {
                return self.spare(number);
            }
        }
        let how = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = step("write", path, File::options().write(true).custom_flags(how).open(&live))?;
        step("write", path, file.set_len(0))?;
        step("write", path, stage::copy_content(&wanted, &file))
    }

    fn dress(&mut self, number: usize) -> Result<(), MergeError> {
        let Item { path, work, .. } = &self.plan.items[number];
        let Some(style) = work.style(self.side) else { return Ok(()) };
        if self.spared.contains(&number) {
            return Ok(());
        }
        let Some((_, place)) = self.item(number)? else { return Ok(()) };
        let known = match step("look at", &path.0, place.look())? {
            // Nobody but its owner looks into a new directory before it is complete. It inherits that its group is, and a list
            // of access that it inherited may have taken rights from its owner.
            Some(found) if matches!(work, Work::Place { .. }) && found.st_mode & 0o5077 == 0 => None,
            _ => Some(self.styles(&path.0)),
        };
        match style.put_on(&place, known.as_deref()) {
            Ok(true) => Ok(()),
            Ok(false) => self.spare(number),
            Err(error) if is_gone(&error) => match self.side {
                Side::New => self.spare(number),
                Side::Old => Ok(()),
            },
            Err(error) => step("set mode and owner of", &path.0, Err(error)),
        }
    }

    fn protect(&mut self, number: usize) -> Result<(), MergeError> {
        let Item { work, .. } = &self.plan.items[number];
        let flags = work.flags(self.side);
        let none = flags | work.flags(self.side.other()) == 0;
        if none || self.spared.contains(&number) || matches!(work.state(self.side), Some(State::Nothing)) {
            return Ok(());
        }
        let Some((path, place)) = self.item(number)? else { return Ok(()) };
        match step("look at", path, place.look())? {
            Some(_) => step("set the flags of", path, set_flags(&place, IFlags::all(), flags)),
            None => Ok(()),
        }
    }
}

/// Whether a file holds nothing but the beginning of another one, or zeroes where that was not on the disk yet.
fn is_part_of(part: &File, whole: &File) -> io::Result<bool> {
    let length = part.metadata()?.len();
    if length > whole.metadata()?.len() {
        return Ok(false);
    }
    (&mut &*part).rewind()?;
    (&mut &*whole).rewind()?;
    let (mut part, mut whole) =
        (io::BufReader::new(part).take(length), io::BufReader::new(whole).take(length));
    let (mut left, mut right) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        let read = part.read(&mut left)?;
        if read == 0 {
            return Ok(true);
        }
        whole.read_exact(&mut right[..read])?;
        if left[..read].iter().zip(&right[..read]).any(|(left, right)| left != right && *left != 0) {
            return Ok(false);
        }
    }
}

fn lies_at(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

pub(super) fn is_same_content(one: &File, two: &File) -> io::Result<bool> {
    let length = one.metadata()?.len();
    if length != two.metadata()?.len() {
        return Ok(false);
    }
    (&mut &*one).rewind()?;
    (&mut &*two).rewind()?;
    let (mut one, mut two) = (io::BufReader::new(one), io::BufReader::new(two));
    let (mut left, mut right) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        let read = one.read(&mut left)?;
        if read == 0 {
            return Ok(true);
        }
        two.read_exact(&mut right[..read])?;
        if left[..read] != right[..read] {
            return Ok(false);
        }
    }
}
