//! Builds merged indexes. Who seals a segment looks whether many sealed indexes stand alone, and then merges these,
//! and with them every merged index that is not much larger than what has come together so far. So an index is written again only when the
//! objects in it have grown by half, and n objects cost O(n log n) in all; there are O(log n) merged indexes at any time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::bytes_le::{set_at, u64_at};
use crate::error::{Error, Result};
use crate::fork;
use crate::id::{Id, to_hex};
use crate::index::{ENTRY_BYTES, IndexEntry, SealedIndex, filter_bits};
use crate::merged_index::{
    BLOCK_BYTES, Broken, Covered, MergedIndex, body_at, decode_row, encode_head, encode_row, filter_words, merged_name,
};
use crate::sealed::Sealed;
use crate::shared::Shared;
use crate::vfs::{OpenMode, VfsFile, write_all};

/// Sealed indexes that may stand alone before they are merged.
pub(crate) const SINGLE_MAX: usize = 4;
/// A merged index is taken into the next one if it has at most so many times the rows that came together without it.
const TAKEN_UP_TO: u64 = 2;
/// A store that is being closed waits for the end of a merge of up to so many rows. A larger one is given up, and a smaller one
/// made of what stands alone; the next sealer does the rest.
const ROWS_AT_CLOSE: u64 = 4 << 20;
/// Written at a time; a multiple of the block.
const WINDOW_BYTES: usize = 256 * BLOCK_BYTES;
/// Held by who merges. A file of its own, as others may lock what else there is.
const LOCK_NAME: &str = "merging";
const UNFINISHED: &str = "merged.tmp-";

/// Merges sealed indexes if many stand alone. Best effort: without it, lookups ask more indexes. O(objects merged).
pub(crate) fn merge_if_due(shared: &Shared) {
    // As long as one is broken, another round goes on without it; each drops one. One that is given up is followed by one that
    // is not.
    while let Ok(Outcome::Again) = merge_once(shared) {}
}

enum Outcome {
    Done,
    /// A merged index was broken and has been let go, or the merge took too long for a store that is being closed.
    Again,
}

fn merge_once(shared: &Shared) -> Result<Outcome> {
    let (inputs, _lock) = {
        let _gate = fork::enter_unless(&shared.awaits_sealing);
        if due(&shared.sealed(), u64::MAX).is_none() {
            return Ok(Outcome::Done);
        }
        let Some(lock) = lock(shared)? else {
            return Ok(Outcome::Done);
        };
        // Others may have merged meanwhile.
        shared.look_at_directory()?;
        let rows_max = if is_closing(shared) { ROWS_AT_CLOSE } else { u64::MAX };
        let Some(inputs) = due(&shared.sealed(), rows_max) else {
            return Ok(Outcome::Done);
        };
        (Inputs::new(shared, inputs), lock)
    };
    // No lock of this process is held here: a fork need not wait for it.
    for index in &inputs.from.merged {
        if index.check_all() == Err(Broken) {
            let _gate = fork::enter_unless(&shared.awaits_sealing);
            shared.unmerge(index)?;
            return Ok(Outcome::Again);
        }
    }
    let Some(number) = inputs.covered.last().map(|segment| segment.number) else {
        return Ok(Outcome::Done);
    };
    let path = shared.directory.join(merged_name(number));
    remove_unfinished(shared);
    let mut random = [0u8; 8];
    let failed = |error| Error::storage("write", &path, error);
    shared.vfs.random(&mut random).map_err(failed)?;
    let temporary = shared.directory.join(format!("{UNFINISHED}{}", to_hex(&random)));
    let placed = inputs
        .write(shared, &temporary)
        .and_then(|whole| match whole {
            true => shared.vfs.rename(&temporary, &path).map(|()| true),
            false => Ok(false),
        })
        .map_err(failed);
    if !matches!(placed, Ok(true)) {
        let _ = shared.vfs.remove(&temporary);
        let given_up = inputs.rows() > ROWS_AT_CLOSE && is_closing(shared);
        return placed.map(|_| if given_up { Outcome::Again } else { Outcome::Done });
    }
    shared.vfs.sync_dir(&shared.directory).map_err(failed)?;
    let _gate = fork::enter_unless(&shared.awaits_sealing);
    shared.broken.lock().remove(&number);
    shared.look_at_directory()?;
    remove_superseded(shared);
    shared.announce_segments();
    Ok(Outcome::Done)
}

fn is_closing(shared: &Shared) -> bool {
    shared.awaits_sealing.load(Ordering::Relaxed)
}

