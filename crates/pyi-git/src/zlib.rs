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

/// A reusable inflater.
pub(crate) struct Inflater(Decompress);

impl Default for Inflater {
    fn default() -> Self {
        Self(Decompress::new(true))
    }
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

    /// Inflates the stream at the start of `input`, which must fill `out` and end there.
    pub(crate) fn fill(&mut self, input: &[u8], out: &mut [u8]) -> Result<usize, InflateError> {
        self.0.reset(true);
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
        self.0.reset(true);
        self.0
            .decompress(input, out, FlushDecompress::None)
            .map_err(|_| InflateError::Corrupt)?;
        Ok(self.written())
    }

    fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<Status, InflateError> {
        self.0
            .decompress(input, out, FlushDecompress::Finish)
            .map_err(|_| InflateError::Corrupt)
    }

    fn consumed(&self) -> usize {
        usize::try_from(self.0.total_in()).unwrap_or(usize::MAX)
    }

    fn written(&self) -> usize {
        usize::try_from(self.0.total_out()).unwrap_or(usize::MAX)
    }
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
