//! Writing a pack as it goes over the wire: whole objects, and entries that another pack holds in the form they are wanted in.
//!
//! Source: gitformat-pack(5). Nothing is remembered but the running hash and the offset; who needs an index makes one of what arrives.

use crate::object::ObjectKind;
use crate::oid::{Hasher, ObjectFormat, Oid};
use crate::pack_entry::write_entry_header;
use crate::zlib::Deflater;

/// What a copied delta is based on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// The entry at this offset of the same pack.
    At(u64),
    /// The object of this name, here or at the receiver.
    Named(Oid),
}

/// A pack being written.
pub struct PackStream {
    hasher: Hasher,
    deflater: Deflater,
    offset: u64,
    left: u32,
}

impl std::fmt::Debug for PackStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PackStream")
            .field("offset", &self.offset)
            .field("left", &self.left)
            .finish()
    }
}

impl PackStream {
    /// Starts a pack of `count` objects; what is not copied is deflated at `level` (0 to 9).
    pub fn new(format: ObjectFormat, count: u32, level: u32, out: &mut Vec<u8>) -> Self {
        let start = out.len();
        out.extend_from_slice(b"PACK\0\0\0\x02");
        out.extend_from_slice(&count.to_be_bytes());
        let mut hasher = Hasher::new(format);
        hasher.update(out.get(start..).unwrap_or_default());
        PackStream {
            hasher,
            deflater: Deflater::new(level),
            offset: 12,
            left: count,
        }
    }

    /// Where the next entry begins.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// How many objects of those announced are not written yet.
    #[must_use]
    pub fn left(&self) -> u32 {
        self.left
    }

    /// Writes an object whole.
    pub fn whole(&mut self, kind: ObjectKind, content: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        write_entry_header(kind, content.len() as u64, out);
        out.extend_from_slice(&self.deflater.deflate(&[content]));
        self.wrote(start, out);
    }

    /// Copies an object that is deflated already; `size` is that of its content.
    pub fn copied(&mut self, kind: ObjectKind, size: u64, deflated: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        write_entry_header(kind, size, out);
        out.extend_from_slice(deflated);
        self.wrote(start, out);
    }

    /// Writes an object as a delta of another one.
    pub fn delta(&mut self, base: Base, delta: &[u8], out: &mut Vec<u8>) {
        let deflated = self.deflater.deflate(&[delta]);
        self.copied_delta(base, delta.len() as u64, &deflated, out);
    }

    /// Copies a delta that is deflated already; `size` is that of the delta.
    pub fn copied_delta(&mut self, base: Base, size: u64, deflated: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        match base {
            Base::At(offset) => {
                write_type_and_size(6, size, out);
                write_distance(self.offset.saturating_sub(offset), out);
            }
            Base::Named(oid) => {
                write_type_and_size(7, size, out);
                out.extend_from_slice(oid.as_bytes());
            }
        }
        out.extend_from_slice(deflated);
        self.wrote(start, out);
    }

    fn wrote(&mut self, start: usize, out: &[u8]) {
        let entry = out.get(start..).unwrap_or_default();
        self.hasher.update(entry);
        self.offset += entry.len() as u64;
        self.left = self.left.saturating_sub(1);
    }

    /// Ends the pack with its hash.
    pub fn finish(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.hasher.finish().as_bytes());
    }
}

/// The checksum of an entry as pack indexes have it.
#[must_use]
pub fn crc32(entry: &[u8]) -> u32 {
    crc32fast::hash(entry)
}

fn write_type_and_size(code: u8, size: u64, out: &mut Vec<u8>) {
    let mut byte = code << 4 | (size & 0x0f) as u8;
    let mut rest = size >> 4;
    while rest > 0 {
        out.push(byte | 0x80);
        byte = (rest & 0x7f) as u8;
        rest >>= 7;
    }
    out.push(byte);
}

/// The way back to a delta's base: base 128, high bits first, one added at each continuation.
fn write_distance(mut distance: u64, out: &mut Vec<u8>) {
    let mut bytes = [0u8; 10];
    let mut at = bytes.len() - 1;
    bytes[at] = (distance & 0x7f) as u8;
    distance >>= 7;
    while distance > 0 && at > 0 {
        distance -= 1;
        at -= 1;
        if let Some(byte) = bytes.get_mut(at) {
            *byte = 0x80 | (distance & 0x7f) as u8;
        }
        distance >>= 7;
    }
    out.extend_from_slice(bytes.get(at..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack_entry::{EntryKind, parse_entry_header};

    #[test]
    fn distances_are_read_as_they_were_written() {
        for distance in [1, 127, 128, 129, 255, 16_511, 16_512, 1 << 20, (1 << 40) + 12_345] {
            let mut out = Vec::new();
            write_type_and_size(6, 300, &mut out);
            write_distance(distance, &mut out);
            out.push(0);
            let offset = distance + 12;
            let header = parse_entry_header(ObjectFormat::Sha1, &out, offset).unwrap();
            assert_eq!((header.kind, header.size), (EntryKind::OfsDelta(12), 300), "{distance}");
        }
    }
}
