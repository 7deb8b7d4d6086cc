//! What is different where a noop runs without the rights of root: in a user namespace, in which the caller is root and
//! nobody else exists.
//!
//! 1. The kernel puts no overlay over a directory that has other mounts below it, because a user may not look under
//!    them. Such a layer is **split**: its directories are made anew, and each of them that has no mount below it gets an
//!    overlay of its own.
//! 2. An id that does not exist inside can neither be overridden nor copied up. What a run of root would change is
//!    **prepared**: `/etc` and the paths at which modules put files are copied to the upper layers and belong to the
//!    caller, whom scripts see as root. Everything else can be changed as far as the caller could.
//!
//! What comes out is compared as a run of root would leave it, see `changes/compare.rs`.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use crate::disco::sandbox::mount::{MountError, copy_file, make_like};
use crate::disco::sandbox::mountinfo::Mount;
use crate::disco::sandbox::plan::{
    Extra, LARGEST_COPY, Layer, MountPlan, Prepared, REPLACED_IN_NOOP, RunDirs, Step,
};

/// The tree that scripts most often change. All of it that the caller can read is prepared.
const CONFIGURATION: &str = "/etc";

/// What whoever reads a report of such a noop has to know.
pub(super) const NOTE: &str = "without root, scripts can change what lies in /etc, where modules put files, and what \
                               belongs to you; everything new is told as root's";

/// What lies in a directory of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    /// A file that can be copied.
    File,
    /// A link, and where it leads.
    Link(PathBuf),
    /// Anything else, or a file that the caller cannot read.
    Other,
}

/// What lies in a directory of the host, as far as the caller may know.
pub(super) fn entries_at(directory: &Path) -> Vec<(OsString, Kind)> {
    let kind = |path: &Path| match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => Kind::Directory,
        Ok(found) if found.is_symlink() => fs::read_link(path).map_or(Kind::Other, Kind::Link),
        Ok(found) if can_be_copied(path, &found) => Kind::File,
        _ => Kind::Other,
    };
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| (entry.file_name(), kind(&entry.path()))).collect()
}

fn can_be_copied(path: &Path, found: &fs::Metadata) -> bool {
    found.is_file() && found.len() <= LARGEST_COPY && access(path, AccessFlags::R_OK).is_ok()
}

/// Replaces every overlay below which something is mounted by overlays below which nothing is.
pub(super) fn split(
    plan: &mut MountPlan,
    mounts: &[Mount],
    dirs: &RunDirs,
    entries: impl Fn(&Path) -> Vec<(OsString, Kind)>,
) {
    let has_mounts_below =
        |at: &Path| mounts.iter().any(|mount| mount.point != at && mount.point.starts_with(at));
    let mut extras: Vec<(PathBuf, Extra)> = Vec::new();
    for step in std::mem::take(&mut plan.steps) {
        let Step::Overlay(mut layer) = step else {
            plan.steps.push(step);
            continue;
        };
        if !has_mounts_below(&layer.at) {
            plan.steps.push(Step::Overlay(layer));
            continue;
        }
        extras.extend(layer.extras.drain(..).map(|extra| (layer.at.join(extra.path()), extra)));
        layer.is_bare = true;
        let mut leaves = Vec::new();
        let mut waiting = vec![layer.at.clone()];
        while let Some(directory) = waiting.pop() {
            for (name, kind) in entries(&directory) {
                let path = directory.join(name);
                let relative = path.strip_prefix(&layer.at).unwrap_or(&path).to_owned();
                match kind {
                    Kind::Directory => {
                        layer.extras.push(Extra::Directory(relative));
                        let has_step = mounts.iter().any(|mount| mount.point == path)
                            || REPLACED_IN_NOOP.iter().any(|replaced| path == Path::new(replaced));
                        if !has_step && has_mounts_below(&path) {
                            waiting.push(path);
                        } else if !has_step {
                            leaves.push(path);
                        }
                    }
                    Kind::Link(to) => layer.extras.push(Extra::Link(relative, to)),
                    Kind::File => layer.extras.push(Extra::File(relative)),
                    Kind::Other => {}
                }
            }
        }
        let (options, dir) = (layer.options.clone(), layer.dir.clone());
        plan.steps.push(Step::Overlay(layer));
        for (number, at) in leaves.into_iter().enumerate() {
            let name = format!("{}.{number}", dir.file_name().unwrap_or_default().to_string_lossy());
            let dir = dirs.scratch.join("layers").join(name);
            plan.steps.push(Step::Overlay(Layer { options: options.clone(), ..Layer::seen(at, dir) }));
        }
    }
    for (path, extra) in extras {
        plan.add(&path, |relative| extra.clone().at(relative));
    }
}

