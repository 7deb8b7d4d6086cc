//! What single values of a spec must look like. Each check takes a value and returns what is wrong with it.

use crate::elf::{Glibc, Machine};

/// What is wrong with a value and how to put it right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) what: String,
    pub(crate) cure: String,
}

fn fault(what: impl Into<String>, cure: impl Into<String>) -> Option<Fault> {
    Some(Fault { what: what.into(), cure: cure.into() })
}

/// Folders that every distribution has. No package owns them, and removing one does not remove them.
pub(crate) const SYSTEM_FOLDERS: &[&str] = &[
    "/",
    "/boot",
    "/dev",
    "/etc",
    "/etc/opt",
    "/etc/systemd",
    "/etc/systemd/system",
    "/home",
    "/media",
    "/mnt",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/usr/bin",
    "/usr/include",
    "/usr/lib",
    "/usr/lib/systemd",
    "/usr/lib/systemd/system",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/local",
    "/usr/local/bin",
    "/usr/local/etc",
    "/usr/local/lib",
    "/usr/local/lib64",
    "/usr/local/libexec",
    "/usr/local/sbin",
    "/usr/local/share",
    "/usr/sbin",
    "/usr/share",
    "/usr/share/bash-completion",
    "/usr/share/bash-completion/completions",
    "/usr/share/doc",
    "/usr/share/fish",
    "/usr/share/fish/vendor_completions.d",
    "/usr/share/lintian",
    "/usr/share/lintian/overrides",
    "/usr/share/man",
    "/usr/share/man/man1",
    "/usr/share/zsh",
    "/usr/share/zsh/site-functions",
    "/usr/share/zsh/vendor-completions",
    "/usr/src",
    "/var",
    "/var/backups",
    "/var/cache",
    "/var/empty",
    "/var/lib",
    "/var/local",
    "/var/lock",
    "/var/log",
    "/var/mail",
    "/var/opt",
    "/var/run",
    "/var/spool",
    "/var/tmp",
];

/// Folders in which each program has one of its own: one that is not named after the brand is somebody else's.
const SHARED_FOLDERS: &[&str] = &[
    "/etc",
    "/run",
    "/usr",
    "/usr/lib",
    "/usr/libexec",
    "/usr/share",
    "/var",
    "/var/cache",
    "/var/lib",
    "/var/spool",
];

/// Where distributions have links: a package that brings a folder there conflicts with the one that brings the link.
const MERGED: [&str; 4] = ["/bin", "/sbin", "/lib", "/lib64"];

/// Programs and packages that every node has, or may have: a package or a folder of this name would be theirs.
const TAKEN: &[&str] = &[
    "apk",
    "apt",
    "bash",
    "containerd",
    "coreutils",
    "cron",
    "dash",
    "dbus",
    "dnf",
    "docker",
    "dpkg",
    "glibc",
    "grub",
    "init",
    "kernel",
    "login",
    "mount",
    "nats-server",
    "openssh",
    "pacman",
    "passwd",
    "podman",
    "rpm",
    "rsync",
    "sh",
    "ssh",
    "sshd",
    "sudo",
    "systemctl",
    "systemd",
    "udev",
    "util-linux",
    "yum",
    "zypper",
    // Folders in which cargo puts other things than programs.
    "build",
    "deps",
    "examples",
    "incremental",
];

/// Longest text that a node shows about itself.
const MAX_TEXT: usize = 1000;
/// Longest version and release; names of files hold both.
const MAX_VERSION: usize = 64;
/// Most bytes of certificates; the kernel hands a value of up to 128 KiB to the compiler.
const MAX_CERTIFICATES: usize = 100_000;

/// Longest brand name; unit, package and account names derive from it.
const MAX_BRAND: usize = 31;
/// Longest name of a binary; some tools cut file names of packages beyond this.
const MAX_BINARY: usize = 63;

