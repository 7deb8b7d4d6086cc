//! File systems that the host has at several places: what is written at one of them is seen at the others, in the sandbox
//! as well.

use std::path::{Path, PathBuf};

use super::{Step, depth, join};
use crate::disco::sandbox::mountinfo::Mount;

/// Where a mount shows the files at the root of another one, too: nothing else is mounted on the way to them, nor below.
fn place_in(mount: &Mount, other: &Mount, mounts: &[Mount]) -> Option<PathBuf> {
    if mount.device != other.device {
        return None;
    }
    let below = other.root.strip_prefix(&mount.root).ok()?;
    let place = join(&mount.point, below);
    let is_in_the_way = |third: &Mount| {
        third.point != mount.point
            && third.point.starts_with(&mount.point)
            && (place.starts_with(&third.point) || third.point.starts_with(&place))
    };
    (place != other.point && !mounts.iter().any(is_in_the_way)).then_some(place)
}

/// Which path of the sandbox a mount gets its files from that another overlay holds: one before with the same root, or for
/// a mount that is read-only, one that holds them among others.
pub(super) fn shares(mount: &Mount, shown: &[&Mount], mounts: &[Mount]) -> Option<PathBuf> {
    let place = |other: &Mount| match other.root == mount.root {
        true => place_in(mount, other, mounts).map(|_| other.point.clone()),
        false if mount.read_only => place_in(other, mount, mounts),
        false => None,
    };
    let others = shown.iter().filter(|other| other.device == mount.device && other.point != mount.point);
    let places = others
        .filter(|other| !other.read_only && mount.root.starts_with(&other.root))
        .filter_map(|other| Some((depth(&other.root), place(other)?)));
    // Of several with the same root, the first: the others have their files from it, too.
    places.rev().max_by_key(|(depth, _)| *depth).map(|(_, place)| place)
}

/// What has to be bound once more, after all overlays: on the host a file system is there at several places, and what is
/// written at one of them is seen at the others. Changes are told by the place where it is mounted by itself.
pub(super) fn same_files(shown: &[&Mount], mounts: &[Mount], left_out: &[&Path]) -> Vec<Step> {
    let step = |from: PathBuf, at: PathBuf, mount: &Mount| Step::SameFiles {
        from,
        at,
        read_only: mount.read_only,
        options: mount.restrictions(),
    };
    let mut steps = Vec::new();
    for (number, mount) in shown.iter().enumerate() {
        let from = shares(mount, &shown[..number], mounts);
        steps.extend(from.map(|from| step(from, mount.point.clone(), mount)));
    }
    let has_overlay = |other: &&&Mount| {
        !other.read_only
            && !steps.iter().any(|step| matches!(step, Step::SameFiles { at, .. } if *at == other.point))
    };
    let overlaid: Vec<&&Mount> = shown.iter().filter(has_overlay).collect();
    for mount in shown {
        for other in overlaid.iter().filter(|other| other.root != mount.root) {
            if let Some(place) = place_in(mount, other, mounts)
                && !left_out.iter().any(|tree| place.starts_with(tree))
            {
                steps.push(step(other.point.clone(), place, mount));
            }
        }
    }
    steps
}
