//! A content as what it has in common with another one and what is new: how a commit stores an object that differs little from
//! one that is stored by itself. Made and read in less than a microsecond, unlike a delta (`frame`), which is smaller.

use crate::bytes_le::Cursor;
use crate::encoding::{CONTENT_MAX_BYTES, Malformed};
use crate::id::Id;

/// The bytes of a content in terms of those of another one, its base: what is copied, what is passed over, and new bytes,
/// from the beginning to the end of both. Makes the payload of a record (format v1, 4.7).
#[derive(Clone, Debug, Default)]
pub struct Splice {
    runs: Vec<u8>,
    skip_bytes: u64,
    copy_bytes: u64,
    literal: Vec<u8>,
    plain_bytes: u64,
}

impl Splice {
    /// Of an empty content. O(1).
    #[must_use]
    pub fn new() -> Splice {
        Splice::default()
    }

    /// Empties it and keeps its memory. O(1).
    pub fn clear(&mut self) {
        self.runs.clear();
        self.literal.clear();
        (self.skip_bytes, self.copy_bytes, self.plain_bytes) = (0, 0, 0);
    }

    /// Passes over the next bytes of the base. O(1).
    pub fn skip(&mut self, bytes: usize) {
        self.skip_bytes += bytes as u64;
    }

    /// Copies the next bytes of the base. O(1).
    pub fn copy(&mut self, bytes: usize) {
        if bytes > 0 && (self.skip_bytes > 0 || !self.literal.is_empty()) {
            self.end_run();
        }
        self.copy_bytes += bytes as u64;
        self.plain_bytes += bytes as u64;
    }

    /// Adds bytes that are not the base's. O(bytes).
    pub fn literal(&mut self, bytes: &[u8]) {
        self.literal.extend_from_slice(bytes);
        self.plain_bytes += bytes.len() as u64;
    }

    /// As many bytes of both, which are compared eight at a time where they differ. `old` and `new` are of one length. O(bytes).
    pub fn compare(&mut self, old: &[u8], new: &[u8]) {
        debug_assert_eq!(old.len(), new.len());
        let (old_blocks, old_rest) = old.as_chunks::<BLOCK_BYTES>();
        let (new_blocks, new_rest) = new.as_chunks::<BLOCK_BYTES>();
        let mut equal_bytes = 0;
        for (old, new) in old_blocks.iter().zip(new_blocks) {
            if old == new {
                equal_bytes += BLOCK_BYTES;
                continue;
            }
            self.copy(std::mem::take(&mut equal_bytes));
            self.compare_words(old, new);
        }
        self.copy(equal_bytes);
        self.compare_words(old_rest, new_rest);
    }

    fn compare_words(&mut self, old: &[u8], new: &[u8]) {
        let (old_words, old_rest) = old.as_chunks::<8>();
        let (new_words, new_rest) = new.as_chunks::<8>();
        for (old, new) in old_words.iter().zip(new_words) {
            self.either(old == new, new);
        }
        if !new_rest.is_empty() {
            self.either(old_rest == new_rest, new_rest);
        }
    }

    fn either(&mut self, is_equal: bool, bytes: &[u8]) {
        if is_equal {
            self.copy(bytes.len());
        } else {
            self.skip(bytes.len());
            self.literal(bytes);
        }
    }

    fn end_run(&mut self) {
        put_number(&mut self.runs, self.copy_bytes);
        put_number(&mut self.runs, self.skip_bytes);
        put_number(&mut self.runs, self.literal.len() as u64);
        self.runs.append(&mut self.literal);
        (self.skip_bytes, self.copy_bytes) = (0, 0);
    }

    /// Bytes of the payload so far, as good as exactly. O(1).
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        BASE_BYTES + self.runs.len() + self.literal.len() + 4
    }

    /// The payload of the record, with `base` as what it is spliced from. O(payload).
    pub(crate) fn payload(&mut self, base: &Id, into: &mut Vec<u8>) {
        if self.copy_bytes > 0 || !self.literal.is_empty() {
            self.end_run();
        }
        into.extend_from_slice(&base.0);
        put_number(into, self.plain_bytes);
        into.extend_from_slice(&self.runs);
    }
}

const BASE_BYTES: usize = 32;
/// Compared at once.
const BLOCK_BYTES: usize = 64;

