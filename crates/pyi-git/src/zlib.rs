//! Inflating to a size known beforehand, with state that is used again.
//!
//! Source: RFC 1950. Every zlib stream in git stands beside the length of what it unfolds to, so we inflate straight
//! into a buffer of that length and treat one byte more or less as corruption: a decompression bomb cannot grow past
//! what its header declared, which the caller has checked against a limit. The window and tables of the inflater cost
//! more to make than a small object costs to inflate; hence [`Inflater`] is kept between objects.

use flate2::{Decompress, FlushDecompress, Status};

/// No deflate stream unfolds to more than 1,032 times its length (RFC 1951: 258 bytes for a length and a distance code
/// of one bit each); a declared size beyond that is a lie, found before memory is taken for it.
const MAX_RATIO: u64 = 1032;

/// RFC 1950's checksum is two sums, each modulo the largest prime below 65,536.
const ADLER_MODULUS: u32 = 65_521;
/// A stream that says nothing about how it was made, and its only block, of bytes as they are.
const STORED_START: [u8; 3] = [0x78, 0x01, 0x01];
/// What such a stream has beside the bytes: its start, their number twice, their checksum.
pub(crate) const STORED_EXTRA_BYTES: usize = 11;

/// What can be wrong with a zlib stream of known size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InflateError {
    /// The input ended first.
    Truncated,
    /// The stream is no valid zlib, or its checksum is wrong.
    Corrupt,
    /// It unfolds to fewer bytes than declared.
    Short,
    /// It unfolds to more bytes than declared.
    Long,
}

/// A reusable inflater; what it needs is made when it is first used.
#[derive(Default)]
pub(crate) struct Inflater {
    stream: Option<Decompress>,
    whole: Option<libdeflater::Decompressor>,
}

impl Inflater {
    /// Inflates the stream at the start of `input` to exactly `size` bytes; also how many bytes of input it took.
    pub(crate) fn exact(&mut self, input: &[u8], size: usize) -> Result<(Vec<u8>, usize), InflateError> {
        if size as u64 > (input.len() as u64).saturating_mul(MAX_RATIO) {
            return Err(InflateError::Truncated);
        }
        let mut out = vec![0; size];
        let consumed = self.fill(input, &mut out)?;
        Ok((out, consumed))
    }

    /// The same where it does not matter where the stream ends: three times as fast for small ones.
    pub(crate) fn exact_here(&mut self, input: &[u8], size: usize) -> Result<Vec<u8>, InflateError> {
        if size as u64 > (input.len() as u64).saturating_mul(MAX_RATIO) {
            return Err(InflateError::Truncated);
        }
        let mut out = vec![0; size];
        self.fill_here(input, &mut out)?;
        Ok(out)
    }

    /// [`Inflater::fill`] where it does not matter where the stream ends.
    pub(crate) fn fill_here(&mut self, input: &[u8], out: &mut [u8]) -> Result<(), InflateError> {
        let whole = self.whole.get_or_insert_with(libdeflater::Decompressor::new);
        if whole.zlib_decompress(input, out) == Ok(out.len()) {
            return Ok(());
        }
        // What is wrong with it, the other one tells.
        self.fill(input, out).map(drop)
    }

    /// Inflates the stream at the start of `input`, which must fill `out` and end there.
    pub(crate) fn fill(&mut self, input: &[u8], out: &mut [u8]) -> Result<usize, InflateError> {
        self.begin();
        let mut status = self.step(input, out)?;
        if self.written() < out.len() {
            return Err(if status == Status::StreamEnd {
                InflateError::Short
            } else {
                InflateError::Truncated
            });
        }
        // The buffer can be full before the end of the stream (its last block may be empty, and the checksum follows):
        // go on with room for one byte, into which nothing may come.
        let mut room = [0u8; 1];
        while status != Status::StreamEnd {
            let (taken, made) = (self.consumed(), self.written());
            status = self.step(input.get(taken..).unwrap_or_default(), &mut room)?;
            if self.written() > out.len() {
                return Err(InflateError::Long);
            }
            if status != Status::StreamEnd && self.consumed() == taken && self.written() == made {
                return Err(InflateError::Truncated);
            }
        }
        Ok(self.consumed())
    }

    /// Inflates as much of the stream's beginning as fits in `out`; the stream may go on. Gives the bytes written.
    pub(crate) fn prefix(&mut self, input: &[u8], out: &mut [u8]) -> Result<usize, InflateError> {
        self.begin();
        self.inner()
            .decompress(input, out, FlushDecompress::None)
            .map_err(|_| InflateError::Corrupt)?;
        Ok(self.written())
    }

    fn inner(&mut self) -> &mut Decompress {
        self.stream.get_or_insert_with(|| Decompress::new(true))
    }

    fn begin(&mut self) {
        match &mut self.stream {
            Some(used) => used.reset(true),
            fresh => *fresh = Some(Decompress::new(true)),
        }
    }

    fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<Status, InflateError> {
        self.inner()
            .decompress(input, out, FlushDecompress::Finish)
            .map_err(|_| InflateError::Corrupt)
    }

    fn consumed(&self) -> usize {
        let taken = self.stream.as_ref().map_or(0, Decompress::total_in);
        usize::try_from(taken).unwrap_or(usize::MAX)
    }

    fn written(&self) -> usize {
        let made = self.stream.as_ref().map_or(0, Decompress::total_out);
        usize::try_from(made).unwrap_or(usize::MAX)
    }
}

