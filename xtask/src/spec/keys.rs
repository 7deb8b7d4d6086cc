//! Every table and key of a spec: type, default, meaning, example.
//!
//! The one list. The reader takes these keys and no others, `spec explain`, `spec schema`, `spec init` and
//! `buildspec.toml` are made from it. What a value has to look like beyond its type is in `checks.rs`, what it may not
//! contradict in `resolve.rs`.
//!
//! A key whose capability the product does not have yet stands here too, with what is missing in `lacks`: it takes its
//! default only. Giving it code means taking that one word out.

use toml::Value;

/// What may stand behind a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One line of text.
    Text,
    /// One line of text that matches a pattern; editors check it, `checks.rs` says what is wrong with it.
    Pattern(&'static str),
    /// One of these words.
    Word(&'static [&'static str]),
    /// `true` or `false`.
    Flag,
    /// A whole number from 1 to 4294967295.
    Count,
    /// A list of texts.
    Texts,
    /// A text, or where it is: `{ env = "NAME" }` or `{ file = "path" }`.
    Secret,
    /// Where a private key is: `{ file = "path" }` or `{ agent = "fingerprint" }`.
    PrivateKey,
}

impl Kind {
    /// In words.
    pub(crate) fn described(self) -> String {
        match self {
            Kind::Text | Kind::Pattern(_) => "text".to_owned(),
            Kind::Word(words) => {
                words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ")
            }
            Kind::Flag => "true or false".to_owned(),
            Kind::Count => "a whole number from 1".to_owned(),
            Kind::Texts => "a list of texts".to_owned(),
            Kind::Secret => "text, { env = \"NAME\" } or { file = \"path\" }".to_owned(),
            Kind::PrivateKey => "{ file = \"path\" } or { agent = \"fingerprint\" }".to_owned(),
        }
    }
}

/// What holds where a spec does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Default {
    /// This value, as TOML.
    Is(&'static str),
    /// It follows from something else, in words.
    Follows(&'static str),
    /// Nothing; the table has to say it.
    Required,
}

/// One key of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) default: Default,
    /// Sentences for people who write a spec.
    pub(crate) meaning: &'static str,
    /// A value as somebody would write it, as TOML.
    pub(crate) example: &'static str,
    /// What the product has to have before this takes anything but its default.
    pub(crate) lacks: Option<&'static str>,
}

impl Key {
    /// The default as a value, if it is one.
    pub(crate) fn default_value(&self) -> Option<Value> {
        match self.default {
            Default::Is(text) => Some(value(text)),
            _ => None,
        }
    }
}

/// How often a table occurs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `[name]`.
    One,
    /// `[name.defaults]` and any number of `[name.…]`, which inherit from it.
    Named,
    /// `[[name]]`, any number.
    List,
}

/// One table of a spec.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    /// Sentences for people who write a spec.
    pub(crate) meaning: &'static str,
    pub(crate) keys: &'static [Key],
}

impl Table {
    /// One of its keys.
    pub(crate) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// The table of this name.
pub(crate) fn table(name: &str) -> Option<&'static Table> {
    TABLES.iter().find(|table| table.name == name)
}

/// The key of this dotted name, `brand.name` or `packages.format`, and its table.
pub(crate) fn find(dotted: &str) -> Option<(&'static Table, &'static Key)> {
    let (first, rest) = dotted.split_once('.')?;
    let table = table(first)?;
    // A child of a table of tables may be named, as it is in a spec: `packages.el.format`.
    let name = match (table.shape, rest.rsplit_once('.')) {
        (Shape::Named, Some((_, name))) => name,
        _ => rest,
    };
    Some((table, table.key(name)?))
}

/// The default of a key as text.
///
/// # Panics
/// If there is no such key, or its default is not text; every test that reads a spec finds that.
pub(crate) fn default_text(dotted: &str) -> String {
    match default(dotted) {
        Value::String(text) => text,
        other => panic!("the default of `{dotted}` is {other}, not text"),
    }
}

