//! The settings of the client for one command: what the command line said, and every place behind it.

use std::path::Path;

use crate::brand::Brand;
use crate::cli::error::CommandError;
use crate::cli::state;
use crate::disco::sandbox::probe::Rights;
use crate::disco::settings::{Baked, Flags, Settings, Sources};
use crate::server_conf::{ServerConf, ServerConfError};

/// Looks every setting up; an empty variable of the environment counts as none.
pub(super) fn resolve(brand: &Brand, flags: &Flags) -> Result<Settings, CommandError> {
    let conf = configuration(brand)?;
    let environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let vardir = state::directory(brand);
    let sources = Sources { environment: &environment, vardir: &vardir, conf: &conf };
    let baked = Baked { server: brand.client.server, rsync: brand.client.rsync };
    Ok(Settings::resolve(flags, sources, baked)?)
}

/// The node's configuration. It may hold secrets and is for root alone, so a user's noop goes without, and says so.
pub(super) fn configuration(brand: &Brand) -> Result<ServerConf, ServerConfError> {
    let path = Path::new(brand.paths.etcdir).join("server.conf");
    match ServerConf::read(&path) {
        Err(error) if error.is_for_others() && Rights::own() == Rights::User => {
            eprintln!("warning: {} is for root alone: what it sets does not count here", path.display());
            Ok(ServerConf::default())
        }
        read => read,
    }
}
