//! Two blocks of BLAKE3 at once, each the next of its own chain.
//!
//! A compression is one long chain of operations on four vectors of four words, so it leaves most of the processor idle. Vectors of eight words
//! hold two of them side by side, which take no longer than one. The steps are those of the specification (see `hashing`), sections 2.2 and 5.3.

use blake3::platform::Platform;

use crate::hashing::{BLOCK_BYTES, Words};

/// What this processor compresses with. It is made once, so that whoever compresses asks nobody.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Processor {
    pub(crate) platform: Platform,
    /// Two blocks go side by side. Only where the processor was seen to have AVX2: `compress` rests on it.
    twins: bool,
}

impl Processor {
    pub(crate) fn detect() -> Processor {
        #[cfg(target_arch = "x86_64")]
        let twins = std::arch::is_x86_feature_detected!("avx2");
        #[cfg(not(target_arch = "x86_64"))]
        let twins = false;
        Processor {
            platform: Platform::detect(),
            twins,
        }
    }

    /// What this one is, and all that have less than it: for tests, which would not see the others' ways otherwise.
    #[cfg(test)]
    pub(crate) fn all() -> Vec<Processor> {
        let mut platforms = vec![Platform::portable(), Platform::detect()];
        #[cfg(target_arch = "x86_64")]
        platforms.extend(
            [Platform::sse2(), Platform::sse41(), Platform::avx2()]
                .into_iter()
                .flatten(),
        );
        let alone = platforms
            .into_iter()
            .map(|platform| Processor { platform, twins: false });
        alone.chain([Processor::detect()]).collect()
    }
}

/// A block, and the chain that it comes next in.
pub(crate) struct Next<'a> {
    /// What the chain came to so far, and then comes to with this block.
    pub(crate) value: &'a mut Words,
    pub(crate) block: &'a [u8; BLOCK_BYTES],
    pub(crate) length: u8,
    pub(crate) counter: u32,
    pub(crate) flags: u8,
}

impl Next<'_> {
    /// Everything but the value and the block, to be handed over in a register: the vector units wait long for what was just stored in pieces.
    #[cfg(target_arch = "x86_64")]
    fn tweak(&self) -> u64 {
        u64::from(self.counter) | u64::from(self.length) << 32 | u64::from(self.flags) << 40
    }

    /// Compresses this block alone.
    pub(crate) fn compress(self, processor: Processor) {
        let platform = processor.platform;
        platform.compress_in_place(self.value, self.block, self.length, u64::from(self.counter), self.flags);
    }
}

