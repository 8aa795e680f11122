//! Objects on their way into the store: one contiguous buffer of encoded records, so that a commit is one write. What
//! depends on the place in the segment (position, checksum) is filled in at the commit.

use crate::chunker;
use crate::encoding::{CHUNKS, ChunkList, SPLICE};
use crate::error::{Error, Result};
use crate::id::{Id, IdSet};
use crate::kind::Kind;
use crate::record::{self, HEADER_BYTES, PLAIN};
use crate::splice::Splice;

/// Largest batch: half of the largest segment, so that a batch always fits into a new one.
const BATCH_MAX_BYTES: u64 = record::SEGMENT_MAX_BYTES / 2;

/// A record within the buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) id: Id,
    pub(crate) at: u64,
    pub(crate) length: u32,
    pub(crate) kind: Kind,
    pub(crate) encoding: u8,
}

/// Records to be committed together. Put what is referred to before what refers to it: a reader that finds a record
/// relies on everything before it. Reuse a batch to reuse its memory.
#[derive(Clone, Default, Debug)]
pub struct Batch {
    buffer: Vec<u8>,
    entries: Vec<Entry>,
    known: IdSet,
    /// For payloads that are made before they are put.
    scratch: Vec<u8>,
    splice: Splice,
}

impl Batch {
    /// An empty batch. O(1).
    pub fn new() -> Batch {
        Batch::default()
    }

    /// An empty batch with room for so many bytes of records. O(1).
    pub fn with_capacity(bytes: usize) -> Batch {
        Batch {
            buffer: Vec::with_capacity(bytes),
            ..Batch::default()
        }
    }

    /// Adds an object whose id the caller has computed with [`Kind::id_of`]; one that is in the batch already is not
    /// added again. Errors: `InvalidArgument` for 4 GiB or more. O(length), one copy, no hashing.
    pub fn put(&mut self, kind: Kind, id: &Id, content: &[u8]) -> Result<()> {
        self.put_encoded(kind, PLAIN, id, content)
    }

    /// As [`Batch::put`], but a content above 256 KB is stored as chunks, cut where the content says so: those that neither
    /// the store (`known`) nor the batch has, and a list of all. A change of one byte then costs about one chunk. Errors as
    /// [`Batch::put`]; nothing is added then. O(length); large contents are hashed once more, in chunks.
    pub fn put_chunked(&mut self, kind: Kind, id: &Id, content: &[u8], known: &dyn Fn(&Id) -> bool) -> Result<()> {
        if content.len() <= chunker::CHUNKED_ABOVE_BYTES {
            return self.put(kind, id, content);
        }
        // At least an eighth more than the content, so that no put below fails half-way.
        self.check_room(kind, content.len(), content.len() / 8)?;
        if self.contains(id) {
            return Ok(());
        }
        let mut list = Vec::with_capacity(content.len() / chunker::CHUNK_MIN_BYTES + 1);
        for chunk in chunker::chunks(content) {
            let chunk_id = Kind::Chunk.id_of(chunk);
            // Chunks are far shorter than 4 GiB.
            list.push((chunk_id, chunk.len() as u32));
            if !known(&chunk_id) {
                self.put(Kind::Chunk, &chunk_id, chunk)?;
            }
        }
        self.put_encoded(kind, CHUNKS, id, &ChunkList::encode(&list))
    }

    /// An empty splice whose memory is kept for the next one; [`Batch::put_spliced`] takes it back. O(1).
    pub fn take_splice(&mut self) -> Splice {
        let mut splice = std::mem::take(&mut self.splice);
        splice.clear();
        splice
    }

    /// Takes back a splice that was not used. O(1).
    pub fn give_splice(&mut self, splice: Splice) {
        self.splice = splice;
    }

    /// As [`Batch::put`], but stored as what differs from `base`, an object of the same kind that must stand by itself in the store
    /// ([`crate::ObjectStore::stands_alone_hint`]). Errors as [`Batch::put`]. O(payload).
    pub fn put_spliced(&mut self, kind: Kind, id: &Id, base: &Id, mut splice: Splice) -> Result<()> {
        self.scratch.clear();
        splice.payload(base, &mut self.scratch);
        let payload = std::mem::take(&mut self.scratch);
        let put = self.put_encoded(kind, SPLICE, id, &payload);
        self.scratch = payload;
        self.splice = splice;
        put
    }

