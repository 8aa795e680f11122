//! Copying what is whole of a segment that is given up: because its flush failed, or because a loss of power left holes in it.
//!
//! After a failed flush the system may have forgotten what it should have written and call the file clean, so the
//! records are read back, checked, and written to a new segment that is flushed (see Rebello et al., "Can applications recover from fsync
//! failures?", 2020). Nothing of the old one is needed then.

use crate::error::{Error, Result};
use crate::id::Id;
use crate::record::{self, HEADER_BYTES, Header};
use crate::segment::{Damage, Found, SEGMENT_HEADER_BYTES, scan};
use crate::shared::{Segment, Shared, location};
use crate::vfs::{OpenMode, read_full};
use crate::writer::Writer;

/// Records are copied in writes of about so many bytes.
const COPY_BYTES: usize = 4 << 20;

/// Copies all that is committed in `segment` to a new one, flushed under a durable name, and lets lookups find it there. Errors: `Storage`;
/// `Corrupt` if a record cannot be read back whole. The old segment is as it was. O(bytes).
pub(crate) fn evacuate(shared: &Shared, segment: &Segment) -> Result<Writer> {
    let path = shared.segment_path(segment.number);
    let failed = |error| Error::storage("read back", &path, error);
    let found = scan(segment.file.as_ref(), SEGMENT_HEADER_BYTES, segment.marks.committed()).map_err(failed)?;
    if !found.gaps.is_empty() || found.end < segment.marks.committed() {
        return Err(Error::corrupt(
            "a segment whose flush failed",
            format!("{} offset {}", path.display(), found.end),
        ));
    }
    let mut writer = Writer::create(shared)?;
    copy(shared, segment, &found.records, &mut writer)?;
    writer.flush(shared)?;
    Ok(writer)
}

/// Copies what is whole of the unsealed segments in which a loss of power left holes, and removes them: their places are no damage, and
/// nobody was told that what stood there would survive. Segments with damage in what is known to have been durable are left for a scrub.
/// `renew` is called before the first one goes, and makes the refs depend on none of them. What was lost: segment, offset, length. Best
/// effort: what fails stays as it is and is reported as damage. O(bytes of those segments).
pub(crate) fn mend(shared: &Shared, renew: impl FnOnce() -> Result<()>) -> Vec<Damage> {
    let damage = shared.damage();
    let mut holed = Vec::new();
    for segment in shared.unsealed() {
        let first = damage
            .iter()
            .filter(|place| place.number == segment.number)
            .map(|place| place.offset)
            .min();
        let durable = shared
            .control
            .as_ref()
            .map_or(0, |control| control.last_durable_length(segment.number));
        if first.is_some_and(|first| first >= durable) {
            // Whoever holds the lock has been through this.
            let own = shared
                .vfs
                .open(&shared.segment_path(segment.number), OpenMode::ReadWrite);
            if let Ok(file) = own
                && file.try_lock_exclusive().unwrap_or(false)
            {
                holed.push((segment, file));
            }
        }
    }
    if holed.is_empty() {
        return Vec::new();
    }
    let copied = Writer::create(shared).and_then(|mut writer| {
        for (segment, _) in &holed {
            let found = scan(segment.file.as_ref(), SEGMENT_HEADER_BYTES, u64::MAX)
                .map_err(|error| Error::storage("read", shared.segment_path(segment.number), error))?;
            copy(shared, segment, &found.records, &mut writer)?;
        }
        let flushed = writer.flush(shared);
        writer.release();
        flushed
    });
    for (segment, _) in &holed {
        segment.marks.raise_durable(segment.marks.committed());
    }
    if copied.and_then(|()| renew()).is_err() {
        return Vec::new();
    }
    let mut lost = Vec::new();
    for (segment, file) in holed {
        lost.extend(damage.iter().filter(|place| place.number == segment.number));
        shared.remove(&segment);
        drop(file);
    }
    lost
}

/// Copies these records of a segment behind those of a writer.
fn copy(shared: &Shared, segment: &Segment, records: &[Found], writer: &mut Writer) -> Result<()> {
    let path = shared.segment_path(segment.number);
    let failed = |error| Error::storage("read back", &path, error);
    let file = segment.file.as_ref();
    let mut buffer = Vec::new();
    let mut headers = Vec::new();
    for one in records {
        let size = HEADER_BYTES + one.header.length as usize;
        let at = buffer.len();
        buffer.resize(at + size, 0);
        let n = read_full(file, &mut buffer[at..], one.offset).map_err(failed)?;
        if n < size || !record::is_whole(&buffer[at..], &one.header, one.offset) {
            let place = format!("{} offset {}", path.display(), one.offset);
            return Err(Error::corrupt(format!("object {}", one.header.id), place));
        }
        buffer.resize(buffer.len().next_multiple_of(8), 0);
        headers.push((at, one.header));
        if buffer.len() >= COPY_BYTES {
            write(shared, writer, &mut buffer, &mut headers)?;
        }
    }
    write(shared, writer, &mut buffer, &mut headers)
}

fn write(shared: &Shared, writer: &mut Writer, buffer: &mut Vec<u8>, headers: &mut Vec<(usize, Header)>) -> Result<()> {
    let base = writer.end();
    for (at, header) in headers.iter() {
        record::finish(&mut buffer[*at..], header.length, base + *at as u64);
    }
    let slot = writer.segment.slot;
    let places: Vec<(Id, crate::recent::Location)> = headers
        .iter()
        .map(|(at, header)| (header.id, location(slot, base + *at as u64, header)))
        .collect();
    writer.append_raw(shared, buffer, places.len() as u64)?;
    for (id, place) in places {
        shared.recent.replace(id, place);
    }
    buffer.clear();
    headers.clear();
    Ok(())
}