pub(crate) fn brand_name(name: &str) -> Option<Fault> {
    (!is_name(name, MAX_BRAND)).then(|| {
        fault("not a brand name", "use a lowercase letter and then up to 30 of `a-z`, `0-9` and `-`")
    })?
}

pub(crate) fn binary_name(name: &str) -> Option<Fault> {
    if TAKEN.contains(&name) {
        return fault(
            "a name that something else on nodes or in cargo has",
            "name it after the brand, such as `acme-disco`",
        );
    }
    (!is_name(name, MAX_BINARY)).then(|| {
        fault("not a binary name", "use a lowercase letter and then up to 62 of `a-z`, `0-9` and `-`")
    })?
}

fn is_name(name: &str, longest: usize) -> bool {
    name.starts_with(|letter: char| letter.is_ascii_lowercase())
        && name.len() <= longest
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// A text that packages, units and manual pages show.
pub(crate) fn shown(text: &str) -> Option<Fault> {
    if text.trim().is_empty() {
        return fault("empty", "write something, or leave the key out for its default");
    }
    if text.ends_with('\\') {
        return fault(
            "a text that ends with `\\`",
            "take it out: units would read the next line as part of it",
        );
    }
    (text.len() > MAX_TEXT).then(|| {
        fault(format!("longer than {MAX_TEXT} bytes"), "write a line; a page at `brand.url` can say more")
    })?
}

/// Where people read more: units and packages take a web address only.
pub(crate) fn url(url: &str) -> Option<Fault> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let good = rest.is_some_and(|rest| {
        rest.starts_with(|letter: char| letter.is_ascii_alphanumeric() || letter == '[')
            && rest.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\\"<>^`{|}".contains(&byte))
    });
    if !good {
        return fault("not a web address", "write one such as `https://acme.example/disco`");
    }
    shown(url)
}

/// Where the universe is, as the client reads it.
pub(crate) fn universe(server: &str) -> Option<Fault> {
    let plain = |text: &str| !text.is_empty() && !text.contains(char::is_whitespace) && !text.contains('/');
    let good = match server.strip_prefix("rsync://") {
        Some(host) => plain(host.trim_end_matches('/')),
        None => {
            server.is_empty()
                || server.starts_with('/')
                || plain(server) && !server.starts_with('-') && !server.contains(':')
        }
    };
    (!good).then(|| {
        fault(
            "no universe that a client finds",
            "write `user@host` (rsync modules over ssh), `rsync://host[:port]` or an absolute directory",
        )
    })?
}

/// Both package formats must take it: no epoch, no `-` (rpm), no `_` or `^` (deb).
pub(crate) fn version(version: &str) -> Option<Fault> {
    if version.len() > MAX_VERSION {
        return fault(
            format!("longer than {MAX_VERSION} letters"),
            "file names of packages hold it: shorten it",
        );
    }
    if version.contains('-') {
        return fault(
            "`-` separates version and release in package names",
            "write a pre-release with `~`, such as `1.4.0~rc1`; it sorts before 1.4.0",
        );
    }
    let starts = version.starts_with(|letter: char| letter.is_ascii_digit());
    (!starts || !version.bytes().all(is_version_byte)).then(|| {
        fault(
            "not a version that rpm and deb both take",
            "start with a digit and use only `A-Z a-z 0-9 . + ~`",
        )
    })?
}

pub(crate) fn release(release: &str) -> Option<Fault> {
    (release.is_empty() || release.len() > MAX_VERSION || !release.bytes().all(is_version_byte)).then(
        || fault("not a release that rpm and deb both take", "use only `A-Z a-z 0-9 . + ~`, such as `1`"),
    )?
}

/// A machine, as rustc names it.
pub(crate) fn triple(triple: &str) -> Option<Fault> {
    Machine::of_triple(triple).is_none().then(|| {
        let known: Vec<_> = Machine::TRIPLES.iter().map(|(_, name)| format!("`{name}`")).collect();
        fault("not a machine that the product is built for", format!("write {}", known.join(" or ")))
    })?
}

