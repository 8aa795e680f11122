//! Compaction: a collection that leaves no sealed segment as it is stores what lives in the smallest way; see [`crate::recode`].

use std::collections::HashSet;

use super::{Collection, Mark, Step};
use crate::encoding::{CHUNKS, DELTA, SPLICE};
use crate::error::{Error, Result};
use crate::id::{Id, IdMap, IdSet};
use crate::index::SealedIndex;
use crate::kind::Kind;
use crate::recode::{Recoded, plan};
use crate::record::{HEADER_BYTES, encode_into};
use crate::rewrite::{Planned, link_chunks, recode_all};
use crate::shared::entry_location;
use crate::survey::{read_record, references};

/// Threads that encode. More would leave too little to those whose store it is.
const THREADS_MAX: usize = 4;
/// Objects between two calls of the progress function.
const PROGRESS_EVERY: usize = 1_000;

/// What is to be encoded anew, and what is known of it.
#[derive(Default)]
struct Cold {
    kinds: IdMap<Kind>,
    /// In the order of the victims and of their records, lists of chunks included.
    order: Vec<Id>,
    newer: IdMap<Id>,
}

impl Collection<'_> {
    /// Writes what lives in victims and can be encoded anew. What is left (lists of chunks, what cannot be read, what a later
    /// version stored) is copied as it is. O(contents of the victims).
    pub(super) fn compact(&mut self, mark: &dyn Mark) -> Step<()> {
        let cold = self.cold(mark)?;
        let needed = self.bases_of_what_stays()?;
        let newer = |id: &Id| cold.newer.get(id).copied();
        let planned: Vec<Planned> = plan(&cold.order, &newer, &|id| needed.contains(id))
            .into_iter()
            .filter_map(|(id, base)| Some((*cold.kinds.get(&id)?, id, base)))
            .collect();
        let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get().min(THREADS_MAX));
        let (shared, outputs, placed) = (self.shared, &mut self.outputs, &mut self.placed);
        let (progress, mut done) = (self.options.progress, 0);
        let read = |kind: Kind, id: &Id| shared.read_known(kind, id);
        recode_all(&planned, &read, threads, &mut |kind, id, recoded| {
            done += 1;
            if done % PROGRESS_EVERY == 0
                && let Some(progress) = progress
            {
                progress("compact", done as f64 / planned.len() as f64);
            }
            match recoded {
                Ok(Some(recoded)) => {
                    outputs.push(record(kind, id, &recoded)?)?;
                    placed.insert(*id);
                    Ok(())
                }
                // Copied as it is, or found to be the reason why its segment has to stay.
                Ok(None) | Err(Error::Corrupt { .. } | Error::UnsupportedFormat { .. }) => Ok(()),
                Err(error) => Err(error),
            }
        })?;
        Ok(())
    }

    /// What is to be encoded anew: everything that lives in victims only and is no list of chunks, which has no kind here.
    fn cold(&self, mark: &dyn Mark) -> Result<Cold> {
        let numbers: HashSet<u64> = self.victims.iter().map(|victim| victim.number).collect();
        let mut cold = Cold::default();
        let mut lists: IdMap<Vec<Id>> = IdMap::default();
        for victim in &self.victims {
            let mut entries: Vec<_> = victim
                .index
                .entries()
                .filter(|entry| self.live.contains(&entry.id))
                .collect();
            entries.sort_unstable_by_key(|entry| entry.offset);
            for entry in entries {
                if entry.encoding == CHUNKS {
                    // Not encoded anew, but what is older and smaller can be a delta on it.
                    if lists.insert(entry.id, self.needs(&victim.index, entry.id)?).is_none() {
                        cold.order.push(entry.id);
                        cold.newer
                            .extend(mark.delta_base(&entry.id).map(|newer| (entry.id, newer)));
                    }
                    continue;
                }
                let Some(kind) = Kind::from_number(entry.kind) else {
                    continue;
                };
                if cold.kinds.contains_key(&entry.id)
                    || self.placed.contains(&entry.id)
                    || self.stands_elsewhere(&entry.id, &numbers)?
                {
                    continue;
                }
                cold.kinds.insert(entry.id, kind);
                cold.order.push(entry.id);
                // What it is a delta on already serves where nothing better is known.
                let newer = match mark.delta_base(&entry.id) {
                    None if entry.encoding == DELTA => self.needs(&victim.index, entry.id)?.first().copied(),
                    newer => newer,
                };
                cold.newer.extend(newer.map(|newer| (entry.id, newer)));
            }
        }
        let mut links = IdMap::default();
        for (id, chunks) in &lists {
            if let Some(newer) = mark.delta_base(id).and_then(|newer| lists.get(&newer)) {
                link_chunks(chunks, newer, &mut links);
            }
        }
        cold.newer.extend(links);
        Ok(cold)
    }

    /// What the record of an object in this segment names; nothing if it cannot be read. One read.
    fn needs(&self, index: &SealedIndex, id: Id) -> Result<Vec<Id>> {
        let (Some(segment), Some(entry)) = (self.shared.segment(index.slot), index.lookup(&id)) else {
            return Ok(Vec::new());
        };
        let record = read_record(self.shared, &segment, &id, &entry_location(index.slot, &entry))?;
        Ok(record.map_or_else(Vec::new, |record| {
            references(entry.kind, entry.encoding, &record[HEADER_BYTES..])
        }))
    }

    /// Bases of deltas and splices in sealed segments that stay: encoded as deltas themselves they would make those chains longer each time.
    fn bases_of_what_stays(&self) -> Result<IdSet> {
        let victims: HashSet<u64> = self.victims.iter().map(|victim| victim.number).collect();
        let mut bases = IdSet::default();
        for index in self.shared.sealed_indexes()? {
            if victims.contains(&index.number) {
                continue;
            }
            for entry in index.entries().filter(|entry| matches!(entry.encoding, DELTA | SPLICE)) {
                bases.extend(self.needs(&index, entry.id)?);
            }
        }
        Ok(bases)
    }
}

/// A record without its padding; position and checksum are filled in where it is put.
fn record(kind: Kind, id: &Id, recoded: &Recoded) -> Result<Vec<u8>> {
    let too_long = |_| Error::invalid(format!("{kind} {id} would take 4 GiB"));
    let length = u32::try_from(recoded.payload.len()).map_err(too_long)?;
    let mut record = Vec::with_capacity(HEADER_BYTES + recoded.payload.len() + 8);
    encode_into(&mut record, kind as u8, recoded.encoding, id, &recoded.payload, length);
    record.truncate(HEADER_BYTES + recoded.payload.len());
    Ok(record)
}