/// Compresses two blocks of different chains.
pub(crate) fn compress(processor: Processor, first: Next<'_>, second: Next<'_>) {
    #[cfg(target_arch = "x86_64")]
    if processor.twins {
        let (tweaks, blocks) = ([first.tweak(), second.tweak()], [first.block, second.block]);
        // SAFETY: the processor has AVX2; `twins` is set nowhere else.
        unsafe { x86::compress(first.value, second.value, blocks[0], blocks[1], tweaks[0], tweaks[1]) };
        return;
    }
    first.compress(processor);
    second.compress(processor);
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    #[allow(clippy::wildcard_imports)]
    use std::arch::x86_64::*;

    use crate::hashing::{BLOCK_BYTES, Words};

    /// The first words of the initial vector.
    const BEGIN: [i32; 4] = [
        0x6a09_e667_u32.cast_signed(),
        0xbb67_ae85_u32.cast_signed(),
        0x3c6e_f372,
        0xa54f_f53a_u32.cast_signed(),
    ];
    const ROUNDS: usize = 7;

    /// The first chain is in the lower half of each vector, the second one in the upper half.
    #[target_feature(enable = "avx2")]
    pub(super) fn compress(
        low: &mut Words,
        high: &mut Words,
        low_block: &[u8; BLOCK_BYTES],
        high_block: &[u8; BLOCK_BYTES],
        low_tweak: u64,
        high_tweak: u64,
    ) {
        let tweak = |tweak: u64| {
            let (length, flags) = ((tweak >> 32) as u8, (tweak >> 40) as u8);
            _mm_setr_epi32((tweak as u32).cast_signed(), 0, length.into(), flags.into())
        };
        let mut rows = [
            both(&low[..4], &high[..4]),
            both(&low[4..], &high[4..]),
            _mm256_broadcastsi128_si256(_mm_setr_epi32(BEGIN[0], BEGIN[1], BEGIN[2], BEGIN[3])),
            _mm256_set_m128i(tweak(high_tweak), tweak(low_tweak)),
        ];
        let block = |at: usize| both(&low_block[at..at + 16], &high_block[at..at + 16]);
        let (m0, m1, m2, m3) = (block(0), block(16), block(32), block(48));
        // In the first round the words are only sorted into the groups that are mixed together.
        let mut message = [
            pick::<0b10_00_10_00>(m0, m1),
            pick::<0b11_01_11_01>(m0, m1),
            _mm256_shuffle_epi32::<0b10_01_00_11>(pick::<0b10_00_10_00>(m2, m3)),
            _mm256_shuffle_epi32::<0b10_01_00_11>(pick::<0b11_01_11_01>(m2, m3)),
        ];
        round(&mut rows, &message);
        for _ in 1..ROUNDS {
            message = permuted(&message);
            round(&mut rows, &message);
        }
        let left = _mm256_xor_si256(rows[0], rows[2]);
        let right = _mm256_xor_si256(rows[1], rows[3]);
        let (left_high, right_high) = (
            _mm256_extracti128_si256::<1>(left),
            _mm256_extracti128_si256::<1>(right),
        );
        keep(&mut low[..4], _mm256_castsi256_si128(left));
        keep(&mut low[4..], _mm256_castsi256_si128(right));
        keep(&mut high[..4], left_high);
        keep(&mut high[4..], right_high);
    }

    /// Sixteen bytes of each, of slices of numbers.
    #[target_feature(enable = "avx2")]
    fn both<T>(low: &[T], high: &[T]) -> __m256i {
        assert!(size_of_val(low) == 16 && size_of_val(high) == 16);
        // SAFETY: there are sixteen bytes, of numbers (the callers have no other slices), and the loads need no alignment.
        let (low, high) = unsafe {
            (
                _mm_loadu_si128(low.as_ptr().cast()),
                _mm_loadu_si128(high.as_ptr().cast()),
            )
        };
        _mm256_set_m128i(high, low)
    }

    #[target_feature(enable = "avx2")]
    fn keep(into: &mut [u32], words: __m128i) {
        assert!(into.len() == 4);
        // SAFETY: there is room for four words, and the store needs no alignment.
        unsafe { _mm_storeu_si128(into.as_mut_ptr().cast(), words) };
    }

    /// Two words of each, as `_mm_shuffle_ps` does it.
    #[target_feature(enable = "avx2")]
    fn pick<const WHICH: i32>(a: __m256i, b: __m256i) -> __m256i {
        let picked = _mm256_shuffle_ps::<WHICH>(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b));
        _mm256_castps_si256(picked)
    }

    /// The words of a block in the order of the next round.
    #[target_feature(enable = "avx2")]
    fn permuted(&[m0, m1, m2, m3]: &[__m256i; 4]) -> [__m256i; 4] {
        let t0 = _mm256_shuffle_epi32::<0b00_11_10_01>(pick::<0b11_01_01_10>(m0, m1));
        let t1 =
            _mm256_blend_epi32::<0b1010_1010>(_mm256_shuffle_epi32::<0b00_00_11_11>(m0), pick::<0b11_11_10_10>(m2, m3));
        let t2 = _mm256_blend_epi32::<0b1000_1000>(_mm256_unpacklo_epi64(m3, m1), m2);
        let t3 = _mm256_unpacklo_epi32(m2, _mm256_unpackhi_epi32(m1, m3));
        [
            t0,
            t1,
            _mm256_shuffle_epi32::<0b01_11_10_00>(t2),
            _mm256_shuffle_epi32::<0b00_01_11_10>(t3),
        ]
    }

    /// Mixes the columns, and then the diagonals as columns.
    #[target_feature(enable = "avx2")]
    fn round(rows: &mut [__m256i; 4], message: &[__m256i; 4]) {
        mix(rows, message[0], message[1]);
        rows[0] = _mm256_shuffle_epi32::<0b10_01_00_11>(rows[0]);
        rows[3] = _mm256_shuffle_epi32::<0b01_00_11_10>(rows[3]);
        rows[2] = _mm256_shuffle_epi32::<0b00_11_10_01>(rows[2]);
        mix(rows, message[2], message[3]);
        rows[0] = _mm256_shuffle_epi32::<0b00_11_10_01>(rows[0]);
        rows[3] = _mm256_shuffle_epi32::<0b01_00_11_10>(rows[3]);
        rows[2] = _mm256_shuffle_epi32::<0b10_01_00_11>(rows[2]);
    }

    /// The quarter rounds of four columns in each chain.
    #[target_feature(enable = "avx2")]
    fn mix([a, b, c, d]: &mut [__m256i; 4], x: __m256i, y: __m256i) {
        let by_16 = _mm256_broadcastsi128_si256(_mm_setr_epi8(2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13));
        let by_8 = _mm256_broadcastsi128_si256(_mm_setr_epi8(1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12));
        *a = _mm256_add_epi32(_mm256_add_epi32(*a, x), *b);
        *d = _mm256_shuffle_epi8(_mm256_xor_si256(*d, *a), by_16);
        *c = _mm256_add_epi32(*c, *d);
        *b = _mm256_xor_si256(*b, *c);
        *b = _mm256_or_si256(_mm256_srli_epi32::<12>(*b), _mm256_slli_epi32::<20>(*b));
        *a = _mm256_add_epi32(_mm256_add_epi32(*a, y), *b);
        *d = _mm256_shuffle_epi8(_mm256_xor_si256(*d, *a), by_8);
        *c = _mm256_add_epi32(*c, *d);
        *b = _mm256_xor_si256(*b, *c);
        *b = _mm256_or_si256(_mm256_srli_epi32::<7>(*b), _mm256_slli_epi32::<25>(*b));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn two_come_to_the_same_as_each_alone(
            bytes in proptest::collection::vec(any::<u8>(), 2 * BLOCK_BYTES),
            values in any::<[Words; 2]>(),
            rest in any::<[(u8, u32, u8); 2]>(),
        ) {
            let blocks = bytes.as_chunks().0;
            fn next<'a>(value: &'a mut Words, block: &'a [u8; BLOCK_BYTES], (length, counter, flags): (u8, u32, u8)) -> Next<'a> {
                Next { value, block, length, counter, flags }
            }
            let mut alone = values;
            for at in 0..2 {
                Platform::portable().compress_in_place(&mut alone[at], &blocks[at], rest[at].0, u64::from(rest[at].1), rest[at].2);
            }
            for processor in Processor::all() {
                let mut together = values;
                let [first, second] = &mut together;
                compress(processor, next(first, &blocks[0], rest[0]), next(second, &blocks[1], rest[1]));
                prop_assert_eq!(together, alone, "{:?}", processor);
            }
        }
    }
}
