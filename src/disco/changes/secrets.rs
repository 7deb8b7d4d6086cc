//! Which files hold secrets, whatever their permissions say: their content is told by size and digest.

use std::path::Path;
use std::sync::LazyLock;

use glob::{MatchOptions, Pattern};

/// Whether contents of secret files are at hand for a person who asked for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Secrets {
    /// Told by size and digest.
    #[default]
    Hidden,
    /// Shown on the terminal; never kept.
    Shown,
}

/// Files that hold secrets wherever somebody made them readable by mistake. Patterns as in glob(7), `**` for any folders.
const KNOWN: &[&str] = &[
    "/etc/shadow*",
    "/etc/gshadow*",
    "/etc/sudoers",
    "/etc/security/opasswd*",
    "/etc/ssh/ssh_host_*_key",
    "/etc/krb5.keytab",
    "/etc/ppp/*-secrets",
    "/etc/wireguard/*",
    "/etc/NetworkManager/system-connections/*",
    "/etc/ssl/private/**",
    "/etc/pki/tls/private/**",
    "/**/.ssh/id_*[!b]",
    "/**/.netrc",
    "/**/.pgpass",
    "/**/.my.cnf",
    "/**/.git-credentials",
    "/**/*.key",
    "/**/*.p12",
    "/**/*.pfx",
    "/**/*.jks",
];

/// Whether the file at this path is known to hold secrets.
pub(crate) fn is_known(path: &Path) -> bool {
    static PATTERNS: LazyLock<Vec<Pattern>> =
        LazyLock::new(|| KNOWN.iter().map(|known| Pattern::new(known).expect("a test reads them")).collect());
    let text = path.to_string_lossy();
    let folders = MatchOptions { require_literal_separator: true, ..MatchOptions::default() };
    PATTERNS.iter().any(|pattern| pattern.matches_with(&text, folders))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_is_one() {
        for known in KNOWN {
            assert!(Pattern::new(known).is_ok(), "{known}");
        }
    }

    #[test]
    fn known_secrets_are_found_and_their_neighbours_are_not() {
        for secret in [
            "/etc/shadow",
            "/etc/shadow-",
            "/etc/ssh/ssh_host_ed25519_key",
            "/etc/ssl/private/a/b.pem",
            "/root/.ssh/id_ed25519",
            "/opt/x/server.key",
            "/home/a/.netrc",
        ] {
            assert!(is_known(Path::new(secret)), "{secret}");
        }
        for open in [
            "/etc/passwd",
            "/etc/ssh/ssh_host_ed25519_key.pub",
            "/etc/ssl/certs/x.pem",
            "/root/.ssh/id_ed25519.pub",
            "/etc/keyboard",
        ] {
            assert!(!is_known(Path::new(open)), "{open}");
        }
    }
}
