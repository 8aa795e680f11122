//! The state of the refs: a fold over transactions in the order of the log. Every process computes the same state from
//! the same bytes, so nothing here may depend on anything but the records.

use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::store::{Guard, RefOutcome, RefTransaction};

/// Random id of a transaction.
pub(crate) type OperationId = [u8; 16];

/// A key that mostly stands in the tree itself: looking for one among thousands reads no memory beside the tree's.
type Key = SmallVec<[u8; 24]>;

/// Keys and values, and the operations of this log that were applied.
#[derive(Clone, Default, Debug)]
pub(crate) struct RefState {
    values: BTreeMap<Key, Bytes>,
    seen: HashSet<OperationId>,
    /// How long segments must be for all of this to count after a loss of power.
    places: BTreeMap<u64, u64>,
}

impl RefState {
    pub(crate) fn get(&self, key: &[u8]) -> Option<Bytes> {
        self.values.get(key).cloned()
    }

    pub(crate) fn scan(&self, prefix: &[u8]) -> Vec<(Vec<u8>, Bytes)> {
        self.values
            .range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, value)| (key.to_vec(), value.clone()))
            .collect()
    }

    /// The first guard that fails, as the outcome it leads to.
    pub(crate) fn check(&self, transaction: &RefTransaction) -> RefOutcome {
        for (key, guard) in &transaction.guards {
            let found = self.values.get(key.as_slice());
            let holds = match guard {
                Guard::Absent => found.is_none(),
                Guard::Present => found.is_some(),
                Guard::Equals(value) => found.is_some_and(|found| found == value),
            };
            if !holds {
                return RefOutcome::Conflict {
                    key: key.clone(),
                    found: found.map(|found| found.to_vec()),
                };
            }
        }
        RefOutcome::Done
    }

    /// Applies a transaction of the log; `None` if this operation was in the log before.
    pub(crate) fn apply(&mut self, operation: OperationId, transaction: &RefTransaction) -> Option<RefOutcome> {
        if !self.seen.insert(operation) {
            return None;
        }
        self.depend_on(&transaction.dependencies);
        let outcome = self.check(transaction);
        if outcome == RefOutcome::Done {
            self.put(&transaction.puts);
        }
        Some(outcome)
    }

    /// Depends on these places from here on.
    pub(crate) fn depend_on(&mut self, places: &[(u64, u64)]) {
        for (segment, offset) in places {
            let longest = self.places.entry(*segment).or_default();
            *longest = (*longest).max(*offset);
        }
    }

    /// Segments, and how long they must be after a loss of power.
    pub(crate) fn places(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.places.iter().map(|(segment, offset)| (*segment, *offset))
    }

    /// The highest number of a segment that anything here ever depended on.
    pub(crate) fn highest_segment(&self) -> u64 {
        self.places.last_key_value().map_or(0, |(segment, _)| *segment)
    }

    /// Forgets the places that are durable; the highest number stays.
    pub(crate) fn settle_places(&mut self, mut is_durable: impl FnMut(u64, u64) -> bool) {
        let highest = self.highest_segment();
        self.places
            .retain(|segment, offset| *offset != 0 && !is_durable(*segment, *offset));
        if highest > 0 {
            self.places.entry(highest).or_default();
        }
    }

    /// Applies a transaction that stands in no log.
    pub(crate) fn commit_direct(&mut self, transaction: &RefTransaction) -> RefOutcome {
        let outcome = self.check(transaction);
        if outcome == RefOutcome::Done {
            self.put(&transaction.puts);
        }
        outcome
    }

    fn put(&mut self, puts: &[(Vec<u8>, Option<Vec<u8>>)]) {
        for (key, value) in puts {
            match value {
                Some(value) => self.values.insert(Key::from_slice(key), Bytes::copy_from_slice(value)),
                None => self.values.remove(key.as_slice()),
            };
        }
    }

    /// The whole state as the puts of a snapshot.
    pub(crate) fn snapshot(&self) -> RefTransaction {
        RefTransaction {
            puts: self
                .values
                .iter()
                .map(|(key, value)| (key.to_vec(), Some(value.to_vec())))
                .collect(),
            dependencies: self
                .places
                .iter()
                .map(|(segment, offset)| (*segment, *offset))
                .collect(),
            ..RefTransaction::default()
        }
    }

    /// The state that a log begins with.
    pub(crate) fn from_snapshot(snapshot: &RefTransaction) -> RefState {
        let mut state = RefState::default();
        state.put(&snapshot.puts);
        state.depend_on(&snapshot.dependencies);
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, value: Option<&str>) -> (Vec<u8>, Option<Vec<u8>>) {
        (key.into(), value.map(Into::into))
    }

    #[test]
    fn guards_decide_and_operations_count_once() {
        let mut state = RefState::default();
        let create = RefTransaction {
            guards: vec![(b"b/main".to_vec(), Guard::Absent)],
            puts: vec![put("b/main", Some("1")), put("b/x", Some("2"))],
            ..RefTransaction::default()
        };
        assert_eq!(state.apply([1; 16], &create), Some(RefOutcome::Done));
        assert_eq!(state.apply([1; 16], &create), None);
        let again = state.apply([2; 16], &create);
        assert_eq!(
            again,
            Some(RefOutcome::Conflict {
                key: b"b/main".to_vec(),
                found: Some(b"1".to_vec())
            })
        );
        let step = RefTransaction {
            guards: vec![
                (b"b/main".to_vec(), Guard::Equals(b"1".to_vec())),
                (b"b/x".to_vec(), Guard::Present),
            ],
            puts: vec![put("b/main", Some("3")), put("b/x", None)],
            ..RefTransaction::default()
        };
        assert_eq!(state.apply([3; 16], &step), Some(RefOutcome::Done));
        assert_eq!(state.scan(b"b/"), vec![(b"b/main".to_vec(), Bytes::from_static(b"3"))]);
        assert_eq!(RefState::from_snapshot(&state.snapshot()).scan(b""), state.scan(b""));
        assert!(matches!(state.apply([4; 16], &step), Some(RefOutcome::Conflict { .. })));
    }
}
