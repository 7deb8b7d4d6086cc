//! What a node publishes about itself on a schedule: the content of one file.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use crate::choria::security;

/// Largest file, in bytes, that is published; encoded twice it still fits a broker's message.
const LARGEST: u64 = 512 * 1024;

/// Why there is nothing to publish.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// The file cannot be read.
    #[error("cannot read registration data from {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// An empty file tells nothing.
    #[error("registration data in {} is empty", path.display())]
    Empty {
        /// Which file.
        path: PathBuf,
    },
    /// The file is larger than what is published.
    #[error("registration data in {} is larger than {LARGEST} bytes", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
    },
}

/// Publishes one file again and again, and remembers whether it changed.
#[derive(Debug)]
pub struct FileContent {
    path: PathBuf,
    published: Option<u64>,
}

#[derive(Serialize)]
struct Body<'a> {
    mtime: u64,
    file: &'a str,
    updated: bool,
    protocol: &'static str,
    zcontent: String,
}

impl FileContent {
    /// A file that was not published yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        FileContent { path: path.into(), published: None }
    }

    /// Reads the file and makes the body of a registration message, its content gzipped in base64.
    ///
    /// # Errors
    /// The file cannot be read, is empty or too large; nothing should be published then.
    pub fn next_body(&mut self) -> Result<String, RegistrationError> {
        let path = self.path.as_path();
        let unreadable = |source| RegistrationError::Read { path: path.to_owned(), source };
        let metadata = fs::metadata(path).map_err(unreadable)?;
        if metadata.len() > LARGEST {
            return Err(RegistrationError::TooLarge { path: path.to_owned() });
        }
        let content = fs::read(path).map_err(unreadable)?;
        if content.is_empty() {
            return Err(RegistrationError::Empty { path: path.to_owned() });
        }
        let modified = metadata.modified().map_err(unreadable)?;
        let mtime = modified.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let body = Body {
            mtime,
            file: path.file_name().and_then(|name| name.to_str()).unwrap_or_default(),
            updated: self.published.is_some_and(|before| mtime > before),
            protocol: "choria:registration:filecontent:1",
            zcontent: security::encode(&gzip(&content)),
        };
        self.published = Some(mtime);
        Ok(serde_json::to_string(&body).expect("the body holds only texts and numbers"))
    }
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content).and_then(|()| encoder.finish()).expect("writing to memory does not fail")
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::{Duration, SystemTime};

    use flate2::read::GzDecoder;
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_content_comes_back_and_a_newer_file_is_said_to_be_updated() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("facts.json");
        let mut registration = FileContent::new(&path);
        assert!(matches!(registration.next_body(), Err(RegistrationError::Read { .. })));
        fs::write(&path, "").unwrap();
        assert!(matches!(registration.next_body(), Err(RegistrationError::Empty { .. })));

        fs::write(&path, r#"{"rack":"a3"}"#).unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        let mut next = |age: u64| -> Value {
            file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
            serde_json::from_str(&registration.next_body().unwrap()).unwrap()
        };
        let first = next(100);
        assert_eq!(first["protocol"], "choria:registration:filecontent:1");
        assert_eq!(first["file"], "facts.json");
        assert_eq!(first["updated"], false);
        assert_eq!(next(100)["updated"], false);
        assert_eq!(next(50)["updated"], true);

        let zipped = security::transport_payload(first["zcontent"].as_str().unwrap()).unwrap();
        let mut content = String::new();
        GzDecoder::new(zipped.as_slice()).read_to_string(&mut content).unwrap();
        assert_eq!(content, r#"{"rack":"a3"}"#);
    }
}
