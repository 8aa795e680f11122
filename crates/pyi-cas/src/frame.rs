//! zstd frames: to them and from them, with another object's content as dictionary or without one. They stand in payloads without
//! their magic number, which would be the same four bytes in each. Contexts are kept for reuse, because making one costs as much
//! as a small object does.

use parking_lot::Mutex;
use zstd::zstd_safe::{CCtx, DCtx, compress_bound, get_frame_content_size};

use crate::encoding::{CONTENT_MAX_BYTES, Malformed};

/// What a frame begins with.
const MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();
/// How zstd would recognize a dictionary of its own; a base that begins so would be parsed as one, so it is none.
const DICTIONARY_MAGIC: [u8; 4] = 0xEC30_A437_u32.to_le_bytes();
/// A block takes at least 3 bytes and gives at most 128 KiB.
const BLOCK_BYTES: u64 = 128 << 10;
const BLOCK_FRAME_BYTES: u64 = 3;
/// Contexts kept; each holds about 160 KB.
const CONTEXTS_KEPT: usize = 8;

static CONTEXTS: Mutex<Vec<DCtx<'static>>> = Mutex::new(Vec::new());

/// Whether a content can be the base of a delta.
pub(crate) fn can_be_base(content: &[u8]) -> bool {
    !content.starts_with(&DICTIONARY_MAGIC)
}

/// The content of the frame whose body begins at `from` in `bytes`, as long as the frame declares. The four bytes before the body are
/// overwritten. What a crafted frame can make this allocate is at most what so many bytes of frame can hold, and only what is
/// decoded is touched. O(content).
pub(crate) fn decompress(bytes: &mut [u8], from: usize, dictionary: &[u8]) -> Result<Vec<u8>, Malformed> {
    let start = from.checked_sub(MAGIC.len()).ok_or(Malformed)?;
    let frame = bytes
        .get_mut(start..)
        .filter(|frame| frame.len() > MAGIC.len())
        .ok_or(Malformed)?;
    frame[..MAGIC.len()].copy_from_slice(&MAGIC);
    let plausible = (frame.len() as u64 / BLOCK_FRAME_BYTES) * BLOCK_BYTES;
    let declared = get_frame_content_size(frame).ok().flatten().ok_or(Malformed)?;
    if declared > plausible.min(CONTENT_MAX_BYTES) || !can_be_base(dictionary) {
        return Err(Malformed);
    }
    let plain_bytes = usize::try_from(declared).map_err(|_| Malformed)?;
    let mut content: Vec<u8> = Vec::new();
    // A refused allocation is an answer here, not the end of the process.
    content.try_reserve_exact(plain_bytes).map_err(|_| Malformed)?;
    let kept = CONTEXTS.lock().pop();
    let mut context = match kept {
        Some(context) => context,
        None => DCtx::try_create().ok_or(Malformed)?,
    };
    let result = context.decompress_using_dict(&mut content, frame, dictionary);
    let mut contexts = CONTEXTS.lock();
    if contexts.len() < CONTEXTS_KEPT {
        contexts.push(context);
    }
    drop(contexts);
    match result {
        Ok(n) if n == plain_bytes && content.len() == n => Ok(content),
        _ => Err(Malformed),
    }
}

/// Makes frames. One a thread.
pub(crate) struct Compressor {
    context: CCtx<'static>,
    frame: Vec<u8>,
}

impl Compressor {
    /// `None` if there is no memory for it.
    pub(crate) fn new() -> Option<Compressor> {
        Some(Compressor {
            context: CCtx::try_create()?,
            frame: Vec::new(),
        })
    }

    /// The body of a frame of the content; `None` if zstd cannot, or if `dictionary` cannot be a base. O(content + dictionary).
    pub(crate) fn compress(&mut self, content: &[u8], dictionary: &[u8], level: i32) -> Option<&[u8]> {
        if !can_be_base(dictionary) {
            return None;
        }
        self.frame.clear();
        self.frame.try_reserve(compress_bound(content.len())).ok()?;
        self.context
            .compress_using_dict(&mut self.frame, content, dictionary, level)
            .ok()?;
        self.frame.strip_prefix(&MAGIC)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(lines: usize) -> Vec<u8> {
        (0..lines)
            .flat_map(|i| format!("line {i} of some text {}\n", i * i % 97).into_bytes())
            .collect()
    }

    fn open(body: &[u8], dictionary: &[u8]) -> Result<Vec<u8>, Malformed> {
        decompress(&mut [b"1234", body].concat(), 4, dictionary)
    }

    #[test]
    fn the_dictionary_is_all_that_an_unchanged_content_needs() {
        let mut compressor = Compressor::new().unwrap();
        for lines in [1, 100, 10_000, 100_000] {
            let base = text(lines);
            let changed = [&b"one line more\n"[..], &base, b"and one at the end\n"].concat();
            let frame = compressor.compress(&changed, &base, 9).unwrap().to_vec();
            assert!(frame.len() < 80 + changed.len() / 1000, "{lines}: {}", frame.len());
            assert_eq!(open(&frame, &base).unwrap(), changed);
            let whole = compressor.compress(&changed, &[], 9).unwrap().to_vec();
            assert_eq!(open(&whole, &[]).unwrap(), changed);
            for cut in 0..frame.len().min(whole.len()).min(100) {
                assert!(open(&whole[..cut], &[]).is_err() && open(&frame[..cut], &base).is_err());
            }
        }
    }

    #[test]
    fn what_looks_like_a_dictionary_is_no_base() {
        let mut base = DICTIONARY_MAGIC.to_vec();
        base.extend(text(100));
        assert!(Compressor::new().unwrap().compress(b"content", &base, 3).is_none());
        let frame = Compressor::new()
            .unwrap()
            .compress(b"content", &[], 3)
            .unwrap()
            .to_vec();
        assert_eq!(open(&frame, &[]).unwrap(), b"content");
        assert_eq!(open(&frame, &base), Err(Malformed));
    }

    #[test]
    fn a_length_that_the_frame_cannot_hold_is_refused_before_it_is_allocated() {
        // One segment; a length of 4 or of 8 bytes; an empty last block.
        for (descriptor, length) in [(0b1010_0000, &[0xff; 4][..]), (0b1110_0000, &[0xff; 8])] {
            let frame = [&[descriptor][..], length, &[1, 0, 0]].concat();
            assert_eq!(open(&frame, &[]), Err(Malformed));
        }
        // A frame that declares no length, and none.
        assert_eq!(open(&[0, 88, 1, 0, 0], &[]), Err(Malformed));
        assert_eq!(
            (open(&[], &[]), decompress(&mut [1, 2, 3], 3, &[])),
            (Err(Malformed), Err(Malformed))
        );
    }

    proptest! {
        #[test]
        fn crafted_frames_never_panic_and_whole_ones_are_read(
            content in proptest::collection::vec(0u8..4, 0..3000),
            base in proptest::collection::vec(0u8..4, 0..3000),
            flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let mut compressor = Compressor::new().unwrap();
            let mut frame = compressor.compress(&content, &base, 5).unwrap().to_vec();
            prop_assert_eq!(&open(&frame, &base).unwrap(), &content);
            for (at, value) in flips {
                let at = at.index(frame.len());
                frame[at] ^= value;
            }
            let _ = open(&frame, &base);
        }
    }
}
