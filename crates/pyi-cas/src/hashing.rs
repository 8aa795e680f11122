//! BLAKE3 of small contents, alone and many at once. The same digests as the crate's own functions, made from its compression
//! functions: its hasher is laid out for streams of any length, which costs as much as a small object does, and it hashes one
//! content at a time, while the processor's vectors are wide enough for sixteen.
//!
//! The specification is "BLAKE3: one function, fast everywhere" (O'Connor, Aumasson, Neves, Wilcox-O'Hearn, 2020), section 2.

use std::sync::LazyLock;

use blake3::IncrementCounter;
use blake3::platform::{le_bytes_from_words_32, words_from_le_bytes_32};

use crate::chunk::Chunk;
use crate::id::Id;
use crate::twin::{self, Next, Processor};

pub(crate) const BLOCK_BYTES: usize = 64;
pub(crate) const CHUNK_BYTES: usize = 1024;
/// A content of less than two full chunks is hashed as a chain with another one beside it; two full ones the crate hashes in one vector.
pub(crate) const ALONE_BYTES: usize = 2 * CHUNK_BYTES - 1;
/// Longer contents keep the crate's vectors busy alone.
const SMALL_CHUNKS: usize = 16;
pub(crate) const SMALL_BYTES: usize = SMALL_CHUNKS * CHUNK_BYTES;

pub(crate) const CHUNK_START: u8 = 1;
pub(crate) const CHUNK_END: u8 = 2;
const PARENT: u8 = 4;
pub(crate) const ROOT: u8 = 8;
pub(crate) const DERIVE_KEY_MATERIAL: u8 = 64;

/// A chaining value: what a chunk or a subtree comes to.
pub(crate) type Words = [u32; 8];

static PROCESSOR: LazyLock<Processor> = LazyLock::new(Processor::detect);

/// Hashes contents with one key.
pub(crate) struct Hashing {
    key: Words,
    processor: Processor,
}

impl Hashing {
    /// With the key that a context is derived to. O(1).
    pub(crate) fn new(key: &[u8; 32]) -> Hashing {
        Hashing::on(*PROCESSOR, key)
    }

    /// As [`Hashing::new`], on a processor that has this.
    pub(crate) fn on(processor: Processor, key: &[u8; 32]) -> Hashing {
        Hashing {
            key: words_from_le_bytes_32(key),
            processor,
        }
    }

    /// The digest of a content of at most [`ALONE_BYTES`]. O(length). The chunks of a longer one the crate hashes side by side, which outweighs what its
    /// hasher costs.
    pub(crate) fn alone(&self, content: &[u8]) -> Id {
        debug_assert!(content.len() <= ALONE_BYTES);
        match content.split_at_checked(CHUNK_BYTES) {
            Some((first, tail)) if !tail.is_empty() => {
                let (left, right) = self.two_chunks(first, tail);
                digest(&self.parent(&left, &right, ROOT))
            }
            _ => digest(&self.chunk(content, 0, ROOT)),
        }
    }

    /// A full chunk and one that is not full, side by side as long as the second one lasts.
    fn two_chunks(&self, first: &[u8], second: &[u8]) -> (Words, Words) {
        let (mut left, mut right) = (Chunk::of_several(self, first, 0), Chunk::of_several(self, second, 1));
        while let Some(next) = left.next(None) {
            match right.next(None) {
                Some(other) => twin::compress(self.processor, next, other),
                None => next.compress(self.processor),
            }
        }
        (*left.value(), *right.value())
    }

    /// The digests of contents of at most [`SMALL_BYTES`] each, in order. Whole chunks of different contents are hashed side by side. O(bytes).
    pub(crate) fn small_many(&self, contents: &[&[u8]]) -> Vec<Id> {
        let mut values = vec![[0; 8]; contents.iter().map(|content| chunks_of(content)).sum()];
        let mut ids = vec![Id([0; 32]); contents.len()];
        // Where the values of each content begin.
        let mut starts = Vec::with_capacity(contents.len());
        let mut start = 0;
        for content in contents {
            starts.push(start);
            start += chunks_of(content);
        }
        let (mut inputs, mut places, mut out) = (Vec::new(), Vec::new(), Vec::new());
        for counter in 0..SMALL_CHUNKS {
            inputs.clear();
            places.clear();
            for (content, start) in contents.iter().zip(&starts) {
                if content.len() > CHUNK_BYTES
                    && let Some(chunk) = full_chunks(content).0.get(counter)
                {
                    inputs.push(chunk);
                    places.push(start + counter);
                }
            }
            if inputs.is_empty() {
                break;
            }
            out.resize(inputs.len() * 32, 0);
            self.many(&inputs, counter as u64, IncrementCounter::No, 0, &mut out);
            for (place, bytes) in places.iter().zip(out.as_chunks().0) {
                values[*place] = words_from_le_bytes_32(bytes);
            }
        }
        // One chunk that is the whole content, and full.
        let (mut roots, mut owners) = (Vec::new(), Vec::new());
        for (at, content) in contents.iter().enumerate() {
            if let Ok(chunk) = <&[u8; CHUNK_BYTES]>::try_from(*content) {
                roots.push(chunk);
                owners.push(at);
            } else if content.len() <= CHUNK_BYTES {
                ids[at] = digest(&self.chunk(content, 0, ROOT));
            } else {
                let (full, tail) = full_chunks(content);
                let own = &mut values[starts[at]..starts[at] + full.len() + 1];
                own[full.len()] = self.chunk(tail, full.len() as u64, 0);
                ids[at] = self.root(own);
            }
        }
        out.resize(roots.len() * 32, 0);
        self.many(&roots, 0, IncrementCounter::No, ROOT, &mut out);
        for (at, bytes) in owners.iter().zip(out.as_chunks().0) {
            ids[*at] = Id(*bytes);
        }
        ids
    }