/// The default of a key as a truth value.
///
/// # Panics
/// As [`default_text`] does.
pub(crate) fn default_flag(dotted: &str) -> bool {
    default(dotted).as_bool().unwrap_or_else(|| panic!("the default of `{dotted}` is no flag"))
}

/// The default of a key as a number.
///
/// # Panics
/// As [`default_text`] does.
pub(crate) fn default_count(dotted: &str) -> u32 {
    let number = default(dotted).as_integer().and_then(|number| u32::try_from(number).ok());
    number.unwrap_or_else(|| panic!("the default of `{dotted}` is no number"))
}

fn default(dotted: &str) -> Value {
    let (_, key) = find(dotted).unwrap_or_else(|| panic!("`{dotted}` is not in the table of keys"));
    key.default_value().unwrap_or_else(|| panic!("`{dotted}` has no default of its own"))
}

/// A value from its text in the table.
fn value(text: &str) -> Value {
    let mut table: toml::Table =
        format!("value = {text}").parse().unwrap_or_else(|why| panic!("`{text}` is not TOML: {why}"));
    table.remove("value").expect("it was just written")
}

/// A key that everybody has code for.
const fn key(
    name: &'static str,
    kind: Kind,
    default: Default,
    example: &'static str,
    meaning: &'static str,
) -> Key {
    Key { name, kind, default, meaning, example, lacks: None }
}

/// A key whose capability is not there yet.
const fn lacking(key: Key, what: &'static str) -> Key {
    Key { lacks: Some(what), ..key }
}

/// The whole hash of a git commit.
const COMMIT: &str = "^[0-9a-f]{40}$";

const NAME: &str = "^[a-z][a-z0-9-]{0,30}$";
const BINARY: &str = "^[a-z][a-z0-9-]{0,62}$";
const VERSION: &str = "^[0-9][A-Za-z0-9.+~]*$";
const RELEASE: &str = "^[A-Za-z0-9.+~]+$";
const PATH: &str = "^/[A-Za-z0-9/._+@~-]+$";
const PATH_OR_NOTHING: &str = "^(/[A-Za-z0-9/._+@~-]+)?$";
const SPAN: &str = "^[0-9]{1,6}[smhd]$";
const OUTPUT: &str = r"^([A-Za-z0-9._+~-]|\{\{(binary|version|release|os|arch)\}\})+$";
const CRATE: &str = "^[A-Za-z][A-Za-z0-9_-]*$";
const NOT_EMPTY: &str = r"\S";
/// A web address.
const URL: &str = r"^https?://[0-9A-Za-z\[]\S*$";

use self::Default::{Follows, Is, Required};
use Kind::{Count, Flag, Pattern, PrivateKey, Secret, Text, Texts, Word};

