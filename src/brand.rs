//! What this binary was made to be: the spec's values, typed, immutable, passed and never global.
//!
//! A generated brand crate puts `env!` constants that xtask sets (`DISCO_BAKED_…`) into one block of bytes, which
//! [`Brand::read`] reads at start. The block is all that differs between two brands of the same features and plugs, so
//! that `cargo xtask rebrand` can replace it in a finished binary. Everything here is a `const fn`: the brand crate reads
//! its own block while it is compiled, so a value that does not parse stops that, not the node's start.
//!
//! ```text
//! block    MAGIC, then capacity and used bytes of what follows (u32 each), the records, zeros up to the capacity
//! record   name and value, each a length (u32) and UTF-8; numbers are little-endian
//! ```

/// The resolved spec inside a binary.
#[derive(Debug, Clone, Copy)]
pub struct Brand {
    /// Short name, `^[a-z][a-z0-9-]{0,30}$`: `acme`.
    pub name: &'static str,
    /// Name of the binary and of the package: `acme-disco`.
    pub binary: &'static str,
    /// Name for people: `ACME Disco`.
    pub display_name: &'static str,
    /// Who ships it.
    pub vendor: &'static str,
    /// Whom to ask, `Name <address>`.
    pub contact: &'static str,
    /// Where to read on.
    pub url: &'static str,
    /// SPDX expression of the package's licence.
    pub license: &'static str,
    /// One line for package lists.
    pub summary: &'static str,
    /// Version of the package; the project's own unless the spec says otherwise.
    pub version: &'static str,
    /// Release (rpm) or revision (deb) of the package.
    pub release: &'static str,
    /// Where things lie on the node.
    pub paths: Paths,
    /// Defaults of the DISCO client.
    pub client: ClientDefaults,
    /// Security of the configured node.
    pub security: SecurityDefaults,
    /// Settings of the brokers that serve this brand.
    pub broker: BrokerDefaults,
    /// The node's server in provisioning mode.
    pub provisioning: ProvisioningDefaults,
    /// SHA-256 of the resolved spec in hex, secrets as digests.
    pub spec_digest: &'static str,
    /// What it was built from.
    pub source: Source,
}

/// The sources that a binary was built from; `unknown` where no git was at hand.
#[derive(Debug, Clone, Copy)]
pub struct Source {
    /// The commit; `-dirty` behind it if tracked files differed.
    pub commit: &'static str,
    /// Time of the commit in UTC, RFC 3339.
    pub date: &'static str,
}

/// Every path that the product uses derives from these; all absolute.
#[derive(Debug, Clone, Copy)]
pub struct Paths {
    /// Directory of the binary.
    pub bindir: &'static str,
    /// Directory of the configuration; `server.conf` lies here.
    pub etcdir: &'static str,
    /// State: parameters, module storage, sandbox scratch, history.
    pub vardir: &'static str,
    /// Directory of log files.
    pub logdir: &'static str,
}

/// Defaults of the DISCO client; parameters on the node and `server.conf` override the first two.
#[derive(Debug, Clone, Copy)]
pub struct ClientDefaults {
    /// Where the universe is: `user@host` (rsync modules over ssh), `rsync://host[:port]` or an absolute directory.
    pub server: &'static str,
    /// The rsync command with its options, in shell words.
    pub rsync: &'static str,
    /// Time between dances that the timer starts, as systemd writes time spans: `30m`.
    pub interval: &'static str,
    /// Random delay on top of the interval: `5m`.
    pub splay: &'static str,
}

/// Security of the configured node.
#[derive(Debug, Clone, Copy)]
pub struct SecurityDefaults {
    /// TLS on every broker connection.
    pub tls: bool,
    /// x509 signatures on requests in normal mode.
    pub message_security: bool,
}

/// Settings of the brokers that serve this brand.
#[derive(Debug, Clone, Copy)]
pub struct BrokerDefaults {
    /// How many clients one broker admits.
    pub max_clients: u32,
}

/// The node's server in provisioning mode.
#[derive(Debug, Clone, Copy)]
pub struct ProvisioningDefaults {
    /// Mode when the configuration does not say.
    pub default: bool,
    /// Brokers to be provisioned at, `host:port`.
    pub brokers: List,
    /// Domain whose SRV records name the brokers, instead of a list; empty: none.
    pub srv_domain: &'static str,
    /// TLS on the provisioning connection.
    pub tls: bool,
    /// PEM of the certificate authorities that brokers must chain to; empty: the brand pins none.
    pub ca: &'static str,
    /// PHC string (argon2id) of the provisioning token; empty: the brand has no token.
    pub token: &'static str,
    /// File whose content the node publishes as registration data; empty: none.
    pub registration_data: &'static str,
    /// JSON file with the node's facts; empty: none.
    pub facts: &'static str,
    /// File that tells how the server is doing; empty: none.
    pub status_file: &'static str,
    /// Whether the built-in agent choria_provision serves; else a plug brings it.
    pub agent: bool,
    /// Whether that agent has the action reprovision.
    pub reprovision: bool,
    /// Whether that agent has the action shutdown.
    pub shutdown: bool,
}

