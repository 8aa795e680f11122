//! A version of a node in terms of an older one: what a commit logs in the place of the whole node (format v1, 4.7).

use std::cmp::Ordering;

use pyi_cas::Splice;

use crate::encoding::{HEADER_BYTES, ROW_BYTES, u32_at};

/// Nodes below this are stored whole: the record's header and the base's id alone take 80 bytes.
const WHOLE_BELOW_BYTES: usize = 512;

/// Fills `splice` with what makes `new` from `old`, both the bytes of nodes, if that is worth it. O(bytes), and O(rows) comparisons of names where
/// rows were added or removed.
///
/// All versions since the last whole one are differences to that one, and each holds all rows changed since. With `c` bytes a change and `w`
/// for a whole node, `n` changes cost `w + c n^2 / 2`: least, per change, for `n^2 = 2 w / c`, which is when a difference has `2 w c` as its
/// square. So a larger one gives way to a whole node.
pub(crate) fn between(old: &[u8], new: &[u8], splice: &mut Splice) -> bool {
    splice.clear();
    if new.len() < WHOLE_BELOW_BYTES {
        return false;
    }
    let (old, new) = (Parts::of(old), Parts::of(new));
    splice.compare(old.header, new.header);
    if old.names == new.names && old.rows.len() == new.rows.len() {
        splice.compare(old.rows, new.rows);
        splice.copy(old.names.len());
    } else {
        merge(&old, &new, splice);
    }
    let (payload, whole) = (splice.payload_bytes(), new.len());
    payload * payload <= 2 * ROW_BYTES * whole && payload < whole / 2
}

/// First the rows, then the names.
fn merge(old: &Parts<'_>, new: &Parts<'_>, splice: &mut Splice) {
    for pair in (Pairs { old, new, at: (0, 0) }) {
        match pair {
            Pair::Both(at, row) => splice.compare(old.row(at), new.row(row)),
            Pair::Gone(at) => splice.skip(old.row(at).len()),
            Pair::Fresh(row) => splice.literal(new.row(row)),
        }
    }
    for pair in (Pairs { old, new, at: (0, 0) }) {
        match pair {
            Pair::Both(at, _) => splice.copy(old.name(at).len()),
            Pair::Gone(at) => splice.skip(old.name(at).len()),
            Pair::Fresh(row) => splice.literal(new.name(row)),
        }
    }
}

/// The rows of two nodes in the order of their names.
struct Pairs<'a, 'b> {
    old: &'b Parts<'a>,
    new: &'b Parts<'a>,
    at: (usize, usize),
}

/// A name that both have, with its row in each, or only one.
enum Pair {
    Both(usize, usize),
    Gone(usize),
    Fresh(usize),
}

impl Iterator for Pairs<'_, '_> {
    type Item = Pair;

    fn next(&mut self) -> Option<Pair> {
        let (at, row) = self.at;
        let order = match (at < self.old.count(), row < self.new.count()) {
            (false, false) => return None,
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (true, true) => self.old.name(at).cmp(self.new.name(row)),
        };
        let pair = match order {
            Ordering::Less => Pair::Gone(at),
            Ordering::Greater => Pair::Fresh(row),
            Ordering::Equal => Pair::Both(at, row),
        };
        self.at = (at + usize::from(order.is_le()), row + usize::from(order.is_ge()));
        Some(pair)
    }
}

/// The bytes of a node, which were checked when it was decoded or made.
struct Parts<'a> {
    header: &'a [u8],
    rows: &'a [u8],
    names: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        let (header, rest) = bytes.split_at(HEADER_BYTES);
        let (rows, names) = rest.split_at(u32_at(header, 4) as usize * ROW_BYTES);
        Parts { header, rows, names }
    }

    fn len(&self) -> usize {
        self.header.len() + self.rows.len() + self.names.len()
    }

    fn count(&self) -> usize {
        self.rows.len() / ROW_BYTES
    }

    fn row(&self, index: usize) -> &'a [u8] {
        &self.rows[index * ROW_BYTES..][..ROW_BYTES]
    }

    fn name_end(&self, index: usize) -> usize {
        (u32_at(self.rows, index * ROW_BYTES + 44) & 0x00ff_ffff) as usize
    }

    fn name(&self, index: usize) -> &'a [u8] {
        let start = if index == 0 { 0 } else { self.name_end(index - 1) };
        &self.names[start..self.name_end(index)]
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use pyi_cas::{Batch, FileStore, Kind, ObjectStore, OpenOptions, OsFs};

    use crate::tree::Content;
    use crate::{Mode, Sealer, StoreLoader, Tree, seal};

    /// Edits of one directory, sealed and stored now and then; what a reader who knows nothing finds is what was written.
    fn run(edits: &[(u16, u8)]) -> (u64, u64) {
        let place = tempfile::tempdir().unwrap();
        let open = || -> Arc<dyn ObjectStore> {
            let options = OpenOptions {
                create: true,
                ..OpenOptions::default()
            };
            Arc::new(FileStore::open(Arc::new(OsFs), place.path(), options).unwrap())
        };
        let store = open();
        let loader = StoreLoader::new(store.clone());
        let (mut tree, mut batch, mut roots) = (Tree::default(), Batch::new(), Vec::new());
        let (mut logged, mut whole) = (0, 0);
        for (name, what) in edits {
            let name = format!("{name:05}");
            if *what == 0 {
                tree.remove_name(name.as_bytes(), &loader).unwrap();
            } else {
                let content = Content::Bytes(vec![*what; 3].into());
                tree.put_name(name.as_bytes(), Mode::File, content, &loader).unwrap();
            }
            if tree.root().is_empty() || what % 3 == 0 {
                continue;
            }
            let id = seal(tree.root_mut(), &mut Sealer::new(&*store, &mut batch)).unwrap();
            logged += batch.size_bytes() as u64;
            whole += tree.root().bytes().len() as u64;
            store.commit(&mut batch).unwrap();
            roots.push((id, tree.clone()));
        }
        store.close().unwrap();
        let store = open();
        for (id, tree) in &roots {
            let found = store.get(Kind::Node, id).unwrap().unwrap();
            assert_eq!(&found[..], tree.root().bytes());
        }
        (logged, whole)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn every_version_is_read_as_it_was_written(edits in proptest::collection::vec((0u16..400, 0u8..9), 1..300)) {
            run(&edits);
        }
    }

    #[test]
    fn a_change_logs_a_part_of_its_node() {
        let mut edits: Vec<(u16, u8)> = (0..200).map(|name| (name, 3)).collect();
        edits.extend((0..400).map(|step| (step * 7 % 200, 4 + (step % 2) as u8 * 3)));
        let (logged, whole) = run(&edits);
        // A node of 200 rows takes 10 KB; what is logged of it is 1.5 KB on average, the file's record included.
        assert!(logged * 5 < whole, "{logged} of {whole}");
    }
}
