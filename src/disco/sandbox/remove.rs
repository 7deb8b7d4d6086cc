//! Removes what scripts left in the layers of a run, however deep they nested it.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::disco::sandbox::probe::Rights;

/// Removes a directory and all below it. Follows no link.
///
/// # Errors
/// Something cannot be removed; as much as possible is gone.
pub(super) fn remove_tree(directory: &Path) -> io::Result<()> {
    // The standard library holds a descriptor for each level, so some thousand levels are too many for it.
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => remove_flattened(directory),
        done => done,
    }
}

/// Moves every directory to the top before it looks into it, so no path gets long and nothing recurs.
fn remove_flattened(top: &Path) -> io::Result<()> {
    let mut waiting: Vec<OsString> = Vec::new();
    let mut moved = 0_u64;
    lift(top, top, &mut waiting, &mut moved)?;
    while let Some(name) = waiting.pop() {
        let directory = top.join(&name);
        lift(&directory, top, &mut waiting, &mut moved)?;
        fs::remove_dir(&directory)?;
    }
    fs::remove_dir(top)
}

/// Opens a directory that belongs to a user, who may have taken the right to do so from himself; overlayfs does it.
fn unlock(directory: &Path) -> io::Result<()> {
    match Rights::own() {
        Rights::Root => Ok(()),
        Rights::User => fs::set_permissions(directory, fs::Permissions::from_mode(0o700)),
    }
}

/// Removes the files of a directory and lifts its directories to the top, under names of ours.
fn lift(directory: &Path, top: &Path, waiting: &mut Vec<OsString>, moved: &mut u64) -> io::Result<()> {
    unlock(directory)?;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            unlock(&entry.path())?;
            let lifted = loop {
                *moved += 1;
                let name = OsString::from(format!(".removed-{moved}"));
                if top.join(&name).symlink_metadata().is_err() {
                    break name;
                }
            };
            fs::rename(entry.path(), top.join(&lifted))?;
            waiting.push(lifted);
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nested_deeper_than_any_path_reaches_is_removed() {
        let top = tempfile::tempdir().unwrap();
        let root = top.path().join("root");
        fs::create_dir(&root).unwrap();
        fs::write(root.join(".removed-1"), "").unwrap();
        std::os::unix::fs::symlink("/etc", root.join("link")).unwrap();
        // Built from the inside out, for no path leads to the bottom.
        let nest = root.join("nest");
        fs::create_dir(&nest).unwrap();
        fs::write(nest.join("bottom"), "").unwrap();
        for _ in 0..3000 {
            let outer = root.join("outer");
            fs::create_dir(&outer).unwrap();
            fs::rename(&nest, outer.join("d")).unwrap();
            fs::rename(&outer, &nest).unwrap();
        }
        remove_tree(&root).unwrap();
        assert!(!root.exists());
        assert!(Path::new("/etc").exists());
    }
}