/// A release of the C library that Rust's own library, which needs `oldest`, runs with.
pub(crate) fn glibc(text: &str, oldest: &str) -> Option<Fault> {
    let parts: Vec<&str> = text.split('.').collect();
    let is_release = matches!(parts[..], ["2", minor]
        if (1..=2).contains(&minor.len()) && minor.bytes().all(|byte| byte.is_ascii_digit()));
    if !is_release {
        return fault(
            "not a release of the GNU C library",
            format!("write one such as `{oldest}`, in quotes; `ldd --version` tells that of a machine"),
        );
    }
    let older = matches!((text.parse::<Glibc>(), oldest.parse()), (Ok(asked), Ok(oldest)) if asked < oldest);
    older.then(|| {
        fault(
            format!("older than the {oldest} that Rust's own library needs"),
            format!("write `{oldest}` or a newer one"),
        )
    })?
}

/// Name of a file among the results.
pub(crate) fn output(template: &str) -> Option<Fault> {
    let filled = ["binary", "version", "release", "os", "arch"]
        .iter()
        .fold(template.to_owned(), |text, name| text.replace(&format!("{{{{{name}}}}}"), "x"));
    let plain = |byte: u8| is_version_byte(byte) || matches!(byte, b'_' | b'-');
    if filled.is_empty() || filled.starts_with(['.', '-']) || !filled.bytes().all(plain) {
        return fault(
            "not a name of a file",
            "use only `A-Z a-z 0-9 . _ + ~ -` and `{{binary}}`, `{{version}}`, `{{release}}`, `{{os}}`, `{{arch}}`",
        );
    }
    let is_taken =
        filled == "SHA256SUMS" || [".json", ".rpm", ".deb"].iter().any(|end| filled.ends_with(end));
    is_taken.then(|| {
        fault("a name that other results have", "begin it with `{{binary}}`, and give it no ending")
    })?
}

fn is_version_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'+' | b'~')
}

/// A place on the node. Paths go into unit files, scriptlets and package lists, which each quote in their own way.
pub(crate) fn path(path: &str) -> Option<Fault> {
    if !path.starts_with('/') {
        return fault("not an absolute path", "start with `/`; it is a path on the node");
    }
    if path.split('/').any(|part| part == ".." || part == ".") {
        return fault("`.` and `..` are not taken in a path", "write the path that is meant");
    }
    if path.len() > 1 && path.ends_with('/') || path.contains("//") {
        return fault("a path with an empty part", "write one `/` between parts and none at the end");
    }
    if path == "/" {
        return fault("the root directory", "name a directory below `/`");
    }
    let odd = path.chars().find(|letter| !letter.is_ascii_alphanumeric() && !"/._-+@~".contains(*letter));
    odd.and_then(|letter| {
        fault(format!("`{letter}` is not taken in a path"), "use only `A-Z a-z 0-9 / . _ - + @ ~`")
    })
}

/// Where the server says how it is; its unit may write to the folder, and must not write everywhere.
pub(crate) fn status_file(file: &str) -> Option<Fault> {
    path(file).or_else(|| {
        let at_root = file.matches('/').count() < 2;
        at_root.then(|| {
            fault("a file in the root directory", "put it below `/run`, such as `/run/acme/status.json`")
        })?
    })
}