    /// Adds a record with a payload that stands for the content in the way of `encoding`.
    pub(crate) fn put_encoded(&mut self, kind: Kind, encoding: u8, id: &Id, payload: &[u8]) -> Result<()> {
        let length = self.check_room(kind, payload.len(), 0)?;
        let at = self.buffer.len() as u64;
        if self.known.insert(*id) {
            record::encode_into(&mut self.buffer, kind as u8, encoding, id, payload, length);
            self.entries.push(Entry {
                id: *id,
                at,
                length,
                kind,
                encoding,
            });
        }
        Ok(())
    }

    /// The length as it stands in a record. Errors: `InvalidArgument` if it or the batch would become too large.
    fn check_room(&self, kind: Kind, bytes: usize, spare: usize) -> Result<u32> {
        let length = u32::try_from(bytes).map_err(|_| {
            Error::invalid(format!(
                "a {kind} of {bytes} bytes; an object must be smaller than 4 GiB"
            ))
        })?;
        if (self.buffer.len() + HEADER_BYTES + bytes + spare + 8) as u64 > BATCH_MAX_BYTES {
            return Err(Error::invalid("a batch above 16 GiB; commit it in several parts"));
        }
        Ok(length)
    }

    /// Adds an object and returns its id. Errors as [`Batch::put`]. O(length), hashes.
    pub fn put_new(&mut self, kind: Kind, content: &[u8]) -> Result<Id> {
        let id = kind.id_of(content);
        self.put(kind, &id, content)?;
        Ok(id)
    }

    /// Number of objects. O(1).
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing was put. O(1).
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes that the commit will write. O(1).
    pub fn size_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Memory that the batch holds on to, full or empty, in bytes. O(1).
    pub fn memory_bytes(&self) -> usize {
        self.buffer.capacity() + self.entries.capacity() * size_of::<Entry>() + self.known.capacity() * 40
    }

    /// Whether the object is in this batch. O(1).
    pub fn contains(&self, id: &Id) -> bool {
        self.known.contains(id)
    }

    /// Empties the batch and keeps its memory. O(objects).
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.entries.clear();
        self.known.clear();
    }

    /// The records, in order.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Content of one record.
    pub(crate) fn payload(&self, entry: &Entry) -> &[u8] {
        let from = entry.at as usize + HEADER_BYTES;
        &self.buffer[from..from + entry.length as usize]
    }

    /// Fills in positions and checksums for a write at `offset` and returns the bytes. May be called again with another
    /// offset after a failed write. O(bytes).
    pub(crate) fn finish(&mut self, offset: u64) -> &[u8] {
        for entry in &self.entries {
            record::finish(&mut self.buffer[entry.at as usize..], entry.length, offset + entry.at);
        }
        &self.buffer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn puts_once_and_clears() -> Result<()> {
        let mut batch = Batch::with_capacity(100);
        let id = batch.put_new(Kind::Blob, b"hello")?;
        batch.put(Kind::Blob, &id, b"hello")?;
        assert_eq!((batch.len(), batch.size_bytes()), (1, 56));
        assert!(batch.contains(&id));
        assert_eq!(batch.payload(&batch.entries()[0]), b"hello");
        batch.clear();
        assert!(batch.is_empty() && !batch.contains(&id) && batch.size_bytes() == 0);
        Ok(())
    }

    #[test]
    fn memory_is_that_of_records_and_of_what_finds_them() -> Result<()> {
        let mut batch = Batch::with_capacity(1_000_000);
        assert!((1_000_000..1_000_100).contains(&batch.memory_bytes()));
        for number in 0..1_000u32 {
            batch.put_new(Kind::Blob, &number.to_le_bytes())?;
        }
        let beside = batch.memory_bytes() - 1_000_000;
        assert!((1_000 * (48 + 40)..4_000 * (48 + 40)).contains(&beside), "{beside}");
        let full = batch.memory_bytes();
        batch.clear();
        assert_eq!(batch.memory_bytes(), full, "an empty batch keeps its memory");
        Ok(())
    }
}
