//! What a power cut may find on any disk, whatever its file system makes of it (`power.rs` cuts the power of one): in which
//! order the client changes files and has them written. The calls of one merge are recorded, and each thing that a later one
//! relies on must have been written before.

use std::collections::BTreeMap;
use std::io::IoSliceMut;
use std::path::{Path, PathBuf};

use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;
use testbed::lab::{BINARY, Lab, STATE};
use testbed::universe::Universe;

use crate::tracer;

/// What one call did.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Did {
    /// Changed what a file holds or how it looks.
    Change(PathBuf),
    /// Made or removed a name.
    Name(PathBuf),
    /// Renamed something.
    Rename(PathBuf, PathBuf),
    /// Had one file or directory written.
    Sync(PathBuf),
    /// Had everything of its file system written.
    SyncAll(PathBuf),
    /// Started a process.
    Start,
}

/// Follows the descriptors of a process, so that calls can be told by path.
#[derive(Default)]
struct Recorder {
    open: BTreeMap<u64, PathBuf>,
    entered: Option<(Vec<Did>, Option<PathBuf>)>,
    did: Vec<Did>,
}

/// A text in the memory of a process, read page by page: the one after its end may not be there.
fn text(pid: Pid, mut address: u64) -> String {
    let mut found = Vec::new();
    loop {
        let length = 4096 - address as usize % 4096;
        let mut page = vec![0; length];
        let remote = [RemoteIoVec { base: address as usize, len: length }];
        let read = process_vm_readv(pid, &mut [IoSliceMut::new(&mut page)], &remote).unwrap_or(0);
        let end = page[..read].iter().position(|byte| *byte == 0);
        found.extend_from_slice(&page[..end.unwrap_or(read)]);
        if end.is_some() || read == 0 {
            return String::from_utf8_lossy(&found).into_owned();
        }
        address += read as u64;
    }
}

impl Recorder {
    fn descriptor(&self, number: u64) -> PathBuf {
        self.open.get(&(number & 0xffff_ffff)).cloned().unwrap_or_default()
    }

    fn at(&self, directory: u64, path: &str) -> PathBuf {
        if let Some(rest) = path.strip_prefix("/proc/self/fd/") {
            let (number, name) = rest.split_once('/').unwrap_or((rest, ""));
            return self.descriptor(number.parse().unwrap()).join(name);
        }
        if path.starts_with('/') || directory as i32 == libc::AT_FDCWD {
            return Path::new("/").join(path);
        }
        if path.is_empty() || path == "." {
            self.descriptor(directory)
        } else {
            self.descriptor(directory).join(path)
        }
    }

    fn enter(&mut self, pid: Pid, call: libc::c_long, arguments: [u64; 4]) {
        let [a, b, c, d] = arguments;
        let (mut did, mut opens) = (Vec::new(), None);
        let here = libc::AT_FDCWD as u64;
        match call {
            libc::SYS_openat | libc::SYS_openat2 => {
                let path = self.at(a, &text(pid, b));
                if call == libc::SYS_openat && c as i32 & (libc::O_CREAT | libc::O_TRUNC) != 0 {
                    did.push(Did::Name(path.clone()));
                    did.push(Did::Change(path.clone()));
                }
                opens = Some(path);
            }
            libc::SYS_rename => {
                did.push(Did::Rename(self.at(here, &text(pid, a)), self.at(here, &text(pid, b))))
            }
            libc::SYS_renameat | libc::SYS_renameat2 => {
                did.push(Did::Rename(self.at(a, &text(pid, b)), self.at(c, &text(pid, d))));
            }
            libc::SYS_link => did.push(Did::Name(self.at(here, &text(pid, b)))),
            libc::SYS_linkat => did.push(Did::Name(self.at(c, &text(pid, d)))),
            libc::SYS_symlink => did.push(Did::Name(self.at(here, &text(pid, b)))),
            libc::SYS_symlinkat => did.push(Did::Name(self.at(b, &text(pid, c)))),
            libc::SYS_unlink | libc::SYS_mkdir | libc::SYS_rmdir | libc::SYS_mknod => {
                did.push(Did::Name(self.at(here, &text(pid, a))));
            }
            libc::SYS_unlinkat | libc::SYS_mkdirat | libc::SYS_mknodat => {
                did.push(Did::Name(self.at(a, &text(pid, b))));
            }
            libc::SYS_fchmodat | libc::SYS_fchmodat2 | libc::SYS_fchownat | libc::SYS_utimensat => {
                did.push(Did::Change(self.at(a, &text(pid, b))));
            }
            libc::SYS_lsetxattr | libc::SYS_lremovexattr | libc::SYS_chmod | libc::SYS_lchown => {
                did.push(Did::Change(self.at(here, &text(pid, a))));
            }
            libc::SYS_write | libc::SYS_pwrite64 | libc::SYS_ftruncate | libc::SYS_sendfile => {
                did.push(Did::Change(self.descriptor(a)));
            }
            libc::SYS_copy_file_range => did.push(Did::Change(self.descriptor(c))),
            libc::SYS_fsync | libc::SYS_fdatasync => did.push(Did::Sync(self.descriptor(a))),
            libc::SYS_syncfs => did.push(Did::SyncAll(self.descriptor(a))),
            libc::SYS_clone | libc::SYS_clone3 | libc::SYS_vfork | libc::SYS_fork => did.push(Did::Start),
            _ => {}
        }
        self.entered = Some((did, opens));
    }

