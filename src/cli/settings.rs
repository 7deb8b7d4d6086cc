//! The settings of the client for one command: what the command line said, and every place behind it.

use std::path::Path;

use crate::brand::Brand;
use crate::cli::error::CommandError;
use crate::cli::state;
use crate::disco::settings::{Baked, Flags, Settings, Sources};
use crate::server_conf::ServerConf;

/// Looks every setting up; an empty variable of the environment counts as none.
pub(super) fn resolve(brand: &Brand, flags: &Flags) -> Result<Settings, CommandError> {
    let conf = ServerConf::read(&Path::new(brand.paths.etcdir).join("server.conf"))?;
    let environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let vardir = state::directory(brand);
    let sources = Sources { environment: &environment, vardir: &vardir, conf: &conf };
    let baked = Baked { server: brand.client.server, rsync: brand.client.rsync };
    Ok(Settings::resolve(flags, sources, baked)?)
}
