//! How a payload stands for its content: compressed, as a difference to another object, or as a list of chunks. Bytes to
//! parts and back, nothing more: `frame` knows zstd, and whoever reads (`decode`) knows where other objects are.

use crate::bytes_le::{Cursor, array_at, u32_at};
use crate::chunker::CHUNK_MAX_BYTES;
use crate::id::Id;

/// A zstd frame without its magic number.
pub(crate) const ZSTD: u8 = 1;
/// The id of another object of the same kind, then a zstd frame without its magic number and with that object's content as its
/// dictionary.
pub(crate) const DELTA: u8 = 2;
/// A u64 with the plain length, then for each chunk its id and a u32 with its length.
pub(crate) const CHUNKS: u8 = 3;
/// The id of another object of the same kind, then how to make the content from that one's ([`crate::splice`]).
pub(crate) const SPLICE: u8 = 4;

/// Bytes of a row of a list of chunks.
const ROW_BYTES: usize = 36;
/// Contents end below 4 GiB, however they are stored.
pub(crate) const CONTENT_MAX_BYTES: u64 = u32::MAX as u64;

/// Why a payload is not one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Malformed;

/// A payload, taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Payload<'a> {
    Plain(&'a [u8]),
    /// What follows the frame's magic number.
    Zstd(&'a [u8]),
    /// The base, and what follows the frame's magic number.
    Delta(Id, &'a [u8]),
    /// The base, and the runs.
    Splice(Id, &'a [u8]),
    Chunks(ChunkList<'a>),
}

/// Takes a payload apart; `Ok(None)` for an encoding that this version does not know. O(chunks).
pub(crate) fn parse(encoding: u8, payload: &[u8]) -> Result<Option<Payload<'_>>, Malformed> {
    let mut cursor = Cursor(payload);
    let parsed = match encoding {
        crate::record::PLAIN => Payload::Plain(payload),
        ZSTD => Payload::Zstd(payload),
        DELTA => Payload::Delta(Id(cursor.array().ok_or(Malformed)?), cursor.0),
        CHUNKS => Payload::Chunks(ChunkList::parse(payload)?),
        SPLICE => Payload::Splice(Id(cursor.array().ok_or(Malformed)?), cursor.0),
        _ => return Ok(None),
    };
    Ok(Some(parsed))
}

/// A payload with encoding [`DELTA`].
pub(crate) fn delta_payload(base: &Id, frame: &[u8]) -> Vec<u8> {
    [&base.0[..], frame].concat()
}

/// A list of chunks, checked: it has rows, and their lengths are possible and come to that of the whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ChunkList<'a> {
    /// Length of the whole content.
    pub(crate) plain_bytes: u64,
    rows: &'a [u8],
}

impl<'a> ChunkList<'a> {
    fn parse(payload: &'a [u8]) -> Result<ChunkList<'a>, Malformed> {
        let mut cursor = Cursor(payload);
        let plain_bytes = cursor.u64().ok_or(Malformed)?;
        let list = ChunkList {
            plain_bytes,
            rows: cursor.0,
        };
        let mut sum = 0u64;
        for (_, length) in list.rows() {
            if length == 0 || length as usize > CHUNK_MAX_BYTES {
                return Err(Malformed);
            }
            sum += u64::from(length);
        }
        let whole = list.rows.len().is_multiple_of(ROW_BYTES) && sum == plain_bytes && sum <= CONTENT_MAX_BYTES;
        if whole && sum > 0 { Ok(list) } else { Err(Malformed) }
    }

    /// Id and length of each chunk, in order.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (Id, u32)> + use<'a> {
        self.rows
            .chunks_exact(ROW_BYTES)
            .map(|row| (Id(array_at(row, 0)), u32_at(row, 32)))
    }

    /// The payload of these chunks.
    pub(crate) fn encode(chunks: &[(Id, u32)]) -> Vec<u8> {
        let sum: u64 = chunks.iter().map(|(_, length)| u64::from(*length)).sum();
        let mut payload = Vec::with_capacity(8 + chunks.len() * ROW_BYTES);
        payload.extend_from_slice(&sum.to_le_bytes());
        for (id, length) in chunks {
            payload.extend_from_slice(&id.0);
            payload.extend_from_slice(&length.to_le_bytes());
        }
        payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lists_that_do_not_add_up_are_refused() {
        let rows = [(Id([1; 32]), 5), (Id([2; 32]), CHUNK_MAX_BYTES as u32)];
        let good = ChunkList::encode(&rows);
        let list = ChunkList::parse(&good).unwrap();
        assert_eq!(list.plain_bytes, 5 + CHUNK_MAX_BYTES as u64);
        assert_eq!(list.rows().collect::<Vec<_>>(), rows);
        for wrong in [
            ChunkList::encode(&[]),
            ChunkList::encode(&[(Id([1; 32]), 0)]),
            ChunkList::encode(&[(Id([1; 32]), CHUNK_MAX_BYTES as u32 + 1)]),
            good[..good.len() - 1].to_vec(),
            [&good[..], &[0]].concat(),
            [&[6], &good[1..]].concat(),
            good[..7].to_vec(),
        ] {
            assert_eq!(ChunkList::parse(&wrong), Err(Malformed));
        }
    }

    #[test]
    fn payloads_come_apart_as_they_were_put_together() {
        let base = Id([7; 32]);
        let payload = delta_payload(&base, b"frame");
        let delta = parse(DELTA, &payload);
        assert_eq!(delta, Ok(Some(Payload::Delta(base, b"frame"))));
        assert_eq!(delta_payload(&base, b"frame"), [&[7; 32][..], b"frame"].concat());
        assert_eq!(parse(ZSTD, b"frame"), Ok(Some(Payload::Zstd(b"frame"))));
        assert_eq!(parse(DELTA, &[0; 31]), Err(Malformed));
        assert_eq!(
            (parse(0, b"x"), parse(5, b"x")),
            (Ok(Some(Payload::Plain(b"x"))), Ok(None))
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_apart_without_a_panic(encoding in 0u8..7, payload in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(encoding, &payload);
        }
    }
}
