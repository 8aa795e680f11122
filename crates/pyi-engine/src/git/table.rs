//! A hash index over entries that stand in a vector: positions only, four bytes a slot.

/// Open addressing with linear probing; at most half full. Keys are uniform already (they are hashes of contents).
#[derive(Default)]
pub(crate) struct Table {
    /// Position + 1; 0 is free.
    slots: Vec<u32>,
    used: usize,
}

impl Table {
    /// The position whose key fits, if any. O(1).
    pub(crate) fn find(&self, hash: u64, fits: impl Fn(usize) -> bool) -> Option<usize> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = hash as usize & mask;
        loop {
            let position = (*self.slots.get(at)?).checked_sub(1)? as usize;
            if fits(position) {
                return Some(position);
            }
            at = (at + 1) & mask;
        }
    }

    /// Every position whose hash has these bits where `known` has ones, and others that stand between them; some of them twice. O(those + 2 to the number
    /// of bits that choose a slot and are not known).
    pub(crate) fn near(&self, hash: u64, known: u64, mut each: impl FnMut(usize)) {
        let Some(mask) = self.slots.len().checked_sub(1) else {
            return;
        };
        let open = mask & !(known as usize);
        let start = hash as usize & mask & !open;
        let mut rest = 0;
        loop {
            let mut at = start | rest;
            while let Some(position) = self.slots.get(at).and_then(|slot| slot.checked_sub(1)) {
                each(position as usize);
                at = (at + 1) & mask;
            }
            if rest == open {
                return;
            }
            // The next number whose ones are all among the open ones.
            rest = rest.wrapping_sub(open) & open;
        }
    }

    /// Adds a position that is not in it; `hash_of` gives the hash of those that are. O(1), amortized.
    pub(crate) fn insert(&mut self, hash: u64, position: usize, hash_of: impl Fn(usize) -> u64) {
        if (self.used + 1) * 2 > self.slots.len() {
            self.resize((self.slots.len() * 2).max(1024), hash_of);
        }
        self.place(hash, position as u32 + 1);
        self.used += 1;
    }

    /// Makes room for so many more. O(slots).
    pub(crate) fn reserve(&mut self, more: usize, hash_of: impl Fn(usize) -> u64) {
        let wanted = ((self.used + more) * 2).next_power_of_two().max(1024);
        if wanted > self.slots.len() {
            self.resize(wanted, hash_of);
        }
    }

    fn resize(&mut self, slots: usize, hash_of: impl Fn(usize) -> u64) {
        let old = std::mem::replace(&mut self.slots, vec![0; slots]);
        for slot in old.into_iter().filter(|&slot| slot != 0) {
            self.place(hash_of(slot as usize - 1), slot);
        }
    }

    fn place(&mut self, hash: u64, slot: u32) {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while let Some(there) = self.slots.get_mut(at) {
            if *there == 0 {
                *there = slot;
                return;
            }
            at = (at + 1) & mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_inserted_even_when_hashes_clash() {
        let hash_of = |position: usize| (position % 7) as u64;
        let mut table = Table::default();
        assert_eq!(table.find(3, |_| true), None);
        for position in 0..3000 {
            table.insert(hash_of(position), position, hash_of);
        }
        table.reserve(10_000, hash_of);
        for position in 0..3000 {
            assert_eq!(table.find(hash_of(position), |found| found == position), Some(position));
        }
        assert_eq!(table.find(3, |_| false), None);
    }
}
