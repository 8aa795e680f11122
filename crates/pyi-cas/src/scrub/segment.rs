//! One segment: every record, its checksum, its place, its content's hash, its padding.

use std::io;

use crate::fault::{Fault, Flaw, StoreFile};
use crate::id::Id;
use crate::kind::Kind;
use crate::record::{HEADER_BYTES, Header, PLAIN, is_whole, proven};
use crate::scrub::reader::{Pace, Reader};
use crate::segment::{Found, SEGMENT_HEADER_BYTES};
use crate::vfs::VfsFile;

/// Bytes that are looked at in one step when the next record is searched.
const SEARCH_BYTES: usize = 1 << 20;

/// What a record that is not plain comes to.
pub(crate) enum Decoded {
    /// The content.
    Content(Vec<u8>),
    /// What it needs to be read is not in the store: a collection removed it, as nothing reached the object any more. (Where something
    /// does, whoever follows the names misses it.)
    Left,
    /// It cannot be had, because the object that it is a difference from is damaged, for instance.
    Unreadable,
}

/// Decodes a record whose checksum fits.
pub(crate) type Decode<'d> = dyn Fn(&Header, &[u8]) -> Decoded + 'd;

/// What was found in one segment.
#[derive(Default, Debug)]
pub(crate) struct Pass {
    /// Whole records with the right content, by offset.
    pub(crate) records: Vec<Found>,
    /// End of the last whole record.
    pub(crate) end: u64,
    pub(crate) faults: Vec<Fault>,
    /// Something that is neither a record nor zeros stands behind the end, from here on.
    pub(crate) torn: Option<u64>,
    /// Records whose checksum is wrong and whose header is plausible: what they say that they are.
    pub(crate) claimed: Vec<Found>,
}

/// Reads `64..end` of a segment. Errors: what the file system says, but for sectors that it cannot read. O(bytes), one hash each.
pub(crate) fn pass(
    file: &dyn VfsFile,
    number: u64,
    end: u64,
    pace: &mut Pace<'_>,
    decode: &Decode<'_>,
) -> io::Result<Pass> {
    let mut reader = Reader::new(file, pace, end);
    let mut result = Pass {
        end: SEGMENT_HEADER_BYTES,
        ..Pass::default()
    };
    let name = StoreFile::Segment(number);
    let mut offset = SEGMENT_HEADER_BYTES;
    loop {
        while let Some((header, flaw)) = record_at(&mut reader, offset, decode)? {
            let found = Found { offset, header };
            match flaw {
                None => result.records.push(found),
                Some(flaw) => {
                    let fault = Fault::at(name, offset, header.record_bytes(), flaw);
                    result.faults.push(Fault {
                        id: Some(header.id),
                        ..fault
                    });
                    if flaw == Flaw::NotZero {
                        result.records.push(found);
                    }
                }
            }
            offset += header.record_bytes();
            result.end = offset;
        }
        let (next, zeros) = next_record(&mut reader, offset)?;
        let to = next.unwrap_or(reader.end);
        let first = result.claimed.len();
        claim(&mut reader, offset, to, &mut result.claimed)?;
        match next {
            Some(next) => {
                // One place for each record that still says what it was, and one for the rest.
                for found in &result.claimed[first..] {
                    let fault = Fault::at(name, found.offset, found.header.record_bytes(), Flaw::Record);
                    result.faults.push(Fault {
                        id: Some(found.header.id),
                        ..fault
                    });
                    offset = found.offset + found.header.record_bytes();
                }
                if offset < next {
                    result.faults.push(Fault::at(name, offset, next - offset, Flaw::Record));
                }
                offset = next;
            }
            None => {
                result.torn = (!zeros).then_some(offset);
                break;
            }
        }
    }
    for (offset, length) in reader.unreadable {
        result.faults.push(Fault::at(name, offset, length, Flaw::Unreadable));
    }
    Ok(result)
}

