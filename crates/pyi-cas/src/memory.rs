//! The store in memory: the same contract without files. The model in tests, and the `memory` durability class.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use parking_lot::RwLock;

use crate::batch::Batch;
use crate::collect::{CollectOptions, Collected, Mark};
use crate::encoding::{self, CHUNKS, Payload};
use crate::error::Result;
use crate::id::{Id, IdMap, IdSet};
use crate::kind::Kind;
use crate::prefix::HexPrefix;
use crate::record::{HEADER_BYTES, padded};
use crate::ref_history::{KeyChange, RefChange, changed};
use crate::refstate::RefState;
use crate::session::{Pin, Section};
use crate::store::{Committed, ObjectStore, RefOutcome, RefStore, RefTransaction, StoreStats};

/// Objects and refs that live as long as the value does.
#[derive(Default)]
pub struct MemoryStore {
    objects: RwLock<IdMap<(Kind, Stored)>>,
    stored_bytes: AtomicU64,
    refs: MemoryRefs,
}

/// An object: its content, or the list of the chunks that share it with other objects.
enum Stored {
    Plain(Bytes),
    Chunks(Bytes),
}

impl Stored {
    fn bytes(&self) -> &Bytes {
        match self {
            Stored::Plain(bytes) | Stored::Chunks(bytes) => bytes,
        }
    }

    /// The content; `None` if a chunk is missing, which [`Batch::put_chunked`] does not let happen.
    fn content(&self, objects: &IdMap<(Kind, Stored)>) -> Option<Bytes> {
        let list = match self {
            Stored::Plain(content) => return Some(content.clone()),
            Stored::Chunks(list) => list,
        };
        let Ok(Some(Payload::Chunks(list))) = encoding::parse(CHUNKS, list) else {
            return None;
        };
        let mut content = Vec::with_capacity(usize::try_from(list.plain_bytes).ok()?);
        for (id, _) in list.rows() {
            match objects.get(&id)? {
                (Kind::Chunk, Stored::Plain(chunk)) => content.extend_from_slice(chunk),
                _ => return None,
            }
        }
        Some(content.into())
    }
}

impl MemoryStore {
    /// An empty store. O(1).
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }
}

impl ObjectStore for MemoryStore {
    fn get(&self, kind: Kind, id: &Id) -> Result<Option<Bytes>> {
        let objects = self.objects.read();
        let found = objects.get(id).filter(|(found, _)| *found == kind);
        Ok(found.and_then(|(_, stored)| stored.content(&objects)))
    }

    fn contains(&self, id: &Id) -> Result<bool> {
        Ok(self.contains_hint(id))
    }

    fn contains_hint(&self, id: &Id) -> bool {
        self.objects.read().contains_key(id)
    }

    fn commit(&self, batch: &mut Batch) -> Result<Committed> {
        if batch.is_empty() {
            return Ok(Committed::default());
        }
        let mut objects = self.objects.write();
        for entry in batch.entries() {
            objects.entry(entry.id).or_insert_with(|| {
                let payload = Bytes::copy_from_slice(batch.payload(entry));
                let stored = match entry.encoding {
                    CHUNKS => Stored::Chunks(payload),
                    _ => Stored::Plain(payload),
                };
                (entry.kind, stored)
            });
        }
        let size = batch.size_bytes() as u64;
        let offset_end = self.stored_bytes.fetch_add(size, Ordering::AcqRel) + size;
        batch.clear();
        Ok(Committed { segment: 1, offset_end })
    }

    fn find_prefix(&self, hex: &str, kind: Kind) -> Result<Vec<Id>> {
        let prefix = HexPrefix::parse(hex)?;
        let objects = self.objects.read();
        let found = objects
            .iter()
            .filter(|(id, (found, _))| *found == kind && prefix.matches(id));
        Ok(prefix.finish(found.map(|(id, _)| *id).collect()))
    }

