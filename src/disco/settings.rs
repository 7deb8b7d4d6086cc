//! Where the client's settings come from: flags, environment, parameters on the node, `server.conf`, the brand.
//!
//! A setting is a [`Row`]: its name and the places that may hold it. [`Sources::find`] looks the places up in their
//! order, [`Settings`] holds what was found, and `--explain` prints it with where it was found. One more setting is a
//! row, a field of [`Settings`] and a line in [`Settings::resolve`].

use std::fmt;
use std::fs;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::disco::changes::diff::Format;
use crate::disco::limits::Limits;
use crate::server_conf::ServerConf;

/// Where a value was found; the first of these that has one wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    Flag,
    /// A variable of the environment.
    Environment(&'static str),
    /// A file of the parameter tree.
    Parameter(PathBuf),
    /// A key of `server.conf`.
    Configuration(&'static str),
    /// The brand, or what the client does unless it is told.
    Baked,
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag => out.write_str("the command line"),
            Origin::Environment(name) => write!(out, "{name} in the environment"),
            Origin::Parameter(path) => write!(out, "{}", path.display()),
            Origin::Configuration(key) => write!(out, "{key} in server.conf"),
            Origin::Baked => out.write_str("the brand"),
        }
    }
}

/// A value and where it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting<T = String> {
    /// The value.
    pub value: T,
    /// Where it was found.
    pub origin: Origin,
}

/// One setting and the places that may hold it.
#[derive(Debug)]
pub struct Row {
    /// Its name in words.
    pub name: &'static str,
    /// Variable of the environment.
    pub environment: &'static str,
    /// Path below the parameters.
    pub parameter: &'static str,
    /// Key of `server.conf`.
    pub key: &'static str,
}

/// Where the universe is.
pub const SERVER: Row = Row {
    name: "server",
    environment: "DISCO_SERVER",
    parameter: "disco/server/uri",
    key: "plugin.disco.server.uri",
};

/// The rsync command, in shell words.
pub const RSYNC: Row = Row {
    name: "rsync",
    environment: "DISCO_RSYNC",
    parameter: "disco/client/cmds/rsync",
    key: "plugin.disco.client.rsync",
};

/// How what differs inside files is shown.
pub const DIFF: Row = Row {
    name: "diff",
    environment: "DISCO_DIFF",
    parameter: "disco/client/diff",
    key: "plugin.disco.client.diff",
};

/// How many rsyncs run at once.
pub const PARALLEL: Row = Row {
    name: "number of transfers at once",
    environment: "DISCO_PARALLEL",
    parameter: "disco/client/parallel",
    key: "plugin.disco.client.parallel",
};

/// How long a server may stay silent.
pub const TIMEOUT: Row = Row {
    name: "time-out in seconds",
    environment: "DISCO_TIMEOUT",
    parameter: "disco/client/timeout",
    key: "plugin.disco.client.timeout",
};

/// How long all fetching of a run may take.
pub const DEADLINE: Row = Row {
    name: "time for all fetching in seconds",
    environment: "DISCO_DEADLINE",
    parameter: "disco/client/deadline",
    key: "plugin.disco.client.deadline",
};

/// A value that means nothing for its setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no {name}: {why}; it comes from {origin}", value.escape_debug())]
pub struct SettingError {
    name: &'static str,
    value: String,
    why: String,
    origin: Origin,
}

/// The places below the command line, in their order.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// Answers for the environment.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// State directory of the brand; the parameters lie in it.
    pub vardir: &'a Path,
    /// The node's configuration.
    pub conf: &'a ServerConf,
}

impl Sources<'_> {
    /// Looks a setting up: `flag` if it was given, else the places in their order, else `baked`.
    ///
    /// # Errors
    /// The first value that was found means nothing; the places behind it are not asked.
    pub fn find<T>(&self, row: &Row, flag: Option<String>, baked: &str) -> Result<Setting<T>, SettingError>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        let path = self.vardir.join("parameters").join(row.parameter);
        let from_environment =
            || Some(((self.environment)(row.environment)?, Origin::Environment(row.environment)));
        let from_parameter = || {
            let value = fs::read_to_string(&path).ok()?;
            Some((value.trim_end().to_owned(), Origin::Parameter(path.clone())))
        };
        let from_conf = || Some((self.conf.get(row.key)?.to_owned(), Origin::Configuration(row.key)));
        let (text, origin) = flag
            .map(|value| (value, Origin::Flag))
            .or_else(from_environment)
            .or_else(from_parameter)
            .or_else(from_conf)
            .unwrap_or_else(|| (baked.to_owned(), Origin::Baked));
        match text.parse() {
            Ok(value) => Ok(Setting { value, origin }),
            Err(why) => {
                Err(SettingError { name: row.name, why: T::Err::to_string(&why), value: text, origin })
            }
        }
    }
}

/// What the command line said about settings.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--server`.
    pub server: Option<String>,
    /// `--diff`.
    pub diff: Option<String>,
}