/// LEB128: seven bits a byte, the lowest first; the highest bit says that more follow.
fn put_number(into: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        into.push(number as u8 | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}

fn take_number(cursor: &mut Cursor<'_>) -> Result<u64, Malformed> {
    let mut number = 0;
    for shift in (0..35).step_by(7) {
        let byte = cursor.u8().ok_or(Malformed)?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(Malformed)
}

/// The content, from what stands behind the base's id in a payload and the base's content. What a crafted payload can make this allocate is at
/// most its own length and that of the base. O(content).
pub(crate) fn apply(runs: &[u8], base: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut cursor = Cursor(runs);
    let plain_bytes = take_number(&mut cursor)?;
    // No byte of the base is copied twice.
    if plain_bytes > (base.len() + cursor.0.len()) as u64 || plain_bytes > CONTENT_MAX_BYTES {
        return Err(Malformed);
    }
    let mut content = Vec::with_capacity(plain_bytes as usize);
    let mut rest = base;
    while !cursor.0.is_empty() {
        let (copy, skip) = (take_number(&mut cursor)?, take_number(&mut cursor)?);
        let literal = take_number(&mut cursor)?;
        let (copied, behind) = rest.split_at_checked(length(copy)?).ok_or(Malformed)?;
        content.extend_from_slice(copied);
        rest = behind.get(length(skip)?..).ok_or(Malformed)?;
        let (fresh, left) = cursor.0.split_at_checked(length(literal)?).ok_or(Malformed)?;
        content.extend_from_slice(fresh);
        cursor = Cursor(left);
        if copy + skip + literal == 0 || content.len() as u64 > plain_bytes {
            return Err(Malformed);
        }
    }
    if content.len() as u64 == plain_bytes {
        Ok(content)
    } else {
        Err(Malformed)
    }
}

fn length(number: u64) -> Result<usize, Malformed> {
    usize::try_from(number).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn payload(splice: &mut Splice) -> Vec<u8> {
        let mut payload = Vec::new();
        splice.payload(&Id([7; 32]), &mut payload);
        assert_eq!(payload[..32], [7; 32]);
        payload.split_off(32)
    }

    #[test]
    fn one_changed_word_costs_its_bytes_and_a_few() {
        let old: Vec<u8> = (0..6000u32).map(|n| ((n * n) >> 3) as u8).collect();
        let mut new = old.clone();
        new[3000..3032].fill(0xee);
        let mut splice = Splice::new();
        splice.compare(&old, &new);
        assert!(splice.payload_bytes() < 32 + 50);
        let runs = payload(&mut splice);
        assert!(runs.len() < 50, "{}", runs.len());
        assert_eq!(apply(&runs, &old), Ok(new));
        assert_eq!(apply(&runs, &old[..5999]), Err(Malformed));
        for end in 0..runs.len() {
            assert_eq!(apply(&runs[..end], &old), Err(Malformed));
        }
    }

    #[test]
    fn runs_come_in_any_order() {
        let mut splice = Splice::new();
        splice.literal(b"new");
        splice.skip(2);
        splice.copy(3);
        splice.copy(1);
        splice.literal(b"a");
        splice.literal(b"b");
        splice.skip(1);
        splice.skip(1);
        splice.literal(b"c");
        splice.copy(2);
        assert_eq!(apply(&payload(&mut splice), b"0123456789").unwrap(), b"new2345abc89");
        splice.clear();
        assert_eq!(apply(&payload(&mut splice), b"0123456789").unwrap(), b"");
    }

    #[test]
    fn what_claims_too_much_is_refused_before_it_is_allocated() {
        let huge = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 1, 0];
        assert_eq!(apply(&huge, b"base"), Err(Malformed));
        // A run that takes and gives nothing, and a number without an end.
        assert_eq!(apply(&[0, 0, 0, 0], b"base"), Err(Malformed));
        assert_eq!(apply(&[0x80; 40], b"base"), Err(Malformed));
    }

    proptest! {
        #[test]
        fn what_was_compared_comes_back(old in proptest::collection::vec(0u8..3, 0..600), changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..9)) {
            let mut new = old.clone();
            for (at, value) in changes {
                if !new.is_empty() {
                    let at = at.index(new.len());
                    new[at] = value;
                }
            }
            let mut splice = Splice::new();
            splice.compare(&old, &new);
            let estimate = splice.payload_bytes();
            let runs = payload(&mut splice);
            prop_assert!(runs.len() + 32 <= estimate + 8);
            prop_assert_eq!(apply(&runs, &old), Ok(new));
        }

        #[test]
        fn crafted_runs_never_panic(runs in proptest::collection::vec(any::<u8>(), 0..60), base in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(content) = apply(&runs, &base) {
                prop_assert!(content.len() <= runs.len() + base.len());
            }
        }
    }
}
