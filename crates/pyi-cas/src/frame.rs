//! zstd frames: to them and from them, with another object's content as dictionary or without one. Contexts are kept for
//! reuse, because making one costs as much as a small object does.

use parking_lot::Mutex;
use zstd::zstd_safe::{CCtx, DCtx, compress_bound, get_frame_content_size};

use crate::encoding::Malformed;

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

/// The content of a frame, exactly `plain_bytes` long. What a crafted frame can make this allocate is at most what so many
/// bytes of frame can hold, and only what is decoded is touched. O(plain bytes).
pub(crate) fn decompress(frame: &[u8], dictionary: &[u8], plain_bytes: u32) -> Result<Vec<u8>, Malformed> {
    let plausible = (frame.len() as u64 / BLOCK_FRAME_BYTES) * BLOCK_BYTES;
    let declared = match get_frame_content_size(frame) {
        Ok(declared) => declared.is_none_or(|declared| declared == u64::from(plain_bytes)),
        Err(_) => false,
    };
    if !declared || u64::from(plain_bytes) > plausible || !can_be_base(dictionary) {
        return Err(Malformed);
    }
    let mut content: Vec<u8> = Vec::new();
    // A refused allocation is an answer here, not the end of the process.
    content.try_reserve_exact(plain_bytes as usize).map_err(|_| Malformed)?;
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
        Ok(n) if n == plain_bytes as usize && content.len() == n => Ok(content),
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

    /// A frame of the content; `None` if zstd cannot, or if `dictionary` cannot be a base. O(content + dictionary).
    pub(crate) fn compress(&mut self, content: &[u8], dictionary: &[u8], level: i32) -> Option<&[u8]> {
        if !can_be_base(dictionary) {
            return None;
        }
        self.frame.clear();
        self.frame.try_reserve(compress_bound(content.len())).ok()?;
        self.context
            .compress_using_dict(&mut self.frame, content, dictionary, level)
            .ok()?;
        Some(&self.frame)
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

    #[test]
    fn the_dictionary_is_all_that_an_unchanged_content_needs() {
        let mut compressor = Compressor::new().unwrap();
        for lines in [1, 100, 10_000, 100_000] {
            let base = text(lines);
            let changed = [&b"one line more\n"[..], &base, b"and one at the end\n"].concat();
            let frame = compressor.compress(&changed, &base, 9).unwrap().to_vec();
            assert!(frame.len() < 80 + changed.len() / 1000, "{lines}: {}", frame.len());
            assert_eq!(decompress(&frame, &base, changed.len() as u32).unwrap(), changed);
            let whole = compressor.compress(&changed, &[], 9).unwrap().to_vec();
            assert_eq!(decompress(&whole, &[], changed.len() as u32).unwrap(), changed);
            assert!(decompress(&whole, &[], changed.len() as u32 + 1).is_err());
            assert!(decompress(&whole, &[], changed.len() as u32 - 1).is_err());
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
        assert!(decompress(&frame, &base, 7).is_err());
    }

    #[test]
    fn a_length_that_the_frame_cannot_hold_is_refused_before_it_is_allocated() {
        let frame = Compressor::new()
            .unwrap()
            .compress(&[0; 1000], &[], 3)
            .unwrap()
            .to_vec();
        assert_eq!(decompress(&frame, &[], u32::MAX), Err(Malformed));
        // A frame that declares nothing.
        assert_eq!(decompress(&[], &[], 0), Err(Malformed));
        assert_eq!(decompress(&[0x28, 0xb5, 0x2f, 0xfd], &[], u32::MAX), Err(Malformed));
    }

    proptest! {
        #[test]
        fn crafted_frames_give_an_error_or_the_declared_length(
            content in proptest::collection::vec(0u8..4, 0..3000),
            base in proptest::collection::vec(0u8..4, 0..3000),
            flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            length in 0u32..5000,
        ) {
            let mut compressor = Compressor::new().unwrap();
            let mut frame = compressor.compress(&content, &base, 5).unwrap().to_vec();
            prop_assert_eq!(&decompress(&frame, &base, content.len() as u32).unwrap(), &content);
            for (at, value) in flips {
                let at = at.index(frame.len());
                frame[at] ^= value;
            }
            if let Ok(decoded) = decompress(&frame, &base, length) {
                prop_assert_eq!(decoded.len(), length as usize);
            }
        }
    }
}
