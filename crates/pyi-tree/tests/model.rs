//! The tree against a model: any history of edits gives what a sorted map says, and the same nodes as building that map's content
//! from nothing. Names are drawn so that directories cross the split in both directions.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use pyi_cas::{Batch, Bytes, Id, MemoryStore};
use pyi_tree::tree::Content;
use pyi_tree::{Mode, Node, Sealer, StoreLoader, Tree, Walk, build_directory, directory_row, seal};

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn sealed(tree: &mut Tree, loader: &StoreLoader) -> Id {
    let store = loader.store();
    let mut batch = Batch::new();
    let id = seal(tree.root_mut(), &mut Sealer::new(&**store, &mut batch)).unwrap();
    store.commit(&mut batch).unwrap();
    id
}

fn contents(tree: &Tree, loader: &StoreLoader) -> Model {
    let mut walk = Walk::files(tree.root().clone(), &[]);
    let mut found = Model::new();
    while let Some(entry) = walk.next(loader).unwrap() {
        let content = match entry.pending {
            Some(pyi_tree::Pending::Blob(content)) => content,
            _ => loader.store().get(pyi_cas::Kind::Blob, &entry.row.id).unwrap().unwrap(),
        };
        found.insert(entry.path, content.to_vec());
    }
    found
}

/// The canonical node of a flat directory, built from sorted entries.
fn from_nothing(model: &Model, loader: &StoreLoader) -> Id {
    let entries: Vec<(Vec<u8>, pyi_tree::Row)> = model
        .iter()
        .map(|(name, content)| {
            let id = pyi_cas::Kind::Blob.id_of(content);
            (
                name.clone(),
                pyi_tree::Row {
                    mode: Mode::File,
                    id,
                    size_bytes: content.len() as u64,
                    files: 1,
                },
            )
        })
        .collect();
    let root = build_directory(entries.iter().map(|(name, row)| (name.as_slice(), *row, None))).unwrap();
    sealed(&mut Tree::from_root(root), loader)
}

fn loader() -> StoreLoader {
    StoreLoader::new(Arc::new(MemoryStore::new()))
}

fn check_totals(node: &Arc<Node>, loader: &StoreLoader) -> (u64, u64) {
    let (mut entries, mut files) = (0, 0);
    for index in 0..node.len() {
        let row = node.row(index);
        if row.mode == Mode::Piece {
            let child = node.child(index, loader).unwrap();
            assert_eq!(child.name(0), node.name(index));
            let (below, found) = check_totals(child, loader);
            assert_eq!(child.entries(), below);
            assert_eq!(u64::from(row.files), found);
            entries += below;
            files += found;
        } else {
            entries += 1;
            files += u64::from(row.files);
        }
    }
    assert_eq!((node.entries(), node.files()), (entries, files));
    (entries, files)
}

#[derive(Clone, Debug)]
enum Edit {
    Put(u16, u8),
    Remove(u16),
    RemoveRange(u16, u16),
    PutRange(u16, u16),
    Seal,
    Reload,
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let edit = prop_oneof![
        6 => (0..3000_u16, any::<u8>()).prop_map(|(name, value)| Edit::Put(name, value)),
        6 => (0..3000_u16).prop_map(Edit::Remove),
        1 => (0..3000_u16, 0..700_u16).prop_map(|(from, count)| Edit::RemoveRange(from, count)),
        2 => (0..3000_u16, 0..700_u16).prop_map(|(from, count)| Edit::PutRange(from, count)),
        1 => Just(Edit::Seal),
        1 => Just(Edit::Reload),
    ];
    proptest::collection::vec(edit, 1..80)
}

