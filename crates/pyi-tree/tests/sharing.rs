//! What sharing saves: what two trees share is neither loaded nor hashed nor stored again. The results would be the same without it,
//! so these tests count.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use pyi_cas::{Batch, Bytes, Id, Kind, MemoryStore};
use pyi_tree::diff::{Side, diff};
use pyi_tree::merge::{Contents, merge};
use pyi_tree::tree::Content;
use pyi_tree::{Loader, Mode, Node, Row, Sealer, StoreLoader, Tree, build_directory, seal};

/// A loader that remembers what it was asked for.
struct Counting {
    inner: StoreLoader,
    loaded: Mutex<Vec<Id>>,
}

impl Loader for Counting {
    fn load(&self, id: &Id) -> pyi_tree::Result<Arc<Node>> {
        self.loaded.lock().unwrap().push(*id);
        self.inner.load(id)
    }
}

impl Contents for Counting {
    fn read(&self, side: &Side) -> pyi_tree::Result<Bytes> {
        Ok(self.inner.store().get(Kind::Blob, &side.row.id)?.unwrap())
    }
}

impl Counting {
    fn new() -> Self {
        Counting {
            inner: StoreLoader::new(Arc::new(MemoryStore::new())),
            loaded: Mutex::default(),
        }
    }

    fn take(&self) -> Vec<Id> {
        std::mem::take(&mut *self.loaded.lock().unwrap())
    }

    /// Stores the tree and returns it with nothing in memory but its root.
    fn stored(&self, tree: &Tree) -> Tree {
        let (mut tree, mut batch) = (tree.clone(), Batch::new());
        seal(tree.root_mut(), &mut Sealer::new(&**self.inner.store(), &mut batch)).unwrap();
        self.inner.store().commit(&mut batch).unwrap();
        tree.cold().unwrap()
    }

    fn nodes(&self, node: &Arc<Node>, found: &mut BTreeSet<[u8; 32]>) {
        found.insert(node.id().unwrap().0);
        for index in 0..node.len() {
            if node.row(index).mode.has_node() {
                self.nodes(node.child(index, &self.inner).unwrap(), found);
            }
        }
    }

    fn shared(&self, a: &Tree, b: &Tree) -> BTreeSet<[u8; 32]> {
        let (mut of_a, mut of_b) = (BTreeSet::new(), BTreeSet::new());
        self.nodes(a.cold().unwrap().root(), &mut of_a);
        self.nodes(b.cold().unwrap().root(), &mut of_b);
        of_a.intersection(&of_b).copied().collect()
    }
}

fn name(number: u32) -> Vec<u8> {
    format!("{number:06}").into_bytes()
}

fn flat(entries: u32) -> Tree {
    let row = Row {
        mode: Mode::File,
        id: Id([9; 32]),
        size_bytes: 1,
        files: 1,
    };
    let names: Vec<Vec<u8>> = (0..entries).map(|number| name(number * 2)).collect();
    Tree::from_root(build_directory(names.iter().map(|name| (name.as_slice(), row, None))).unwrap())
}

fn put(tree: &mut Tree, path: &[u8], content: &[u8], loader: &dyn Loader) {
    let content = Content::Bytes(Bytes::copy_from_slice(content));
    tree.put(path, Mode::File, content, loader).unwrap();
}

#[test]
fn a_diff_of_100_000_entries_that_differ_in_one_loads_a_path_of_each_side() {
    let loader = Counting::new();
    let old = loader.stored(&flat(100_000));
    let mut new = old.cold().unwrap();
    put(&mut new, &name(77_778), b"new", &loader.inner);
    let new = loader.stored(&new);
    let levels = usize::from(old.root().level());
    assert!((2..=4).contains(&levels), "{levels}");
    let found = diff(&old, &new, &loader).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].path, name(77_778));
    assert_eq!(loader.take().len(), 2 * levels);
}

#[test]
fn a_diff_loads_no_node_that_both_trees_share() {
    let loader = Counting::new();
    let old = loader.stored(&flat(5_000));
    // Entries changed, added (odd numbers) and removed all over the directory, at the edges of pieces too.
    for number in (0..10_000).step_by(53).chain([9_998, 9_999, 10_001]) {
        let mut new = old.cold().unwrap();
        let removed = number % 3 == 0 && number % 2 == 0;
        if removed {
            new.remove(&name(number), &loader.inner).unwrap();
        } else {
            put(&mut new, &name(number), b"new", &loader.inner);
        }
        let new = loader.stored(&new);
        for (a, b) in [(&old, &new), (&new, &old)] {
            let found = diff(&a.cold().unwrap(), &b.cold().unwrap(), &loader).unwrap();
            let paths: Vec<_> = found.iter().map(|difference| difference.path.clone()).collect();
            assert_eq!(paths, [name(number)]);
            let shared = loader.shared(a, b);
            assert!(shared.len() > 100);
            let wasted = loader.take().iter().filter(|id| shared.contains(&id.0)).count();
            assert_eq!(wasted, 0, "{number}");
        }
    }
}