/// A list in one constant, its items separated by commas.
#[derive(Debug, Clone, Copy)]
pub struct List(&'static str);

impl List {
    /// The items in their order; none for an empty constant.
    pub fn iter(&self) -> impl Iterator<Item = &'static str> {
        self.0.split(',').filter(|item| !item.is_empty())
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Reads a baked list.
pub const fn list(text: &'static str) -> List {
    List(text)
}

/// Reads a baked truth value; anything but `true` and `false` stops the compilation.
const fn flag(text: &str) -> bool {
    match text.as_bytes() {
        b"true" => true,
        b"false" => false,
        _ => panic!("a baked flag is `true` or `false`"),
    }
}

/// Reads a baked decimal number; anything else stops the compilation.
const fn number(text: &str) -> u32 {
    match u32::from_str_radix(text, 10) {
        Ok(value) => value,
        Err(_) => panic!("a baked number is decimal and fits 32 bits"),
    }
}

/// What a block opens with. Nothing else in a binary reads like it.
const MAGIC: [u8; 16] = *b"\xd1\x5c0 brand block\x01";

/// Bytes before the records: the magic, capacity, used bytes.
const HEAD: usize = MAGIC.len() + 8;

/// Bytes that a length takes.
const LENGTH: usize = 4;

/// A block of `SIZE` bytes with these names and values; too many of them stop the compilation.
pub const fn block<const SIZE: usize>(values: &[(&str, &str)]) -> [u8; SIZE] {
    let mut block = [0; SIZE];
    put(&mut block, 0, &MAGIC);
    let mut at = HEAD;
    let mut index = 0;
    while index < values.len() {
        let (name, value) = values[index];
        at = put_text(&mut block, at, name);
        at = put_text(&mut block, at, value);
        index += 1;
    }
    put(&mut block, MAGIC.len(), &((SIZE - HEAD) as u32).to_le_bytes());
    put(&mut block, MAGIC.len() + LENGTH, &((at - HEAD) as u32).to_le_bytes());
    block
}

const fn put_text(block: &mut [u8], at: usize, text: &str) -> usize {
    let at = put(block, at, &(text.len() as u32).to_le_bytes());
    put(block, at, text.as_bytes())
}

const fn put(block: &mut [u8], at: usize, bytes: &[u8]) -> usize {
    let (_, rest) = block.split_at_mut(at);
    let (place, _) = rest.split_at_mut(bytes.len());
    place.copy_from_slice(bytes);
    at + bytes.len()
}

/// The value of a name in a block; one that is missing stops the compilation.
const fn value(block: &'static [u8], name: &str) -> &'static str {
    let (_, rest) = block.split_at(MAGIC.len() + LENGTH);
    let (used, records) = length(rest);
    let (mut rest, _) = records.split_at(used);
    while !rest.is_empty() {
        let (found, after) = text(rest);
        let (value, after) = text(after);
        if same(found.as_bytes(), name.as_bytes()) {
            return value;
        }
        rest = after;
    }
    panic!("the brand's block lacks a value")
}

const fn text(bytes: &'static [u8]) -> (&'static str, &'static [u8]) {
    let (length, rest) = length(bytes);
    let (text, rest) = rest.split_at(length);
    match str::from_utf8(text) {
        Ok(text) => (text, rest),
        Err(_) => panic!("a value of the brand's block is not UTF-8"),
    }
}

const fn length(bytes: &'static [u8]) -> (usize, &'static [u8]) {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH>() else {
        panic!("the brand's block ends within a record");
    };
    (u32::from_le_bytes(*length) as usize, rest)
}

const fn same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let mut index = 0;
    while index < one.len() {
        if one[index] != other[index] {
            return false;
        }
        index += 1;
    }
    true
}

const fn known(fact: Option<&'static str>) -> &'static str {
    match fact {
        Some(fact) => fact,
        None => "unknown",
    }
}

impl Brand {
    /// The brand that a block says. At run time `block` has to come through `std::hint::black_box`: what the compiler
    /// knows of it need not be what the binary says by then.
    ///
    /// # Panics
    /// If it is not a block of this version. The brand crate finds that while it is compiled.
    pub const fn read(block: &'static [u8]) -> Brand {
        Brand {
            name: value(block, "NAME"),
            binary: value(block, "BINARY"),
            display_name: value(block, "DISPLAY_NAME"),
            vendor: value(block, "VENDOR"),
            contact: value(block, "CONTACT"),
            url: value(block, "URL"),
            license: value(block, "LICENSE"),
            summary: value(block, "SUMMARY"),
            version: value(block, "VERSION"),
            release: value(block, "RELEASE"),
            paths: Paths {
                bindir: value(block, "BINDIR"),
                etcdir: value(block, "ETCDIR"),
                vardir: value(block, "VARDIR"),
                logdir: value(block, "LOGDIR"),
            },
            client: ClientDefaults {
                server: value(block, "CLIENT_SERVER"),
                rsync: value(block, "CLIENT_RSYNC"),
                interval: value(block, "CLIENT_INTERVAL"),
                splay: value(block, "CLIENT_SPLAY"),
            },
            security: SecurityDefaults {
                tls: flag(value(block, "SECURITY_TLS")),
                message_security: flag(value(block, "SECURITY_MESSAGE_SECURITY")),
            },
            broker: BrokerDefaults { max_clients: number(value(block, "BROKER_MAX_CLIENTS")) },
            provisioning: ProvisioningDefaults {
                default: flag(value(block, "PROVISIONING_DEFAULT")),
                brokers: list(value(block, "PROVISIONING_BROKERS")),
                srv_domain: value(block, "PROVISIONING_SRV_DOMAIN"),
                tls: flag(value(block, "PROVISIONING_TLS")),
                ca: value(block, "PROVISIONING_CA"),
                token: value(block, "PROVISIONING_TOKEN"),
                registration_data: value(block, "PROVISIONING_REGISTRATION_DATA"),
                facts: value(block, "PROVISIONING_FACTS"),
                status_file: value(block, "PROVISIONING_STATUS_FILE"),
                agent: flag(value(block, "PROVISIONING_AGENT")),
                reprovision: flag(value(block, "PROVISIONING_REPROVISION")),
                shutdown: flag(value(block, "PROVISIONING_SHUTDOWN")),
            },
            spec_digest: value(block, "SPEC_DIGEST"),
            source: Source { commit: value(block, "SOURCE_COMMIT"), date: value(block, "SOURCE_DATE") },
        }
    }

    /// The brand of the development binary: no provisioning, stock paths.
    pub const UNBRANDED: Brand = Brand {
        name: "disco",
        binary: "disco",
        display_name: "DISCO",
        vendor: "The DISCO project",
        contact: "The DISCO project <hello@disco.example>",
        url: "https://disco.example",
        license: "Apache-2.0",
        summary: "Configuration management without surprises",
        version: env!("CARGO_PKG_VERSION"),
        release: "1",
        paths: Paths { bindir: "/usr/sbin", etcdir: "/etc/disco", vardir: "/var/disco", logdir: "/var/log" },
        client: ClientDefaults { server: "", rsync: "rsync -aWH", interval: "30m", splay: "5m" },
        security: SecurityDefaults { tls: true, message_security: true },
        broker: BrokerDefaults { max_clients: 50_000 },
        provisioning: ProvisioningDefaults {
            default: false,
            brokers: list(""),
            srv_domain: "",
            tls: true,
            ca: "",
            token: "",
            registration_data: "",
            facts: "",
            status_file: "",
            agent: true,
            reprovision: false,
            shutdown: false,
        },
        spec_digest: "",
        source: Source {
            commit: known(option_env!("VERGEN_GIT_SHA")),
            date: known(option_env!("VERGEN_GIT_COMMIT_TIMESTAMP")),
        },
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_baked_list_keeps_its_order_and_an_empty_one_has_no_items() {
        assert_eq!(list("a:1,b:2").iter().collect::<Vec<_>>(), ["a:1", "b:2"]);
        assert_eq!(list("").iter().count(), 0);
        assert!(list("").is_empty());
    }

    #[test]
    fn baked_flags_and_numbers_are_read_as_written() {
        assert!(flag("true"));
        assert!(!flag("false"));
        assert_eq!(number("50000"), 50_000);
    }

    #[test]
    fn a_block_says_what_was_put_into_it() {
        static BLOCK: [u8; 64] = block(&[("A", ""), ("AB", "täxt"), ("B", "x")]);
        assert_eq!(value(&BLOCK, "A"), "");
        assert_eq!(value(&BLOCK, "AB"), "täxt");
        assert_eq!(value(&BLOCK, "B"), "x");
    }

    #[test]
    #[should_panic(expected = "lacks a value")]
    fn a_block_without_a_value_is_refused() {
        static BLOCK: [u8; 64] = block(&[("A", "")]);
        value(&BLOCK, "NAME");
    }

    #[test]
    #[should_panic(expected = "`true` or `false`")]
    fn a_flag_in_other_words_is_refused() {
        flag("yes");
    }
}
