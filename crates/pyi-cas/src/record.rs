//! One stored object: 48 bytes of header, the payload, zeros up to a multiple of eight. A record describes itself, so
//! that a segment without an index can be read, and knows its place, so that a misdirected write is found.

use crate::bytes_le::{array_at, set_at, u16_at, u32_at};
use crate::id::Id;
use crate::kind::Kind;

/// Bytes of a record's header.
pub(crate) const HEADER_BYTES: usize = 48;
/// Encoding of a payload that is the content itself.
pub(crate) const PLAIN: u8 = 0;
/// Where a segment must end at the latest: positions are 32-bit counts of eight bytes.
pub(crate) const SEGMENT_MAX_BYTES: u64 = 32 << 30;

/// The fields of a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    pub(crate) crc: u32,
    pub(crate) length: u32,
    pub(crate) kind: u8,
    pub(crate) encoding: u8,
    pub(crate) domain: u16,
    pub(crate) position: u32,
    pub(crate) id: Id,
}

impl Header {
    /// Reads the fields; `bytes` holds at least a header.
    pub(crate) fn decode(bytes: &[u8]) -> Header {
        Header {
            crc: u32_at(bytes, 0),
            length: u32_at(bytes, 4),
            kind: bytes[8],
            encoding: bytes[9],
            domain: u16_at(bytes, 10),
            position: u32_at(bytes, 12),
            id: Id(array_at(bytes, 16)),
        }
    }

    /// Whether a record at `offset` may look like this: a cheap test before the checksum.
    pub(crate) fn fits(&self, offset: u64, available: u64) -> bool {
        u64::from(self.position) == offset / 8
            && self.kind != 0
            && HEADER_BYTES as u64 + u64::from(self.length) <= available
    }

    /// Bytes of the whole record with its padding.
    pub(crate) fn record_bytes(&self) -> u64 {
        padded(HEADER_BYTES as u64 + u64::from(self.length))
    }
}

/// Next multiple of eight.
pub(crate) fn padded(bytes: u64) -> u64 {
    bytes.next_multiple_of(8)
}

/// Appends a record without position and checksum, which are not known before the commit.
pub(crate) fn encode_into(buffer: &mut Vec<u8>, kind: u8, encoding: u8, id: &Id, payload: &[u8], length: u32) {
    let mut header = [0u8; HEADER_BYTES];
    set_at(&mut header, 4, &length.to_le_bytes());
    header[8] = kind;
    header[9] = encoding;
    set_at(&mut header, 16, &id.0);
    buffer.extend_from_slice(&header);
    buffer.extend_from_slice(payload);
    buffer.resize(buffer.len().next_multiple_of(8), 0);
}

/// Sets position and checksum of the record at the start of `record`, which will stand at `offset`. One pass over it.
pub(crate) fn finish(record: &mut [u8], length: u32, offset: u64) {
    // Segments end below 32 GiB, so the quotient fits.
    set_at(record, 12, &((offset / 8) as u32).to_le_bytes());
    let crc = crc32c::crc32c(&record[4..HEADER_BYTES + length as usize]);
    set_at(record, 0, &crc.to_le_bytes());
}

/// Whether the bytes (header and payload) are a whole record at `offset`.
pub(crate) fn is_whole(bytes: &[u8], header: &Header, offset: u64) -> bool {
    header.fits(offset, bytes.len() as u64)
        && crc32c::crc32c(&bytes[4..HEADER_BYTES + header.length as usize]) == header.crc
}

/// What a plain record with a damaged header is, if its payload proves it: the payload has the id that the header names, or the checksum fits
/// with the id (and kind) that the payload has. One hash for each kind.
pub(crate) fn proven(record: &[u8]) -> Option<(Kind, Id)> {
    let header = Header::decode(record);
    let payload = record.get(HEADER_BYTES..HEADER_BYTES + header.length as usize)?;
    Kind::ALL.into_iter().find_map(|kind| {
        let id = kind.id_of(payload);
        let mut head = [0u8; HEADER_BYTES];
        head.copy_from_slice(&record[..HEADER_BYTES]);
        head[8] = kind as u8;
        set_at(&mut head, 16, &id.0);
        let fits = crc32c::crc32c_append(crc32c::crc32c(&head[4..]), payload) == header.crc;
        (fits || id == header.id).then_some((kind, id))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_flipped_bit_is_seen(payload in proptest::collection::vec(any::<u8>(), 0..100), place in any::<prop::sample::Index>(), bit in 0u8..8) {
            let id = Id([9; 32]);
            let mut bytes = Vec::new();
            encode_into(&mut bytes, 1, PLAIN, &id, &payload, payload.len() as u32);
            prop_assert_eq!(bytes.len() % 8, 0);
            finish(&mut bytes, payload.len() as u32, 64);
            let header = Header::decode(&bytes);
            prop_assert!(is_whole(&bytes, &header, 64));
            prop_assert!(!is_whole(&bytes, &header, 72));
            prop_assert_eq!(header.record_bytes() as usize, bytes.len());
            let used = HEADER_BYTES + payload.len();
            bytes[place.index(used)] ^= 1 << bit;
            let header = Header::decode(&bytes);
            prop_assert!(!is_whole(&bytes, &header, 64));
        }
    }
}