/// All tables, in the order in which a spec is written.
pub(crate) const TABLES: &[Table] = &[
    Table {
        name: "brand",
        shape: Shape::One,
        meaning: "Who this appliance is.",
        keys: &[
            key(
                "name",
                Pattern(NAME),
                Required,
                "\"acme\"",
                "Short name: a lowercase letter, then up to 30 of a-z, 0-9 and `-`. The only key that a spec must have.",
            ),
            key(
                "binary",
                Pattern(BINARY),
                Follows("the brand's name and `-disco`, such as `acme-disco`"),
                "\"acme-disco\"",
                "Name of the binary, the package and the systemd units.",
            ),
            key(
                "display_name",
                Pattern(NOT_EMPTY),
                Is("\"DISCO\""),
                "\"ACME Disco\"",
                "Name for people, in headlines and unit descriptions.",
            ),
            key("vendor", Pattern(NOT_EMPTY), Is("\"The DISCO project\""), "\"ACME Corp\"", "Who ships it."),
            key(
                "contact",
                Pattern(NOT_EMPTY),
                Is("\"The DISCO project <hello@disco.example>\""),
                "\"Fleet Team <fleet@acme.example>\"",
                "Whom to ask: maintainer of the deb, packager of the rpm.",
            ),
            key(
                "url",
                Pattern(URL),
                Is("\"https://disco.example\""),
                "\"https://fleet.acme.example\"",
                "Where to read on.",
            ),
            key(
                "license",
                Pattern(NOT_EMPTY),
                Is("\"Apache-2.0\""),
                "\"Apache-2.0\"",
                "SPDX expression of the package's licence.",
            ),
            key(
                "summary",
                Pattern(NOT_EMPTY),
                Is("\"Configuration management without surprises\""),
                "\"ACME configuration and provisioning agent\"",
                "One line for package lists and `--help`.",
            ),
            key(
                "version",
                Pattern(VERSION),
                Follows("the project's own version"),
                "\"1.4.0\"",
                "Version of the packages. Digits first, then A-Z a-z 0-9 . + ~; `1.4.0~rc1` sorts before `1.4.0`. A `-` \
                 is refused: package names separate version and release with it.",
            ),
            key(
                "release",
                Pattern(RELEASE),
                Is("\"1\""),
                "\"1\"",
                "Release of the rpm, revision of the deb.",
            ),
        ],
    },
    Table {
        name: "paths",
        shape: Shape::One,
        meaning: "Where things lie on the node. All are absolute paths; every path that the product uses derives from \
                  these.",
        keys: &[
            key(
                "bindir",
                Pattern(PATH),
                Is("\"/usr/sbin\""),
                "\"/opt/acme/sbin\"",
                "Directory of the binary.",
            ),
            key(
                "etcdir",
                Pattern(PATH),
                Follows("/etc/ and the name of the binary"),
                "\"/opt/acme/etc/disco\"",
                "Directory of the configuration: server.conf and what it refers to.",
            ),
            key(
                "vardir",
                Pattern(PATH),
                Follows(
                    "/var/lib/ and the name of the binary; /var/disco for the stock build, which always had it there",
                ),
                "\"/var/lib/acme-disco\"",
                "State: parameters, modules, sandboxes, reports. Only root may read it. Purging the package removes it.",
            ),
            key("logdir", Pattern(PATH), Is("\"/var/log\""), "\"/var/log/acme\"", "Directory of log files."),
        ],
    },
    Table {
        name: "features",
        shape: Shape::One,
        meaning: "What is compiled in. What is off is not in the binary, and no configuration brings it back.",
        keys: &[
            key(
                "live",
                Flag,
                Is("true"),
                "true",
                "May merge changes into the host. Off: an audit-only appliance.",
            ),
            key(
                "shell",
                Flag,
                Is("true"),
                "false",
                "A sandbox that stands between commands, and a shell in it: the commands `fs` and `sh`.",
            ),
            key(
                "provisioning",
                Flag,
                Is("false"),
                "true",
                "The node's server, which waits at its brokers to be provisioned, and the choria_provision agent.",
            ),
            lacking(
                key("provisioner", Flag, Is("false"), "true", "The daemon that provisions other nodes."),
                "the provisioner daemon",
            ),
            lacking(
                key(
                    "release-update",
                    Flag,
                    Is("false"),
                    "true",
                    "The action release_update, by which a provisioner replaces the binary of a node.",
                ),
                "the action release_update",
            ),
            key(
                "plaintext-brokers",
                Flag,
                Is("false"),
                "true",
                "May speak to brokers without TLS; needs `provisioning`. For demonstrations on loopback.",
            ),
        ],
    },
    Table {
        name: "client",
        shape: Shape::One,
        meaning: "Defaults of the client. Parameters on the node and server.conf override `server` and `rsync`.",
        keys: &[
            key(
                "server",
                Text,
                Is("\"\""),
                "\"disco@universe.acme.example\"",
                "Where the universe is: `user@host` (rsync modules over ssh), `rsync://host[:port]` or an absolute \
                 directory. Empty: the node's configuration must say. `plugin.disco.server.uri` in server.conf and \
                 parameters override it.",
            ),
            key(
                "rsync",
                Pattern(NOT_EMPTY),
                Is("\"rsync -aWH\""),
                r#"'rsync -aWH -e "ssh -i /etc/disco/id_ed25519"'"#,
                "The rsync command with its options, in shell words.",
            ),
            key(
                "interval",
                Pattern(SPAN),
                Is("\"30m\""),
                "\"30m\"",
                "How long the timer waits between dances: a number and s, m, h or d.",
            ),
            key(
                "splay",
                Pattern(SPAN),
                Is("\"5m\""),
                "\"5m\"",
                "Random delay on top of it, so that a fleet does not arrive at once.",
            ),
        ],
    },
    Table {
        name: "security",
        shape: Shape::One,
        meaning: "Security of the configured node.",
        keys: &[
            key(
                "tls",
                Flag,
                Is("true"),
                "true",
                "TLS on every broker connection of the configured node. `false` needs the feature `plaintext-brokers`.",
            ),
            key("message_security", Flag, Is("true"), "true", "x509 signatures on requests in normal mode."),
        ],
    },
    Table {
        name: "broker",
        shape: Shape::One,
        meaning: "Settings of the brokers that serve this brand.",
        keys: &[key("max_clients", Count, Is("50000"), "50000", "How many clients one broker admits.")],
    },
    Table {
        name: "provisioning",
        shape: Shape::One,
        meaning: "How an unconfigured node gets its configuration. These need the feature `provisioning`.",
        keys: &[
            key(
                "default",
                Flag,
                Is("false"),
                "true",
                "Mode of a node whose configuration does not say: wait to be provisioned? Needs `brokers` or [resolver].",
            ),
            key(
                "brokers",
                Texts,
                Is("[]"),
                r#"["prov1.acme.example:4222", "prov2.acme.example:4222"]"#,
                "Where to wait, `host:port` each, tried in this order. Never with credentials: the binary is public.",
            ),
            key(
                "srv_domain",
                Text,
                Is("\"\""),
                "\"acme.example\"",
                "Domain whose SRV records of `_choria-provisioner._tcp` name the brokers, instead of a list. The node asks \
                 whenever it connects anew.",
            ),
            key(
                "tls",
                Flag,
                Is("true"),
                "true",
                "TLS on the provisioning connection. `false` needs the feature `plaintext-brokers`.",
            ),
            key(
                "ca",
                Text,
                Is("\"\""),
                "\"pki/provisioning-ca.pem\"",
                "PEM file of the certificate authorities that brokers must chain to, relative to this file. Baked and \
                 pinned. Empty: the brand pins none.",
            ),
            key(
                "token",
                Secret,
                Follows("none"),
                "{ env = \"ACME_PROVISIONING_TOKEN\" }",
                "What a provisioner must know, 1 to 128 printable characters. Only a salted, stretched digest gets into \
                 the binary. From the environment of the build, from a file (relative to this one), or literally.",
            ),
            key(
                "registration_data",
                Pattern(PATH_OR_NOTHING),
                Is("\"\""),
                "\"/etc/acme/node.json\"",
                "File whose content the node publishes while it waits. Empty: none.",
            ),
            key(
                "facts",
                Pattern(PATH_OR_NOTHING),
                Is("\"\""),
                "\"/etc/acme/node.json\"",
                "JSON file with the node's facts. Empty: none.",
            ),
            key(
                "status_file",
                Pattern(PATH_OR_NOTHING),
                Is("\"\""),
                "\"/run/acme-disco/status.json\"",
                "File in which the server tells how it is doing. Empty: none.",
            ),
            key(
                "agent",
                Flag,
                Is("true"),
                "false",
                "Whether the built-in choria_provision agent serves. Off: one of [[agents]] brings it.",
            ),
            key(
                "reprovision",
                Flag,
                Is("false"),
                "true",
                "Whether that agent has the action reprovision, by which a configured node goes back to waiting. A node \
                 that waits already refuses it.",
            ),
            key(
                "shutdown",
                Flag,
                Is("false"),
                "true",
                "Whether that agent has the action shutdown, by which a provisioner ends the server of a node.",
            ),
        ],
    },
    Table {
        name: "resolver",
        shape: Shape::One,
        meaning: "A crate that finds the brokers, instead of the list; needs the feature `provisioning`. It exports `pub \
                  fn target_resolver() -> impl disco_sdk::TargetResolver`; examples/static-targets is one.",
        keys: &[
            key("crate", Pattern(CRATE), Required, "\"static-targets\"", "Name of the crate."),
            key(
                "path",
                Text,
                Follows("none; `path`, `git` or `version` is needed"),
                "\"examples/static-targets\"",
                "Folder of the crate, relative to this file.",
            ),
            key(
                "git",
                Text,
                Follows("none; `path`, `git` or `version` is needed"),
                "\"https://git.acme.example/static-targets\"",
                "Repository of the crate.",
            ),
            key(
                "rev",
                Pattern(COMMIT),
                Follows("none; needed with `git`"),
                "\"0f60cbf9a1b2c3d4e5f60718293a4b5c6d7e8f90\"",
                "Commit of the repository, its whole hash: branches and tags move.",
            ),
            key(
                "version",
                Text,
                Follows("none; `path`, `git` or `version` is needed"),
                "\"1.2\"",
                "Release of the crate in cargo's registry, as cargo's manifests require one.",
            ),
        ],
    },
    Table {
        name: "agents",
        shape: Shape::List,
        meaning: "Crates with further agents, which need the feature `provisioning`. Each exports `pub fn agents() -> \
                  Vec<Box<dyn disco_sdk::Agent>>`; examples/hello-agent is one.",
        keys: &[
            key("crate", Pattern(CRATE), Required, "\"acme-agents\"", "Name of the crate."),
            key(
                "path",
                Text,
                Follows("none; `path`, `git` or `version` is needed"),
                "\"../acme-agents\"",
                "Folder of the crate, relative to this file.",
            ),
            key(
                "git",
                Text,
                Follows("none; `path`, `git` or `version` is needed"),
                "\"https://git.acme.example/acme-agents\"",
                "Repository of the crate.",
            ),
            key(
                "rev",
                Pattern(COMMIT),
                Follows("none; needed with `git`"),
                "\"0f60cbf9a1b2c3d4e5f60718293a4b5c6d7e8f90\"",
                "Commit of the repository, its whole hash: branches and tags move.",
            ),
            key(
                "version",
                Text,
                Follows("none; `path`, `git` or `version` is needed"),
                "\"1.2\"",
                "Release of the crate in cargo's registry, as cargo's manifests require one.",
            ),
        ],
    },
    Table {
        name: "targets",
        shape: Shape::Named,
        meaning: "What the binary is built for, once for each. [targets.defaults] is what all inherit; without any \
                  [targets.…] it runs on machines like the build host.",
        keys: &[
            key(
                "triple",
                Word(&["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"]),
                Follows("the build host's"),
                "\"x86_64-unknown-linux-gnu\"",
                "The machine, as rustc names it. Another one than the build host's is linked by zig, and asked what it is \
                 under emulation.",
            ),
            key(
                "glibc",
                Pattern("^2\\.[0-9]{1,2}$"),
                Follows("the build host's; for another machine 2.17"),
                "\"2.17\"",
                "The oldest C library that the binary has to run with, 2.17 (Enterprise Linux 7) or newer. Linked by zig, \
                 which `cargo xtask setup --spec FILE` installs; a binary that needs a newer one is refused.",
            ),
            key(
                "output",
                Pattern(OUTPUT),
                Is("\"{{binary}}\""),
                "\"{{binary}}-{{version}}-{{os}}-{{arch}}\"",
                "Name of the binary in `dist`. It may have {{binary}}, {{version}}, {{release}}, {{os}} and {{arch}}.",
            ),
        ],
    },
    Table {
        name: "packages",
        shape: Shape::Named,
        meaning: "What is packaged. [packages.defaults] is what all inherit; no [packages.…] at all makes one rpm and one \
                  deb.",
        keys: &[
            key(
                "format",
                Word(&["rpm", "deb"]),
                Follows("what [packages.defaults] says"),
                "\"rpm\"",
                "The kind of package.",
            ),
            key(
                "dist",
                Pattern(RELEASE),
                Follows("none"),
                "\"el9\"",
                "Part of an rpm's release, such as \"el9\" for release 1.el9.",
            ),
            key(
                "group",
                Text,
                Is("\"System Environment/Base\""),
                "\"System Environment/Base\"",
                "Group of an rpm.",
            ),
            key(
                "manage_conf",
                Flag,
                Is("true"),
                "false",
                "Whether packages bring the configuration file; your own tooling may want to.",
            ),
            key(
                "target",
                Text,
                Follows("every target, a package for each"),
                "\"linux-x86_64\"",
                "The one of [targets] that is packaged.",
            ),
            key(
                "compat_commands",
                Flag,
                Is("false"),
                "true",
                "Whether packages bring the client's commands under the names of old, such as `disco-param` and \
                 `disco-fs-mount`, as links beside the binary. Two such brands can be installed together only with \
                 different `paths.bindir`.",
            ),
        ],
    },
    Table {
        name: "signing",
        shape: Shape::One,
        meaning: "Private OpenPGP keys that sign. A key is never in a spec, only where it is: in a file, relative to this \
                  one, or with gpg's agent under a fingerprint. One with a passphrase has to be the agent's.",
        keys: &[
            key(
                "rpm_key",
                PrivateKey,
                Follows("none; rpms are not signed"),
                "{ file = \"/secure/acme.asc\" }",
                "Signs each rpm, for `rpm --checksig` and `gpgcheck=1`.",
            ),
            key(
                "repository_key",
                PrivateKey,
                Follows("`rpm_key`"),
                "{ agent = \"0123456789ABCDEF0123456789ABCDEF01234567\" }",
                "Signs the lists of repositories that `cargo xtask repository` writes, for apt's `Signed-By` and \
                 `repo_gpgcheck=1`.",
            ),
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_explains_itself_with_an_example_of_its_kind() {
        for table in TABLES {
            assert!(table.meaning.ends_with('.'), "{}", table.name);
            for key in table.keys {
                let dotted = format!("{}.{}", table.name, key.name);
                assert!(key.meaning.ends_with('.'), "{dotted}");
                for value in [Some(value(key.example)), key.default_value()].into_iter().flatten() {
                    let fits = match key.kind {
                        Text | Pattern(_) => value.is_str(),
                        Word(words) => words.iter().any(|word| value.as_str() == Some(word)),
                        Flag => value.is_bool(),
                        Count => value.is_integer(),
                        Texts => value.is_array(),
                        Secret | PrivateKey => value.is_table(),
                    };
                    assert!(fits, "{dotted}: {value}");
                }
            }
        }
    }

    #[test]
    fn keys_are_found_by_their_names_in_a_spec() {
        assert_eq!(find("brand.name").unwrap().1.name, "name");
        assert_eq!(find("packages.format").unwrap().1.name, "format");
        assert_eq!(find("packages.el9.format").unwrap().1.name, "format");
        assert!(find("brand.el9.name").is_none());
        assert!(find("brand").is_none());
    }
}
