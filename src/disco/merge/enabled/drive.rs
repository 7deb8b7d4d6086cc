//! Brings the paths of a plan to one of its sides, from whatever mix of both they are in.
//!
//! Every step asks first whether it was done: an object that is not in the store is in its place. So a merge that was
//! interrupted is finished by doing it again, and undone by doing it in the other direction.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, renameat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::MergeError;
use super::journal::{Item, Plan, Side, State, Work};
use super::reach::{Place, Reach, is_gone, step};
use super::rejoin::rejoin;
use super::stage;
use super::style::set_protection;

/// Brings every path of a plan to a side.
///
/// # Errors
/// The first step that failed. Driving to either side is possible afterwards.
pub(super) fn drive(plan: &Plan, side: Side) -> Result<(), MergeError> {
    let mut drive = Drive { plan, side, reach: Reach::default() };
    let numbers = 0..plan.items.len();
    for number in numbers.clone() {
        drive.release(number)?;
    }
    // Innermost first: a directory is empty when it goes.
    for number in numbers.clone().rev() {
        drive.take_away(number)?;
    }
    for number in numbers.clone() {
        drive.put(number)?;
    }
    for number in numbers.clone() {
        drive.rewrite(number)?;
    }
    if side == Side::Old {
        rejoin(plan, &mut drive.reach)?;
    }
    // Innermost first again: a directory's time is set after the last change below it.
    for number in numbers.clone().rev() {
        drive.dress(number)?;
    }
    // Last, because nothing below an immutable directory can change.
    for number in numbers.rev() {
        drive.protect(number)?;
    }
    Ok(())
}

/// Puts times and looks of one side on the roots of those file systems that got their first store. Nothing else of the
/// plan was done.
pub(super) fn dress_roots(plan: &Plan, side: Side) -> Result<(), MergeError> {
    let mut drive = Drive { plan, side, reach: Reach::default() };
    for number in 0..plan.items.len() {
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
    reach: Reach,
}

impl<'a> Drive<'a> {
    fn item(&mut self, number: usize) -> Result<(&'a Item, Place<'a>), MergeError> {
        let item = &self.plan.items[number];
        Ok((item, self.reach.place(&item.path.0)?))
    }

    /// What could keep an entry from being moved or changed is taken from it.
    fn release(&mut self, number: usize) -> Result<(), MergeError> {
        let work = &self.plan.items[number].work;
        if work.flags(Side::Old) | work.flags(Side::New) == 0 {
            return Ok(());
        }
        // The parent may not be there yet, or no more.
        let Ok((item, place)) = self.item(number) else { return Ok(()) };
        if step("look at", &item.path.0, place.look())?.is_some() {
            step("release", &item.path.0, set_protection(&place, 0))?;
        }
        Ok(())
    }

    fn take_away(&mut self, number: usize) -> Result<(), MergeError> {
        let work = &self.plan.items[number].work;
        let (Some(is), Some(will)) = (work.state(self.side.other()), work.state(self.side)) else {
            return Ok(());
        };
        let slot = self.plan.slot(number, self.side.other());
        match (is, will) {
            (State::Object { .. }, State::Nothing | State::Directory(_)) if !lies_at(&slot) => {
                let (item, place) = self.item(number)?;
                step("take away", &item.path.0, renameat(&place.parent, place.name, AT_FDCWD, &slot))
            }
            (State::Directory(_), State::Nothing | State::Object { .. }) => {
                let path = &self.plan.items[number].path.0;
                // Where the parent is gone, so is this.
                let place = match self.reach.place(path) {
                    Err(MergeError::Step { source, .. }) if is_gone(&source) => return Ok(()),
                    place => place?,
                };
                match unlinkat(&place.parent, place.name, UnlinkatFlags::RemoveDir) {
                    Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(()),
                    other => step("remove the directory", path, other),
                }
            }
            _ => Ok(()),
        }
    }

    fn put(&mut self, number: usize) -> Result<(), MergeError> {
        let work = &self.plan.items[number].work;
        match work.state(self.side) {
            Some(State::Directory(_)) => {
                let (item, place) = self.item(number)?;
                // Closed until it is complete; its own mode comes last.
                match mkdirat(&place.parent, place.name, Mode::S_IRWXU) {
                    Err(Errno::EEXIST) => Ok(()),
                    other => step("make the directory", &item.path.0, other),
                }
            }
            Some(State::Object { .. }) => self.put_object(number),
            Some(State::Nothing) | None => Ok(()),
        }
    }

    fn put_object(&mut self, number: usize) -> Result<(), MergeError> {
        let comes = self.plan.slot(number, self.side);
        if !lies_at(&comes) {
            return Ok(());
        }
        let (item, place) = self.item(number)?;
        let path = &item.path.0;
        let replaces = matches!(item.work.state(self.side.other()), Some(State::Object { .. }));
        if replaces {
            // What goes gets a second name before its first one is taken: at no time is the path empty.
            let goes = self.plan.slot(number, self.side.other());
            if !lies_at(&goes) {
                step("keep", path, stage::link(&place.path(), &goes))?;
            }
            step("put in place", path, renameat(AT_FDCWD, &comes, &place.parent, place.name))?;
            // Two names of one file are left alone by a rename: it was in its place already.
            if lies_at(&comes) {
                step("tidy up", path, fs::remove_file(&comes))?;
            }
            return Ok(());
        }
        // rustix asks the kernel itself: C libraries before 2.28 have no function for it.
        let flags = RenameFlags::NOREPLACE;
        step("put in place", path, renameat_with(CWD, &comes, &place.parent, place.name, flags))
    }

    /// Writes a file in place, because it has names that the plan does not know. What it holds already is not written
    /// again.
    fn rewrite(&mut self, number: usize) -> Result<(), MergeError> {
        let Work::Style { content: true, .. } = self.plan.items[number].work else { return Ok(()) };
        let slot = self.plan.slot(number, self.side);
        let (item, place) = self.item(number)?;
        let (path, live) = (&item.path.0, place.path());
        let wanted = step("read the new", path, stage::open(&slot))?;
        let now = step("read", path, stage::open(&live))?;
        if step("read", path, is_same_content(&now, &wanted))? {
            return Ok(());
        }
        let how = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = step("write", path, File::options().write(true).custom_flags(how).open(&live))?;
        step("write", path, file.set_len(0))?;
        let wanted = step("read the new", path, stage::open(&slot))?;
        step("write", path, stage::copy_content(&wanted, &file))
    }

    fn dress(&mut self, number: usize) -> Result<(), MergeError> {
        let Some(style) = self.plan.items[number].work.style(self.side) else { return Ok(()) };
        let (item, place) = self.item(number)?;
        step("set mode and owner of", &item.path.0, style.put_on(&place))
    }

    fn protect(&mut self, number: usize) -> Result<(), MergeError> {
        let flags = self.plan.items[number].work.flags(self.side);
        if flags == 0 {
            return Ok(());
        }
        let (item, place) = self.item(number)?;
        step("protect", &item.path.0, set_protection(&place, flags))
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
