//! What a collector finds out before it changes anything: what the live records refer to themselves, which segments are worth
//! rewriting, and whether a record is whole.

use std::collections::HashSet;
use std::sync::Arc;

use crate::bytes_le::array_at;
use crate::condemned::{entry_bytes, record_bytes};
use crate::encoding::{CHUNKS, DELTA, SPLICE};
use crate::error::{Error, Result};
use crate::fork;
use crate::id::{Id, IdSet};
use crate::index::SealedIndex;
use crate::kind::Kind;
use crate::recent::Location;
use crate::record::{HEADER_BYTES, Header, PLAIN, is_whole};
use crate::segment::SEGMENT_HEADER_BYTES;
use crate::shared::{Segment, Shared, entry_location};
use crate::vfs::read_full;

/// Bytes of a chunk list before its chunks, and of each.
const CHUNKS_AT: usize = 8;
const CHUNK_BYTES: usize = 36;

/// The objects that a record needs to be read, by its encoding. O(length).
pub(crate) fn references(_kind: u8, encoding: u8, payload: &[u8]) -> Vec<Id> {
    match encoding {
        DELTA | SPLICE if payload.len() >= 32 => vec![Id(array_at(payload, 0))],
        CHUNKS => {
            let chunks = payload.get(CHUNKS_AT..).unwrap_or_default();
            chunks
                .chunks_exact(CHUNK_BYTES)
                .map(|chunk| Id(array_at(chunk, 0)))
                .collect()
        }
        _ => Vec::new(),
    }
}

/// Adds to `live`, and to `needed`, what live records need to be read. `done` holds those that were looked at before. O(objects), and reads
/// the records that refer to others.
pub(crate) fn expand(
    shared: &Shared,
    live: &mut IdSet,
    needed: &mut IdSet,
    done: &mut HashSet<(u32, u32)>,
) -> Result<()> {
    let mut referring: Vec<(Id, Location)> = Vec::new();
    {
        let _gate = fork::enter();
        shared.recent.for_each(|id, location| {
            if location.encoding >= DELTA {
                referring.push((*id, *location));
            }
        });
    }
    for index in &sealed_indexes(shared)? {
        let entries = index.entries().filter(|entry| entry.encoding >= DELTA);
        referring.extend(entries.map(|entry| (entry.id, entry_location(index.slot, &entry))));
    }
    loop {
        let before = live.len();
        for (id, location) in &referring {
            if !live.contains(id) || !done.insert((location.slot, location.position)) {
                continue;
            }
            let Some(segment) = segment_in(shared, location.slot) else {
                continue;
            };
            // One that is damaged is read from another copy, if at all.
            if let Some(record) = read_record(shared, &segment, id, location)? {
                let named = references(location.kind, location.encoding, &record[HEADER_BYTES..]);
                needed.extend(named.into_iter().filter(|id| live.insert(*id)));
            }
        }
        if live.len() == before {
            return Ok(());
        }
    }
}

/// The sealed indexes now. A collector is long, so it keeps forks waiting only where it takes a lock.
pub(crate) fn sealed_indexes(shared: &Shared) -> Result<Vec<Arc<SealedIndex>>> {
    let _gate = fork::enter();
    shared.sealed_indexes()
}

/// The segment in a slot, if it was not removed.
pub(crate) fn segment_in(shared: &Shared, slot: u32) -> Option<Arc<Segment>> {
    let _gate = fork::enter();
    shared.segment(slot)
}

/// The places of an object.
pub(crate) fn places(shared: &Shared, id: &Id) -> Result<Vec<(u64, Location)>> {
    let _gate = fork::enter();
    shared.places(id)
}

/// Header and payload of a record, if it is whole; `None` and the damage noted if it is not. Of one that is stored plainly the
/// hash is checked too. One read, O(length).
pub(crate) fn read_record(shared: &Shared, segment: &Segment, id: &Id, location: &Location) -> Result<Option<Vec<u8>>> {
    let offset = location.offset();
    let mut record = vec![0u8; HEADER_BYTES + location.length as usize];
    let n = read_full(segment.file.as_ref(), &mut record, offset)
        .map_err(|error| Error::storage("read", shared.segment_path(segment.number), error))?;
    let whole = n == record.len() && {
        let header = Header::decode(&record);
        header.id == *id
            && header.length == location.length
            && is_whole(&record, &header, offset)
            && (header.encoding != PLAIN
                || Kind::from_number(header.kind).is_none_or(|kind| kind.id_of(&record[HEADER_BYTES..]) == *id))
    };
    if !whole {
        let _gate = fork::enter();
        shared.report_damage(segment.number, offset, record.len() as u64);
    }
    Ok(whole.then_some(record))
}

