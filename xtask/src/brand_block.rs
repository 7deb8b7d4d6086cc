//! The block of a brand in a finished binary: found, read, written anew. `src/brand.rs` of the product says what it is.

use anyhow::{Result, bail, ensure};

/// What a block opens with.
const MAGIC: [u8; 16] = *b"\xd1\x5c0 brand block\x01";

/// Bytes before the records: the magic, capacity, used bytes.
const HEAD: usize = MAGIC.len() + 8;

/// What is left free for values of other brands, at least.
const SPARE: usize = 6 * 1024;

/// Sizes are multiples of this.
const STEP: usize = 8 * 1024;

/// How large the block of a brand with these values is made.
pub(crate) fn size_for(values: &[(&'static str, String)]) -> usize {
    let used: usize = values.iter().map(|(name, value)| 8 + name.len() + value.len()).sum();
    (HEAD + used + SPARE).next_multiple_of(STEP)
}

/// A block and where it lies in its binary.
pub(crate) struct Block {
    /// First byte of the records.
    at: usize,
    capacity: usize,
    /// Names and values in their order.
    pub(crate) records: Vec<(String, String)>,
}

impl Block {
    /// Finds the one block of a binary and reads it.
    pub(crate) fn find(binary: &[u8]) -> Result<Self> {
        let places: Vec<usize> = memchr::memmem::find_iter(binary, &MAGIC).collect();
        let [start] = places[..] else {
            bail!("it has {} brand blocks, where a binary of `cargo xtask build` has one", places.len());
        };
        let mut rest = &binary[start + MAGIC.len()..];
        let (capacity, used) = (length(&mut rest)?, length(&mut rest)?);
        ensure!(used <= capacity && capacity <= rest.len(), "its brand block is damaged: it ends early");
        let mut records = Vec::new();
        let mut rest = &rest[..used];
        while !rest.is_empty() {
            records.push((text(&mut rest)?, text(&mut rest)?));
        }
        Ok(Block { at: start + HEAD, capacity, records })
    }

    /// The value of a name.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.records.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The binary with these records in place of what the block says.
    pub(crate) fn replaced(&self, binary: &[u8], records: &[(String, String)]) -> Result<Vec<u8>> {
        let mut content = Vec::with_capacity(self.capacity);
        for text in records.iter().flat_map(|(name, value)| [name, value]) {
            content.extend(u32::try_from(text.len())?.to_le_bytes());
            content.extend(text.as_bytes());
        }
        ensure!(
            content.len() <= self.capacity,
            "the values need {} bytes, and its brand block has room for {}",
            content.len(),
            self.capacity
        );
        let used = u32::try_from(content.len())?.to_le_bytes();
        content.resize(self.capacity, 0);
        let mut patched = binary.to_vec();
        patched[self.at - used.len()..self.at].copy_from_slice(&used);
        patched[self.at..self.at + self.capacity].copy_from_slice(&content);
        Ok(patched)
    }
}

fn length(rest: &mut &[u8]) -> Result<usize> {
    let Some((length, after)) = rest.split_first_chunk::<4>() else {
        bail!("its brand block is damaged: it ends within a record");
    };
    *rest = after;
    Ok(u32::from_le_bytes(*length) as usize)
}

fn text(rest: &mut &[u8]) -> Result<String> {
    let length = length(rest)?;
    let Some((text, after)) = rest.split_at_checked(length) else {
        bail!("its brand block is damaged: it ends within a record");
    };
    *rest = after;
    match str::from_utf8(text) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => bail!("its brand block is damaged: a value is not UTF-8"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A binary with a block of this room, as the product writes it.
    fn binary(room: u32, records: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x7fELF before".to_vec();
        bytes.extend(MAGIC);
        bytes.extend(room.to_le_bytes());
        bytes.extend(u32::try_from(records.len()).unwrap().to_le_bytes());
        bytes.extend(records);
        bytes.resize(bytes.len() + room as usize - records.len(), 0);
        bytes.extend(b"after");
        bytes
    }

    fn records(values: &[(&str, &str)]) -> Vec<(String, String)> {
        values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else_moves() {
        let before = binary(40, b"\x01\0\0\0A\x02\0\0\0xy");
        let block = Block::find(&before).unwrap();
        assert_eq!(block.records, records(&[("A", "xy")]));
        assert_eq!(block.value("A"), Some("xy"));
        let after = block.replaced(&before, &records(&[("A", "longer"), ("B", "")])).unwrap();
        assert_eq!(Block::find(&after).unwrap().records, records(&[("A", "longer"), ("B", "")]));
        assert_eq!(after.len(), before.len());
        assert!(after.starts_with(b"\x7fELF before") && after.ends_with(b"after"));
        let back = block.replaced(&after, &block.records).unwrap();
        assert_eq!(back, before, "a shorter value leaves nothing of a longer one behind");
    }

    #[test]
    fn what_is_no_block_or_does_not_fit_is_refused() {
        let said = |binary: &[u8]| Block::find(binary).err().unwrap().to_string();
        assert_eq!(said(b"\x7fELF"), "it has 0 brand blocks, where a binary of `cargo xtask build` has one");
        let one = binary(20, b"\x01\0\0\0A\0\0\0\0");
        assert!(said(&[one.clone(), one.clone()].concat()).starts_with("it has 2 brand blocks"));
        assert_eq!(said(&binary(20, b"\x09\0\0\0A")), "its brand block is damaged: it ends within a record");
        assert_eq!(said(&one[..one.len() - 8]), "its brand block is damaged: it ends early");
        let block = Block::find(&one).unwrap();
        assert_eq!(
            block.replaced(&one, &records(&[("A", "0123456789abc")])).unwrap_err().to_string(),
            "the values need 22 bytes, and its brand block has room for 20"
        );
    }

    #[test]
    fn a_block_has_room_for_other_brands() {
        let small = vec![("A", String::new())];
        assert_eq!(size_for(&small), STEP);
        let large = vec![("A", "x".repeat(STEP))];
        assert!(size_for(&large) >= HEAD + 9 + STEP + SPARE);
    }
}
