//! Where a path of the host really lies, if links lead to it.

use std::fs;
use std::path::{Path, PathBuf};

/// A path without links, as far as it exists. Nothing can be mounted over a link, and what is staged beside a path has to
/// be on its file system.
pub(crate) fn real(path: &Path) -> PathBuf {
    let below = |above: &Path| Some(fs::canonicalize(above).ok()?.join(path.strip_prefix(above).ok()?));
    let real = path.ancestors().find_map(below).unwrap_or_else(|| path.to_owned());
    // Joining nothing left a slash at the end.
    real.components().collect()
}

/// Where an entry of a directory lies, if links lead to the directory. It may be a link itself.
pub(crate) fn real_place(path: &Path) -> PathBuf {
    match (path.parent(), path.file_name()) {
        (Some(directory), Some(name)) => real(directory).join(name),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_as_far_as_there_is_something() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().canonicalize().unwrap();
        fs::create_dir_all(at.join("data/var")).unwrap();
        std::os::unix::fs::symlink("data/var", at.join("var")).unwrap();
        assert_eq!(real(&at.join("var/lib/x")).to_str(), at.join("data/var/lib/x").to_str());
        assert_eq!(real(&at.join("var")).to_str(), at.join("data/var").to_str());
        assert_eq!(real_place(&at.join("var")), at.join("var"));
        assert_eq!(real_place(&at.join("var/x")), at.join("data/var/x"));
        assert_eq!(real(&at.join("none")).to_str(), at.join("none").to_str());
    }
}