/// The objects that the first whole copy of an object needs to be read. O(indexes), and a read if it needs any.
pub(crate) fn parts(shared: &Shared, id: &Id) -> Result<Vec<Id>> {
    for (_, location) in shared.places(id)? {
        if location.encoding < DELTA {
            return Ok(Vec::new());
        }
        if let Some(segment) = shared.segment(location.slot)
            && let Some(record) = read_record(shared, &segment, id, &location)?
        {
            return Ok(references(location.kind, location.encoding, &record[HEADER_BYTES..]));
        }
    }
    Ok(Vec::new())
}

/// A segment that is to go.
pub(crate) struct Victim {
    pub(crate) number: u64,
    pub(crate) segment: Arc<Segment>,
    pub(crate) index: Arc<SealedIndex>,
    /// Whether everything that lives in it could be copied so far.
    pub(crate) removable: bool,
}

/// What stands where.
#[derive(Default)]
pub(crate) struct Survey {
    pub(crate) victims: Vec<Victim>,
    /// Bytes of the live objects, each counted once.
    pub(crate) live_bytes: u64,
    /// Live objects that are there.
    pub(crate) objects_live: u64,
}

/// Chooses the victims among the candidates: those whose dead share is large enough. Of several copies of an object the newest one
/// counts as live, so that what an earlier collector copied before it died makes its sources garbage. O(objects).
pub(crate) fn survey(
    shared: &Shared,
    candidates: &HashSet<u64>,
    live: &IdSet,
    dead_share: f64,
    compact: bool,
) -> Result<Survey> {
    let mut survey = Survey::default();
    let mut counted = IdSet::default();
    {
        let _gate = fork::enter();
        shared.recent.for_each(|id, location| {
            if live.contains(id) && counted.insert(*id) {
                survey.live_bytes += record_bytes(location.length);
            }
        });
    }
    let mut indexes: Vec<Arc<SealedIndex>> = sealed_indexes(shared)?;
    indexes.sort_unstable_by_key(|index| std::cmp::Reverse(index.number));
    for index in indexes {
        let mut live_here = 0;
        for entry in index.entries() {
            if live.contains(&entry.id) && counted.insert(entry.id) {
                live_here += entry_bytes(&entry);
            }
        }
        survey.live_bytes += live_here;
        let Some(segment) = segment_in(shared, index.slot) else {
            continue;
        };
        if !candidates.contains(&index.number) {
            continue;
        }
        let length = segment
            .file
            .len()
            .map_err(|error| Error::storage("read", shared.segment_path(index.number), error))?;
        let bytes = length.saturating_sub(SEGMENT_HEADER_BYTES);
        let dead = bytes.saturating_sub(live_here);
        let worth = live_here == 0 || dead > 0 && dead as f64 >= dead_share * bytes as f64;
        if worth || compact {
            survey.victims.push(Victim {
                number: index.number,
                segment,
                index,
                removable: true,
            });
        }
    }
    survey.victims.reverse();
    survey.objects_live = counted.len() as u64;
    Ok(survey)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_of_every_encoding() {
        let (a, b) = (Id([1; 32]), Id([2; 32]));
        let delta = [&a.0[..], b"instructions"].concat();
        assert_eq!(references(1, DELTA, &delta), [a]);
        assert_eq!(references(1, SPLICE, &delta), [a]);
        assert!(references(1, DELTA, b"short").is_empty());
        let mut list = 9u64.to_le_bytes().to_vec();
        for id in [a, b] {
            list.extend_from_slice(&id.0);
            list.extend_from_slice(&7u32.to_le_bytes());
        }
        assert_eq!(references(1, CHUNKS, &list), [a, b]);
        list.truncate(60);
        assert_eq!(references(1, CHUNKS, &list), [a], "a torn list names what it names");
        assert!(references(1, CHUNKS, b"").is_empty());
        assert!(references(1, PLAIN, &delta).is_empty());
        assert!(references(1, 1, &delta).is_empty());
    }
}
