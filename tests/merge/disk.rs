//! Disks that remember in which order they were written to, and when they were told to keep what they were given: the files
//! of a FUSE file system, for a node to mount with `-o loop`. From what they remember, the disks are made as a power cut at
//! any moment leaves them.

use std::ffi::OsStr;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Result;
use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite,
    Request, Session, WriteFlags,
};
use testbed::node::Node;

/// What a disk writes whole or not at all, in bytes.
const BLOCK: usize = 4096;

/// How long the kernel may believe what it was told about a file.
const TTL: Duration = Duration::from_secs(1);

/// What was done to one of the disks.
enum Event {
    Write {
        disk: usize,
        offset: usize,
        data: Vec<u8>,
    },
    /// Everything before is kept, whatever happens.
    Flush {
        disk: usize,
    },
}

#[derive(Default)]
struct Memory {
    disks: Vec<Vec<u8>>,
    events: Vec<Event>,
}

/// The disks; they are there as long as this is.
pub(crate) struct Disks {
    memory: Arc<Mutex<Memory>>,
    _session: BackgroundSession,
}

/// What lies on the disks at a moment, and what happened from then on.
pub(crate) struct Record {
    start: Vec<Vec<u8>>,
    events: Vec<Event>,
}

/// Which of the writes that no disk had been told to keep are kept nevertheless.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unkept {
    None,
    Some(u64),
    All,
}

impl Disks {
    /// Shows disks with these contents as the files `0`, `1` and so on of a directory of a node.
    pub(crate) fn show(node: &Node, at: &str, disks: Vec<Vec<u8>>) -> Result<Disks> {
        let memory = Arc::new(Mutex::new(Memory { disks, events: Vec::new() }));
        let files = Files(Arc::clone(&memory));
        let session = node.inside(|| Ok(Session::new(files, at, &Config::default())?))?;
        Ok(Disks { memory, _session: session.spawn()? })
    }

    /// Begins to remember.
    pub(crate) fn start(&self) -> Vec<Vec<u8>> {
        let mut memory = self.memory.lock().unwrap();
        memory.events.clear();
        memory.disks.clone()
    }

    /// What happened since [`Disks::start`], which gave this.
    pub(crate) fn record(&self, start: Vec<Vec<u8>>) -> Record {
        Record { start, events: std::mem::take(&mut self.memory.lock().unwrap().events) }
    }
}

impl Record {
    /// How many moments there are to cut the power at.
    pub(crate) fn moments(&self) -> usize {
        self.events.len() + 1
    }

    /// Right after which moments a disk had kept everything.
    pub(crate) fn flushes(&self) -> impl Iterator<Item = usize> {
        let flushes =
            self.events.iter().enumerate().filter(|(_, event)| matches!(event, Event::Flush { .. }));
        flushes.map(|(at, _)| at + 1)
    }

    /// Writes the disks as they are after the power was cut at a moment, as the files `0`, `1` and so on of a directory.
    pub(crate) fn cut(&self, moment: usize, unkept: Unkept, to: &Path) -> std::io::Result<()> {
        let before = &self.events[..moment];
        for (number, start) in self.start.iter().enumerate() {
            let mut disk = start.clone();
            let kept =
                before.iter().rposition(|event| matches!(event, Event::Flush { disk } if *disk == number));
            for (at, event) in before.iter().enumerate() {
                let Event::Write { disk: of, offset, data } = event else { continue };
                if *of != number {
                    continue;
                }
                for (block, piece) in data.chunks(BLOCK).enumerate() {
                    let is_kept = kept.is_some_and(|kept| at < kept)
                        || match unkept {
                            Unkept::None => false,
                            Unkept::Some(seed) => is_lucky(seed, at, block),
                            Unkept::All => true,
                        };
                    let offset = offset + block * BLOCK;
                    if is_kept {
                        disk[offset..offset + piece.len()].copy_from_slice(piece);
                    }
                }
            }
            let file = File::create(to.join(number.to_string()))?;
            file.set_len(disk.len() as u64)?;
            for (block, piece) in
                disk.chunks(BLOCK).enumerate().filter(|(_, piece)| piece.iter().any(|byte| *byte != 0))
            {
                file.write_all_at(piece, (block * BLOCK) as u64)?;
            }
        }
        Ok(())
    }
}

/// Decides by chance, the same each time.
fn is_lucky(seed: u64, event: usize, block: usize) -> bool {
    let mut hasher = DefaultHasher::new();
    (seed, event, block).hash(&mut hasher);
    hasher.finish() & 1 == 0
}

/// The directory with the disks.
struct Files(Arc<Mutex<Memory>>);

impl Files {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap()
    }
}

/// Number of the disk that has this inode; the directory comes before them.
fn disk_of(inode: INodeNo) -> Option<usize> {
    usize::try_from(u64::from(inode)).ok()?.checked_sub(2)
}

fn attributes(disk: Option<(usize, usize)>) -> FileAttr {
    let (inode, kind, size, perm) = match disk {
        None => (INodeNo::ROOT, FileType::Directory, 0, 0o755),
        Some((disk, size)) => (INodeNo(disk as u64 + 2), FileType::RegularFile, size as u64, 0o600),
    };
    FileAttr {
        ino: inode,
        size,
        blocks: size / 512,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK as u32,
        flags: 0,
    }
}

impl Filesystem for Files {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let number = name.to_str().and_then(|name| name.parse().ok());
        let size = number.and_then(|number: usize| self.memory().disks.get(number).map(Vec::len));
        match number.zip(size) {
            Some(disk) => reply.entry(&TTL, &attributes(Some(disk)), Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let disk = disk_of(inode).map(|number| (number, self.memory().disks[number].len()));
        reply.attr(&TTL, &attributes(disk));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // Every write arrives here, when it is made.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let memory = self.memory();
        let disk = &memory.disks[disk_of(inode).expect("only disks are read")];
        let start = disk.len().min(offset as usize);
        reply.data(&disk[start..disk.len().min(start + size as usize)]);
    }

    fn write(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let (number, offset) = (disk_of(inode).expect("only disks are written to"), offset as usize);
        let mut memory = self.memory();
        match memory.disks[number].get_mut(offset..offset + data.len()) {
            Some(place) => {
                place.copy_from_slice(data);
                memory.events.push(Event::Write { disk: number, offset, data: data.to_vec() });
                reply.written(data.len() as u32);
            }
            None => reply.error(Errno::ENOSPC),
        }
    }

    fn fsync(&self, _: &Request, inode: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.memory().events.push(Event::Flush { disk: disk_of(inode).expect("only disks are flushed") });
        reply.ok();
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }
}
