//! Paths of the host as text: any bytes, in one line, readable back.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A path of the host, any bytes; as text, what a terminal or JSON cannot hold is escaped as `\xNN`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPath(pub PathBuf);

impl fmt::Display for HostPath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&escape(self.0.as_os_str()))
    }
}

/// Writes any bytes as one line of text that can be read back.
pub(crate) fn escape(bytes: &OsStr) -> String {
    let mut text = String::new();
    for chunk in bytes.as_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                c if c.is_control() => text.extend(c.to_string().bytes().map(|b| format!("\\x{b:02x}"))),
                c => text.push(c),
            }
        }
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text
}

/// The bytes that [`escape`] wrote down.
pub fn unescape(text: &str) -> OsString {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let hex = tail.strip_prefix(b"x").and_then(|tail| tail.get(..2));
        match (byte, tail.first(), hex.and_then(|hex| u8::from_str_radix(str::from_utf8(hex).ok()?, 16).ok()))
        {
            (b'\\', _, Some(value)) => {
                bytes.push(value);
                rest = &tail[3..];
            }
            (b'\\', Some(b'\\'), None) => {
                bytes.push(b'\\');
                rest = &tail[1..];
            }
            _ => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    OsString::from_vec(bytes)
}

impl Serialize for HostPath {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.to_string())
    }
}

impl<'de> Deserialize<'de> for HostPath {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(HostPath(PathBuf::from(unescape(&String::deserialize(from)?))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_survives_being_written_down() {
        for name in [&b"/etc/x"[..], b"/a\nb\x1b", b"/a\\x41", b"/\xff\xfe", "/ä".as_bytes()] {
            let path = HostPath(PathBuf::from(OsString::from_vec(name.to_vec())));
            let text = serde_json::to_string(&path).unwrap();
            assert_eq!(serde_json::from_str::<HostPath>(&text).unwrap(), path, "{text}");
        }
        assert_eq!(HostPath("/a\nb".into()).to_string(), "/a\\x0ab");
    }
}