/// A zlib stream of `parts`, one after the other, that holds them as they are; `None` for more than fits into one block of it.
///
/// Source: RFC 1950 and 1951: two bytes that say how, a block (the last; its length and the complement of that), the bytes, and their checksum.
pub(crate) fn store(parts: &[&[u8]]) -> Option<Vec<u8>> {
    let total: usize = parts.iter().map(|part| part.len()).sum();
    let len = u16::try_from(total).ok()?;
    let mut out = Vec::with_capacity(total + STORED_EXTRA_BYTES);
    out.extend_from_slice(&STORED_START);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&(!len).to_le_bytes());
    for part in parts {
        out.extend_from_slice(part);
    }
    let sum = adler32(out.get(STORED_EXTRA_BYTES - 4..).unwrap_or_default());
    out.extend_from_slice(&sum.to_be_bytes());
    Some(out)
}

/// What a stream as [`store`] makes them holds; `None` if it is another one, or damaged.
pub(crate) fn stored(stream: &[u8]) -> Option<&[u8]> {
    let rest = stream.strip_prefix(&STORED_START)?;
    let (&[low, high, not_low, not_high], rest) = rest.split_first_chunk()?;
    let (content, sum) = rest.split_last_chunk::<4>()?;
    let len = u16::from_le_bytes([low, high]);
    let is_whole = len == !u16::from_le_bytes([not_low, not_high]) && content.len() == usize::from(len);
    (is_whole && adler32(content) == u32::from_be_bytes(*sum)).then_some(content)
}

fn adler32(content: &[u8]) -> u32 {
    let (mut low, mut high) = (1u32, 0u32);
    // So many bytes of 255 do not make the sums overflow before the remainder is taken.
    for part in content.chunks(5552) {
        for &byte in part {
            low += u32::from(byte);
            high += low;
        }
        low %= ADLER_MODULUS;
        high %= ADLER_MODULUS;
    }
    high << 16 | low
}

/// A zlib stream of `parts`, one after the other, at `level` (0 to 9).
pub(crate) fn deflate(parts: &[&[u8]], level: u32) -> Vec<u8> {
    Deflater::new(level).deflate(parts)
}

/// A reusable deflater.
pub(crate) struct Deflater(flate2::Compress);

impl Deflater {
    pub(crate) fn new(level: u32) -> Self {
        Self(flate2::Compress::new(flate2::Compression::new(level.min(9)), true))
    }

    /// A zlib stream of `parts`, one after the other.
    pub(crate) fn deflate(&mut self, parts: &[&[u8]]) -> Vec<u8> {
        use flate2::{FlushCompress, Status};
        self.0.reset();
        let total: usize = parts.iter().map(|p| p.len()).sum();
        let mut out = Vec::with_capacity(total / 2 + 64);
        for part in parts {
            let start = self.0.total_in();
            loop {
                let done = usize::try_from(self.0.total_in() - start).unwrap_or(usize::MAX);
                let rest = part.get(done..).unwrap_or_default();
                if rest.is_empty() {
                    break;
                }
                out.reserve(4096);
                // Deflating into memory has no way to fail: the state is ours and the output grows as needed.
                if self.0.compress_vec(rest, &mut out, FlushCompress::None).is_err() {
                    break;
                }
            }
        }
        loop {
            out.reserve(4096);
            match self.0.compress_vec(&[], &mut out, FlushCompress::Finish) {
                Ok(Status::StreamEnd) | Err(_) => break,
                Ok(_) => {}
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_inflates() {
        let mut inflater = Inflater::default();
        for len in [0, 1, 10, 5551, 5552, 5553, 20_000, 65_000] {
            let content: Vec<u8> = (0..len).map(|at: usize| (255 - at % 7) as u8).collect();
            let (start, rest) = content.split_at(len / 3);
            let stream = store(&[start, rest]).unwrap();
            assert_eq!(inflater.exact(&stream, len).unwrap(), (content.clone(), stream.len()));
            assert_eq!(stored(&stream), Some(content.as_slice()));
            for at in (0..stream.len()).step_by(1 + len / 50) {
                let mut damaged = stream.clone();
                damaged[at] ^= 0x10;
                assert_eq!(stored(&damaged), None, "{len} bytes, byte {at}");
            }
            assert_eq!(stored(&[&stream[..], b"x"].concat()), None);
        }
        assert_eq!(store(&[&[0; 65_536]]), None);
    }

    #[test]
    fn both_inflaters_say_the_same() {
        let mut inflater = Inflater::default();
        let content: Vec<u8> = (0..9000u32)
            .flat_map(|at| format!("line {}\n", at % 700).into_bytes())
            .collect();
        for len in [0, 1, 60, 900, content.len()] {
            let content = &content[..len];
            let stream = deflate(&[content], 6);
            let behind = [&stream[..], b"what stands behind it"].concat();
            assert_eq!(inflater.exact_here(&behind, len).unwrap(), content);
            for size in [len.saturating_sub(1), len + 1] {
                let sizes = (inflater.exact_here(&behind, size), inflater.exact(&behind, size));
                assert_eq!(sizes.0, sizes.1.map(|(out, _)| out), "{size} of {len} bytes");
            }
            for at in (0..stream.len()).step_by(1 + len / 300) {
                let mut damaged = behind.clone();
                damaged[at] ^= 0x10;
                let both = [
                    inflater.exact_here(&damaged, len),
                    inflater.exact(&damaged, len).map(|(out, _)| out),
                ];
                assert_eq!(both[0], both[1], "{len} bytes, byte {at}");
                let both = [
                    inflater.exact_here(&stream[..at], len),
                    inflater.exact(&stream[..at], len).map(|(out, _)| out),
                ];
                assert_eq!(both[0], both[1], "{len} bytes, cut at {at}");
            }
        }
    }
}
