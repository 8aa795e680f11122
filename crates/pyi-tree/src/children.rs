//! The children of a node that are in memory.
//!
//! Versions of a node differ in one child or two, and there are thousands of versions. So what they have in common is one table
//! with a slot for each row, filled at the first use by whichever version needs it, and each version keeps beside it the few
//! children that are its own. A copy costs O(own) and not O(rows).

use std::sync::Arc;

use once_cell::sync::OnceCell;

use crate::{Node, Result};

type Slots = Arc<[OnceCell<Arc<Node>>]>;

/// Own children up to this are kept beside the table; one more, and the version gets a table of its own.
const OWN_MAX: usize = 8;

/// See the module's description. A slot of the table is only good for the versions whose row has the child's id: whoever changes a
/// row puts its child beside the table, or takes a table of its own.
#[derive(Clone, Default)]
pub(crate) struct Children {
    table: OnceCell<Slots>,
    own: Vec<(u32, Arc<Node>)>,
}

fn table_of(count: usize, mut child: impl FnMut(usize) -> Option<Arc<Node>>) -> Slots {
    (0..count)
        .map(|index| child(index).map_or_else(OnceCell::new, OnceCell::with_value))
        .collect()
}

impl Children {
    /// Those of a new node with so many rows.
    pub(crate) fn new(count: usize, children: Vec<(usize, Arc<Node>)>) -> Self {
        if children.is_empty() {
            return Children::default();
        }
        let mut children = children.into_iter().peekable();
        let table = table_of(count, |index| {
            children.next_if(|(row, _)| *row == index).map(|(_, child)| child)
        });
        Children {
            table: OnceCell::with_value(table),
            own: Vec::new(),
        }
    }

    /// Memory beside this value, without that of the children, in bytes; of a shared table its part. O(1).
    pub(crate) fn memory_bytes(&self) -> usize {
        let part = |table: &Slots| table.len() / Arc::strong_count(table);
        let slots = self.table.get().map_or(0, part);
        slots * size_of::<OnceCell<Arc<Node>>>() + self.own.capacity() * size_of::<(u32, Arc<Node>)>()
    }

    fn own_at(&self, index: usize) -> Option<usize> {
        self.own.iter().position(|(row, _)| *row as usize == index)
    }

    /// The child of a row, if it is in memory. O(own).
    pub(crate) fn get(&self, index: usize) -> Option<&Arc<Node>> {
        match self.own_at(index) {
            Some(at) => Some(&self.own[at].1),
            None => self.table.get()?.get(index)?.get(),
        }
    }

    /// The child of a row, from `load` if it is not in memory, for every version that shares the table. `count` is that of the rows.
    pub(crate) fn get_or_load(
        &self,
        index: usize,
        count: usize,
        load: impl FnOnce() -> Result<Arc<Node>>,
    ) -> Result<&Arc<Node>> {
        if let Some(at) = self.own_at(index) {
            return Ok(&self.own[at].1);
        }
        let table = self.table.get_or_init(|| table_of(count, |_| None));
        table[index].get_or_try_init(load)
    }

    /// Takes the child of a row out, if it is in memory, to be edited and put back. It stays in a table that others have too.
    pub(crate) fn take(&mut self, index: usize) -> Option<Arc<Node>> {
        if let Some(at) = self.own_at(index) {
            return Some(self.own.swap_remove(at).1);
        }
        let table = self.table.get_mut()?;
        match Arc::get_mut(table) {
            Some(slots) => slots.get_mut(index)?.take(),
            None => table.get(index)?.get().cloned(),
        }
    }

    /// Gives a row its child. O(own); O(rows) once in a while.
    pub(crate) fn put(&mut self, index: usize, count: usize, child: Arc<Node>) {
        if let Some(at) = self.own_at(index) {
            self.own[at].1 = child;
            return;
        }
        if let Some(slots) = self.table.get_mut().and_then(Arc::get_mut) {
            slots[index] = OnceCell::with_value(child);
            return;
        }
        self.own.push((index as u32, child));
        if self.own.len() > OWN_MAX {
            self.rebuild(count, Some);
        }
    }

    /// Forgets the child of a row that has another content now. O(rows) if others have the table too.
    pub(crate) fn clear(&mut self, index: usize, count: usize) {
        if let Some(at) = self.own_at(index) {
            drop(self.own.swap_remove(at));
        }
        let Some(table) = self.table.get_mut() else { return };
        match Arc::get_mut(table) {
            Some(slots) => slots[index] = OnceCell::new(),
            None => self.rebuild(count, |row| (row != index).then_some(row)),
        }
    }

