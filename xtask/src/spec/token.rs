//! The provisioning token: read, judged, and turned into what a node may carry.
//!
//! The node only ever compares the token, so an argon2id digest is all that leaves this file. The plain text is wiped
//! from memory when it goes out of scope; it is never logged, written or handed to a child process.

use anyhow::{Result, anyhow};
use argon2::password_hash::PasswordHasher;
use argon2::{Algorithm, Argon2, Params, Version};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Memory of one check in KiB: 16 MiB. A node checks one token at a time, and small nodes have little more.
const MEMORY_KIB: u32 = 16 * 1024;
/// Passes over that memory.
const PASSES: u32 = 2;
/// Lanes; a node checks on one thread.
const LANES: u32 = 1;
/// What keeps this salt apart from any other use of the same token.
const SALT_LABEL: &[u8] = b"disco provisioning token salt v1";

/// Longest token, in characters.
pub(crate) const MAX_LENGTH: usize = 128;
/// Below this many bits a token is worth a warning.
pub(crate) const WEAK_BELOW_BITS: u32 = 64;

/// A PHC string (argon2id) of the token.
///
/// The salt comes from brand and token, so that the same spec makes the same bytes. It still differs between brands
/// and between tokens, which is what a salt is for.
pub(crate) fn stretch(brand: &str, token: &Zeroizing<String>) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(SALT_LABEL);
    hash.update([0]);
    hash.update(brand);
    hash.update([0]);
    hash.update(token.as_bytes());
    let salt = hash.finalize();
    let params =
        Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|why| anyhow!("argon2id parameters: {why}"))?;
    let phc = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_with_salt(token.as_bytes(), &salt[..16])
        .map_err(|why| anyhow!("argon2id: {why}"))?;
    Ok(phc.to_string())
}

/// What is wrong with a token, without quoting it.
pub(crate) fn refusal(token: &str) -> Option<&'static str> {
    if token.is_empty() {
        return Some("the token is empty");
    }
    if token.chars().count() > MAX_LENGTH {
        return Some("the token is longer than 128 characters");
    }
    if token.chars().any(char::is_control) {
        return Some("the token has a line break or another control character");
    }
    None
}

/// Whether a letter belongs to an alphabet.
type Alphabet = fn(&char) -> bool;

/// How many bits somebody who guesses has to get right, at most.
///
/// Letters count by the size of the alphabets that occur; a letter that repeats its predecessor or is the next one in
/// the alphabet counts nothing. It overrates words of a language: a warning is certain, silence proves nothing.
pub(crate) fn estimated_bits(token: &str) -> u32 {
    let alphabets: [(Alphabet, u32); 4] = [
        (char::is_ascii_lowercase, 26),
        (char::is_ascii_uppercase, 26),
        (char::is_ascii_digit, 10),
        (|letter: &char| !letter.is_ascii_alphanumeric(), 33),
    ];
    let pool: u32 = alphabets
        .iter()
        .filter(|(within, _)| token.chars().any(|letter| within(&letter)))
        .map(|(_, size)| size)
        .sum();
    let mut previous = None;
    let mut counted = 0_u32;
    for letter in token.chars() {
        let code = letter as u32;
        if previous.is_none_or(|before: u32| code.abs_diff(before) > 1) {
            counted += 1;
        }
        previous = Some(code);
    }
    (f64::from(counted) * f64::from(pool.max(1)).log2()) as u32
}

#[cfg(test)]
mod tests {
    use argon2::password_hash::PasswordVerifier;
    use argon2::password_hash::phc::PasswordHash;

    use super::*;

    fn stretched(brand: &str, token: &str) -> String {
        stretch(brand, &Zeroizing::new(token.to_owned())).unwrap()
    }

    #[test]
    fn the_digest_is_stable_and_differs_by_brand_and_token() {
        let digest = stretched("acme", "correct horse battery staple");
        assert_eq!(digest, stretched("acme", "correct horse battery staple"));
        assert_ne!(digest, stretched("umbra", "correct horse battery staple"));
        assert_ne!(digest, stretched("acme", "correct horse battery stapler"));
        assert!(digest.starts_with("$argon2id$v=19$m=16384,t=2,p=1$"), "{digest}");
        assert!(!digest.contains("correct"));
    }

    #[test]
    fn the_digest_verifies_the_token_and_nothing_else() {
        let digest = stretched("acme", "s3cret-Token");
        let parsed = PasswordHash::new(&digest).unwrap();
        assert!(Argon2::default().verify_password(b"s3cret-Token", &parsed).is_ok());
        assert!(Argon2::default().verify_password(b"s3cret-token", &parsed).is_err());
    }

    #[test]
    fn tokens_outside_the_limits_are_refused() {
        assert_eq!(refusal(""), Some("the token is empty"));
        assert_eq!(refusal(&"x".repeat(128)), None);
        assert_eq!(refusal(&"x".repeat(129)), Some("the token is longer than 128 characters"));
        assert_eq!(refusal("a\tb"), Some("the token has a line break or another control character"));
    }

    #[test]
    fn short_and_regular_tokens_are_weak() {
        for weak in
            ["secret", "abcdefghijklmnopqrst", "aaaaaaaaaaaaaaaaaaaa", "12345678901234567890", "hunter2"]
        {
            assert!(estimated_bits(weak) < WEAK_BELOW_BITS, "{weak}");
        }
        assert!(estimated_bits("K7!pVq2-wZ9m#Rt4") >= WEAK_BELOW_BITS);
    }
}