    fn many(&self, inputs: &[&[u8; CHUNK_BYTES]], counter: u64, increment: IncrementCounter, last: u8, out: &mut [u8]) {
        self.processor.platform.hash_many(
            inputs,
            &self.key,
            counter,
            increment,
            DERIVE_KEY_MATERIAL,
            CHUNK_START,
            CHUNK_END | last,
            &mut out[..inputs.len() * 32],
        );
    }

    /// A chunk of at most 1,024 bytes; `last` goes with its last block.
    fn chunk(&self, bytes: &[u8], counter: u64, last: u8) -> Words {
        let mut value = self.key;
        let mut flags = DERIVE_KEY_MATERIAL | CHUNK_START;
        let (blocks, rest) = bytes.as_chunks::<BLOCK_BYTES>();
        let (blocks, end) = match (rest, blocks.split_last()) {
            ([], Some((end, blocks))) => (blocks, end.as_slice()),
            _ => (blocks, rest),
        };
        for block in blocks {
            self.processor
                .platform
                .compress_in_place(&mut value, block, BLOCK_BYTES as u8, counter, flags);
            flags = DERIVE_KEY_MATERIAL;
        }
        let mut block = [0; BLOCK_BYTES];
        block[..end.len()].copy_from_slice(end);
        self.processor.platform.compress_in_place(
            &mut value,
            &block,
            end.len() as u8,
            counter,
            flags | CHUNK_END | last,
        );
        value
    }

    /// What at least two chunks come to: pairs, and pairs of pairs; one that is left over goes up as it is.
    fn root(&self, values: &mut [Words]) -> Id {
        let mut count = values.len();
        loop {
            let last = if count == 2 { ROOT } else { 0 };
            for pair in 0..count / 2 {
                values[pair] = self.parent(&values[2 * pair], &values[2 * pair + 1], last);
            }
            if count == 2 {
                return digest(&values[0]);
            }
            if count % 2 == 1 {
                values[count / 2] = values[count - 1];
            }
            count = count.div_ceil(2);
        }
    }

    fn parent(&self, left: &Words, right: &Words, last: u8) -> Words {
        let mut value = self.key;
        Hashing::next_parent(&mut value, &parent_block(left, right), last).compress(self.processor);
        value
    }

    /// The block of what two chunks or subtrees came to; `value` is the key before.
    pub(crate) fn next_parent<'a>(value: &'a mut Words, block: &'a [u8; BLOCK_BYTES], last: u8) -> Next<'a> {
        Next {
            value,
            block,
            length: BLOCK_BYTES as u8,
            counter: 0,
            flags: DERIVE_KEY_MATERIAL | PARENT | last,
        }
    }

    pub(crate) fn key(&self) -> Words {
        self.key
    }

    pub(crate) fn processor(&self) -> Processor {
        self.processor
    }
}

/// What two chunks or subtrees came to, as a block.
pub(crate) fn parent_block(left: &Words, right: &Words) -> [u8; BLOCK_BYTES] {
    let mut block = [0; BLOCK_BYTES];
    block[..32].copy_from_slice(&le_bytes_from_words_32(left));
    block[32..].copy_from_slice(&le_bytes_from_words_32(right));
    block
}

pub(crate) fn digest(value: &Words) -> Id {
    Id(le_bytes_from_words_32(value))
}

fn chunks_of(content: &[u8]) -> usize {
    content.len().div_ceil(CHUNK_BYTES).max(1)
}

/// The chunks of a content of more than one, but for the last one, which may be shorter.
fn full_chunks(content: &[u8]) -> (&[[u8; CHUNK_BYTES]], &[u8]) {
    let full = (content.len() - 1) / CHUNK_BYTES;
    let (chunks, tail) = content.split_at(full * CHUNK_BYTES);
    (chunks.as_chunks().0, tail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use blake3::hazmat::hash_derive_key_context;
    use proptest::prelude::*;

    const CONTEXT: &str = "pyi test of processors";

    fn bytes() -> impl Strategy<Value = usize> {
        let near =
            |step: usize, to: usize| (0..=to, 0usize..3).prop_map(move |(n, by)| (n * step + by).saturating_sub(1));
        prop_oneof![near(BLOCK_BYTES, 33), near(CHUNK_BYTES, 15), 0usize..SMALL_BYTES]
    }

    proptest! {
        /// Without AVX2 two contents that would go side by side go one after the other, and that was compiled and never run where tests ran.
        #[test]
        fn every_processor_comes_to_the_same(sizes in proptest::collection::vec(bytes(), 1..20), seed in any::<u8>()) {
            let content: Vec<u8> = (0..SMALL_BYTES + 1).map(|n| (n * 31 + n / 251) as u8 ^ seed).collect();
            let contents: Vec<&[u8]> = sizes.iter().map(|bytes| &content[..*bytes]).collect();
            let wanted: Vec<Id> = contents.iter().map(|content| Id(blake3::derive_key(CONTEXT, content))).collect();
            for processor in Processor::all() {
                let hashing = Hashing::on(processor, &hash_derive_key_context(CONTEXT));
                prop_assert_eq!(&hashing.small_many(&contents), &wanted, "{:?}", processor);
                for (content, id) in contents.iter().zip(&wanted).filter(|(content, _)| content.len() <= ALONE_BYTES) {
                    prop_assert_eq!(&hashing.alone(content), id, "{:?}, {} bytes", processor, content.len());
                }
            }
        }
    }
}