    /// Makes room for a new row at `index`; `count` is that of the rows with it. O(rows).
    pub(crate) fn insert_row(&mut self, index: usize, count: usize) {
        if self.table.get().is_some() || !self.own.is_empty() {
            self.rebuild(count, |row| match row.cmp(&index) {
                std::cmp::Ordering::Less => Some(row),
                std::cmp::Ordering::Equal => None,
                std::cmp::Ordering::Greater => Some(row - 1),
            });
        }
    }

    /// Takes the row at `index` out and returns its child; `count` is that of the rows without it. O(rows).
    pub(crate) fn remove_row(&mut self, index: usize, count: usize) -> Option<Arc<Node>> {
        let child = self.take(index);
        if self.table.get().is_some() || !self.own.is_empty() {
            self.rebuild(count, |row| Some(if row < index { row } else { row + 1 }));
        }
        child
    }

    /// A table of its own: row `n` gets the child that row `from(n)` has now.
    fn rebuild(&mut self, count: usize, from: impl Fn(usize) -> Option<usize>) {
        let table = table_of(count, |row| self.get(from(row)?).cloned());
        *self = Children {
            table: OnceCell::with_value(table),
            own: Vec::new(),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Put(usize),
        Clear(usize),
        Take(usize),
        Load(usize),
        Insert(usize),
        Remove(usize),
        Fork,
        Switch(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => any::<usize>().prop_map(Step::Put),
            1 => any::<usize>().prop_map(Step::Clear),
            1 => any::<usize>().prop_map(Step::Take),
            2 => any::<usize>().prop_map(Step::Load),
            1 => any::<usize>().prop_map(Step::Insert),
            1 => any::<usize>().prop_map(Step::Remove),
            2 => Just(Step::Fork),
            2 => any::<usize>().prop_map(Step::Switch),
        ];
        proptest::collection::vec(step, 1..120)
    }

    /// A row's content and whether its child is in memory for sure (`None`: another version may have loaded it).
    type Rows = Vec<u64>;

    fn node(label: u64) -> Arc<Node> {
        let mut node = Node::empty(0);
        node.set_entries(label);
        Arc::new(node)
    }

    proptest! {
        /// Whatever versions share, each row has the child of its own content, or none.
        #[test]
        fn no_version_sees_the_child_of_another(steps in steps(), rows in 0usize..30) {
            let mut label = 1_000;
            let mut versions: Vec<(Rows, Children)> = vec![((0..rows as u64).collect(), Children::default())];
            let mut at = 0;
            for step in steps {
                label += 1;
                let (rows, children) = &mut versions[at];
                let count = rows.len();
                match step {
                    Step::Put(n) if count > 0 => {
                        rows[n % count] = label;
                        children.put(n % count, count, node(label));
                    }
                    Step::Clear(n) if count > 0 => {
                        rows[n % count] = label;
                        children.clear(n % count, count);
                    }
                    Step::Take(n) if count > 0 => {
                        let n = n % count;
                        if let Some(child) = children.take(n) {
                            prop_assert_eq!(child.entries(), rows[n]);
                            rows[n] = label;
                            children.put(n, count, node(label));
                        }
                    }
                    Step::Load(n) if count > 0 => {
                        let n = n % count;
                        let child = children.get_or_load(n, count, || Ok(node(rows[n]))).unwrap();
                        prop_assert_eq!(child.entries(), rows[n]);
                    }
                    Step::Insert(n) => {
                        let n = n % (count + 1);
                        rows.insert(n, label);
                        children.insert_row(n, count + 1);
                    }
                    Step::Remove(n) if count > 0 => {
                        let n = n % count;
                        let label = rows.remove(n);
                        if let Some(child) = children.remove_row(n, count - 1) {
                            prop_assert_eq!(child.entries(), label);
                        }
                    }
                    Step::Fork => {
                        let copy = versions[at].clone();
                        versions.push(copy);
                    }
                    Step::Switch(n) => at = n % versions.len(),
                    _ => {}
                }
                for (rows, children) in &versions {
                    for (index, label) in rows.iter().enumerate() {
                        if let Some(child) = children.get(index) {
                            prop_assert_eq!(child.entries(), *label);
                        }
                    }
                    prop_assert!(children.own.len() <= OWN_MAX && children.get(rows.len()).is_none());
                }
            }
        }
    }

    #[test]
    fn a_copy_shares_what_it_does_not_change() {
        let children = Children::new(20, (0..20).map(|n| (n, node(n as u64))).collect());
        let mut copy = children.clone();
        for n in 0..OWN_MAX {
            copy.put(n, 20, node(100));
        }
        assert!(Arc::ptr_eq(copy.table.get().unwrap(), children.table.get().unwrap()));
        copy.put(OWN_MAX, 20, node(100));
        assert!(copy.own.is_empty() && Arc::ptr_eq(copy.get(15).unwrap(), children.get(15).unwrap()));
        assert_eq!(children.get(0).unwrap().entries(), 0);
    }
}