    fn leave(&mut self, outcome: i64) {
        let Some((did, opens)) = self.entered.take().filter(|_| outcome >= 0) else { return };
        if let Some(path) = opens {
            self.open.insert(outcome as u64, path);
        }
        // What has no path is no file that counts: a pipe, a terminal.
        self.did.extend(did.into_iter().filter(|did| *did != Did::Change(PathBuf::new())));
    }
}

fn record(lab: &Lab, argv: &[&str]) -> Vec<Did> {
    let mut recorder = Recorder::default();
    let code = tracer::follow(&lab.node, argv, &mut |pid, registers, is_entry| {
        if is_entry {
            let arguments = [registers.rdi, registers.rsi, registers.rdx, registers.r10];
            recorder.enter(pid, registers.orig_rax as libc::c_long, arguments);
        } else {
            recorder.leave(registers.rax as i64);
        }
        Ok(false)
    });
    assert_eq!(code.unwrap(), Some(0));
    let state = Path::new(STATE);
    let counts = |path: &PathBuf| {
        (path.starts_with(state) || path.starts_with("/srv")) && !path.starts_with(state.join("scratch"))
    };
    recorder.did.retain(|did| match did {
        Did::Change(path) | Did::Name(path) | Did::Rename(path, _) | Did::Sync(path) | Did::SyncAll(path) => {
            counts(path)
        }
        Did::Start => true,
    });
    recorder.did
}

/// Whether a call changes something at or below a path that is not kept in a store.
fn touches(did: &Did, top: &str) -> bool {
    let below = |path: &Path| path.starts_with(top) && !path.to_string_lossy().contains("-undo");
    match did {
        Did::Change(path) | Did::Name(path) => below(path),
        Did::Rename(from, to) => below(from) || below(to),
        Did::Sync(_) | Did::SyncAll(_) | Did::Start => false,
    }
}

