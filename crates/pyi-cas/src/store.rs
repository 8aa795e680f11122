//! The two contracts that everything above this crate is written against: a store of objects and a store of refs. One file
//! per implementation: `file_store` (on disk), `memory` (for tests and the `memory` durability class).

use std::ops::Range;

use bytes::Bytes;

use crate::batch::Batch;
use crate::collect::{CollectOptions, Collected, Mark};
use crate::error::Result;
use crate::file_store::FileStore;
use crate::id::Id;
use crate::kind::Kind;
use crate::numbered;
use crate::ref_history::RefChange;
use crate::segment::Damage;
use crate::session::{Pin, Section};

/// Where a commit ended: what a ref that relies on it depends on. Both 0 for an empty batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Committed {
    /// Number of the segment.
    pub segment: u64,
    /// Offset behind the last record.
    pub offset_end: u64,
}

/// What a store holds, as far as this process knows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StoreStats {
    /// Objects; one that several writers stored at the same time may count more than once.
    pub objects: u64,
    /// Bytes in segments, headers included.
    pub bytes_stored: u64,
    /// Segments, sealed ones included.
    pub segments: u64,
    /// Segments that nobody appends to any more.
    pub segments_sealed: u64,
    /// Places where segments and the ref log are damaged.
    pub damage: Vec<Damage>,
    /// Places of unsealed segments that a loss of power took, found when the store was opened. Nothing there was flushed.
    pub lost: Vec<Damage>,
    /// Keys of refs that went back to an earlier value when the store was opened, as a loss of power had taken what they named.
    pub lost_refs: Vec<Vec<u8>>,
}

/// Immutable objects by id. All calls may be made from any thread.
pub trait ObjectStore: Send + Sync {
    /// Content of an object, checked against its id before it is returned; `None` if the store does not have it (an
    /// object of another kind included). Looks for what other processes committed before it says so. Errors:
    /// `Corrupt` if only damaged copies exist, `UnsupportedFormat`, `Storage`, `Closed`. One read and one hash,
    /// O(length); O(segments) lookups for a miss.
    fn get(&self, kind: Kind, id: &Id) -> Result<Option<Bytes>>;

    /// Whether the store has the object; fresh as [`ObjectStore::get`]. Reads no content. Errors: `Storage`, `Closed`.
    fn contains(&self, id: &Id) -> Result<bool>;

    /// Whether this process knows of the object, so that it need not be stored again: within a [`ObjectStore::section`] the
    /// object then stays until something reaches it. A false `false` is possible and costs a duplicate, no more. Never
    /// touches a file. O(segments).
    fn contains_hint(&self, id: &Id) -> bool;

    /// As [`ObjectStore::contains_hint`], of what was stored lately: in segments that are not sealed. O(1).
    fn contains_recent_hint(&self, id: &Id) -> bool {
        self.contains_hint(id)
    }

    /// Changes whenever what this process may rely on may have become less: within a [`ObjectStore::section`], what
    /// [`ObjectStore::stands_alone_hint`] said in the same epoch it would say again. `None` where it has to be asked each time. O(1).
    fn reliance_epoch(&self) -> Option<u64> {
        None
    }

    /// Whether, as [`ObjectStore::contains_hint`] says it, the object is there, and is stored by itself: what is stored as its difference to
    /// it is then read with one look more, and no chain begins. Never touches a file. O(segments).
    fn stands_alone_hint(&self, id: &Id) -> bool {
        let _ = id;
        false
    }

    /// Appends the batch and empties it; after the return the objects survive the death of any process, and every process
    /// can see them. On an error nothing is stored, the batch is as it was and the store goes on. Errors: `Storage`
    /// (errno kept), `Closed`. One write, O(bytes).
    fn commit(&self, batch: &mut Batch) -> Result<Committed>;

    /// Whether a small commit at this moment would wait for nothing: neither for another one nor for a new segment. A hint.
    fn is_ready(&self) -> bool {
        true
    }

