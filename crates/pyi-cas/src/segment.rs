//! Segment files: the header, and the scan that finds every record of one without help of an index. The scan is the truth
//! that indexes and the control file only hint at; it tells a torn tail (a writer died) from damage in the middle.

use std::io;

use crate::bytes_le::{array_at, set_at, u32_at, u64_at};
use crate::error::{Error, Result};
use crate::record::{HEADER_BYTES, Header};
use crate::vfs::{VfsFile, read_full};

/// Bytes of a segment's header.
pub(crate) const SEGMENT_HEADER_BYTES: u64 = 64;
const MAGIC: &[u8; 8] = b"PYISEG1\n";
const WINDOW_BYTES: usize = 1 << 20;

/// A kind of file that can be damaged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DamagedFile {
    /// A segment of objects.
    Segment,
    /// A log of refs.
    RefLog,
}

/// Bytes of a segment or a ref log (or of its header) that are not what was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Damage {
    /// What is damaged.
    pub file: DamagedFile,
    /// Number of the segment or of the ref log.
    pub number: u64,
    /// First damaged byte.
    pub offset: u64,
    /// Bytes up to the next good record, or to the end.
    pub length: u64,
}

/// Name of a segment's file.
pub(crate) fn segment_name(number: u64) -> String {
    format!("{number:016x}.seg")
}

/// Number in a name of the form `<16 hex>.<extension>`.
pub(crate) fn number_in_name(name: &str, extension: &str) -> Option<u64> {
    let digits = name.strip_suffix(extension)?.strip_suffix('.')?;
    let plain = digits.len() == 16 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if plain {
        u64::from_str_radix(digits, 16).ok()
    } else {
        None
    }
}

/// The 64 bytes at the start of a segment.
pub(crate) fn encode_header(number: u64, store: &[u8; 16], created_ns: u64) -> [u8; 64] {
    let mut bytes = [0u8; 64];
    set_at(&mut bytes, 0, MAGIC);
    set_at(&mut bytes, 8, &1u32.to_le_bytes());
    set_at(&mut bytes, 16, &number.to_le_bytes());
    set_at(&mut bytes, 24, store);
    set_at(&mut bytes, 40, &created_ns.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..48]);
    set_at(&mut bytes, 48, &crc.to_le_bytes());
    bytes
}

/// What stands where a header should.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HeaderState {
    /// A header of this store.
    Good,
    /// Too short or zero: its creator died before it wrote the header, so nothing was ever stored here.
    Unborn,
    /// Something else.
    Damaged,
}

/// Checks a header. Errors: `UnsupportedFormat` for a later version.
pub(crate) fn check_header(file: &dyn VfsFile, number: u64, store: &[u8; 16], place: &str) -> Result<HeaderState> {
    let mut bytes = [0u8; 64];
    let n = read_full(file, &mut bytes, 0).map_err(|error| Error::storage("read", place, error))?;
    if n < bytes.len() || (bytes == [0; 64] && file.len().is_ok_and(|length| length <= 64)) {
        return Ok(HeaderState::Unborn);
    }
    // A version or flag is believed only under a right checksum: a flipped bit is damage, not the future.
    if bytes[..8] != *MAGIC || u32_at(&bytes, 48) != crc32c::crc32c(&bytes[..48]) {
        return Ok(HeaderState::Damaged);
    }
    let (version, flags) = (u32_at(&bytes, 8), u32_at(&bytes, 12));
    if version != 1 || flags != 0 {
        return Err(Error::UnsupportedFormat {
            found: format!("segment version {version}, flags {flags} in {place}"),
        });
    }
    let ours = u64_at(&bytes, 16) == number && array_at::<16>(&bytes, 24) == *store;
    Ok(if ours { HeaderState::Good } else { HeaderState::Damaged })
}

/// A record that the scan found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) offset: u64,
    pub(crate) header: Header,
}

/// Result of a scan.
#[derive(Default, Debug)]
pub(crate) struct Scan {
    pub(crate) records: Vec<Found>,
    /// End of the last record (or where the scan began).
    pub(crate) end: u64,
    /// Stretches without a record that have records behind them: offset, length.
    pub(crate) gaps: Vec<(u64, u64)>,
    /// Whether something that is neither a record nor zeros stands at the end.
    pub(crate) torn: bool,
}