fn name_of(number: u16) -> Vec<u8> {
    format!("n{number}").into_bytes()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn any_history_of_edits_gives_the_canonical_directory(history in edits()) {
        let loader = loader();
        let (mut tree, mut model) = (Tree::default(), Model::new());
        for edit in history {
            let mut puts = Vec::new();
            let mut removes = Vec::new();
            match edit {
                Edit::Put(name, value) => puts.push((name, value)),
                Edit::Remove(name) => removes.push(name),
                Edit::RemoveRange(from, count) => removes.extend(from..from + count),
                Edit::PutRange(from, count) => puts.extend((from..from + count).map(|name| (name, 7))),
                Edit::Seal => drop(sealed(&mut tree, &loader)),
                Edit::Reload => {
                    let id = sealed(&mut tree, &loader);
                    let bytes = loader.store().get(pyi_cas::Kind::Node, &id).unwrap().unwrap();
                    tree = Tree::from_root(Arc::new(Node::decode(&bytes, id).unwrap()));
                }
            }
            for (name, value) in puts {
                let content = vec![value; usize::from(value) % 5];
                tree.put(&name_of(name), Mode::File, Content::Bytes(Bytes::from(content.clone())), &loader).unwrap();
                model.insert(name_of(name), content);
            }
            for name in removes {
                let there = tree.remove_name(&name_of(name), &loader).unwrap();
                prop_assert_eq!(there, model.remove(&name_of(name)).is_some());
            }
            prop_assert_eq!(tree.root().files(), model.len() as u64);
        }
        check_totals(tree.root(), &loader);
        prop_assert_eq!(contents(&tree, &loader), model.clone());
        let id = sealed(&mut tree, &loader);
        prop_assert_eq!(id, from_nothing(&model, &loader));
        prop_assert_eq!(contents(&tree, &loader), model);
    }

    /// Edits of different paths in any order, with checkpoints anywhere between, end in one tree with one id.
    #[test]
    fn the_order_of_edits_does_not_show(
        edits in proptest::collection::btree_map((0..400_u16, 0..3_u8), proptest::option::of(any::<u8>()), 1..150),
        order in any::<u64>(),
        seals in 0..40_usize,
    ) {
        let loader = loader();
        let path = |(name, depth): &(u16, u8)| match depth {
            0 => format!("n{name}"),
            1 => format!("flat/{name}"),
            _ => format!("d{}/e{}/{name}", name % 3, name % 7),
        };
        let mut start = Tree::default();
        for (place, _) in edits.iter().filter(|(_, value)| value.is_none()) {
            start.put(path(place).as_bytes(), Mode::File, Content::Bytes(Bytes::from_static(b"old")), &loader).unwrap();
        }
        sealed(&mut start, &loader);
        let mut shuffled: Vec<_> = edits.iter().collect();
        shuffled.sort_by_key(|(place, _)| (u64::from(place.0) << 8 | u64::from(place.1)).wrapping_add(order).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let run = |edits: Vec<(&(u16, u8), &Option<u8>)>, seal_every: usize| {
            let mut tree = start.clone();
            for (at, (place, value)) in edits.into_iter().enumerate() {
                match value {
                    Some(value) => tree.put(path(place).as_bytes(), Mode::File, Content::Bytes(Bytes::from(vec![*value; 3])), &loader).unwrap(),
                    None => tree.remove(path(place).as_bytes(), &loader).unwrap(),
                }
                if seal_every > 0 && at % seal_every == 0 {
                    sealed(&mut tree, &loader);
                }
            }
            // Directories stay when their last file goes, so both runs have the same ones.
            sealed(&mut tree, &loader)
        };
        prop_assert_eq!(run(edits.iter().collect(), 0), run(shuffled, seals));
    }

    #[test]
    fn diff_says_exactly_what_differs(before in edits(), after in edits()) {
        let loader = loader();
        let (mut tree, mut model) = (Tree::default(), Model::new());
        let mut versions = Vec::new();
        for history in [before, after] {
            for edit in history {
                match edit {
                    Edit::Put(name, value) => {
                        let content = vec![value; 3];
                        let path = format!("d{}/{}", name % 3, name).into_bytes();
                        tree.put(&path, Mode::File, Content::Bytes(Bytes::from(content.clone())), &loader).unwrap();
                        model.insert(path, content);
                    }
                    Edit::PutRange(from, count) => {
                        for name in from..from + count {
                            let path = format!("flat/{name}").into_bytes();
                            tree.put(&path, Mode::File, Content::Bytes(Bytes::from_static(b"r")), &loader).unwrap();
                            model.insert(path, b"r".to_vec());
                        }
                    }
                    Edit::RemoveRange(from, count) => {
                        for name in from..from + count {
                            let path = format!("flat/{name}").into_bytes();
                            let there = tree.remove(&path, &loader).is_ok();
                            assert_eq!(there, model.remove(&path).is_some());
                        }
                    }
                    Edit::Remove(_) | Edit::Reload => {}
                    Edit::Seal => drop(sealed(&mut tree, &loader)),
                }
            }
            versions.push((tree.clone(), model.clone()));
        }
        let ((old, old_model), (new, new_model)) = (&versions[0], &versions[1]);
        let found: Vec<Vec<u8>> = pyi_tree::diff::diff(old, new, &loader)
            .unwrap()
            .into_iter()
            // Empty directories are reported too; the model has none.
            .filter(|change| [&change.old, &change.new].iter().any(|side| side.as_ref().is_some_and(|s| s.row.mode != Mode::Directory)))
            .map(|change| change.path)
            .collect();
        let mut expected: Vec<Vec<u8>> =
            old_model.keys().chain(new_model.keys()).filter(|path| old_model.get(*path) != new_model.get(*path)).cloned().collect();
        expected.sort();
        expected.dedup();
        let mut sorted = found.clone();
        sorted.sort();
        prop_assert_eq!(sorted, expected);
    }

    #[test]
    fn a_node_of_any_bytes_is_refused_or_canonical(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in any::<usize>(), bit in 0..8_u8) {
        let _ = Node::decode(&bytes, Id([1; 32]));
        // One flipped bit of a real node is never taken for another node with other totals.
        let loader = loader();
        let mut tree = Tree::default();
        for name in 0..5_u16 {
            tree.put(&name_of(name), Mode::File, Content::Bytes(Bytes::from_static(b"x")), &loader).unwrap();
        }
        sealed(&mut tree, &loader);
        let mut damaged = tree.root().bytes().to_vec();
        let at = at % damaged.len();
        damaged[at] ^= 1 << bit;
        if let Ok(node) = Node::decode(&damaged, Id([1; 32])) {
            prop_assert_eq!(node.len(), 5);
        }
    }
}

#[test]
fn a_directory_row_counts_what_is_below() {
    let loader = loader();
    let mut tree = Tree::default();
    for number in 0..1000_u16 {
        let path = format!("a/b/{number}");
        tree.put(
            path.as_bytes(),
            Mode::File,
            Content::Bytes(Bytes::from_static(b"12")),
            &loader,
        )
        .unwrap();
    }
    let row = directory_row(tree.directory(b"a", &loader).unwrap()).unwrap();
    assert_eq!((row.files, row.size_bytes), (1000, 2000));
    tree.rename(b"a/b", b"c", &loader).unwrap();
    assert_eq!(tree.directory(b"c", &loader).unwrap().entries(), 1000);
    assert!(tree.directory(b"a", &loader).unwrap().is_empty());
    assert_eq!((tree.root().files(), tree.root().size_bytes()), (1000, 2000));
}

#[test]
fn what_stands_in_the_way_is_named() {
    let loader = loader();
    let mut tree = Tree::default();
    tree.put(b"f", Mode::File, Content::Bytes(Bytes::from_static(b"1")), &loader)
        .unwrap();
    tree.put(b"l", Mode::Symlink, Content::Bytes(Bytes::from_static(b"f")), &loader)
        .unwrap();
    tree.make_directory(b"d", &loader).unwrap();
    let put = |path: &[u8]| {
        tree.clone()
            .put(path, Mode::File, Content::Bytes(Bytes::new()), &loader)
            .unwrap_err()
            .to_string()
    };
    assert!(put(b"f/x").contains("\"f\" is not a directory"), "{}", put(b"f/x"));
    assert!(put(b"l/x").contains("a symlink is never followed"));
    assert!(put(b"d").contains("a directory stands here"));
    assert!(
        tree.clone()
            .make_directory(b"f", &loader)
            .unwrap_err()
            .to_string()
            .contains("a file stands here")
    );
    assert!(
        tree.clone()
            .rename(b"d", b"d/e", &loader)
            .unwrap_err()
            .to_string()
            .contains("into itself")
    );
    assert!(
        tree.clone()
            .remove(b"nothing", &loader)
            .unwrap_err()
            .to_string()
            .contains("no such file")
    );
}