/// What is relied on without having been written before.
fn missing(did: &[Did]) -> Vec<String> {
    let mut missing = Vec::new();
    let journal = Path::new(STATE).join("journal");
    let renamed = |from: &str, to: &str| {
        let wanted = Did::Rename(journal.join(from), journal.join(to));
        did.iter().position(|did| *did == wanted).unwrap_or_else(|| panic!("{wanted:?} is not in {did:#?}"))
    };
    // A file that gets its name is whole, and has it when anything else happens.
    for (at, one) in did.iter().enumerate() {
        let Did::Rename(from, to) = one else { continue };
        if !from.starts_with(STATE)
            || from.starts_with(Path::new(STATE).join("undo"))
            || to.starts_with("/srv")
        {
            continue;
        }
        let next = did[at + 1..].iter().find(|did| !matches!(did, Did::Change(_)));
        if next != Some(&Did::Sync(to.parent().unwrap().to_owned())) {
            missing.push(format!("the directory of {} after the rename", to.display()));
        }
        let last = did[..at]
            .iter()
            .rev()
            .find(|did| matches!(did, Did::Change(path) | Did::Sync(path) if path == from));
        if matches!(last, Some(Did::Change(_))) {
            missing.push(format!("{} before the rename", from.display()));
        }
    }
    let commit = renamed("current/phase.new", "current/phase");
    let settled = renamed("current", "last");
    // Before the commit, nothing but the stores is touched, and all they hold is written.
    if let Some(early) = did[..commit + 2].iter().find(|did| touches(did, "/srv")) {
        missing.push(format!("the commit before {early:?}"));
    }
    for store in [format!("{STATE}/undo"), "/srv/b/.acme-disco-undo".into()] {
        let in_store = |did: &Did| match did {
            Did::Change(path) | Did::Name(path) | Did::Rename(path, _) => path.starts_with(&store),
            _ => false,
        };
        let last = did[..commit].iter().rposition(in_store).expect("something is staged in each store");
        if !did[last..commit].iter().any(|did| matches!(did, Did::SyncAll(path) if path.starts_with(&store)))
        {
            missing.push(format!("what {store} holds before the commit"));
        }
    }
    for directory in [journal.clone(), journal.join("current"), journal.join("pending")] {
        let made = did.iter().position(|did| *did == Did::Name(directory.clone())).expect("it is made");
        if !did[made..commit].contains(&Did::Sync(directory.parent().unwrap().to_owned())) {
            missing.push(format!("the name of {} before the commit", directory.display()));
        }
    }
    // Before what is kept for a rollback is written down, it is written itself.
    let told = renamed("current/1.0.after.new", "current/1.0.after");
    let in_store = |did: &Did| match did {
        Did::Change(path) | Did::Name(path) | Did::Rename(_, path) => {
            path.starts_with(format!("{STATE}/undo"))
        }
        _ => false,
    };
    let last = did[commit..told].iter().rposition(in_store).expect("something is kept") + commit;
    if !did[last..told]
        .iter()
        .any(|did| matches!(did, Did::SyncAll(path) if path.starts_with(format!("{STATE}/undo"))))
    {
        missing.push("what is kept before it is told".into());
    }
    // Before the journal is closed, everything that it tells is written.
    for (top, store) in [("/srv/a", format!("{STATE}/undo")), ("/srv/b", "/srv/b/.acme-disco-undo".into())] {
        let last = did[..settled].iter().rposition(|did| touches(did, top)).expect("something changes");
        if !did[last..settled].iter().any(|did| matches!(did, Did::SyncAll(path) if path.starts_with(&store)))
        {
            missing.push(format!("what became of {top} before the journal is closed"));
        }
    }
    // A command is started when it is known that it was begun, and nothing is forgotten that is not kept elsewhere.
    let begun = renamed("pending/1.0.0.begun.new", "pending/1.0.0.begun");
    let ended = renamed("pending/1.0.0.ended.new", "pending/1.0.0.ended");
    let starts: Vec<_> =
        did.iter().enumerate().filter(|(_, did)| **did == Did::Start).map(|(at, _)| at).collect();
    if !starts.iter().any(|at| (begun + 2..ended).contains(at))
        || starts.iter().any(|at| (settled..begun).contains(at))
    {
        missing.push("the note that a command is begun before it is".into());
    }
    let history = Path::new(STATE).join("history");
    let kept = did.iter().position(|did| matches!(did, Did::Rename(_, to) if to.starts_with(&history)));
    if kept.is_none_or(|kept| renamed("pending", "settled") < kept) {
        missing.push("the report before the run is settled".into());
    }
    missing
}

#[test]
fn whatever_a_later_step_of_a_merge_relies_on_is_written_before() {
    let universe = Universe::empty().unwrap();
    let script = "#!/bin/sh -e
        cd /srv/a; echo new > t; mv t file; echo new > t; mv t one; rm gone; mkdir d; echo x > d/x; ln d/x d/y; ln -s x link; chmod 600 mode
        echo more >> several; cd /srv/b; echo new > file; rm -r old; service web restart\n";
    universe.add("m-1/scripts/1.sh", script).unwrap();
    let lab = Lab::on_disk(universe);
    lab.shell(
        "mkdir -p /srv/a /srv/b; mount -t tmpfs b /srv/b; cd /srv/a; echo o | tee file gone mode several > ../b/file
         ln several other; echo o > one; ln one same; mkdir ../b/old; echo x > ../b/old/x",
    );
    lab.node.write("/etc/init.d/web", "#!/bin/sh\necho $1 >> /root/log\n", 0o755).unwrap();
    let noop = lab.acme(&["dance", "--noop", "--out", "/root/plan"]);
    assert_eq!(noop.code, 0, "{noop:#?}");
    lab.shell(&format!("rm -rf {STATE}/journal {STATE}/history/*.json"));
    let did = record(&lab, &[BINARY, "plan", "apply", "/root/plan"]);
    assert_eq!(lab.shell("cat /srv/a/file /srv/b/file /root/log"), "new\nnew\nrestart\n");
    let found = missing(&did);
    assert!(found.is_empty(), "not written: {found:#?}\n{did:#?}");

    // The rules find what they are to find: without any single one of these, something is missing.
    let is_sync = |did: &Did| matches!(did, Did::Sync(_) | Did::SyncAll(_));
    let syncs = did.iter().filter(|did| is_sync(did)).count();
    let needed = (0..did.len()).filter(|&at| is_sync(&did[at])).filter(|&at| {
        let mut without = did.clone();
        without.remove(at);
        !missing(&without).is_empty()
    });
    let needed = needed.count();
    println!("{} calls, {syncs} of them syncs, {needed} of which are needed by a rule", did.len());
    assert!(needed > 15 && needed + 8 > syncs, "{needed} of {syncs}\n{did:#?}");
}
