//! Cutting a large content at places that its bytes choose, so that a change moves only the cuts near it. A gear hash with
//! two masks (Xia et al., FastCDC, 2016). Where the cuts are is part of what makes versions share chunks, so the table, the masks
//! and the limits are written down in format v1 and do not change.

use crate::id::Id;
use crate::kind::Kind;

/// Contents above this are cut.
pub(crate) const CHUNKED_ABOVE_BYTES: usize = 256 << 10;
/// No chunk but the last one of a content is shorter.
pub(crate) const CHUNK_MIN_BYTES: usize = 16 << 10;
/// What chunks come to on average, about.
const CHUNK_MEAN_BYTES: usize = 64 << 10;
/// No chunk is longer.
pub(crate) const CHUNK_MAX_BYTES: usize = 256 << 10;

/// Up to the mean a cut is four times as unlikely as the mean asks for, behind it four times as likely: that draws the
/// lengths together.
const MASK_BEFORE: u64 = mask(18);
const MASK_AFTER: u64 = mask(14);

/// The upper bits of the hash, which depend on the last 64 bytes.
const fn mask(bits: u32) -> u64 {
    !(u64::MAX >> bits)
}

/// One random word for each byte: SplitMix64, seeded with 0.
const GEAR: [u64; 256] = {
    let mut table = [0u64; 256];
    let (mut state, mut i) = (0u64, 0);
    while i < 256 {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        table[i] = word ^ (word >> 31);
        i += 1;
    }
    table
};

/// The chunks of a content, in order; together they are the content. O(length), about as much as hashing it.
pub(crate) fn chunks(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = content;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (chunk, behind) = rest.split_at(first_cut(rest));
        rest = behind;
        Some(chunk)
    })
}

/// Ids of the chunks that a content of this size is stored in: none if it is stored in one piece. O(length), hashes.
pub fn chunk_ids(content: &[u8]) -> Vec<Id> {
    if content.len() <= CHUNKED_ABOVE_BYTES {
        return Vec::new();
    }
    chunks(content).map(|chunk| Kind::Chunk.id_of(chunk)).collect()
}

/// Where the first chunk ends.
fn first_cut(bytes: &[u8]) -> usize {
    let end = bytes.len().min(CHUNK_MAX_BYTES);
    let middle = end.min(CHUNK_MEAN_BYTES);
    let start = CHUNK_MIN_BYTES.min(end);
    let mut hash = 0u64;
    let mut look = |from: usize, to: usize, mask: u64| {
        for (at, byte) in bytes[from..to].iter().enumerate() {
            hash = (hash << 1).wrapping_add(GEAR[usize::from(*byte)]);
            if hash & mask == 0 {
                return Some(from + at + 1);
            }
        }
        None
    };
    look(start, middle, MASK_BEFORE)
        .or_else(|| look(start.max(middle), end, MASK_AFTER))
        .unwrap_or(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn noise(seed: u64, length: usize) -> Vec<u8> {
        let mut state = seed | 1;
        (0..length)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 24) as u8
            })
            .collect()
    }

    /// These cuts are those of the first version: other ones would store every large file anew.
    #[test]
    fn cuts_are_for_ever() {
        assert_eq!((GEAR[0], GEAR[1]), (0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4));
        let lengths: Vec<usize> = chunks(&noise(1, 1_000_000)).map(<[u8]>::len).collect();
        assert_eq!(lengths, CUTS);
        let zeros: Vec<usize> = chunks(&[0; 600_000]).map(<[u8]>::len).collect();
        assert_eq!(zeros, [262_144, 262_144, 75_712]);
    }
    const CUTS: [usize; 14] = [
        75617, 87307, 122844, 65825, 74629, 71830, 31520, 105183, 62329, 93180, 69982, 71776, 49009, 18969,
    ];

    #[test]
    fn lengths_keep_the_limits_and_the_mean() {
        let content = noise(7, 20_000_000);
        let lengths: Vec<usize> = chunks(&content).map(<[u8]>::len).collect();
        let inner = &lengths[..lengths.len() - 1];
        assert!(
            inner
                .iter()
                .all(|length| (CHUNK_MIN_BYTES..=CHUNK_MAX_BYTES).contains(length))
        );
        let mean = content.len() / lengths.len();
        assert!((48 << 10..96 << 10).contains(&mean), "{mean}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn an_insertion_in_the_middle_leaves_most_chunks(seed in any::<u64>(), at in 0usize..3_000_000, inserted in 1usize..2_000) {
            let before = noise(seed, 3_000_000);
            let after = [&before[..at], &noise(seed ^ 99, inserted), &before[at..]].concat();
            prop_assert_eq!(chunks(&after).collect::<Vec<_>>().concat(), after.clone());
            let known: HashSet<&[u8]> = chunks(&before).collect();
            let new = chunks(&after).filter(|chunk| !known.contains(chunk)).count();
            // Both sides fall into step by chance, mostly at the second cut; so many are one in millions.
            prop_assert!(new <= 20, "{} new of {}", new, known.len());
        }
    }
}