/// What is to be merged now, of no more rows than that; `None` if few indexes stand alone.
fn due(set: &Sealed, rows_max: u64) -> Option<Sealed> {
    // A damaged segment stays by itself, as its index alone says that it is.
    let single: Vec<_> = set.single.iter().filter(|index| index.damaged_places == 0).collect();
    if single.len() <= SINGLE_MAX {
        return None;
    }
    let mut inputs = Sealed::default();
    let mut rows = 0;
    for index in single {
        if rows + index.len() as u64 <= rows_max {
            rows += index.len() as u64;
            inputs.single.push(Arc::clone(index));
        }
    }
    if inputs.single.len() < 2 {
        return None;
    }
    for index in set.merged.iter().rev() {
        // Also one most of whose segments are gone.
        let small = index.rows() as u64 <= TAKEN_UP_TO * rows || index.objects() * 2 < index.rows() as u64;
        if small && rows + index.objects() <= rows_max {
            rows += index.objects();
            inputs.merged.push(Arc::clone(index));
        }
    }
    Some(inputs)
}

/// The lock of who merges; `None` if somebody else does.
fn lock(shared: &Shared) -> Result<Option<Arc<dyn VfsFile>>> {
    let path = shared.directory.join(LOCK_NAME);
    let failed = |error| Error::storage("lock", &path, error);
    let file = match shared.vfs.open(&path, OpenMode::ReadWrite) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            match shared.vfs.open(&path, OpenMode::CreateNew) {
                // Somebody else has just created it, and merges.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
                other => other.map_err(failed)?,
            }
        }
        other => other.map_err(failed)?,
    };
    Ok(file.try_lock_exclusive().map_err(failed)?.then_some(file))
}

/// Removes what mergers that died have left; the lock says that none of them lives.
fn remove_unfinished(shared: &Shared) {
    for name in shared.vfs.list(&shared.directory).unwrap_or_default() {
        if name.starts_with(UNFINISHED) {
            let _ = shared.vfs.remove(&shared.directory.join(name));
        }
    }
}

/// Removes merged indexes that nothing needs any more. Others have them mapped and go on.
fn remove_superseded(shared: &Shared) {
    let set = shared.sealed();
    let Ok(listing) = shared.list() else { return };
    for number in listing.merged {
        if !set.merged.iter().any(|index| index.number == number) {
            let _ = shared.vfs.remove(&shared.directory.join(merged_name(number)));
        }
    }
}

struct Inputs {
    from: Sealed,
    /// What the result covers, by number.
    covered: Vec<Covered>,
    /// For each single index, the place of its segment among the covered ones.
    places: Vec<u32>,
    /// For each merged index, the new places of the segments that it covers; `None` for one that is left out.
    new_places: Vec<Vec<Option<u32>>>,
}

impl Inputs {
    fn new(shared: &Shared, from: Sealed) -> Inputs {
        let number = |slot: u32| shared.segment(slot).map_or(0, |segment| segment.number);
        let mut covered: Vec<Covered> = from
            .single
            .iter()
            .map(|index| Covered {
                number: number(index.slot),
                segment_bytes: index.segment_bytes,
                objects: index.len() as u64,
            })
            .collect();
        // What two merged indexes cover is taken from the first of them.
        let mut takes: Vec<Vec<bool>> = Vec::new();
        for index in &from.merged {
            let mut taken = Vec::new();
            for (place, segment) in index.covered().iter().enumerate() {
                let new = !covered.iter().any(|other| other.number == segment.number);
                let take = new && index.slot(place as u32).is_some();
                if take {
                    covered.push(*segment);
                }
                taken.push(take);
            }
            takes.push(taken);
        }
        covered.sort_unstable_by_key(|segment| segment.number);
        let place = |number: u64| covered.partition_point(|segment| segment.number < number) as u32;
        let new_places = from.merged.iter().zip(takes).map(|(index, taken)| {
            let segments = index.covered().iter().zip(taken);
            segments
                .map(|(segment, take)| take.then(|| place(segment.number)))
                .collect()
        });
        Inputs {
            new_places: new_places.collect(),
            places: from.single.iter().map(|index| place(number(index.slot))).collect(),
            covered,
            from,
        }
    }

    /// Rows of the result.
    fn rows(&self) -> u64 {
        self.covered.iter().map(|segment| segment.objects).sum()
    }

