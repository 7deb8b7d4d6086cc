//! What looks like a secret where none belongs.
//!
//! Values of a spec are baked into a binary that everybody can read. Only `provisioning.token` is a secret, and only its
//! digest is baked. Everything else that looks like a key or a password is refused, and no message shows it. The look
//! of a value proves nothing: the rules prefer to miss one over refusing what is none.

use toml::de::{DeTable, DeValue};

use super::problem::Problem;
use super::reader::Problems;

/// The way out of all these refusals.
pub(crate) const CURE: &str = "keep it in a file on the node that only root may read; what a spec says can be read out of \
                               the binary by everybody";

/// Words in the name of a key that holds a secret.
const NAMES: [&str; 8] =
    ["password", "passwd", "passphrase", "secret", "credential", "private_key", "api_key", "apikey"];

/// Whether a key of this name holds a secret.
pub(crate) fn is_name_of_one(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    NAMES.iter().any(|word| name.contains(word))
}

/// Refuses every value that looks like a secret, but the token.
pub(crate) fn refuse(file: &DeTable<'_>, problems: &Problems) {
    walk_table("", file, problems);
}

fn walk_table(name: &str, table: &DeTable<'_>, problems: &Problems) {
    for (key, value) in table {
        let dotted =
            if name.is_empty() { key.get_ref().to_string() } else { format!("{name}.{}", key.get_ref()) };
        walk(&dotted, value, problems);
    }
}

fn walk(dotted: &str, value: &toml::Spanned<DeValue<'_>>, problems: &Problems) {
    match value.get_ref() {
        DeValue::Table(table) => walk_table(dotted, table, problems),
        DeValue::Array(items) => {
            for item in items.iter() {
                walk(dotted, item, problems);
            }
        }
        // Brokers with credentials have a refusal of their own.
        DeValue::String(text) if !matches!(dotted, "provisioning.token" | "provisioning.brokers") => {
            if let Some(what) = looks_like(text) {
                problems.hide(value.span());
                let title = format!("`{dotted}` has what looks like {what}");
                problems.add(Problem::at(value.span(), title, "not for a spec").cure(CURE));
            }
        }
        _ => {}
    }
}

/// What secret a text looks like.
fn looks_like(text: &str) -> Option<&'static str> {
    if text.contains("-----BEGIN") && text.contains("PRIVATE KEY") {
        return Some("a private key");
    }
    if has_credentials(text) {
        return Some("a password in an address");
    }
    if assigns_one(text) {
        return Some("a password on a command line");
    }
    let words = || text.split(|letter: char| letter.is_whitespace() || "\"'=,;:<>()".contains(letter));
    if words().any(is_nkey_seed) {
        return Some("the seed of an nkey");
    }
    let mut before = "";
    for word in words() {
        if is_random(word) && !is_digest(before) && !is_digest(word.split('-').next().unwrap_or("")) {
            return Some("a random key or password");
        }
        before = word;
    }
    None
}

/// Whether this says that a digest follows: `sha256:…`, `SHA512-…`.
fn is_digest(word: &str) -> bool {
    ["sha1", "sha256", "sha384", "sha512", "md5"].iter().any(|name| word.eq_ignore_ascii_case(name))
}

/// `scheme://user:password@host`.
fn has_credentials(text: &str) -> bool {
    text.match_indices("://").any(|(at, mark)| {
        let authority = text[at + mark.len()..].split(['/', '?', '#', ' ', '"', '\'']).next().unwrap_or("");
        authority
            .rsplit_once('@')
            .and_then(|(user, _)| user.split_once(':'))
            .is_some_and(|(_, password)| !password.is_empty())
    })
}

