//! From a record's payload to the content: what a delta or a list of chunks refers to is read like any other object, within
//! bounds that no crafted chain can break.

use bytes::Bytes;

use crate::encoding::{self, ChunkList, Payload};
use crate::error::Error;
use crate::frame;
use crate::id::Id;
use crate::kind::Kind;
use crate::record::{HEADER_BYTES, Header};
use crate::shared::Shared;
use crate::splice;

/// Deltas on deltas up to this are followed. What is written stays far below it.
pub(crate) const CHAIN_MAX: u32 = 64;
/// Records that are looked at for one object: with several copies of each base a broken chain would else be tried in all ways.
const RECORDS_MAX: u32 = 4 * CHAIN_MAX;

/// Chunks of objects up to this are kept for the next read; those of larger ones would only push out the rest.
const SHARED_MAX_BYTES: u64 = 2 << 20;

/// What was needed so far to read one object.
pub(crate) struct Chain {
    /// Deltas between the object that was asked for and this one.
    pub(crate) depth: u32,
    records: u32,
}

impl Chain {
    pub(crate) fn new() -> Chain {
        Chain { depth: 0, records: 0 }
    }

    /// For a part of the object that was asked for.
    fn of_a_part() -> Chain {
        Chain { depth: 1, records: 0 }
    }

    /// Counts a record; `false` if there were too many.
    pub(crate) fn step(&mut self) -> bool {
        self.records += 1;
        self.records <= RECORDS_MAX && self.depth <= CHAIN_MAX
    }
}

/// Why a record gave no content.
pub(crate) enum Failure {
    /// The record is not what was written.
    Damaged,
    /// What it is made from is gone.
    Gone,
    /// Something else, said by the error.
    Other(Error),
}

impl Shared {
    /// The content of a whole record; the caller checks it against its id. O(content), and as much for each object of a chain.
    pub(crate) fn decode(
        &self,
        kind: Kind,
        header: &Header,
        mut record: Vec<u8>,
        place: &dyn Fn() -> String,
        chain: &mut Chain,
    ) -> std::result::Result<Bytes, Failure> {
        if header.domain != 0 {
            return Err(unknown(kind, header));
        }
        let payload = &record[HEADER_BYTES..];
        match encoding::parse(header.encoding, payload).map_err(|_| Failure::Damaged)? {
            None => Err(unknown(kind, header)),
            Some(Payload::Plain(_)) => Ok(Bytes::from(record).slice(HEADER_BYTES..)),
            Some(Payload::Zstd(frame)) => {
                let from = record.len() - frame.len();
                let decoded = frame::decompress(&mut record, from, &[]);
                decoded.map(Bytes::from).map_err(|_| Failure::Damaged)
            }
            Some(Payload::Delta(base, frame)) => {
                let from = record.len() - frame.len();
                let Some(content) = self.base(kind, &header.id, &base, place, chain)? else {
                    let what = format!("{kind} {}, a delta on {kind} {base}, which is missing,", header.id);
                    return Err(Failure::Other(Error::corrupt(what, place())));
                };
                let decoded = frame::decompress(&mut record, from, &content);
                // Versions are read one after the other more often than not, and this one's neighbour needs the same base.
                self.bases.insert(&base, content);
                decoded.map(Bytes::from).map_err(|_| Failure::Damaged)
            }
            Some(Payload::Splice(base, runs)) => {
                // Of garbage a collection may have removed the base and left the difference, which nothing needs and which is then as good
                // as gone. What lives keeps its base.
                let base_content = self.base(kind, &header.id, &base, place, chain)?;
                let content = base_content.ok_or(Failure::Gone)?;
                let spliced = splice::apply(runs, &content);
                self.bases.insert(&base, content);
                spliced.map(Bytes::from).map_err(|_| Failure::Damaged)
            }
            Some(Payload::Chunks(_)) if kind == Kind::Chunk => Err(Failure::Damaged),
            Some(Payload::Chunks(list)) => self.join(kind, &header.id, &list, place),
        }
    }

    /// The content of a base, `None` if it is not there.
    fn base(
        &self,
        kind: Kind,
        id: &Id,
        base: &Id,
        place: &dyn Fn() -> String,
        chain: &mut Chain,
    ) -> std::result::Result<Option<Bytes>, Failure> {
        let broken = |why: String| {
            let what = format!("{kind} {id}, a delta on {kind} {base}, {why},");
            Failure::Other(Error::corrupt(what, place()))
        };
        if chain.depth >= CHAIN_MAX {
            return Err(broken(format!("in a chain of more than {CHAIN_MAX}")));
        }
        chain.depth += 1;
        let found = self.read_known_within(kind, base, chain);
        chain.depth -= 1;
        match found {
            Ok(content) => Ok(content),
            Err(Error::Corrupt { .. }) => Err(broken("which cannot be read".to_owned())),
            Err(error) => Err(Failure::Other(error)),
        }
    }

    fn join(
        &self,
        kind: Kind,
        id: &Id,
        list: &ChunkList<'_>,
        place: &dyn Fn() -> String,
    ) -> std::result::Result<Bytes, Failure> {
        let mut content: Vec<u8> = Vec::new();
        for (chunk, length) in list.rows() {
            let broken = |why: &str| {
                let what = format!("{kind} {id}, made of {} {chunk}, {why},", Kind::Chunk);
                Failure::Other(Error::corrupt(what, place()))
            };
            let found = match self.read_known_within(Kind::Chunk, &chunk, &mut Chain::of_a_part()) {
                Ok(Some(found)) => found,
                Ok(None) => return Err(broken("which is missing")),
                Err(Error::Corrupt { .. }) => return Err(broken("which cannot be read")),
                Err(error) => return Err(Failure::Other(error)),
            };
            if found.len() != length as usize {
                return Err(broken("which has another length"));
            }
            if content.is_empty() {
                // Only when a first chunk was there: a list alone allocates nothing.
                let refused = || broken("for which there is no memory");
                content
                    .try_reserve_exact(list.plain_bytes as usize)
                    .map_err(|_| refused())?;
            }
            content.extend_from_slice(&found);
            if list.plain_bytes <= SHARED_MAX_BYTES {
                // Versions share most of their chunks.
                self.bases.insert(&chunk, found);
            }
        }
        Ok(Bytes::from(content))
    }
}

fn unknown(kind: Kind, header: &Header) -> Failure {
    let (encoding, domain, id) = (header.encoding, header.domain, header.id);
    Failure::Other(Error::UnsupportedFormat {
        found: format!("encoding {encoding}, domain {domain} of {kind} {id}"),
    })
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
