//! `gencsr`: a new key that stays on the node, and a request for a certificate over it.
//!
//! Every call makes a new pair. Both files are written beside their places, synced and renamed, so that a crash leaves
//! whole files; the key goes first, because a request without its key would be worthless.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rcgen::string::PrintableString;
use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair, PKCS_RSA_SHA256};
use rsa::RsaPrivateKey;
use rsa::pkcs1::der::pem::PemLabel;
use rsa::pkcs1::{EncodeRsaPrivateKey, EncodeRsaPublicKey, LineEnding};
use rsa::pkcs8::EncodePrivateKey;
use rsa::rand_core::OsRng;
use serde_json::json;
use tempfile::NamedTempFile;

use super::{LONGEST_TOKEN, Order};
use crate::choria::agents::{Outcome, Refusal};

/// Its name on the wire.
pub(super) const ACTION: &str = "gencsr";

/// Size of the key in bits; what the reference makes.
const KEY_BITS: usize = 2048;

/// Mode of the directory: others may pass through, but not list.
const DIRECTORY_MODE: u32 = 0o771;

/// Why there is no new key or request. What was there before is left as it was, unless only the request failed.
#[derive(Debug, thiserror::Error)]
enum GenCsrError {
    #[error("cannot make a key")]
    Key(#[from] rsa::Error),
    #[error("cannot encode the key")]
    EncodePkcs1(#[from] rsa::pkcs1::Error),
    #[error("cannot encode the key")]
    EncodePkcs8(#[from] rsa::pkcs8::Error),
    #[error("cannot encode the public key")]
    EncodePem(#[from] rsa::pkcs1::der::Error),
    #[error("cannot make a request for a certificate")]
    Request(#[from] rcgen::Error),
    #[error("cannot write {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// The subject's parts as they were asked for.
struct Parts<'a> {
    country: Option<&'a str>,
    organization: Option<&'a str>,
    unit: Option<&'a str>,
    locality: Option<&'a str>,
    state: Option<&'a str>,
    common_name: &'a str,
}

/// Runs the action. Blocks: makes an RSA key, and may stretch a token.
pub(super) fn run(order: &Order) -> Outcome {
    let text = |name, longest, has_shape| order.checked_text(ACTION, name, longest, has_shape);
    text("token", LONGEST_TOKEN, |_| true)?;
    let parts = Parts {
        common_name: text("cn", 80, is_host_name)?.unwrap_or(&order.identity),
        country: text("C", 2, is_country)?,
        organization: text("O", 50, is_words)?,
        unit: text("OU", 50, is_words)?,
        locality: text("L", 50, is_words)?,
        state: text("ST", 50, is_words)?,
    };
    order.check_token()?;

    let directory = &order.context.ssl_directory;
    match generate(directory, &parts) {
        Ok((csr, public_key)) => {
            let journal = &order.context.journal;
            journal.info(&format!("made a key and a certificate request for {}", order.requester));
            Ok(json!({"csr": csr, "public_key": public_key, "ssldir": directory.to_string_lossy()}))
        }
        Err(error) => {
            let cause =
                std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            order.context.journal.error(&format!("gencsr: {error}{cause}"));
            // The system's own words are for the node's log; the network learns which step failed.
            Err(Refusal::aborted(format!("Could not create a CSR: {error}")))
        }
    }
}

/// Makes both files and returns the request and the public key in PEM.
fn generate(directory: &Path, parts: &Parts<'_>) -> Result<(String, String), GenCsrError> {
    let key = RsaPrivateKey::new(&mut OsRng, KEY_BITS)?;
    let csr = request(&key, parts)?;
    let private_pem = key.to_pkcs1_pem(LineEnding::LF)?;
    // PKCS#1 content under the label of the other format: what the reference hands out, and helpers expect.
    let public_key =
        key.to_public_key().to_pkcs1_der()?.to_pem(SubjectPublicKey::PEM_LABEL, LineEnding::LF)?;

    make_directory(directory)?;
    replace(&directory.join("private.pem"), private_pem.as_bytes(), 0o600)?;
    replace(&directory.join("csr.pem"), csr.as_bytes(), 0o644)?;
    let unsynced = |source| GenCsrError::Write { path: directory.to_owned(), source };
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(unsynced)?;
    Ok((csr, public_key))
}

struct SubjectPublicKey;

impl PemLabel for SubjectPublicKey {
    const PEM_LABEL: &'static str = "PUBLIC KEY";
}

fn request(key: &RsaPrivateKey, parts: &Parts<'_>) -> Result<String, GenCsrError> {
    let pkcs8 = key.to_pkcs8_der()?;
    let signer = KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8.as_bytes().into(), &PKCS_RSA_SHA256)?;
    let mut name = DistinguishedName::new();
    if let Some(country) = parts.country {
        // X.520 wants this one printable; everything else is UTF-8.
        name.push(DnType::CountryName, DnValue::PrintableString(PrintableString::try_from(country)?));
    }
    let rest = [
        (DnType::OrganizationName, parts.organization),
        (DnType::OrganizationalUnitName, parts.unit),
        (DnType::LocalityName, parts.locality),
        (DnType::StateOrProvinceName, parts.state),
        (DnType::CommonName, Some(parts.common_name)),
    ];
    for (part, text) in rest {
        if let Some(text) = text {
            name.push(part, text);
        }
    }
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    Ok(params.serialize_request(&signer)?.pem()?.replace("\r\n", "\n"))
}

fn make_directory(directory: &Path) -> Result<(), GenCsrError> {
    let failed = |source| GenCsrError::Write { path: directory.to_owned(), source };
    match DirBuilder::new().mode(DIRECTORY_MODE).create(directory) {
        // The process's mask may have taken bits away.
        Ok(()) => fs::set_permissions(directory, Permissions::from_mode(DIRECTORY_MODE)).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(directory.parent().unwrap_or(Path::new("/"))).map_err(failed)?;
            make_directory(directory)
        }
        Err(error) => Err(failed(error)),
    }
}

fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), GenCsrError> {
    let failed = |source| GenCsrError::Write { path: path.to_owned(), source };
    // Temporary files are born with mode 0600, so a key is never readable by others, not even for an instant.
    let mut file =
        NamedTempFile::new_in(path.parent().expect("the file lies in a directory")).map_err(failed)?;
    file.write_all(content).map_err(failed)?;
    file.as_file().set_permissions(Permissions::from_mode(mode)).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

fn is_country(text: &str) -> bool {
    text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// Word characters, white space and hyphens, as the interface description has it; its `\w` and `\s` are ASCII.
fn is_words(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b' ' | b'\t'))
}

/// Labels of letters, digits and inner hyphens, separated by dots.
fn is_host_name(text: &str) -> bool {
    text.split('.').all(|label| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_of_inputs_are_those_of_the_interface_description() {
        assert!(is_country("NL") && !is_country("nl") && !is_country("NLD") && !is_country("N"));
        assert!(is_words("Site Reliability-2_x") && !is_words("a,b") && !is_words("a\nb") && !is_words("é"));
        assert!(is_host_name("node1.example.net") && is_host_name("node1"));
        for bad in ["", "a..b", "-a", "a-", "a b", "a/b", "*.b", ".a", "a_b"] {
            assert!(!is_host_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn the_directory_and_both_files_have_the_modes_of_the_reference() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("etc/ssl");
        let parts = Parts {
            country: Some("NL"),
            organization: Some("Acme"),
            unit: None,
            locality: None,
            state: Some("Noord-Holland"),
            common_name: "node1.example.net",
        };
        let (csr, public_key) = generate(&directory, &parts).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&directory), 0o771);
        assert_eq!(mode(&directory.join("private.pem")), 0o600);
        assert_eq!(mode(&directory.join("csr.pem")), 0o644);
        assert_eq!(fs::read_to_string(directory.join("csr.pem")).unwrap(), csr);
        assert!(csr.starts_with("-----BEGIN CERTIFICATE REQUEST-----\n") && csr.ends_with('\n'));
        assert!(public_key.starts_with("-----BEGIN PUBLIC KEY-----\n"));
        let key = fs::read_to_string(directory.join("private.pem")).unwrap();
        assert!(key.starts_with("-----BEGIN RSA PRIVATE KEY-----\n"));

        let (second, _) = generate(&directory, &parts).unwrap();
        assert_ne!(csr, second, "every call makes a new key");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 2, "a temporary file stayed behind");
    }
}
