//! A file's bytes: as the page cache has them, as the disk has them, and the changes in between, sector by sector.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pyi_cas::SharedWords;

use crate::fate::Fate;

/// An unflushed change.
#[derive(Clone, Debug)]
enum Change {
    /// A sector as it was after a write.
    Sector { at: usize, bytes: Arc<[u8]> },
    /// The file's size.
    Size(usize),
}

/// Words that processes share; they live in the page cache.
pub(crate) struct Words(Box<[AtomicU64]>);

/// The first words of a file, as one process mapped them; others may have mapped more.
pub(crate) struct View {
    words: Arc<Words>,
    count: usize,
}

impl SharedWords for View {
    fn words(&self) -> &[AtomicU64] {
        &self.words.0[..self.count]
    }
}

/// Words of a file that is mapped, at least: what a file may grow to while somebody has it mapped.
const WORDS: usize = 2048;

/// A file's content.
#[derive(Clone, Default)]
pub(crate) struct Content {
    cached: Arc<Vec<u8>>,
    durable: Arc<Vec<u8>>,
    pending: Vec<Change>,
    /// A failed flush forgot changes, so that what is durable is no longer what is cached and flushed.
    lost: bool,
    shared: Option<Arc<Words>>,
}

impl Content {
    /// Content that is durable.
    fn settled(bytes: Arc<Vec<u8>>) -> Content {
        Content {
            cached: Arc::clone(&bytes),
            durable: bytes,
            ..Content::default()
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.cached.len()
    }

    /// The bytes as processes see them.
    pub(crate) fn cached(&mut self, sector: usize) -> &Arc<Vec<u8>> {
        self.collect_shared(sector);
        &self.cached
    }

    /// The bytes as the disk has them.
    pub(crate) fn durable(&self) -> &Arc<Vec<u8>> {
        &self.durable
    }

    /// Changes bytes on the disk and in the cache alike, as decay does.
    pub(crate) fn decay(&mut self, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = self.cached.to_vec();
        change(&mut bytes);
        *self = Content::settled(Arc::new(bytes));
    }

    pub(crate) fn write(&mut self, bytes: &[u8], offset: usize, sector: usize) {
        if bytes.is_empty() {
            return;
        }
        self.collect_shared(sector);
        let end = offset + bytes.len();
        let cached = Arc::make_mut(&mut self.cached);
        if end > cached.len() {
            cached.resize(end, 0);
            self.pending.push(Change::Size(end));
        }
        cached[offset..end].copy_from_slice(bytes);
        self.note_sectors(offset, end, sector);
        if let Some(words) = &self.shared {
            fill_words(words, &self.cached);
        }
    }

    fn note_sectors(&mut self, from: usize, end: usize, sector: usize) {
        for index in from / sector..end.div_ceil(sector) {
            let at = index * sector;
            let bytes = self.cached[at..self.cached.len().min(at + sector)].into();
            self.pending.push(Change::Sector { at, bytes });
        }
    }

    pub(crate) fn set_len(&mut self, length: usize) {
        if length != self.cached.len() {
            Arc::make_mut(&mut self.cached).resize(length, 0);
            self.pending.push(Change::Size(length));
        }
    }

    /// Makes the content durable.
    pub(crate) fn sync(&mut self, sector: usize) {
        self.collect_shared(sector);
        if self.lost {
            let kept = vec![Fate::Kept; self.pending.len()];
            self.durable = self.after_crash(&kept);
        } else {
            self.durable = Arc::clone(&self.cached);
        }
        self.pending.clear();
    }

    /// A flush that fails: the size gets through, the sectors are forgotten.
    pub(crate) fn lose(&mut self, sector: usize) {
        self.collect_shared(sector);
        let fate = |change: &Change| match change {
            Change::Size(_) => Fate::Kept,
            Change::Sector { .. } => Fate::Dropped,
        };
        let fates: Vec<Fate> = self.pending.iter().map(fate).collect();
        self.durable = self.after_crash(&fates);
        self.pending.clear();
        self.lost = true;
    }

    /// `None`: the file has grown further than a simulated mapping can.
    pub(crate) fn map_shared(&mut self, length: usize) -> Option<View> {
        let words = self.shared.get_or_insert_with(|| {
            let count = WORDS.max(length / 8);
            let words = Words((0..count).map(|_| AtomicU64::new(0)).collect());
            fill_words(&words, &self.cached);
            Arc::new(words)
        });
        let words = Arc::clone(words);
        let count = length / 8;
        (count <= words.0.len()).then_some(View { words, count })
    }

    /// Notes what processes stored into the shared words as changes of sectors.
    fn collect_shared(&mut self, sector: usize) {
        let Some(words) = self.shared.clone() else { return };
        let mut first_and_end: Option<(usize, usize)> = None;
        for (index, word) in words.0.iter().enumerate() {
            let at = index * 8;
            let Some(before) = self.cached.get(at..at + 8) else {
                break;
            };
            let now = word.load(Ordering::Acquire).to_le_bytes();
            if before != now {
                Arc::make_mut(&mut self.cached)[at..at + 8].copy_from_slice(&now);
                match &mut first_and_end {
                    Some((first, end)) if *first / sector == at / sector => *end = at + 8,
                    open => {
                        if let Some((first, end)) = open.replace((at, at + 8)) {
                            self.note_sectors(first, end, sector);
                        }
                    }
                }
            }
        }
        if let Some((first, end)) = first_and_end {
            self.note_sectors(first, end, sector);
        }
    }

    /// A copy for a snapshot: shared words become bytes like others.
    pub(crate) fn frozen(&mut self, sector: usize) -> Content {
        self.collect_shared(sector);
        Content {
            shared: None,
            ..self.clone()
        }
    }

    /// Number of unflushed changes.
    pub(crate) fn changes(&self) -> usize {
        self.pending.len()
    }

    /// The content after a power loss in which the changes went so.
    pub(crate) fn crash(&self, fates: &[Fate]) -> Content {
        Content::settled(self.after_crash(fates))
    }

    fn after_crash(&self, fates: &[Fate]) -> Arc<Vec<u8>> {
        if self.pending.is_empty() {
            return Arc::clone(&self.durable);
        }
        let mut bytes = self.durable.to_vec();
        let mut size = bytes.len();
        for (change, fate) in self.pending.iter().zip(fates) {
            match change {
                Change::Size(length) if matches!(fate, Fate::Kept | Fate::TornTail) => {
                    size = *length;
                    // What a cut took away does not come back by a later growth.
                    bytes.truncate(size);
                }
                Change::Size(_) => {}
                Change::Sector { at, bytes: new } => {
                    let half = new.len() / 2;
                    let part = match fate {
                        Fate::Dropped => continue,
                        Fate::Kept => 0..new.len(),
                        Fate::TornHead => 0..half,
                        Fate::TornTail => half..new.len(),
                    };
                    let needed = at + part.end;
                    if bytes.len() < needed {
                        bytes.resize(needed, 0);
                    }
                    bytes[at + part.start..needed].copy_from_slice(&new[part]);
                }
            }
        }
        bytes.resize(size, 0);
        Arc::new(bytes)
    }
}

fn fill_words(words: &Words, bytes: &[u8]) {
    for (word, bytes) in words.0.iter().zip(bytes.chunks_exact(8)) {
        let mut value = [0; 8];
        value.copy_from_slice(bytes);
        word.store(u64::from_le_bytes(value), Ordering::Release);
    }
}