#[test]
fn a_diff_of_directories_of_different_heights_loads_no_node_that_both_share() {
    let loader = Counting::new();
    let high = loader.stored(&flat(400));
    // Without the one entry that begins a node of level 1, the directory has a level less.
    let low = (0..400).find_map(|number| {
        let mut without = high.cold().unwrap();
        without.remove(&name(number * 2), &loader.inner).unwrap();
        (without.root().level() == 1).then(|| loader.stored(&without))
    });
    let low = low.unwrap();
    assert_eq!((low.root().level(), high.root().level()), (1, 2));
    let shared = loader.shared(&low, &high);
    assert!(shared.len() > 5);
    for (a, b) in [(&low, &high), (&high, &low)] {
        let found = diff(&a.cold().unwrap(), &b.cold().unwrap(), &loader).unwrap();
        assert_eq!(found.len(), 1);
        let wasted = loader.take().iter().filter(|id| shared.contains(&id.0)).count();
        assert_eq!(wasted, 0);
    }
}

#[test]
fn a_diff_does_not_enter_directories_that_both_trees_share() {
    let loader = Counting::new();
    let mut old = Tree::default();
    for directory in 0..20 {
        put(
            &mut old,
            format!("d{directory}/x/file").as_bytes(),
            &[directory],
            &loader.inner,
        );
    }
    let mut new = old.clone();
    put(&mut new, b"d7/x/file", b"other", &loader.inner);
    let (old, new) = (loader.stored(&old), loader.stored(&new));
    let found = diff(&old, &new, &loader).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(loader.take().len(), 4, "d7 and d7/x of each side");
}

#[test]
fn a_merge_of_equal_sides_or_with_an_unchanged_one_loads_nothing() {
    let loader = Counting::new();
    let base = loader.stored(&flat(5_000));
    let mut other = base.cold().unwrap();
    put(&mut other, &name(3_000), b"new", &loader.inner);
    let other = loader.stored(&other);
    for (ours, theirs, expected) in [
        (&base, &base, &base),
        (&base, &other, &other),
        (&other, &base, &other),
        (&other, &other, &other),
    ] {
        let cold = |tree: &Tree| tree.cold().unwrap();
        let merged = merge(&cold(&base), &cold(ours), &cold(theirs), &loader, &loader).unwrap();
        assert!(merged.conflicts.is_empty());
        assert_eq!(merged.tree.root().id(), expected.root().id());
        assert_eq!(loader.take(), []);
    }
}

#[test]
fn a_node_that_some_tree_still_holds_is_not_read_again() {
    let loader = Counting::new();
    let stored = loader.stored(&flat(1_000));
    let (first, second) = (stored.cold().unwrap(), stored.cold().unwrap());
    let a = first.root().child(0, &loader).unwrap();
    let b = second.root().child(0, &loader).unwrap();
    assert!(Arc::ptr_eq(a, b));
}

#[test]
fn sealing_again_hashes_nothing_and_an_edit_hashes_one_path() {
    let loader = Counting::new();
    let store = loader.inner.store().clone();
    let mut tree = loader.stored(&flat(5_000));
    let mut batch = Batch::new();
    let mut sealer = Sealer::new(&*store, &mut batch);
    let id = seal(tree.root_mut(), &mut sealer).unwrap();
    assert_eq!(Some(id), tree.root().id());
    assert_eq!(sealer.hashed_bytes, 0);
    put(&mut tree, &name(3_000), b"new", &loader.inner);
    assert_eq!(tree.root().id(), None, "an edit makes the nodes above it unsealed");
    seal(tree.root_mut(), &mut sealer).unwrap();
    let whole = 5_000 * 54;
    assert!(
        (3..whole / 10).contains(&sealer.hashed_bytes),
        "{}",
        sealer.hashed_bytes
    );
    assert_eq!(
        batch.len(),
        2 + usize::from(tree.root().level()),
        "the content and the nodes above it"
    );
}

#[test]
fn what_the_store_or_the_batch_has_is_not_put_in_again() {
    let loader = Counting::new();
    let store = loader.inner.store().clone();
    let mut batch = Batch::new();
    let mut sealer = Sealer::new(&*store, &mut batch);
    let first = sealer.object(Kind::Blob, b"content").unwrap();
    assert_eq!(sealer.object(Kind::Blob, b"content").unwrap(), first);
    assert_eq!(sealer.hashed_bytes, 14);
    assert_eq!(batch.len(), 1, "the batch has it");
    store.commit(&mut batch).unwrap();
    batch.clear();
    Sealer::new(&*store, &mut batch).object(Kind::Blob, b"content").unwrap();
    assert!(batch.is_empty(), "the store has it");
}