    /// Ids of objects of a kind that begin with these hex digits (at most 64), in order, at most a few: two or more mean
    /// that the abbreviation is ambiguous. Errors: `InvalidArgument`, `Storage`, `Closed`. O(recent objects / 64 +
    /// segments) for two digits or more.
    fn find_prefix(&self, hex: &str, kind: Kind) -> Result<Vec<Id>>;

    /// Counts. Errors: `Storage`, `Closed`. O(segments).
    fn stats(&self) -> Result<StoreStats>;

    /// Makes everything that any process committed before the call durable against power loss: flushes every unsealed
    /// segment (sealed ones were flushed when they were sealed) and the ref log. Errors: `Storage` (nothing is promised then; a later
    /// call starts again from what is known to be durable), `Closed`. One flush for each file that grew.
    fn flush(&self) -> Result<()>;

    /// Returns when everything that this process committed or has seen before the call survives a loss of power. Callers that wait at the same
    /// time share the flushes. From the first call on segments are filled ahead, so that one flush is quick. Errors: as
    /// [`ObjectStore::flush`]. Where only this process writes and no ref moved: one `fdatasync` for all who wait.
    fn wait_durable(&self) -> Result<()>;

    /// Ends the use of the store and gives back what this process holds of it (its segment); later calls return `Closed`.
    /// Idempotent. Errors: `Storage`.
    fn close(&self) -> Result<()>;

    /// The refs that live beside the objects. O(1).
    fn refs(&self) -> &dyn RefStore;

    /// Begins a section: work that relies on objects that nothing reaches yet (a deduplication hit, a checkpoint on its way to its
    /// ref, a checkpoint looked up by id) is inside one, from the look to the ref or pin. Sections may be inside each other. A read-only
    /// store tells nobody of its sections. Never fails; where no session can be had, commits within it are refused with the reason.
    /// The first one of a store creates two files, one in a new epoch lists the segments, others are a few atomic operations.
    fn section(&self) -> Section;

    /// Keeps an object, and what it reaches, from being collected as long as the pin lives; to be made in the section that found or
    /// stored it. Never fails: more pins than a session holds keep collectors from removing anything. A read-only store tells
    /// nobody of its pins. O(1).
    fn pin(&self, id: &Id) -> Pin;

    /// All ids of a kind, in no order. Errors: `Storage`, `Closed`. O(objects).
    fn ids(&self, kind: Kind) -> Result<Vec<Id>>;

    /// Bytes that one copy of the object takes in its segment, header and padding included; `None` if this process does not know
    /// it. O(segments), touches no file.
    fn record_bytes(&self, id: &Id) -> Option<u64>;

    /// The chunks that the object is stored in, or the object that it is stored as a difference to; none for one that is stored by
    /// itself. Errors: `Storage`, `Closed`. O(indexes), and a read for what is not stored by itself.
    fn parts(&self, id: &Id) -> Result<Vec<Id>> {
        let _ = id;
        Ok(Vec::new())
    }

    /// Removes the objects that `mark` does not reach from sealed segments, by copying the others; the segments of this process and of
    /// dead ones are sealed first. Nobody else is stopped. Not to be called within a section of the same store. Errors: those of
    /// `mark` (nothing is removed), `Storage` (what was removed was garbage), `Closed`. O(objects + bytes copied), a few flushes.
    fn collect(&self, mark: &mut dyn Mark, options: &CollectOptions<'_>) -> Result<Collected>;

    /// The store on disk, if this is one: what has files can be scrubbed, repaired and backed up. O(1).
    fn on_disk(&self) -> Option<&FileStore> {
        None
    }
}

/// Named values that change by compare-and-swap. All calls may be made from any thread.
pub trait RefStore: Send + Sync {
    /// The value of a key, or `None`; sees every transaction acknowledged before the call, in any process. Errors:
    /// `Corrupt`, `UnsupportedFormat`, `Storage`, `Closed`. O(log keys), plus what others appended since.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>>;

    /// Keys that begin with `prefix` and their values, in order of the keys; fresh as [`RefStore::get`]. O(log keys +
    /// found).
    fn scan(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Bytes)>>;

