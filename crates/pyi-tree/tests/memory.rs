//! What nodes count as memory that were sealed, and that were loaded. One test in a program of its own: the count is of the whole process.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use pyi_cas::{Batch, Bytes, MemoryStore};
use pyi_tree::tree::Content;
use pyi_tree::{Loader, Mode, Sealer, StoreLoader, Tree, loaded_bytes, seal, sealed_bytes};

#[test]
fn nodes_count_until_the_last_tree_lets_go_of_them() {
    let loader = StoreLoader::new(Arc::new(MemoryStore::new()));
    let (mut tree, mut batch) = (Tree::default(), Batch::new());
    for number in 0..200 {
        let path = format!("d/file-{number}");
        let content = Content::Bytes(Bytes::from_static(b"1"));
        tree.put(path.as_bytes(), Mode::File, content, &loader).unwrap();
    }
    assert_eq!(sealed_bytes(), 0, "not sealed yet");
    seal(tree.root_mut(), &mut Sealer::new(&**loader.store(), &mut batch)).unwrap();
    loader.store().commit(&mut batch).unwrap();
    let directory = tree.directory(b"d", &loader).unwrap();
    let nodes = [tree.root(), directory];
    assert_eq!(
        sealed_bytes(),
        nodes.iter().map(|node| node.memory_bytes()).sum::<usize>()
    );
    let bytes = directory.bytes().len();
    assert!((bytes..4 * bytes + 1024).contains(&directory.memory_bytes()));
    // A root has room for its loaded children, 16 bytes each at least.
    let cold = tree.cold().unwrap();
    assert!(tree.root().memory_bytes() >= cold.root().memory_bytes() + 16);
    let before = sealed_bytes();
    let copy = tree.clone();
    drop(tree);
    assert_eq!(sealed_bytes(), before, "the copy still holds them");
    drop(copy);
    assert_eq!(sealed_bytes(), 0);
    assert_eq!(cold.root().len(), 1);

    // What is loaded counts by itself, once however many trees have it, until the last of them lets go of it or it is made anew.
    assert_eq!(loaded_bytes(), 0, "the root of a cold tree is the one that was made");
    let mut tree = Tree::from_root(loader.load(&cold.root().id().unwrap()).unwrap());
    let root = loaded_bytes();
    assert_eq!(root, tree.root().memory_bytes());
    let directory = tree.directory(b"d", &loader).unwrap().memory_bytes();
    assert_eq!(loaded_bytes(), root + directory);
    let (copy, other) = (
        tree.clone(),
        Tree::from_root(loader.load(&cold.root().id().unwrap()).unwrap()),
    );
    other.directory(b"d", &loader).unwrap();
    assert_eq!((loaded_bytes(), sealed_bytes()), (root + directory, 0));
    drop((copy, other));
    let content = Content::Bytes(Bytes::from_static(b"2"));
    tree.put(b"d/file-7", Mode::File, content, &loader).unwrap();
    seal(tree.root_mut(), &mut Sealer::new(&**loader.store(), &mut batch)).unwrap();
    let nodes = [tree.root(), tree.directory(b"d", &loader).unwrap()];
    let made: usize = nodes.iter().map(|node| node.memory_bytes()).sum();
    assert_eq!(sealed_bytes(), made);
    drop(tree);
    assert_eq!((loaded_bytes(), sealed_bytes()), (0, 0));
}
