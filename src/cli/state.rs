//! Where the client keeps what it knows of earlier commands.

use std::path::PathBuf;

use crate::brand::Brand;
use crate::disco::sandbox::probe::Rights;

/// The state directory: the brand's, or a user's own, in `XDG_STATE_HOME` or `~/.local/state`.
pub(super) fn directory(brand: &Brand) -> PathBuf {
    if Rights::own() == Rights::Root {
        return PathBuf::from(brand.paths.vardir);
    }
    let absolute = |path: PathBuf| path.is_absolute().then_some(path);
    let home = || std::env::home_dir().map(|home| home.join(".local/state"));
    let states = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).and_then(absolute).or_else(home);
    states.map_or_else(|| PathBuf::from(brand.paths.vardir), |states| states.join(brand.binary))
}
