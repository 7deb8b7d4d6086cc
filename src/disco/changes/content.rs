//! What a file holds: its digest, and its text if it is short enough to be shown.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use md5::{Digest, Md5};
use rustix::fs::SeekFrom;

use crate::disco::changes::diff::LONGEST_TEXT;
use crate::disco::changes::hex;

/// From this length on, the digest is one of the blocks that hold something: a file may be far longer than any disk.
const MAY_BE_HOLLOW: u64 = 1 << 30;

/// Such a block, in bytes. How a file system lays its holes makes no difference.
const BLOCK: u64 = 64 << 10;

/// Reads a file from its beginning: the MD5 digest, and the content if it is no longer than what is shown.
///
/// The digest of a file of 1 GiB or more begins with `~`: it is the MD5 of the length and of every block that is not all
/// zeroes, each after its offset.
pub(crate) fn read(mut file: &File, length: u64) -> io::Result<(String, Option<Vec<u8>>)> {
    if length <= LONGEST_TEXT {
        let mut content = Vec::with_capacity(length as usize + 1);
        // What grows meanwhile is not read for ever.
        file.take(LONGEST_TEXT + 1).read_to_end(&mut content)?;
        return Ok((digest(&content), Some(content)));
    }
    if length >= MAY_BE_HOLLOW {
        return Ok((format!("~{}", hex(&digest_of_blocks(file, length)?)), None));
    }
    let mut digest = Md5::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((hex(&digest.finalize()), None));
        }
        digest.update(&buffer[..read]);
    }
}

/// The digest of a content that is short enough to be shown.
pub(crate) fn digest(content: &[u8]) -> String {
    hex(&Md5::digest(content))
}

fn digest_of_blocks(file: &File, length: u64) -> io::Result<[u8; 16]> {
    let mut digest = Md5::new();
    digest.update(length.to_le_bytes());
    let mut buffer = vec![0; BLOCK as usize];
    let mut at = 0;
    while let Some((start, end)) = next_data(file, at, length)? {
        at = start - start % BLOCK;
        while at < end {
            let wanted = (length - at).min(BLOCK) as usize;
            let block = &mut buffer[..wanted];
            let read = read_fully(file, block, at)?;
            if block[..read].iter().any(|byte| *byte != 0) {
                digest.update(at.to_le_bytes());
                digest.update(&block[..read]);
            }
            at += BLOCK;
        }
    }
    Ok(digest.finalize().into())
}

/// Where the next bytes lie that are not a hole, and where they end; none behind the last ones.
fn next_data(file: &File, at: u64, length: u64) -> io::Result<Option<(u64, u64)>> {
    if at >= length {
        return Ok(None);
    }
    match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(start) if start >= length => Ok(None),
        Ok(start) => Ok(Some((start, rustix::fs::seek(file, SeekFrom::Hole(start))?.min(length)))),
        Err(rustix::io::Errno::NXIO) => Ok(None),
        // A file system that knows no holes.
        Err(rustix::io::Errno::INVAL) => Ok(Some((at, length))),
        Err(errno) => Err(errno.into()),
    }
}

/// Reads until the buffer is full or the file ends.
fn read_fully(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], at + filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn sparse(length: u64, pieces: &[(u64, &[u8])]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(length).unwrap();
        for (at, bytes) in pieces {
            file.write_all_at(bytes, *at).unwrap();
        }
        file
    }

    #[test]
    fn a_short_file_is_told_with_its_md5() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"abc").unwrap();
        let file_again = file.try_clone().unwrap();
        rustix::fs::seek(&file, SeekFrom::Start(0)).unwrap();
        let (digest, content) = read(&file_again, 3).unwrap();
        assert_eq!(
            (digest.as_str(), content.as_deref()),
            ("900150983cd24fb0d6963f7d28e17f72", Some(&b"abc"[..]))
        );
    }

    #[test]
    fn a_hollow_file_is_known_by_what_is_in_it_wherever_its_holes_are() {
        const LENGTH: u64 = 1 << 42;
        let digest = |pieces: &[(u64, &[u8])]| read(&sparse(LENGTH, pieces), LENGTH).unwrap().0;
        let one = digest(&[(3 << 40, b"x")]);
        assert!(one.starts_with('~') && one.len() == 33, "{one}");
        assert_eq!(one, digest(&[(3 << 40, b"x"), (1 << 40, &[0; 200_000])]), "zeroes are as good as a hole");
        assert_ne!(one, digest(&[(3 << 40, b"y")]));
        assert_ne!(one, digest(&[((3 << 40) + 1, b"x")]));
        assert_ne!(one, digest(&[]));
        assert_ne!(
            read(&sparse(LENGTH, &[]), LENGTH).unwrap().0,
            read(&sparse(LENGTH + 1, &[]), LENGTH + 1).unwrap().0
        );
    }
}
