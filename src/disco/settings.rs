//! Where the client's settings come from: flags, environment, parameters on the node, `server.conf`, the brand.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::server_conf::ServerConf;

/// Where a value was found; the first of these that has one wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    Flag,
    /// A file of the parameter tree.
    Parameter(PathBuf),
    /// A key of `server.conf`.
    Configuration(&'static str),
    /// The brand.
    Baked,
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag => out.write_str("the command line"),
            Origin::Parameter(path) => write!(out, "{}", path.display()),
            Origin::Configuration(key) => write!(out, "{key} in server.conf"),
            Origin::Baked => out.write_str("the brand"),
        }
    }
}

/// A value and where it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The value.
    pub value: String,
    /// Where it was found.
    pub origin: Origin,
}

/// What the client can be told about its universe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where the universe is.
    pub server: Setting,
    /// The rsync command, in shell words.
    pub rsync: Setting,
}

impl Settings {
    /// Looks each setting up; `baked` are the brand's server and rsync command.
    pub fn resolve(server_flag: Option<String>, vardir: &Path, conf: &ServerConf, baked: [&str; 2]) -> Self {
        let parameters = vardir.join("parameters");
        let find = |flag: Option<String>, parameter: &str, key: &'static str, baked: &str| {
            let path = parameters.join(parameter);
            let flag = flag.map(|value| Setting { value, origin: Origin::Flag });
            let from_parameter = || {
                let value = fs::read_to_string(&path).ok()?;
                Some(Setting { value: value.trim_end().to_owned(), origin: Origin::Parameter(path.clone()) })
            };
            let from_conf = || {
                conf.get(key).map(|value| Setting { value: value.into(), origin: Origin::Configuration(key) })
            };
            flag.or_else(from_parameter)
                .or_else(from_conf)
                .unwrap_or_else(|| Setting { value: baked.to_owned(), origin: Origin::Baked })
        };
        let [server, rsync] = baked;
        Settings {
            server: find(server_flag, "disco/server/uri", "plugin.disco.server.uri", server),
            rsync: find(None, "disco/client/cmds/rsync", "plugin.disco.client.rsync", rsync),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_origin_gives_way_to_the_one_before_it() {
        let vardir = tempfile::tempdir().unwrap();
        let conf = ServerConf::parse("plugin.disco.server.uri = rsync://conf");
        let server = |flag: Option<&str>, conf: &ServerConf| {
            Settings::resolve(flag.map(str::to_owned), vardir.path(), conf, ["rsync://baked", "rsync -a"])
                .server
        };
        assert_eq!(server(None, &ServerConf::default()).origin, Origin::Baked);
        assert_eq!(server(None, &conf).value, "rsync://conf");
        let parameter = vardir.path().join("parameters/disco/server/uri");
        fs::create_dir_all(parameter.parent().unwrap()).unwrap();
        fs::write(&parameter, "rsync://parameter\n").unwrap();
        assert_eq!(server(None, &conf).value, "rsync://parameter");
        assert_eq!(server(Some("/flag"), &conf).origin, Origin::Flag);
    }
}
