//! Keys that are a prefix and a number, were made together, and have one value: a thousand names are one entry, as they are in the
//! record that made them. Where one of them gets another value it stands by itself from then on.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};

use bytes::Bytes;
use smallvec::SmallVec;

/// Numbers that follow each other, and their value.
#[derive(Clone, Debug)]
struct Run {
    numbers: Range<u32>,
    value: Bytes,
}

/// Runs by prefix; those of one prefix in order and apart from each other, and never none.
#[derive(Clone, Default, Debug)]
pub(crate) struct Numbered {
    by_prefix: BTreeMap<Vec<u8>, Vec<Run>>,
}

/// The prefix and the number that a key is made of, if it ends in one as [`key`] writes it.
pub(crate) fn split(key: &[u8]) -> Option<(&[u8], u32)> {
    let (prefix, digits) = key.split_at(end_of_prefix(key));
    if digits.is_empty() || digits.len() > 1 && digits[0] == b'0' {
        return None;
    }
    Some((prefix, std::str::from_utf8(digits).ok()?.parse().ok()?))
}

/// Where the digits begin that a key ends in.
fn end_of_prefix(key: &[u8]) -> usize {
    let before = key.iter().rposition(|byte| !byte.is_ascii_digit());
    before.map_or(0, |at| at + 1)
}

/// The key of a number.
pub(crate) fn key(prefix: &[u8], number: u32) -> Vec<u8> {
    [prefix, number.to_string().as_bytes()].concat()
}

impl Numbered {
    pub(crate) fn is_empty(&self) -> bool {
        self.by_prefix.is_empty()
    }

    /// O(log runs).
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Bytes> {
        let (prefix, number) = split(key)?;
        let runs = self.by_prefix.get(prefix)?;
        let run = runs.get(runs.partition_point(|run| run.numbers.end <= number))?;
        run.numbers.contains(&number).then_some(&run.value)
    }

    /// The first of these numbers that has a value. O(log runs).
    pub(crate) fn first_in(&self, prefix: &[u8], numbers: &Range<u32>) -> Option<u32> {
        let runs = self.by_prefix.get(prefix)?;
        let run = runs.get(runs.partition_point(|run| run.numbers.end <= numbers.start))?;
        let first = run.numbers.start.max(numbers.start);
        (first < numbers.end).then_some(first)
    }

    /// Those of these numbers that have a value, in order. O(log runs + found).
    pub(crate) fn numbers_in(&self, prefix: &[u8], numbers: &Range<u32>) -> impl Iterator<Item = u32> {
        let runs = self.by_prefix.get(prefix).map_or(&[][..], Vec::as_slice);
        let (start, end) = (numbers.start, numbers.end);
        let first = runs.partition_point(|run| run.numbers.end <= start);
        runs[first..]
            .iter()
            .take_while(move |run| run.numbers.start < end)
            .flat_map(move |run| run.numbers.start.max(start)..run.numbers.end.min(end))
    }

