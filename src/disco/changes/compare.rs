//! Compares one path on its two sides.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::geteuid;

use crate::disco::changes::diff::{Content, Format};
use crate::disco::changes::entry::{group_name, owner_name, unreadable};
use crate::disco::changes::readers::LayerFlags;
use crate::disco::changes::secrets::{self, Secrets};
use crate::disco::changes::{Attributes, Change, Entry, HostPath, PROTECTION, ScanError, View, read_entry};
use crate::disco::sandbox::probe::Rights;

/// How contents are shown.
#[derive(Debug, Clone, Copy, Default)]
pub struct Show {
    /// In which format.
    pub format: Format,
    /// Whether what secret files hold is kept at hand, for a person who asked for it.
    pub secrets: Secrets,
}

/// Reads both sides of a path; none if they look the same. With `same_file`, both sides are one file. With `layer`, the
/// new one lies in a sandbox.
pub(super) fn look_closely(
    live: &Path,
    before: Option<&Metadata>,
    merged: &Path,
    after: Option<&Metadata>,
    same_file: bool,
    layer: Option<LayerFlags>,
    show: Show,
) -> Result<Option<Change>, ScanError> {
    let device = before.map(MetadataExt::dev).or_else(|| {
        let nearest = live.ancestors().skip(1).find_map(|parent| fs::symlink_metadata(parent).ok());
        nearest.map(|parent| parent.dev())
    });
    let device = device.unwrap_or_default();
    let before = before.map(|metadata| read_entry(live, metadata, device, View::Live)).transpose()?;
    let after = after.map(|metadata| read_entry(merged, metadata, device, View::Merged)).transpose()?;
    let after = after.map(|(entry, content)| {
        let before = before.as_ref().map(|(entry, _)| entry);
        let entry = match layer {
            Some(layer) => with_flags_of_host(entry, before, same_file, layer),
            None => entry,
        };
        let entry = match Rights::own() {
            Rights::Root => entry,
            Rights::User => as_root_would_leave(entry, before),
        };
        (entry, content)
    });
    if let (Some((before, _)), Some((after, _))) = (&before, &after) {
        // An equal copy is no change, unless it parted the file from its other names.
        let names_count = before.names > 1 || after.names > 1;
        if before.looks_like(after) && (same_file || !names_count || before.is_directory()) {
            return Ok(None);
        }
    }
    let content = || match (text(&before), text(&after)) {
        (Some(old), Some(new)) => Content::between(old, new, show.format),
        _ => Content::Long,
    };
    let secret = secrets::is_known(live)
        || [&before, &after].into_iter().flatten().any(|(entry, _)| entry.is_secret());
    let (content, withheld) = match secret {
        _ if digest(&before) == digest(&after) => (Content::Same, None),
        true => (Content::Secret, (show.secrets == Secrets::Shown).then(content)),
        false => (content(), None),
    };
    Ok(Some(Change {
        path: HostPath(live.to_owned()),
        before: before.map(|(entry, _)| entry),
        after: after.map(|(entry, _)| entry),
        content,
        withheld,
        noise: false,
        implied: false,
        same_file,
        vanished: false,
        module: None,
    }))
}

/// Flags that are no protection are not copied with what is copied to an upper layer, and nothing inherits them from the
/// host there. So a run can add such flags, but what was there stays: taking them away cannot be told from their loss.
fn with_flags_of_host(mut after: Entry, before: Option<&Entry>, same_file: bool, layer: LayerFlags) -> Entry {
    if !after.is_file() && !after.is_directory() {
        return after;
    }
    let protection = PROTECTION.bits();
    let (own, others) = (after.flags & protection, after.flags & !protection & !layer.of_layer);
    let stays = |before: &&Entry| {
        same_file || before.is_directory() && after.is_directory() || Rights::own() == Rights::User
    };
    let kept = match before.filter(stays) {
        Some(before) => before.flags & !protection,
        None if after.is_file() => layer.inherited.0,
        None => layer.inherited.1,
    };
    after.flags = own | others | kept;
    after
}

