//! The mounts of this process, as `/proc/self/mountinfo` tells them (proc_pid_mountinfo(5)).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// One mount, as far as a sandbox has to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Kernel's number of the mount, unique in its namespace.
    pub(crate) id: u64,
    /// Which file system it shows, as `major:minor`.
    pub(crate) device: String,
    /// Which directory or file of that one.
    pub(crate) root: PathBuf,
    /// Where it is mounted.
    pub(crate) point: PathBuf,
    /// Type of the file system: `ext4`.
    pub(crate) kind: String,
    /// Whether the mount or its file system is read-only.
    pub(crate) read_only: bool,
    /// The mount options that a bind mount has to repeat: `nosuid`, `nodev`, `noexec`.
    pub(crate) options: Vec<String>,
}

impl Mount {
    /// The restrictions that a mount over this one has to repeat.
    pub(crate) fn restrictions(&self) -> Vec<String> {
        let known = |option: &&String| ["nosuid", "nodev", "noexec"].contains(&option.as_str());
        self.options.iter().filter(known).cloned().collect()
    }
}

/// Reads the text of a mountinfo file; lines that the kernel would never write are left out.
pub(crate) fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|&byte| byte == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<Mount> {
    let fields: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    let separator = fields.iter().position(|field| *field == b"-")?;
    let text = |at: usize| fields.get(at).map(|field| String::from_utf8_lossy(field).into_owned());
    let options: Vec<String> = text(5)?.split(',').map(str::to_owned).collect();
    let super_options = text(separator + 3).unwrap_or_default();
    let path = |at: usize| Some(PathBuf::from(OsString::from_vec(unescape(fields.get(at)?))));
    Some(Mount {
        id: text(0)?.parse().ok()?,
        device: text(2)?,
        root: path(3)?,
        point: path(4)?,
        kind: text(separator + 1)?,
        read_only: options.iter().any(|option| option == "ro")
            || super_options.split(',').any(|option| option == "ro"),
        options,
    })
}

/// Undoes the kernel's `\ooo` escapes of blank, tab, newline and backslash.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        let digits =
            tail.get(..3).filter(|digits| byte == b'\\' && digits.iter().all(|d| (b'0'..=b'7').contains(d)));
        match digits {
            Some(digits) => {
                plain.push(
                    digits.iter().fold(0u8, |value, digit| value.wrapping_mul(8).wrapping_add(digit - b'0')),
                );
                rest = &tail[3..];
            }
            None => {
                plain.push(byte);
                rest = tail;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn optional_fields_and_escapes_are_understood() {
        let text = b"36 35 98:0 /mnt1 /mnt/a\\040b rw,nosuid master:1 propagate_from:2 - ext3 /dev/root rw,errors=continue\n\
                     37 35 0:5 / /ro ro - squashfs x rw\n38 35 0:6 / /super rw - ext4 x ro\n";
        let mounts = parse(text);
        assert_eq!(mounts.len(), 3);
        assert_eq!(
            (mounts[0].id, mounts[0].point.to_str(), mounts[0].kind.as_str()),
            (36, Some("/mnt/a b"), "ext3")
        );
        assert_eq!((mounts[0].device.as_str(), mounts[0].root.to_str()), ("98:0", Some("/mnt1")));
        assert!(!mounts[0].read_only && mounts[0].options.contains(&"nosuid".to_owned()));
        assert!(mounts[1].read_only && mounts[2].read_only);
    }

    #[test]
    fn a_backslash_without_three_digits_stays() {
        assert_eq!(unescape(b"a\\b\\01"), b"a\\b\\01");
        assert_eq!(unescape(b"\\134\\012"), b"\\\n");
    }
}