/// Notes in each layer what is to be copied to its upper layer: what scripts and modules are likely to change.
pub(super) fn prepare(plan: &mut MountPlan, placed: &[PathBuf]) {
    let configuration = Path::new(CONFIGURATION);
    for step in &mut plan.steps {
        let Step::Overlay(layer) = step else { continue };
        if layer.is_bare {
            continue;
        }
        if layer.at.starts_with(configuration) {
            layer.prepared.push(Prepared::Tree(layer.at.clone()));
        } else if configuration.starts_with(&layer.at) {
            layer.prepared.push(Prepared::Tree(configuration.to_owned()));
        }
        let below = placed.iter().filter(|path| path.starts_with(&layer.at));
        layer.prepared.extend(below.cloned().map(Prepared::Path));
    }
}

/// Copies what is prepared to the upper layer, before the overlay is mounted.
pub(super) fn fill_upper(layer: &Layer) -> Result<(), MountError> {
    for prepared in &layer.prepared {
        match prepared {
            Prepared::Path(path) => copy_up(layer, path)?,
            Prepared::Tree(path) => {
                let mut waiting = vec![path.clone()];
                while let Some(path) = waiting.pop() {
                    copy_up(layer, &path)?;
                    if path.symlink_metadata().is_ok_and(|found| found.is_dir()) {
                        let entries = fs::read_dir(&path).into_iter().flatten().flatten();
                        waiting.extend(entries.map(|entry| entry.path()));
                    }
                }
            }
        }
    }
    Ok(())
}

/// Copies one path with the directories that lead to it. What the caller cannot read stays below.
fn copy_up(layer: &Layer, path: &Path) -> Result<(), MountError> {
    let upper = layer.upper();
    let relative = path.strip_prefix(&layer.at).unwrap_or(path);
    let ways: Vec<&Path> = relative.ancestors().filter(|way| !way.as_os_str().is_empty()).collect();
    for way in ways.into_iter().rev() {
        let (live, copy) = (layer.at.join(way), upper.join(way));
        let Ok(found) = live.symlink_metadata() else { return Ok(()) };
        if copy.symlink_metadata().is_ok() {
            continue;
        }
        let readable = AccessFlags::R_OK | AccessFlags::X_OK;
        if found.is_dir() && access(&live, readable).is_ok() {
            make_like(&live, &found, &copy)?;
        // A copy would part a file from its other names.
        } else if can_be_copied(&live, &found) && found.nlink() == 1 {
            copy_file(&live, &copy)?;
        } else {
            return Ok(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(point: &str) -> Mount {
        Mount {
            id: 1,
            device: point.into(),
            root: "/".into(),
            point: point.into(),
            kind: "ext4".into(),
            read_only: false,
            options: Vec::new(),
        }
    }

    #[test]
    fn a_layer_with_mounts_below_it_is_split_where_they_are() {
        let dirs = RunDirs::of("/x/scratch/1".into(), "/x/parameters".into());
        let mut root = Layer::seen("/".into(), "/x/scratch/1/layers/0".into());
        root.extras =
            vec![Extra::Shadow("usr/sbin/service".into()), Extra::Directory("var/disco/run".into())];
        let log = Layer::seen("/var/log".into(), "/x/scratch/1/layers/1".into());
        let steps = vec![Step::Overlay(root), Step::Overlay(log), Step::Proc];
        let mut plan = MountPlan { steps, notes: Vec::new() };
        let entries = |directory: &Path| -> Vec<(OsString, Kind)> {
            let found: &[(&str, Kind)] = match directory.to_str().unwrap() {
                "/" => &[
                    ("bin", Kind::Link("usr/bin".into())),
                    ("proc", Kind::Directory),
                    ("usr", Kind::Directory),
                    ("var", Kind::Directory),
                ],
                "/var" => &[("log", Kind::Directory), ("lib", Kind::Directory), ("fifo", Kind::Other)],
                other => panic!("{other} needs no look"),
            };
            found.iter().map(|(name, kind)| (OsString::from(name), kind.clone())).collect()
        };
        split(&mut plan, &[mount("/"), mount("/var/log"), mount("/proc")], &dirs, entries);
        let layers: Vec<_> = plan.layers().map(|layer| (layer.at.to_str().unwrap(), layer.is_bare)).collect();
        assert_eq!(layers, [("/", true), ("/usr", false), ("/var/lib", false), ("/var/log", false)]);
        let root = plan.layers().next().unwrap();
        for extra in [
            Extra::Link("bin".into(), "usr/bin".into()),
            Extra::Directory("proc".into()),
            Extra::Directory("var/log".into()),
            Extra::Directory("var/disco/run".into()),
        ] {
            assert!(root.extras.contains(&extra), "{extra:?} is not in {root:?}");
        }
        let usr = plan.layers().nth(1).unwrap();
        assert_eq!(usr.extras, [Extra::Shadow("sbin/service".into())]);
        assert_eq!(usr.dir, Path::new("/x/scratch/1/layers/0.0"));
    }
}
