//! Contents that were read or written lately.

use pyi_cas::{BlobCache, Bytes, Id};

/// What the contents that were only written have: an eighth of the budget, and no more than a core's own cache has room for beside its work.
const WRITTEN_SHARE: usize = 8;
const WRITTEN_MAX_BYTES: usize = 512 << 10;

/// Two caches, so that what is only written pushes out nothing that is read, and its memory is still in the processor's caches when the next
/// content gets it. What is read moves to the large one.
pub(crate) struct Blobs {
    read: BlobCache,
    written: BlobCache,
}

impl Blobs {
    pub(crate) fn new(budget_bytes: usize) -> Blobs {
        let written_bytes = (budget_bytes / WRITTEN_SHARE).min(WRITTEN_MAX_BYTES);
        Blobs {
            read: BlobCache::new(budget_bytes - written_bytes),
            written: BlobCache::new(written_bytes),
        }
    }

    /// O(1).
    pub(crate) fn get(&self, id: &Id) -> Option<Bytes> {
        if let Some(content) = self.read.get(id) {
            return Some(content);
        }
        let content = self.written.get(id)?;
        self.read.insert(id, content.clone());
        Some(content)
    }

    /// Keeps what came from the store. O(1) amortized.
    pub(crate) fn keep_read(&self, id: &Id, content: Bytes) {
        self.read.insert(id, content);
    }

    /// Keeps what went to the store. O(1) amortized.
    pub(crate) fn keep_written(&self, id: &Id, content: Bytes) {
        let takes = self.written.takes(content.len());
        let cache = if takes { &self.written } else { &self.read };
        cache.insert(id, content);
    }

    /// O(contents).
    pub(crate) fn clear(&self) {
        self.read.clear();
        self.written.clear();
    }
}

#[cfg(test)]
mod tests {
    use pyi_cas::Kind;

    use super::*;

    fn content(number: u32, size: usize) -> (Id, Bytes) {
        let mut content = vec![0; size];
        content[..4].copy_from_slice(&number.to_le_bytes());
        (Kind::Blob.id_of(&content), content.into())
    }

    #[test]
    fn what_was_only_written_leaves_what_is_read_alone() {
        let blobs = Blobs::new(800_000);
        let (read, bytes) = content(0, 1000);
        blobs.keep_read(&read, bytes);
        let (used, bytes) = content(1, 1000);
        blobs.keep_written(&used, bytes);
        assert!(blobs.get(&used).is_some());
        for number in 2..5_000 {
            let (id, bytes) = content(number, 1000);
            blobs.keep_written(&id, bytes);
            assert!(blobs.get(&read).is_some());
        }
        assert!(blobs.get(&used).is_some(), "it was read, and so moved");
        let (left, _) = content(2, 1000);
        assert!(blobs.get(&left).is_none());
        let (last, _) = content(4_999, 1000);
        assert!(blobs.get(&last).is_some());
        assert!(blobs.written.used() <= 100_000);
        blobs.clear();
        assert_eq!((blobs.read.used(), blobs.written.used()), (0, 0));
    }

    #[test]
    fn large_ones_are_kept_however_they_came() {
        let blobs = Blobs::new(800_000);
        let (id, bytes) = content(0, 50_000);
        blobs.keep_written(&id, bytes.clone());
        assert_eq!(blobs.get(&id), Some(bytes));
        assert_eq!(blobs.written.used(), 0);
    }
}
