//! Where the client keeps what it knows of earlier commands.

use std::path::{Path, PathBuf};

use crate::brand::Brand;
use crate::disco::links::real;
use crate::disco::sandbox::probe::Rights;

/// The host's state directory.
pub(super) fn of_host(brand: &Brand) -> PathBuf {
    real(Path::new(brand.paths.vardir))
}

/// The state directory: the host's, or a user's own, in `XDG_STATE_HOME` or `~/.local/state`.
pub(super) fn directory(brand: &Brand) -> PathBuf {
    if Rights::own() == Rights::Root {
        return of_host(brand);
    }
    let absolute = |path: PathBuf| path.is_absolute().then_some(path);
    let home = || std::env::home_dir().map(|home| home.join(".local/state"));
    let states = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).and_then(absolute).or_else(home);
    states.map_or_else(|| of_host(brand), |states| real(&states.join(brand.binary)))
}
