//! The state of the refs: a fold over transactions in the order of the log. Every process computes the same state from
//! the same bytes, so nothing here may depend on anything but the records.

use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::numbered::{self, Numbered};
use crate::store::{Guard, RangeChange, RefOutcome, RefRange, RefTransaction};

/// Random id of a transaction.
pub(crate) type OperationId = [u8; 16];

/// A key that mostly stands in the tree itself: looking for one among thousands reads no memory beside the tree's.
type Key = SmallVec<[u8; 24]>;

/// Keys and values, and the operations of this log that were applied.
#[derive(Clone, Default, Debug)]
pub(crate) struct RefState {
    /// What stands by itself; no key is in `numbered` too.
    values: BTreeMap<Key, Bytes>,
    numbered: Numbered,
    seen: HashSet<OperationId, foldhash::fast::RandomState>,
    /// How long segments must be for all of this to count after a loss of power.
    places: BTreeMap<u64, u64>,
}

impl RefState {
    pub(crate) fn get(&self, key: &[u8]) -> Option<Bytes> {
        self.find(key).cloned()
    }

    pub(crate) fn scan(&self, prefix: &[u8]) -> Vec<(Vec<u8>, Bytes)> {
        let mut found: Vec<_> = self
            .values
            .range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, value)| (key.to_vec(), value.clone()))
            .collect();
        let alone = found.len();
        found.extend(self.numbered.scan(prefix));
        if found.len() > alone {
            found.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        }
        found
    }

    fn find(&self, key: &[u8]) -> Option<&Bytes> {
        let alone = self.values.get(key);
        if self.numbered.is_empty() {
            return alone;
        }
        alone.or_else(|| self.numbered.get(key))
    }

    /// The numbers of a range whose keys stand by themselves. O(log keys + keys with a number behind the prefix).
    fn alone_in<'a>(&'a self, range: &'a RefRange) -> impl Iterator<Item = u32> + 'a {
        let first = [&range.prefix[..], b"0"].concat();
        // What follows the digits in the order of bytes.
        let end = [&range.prefix[..], b":"].concat();
        let bounds = (Bound::Included(&first[..]), Bound::Excluded(&end[..]));
        let keys = self.values.range::<[u8], _>(bounds).map(|(key, _)| key);
        keys.filter_map(|key| {
            let (prefix, number) = numbered::split(key)?;
            (prefix == range.prefix && range.numbers.contains(&number)).then_some(number)
        })
    }

    /// The first key of a range that has a value.
    fn first_in(&self, range: &RefRange) -> Option<Vec<u8>> {
        let numbered = self.numbered.first_in(&range.prefix, &range.numbers);
        let first = self.alone_in(range).chain(numbered).min();
        first.map(|number| numbered::key(&range.prefix, number))
    }

    /// The keys that a transaction changes if it applies now; some perhaps more than once. O(keys).
    pub(crate) fn touched(&self, transaction: &RefTransaction) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        for range in &transaction.ranges {
            match range.change {
                RangeChange::Create(_) => keys.extend(range.keys()),
                RangeChange::Delete => {
                    let numbered = self.numbered.numbers_in(&range.prefix, &range.numbers);
                    let mut numbers: Vec<u32> = self.alone_in(range).chain(numbered).collect();
                    numbers.sort_unstable();
                    keys.extend(numbers.into_iter().map(|number| numbered::key(&range.prefix, number)));
                }
            }
        }
        keys.extend(transaction.puts.iter().map(|(key, _)| key.clone()));
        keys
    }

    /// The first guard that fails, as the outcome it leads to.
    pub(crate) fn check(&self, transaction: &RefTransaction) -> RefOutcome {
        for (key, guard) in &transaction.guards {
            let found = self.find(key);
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
        let creations = transaction.ranges.iter();
        for range in creations.filter(|range| matches!(range.change, RangeChange::Create(_))) {
            if let Some(key) = self.first_in(range) {
                let found = self.find(&key).map(|found| found.to_vec());
                return RefOutcome::Conflict { key, found };
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
            self.put_all(transaction);
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
            self.put_all(transaction);
        }
        outcome
    }

    fn put_all(&mut self, transaction: &RefTransaction) {
        transaction.ranges.iter().for_each(|range| self.change(range));
        self.put(&transaction.puts);
    }

    fn put(&mut self, puts: &[(Vec<u8>, Option<Vec<u8>>)]) {
        for (key, value) in puts {
            let before = match value {
                Some(value) => self.values.insert(Key::from_slice(key), Bytes::copy_from_slice(value)),
                None => self.values.remove(key.as_slice()),
            };
            if before.is_none() && !self.numbered.is_empty() {
                self.numbered.remove_key(key);
            }
        }
    }

    fn change(&mut self, range: &RefRange) {
        let alone: Vec<u32> = self.alone_in(range).collect();
        for number in alone {
            self.values.remove(numbered::key(&range.prefix, number).as_slice());
        }
        match &range.change {
            RangeChange::Create(value) => {
                let value = Bytes::copy_from_slice(value);
                self.numbered.set(&range.prefix, &range.numbers, value);
            }
            RangeChange::Delete => self.numbered.remove(&range.prefix, &range.numbers),
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
            ranges: self
                .numbered
                .runs()
                .map(|(prefix, numbers, value)| RefRange {
                    prefix: prefix.to_vec(),
                    numbers: numbers.clone(),
                    change: RangeChange::Create(value.to_vec()),
                })
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
        state.put_all(snapshot);
        state.depend_on(&snapshot.dependencies);
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    #[derive(Clone, Debug)]
    enum Step {
        Put(u32, Option<u8>),
        Range(std::ops::Range<u32>, Option<u8>),
        Reload,
    }

    fn step() -> impl Strategy<Value = Step> {
        let value = || proptest::option::of(0u8..3);
        prop_oneof![
            4 => (0u32..14, value()).prop_map(|(number, value)| Step::Put(number, value)),
            4 => (0u32..14, 1u32..14, value()).prop_map(|(start, length, value)| Step::Range(start..start + length, value)),
            1 => Just(Step::Reload),
        ]
    }

    proptest! {
        /// A range does what its keys would do one by one, whatever stands in a range and whatever by itself.
        #[test]
        fn a_range_is_its_keys(steps in proptest::collection::vec(step(), 0..40)) {
            let (mut state, mut model) = (RefState::default(), BTreeMap::new());
            state.put(&[put("w/", Some("beside")), put("w/01", Some("beside")), put("w/1/0", Some("beside"))]);
            let beside = state.scan(b"");
            for step in steps {
                let (mut change, mut expected) = (RefTransaction::default(), RefOutcome::Done);
                match step {
                    Step::Reload => state = RefState::from_snapshot(&state.snapshot()),
                    Step::Put(number, value) => {
                        let key = numbered::key(b"w/", number);
                        change.puts.push((key.clone(), value.map(|value| vec![value])));
                        match value {
                            Some(value) => model.insert(key, Bytes::from(vec![value])),
                            None => model.remove(&key),
                        };
                    }
                    Step::Range(numbers, value) => {
                        let keys: Vec<_> = numbers.clone().map(|number| numbered::key(b"w/", number)).collect();
                        let taken = keys.iter().find_map(|key| Some((key.clone(), model.get(key)?.to_vec())));
                        let there = keys.iter().filter(|key| model.contains_key(*key)).cloned().collect::<Vec<_>>();
                        change.ranges.push(RefRange {
                            prefix: b"w/".to_vec(),
                            numbers,
                            change: value.map_or(RangeChange::Delete, |value| RangeChange::Create(vec![value])),
                        });
                        prop_assert_eq!(state.touched(&change), if value.is_some() { keys.clone() } else { there });
                        match (value, taken) {
                            (Some(_), Some((key, found))) => expected = RefOutcome::Conflict { key, found: Some(found) },
                            (Some(value), None) => model.extend(keys.into_iter().map(|key| (key, Bytes::from(vec![value])))),
                            (None, _) => keys.iter().for_each(|key| drop(model.remove(key))),
                        }
                    }
                }
                prop_assert_eq!(state.commit_direct(&change), expected);
                let mut all: Vec<_> = model.clone().into_iter().chain(beside.clone()).collect();
                all.sort();
                for (key, value) in &all {
                    prop_assert_eq!(state.get(key), Some(value.clone()));
                }
                prop_assert_eq!(state.scan(b""), all);
            }
        }
    }
}