/// What the brand says about settings.
#[derive(Debug, Clone, Copy)]
pub struct Baked<'a> {
    /// Where the universe is.
    pub server: &'a str,
    /// The rsync command.
    pub rsync: &'a str,
}

/// What the client can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where the universe is.
    pub server: Setting,
    /// The rsync command, in shell words.
    pub rsync: Setting,
    /// How what differs inside files is shown.
    pub diff: Setting<Format>,
    /// How many rsyncs run at once.
    pub parallel: Setting<NonZeroU32>,
    /// How long a server may stay silent, in seconds.
    pub timeout: Setting<NonZeroU32>,
    /// How long all fetching of a run may take, in seconds.
    pub deadline: Setting<NonZeroU32>,
    /// How much one step of a module may take.
    pub limits: Limits,
}

impl Settings {
    /// Looks every setting up.
    ///
    /// # Errors
    /// Names the first setting whose value means nothing, and where it comes from.
    pub fn resolve(flags: &Flags, sources: Sources<'_>, baked: Baked<'_>) -> Result<Self, SettingError> {
        Ok(Settings {
            server: sources.find(&SERVER, flags.server.clone(), baked.server)?,
            rsync: sources.find(&RSYNC, None, baked.rsync)?,
            diff: sources.find(&DIFF, flags.diff.clone(), "normal")?,
            parallel: sources.find(&PARALLEL, None, "8")?,
            timeout: sources.find(&TIMEOUT, None, "30")?,
            deadline: sources.find(&DEADLINE, None, "600")?,
            limits: Limits::resolve(sources)?,
        })
    }

    /// Every setting: name, value and origin, for people.
    pub fn lines(&self) -> Vec<(&'static str, String, &Origin)> {
        let mut lines = vec![
            (SERVER.name, self.server.value.clone(), &self.server.origin),
            (RSYNC.name, self.rsync.value.clone(), &self.rsync.origin),
            (DIFF.name, self.diff.value.to_string(), &self.diff.origin),
            (PARALLEL.name, self.parallel.value.to_string(), &self.parallel.origin),
            (TIMEOUT.name, self.timeout.value.to_string(), &self.timeout.origin),
            (DEADLINE.name, self.deadline.value.to_string(), &self.deadline.origin),
        ];
        lines.extend(self.limits.lines());
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(
        flags: &Flags,
        variable: Option<&str>,
        vardir: &Path,
        conf: &str,
    ) -> Result<Settings, SettingError> {
        let conf = ServerConf::parse(conf);
        let environment = |name: &str| variable.filter(|_| name == SERVER.environment).map(ToOwned::to_owned);
        let sources = Sources { environment: &environment, vardir, conf: &conf };
        Settings::resolve(flags, sources, Baked { server: "rsync://baked", rsync: "rsync -a" })
    }

    #[test]
    fn each_origin_gives_way_to_the_one_before_it() {
        let vardir = tempfile::tempdir().unwrap();
        let conf = "plugin.disco.server.uri = rsync://conf";
        let server = |flag: Option<&str>, variable: Option<&str>, conf: &str| {
            let flags = Flags { server: flag.map(str::to_owned), ..Flags::default() };
            resolve(&flags, variable, vardir.path(), conf).unwrap().server
        };
        assert_eq!(server(None, None, ""), Setting { value: "rsync://baked".into(), origin: Origin::Baked });
        assert_eq!(server(None, None, conf).value, "rsync://conf");
        let parameter = vardir.path().join("parameters/disco/server/uri");
        fs::create_dir_all(parameter.parent().unwrap()).unwrap();
        fs::write(&parameter, "rsync://parameter\n").unwrap();
        assert_eq!(server(None, None, conf).value, "rsync://parameter");
        assert_eq!(server(None, Some("rsync://variable"), conf).value, "rsync://variable");
        assert_eq!(server(Some("/flag"), Some("rsync://variable"), conf).origin, Origin::Flag);
    }

    #[test]
    fn a_value_that_means_nothing_is_named_with_where_it_comes_from() {
        let vardir = tempfile::tempdir().unwrap();
        let conf = "plugin.disco.client.diff = upside-down";
        let error = resolve(&Flags::default(), None, vardir.path(), conf).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`upside-down` is no diff: write `normal`, `unified` or `none`; it comes from plugin.disco.client.diff in \
             server.conf"
        );
    }

    #[test]
    fn every_setting_is_told() {
        let vardir = tempfile::tempdir().unwrap();
        let settings = resolve(&Flags::default(), None, vardir.path(), "").unwrap();
        let told: Vec<_> = settings.lines().into_iter().map(|(name, value, _)| (name, value)).collect();
        for row in [("server", "rsync://baked"), ("rsync", "rsync -a"), ("diff", "normal")] {
            assert!(told.contains(&(row.0, row.1.to_owned())), "{row:?} is not in {told:?}");
        }
    }
}
