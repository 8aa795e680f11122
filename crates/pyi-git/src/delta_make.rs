//! Making deltas: which parts of an object stand in an older one.
//!
//! The form is that of [`crate::delta`]. The search is that of rsync and its successors (Tridgell, "Efficient Algorithms for
//! Sorting and Synchronization", 1999; MacDonald, "File System Support for Delta Compression", 2000): the blocks of the base
//! are found by a hash that rolls over the target byte by byte, and a block that is found is extended to both sides as far as
//! the two are equal.

/// Bytes of the base that are found at once.
const BLOCK_BYTES: usize = 16;
/// Places of the base with the same hash that are tried: more would make runs of equal bytes cost their square.
const TRIES_MAX: usize = 16;
/// A match of this many bytes is taken without looking for a longer one.
const ENOUGH_BYTES: usize = 4096;
/// What one instruction inserts at most.
const INSERT_MAX: usize = 0x7f;
/// What one instruction copies at most.
const COPY_MAX: usize = 0x1_0000;
const FACTOR: u32 = 0x0100_0193;

/// A delta that makes `target` of `base`, if one of at most `limit_bytes` is found. O(base + target), with memory for half
/// the base.
#[must_use]
pub fn make_delta(base: &[u8], target: &[u8], limit_bytes: usize) -> Option<Vec<u8>> {
    if base.len() < BLOCK_BYTES || target.len() < BLOCK_BYTES || u32::try_from(base.len()).is_err() {
        return None;
    }
    let blocks = Blocks::of(base);
    let mut out = Vec::with_capacity(limit_bytes.min(target.len() / 4 + 64));
    push_size(base.len(), &mut out);
    push_size(target.len(), &mut out);
    // What stands before `literal` is written; `hash` is that of the block at `at`.
    let (mut at, mut literal) = (0, 0);
    let mut hash = hash_of(&target[..BLOCK_BYTES]);
    let first_out = first_power();
    while at + BLOCK_BYTES <= target.len() {
        if out.len() + (at - literal) > limit_bytes {
            return None;
        }
        let Some((from, length)) = blocks.longest(hash, &target[at..]) else {
            let Some(&entering) = target.get(at + BLOCK_BYTES) else {
                break;
            };
            hash = hash
                .wrapping_sub(first_out.wrapping_mul(u32::from(target[at])))
                .wrapping_mul(FACTOR)
                .wrapping_add(u32::from(entering));
            at += 1;
            continue;
        };
        let before = base[..from].iter().rev().zip(target[literal..at].iter().rev());
        let back = before.take_while(|(one, other)| one == other).count();
        push_insert(&target[literal..at - back], &mut out);
        push_copy(from - back, length + back, &mut out);
        at += length;
        literal = at;
        if let Some(block) = target.get(at..at + BLOCK_BYTES) {
            hash = hash_of(block);
        }
    }
    push_insert(&target[literal..], &mut out);
    (out.len() <= limit_bytes).then_some(out)
}

/// The blocks of a base by their hashes.
struct Blocks<'a> {
    base: &'a [u8],
    /// Number of the last block with a hash, counted from 1.
    heads: Vec<u32>,
    /// By block: that of the one before with the same hash.
    before: Vec<u32>,
    mask: u32,
}

impl<'a> Blocks<'a> {
    fn of(base: &'a [u8]) -> Self {
        let count = base.len() / BLOCK_BYTES;
        let size = (count * 2).next_power_of_two();
        let mut blocks = Blocks {
            base,
            heads: vec![0; size],
            before: vec![0; count],
            mask: (size - 1) as u32,
        };
        // From the end, so that the first of equal blocks is tried first: from there the match is longest.
        for (number, block) in base.chunks_exact(BLOCK_BYTES).enumerate().rev() {
            let head = &mut blocks.heads[(spread(hash_of(block)) & blocks.mask) as usize];
            blocks.before[number] = *head;
            *head = number as u32 + 1;
        }
        blocks
    }

    /// The place in the base where most of the start of `target` stands, and how much that is: at least a block.
    fn longest(&self, hash: u32, target: &[u8]) -> Option<(usize, usize)> {
        let mut best: Option<(usize, usize)> = None;
        let mut number = self.heads[(spread(hash) & self.mask) as usize];
        for _ in 0..TRIES_MAX {
            let Some(index) = number.checked_sub(1) else { break };
            let from = index as usize * BLOCK_BYTES;
            let length = common(&self.base[from..], target);
            if length >= BLOCK_BYTES && best.is_none_or(|(_, longest)| length > longest) {
                best = Some((from, length));
                if length >= ENOUGH_BYTES {
                    break;
                }
            }
            number = self.before[index as usize];
        }
        best
    }
}