/// The record at `offset` if its checksum and place are right, and what is wrong with it all the same.
fn record_at(
    reader: &mut Reader<'_, '_, '_>,
    offset: u64,
    decode: &Decode<'_>,
) -> io::Result<Option<(Header, Option<Flaw>)>> {
    let available = reader.end.saturating_sub(offset);
    let head = reader.at(offset, HEADER_BYTES)?;
    if head.len() < HEADER_BYTES {
        return Ok(None);
    }
    let header = Header::decode(head);
    if !header.fits(offset, available) {
        return Ok(None);
    }
    let size = usize::try_from(header.record_bytes().min(available)).unwrap_or(usize::MAX);
    let record = reader.at(offset, size)?;
    let used = HEADER_BYTES + header.length as usize;
    // A file that was cut meanwhile.
    if record.len() < used || !is_whole(record, &header, offset) {
        return Ok(None);
    }
    let payload = &record[HEADER_BYTES..used];
    let right = Kind::from_number(header.kind).is_some_and(|kind| match header.encoding {
        PLAIN => kind.id_of(payload) == header.id,
        _ => match decode(&header, payload) {
            Decoded::Content(content) => kind.id_of(&content) == header.id,
            Decoded::Left => true,
            Decoded::Unreadable => false,
        },
    });
    let flaw = if !right {
        Some(Flaw::Content)
    } else if record[used..].iter().any(|byte| *byte != 0) {
        Some(Flaw::NotZero)
    } else {
        None
    };
    Ok(Some((header, flaw)))
}

/// The next offset behind `from` where a record with the right checksum stands; else whether there are only zeros.
fn next_record(reader: &mut Reader<'_, '_, '_>, from: u64) -> io::Result<(Option<u64>, bool)> {
    let mut zeros = true;
    let mut at = from;
    let mut candidates = Vec::new();
    loop {
        let part = reader.at(at, SEARCH_BYTES)?;
        if part.is_empty() {
            return Ok((None, zeros));
        }
        let step = part.len();
        candidates.clear();
        for place in (0..step).step_by(8) {
            let word = &part[place..step.min(place + 8)];
            if word.iter().all(|byte| *byte == 0) {
                continue;
            }
            zeros = false;
            let offset = at + place as u64;
            // The position lies 12 bytes into a header, so it is compared before anything is read again.
            let position = part.get(place + 12..place + 16);
            if offset > from && position.is_none_or(|position| *position == ((offset / 8) as u32).to_le_bytes()) {
                candidates.push(offset);
            }
        }
        for candidate in &candidates {
            if checked_header(reader, *candidate)?.is_some() {
                return Ok((Some(*candidate), false));
            }
        }
        at += if step < 8 { step as u64 } else { step as u64 & !7 };
    }
}

fn checked_header(reader: &mut Reader<'_, '_, '_>, offset: u64) -> io::Result<Option<Header>> {
    Ok(record_at(reader, offset, &|_, _| Decoded::Unreadable)?.map(|(header, _)| header))
}

/// Follows the headers in a stretch without whole records, as long as they are plausible.
fn claim(reader: &mut Reader<'_, '_, '_>, from: u64, to: u64, claimed: &mut Vec<Found>) -> io::Result<()> {
    let mut offset = from;
    while offset + (HEADER_BYTES as u64) <= to {
        let head = reader.at(offset, HEADER_BYTES)?;
        if head.len() < HEADER_BYTES {
            break;
        }
        let mut header = Header::decode(head);
        let plausible = header.fits(offset, to - offset)
            && header.domain == 0
            && header.id != Id([0; 32])
            && offset + header.record_bytes() <= to;
        if !plausible {
            break;
        }
        let record = reader.at(offset, usize::try_from(header.record_bytes()).unwrap_or(usize::MAX))?;
        // Where the payload proves what it is, the id (or kind) in the header is what was hit.
        if header.encoding == PLAIN
            && record.len() as u64 == header.record_bytes()
            && let Some((kind, id)) = proven(record)
        {
            (header.kind, header.id) = (kind as u8, id);
        }
        claimed.push(Found { offset, header });
        offset += header.record_bytes();
    }
    Ok(())
}
