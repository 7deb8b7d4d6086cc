//! A tree as text: everything that can be told about each entry, and who shares a file with whom.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// One line for each entry below a directory, itself included, sorted by path.
pub(crate) fn fingerprint(root: &Path) -> Vec<String> {
    let mut lines = BTreeMap::new();
    let mut names = BTreeMap::new();
    visit(root, root, &mut lines, &mut names);
    lines.into_values().collect()
}

fn visit(
    root: &Path,
    path: &Path,
    lines: &mut BTreeMap<Vec<u8>, String>,
    names: &mut BTreeMap<(u64, u64), String>,
) {
    let found = fs::symlink_metadata(path).unwrap();
    let relative = path.strip_prefix(root).unwrap().as_os_str().as_bytes();
    let name = relative.escape_ascii().to_string();
    let mut line = format!("{name:?} {:o} {}:{}", found.mode(), found.uid(), found.gid());
    if found.is_file() {
        line.push_str(&format!(" {} {:x}", found.len(), digest(path, &found)));
        // Where a file is copied up because something else about it changed, the kernel fills holes within a MiB that has
        // data (ovl_copy_up_file); longer ones stay.
        if found.len() > 2 << 20 && found.blocks() * 512 < found.len() / 2 {
            line.push_str(" sparse");
        }
    }
    if found.is_symlink() {
        line.push_str(&format!(" -> {:?}", fs::read_link(path).unwrap()));
    }
    if !found.is_dir() {
        let first = names.entry((found.dev(), found.ino())).or_insert_with(|| name.clone());
        line.push_str(&format!(" device {:x} names {} of {first:?}", found.rdev(), found.nlink()));
    }
    let mut attributes: Vec<_> = xattr::list(path).unwrap().collect();
    attributes.sort();
    for attribute in attributes {
        let value = xattr::get(path, &attribute).unwrap().unwrap_or_default();
        line.push_str(&format!(" {attribute:?}={}", value.escape_ascii()));
    }
    if found.is_file() || found.is_dir() {
        let opened = File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path);
        if let Ok(flags) = rustix::fs::ioctl_getflags(opened.unwrap()) {
            let kept = rustix::fs::IFlags::IMMUTABLE | rustix::fs::IFlags::APPEND;
            line.push_str(&format!(" flags {:x}", (flags & kept).bits()));
        }
    }
    line.push_str(&format!(" modified {}.{:09}", found.mtime(), found.mtime_nsec()));
    lines.insert(relative.to_owned(), line);
    if found.is_dir() {
        // In order, so that the first name of a file is the same one each time.
        let mut entries: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        entries.iter().for_each(|entry| visit(root, entry, lines, names));
    }
}

/// A number for a content (FNV-1a); of long files both ends count, and that the rest is no data.
fn digest(path: &Path, found: &Metadata) -> u64 {
    let mut file = File::open(path).unwrap();
    let mut content = Vec::new();
    if found.len() > 1 << 20 {
        assert!(found.blocks() * 512 < found.len() / 2, "{} is not sparse any more", path.display());
        content.resize(8192, 0);
        let middle = found.len() * 64 / 100;
        file.read_exact(&mut content[..4096]).unwrap();
        file.read_exact_at(&mut content[4096..], middle).unwrap();
        let mut data = vec![0; 4096];
        file.read_exact_at(&mut data, (64 << 20) - 1000).unwrap();
        content.append(&mut data);
    } else {
        file.read_to_end(&mut content).unwrap();
    }
    content.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The same without times: two runs of one script have different ones.
pub(crate) fn without_times(lines: &[String]) -> Vec<String> {
    lines
        .iter()
        .filter(|line| !line.contains("-undo\""))
        .map(|line| line.rsplit_once(" modified ").unwrap().0.to_owned())
        .filter(|line| !line.contains("-undo/"))
        .collect()
}

/// Panics with the lines that differ.
#[track_caller]
pub(crate) fn assert_same(now: &[String], expected: &[String]) {
    if let Some(difference) = difference(now, expected) {
        panic!("{difference}");
    }
}

/// The lines that differ; none if none do.
pub(crate) fn difference(now: &[String], expected: &[String]) -> Option<String> {
    let (is, should): (BTreeSet<_>, BTreeSet<_>) = (now.iter().collect(), expected.iter().collect());
    let mut text = String::new();
    for line in is.difference(&should) {
        text.push_str(&format!("is        {line}\n"));
    }
    for line in should.difference(&is) {
        text.push_str(&format!("should be {line}\n"));
    }
    (!text.is_empty()).then_some(text)
}