/// A folder of the node that a package brings.
pub(crate) fn folder(folder: &str) -> Option<Fault> {
    path(folder).or_else(|| {
        let merged = MERGED.iter().any(|link| {
            folder.strip_prefix(link).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        merged.then(|| fault("a folder behind a link on most systems", format!("write `/usr{folder}`")))?
    })
}

/// A folder of the brand's state: a purge removes it with all that is in it.
pub(crate) fn state_folder(state: &str, names: [&str; 2]) -> Option<Fault> {
    own_folder(state).or_else(|| {
        let (parent, last) = state.rsplit_once('/')?;
        let foreign = SHARED_FOLDERS.contains(&parent)
            && !names.iter().chain(&["disco"]).any(|name| !name.is_empty() && last.contains(name));
        foreign.then(|| {
            fault(
                "a folder that may be somebody else's; purging the package would empty it",
                format!("name it after the brand, such as `{parent}/acme-disco`"),
            )
        })?
    })
}

/// A folder that belongs to the brand alone.
pub(crate) fn own_folder(own: &str) -> Option<Fault> {
    folder(own).or_else(|| {
        let folder = own;
        let system = SYSTEM_FOLDERS.contains(&folder) || folder.matches('/').count() < 2;
        system.then(|| {
            let cure = format!(
                "name a folder of the brand's own, such as `{}/acme-disco`",
                folder.trim_end_matches('/')
            );
            fault("a folder of the system; purging the package would empty it", cure)
        })?
    })
}

/// A whole fingerprint of an OpenPGP key: a shorter name of a key can be somebody else's too.
pub(crate) fn fingerprint(fingerprint: &str) -> Option<Fault> {
    let whole =
        [40, 64].contains(&fingerprint.len()) && fingerprint.bytes().all(|byte| byte.is_ascii_hexdigit());
    if whole {
        return None;
    }
    fault(
        "not a whole fingerprint",
        "write the 40 hexadecimal digits that `gpg --list-secret-keys` shows, without spaces",
    )
}

/// `host:port`.
pub(crate) fn broker(broker: &str) -> Option<Fault> {
    if broker.contains("://") {
        return fault(
            "a broker is not a URL",
            "write `host:port` without a scheme; `tls` decides about encryption",
        );
    }
    if broker.contains('@') {
        return fault(
            "a broker with credentials",
            "write `host:port`; passwords belong in a file on the node, never in a binary",
        );
    }
    let Some((host, port)) = broker.rsplit_once(':') else {
        return fault("a broker without a port", format!("write `{broker}:4222`, if it is the usual one"));
    };
    if !matches!(port.parse::<u16>(), Ok(1..)) || port.starts_with('+') {
        return fault(format!("`{port}` is not a port"), "write a number from 1 to 65535 after the last `:`");
    }
    let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let good = match literal {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => is_host_name(host),
    };
    (!good).then(|| fault(format!("`{host}` is not a host"), "write a name, an IPv4 address or `[IPv6]`"))?
}

fn is_host_name(host: &str) -> bool {
    !host.is_empty()
        && host.len() <= 253
        && host.split('.').all(|label| !label.is_empty() && label.len() <= 63)
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

/// A domain that SRV records can be looked up in.
pub(crate) fn domain(domain: &str) -> Option<Fault> {
    if domain.contains(':') {
        return fault("not a domain", "write the domain alone; the records say the ports");
    }
    // Together with the service that is looked up there, it is a name itself.
    let good = is_host_name(domain) && domain.len() <= 220;
    (!good).then(|| fault("not a domain", "write a name such as `acme.example`, without a dot at its end"))?
}

/// The simple form of a systemd time span.
pub(crate) fn time_span(span: &str) -> Option<Fault> {
    let digits = span.strip_suffix(['s', 'm', 'h', 'd']).unwrap_or("");
    let number = !digits.is_empty() && digits.len() <= 6 && digits.bytes().all(|byte| byte.is_ascii_digit());
    (!number)
        .then(|| fault("not a time span", "write a number and one of `s`, `m`, `h`, `d`, such as `30m`"))?
}

/// How long between two dances: a span, and not none at all.
pub(crate) fn interval(span: &str) -> Option<Fault> {
    time_span(span).or_else(|| {
        let nothing = span.trim_end_matches(char::is_alphabetic).bytes().all(|byte| byte == b'0');
        nothing.then(|| {
            fault("an interval of nothing", "write how long to wait between dances, such as `30m`")
        })?
    })
}

pub(crate) fn command(words: &str) -> Option<Fault> {
    match shell_words::split(words) {
        Ok(split) if split.is_empty() => {
            fault("an empty command", "write the command with its options, such as `rsync -aWH`")
        }
        Ok(_) => None,
        Err(_) => {
            fault("not shell words: a quote is not closed", "close the quote, or write it as \\\" or '…'")
        }
    }
}

/// A name that cargo takes for a crate.
pub(crate) fn crate_name(name: &str) -> Option<Fault> {
    let good = name.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    (!good).then(|| fault("not the name of a crate", "use the `name` of its Cargo.toml"))?
}

/// A repository that cargo can fetch without a word of secret.
pub(crate) fn repository(url: &str) -> Option<Fault> {
    let rest = ["https://", "ssh://", "file://"].iter().find_map(|scheme| url.strip_prefix(scheme));
    let Some(rest) = rest.filter(|rest| !rest.is_empty() && !rest.contains(char::is_whitespace)) else {
        return fault("not a repository", "write a URL that begins with https://, ssh:// or file://");
    };
    let user = rest.split('/').next().and_then(|host| host.split_once('@')).map(|(user, _)| user);
    match user {
        Some(user) if user.contains(':') => {
            fault("a URL with a password", "let git or an ssh agent know the password")
        }
        _ => None,
    }
}

/// The whole hash of a commit.
pub(crate) fn commit(rev: &str) -> Option<Fault> {
    let good = rev.len() == 40 && rev.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (!good).then(|| fault("not the whole hash of a commit", "write 40 hex digits: branches and tags move"))?
}

/// A requirement of a release, as far as can be said without cargo.
pub(crate) fn requirement(text: &str) -> Option<Fault> {
    let good = text.bytes().any(|byte| byte.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" .,^~=<>*+-".contains(&byte));
    (!good)
        .then(|| fault("not a requirement of a release", "write it as in a Cargo.toml, such as \"1.2\""))?
}

/// What is wrong with the PEM text of certificate authorities.
pub(crate) fn certificates(pem: &str) -> Option<Fault> {
    if pem.len() > MAX_CERTIFICATES {
        return fault(
            format!("more than {MAX_CERTIFICATES} bytes"),
            "keep only the authority that signs your brokers; a node need not trust all the world",
        );
    }
    if pem.contains('\0') {
        return fault("a zero byte", "give the file as the certificate authority wrote it");
    }
    let mut count = 0;
    let mut rest = pem;
    while let Some(start) = rest.find("-----BEGIN ") {
        let block = &rest[start + "-----BEGIN ".len()..];
        let Some((label, body)) = block.split_once("-----") else {
            return fault(
                "a PEM block without a label",
                "give the file as the certificate authority wrote it",
            );
        };
        if label.contains("PRIVATE KEY") {
            return fault("a private key", "take the key out; only certificates are public and may be baked");
        }
        if label != "CERTIFICATE" {
            return fault(format!("a `{label}` block"), "keep only CERTIFICATE blocks");
        }
        let Some((content, after)) = body.split_once("-----END CERTIFICATE-----") else {
            return fault(
                "a certificate without its END line",
                "give the file as the certificate authority wrote it",
            );
        };
        if !is_der_in_base64(content) {
            return fault(
                "a certificate that is not base64 of DER",
                "give the file as the certificate authority wrote it",
            );
        }
        count += 1;
        rest = after;
    }
    (count == 0).then(|| fault("no certificate", "give a PEM file with `-----BEGIN CERTIFICATE-----`"))?
}

/// Whether the text is base64 and the bytes begin as a DER sequence does; more is for the TLS library to judge.
fn is_der_in_base64(content: &str) -> bool {
    let letters: String = content.split_whitespace().collect();
    let body = letters.trim_end_matches('=');
    // A sequence with a long length opens with 0x30 0x8_: in base64 that is `MI`.
    letters.len() >= 64
        && letters.len().is_multiple_of(4)
        && letters.len() - body.len() <= 2
        && body.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
        && body.starts_with("MI")
}