/// Finds the records in `from..to` of a segment; `from` is where a record begins. O(bytes), checksums only.
pub(crate) fn scan(file: &dyn VfsFile, from: u64, to: u64) -> io::Result<Scan> {
    // Small segments are common and the window is not: it is made no larger than what there is to read.
    let to = to.min(file.len()?);
    let mut window = Window {
        file,
        to,
        start: from,
        bytes: Vec::new(),
    };
    let mut result = Scan {
        end: from,
        ..Scan::default()
    };
    let mut offset = from;
    loop {
        while let Some(header) = window.record_at(offset)? {
            result.records.push(Found { offset, header });
            offset += header.record_bytes();
            result.end = offset;
        }
        match window.next_record(offset)? {
            Search::Record(next) => {
                result.gaps.push((offset, next - offset));
                offset = next;
            }
            Search::Zeros => return Ok(result),
            Search::Garbage => {
                result.torn = true;
                return Ok(result);
            }
        }
    }
}

enum Search {
    Record(u64),
    Zeros,
    Garbage,
}

/// A sliding view of the file: large reads, small looks.
struct Window<'a> {
    file: &'a dyn VfsFile,
    to: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// Up to `length` bytes at `offset`, fewer at the end; `length` is at most the window's size.
    fn at(&mut self, offset: u64, length: usize) -> io::Result<&[u8]> {
        let available = self.to.saturating_sub(offset);
        let length = length.min(usize::try_from(available).unwrap_or(usize::MAX));
        let inside = offset >= self.start && offset + length as u64 <= self.start + self.bytes.len() as u64;
        if !inside {
            let size = WINDOW_BYTES.min(usize::try_from(available).unwrap_or(WINDOW_BYTES));
            self.bytes.resize(size, 0);
            let n = read_full(self.file, &mut self.bytes, offset)?;
            self.bytes.truncate(n);
            self.start = offset;
            if n < size {
                self.to = offset + n as u64;
            }
        }
        let at = (offset - self.start) as usize;
        let end = (at + length).min(self.bytes.len());
        Ok(&self.bytes[at.min(end)..end])
    }

    fn record_at(&mut self, offset: u64) -> io::Result<Option<Header>> {
        let available = self.to.saturating_sub(offset);
        let bytes = self.at(offset, HEADER_BYTES)?;
        if bytes.len() < HEADER_BYTES {
            return Ok(None);
        }
        let header = Header::decode(bytes);
        if !header.fits(offset, available) {
            return Ok(None);
        }
        // The payload may be larger than any window: the checksum runs along.
        let (mut at, end) = (offset + 4, offset + HEADER_BYTES as u64 + u64::from(header.length));
        let mut crc = 0;
        while at < end {
            let part = self.at(at, WINDOW_BYTES.min((end - at) as usize))?;
            if part.is_empty() {
                return Ok(None);
            }
            crc = crc32c::crc32c_append(crc, part);
            at += part.len() as u64;
        }
        Ok((crc == header.crc).then_some(header))
    }

    /// Looks behind a place without a record for the next one.
    fn next_record(&mut self, from: u64) -> io::Result<Search> {
        let mut zeros = true;
        let mut at = from;
        loop {
            let part = self.at(at, WINDOW_BYTES)?;
            if part.is_empty() {
                return Ok(if zeros { Search::Zeros } else { Search::Garbage });
            }
            let mut candidates = Vec::new();
            for step in (0..part.len()).step_by(8) {
                let word = &part[step..part.len().min(step + 8)];
                if word.iter().all(|byte| *byte == 0) {
                    continue;
                }
                zeros = false;
                // The position lies 12 bytes into a header, so it is compared before anything is read again.
                let place = at + step as u64;
                let near_end = step + 16 > part.len();
                if place > from && (near_end || u64::from(u32_at(part, step + 12)) == place / 8) {
                    candidates.push(place);
                }
            }
            let step = part.len() as u64;
            for candidate in candidates {
                if self.record_at(candidate)?.is_some() {
                    return Ok(Search::Record(candidate));
                }
            }
            at += padded_down(step);
        }
    }
}

/// Steps through a file in multiples of eight; the odd bytes at the very end are a step of their own.
fn padded_down(bytes: u64) -> u64 {
    if bytes < 8 { bytes } else { bytes & !7 }
}

#[cfg(test)]
#[path = "segment_tests.rs"]
mod tests;
