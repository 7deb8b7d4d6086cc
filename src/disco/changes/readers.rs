//! Reads both sides of paths on all processors, while the walk that finds them goes on: contents are most of the work of
//! a scan, and no script runs meanwhile.

use std::fs::Metadata;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Scope, ScopedJoinHandle, available_parallelism};

use crate::disco::changes::compare::{Show, look_closely};
use crate::disco::changes::{Change, ScanError};

/// How many paths a reader takes at a time. Less than that is read by the thread that found them.
const FEW: usize = 32;

/// A path that has to be read on both sides, as far as there is something.
#[derive(Debug)]
pub(super) struct Moved {
    pub(super) live: PathBuf,
    pub(super) merged: PathBuf,
    pub(super) before: Option<Metadata>,
    pub(super) after: Option<Metadata>,
    /// Whether both sides are one file.
    pub(super) same_file: bool,
    pub(super) flags: LayerFlags,
}

/// What decides on the flags that chattr(1) sets: an upper layer gets some from where it lies, and none from the host.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LayerFlags {
    /// What everything in the layer has, because its directory has it.
    pub(super) of_layer: u32,
    /// What a new file, and a new directory, would have inherited on the host.
    pub(super) inherited: (u32, u32),
}

/// A path that was read, and what came of it; none: both sides look the same.
pub(super) type Read = (Moved, Result<Option<Box<Change>>, ScanError>);

/// Some paths and their place among the others.
struct Few<T> {
    number: usize,
    paths: Vec<T>,
}

/// The readers of one scan.
pub(super) struct Readers<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    show: Show,
    found: Few<Moved>,
    to_read: Sender<Few<Moved>>,
    queue: Arc<Mutex<Receiver<Few<Moved>>>>,
    /// Those beside the thread that walks.
    others: Vec<ScopedJoinHandle<'scope, Vec<Few<Read>>>>,
    most: usize,
}

impl<'scope, 'env> Readers<'scope, 'env> {
    /// Readers who end within the scope, at first none beside the calling thread.
    pub(super) fn within(scope: &'scope Scope<'scope, 'env>, show: Show) -> Self {
        let (to_read, queue) = channel();
        let most = available_parallelism().map_or(1, NonZero::get) - 1;
        let found = Few { number: 0, paths: Vec::new() };
        Readers { scope, show, found, to_read, queue: Arc::new(Mutex::new(queue)), others: Vec::new(), most }
    }

    /// Has a path read.
    pub(super) fn read(&mut self, moved: Moved) {
        self.found.paths.push(moved);
        if self.found.paths.len() == FEW {
            self.hand_over();
            if self.others.len() < self.most {
                let (queue, show) = (Arc::clone(&self.queue), self.show);
                self.others.push(self.scope.spawn(move || read_all(&queue, show)));
            }
        }
    }

    fn hand_over(&mut self) {
        let next = Few { number: self.found.number + 1, paths: Vec::new() };
        // The queue is held here as well: it takes everything.
        let _ = self.to_read.send(std::mem::replace(&mut self.found, next));
    }

    /// Everything that was read, in the order in which it was found.
    pub(super) fn finish(mut self) -> impl Iterator<Item = Read> + use<> {
        self.hand_over();
        drop(self.to_read);
        let mut read = read_all(&self.queue, self.show);
        for other in self.others {
            read.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        read.sort_by_key(|few| few.number);
        read.into_iter().flat_map(|few| few.paths)
    }
}

/// Reads what comes through a queue, to its end.
fn read_all(queue: &Mutex<Receiver<Few<Moved>>>, show: Show) -> Vec<Few<Read>> {
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).recv().ok();
    let read = |moved: Moved| {
        let Moved { live, merged, before, after, same_file, flags } = &moved;
        let layer = Some(*flags);
        let change = look_closely(live, before.as_ref(), merged, after.as_ref(), *same_file, layer, show);
        (moved, change.map(|change| change.map(Box::new)))
    };
    let few = |few: Few<Moved>| Few { number: few.number, paths: few.paths.into_iter().map(read).collect() };
    std::iter::from_fn(next).map(few).collect()
}
