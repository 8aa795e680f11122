//! A chunk of BLAKE3 that is hashed block by block.

use crate::hashing::{BLOCK_BYTES, CHUNK_BYTES, CHUNK_END, CHUNK_START, DERIVE_KEY_MATERIAL, Hashing, ROOT, Words};
use crate::id::Id;
use crate::twin::Next;

/// At most 1,024 bytes, and what those of them came to that were hashed so far.
pub(crate) struct Chunk<'a> {
    value: Words,
    bytes: &'a [u8],
    counter: u32,
    blocks: usize,
    /// Blocks that were hashed.
    done: usize,
    /// The present block, where it is not as it stands in the bytes.
    copy: [u8; BLOCK_BYTES],
    /// Flags of the last block.
    last: u8,
}

impl<'a> Chunk<'a> {
    /// A chunk of a content of several.
    pub(crate) fn of_several(hashing: &Hashing, bytes: &'a [u8], counter: u32) -> Self {
        Chunk {
            value: hashing.key(),
            bytes,
            counter,
            blocks: bytes.len().div_ceil(BLOCK_BYTES).max(1),
            done: 0,
            copy: [0; BLOCK_BYTES],
            last: CHUNK_END,
        }
    }

    /// A chunk that is the whole content.
    pub(crate) fn alone(hashing: &Hashing, bytes: &'a [u8]) -> Self {
        Chunk {
            last: CHUNK_END | ROOT,
            ..Chunk::of_several(hashing, bytes, 0)
        }
    }

    pub(crate) fn value(&self) -> &Words {
        &self.value
    }

    pub(crate) fn blocks_done(&self) -> usize {
        self.done
    }

    pub(crate) fn has_next(&self) -> bool {
        self.done < self.blocks
    }

    /// The next block, which counts as hashed from then on. An id can be put over the bytes at a place of the content.
    pub(crate) fn next(&mut self, put: Option<(usize, &Id)>) -> Option<Next<'_>> {
        if !self.has_next() {
            return None;
        }
        let begin = self.done * BLOCK_BYTES;
        let rest = &self.bytes[begin..];
        let begin = self.counter as usize * CHUNK_BYTES + begin;
        let put = put.filter(|(at, id)| *at < begin + BLOCK_BYTES && begin < at + id.0.len());
        let (block, length) = match (rest.first_chunk(), put) {
            (Some(block), None) => (block, BLOCK_BYTES),
            _ => {
                let length = rest.len().min(BLOCK_BYTES);
                let (block, padding) = self.copy.split_at_mut(length);
                block.copy_from_slice(&rest[..length]);
                padding.fill(0);
                if let Some((at, id)) = put {
                    put_into(block, begin, at, id);
                }
                (&self.copy, length)
            }
        };
        let start = if self.done == 0 { CHUNK_START } else { 0 };
        self.done += 1;
        let end = if self.done < self.blocks { 0 } else { self.last };
        Some(Next {
            value: &mut self.value,
            block,
            length: length as u8,
            counter: self.counter,
            flags: DERIVE_KEY_MATERIAL | start | end,
        })
    }
}

/// Puts what lies within the block, which stands at `begin`, of an id that stands at `at`.
fn put_into(block: &mut [u8], begin: usize, at: usize, id: &Id) {
    let (from, to) = (at.max(begin), (at + id.0.len()).min(begin + block.len()));
    if from < to {
        block[from - begin..to - begin].copy_from_slice(&id.0[from - at..to - at]);
    }
}