    /// Writes and flushes the merged index; `false` if that was not to be finished.
    fn write(&self, shared: &Shared, path: &Path) -> io::Result<bool> {
        let rows = self.rows();
        let words = filter_words(rows);
        let mut filter = vec![0u8; words as usize * 8];
        let file = shared.vfs.open(path, OpenMode::CreateNew)?;
        let mut body = Body {
            file: file.as_ref(),
            at: body_at(self.covered.len()) as u64,
            window: Vec::with_capacity(WINDOW_BYTES + ENTRY_BYTES),
            checksums: Vec::new(),
        };
        let mut sources = self.sources();
        let mut heap: BinaryHeap<Reverse<(Id, u32, usize)>> = BinaryHeap::new();
        for (at, source) in sources.iter_mut().enumerate() {
            source.advance();
            heap.extend(source.key(at));
        }
        let mut written = 0u64;
        while let Some(mut top) = heap.peek_mut() {
            let Reverse((id, place, at)) = *top;
            let source = &mut sources[at];
            if let Some((entry, _)) = source.next {
                body.push(&encode_row(&entry, place))?;
            }
            if words > 0 {
                let (word, bits) = filter_bits(&id, words);
                let bits = u64_at(&filter, word) | bits;
                set_at(&mut filter, word, &bits.to_le_bytes());
            }
            written += 1;
            if written > rows || rows > ROWS_AT_CLOSE && is_closing(shared) {
                return Ok(false);
            }
            source.advance();
            match source.key(at) {
                Some(key) => *top = key,
                None => drop(std::collections::binary_heap::PeekMut::pop(top)),
            }
        }
        // A count that does not fit what the heads promised: whatever the reason, this is no good index.
        if written != rows {
            return Ok(false);
        }
        body.push(&filter)?;
        let (end, checksums) = body.finish()?;
        write_all(file.as_ref(), &checksums, end)?;
        write_all(file.as_ref(), &encode_head(&self.covered, rows, words, &checksums), 0)?;
        file.sync_data()?;
        Ok(true)
    }

    fn sources(&self) -> Vec<Source<'_>> {
        let single = self.from.single.iter().zip(&self.places).map(|(index, place)| Source {
            rows: Rows::Single(index, *place),
            at: 0,
            next: None,
        });
        let merged = self.from.merged.iter().zip(&self.new_places);
        single
            .chain(merged.map(|(index, places)| Source {
                rows: Rows::Merged(index, places),
                at: 0,
                next: None,
            }))
            .collect()
    }
}

enum Rows<'a> {
    Single(&'a SealedIndex, u32),
    Merged(&'a MergedIndex, &'a [Option<u32>]),
}

/// A sorted table on its way into the merged one.
struct Source<'a> {
    rows: Rows<'a>,
    at: usize,
    /// The row that comes next, and the place of its segment in the result.
    next: Option<(IndexEntry, u32)>,
}

impl Source<'_> {
    fn advance(&mut self) {
        self.next = None;
        while self.next.is_none() {
            let at = self.at;
            self.at += 1;
            self.next = match &self.rows {
                Rows::Single(index, place) if at < index.len() => Some((index.entry(at), *place)),
                Rows::Merged(index, places) if at < index.rows() => {
                    let (entry, old) = decode_row(&index.table()[at * ENTRY_BYTES..]);
                    places.get(old as usize).copied().flatten().map(|place| (entry, place))
                }
                _ => return,
            };
        }
    }

    /// What orders the rows: the id, then the segment.
    fn key(&self, source: usize) -> Option<Reverse<(Id, u32, usize)>> {
        self.next.map(|(entry, place)| Reverse((entry.id, place, source)))
    }
}

/// The body on its way to the file, with the checksums of its blocks.
struct Body<'a> {
    file: &'a dyn VfsFile,
    at: u64,
    window: Vec<u8>,
    checksums: Vec<u8>,
}

impl Body<'_> {
    fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        for part in bytes.chunks(WINDOW_BYTES) {
            self.window.extend_from_slice(part);
            if self.window.len() >= WINDOW_BYTES {
                self.write(WINDOW_BYTES)?;
            }
        }
        Ok(())
    }

    fn write(&mut self, length: usize) -> io::Result<()> {
        for block in self.window[..length].chunks(BLOCK_BYTES) {
            self.checksums.extend_from_slice(&crc32c::crc32c(block).to_le_bytes());
        }
        write_all(self.file, &self.window[..length], self.at)?;
        self.at += length as u64;
        self.window.drain(..length);
        Ok(())
    }

    /// End of the body, and the checksums.
    fn finish(mut self) -> io::Result<(u64, Vec<u8>)> {
        self.write(self.window.len())?;
        Ok((self.at, self.checksums))
    }
}
