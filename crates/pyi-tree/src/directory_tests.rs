//! Directories with far more cuts than names have by chance, so that every way in which pieces meet comes up.

use pyi_cas::{Batch, Id, MemoryStore};

use super::*;
use crate::rank::rank;
use crate::{Sealer, StoreLoader, seal};

/// 360 names in order, of which half begin a piece, and of those half one of the level above, and so on.
fn names() -> Vec<Vec<u8>> {
    let mut left = [180, 90, 45, 45];
    let mut names = Vec::new();
    for number in 0..2_000_000_u32 {
        let name = number.to_string().into_bytes();
        let rank = usize::from(rank(&name)).min(3);
        // The frequent ones are taken from all over the numbers, so that they stand between the rare ones.
        if left[rank] > 0 && (rank > 1 || number % 487 == 0) {
            left[rank] -= 1;
            names.push(name);
        }
    }
    assert_eq!(left, [0; 4]);
    names.sort();
    names
}

fn entry() -> Entry {
    Entry {
        row: Row {
            mode: Mode::File,
            id: Id([1; 32]),
            size_bytes: 1,
            files: 1,
        },
        child: None,
        pending: None,
    }
}

fn sealed(mut node: Arc<Node>, store: &MemoryStore) -> Arc<Node> {
    seal(&mut node, &mut Sealer::new(store, &mut Batch::new())).unwrap();
    node
}

fn built<'a>(names: impl Iterator<Item = &'a Vec<u8>>, store: &MemoryStore) -> Arc<Node> {
    let entries = names.map(|name| (name.as_slice(), entry().row, None));
    sealed(build_directory(entries).unwrap(), store)
}

#[test]
fn removing_and_putting_back_any_entry_gives_the_nodes_of_building_from_nothing() {
    let (names, store) = (names(), Arc::new(MemoryStore::new()));
    let loader = StoreLoader::new(store.clone());
    let full = built(names.iter(), &store);
    assert!(full.level() >= 3);
    for gone in &names {
        let mut edited = full.clone();
        assert!(take(&mut edited, gone, &loader).unwrap().is_some());
        let edited = sealed(edited, &store);
        let expected = built(names.iter().filter(|name| *name != gone), &store);
        assert_eq!(edited.id(), expected.id(), "without {}", String::from_utf8_lossy(gone));
        assert_eq!(edited.entries(), names.len() as u64 - 1);
        let mut edited = edited;
        put(&mut edited, gone, entry(), &loader).unwrap();
        let edited = sealed(edited, &store);
        assert_eq!(edited.id(), full.id(), "with {} again", String::from_utf8_lossy(gone));
    }
}

#[test]
fn a_directory_that_shrinks_entry_by_entry_is_canonical_all_the_way() {
    let (names, store) = (names(), Arc::new(MemoryStore::new()));
    let loader = StoreLoader::new(store.clone());
    for forward in [true, false] {
        let (mut dir, mut left) = (built(names.iter(), &store), names.clone());
        while !left.is_empty() {
            let gone = if forward { left.remove(0) } else { left.pop().unwrap() };
            assert!(take(&mut dir, &gone, &loader).unwrap().is_some());
            assert!(take(&mut dir, &gone, &loader).unwrap().is_none());
            dir = sealed(dir, &store);
            assert_eq!(dir.id(), built(left.iter(), &store).id(), "{} left", left.len());
        }
    }
}
