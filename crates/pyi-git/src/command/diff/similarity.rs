//! How alike two contents are, as git measures it: what share of the one, counted in short lines and pieces of long ones, is in the other.

/// All of it.
pub(crate) const FULL: u32 = 60_000;
/// What two files must have in common to be a rename.
pub(crate) const HALF: u32 = 30_000;
/// Pieces are told apart by a number below this.
const BUCKETS: u32 = 107_927;
const PIECE_BYTES: u32 = 64;
/// Where a file is looked at for NUL.
const BINARY_BYTES: usize = 8000;

/// Whether git takes a content for binary.
pub(crate) fn is_binary(content: &[u8]) -> bool {
    content.iter().take(BINARY_BYTES).any(|&byte| byte == 0)
}

/// How many bytes of each piece there are, in the order of their numbers.
pub(crate) struct Pieces(Vec<(u32, u64)>);

impl Pieces {
    pub(crate) fn of(content: &[u8]) -> Self {
        let text = !is_binary(content);
        let mut counts: Vec<(u32, u64)> = Vec::with_capacity(content.len() / 32 + 1);
        let (mut low, mut high, mut len) = (0u32, 0u32, 0u32);
        let mut close = |low: &mut u32, high: &mut u32, len: &mut u32| {
            let number = low.wrapping_add(high.wrapping_mul(0x61)) % BUCKETS;
            counts.push((number, u64::from(*len)));
            (*low, *high, *len) = (0, 0, 0);
        };
        for (at, &byte) in content.iter().enumerate() {
            if text && byte == b'\r' && content.get(at + 1) == Some(&b'\n') {
                continue;
            }
            let before = low;
            low = (low << 7) ^ (high >> 25);
            high = (high << 7) ^ (before >> 25);
            low = low.wrapping_add(u32::from(byte));
            len += 1;
            if len >= PIECE_BYTES || byte == b'\n' {
                close(&mut low, &mut high, &mut len);
            }
        }
        if len > 0 {
            close(&mut low, &mut high, &mut len);
        }
        counts.sort_unstable_by_key(|(number, _)| *number);
        counts.dedup_by(|next, kept| {
            let is_same = next.0 == kept.0;
            if is_same {
                kept.1 += next.1;
            }
            is_same
        });
        Pieces(counts)
    }

    /// Bytes of `self` that are in `new` too, and bytes of `new` that are not in `self`.
    pub(crate) fn common(&self, new: &Pieces) -> (u64, u64) {
        let (mut copied, mut added) = (0, 0);
        let mut others = new.0.iter().peekable();
        for (piece, old) in &self.0 {
            while let Some((_, count)) = others.next_if(|(other, _)| other < piece) {
                added += count;
            }
            if let Some((_, count)) = others.next_if(|(other, _)| other == piece) {
                copied += old.min(count);
                added += count.saturating_sub(*old);
            }
        }
        added += others.map(|(_, count)| count).sum::<u64>();
        (copied, added)
    }
}

/// How alike two files of these sizes can be at most: whether it is worth a look.
pub(crate) fn may_be_alike(old: u64, new: u64, minimum: u32) -> bool {
    let (small, large) = (old.min(new), old.max(new));
    large * u64::from(FULL - minimum) >= (large - small) * u64::from(FULL)
}

/// The score of two files.
pub(crate) fn score(old: &Pieces, old_size: u64, new: &Pieces, new_size: u64) -> u32 {
    if new_size == 0 {
        return 0;
    }
    let (copied, _) = old.common(new);
    u32::try_from(copied * u64::from(FULL) / old_size.max(new_size)).unwrap_or(0)
}