    /// Applies all changes if all guards hold, else none. The answer is final and the same for every process. Errors:
    /// `InvalidArgument` (too long), `Storage` (nothing applied), `OutcomeUnknown`, `Closed`. One append and one read.
    fn commit(&self, transaction: &RefTransaction) -> Result<RefOutcome>;

    /// Calls `visit` with every transaction that applied, changed something, and still stands in a log, oldest first. What is committed
    /// during the call may or may not be among them. Errors: `Corrupt`, `UnsupportedFormat`, `Storage`, `Closed`. O(bytes of the logs).
    fn history(&self, visit: &mut dyn FnMut(RefChange)) -> Result<()>;

    /// Forgets the history in logs that end before `position`; the state stays as it is. Returns the bytes that this freed. Errors:
    /// `Storage`, `Closed`. O(logs).
    fn forget_before(&self, position: u64) -> Result<u64>;

    /// A number that changes whenever any process appended something. O(1), no system call as a rule.
    fn generation(&self) -> u64;
}

/// What must hold for a transaction to apply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Guard {
    /// The key has no value.
    Absent,
    /// The key has exactly this value.
    Equals(Vec<u8>),
    /// The key has a value.
    Present,
}

/// What happens to all keys of a [`RefRange`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RangeChange {
    /// None of them has a value, which is a guard of the transaction, and each gets this one.
    Create(Vec<u8>),
    /// Those that have a value lose it.
    Delete,
}

/// A change of many keys that are alike: a prefix, and a decimal number without leading zeros behind it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefRange {
    /// What the keys begin with; its last byte is no digit, and it has one.
    pub prefix: Vec<u8>,
    /// Their numbers: at least one, at most [`RefRange::MAX`].
    pub numbers: Range<u32>,
    /// What happens to them.
    pub change: RangeChange,
}

impl RefRange {
    /// So many keys at most.
    pub const MAX: u32 = 1 << 16;

    /// All keys. O(numbers).
    pub fn keys(&self) -> impl Iterator<Item = Vec<u8>> {
        self.numbers.clone().map(|number| numbered::key(&self.prefix, number))
    }

    /// Whether a key is one of them. O(key).
    #[must_use]
    pub fn holds(&self, key: &[u8]) -> bool {
        numbered::split(key).is_some_and(|(prefix, number)| prefix == self.prefix && self.numbers.contains(&number))
    }

    /// Whether it is one that the log can hold.
    pub(crate) fn is_sound(&self) -> bool {
        let length = self.numbers.end.saturating_sub(self.numbers.start);
        let last = self.prefix.last();
        (1..=Self::MAX).contains(&length) && last.is_some_and(|byte| !byte.is_ascii_digit())
    }
}

/// A conditional change of refs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RefTransaction {
    /// Conditions, all of which must hold.
    pub guards: Vec<(Vec<u8>, Guard)>,
    /// Changes: a value to set, or `None` to delete.
    pub puts: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Changes of many keys that are alike, in order, and before the puts: a record of a few bytes instead of one that grows with them.
    pub ranges: Vec<RefRange>,
    /// Why, for the history; at most 65,535 bytes.
    pub message: String,
    /// Fencing epoch of the owner; 0 if there is none.
    pub epoch: u64,
    /// Segments and offsets that must be whole for this change to count after power loss.
    pub dependencies: Vec<(u64, u64)>,
}

impl RefTransaction {
    /// Every key that this may change, some perhaps more than once. O(keys).
    pub(crate) fn keys(&self) -> impl Iterator<Item = Vec<u8>> {
        let puts = self.puts.iter().map(|(key, _)| key.clone());
        self.ranges.iter().flat_map(RefRange::keys).chain(puts)
    }
}

/// How a transaction ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RefOutcome {
    /// All puts are applied.
    Done,
    /// A guard did not hold, nothing was applied.
    Conflict {
        /// The first key whose guard failed.
        key: Vec<u8>,
        /// Its value at that moment.
        found: Option<Vec<u8>>,
    },
}
