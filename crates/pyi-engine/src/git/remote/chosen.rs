//! What the latest clones brought.
//!
//! The names of commits say all that belongs to them, so that the same wants bring the same objects again, whoever asks and whenever. Agents that begin at one
//! commit ask for the same hundreds of times; finding out what that is takes most of the time of a clone.

use std::collections::VecDeque;
use std::sync::Arc;

use pyi_git::Oid;
use pyi_git::remote::fetch::{Deepen, FetchRequest};
use pyi_git::remote::filter::Filter;

use super::select::Selection;

/// Names that are kept in all, some 33 MB of them.
const NAMES_MAX: usize = 1_000_000;
const KEPT_MAX: usize = 64;

/// What is asked for by somebody who has nothing.
#[derive(PartialEq, Eq)]
pub(crate) struct CloneKey {
    wants: Vec<Oid>,
    filter: Filter,
}

impl CloneKey {
    /// `None` if it depends on more than what is wanted. O(wants log wants).
    pub(crate) fn of(request: &FetchRequest, haves: &[Oid]) -> Option<Self> {
        let is_whole = haves.is_empty()
            && request.shallow.is_empty()
            && request.deepen == Deepen::No
            && request.deepen_not.is_empty();
        is_whole.then(|| {
            let mut wants = request.wants.clone();
            wants.sort_unstable();
            wants.dedup();
            CloneKey {
                wants,
                filter: request.filter,
            }
        })
    }
}

/// Selections by what was asked for; the one that was not asked for the longest time goes first.
#[derive(Default)]
pub(crate) struct Chosen {
    kept: VecDeque<(CloneKey, Arc<Selection>)>,
    names: usize,
}

impl Chosen {
    /// O(kept).
    pub(crate) fn get(&mut self, key: &CloneKey) -> Option<Arc<Selection>> {
        let at = self.kept.iter().position(|(known, _)| known == key)?;
        let entry = self.kept.remove(at)?;
        let selection = entry.1.clone();
        self.kept.push_back(entry);
        Some(selection)
    }

    /// Keeps a selection that is not too large. O(kept).
    pub(crate) fn put(&mut self, key: CloneKey, selection: Arc<Selection>) {
        let names = selection.count() + selection.bases.len();
        if names > NAMES_MAX || self.kept.iter().any(|(known, _)| *known == key) {
            return;
        }
        self.names += names;
        self.kept.push_back((key, selection));
        while self.names > NAMES_MAX || self.kept.len() > KEPT_MAX {
            let Some((_, gone)) = self.kept.pop_front() else { break };
            self.names -= gone.count() + gone.bases.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(want: u8) -> FetchRequest {
        FetchRequest {
            wants: vec![Oid::from_bytes(pyi_git::ObjectFormat::Sha1, &[want; 20]).unwrap()],
            ..FetchRequest::default()
        }
    }

    fn selection(names: usize) -> Arc<Selection> {
        Arc::new(Selection {
            others: vec![asked(0).wants[0]; names],
            ..Selection::default()
        })
    }

    #[test]
    fn keeps_what_was_asked_for_last_within_its_bounds() {
        let mut chosen = Chosen::default();
        let key = |want| CloneKey::of(&asked(want), &[]).unwrap();
        for want in 0..3 {
            chosen.put(key(want), selection(400_000));
            assert!(chosen.get(&key(0)).is_some() || want == 2);
            assert!(chosen.names <= NAMES_MAX);
        }
        // The first was asked for again and again, the second was not.
        assert!(chosen.get(&key(1)).is_none() && chosen.get(&key(2)).is_some());
        chosen.put(key(9), selection(NAMES_MAX + 1));
        assert!(chosen.get(&key(9)).is_none());
        for want in 0..=255 {
            chosen.put(key(want), selection(1));
        }
        assert_eq!(chosen.kept.len(), KEPT_MAX);
    }

    #[test]
    fn who_has_something_or_cuts_history_is_not_taken_for_a_clone() {
        let have = asked(1).wants;
        assert!(CloneKey::of(&asked(2), &have).is_none());
        let mut request = asked(2);
        request.shallow.clone_from(&have);
        assert!(CloneKey::of(&request, &[]).is_none());
        let request = FetchRequest {
            deepen: Deepen::Depth(1),
            ..asked(2)
        };
        assert!(CloneKey::of(&request, &[]).is_none());
        let request = FetchRequest {
            filter: Filter {
                blob_limit_bytes: Some(0),
                ..Filter::default()
            },
            ..asked(2)
        };
        assert!(CloneKey::of(&request, &[]) != CloneKey::of(&asked(2), &[]));
    }
}