/// How many bytes two slices begin with in common.
fn common(one: &[u8], other: &[u8]) -> usize {
    let words = one
        .chunks_exact(8)
        .zip(other.chunks_exact(8))
        .take_while(|(one, other)| one == other)
        .count();
    let rest = one[8 * words..].iter().zip(&other[8 * words..]);
    8 * words + rest.take_while(|(one, other)| one == other).count()
}

fn hash_of(block: &[u8]) -> u32 {
    let mixed = |hash: u32, &byte: &u8| hash.wrapping_mul(FACTOR).wrapping_add(u32::from(byte));
    block.iter().fold(0, mixed)
}

/// What the first byte of a block counts in its hash.
fn first_power() -> u32 {
    (1..BLOCK_BYTES).fold(1, |power: u32, _| power.wrapping_mul(FACTOR))
}

/// The low bits depend on few of the bytes.
fn spread(hash: u32) -> u32 {
    hash ^ (hash >> 15)
}

fn push_size(mut size: usize, out: &mut Vec<u8>) {
    while size > 0x7f {
        out.push(size as u8 | 0x80);
        size >>= 7;
    }
    out.push(size as u8);
}

fn push_insert(bytes: &[u8], out: &mut Vec<u8>) {
    for piece in bytes.chunks(INSERT_MAX) {
        out.push(piece.len() as u8);
        out.extend_from_slice(piece);
    }
}

fn push_copy(mut from: usize, mut length: usize, out: &mut Vec<u8>) {
    while length > 0 {
        let piece = length.min(COPY_MAX);
        let place = out.len();
        let mut code = 0x80;
        out.push(code);
        for byte in 0..4 {
            let value = (from >> (8 * byte)) as u8;
            if value != 0 {
                code |= 1 << byte;
                out.push(value);
            }
        }
        // The most is written as nothing at all.
        for byte in 0..2 {
            let value = (piece >> (8 * byte)) as u8;
            if value != 0 {
                code |= 0x10 << byte;
                out.push(value);
            }
        }
        out[place] = code;
        from += piece;
        length -= piece;
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::delta::apply_delta;

    /// Pieces of a base, in any order and with anything between: what an edit leaves.
    fn edited() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
        let bytes = prop_oneof![vec(any::<u8>(), 0..5000), vec(0u8..2, 0..5000)];
        let edits = vec(
            (any::<prop::sample::Index>(), 0usize..4000, vec(any::<u8>(), 0..300)),
            0..8,
        );
        (bytes, edits).prop_map(|(base, edits)| {
            let mut target = Vec::new();
            for (at, length, between) in edits {
                let from = at.index(base.len() + 1);
                target.extend_from_slice(&base[from..base.len().min(from + length)]);
                target.extend_from_slice(&between);
            }
            (base, target)
        })
    }

    proptest! {
        #[test]
        fn a_delta_makes_the_target((base, target) in edited()) {
            if let Some(delta) = make_delta(&base, &target, usize::MAX) {
                prop_assert_eq!(apply_delta(&base, &delta, 1 << 20).unwrap(), target);
            } else {
                prop_assert!(base.len() < BLOCK_BYTES || target.len() < BLOCK_BYTES);
            }
        }

        #[test]
        fn a_limit_is_kept((base, target) in edited(), limit in 0usize..500) {
            if let Some(delta) = make_delta(&base, &target, limit) {
                prop_assert!(delta.len() <= limit);
                prop_assert_eq!(apply_delta(&base, &delta, 1 << 20).unwrap(), target);
            }
        }
    }

    #[test]
    fn one_changed_byte_costs_a_few() {
        let base: Vec<u8> = (0..300_000u32)
            .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
            .collect();
        for place in [0, 15, 16, 777_777, base.len() - 1] {
            let mut target = base.clone();
            target[place] ^= 1;
            let delta = make_delta(&base, &target, 1000).unwrap();
            // A copy reaches 64 KB, and takes up to seven bytes.
            assert!(
                delta.len() < 7 * (base.len() / COPY_MAX + 3),
                "{place}: {}",
                delta.len()
            );
            assert_eq!(apply_delta(&base, &delta, 1 << 21).unwrap(), target);
        }
        let mut target = base.clone();
        target.splice(5000..5000, *b"something between");
        let delta = make_delta(&base, &target, 1000).unwrap();
        assert_eq!(apply_delta(&base, &delta, 1 << 21).unwrap(), target);
    }

    #[test]
    fn runs_of_equal_bytes_do_not_take_their_square() {
        let base = vec![0; 1 << 20];
        let mut target = vec![0; 1 << 20];
        target[1 << 19] = 1;
        let delta = make_delta(&base, &target, 1000).unwrap();
        assert_eq!(apply_delta(&base, &delta, 1 << 20).unwrap(), target);
    }
}