    fn stats(&self) -> Result<StoreStats> {
        Ok(StoreStats {
            objects: self.objects.read().len() as u64,
            bytes_stored: self.stored_bytes.load(Ordering::Acquire),
            segments: 0,
            segments_sealed: 0,
            damage: Vec::new(),
            lost: Vec::new(),
            lost_refs: Vec::new(),
        })
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn wait_durable(&self) -> Result<()> {
        Ok(())
    }

    fn close(&self) -> Result<()> {
        Ok(())
    }

    fn refs(&self) -> &dyn RefStore {
        &self.refs
    }

    fn section(&self) -> Section {
        Section::none()
    }

    fn pin(&self, _id: &Id) -> Pin {
        Pin::none()
    }

    fn ids(&self, kind: Kind) -> Result<Vec<Id>> {
        let objects = self.objects.read();
        let found = objects.iter().filter(|(_, (found, _))| *found == kind);
        Ok(found.map(|(id, _)| *id).collect())
    }

    fn record_bytes(&self, id: &Id) -> Option<u64> {
        self.objects
            .read()
            .get(id)
            .map(|(_, stored)| size_of_record(stored.bytes()))
    }

    fn collect(&self, mark: &mut dyn Mark, _options: &CollectOptions<'_>) -> Result<Collected> {
        // What comes while the marking goes on stays.
        let old: IdSet = self.objects.read().keys().copied().collect();
        let mut live = IdSet::default();
        mark.mark(&[], &mut live)?;
        let mut objects = self.objects.write();
        let lists: Vec<Id> = live.iter().copied().collect();
        for id in lists {
            if let Some((_, Stored::Chunks(list))) = objects.get(&id)
                && let Ok(Some(Payload::Chunks(list))) = encoding::parse(CHUNKS, list)
            {
                live.extend(list.rows().map(|(chunk, _)| chunk));
            }
        }
        let bytes = |objects: &IdMap<(Kind, Stored)>| -> u64 {
            let sizes = objects.values().map(|(_, stored)| size_of_record(stored.bytes()));
            sizes.sum()
        };
        let (before, bytes_before) = (objects.len(), bytes(&objects));
        objects.retain(|id, _| live.contains(id) || !old.contains(id));
        let live_bytes = bytes(&objects);
        self.stored_bytes.store(live_bytes, Ordering::Release);
        Ok(Collected {
            bytes_before,
            bytes_after: live_bytes,
            live_bytes,
            objects_removed: (before - objects.len()) as u64,
            objects_live: objects.len() as u64,
            ..Collected::default()
        })
    }
}

fn size_of_record(content: &Bytes) -> u64 {
    padded(HEADER_BYTES as u64 + content.len() as u64)
}

#[derive(Default)]
struct MemoryRefs {
    state: RwLock<RefState>,
    history: RwLock<VecDeque<RefChange>>,
    generation: AtomicU64,
}

/// So many changes of refs are remembered.
const HISTORY_MAX: usize = 10_000;
/// The one log that refs in memory are in.
const LOG: u64 = 1 << 32;

impl MemoryRefs {
    fn remember(&self, number: u64, transaction: &RefTransaction, changes: Vec<KeyChange>) {
        if changes.is_empty() {
            return;
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut history = self.history.write();
        history.push_back(RefChange {
            position: LOG | number,
            time_ns: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX),
            message: transaction.message.clone(),
            changes,
        });
        if history.len() > HISTORY_MAX {
            history.pop_front();
        }
    }
}

impl RefStore for MemoryRefs {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        Ok(self.state.read().get(key))
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Bytes)>> {
        Ok(self.state.read().scan(prefix))
    }

    fn commit(&self, transaction: &RefTransaction) -> Result<RefOutcome> {
        // Encoded only to refuse what a log could not hold, so that both stores refuse the same.
        crate::reflog::encode(&crate::reflog::Action::Transaction([0; 16], transaction.clone()), 0)?;
        let mut state = self.state.write();
        let mut outcome = RefOutcome::Done;
        let changes = changed(&mut state, transaction, |state| {
            outcome = state.commit_direct(transaction);
            Some(outcome.clone())
        });
        if outcome == RefOutcome::Done {
            let number = self.generation.fetch_add(1, Ordering::AcqRel) + 1;
            self.remember(number, transaction, changes);
        }
        Ok(outcome)
    }

    fn history(&self, visit: &mut dyn FnMut(RefChange)) -> Result<()> {
        self.history.read().iter().cloned().for_each(visit);
        Ok(())
    }

    fn forget_before(&self, _position: u64) -> Result<u64> {
        // All of it is in one log, which is the newest.
        Ok(0)
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}
