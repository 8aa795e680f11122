//! Taking the content of an array in: hash its chunks, keep those that are new, name them in the array's index.
//!
//! A few new chunks stay in memory until the next checkpoint stores them. Many are stored at once, in small commits that reuse one buffer,
//! so that a large array costs no second copy of itself; a pin keeps them until a checkpoint does.

use std::collections::BTreeMap;
use std::sync::Arc;

use pyi_cas::{Batch, Bytes, Id, Kind, Pin, Section};
use pyi_tree::array::{ArrayIndex, CHUNK_BYTES, Lists};

use crate::engine::Engine;
use crate::memory::Source;
use crate::{Error, Result};

/// Up to so many new chunks are kept in memory.
const KEPT_CHUNKS: usize = 4;
/// A commit of chunks has about so many bytes: a batch of this size is reused, and its memory stays in the processor's cache.
const COMMIT_BYTES: usize = (1 << 20) - (128 << 10);

impl Lists for Engine {
    fn list(&self, id: &Id) -> pyi_tree::Result<Bytes> {
        let found = self.store().get(Kind::Array, id)?;
        found.ok_or_else(|| {
            pyi_tree::Error::corrupt(format!("state: array {id} is missing from the store; run `pyi scrub`"))
        })
    }
}

/// What is known of the chunks that are taken in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    /// Most are what the index says already.
    Same,
    /// Most are new.
    Changed,
}

/// Chunks on their way into the store.
struct Early<'a> {
    engine: &'a Arc<Engine>,
    batch: Batch,
    /// What was found in the store stays there meanwhile.
    _section: Section,
}

impl Early<'_> {
    fn put(&mut self, kind: Kind, id: &Id, content: &[u8]) -> Result<()> {
        if !self.engine.store().contains_hint(id) {
            self.batch.put(kind, id, content)?;
        }
        if self.batch.size_bytes() > COMMIT_BYTES {
            self.commit()?;
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        let size_bytes = self.batch.size_bytes() as u64;
        self.engine.store().commit(&mut self.batch)?;
        self.engine.grown(size_bytes);
        Ok(())
    }
}

impl Drop for Early<'_> {
    fn drop(&mut self) {
        self.engine.give_batch(std::mem::take(&mut self.batch));
    }
}

/// Makes `index` name the content of `source` at these chunks. What it names is then in the store (the pin keeps it) or in its parts.
/// O(bytes of the chunks), a hash of each, plus a copy and a hash of those that changed. On an error the index is as it was.
///
/// # Errors
/// `Storage`, `QuotaExceeded`, `Corrupt` if a list is missing.
pub(crate) fn absorb(
    engine: &Arc<Engine>,
    index: &mut ArrayIndex,
    source: Source<'_>,
    chunks: impl Iterator<Item = u64>,
    expect: Expect,
) -> Result<Option<Pin>> {
    let mut changes: BTreeMap<u64, (Id, Option<Bytes>)> = BTreeMap::new();
    let mut early: Option<Early<'_>> = None;
    let mut copy = Vec::with_capacity(CHUNK_BYTES);
    for number in chunks {
        let at = usize::try_from(number)
            .unwrap_or(usize::MAX)
            .saturating_mul(CHUNK_BYTES);
        let old = index.chunk(number, &**engine)?;
        let bytes: &[u8] = if source.is_stable {
            source.peek(at, CHUNK_BYTES)
        } else {
            // Only a copy is sure to be what its id says: somebody may write there at this moment.
            if expect == Expect::Same && Kind::Blob.id_of(source.peek(at, CHUNK_BYTES)) == old {
                continue;
            }
            source.copy(at, CHUNK_BYTES, &mut copy);
            &copy
        };
        let id = Kind::Blob.id_of(bytes);
        if id == old {
            continue;
        }
        if early.is_none() && changes.len() < KEPT_CHUNKS {
            changes.insert(number, (id, Some(Bytes::copy_from_slice(bytes))));
            continue;
        }
        let early = match &mut early {
            Some(early) => early,
            none => {
                engine.check_cap()?;
                none.insert(Early {
                    engine,
                    batch: engine.take_batch(),
                    _section: engine.store().section(),
                })
            }
        };
        early.put(Kind::Blob, &id, bytes)?;
        changes.insert(number, (id, None));
    }
    let Some(mut early) = early else {
        index.set(changes, &**engine)?;
        return Ok(None);
    };
    let mut next = index.clone();
    next.set(changes, &**engine)?;
    for (kind, id, content) in next.parts().objects() {
        early.put(kind, id, content)?;
    }
    let root = next.root().encode();
    let id = Kind::Array.id_of(&root);
    early.put(Kind::Array, &id, &root)?;
    if !early.batch.is_empty() {
        early.commit()?;
    }
    next.clear_parts();
    *index = next;
    Ok(Some(engine.store().pin(&id)))
}

/// The content of chunk `number`. One read and one hash if it is in the store.
///
/// # Errors
/// `Corrupt` if it is missing or has another length than it must have.
pub(crate) fn chunk(engine: &Engine, index: &mut ArrayIndex, number: u64) -> Result<Bytes> {
    let found = match index.parts().chunk(number) {
        Some(bytes) => bytes.clone(),
        None => {
            let id = index.chunk(number, engine)?;
            let found = engine.store().get(Kind::Blob, &id)?;
            found.ok_or_else(|| {
                Error::corrupt(format!("state: chunk {id} is missing from the store; run `pyi scrub`"))
            })?
        }
    };
    let rest = index.root().size_bytes.saturating_sub(number * CHUNK_BYTES as u64);
    if found.len() as u64 != rest.min(CHUNK_BYTES as u64) {
        return Err(Error::corrupt(
            "state: a chunk of an array has the wrong length; run `pyi scrub`",
        ));
    }
    Ok(found)
}