/// In a user's noop everything that is written belongs to the caller and has none of the system's labels. Root would have
/// left owner and labels as they were, and what is new to root.
fn as_root_would_leave(mut after: Entry, before: Option<&Entry>) -> Entry {
    if after.ids.0 == geteuid().as_raw() {
        let (user, group) = before.map_or((0, 0), |before| before.ids);
        after.ids = (user, group);
        (after.owner, after.group) = (owner_name(user), group_name(group));
    }
    // Lists of access and capabilities are there only if a script set them, or a file of the caller's had them before.
    let can_be_set = |name: &str| {
        ["user.", "system.posix_acl_"].iter().any(|start| name.starts_with(start)) || name == CAPABILITY
    };
    after.attributes.retain(|name, _| can_be_set(name));
    if let Some(value) = after.attributes.get_mut(CAPABILITY) {
        *value = without_namespace(value);
    }
    for (name, value) in before.iter().flat_map(|before| &before.attributes) {
        if !name.starts_with("user.") {
            after.attributes.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    after
}

const CAPABILITY: &str = "security.capability";

/// Capabilities of a file as root sets them. In a user namespace the kernel adds who is root there, and says so in the
/// version, the highest byte of the first word (linux/capability.h).
fn without_namespace(hex: &str) -> String {
    const WORDS: std::ops::Range<usize> = 8..40;
    match (hex.get(..6), hex.get(6..8), hex.get(WORDS)) {
        (Some(flags), Some("03"), Some(sets)) => format!("{flags}02{sets}"),
        _ => hex.to_owned(),
    }
}

/// An entry, and its content if it is short enough to be shown.
type Side = Option<(Entry, Option<Vec<u8>>)>;

fn digest(side: &Side) -> Option<&str> {
    side.as_ref().and_then(|(entry, _)| entry.md5.as_deref())
}

fn text(side: &Side) -> Option<&[u8]> {
    match side {
        None => Some(b""),
        Some((entry, _)) if !entry.is_file() => Some(b""),
        Some((_, content)) => content.as_deref(),
    }
}

/// What a directory, or a file that stays, is to look like.
#[derive(Debug)]
pub struct Look {
    /// Type and permission bits.
    pub mode: u32,
    /// Owner and group.
    pub ids: (u32, u32),
    /// Extended attributes.
    pub attributes: Attributes,
    /// Flags as in [`Entry::flags`].
    pub flags: u32,
}

/// Compares what lies at a path of the host with how it is to look; where there is nothing, or something else than a
/// directory that is to be one, with a directory of that look.
pub fn compare_look(live: &Path, look: &Look) -> Result<Option<Change>, ScanError> {
    let before = match look_at(live)? {
        Some(found) => Some(read_entry(live, &found, found.dev(), View::Live)?.0),
        None => None,
    };
    let stays = before.clone().filter(|before| before.mode & libc::S_IFMT == look.mode & libc::S_IFMT);
    let after = Entry {
        mode: look.mode,
        owner: owner_name(look.ids.0),
        group: group_name(look.ids.1),
        ids: look.ids,
        attributes: look.attributes.clone(),
        flags: look.flags,
        ..stays.unwrap_or_else(|| Entry::empty_directory(before.as_ref().map_or(0, |before| before.device)))
    };
    if before.as_ref().is_some_and(|before| before.looks_like(&after)) {
        return Ok(None);
    }
    let path = HostPath(live.to_owned());
    let (content, withheld) = (Content::Same, None);
    Ok(Some(Change {
        path,
        before,
        after: Some(after),
        content,
        withheld,
        noise: false,
        implied: false,
        same_file: true,
        vanished: false,
        module: None,
    }))
}

/// Compares what lies at a path of the host with what would take its place from `instead`; none if they look the same.
pub fn compare(live: &Path, instead: &Path) -> Result<Option<Change>, ScanError> {
    let (before, after) = (look_at(live)?, look_at(instead)?);
    let file = |found: &Metadata| (found.dev(), found.ino());
    let same_file = before.as_ref().map(file) == after.as_ref().map(file);
    look_closely(live, before.as_ref(), instead, after.as_ref(), same_file, None, Show::default())
}

/// What lies at a path; none: nothing. Where the way to it leads over a link, it is another path's.
fn look_at(path: &Path) -> Result<Option<Metadata>, ScanError> {
    let is_link = |above: &Path| fs::symlink_metadata(above).is_ok_and(|found| found.is_symlink());
    if path.ancestors().skip(1).any(is_link) {
        return Ok(None);
    }
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(unreadable(path)(error)),
    }
}
