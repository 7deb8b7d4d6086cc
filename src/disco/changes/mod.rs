//! What a run changed: a path, what lay there, what lies there now. How it is found is the business of the files here.

mod compare;
pub(crate) mod content;
pub mod diff;
mod entry;
mod names;
pub mod noise;
mod path;
mod readers;
mod scan;
pub mod secrets;

use serde::{Deserialize, Serialize};

pub use self::compare::{Look, Show, compare, compare_look};
pub use self::entry::{
    Attributes, Entry, FLAGS, Identity, PROTECTION, ScanError, View, attributes, flags_at, hex,
};
use self::entry::{is_number_of, number_of, numbers_behind};
pub(crate) use self::entry::{is_of_a_file_system, is_of_an_overlay, known_flags, names_in, read_entry};
pub(crate) use self::names::names_of;
pub(crate) use self::path::escape;
pub use self::path::{HostPath, unescape};
pub use self::scan::Scanner;
use crate::disco::changes::diff::Content;

/// One path that differs from the live system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Where, on the host.
    pub path: HostPath,
    /// What the live system has there; none: nothing.
    pub before: Option<Entry>,
    /// What the run left there; none: nothing.
    pub after: Option<Entry>,
    /// What can be shown of the content.
    pub content: Content,
    /// What differs inside a file whose content is secret; only for a person who asked for it, never kept or printed as
    /// JSON.
    #[serde(skip)]
    pub withheld: Option<Content>,
    /// Whether the path is only noise: neither shown nor counted with the others, and merged like any other.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub noise: bool,
    /// A new directory like any other, of which what lies in it tells already; neither shown nor counted by itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub implied: bool,
    /// The file that was there was changed; otherwise another one took its place. Other names of a file change with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub same_file: bool,
    /// A file of the host that was changed, and that somebody else removed from here or moved away while the run went on.
    #[serde(skip)]
    pub vanished: bool,
    /// The module that left it so, where a module did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
}

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// There was nothing before.
    Created,
    /// It was there before and is different now.
    Modified,
    /// It is gone.
    Deleted,
}

impl Change {
    /// What happened.
    pub fn kind(&self) -> Kind {
        match (&self.before, &self.after) {
            (None, _) => Kind::Created,
            (Some(_), None) => Kind::Deleted,
            (Some(_), Some(_)) => Kind::Modified,
        }
    }

    /// Whether the content is for nobody to see.
    pub(crate) fn is_secret(&self) -> bool {
        let sides = [&self.before, &self.after];
        secrets::is_known(&self.path.0) || sides.into_iter().flatten().any(Entry::is_secret)
    }
}

/// How many paths were created, modified and deleted, in words.
pub fn counted<'a>(changes: impl Iterator<Item = &'a Change>) -> String {
    let (mut created, mut modified, mut deleted) = (0, 0, 0);
    for change in changes {
        match change.kind() {
            Kind::Created => created += 1,
            Kind::Modified => modified += 1,
            Kind::Deleted => deleted += 1,
        }
    }
    format!("{created} created, {modified} modified, {deleted} deleted")
}

/// Finds the new directories that need no line of their own; the changes are sorted by path.
pub(crate) fn mark_implied(changes: &mut [Change]) {
    for at in 0..changes.len() {
        let holds_more = changes.get(at + 1).is_some_and(|next| next.path.0.starts_with(&changes[at].path.0));
        let change = &mut changes[at];
        change.implied = holds_more
            && change.before.is_none()
            && change.after.as_ref().is_some_and(|after| {
                after.is_directory()
                    && after.mode & 0o7777 == 0o755
                    && after.ids == (0, 0)
                    && after.attributes.is_empty()
            });
    }
}
