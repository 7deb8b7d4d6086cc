//! The security layer in insecure mode: literals instead of signatures, and the hash that every reply carries.
//!
//! Replies are hashed in every mode and signed in none. A receiver in insecure mode looks neither at the signature nor
//! at the certificate of a request, and so accepts signed requests too.

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use sha2::{Digest, Sha256};

/// What stands in place of a signature and of a certificate in insecure mode.
pub const INSECURE: &str = "insecure";

/// The standard alphabet, padded, without a check of the unused last bits: what the reference server decodes.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// The hash of a reply: SHA-256 over the exact bytes of its text, in standard base64.
pub fn reply_hash(message: &str) -> String {
    STANDARD.encode(Sha256::digest(message.as_bytes()))
}

/// The agent's body in a request: the decoded bytes where the text is valid base64, else the text itself.
///
/// The reference server does so because old clients encoded all bodies and new ones encode only `ping`.
pub fn request_body(message: &str) -> Vec<u8> {
    let without_breaks: String = message.chars().filter(|c| *c != '\r' && *c != '\n').collect();
    LENIENT.decode(without_breaks).unwrap_or_else(|_| message.as_bytes().to_vec())
}

/// Decodes the payload field of a transport packet.
///
/// # Errors
/// The text is not padded standard base64.
pub fn transport_payload(data: &str) -> Result<Vec<u8>, base64::DecodeError> {
    LENIENT.decode(data)
}

/// Encodes the payload field of a transport packet.
pub fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_decoded_only_where_it_is_base64() {
        assert_eq!(request_body("cGluZw=="), b"ping");
        assert_eq!(request_body(r#"{"agent":"rpcutil"}"#), br#"{"agent":"rpcutil"}"#);
        assert_eq!(request_body("cGluZw"), b"cGluZw", "padding is part of the encoding");
        assert_ne!(request_body("ping"), b"ping", "a bare ping is valid base64 of something else");
    }

    #[test]
    fn the_hash_covers_the_exact_text() {
        assert_eq!(
            reply_hash(
                r#"{"protocol":"choria:reply:1","message":"pong","envelope":{"requestid":"3f1c0a9b5d2e4f60818293a4b5c6d7e8","senderid":"node1.example.net","agent":"discovery","time":1760000000}}"#
            ),
            "ggc7vqfH0Sl5QUdsCTrI4XSVLeKcY99vi39XClbsB1g="
        );
    }
}