/// `RSYNC_PASSWORD=…`, `--password=…`, `sshpass -p …`; not `--password-file=…`.
fn assigns_one(text: &str) -> bool {
    let words: Vec<&str> = text.split_whitespace().collect();
    let assigned = words.iter().filter_map(|word| word.split_once('=')).any(|(name, value)| {
        let name = name.to_ascii_lowercase();
        !value.is_empty()
            && ["password", "passwd", "sshpass", "passphrase"].iter().any(|ending| name.ends_with(ending))
    });
    let sshpass = words.windows(2).any(|pair| pair[0].ends_with("sshpass") && pair[1].starts_with("-p"));
    assigned || sshpass
}

/// Seeds of NATS keys: `S`, the kind, and base32; 58 letters.
fn is_nkey_seed(word: &str) -> bool {
    word.len() == 58
        && word.starts_with('S')
        && word.bytes().all(|byte| byte.is_ascii_uppercase() || (b'2'..=b'7').contains(&byte))
}

/// Letters, capitals and digits in no order, as no word, name, path or hexadecimal digest has them.
fn is_random(word: &str) -> bool {
    const SHORTEST: usize = 20;
    let word = word.trim_end_matches('=');
    if word.len() < SHORTEST
        || !word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/_-".contains(&byte))
    {
        return false;
    }
    if word.starts_with('/') {
        return false;
    }
    let kind = |byte: u8| match byte {
        b'a'..=b'z' => 0,
        b'A'..=b'Z' => 1,
        b'0'..=b'9' => 2,
        _ => 3,
    };
    let kinds: Vec<u8> = word.bytes().map(kind).collect();
    let turns = kinds.windows(2).filter(|pair| pair[0] != pair[1]).count();
    // A random text turns from one kind to another at six letters of ten; names with humps at three.
    (0..3).all(|wanted| kinds.contains(&wanted)) && turns * 5 >= word.len() * 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_spec_may_say_is_no_secret() {
        for text in [
            "https://fleet.acme.example/a/b?c=d#e",
            "https://user@host.example",
            "rsync://disco@universe.acme.example:873",
            "Fleet Team <fleet.team+prod@acme.example>",
            "ACME configuration and provisioning agent",
            "rsync -aWH -e \"ssh -i /opt/acme/etc/disco/id_ed25519 -o StrictHostKeyChecking=yes\"",
            "rsync -aWH --password-file=/etc/acme/rsync.password",
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
            "ssh -o HostKeyFingerprint=SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
            "/opt/Acme2/Etc3/Disco4/Node5/Settings6.json",
            "MyUniverseServer2ConfigurationAgent",
            "prov1.eu-west-1.compute.ACME-Cloud2.example",
            "f47ac10b-58cc-4372-a567-0e02b2c3d479",
            "Apache-2.0 OR LicenseRef-ACME-2026-Edition",
            "1.4.0~rc1+git20260101.0123abcd",
        ] {
            assert_eq!(looks_like(text), None, "{text}");
        }
    }

    #[test]
    fn keys_and_passwords_are_recognised() {
        for (text, what) in [
            ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n", "a private key"),
            ("rsync://disco:hunter2@universe.example", "a password in an address"),
            ("RSYNC_PASSWORD=hunter2 rsync -a", "a password on a command line"),
            ("rsync -e 'sshpass -p hunter2 ssh'", "a password on a command line"),
            ("SUAM5YWNSFIVAYC4BZ4DVDX4ZYBEGPS4VCBGHDXHN3V6HVD2PYQ7RWVQ2A", "the seed of an nkey"),
            ("K7pVq2wZ9mRt4xB8nLc3Yd6s", "a random key or password"),
            ("--key 3q2+7wAbCdEf1234/Zx9Kp8==", "a random key or password"),
        ] {
            assert_eq!(looks_like(text), Some(what), "{text}");
        }
    }

    #[test]
    fn keys_are_recognised_by_their_names() {
        for name in ["password", "broker_password", "client-secret", "PrivateKey2_private_key", "api-key"] {
            assert!(is_name_of_one(name), "{name}");
        }
        for name in ["token", "key", "path", "pass", "rpm_key"] {
            assert!(!is_name_of_one(name), "{name}");
        }
    }
}