    /// Keys that begin with `wanted`, in no order. O(log runs + found), and a look at all numbers of one prefix where `wanted` ends
    /// in a digit.
    pub(crate) fn scan<'a>(&'a self, wanted: &'a [u8]) -> impl Iterator<Item = (Vec<u8>, Bytes)> + 'a {
        // No prefix ends in a digit, so a shorter one is `wanted` without all that it ends in.
        let shorter = &wanted[..end_of_prefix(wanted)];
        let shorter = self
            .by_prefix
            .get_key_value(shorter)
            .filter(|_| shorter.len() < wanted.len());
        self.by_prefix
            .range::<[u8], _>((Bound::Included(wanted), Bound::Unbounded))
            .take_while(|(prefix, _)| prefix.starts_with(wanted))
            .chain(shorter)
            .flat_map(|(prefix, runs)| {
                let of_run = move |run: &'a Run| {
                    run.numbers
                        .clone()
                        .map(|number| (key(prefix, number), run.value.clone()))
                };
                runs.iter().flat_map(of_run)
            })
            .filter(|(key, _)| key.starts_with(wanted))
    }

    /// Every run: prefix, numbers, value.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (&[u8], &Range<u32>, &Bytes)> {
        self.by_prefix
            .iter()
            .flat_map(|(prefix, runs)| runs.iter().map(|run| (prefix.as_slice(), &run.numbers, &run.value)))
    }

    /// Sets these numbers to a value. O(runs).
    pub(crate) fn set(&mut self, prefix: &[u8], numbers: &Range<u32>, value: Bytes) {
        if numbers.is_empty() {
            return;
        }
        self.remove(prefix, numbers);
        let numbers = numbers.clone();
        match self.by_prefix.get_mut(prefix) {
            Some(runs) => {
                let at = runs.partition_point(|run| run.numbers.end <= numbers.start);
                runs.insert(at, Run { numbers, value });
            }
            None => {
                self.by_prefix.insert(prefix.to_vec(), vec![Run { numbers, value }]);
            }
        }
    }

    /// Takes these numbers out. O(runs).
    pub(crate) fn remove(&mut self, prefix: &[u8], numbers: &Range<u32>) {
        let Some(runs) = self.by_prefix.get_mut(prefix).filter(|_| !numbers.is_empty()) else {
            return;
        };
        let first = runs.partition_point(|run| run.numbers.end <= numbers.start);
        let end = runs.partition_point(|run| run.numbers.start < numbers.end);
        if first >= end {
            return;
        }
        // What the first of them has before these numbers, and the last behind them.
        let mut rest: SmallVec<[Run; 2]> = SmallVec::new();
        for (run, left) in [
            (&runs[first], runs[first].numbers.start..numbers.start),
            (&runs[end - 1], numbers.end..runs[end - 1].numbers.end),
        ] {
            if !left.is_empty() {
                rest.push(Run {
                    numbers: left,
                    value: run.value.clone(),
                });
            }
        }
        runs.splice(first..end, rest);
        if runs.is_empty() {
            self.by_prefix.remove(prefix);
        }
    }

    /// Takes one key out. O(runs).
    pub(crate) fn remove_key(&mut self, key: &[u8]) {
        if let Some((prefix, number)) = split(key) {
            // The last number that there is has no end; nothing is ever set there.
            self.remove(prefix, &(number..number.saturating_add(1)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_are_split_as_they_are_made() {
        assert_eq!(split(b"w/a/0"), Some((&b"w/a/"[..], 0)));
        assert_eq!(split(b"w/a/4294967295"), Some((&b"w/a/"[..], u32::MAX)));
        for other in ["", "w/a/", "w/a/00", "w/a/07", "w/a/4294967296", "w/a/1x"] {
            assert_eq!(split(other.as_bytes()), None, "{other}");
        }
        assert_eq!(key(b"w/a/", 120), b"w/a/120");
    }

    #[derive(Clone, Debug)]
    enum Step {
        Set(u8, Range<u32>, u8),
        Remove(u8, Range<u32>),
        RemoveKey(u8, u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        let numbers = || (0u32..130, 0u32..130).prop_map(|(a, b)| a.min(b)..a.max(b));
        prop_oneof![
            (0u8..3, numbers(), any::<u8>()).prop_map(|(prefix, numbers, value)| Step::Set(prefix, numbers, value)),
            (0u8..3, numbers()).prop_map(|(prefix, numbers)| Step::Remove(prefix, numbers)),
            (0u8..3, 0u32..130).prop_map(|(prefix, number)| Step::RemoveKey(prefix, number)),
        ]
    }

    const PREFIXES: [&[u8]; 3] = [b"w/a/", b"w/a/1/", b"w/b"];

    proptest! {
        #[test]
        fn runs_are_as_the_keys_one_by_one(steps in proptest::collection::vec(step(), 0..30)) {
            let (mut runs, mut model) = (Numbered::default(), BTreeMap::new());
            for step in steps {
                match step {
                    Step::Set(prefix, numbers, value) => {
                        let prefix = PREFIXES[usize::from(prefix)];
                        let value = Bytes::from(vec![value]);
                        runs.set(prefix, &numbers, value.clone());
                        model.extend(numbers.map(|number| (key(prefix, number), value.clone())));
                    }
                    Step::Remove(prefix, numbers) => {
                        let prefix = PREFIXES[usize::from(prefix)];
                        let there = numbers.clone().filter(|number| model.contains_key(&key(prefix, *number)));
                        prop_assert_eq!(runs.numbers_in(prefix, &numbers).collect::<Vec<_>>(), there.collect::<Vec<_>>());
                        let first = numbers.clone().find(|number| model.contains_key(&key(prefix, *number)));
                        prop_assert_eq!(runs.first_in(prefix, &numbers), first);
                        runs.remove(prefix, &numbers);
                        numbers.for_each(|number| drop(model.remove(&key(prefix, number))));
                    }
                    Step::RemoveKey(prefix, number) => {
                        let key = key(PREFIXES[usize::from(prefix)], number);
                        prop_assert_eq!(runs.get(&key), model.get(&key));
                        runs.remove_key(&key);
                        model.remove(&key);
                    }
                }
                for wanted in ["", "w/", "w/a/", "w/a/1", "w/a/1/", "w/a/1/12", "w/b", "w/b0", "x"] {
                    let mut found: Vec<_> = runs.scan(wanted.as_bytes()).collect();
                    found.sort();
                    let there = model.iter().filter(|(key, _)| key.starts_with(wanted.as_bytes()));
                    prop_assert_eq!(found, there.map(|(key, value)| (key.clone(), value.clone())).collect::<Vec<_>>());
                }
                prop_assert_eq!(runs.is_empty(), model.is_empty());
                prop_assert_eq!(runs.runs().map(|(_, numbers, _)| numbers.len()).sum::<usize>(), model.len());
            }
        }
    }
}
