//! Trees, one promise at a time: what an edit does, and what it refuses.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use pyi_cas::{Bytes, Id, MemoryStore};
use pyi_tree::diff::diff;
use pyi_tree::tree::Content;
use pyi_tree::{CheckpointRoot, Mode, Pending, StoreLoader, Tree, Walk};

fn loader() -> StoreLoader {
    StoreLoader::new(Arc::new(MemoryStore::new()))
}

fn put(tree: &mut Tree, path: &str, content: &str, loader: &StoreLoader) {
    let content = Content::Bytes(Bytes::copy_from_slice(content.as_bytes()));
    tree.put(path.as_bytes(), Mode::File, content, loader).unwrap();
}

fn tree(paths: &[&str], loader: &StoreLoader) -> Tree {
    let mut tree = Tree::default();
    for path in paths {
        put(&mut tree, path, path, loader);
    }
    tree
}

fn content(tree: &Tree, path: &str, loader: &StoreLoader) -> Option<String> {
    match tree.find(path.as_bytes(), loader).unwrap()?.pending()? {
        Pending::Blob(content) => Some(String::from_utf8(content.to_vec()).unwrap()),
        Pending::Array { .. } => None,
    }
}

fn walked(mut walk: Walk, loader: &StoreLoader) -> Vec<String> {
    let mut paths = Vec::new();
    while let Some(entry) = walk.next(loader).unwrap() {
        assert_eq!(entry.node.is_some(), entry.row.mode == Mode::Directory);
        paths.push(String::from_utf8(entry.path).unwrap());
    }
    paths
}

#[test]
fn modes_have_the_numbers_that_git_and_format_1_give_them() {
    let expected = [
        (Mode::File, 1, 0o100_644),
        (Mode::Executable, 2, 0o100_755),
        (Mode::Symlink, 3, 0o120_000),
        (Mode::Gitlink, 4, 0o160_000),
        (Mode::Directory, 5, 0o040_000),
        (Mode::Piece, 6, 0o040_000),
        (Mode::Value, 7, 0o100_644),
        (Mode::Array, 8, 0o100_644),
    ];
    for (mode, number, unix) in expected {
        assert_eq!(Mode::from_number(number).unwrap(), mode);
        assert_eq!((mode as u8, mode.unix()), (number, unix));
        assert_eq!(mode.has_node(), matches!(number, 5 | 6));
        assert_eq!(mode.is_file(), matches!(number, 1 | 2));
    }
    assert!(Mode::from_number(0).is_err() && Mode::from_number(9).is_err());
}

#[test]
fn a_walk_lists_files_or_everything_or_one_directory() {
    let loader = loader();
    let mut tree = tree(&["a", "d/e/f", "d/g"], &loader);
    tree.make_directory(b"empty", &loader).unwrap();
    let root = tree.root();
    assert_eq!(walked(Walk::files(root.clone(), b""), &loader), ["a", "d/e/f", "d/g"]);
    let all = ["a", "d", "d/e", "d/e/f", "d/g", "empty"];
    assert_eq!(walked(Walk::all(root.clone(), b""), &loader), all);
    assert_eq!(walked(Walk::entries(root.clone(), b""), &loader), ["a", "d", "empty"]);
    let below = tree.directory(b"d", &loader).unwrap();
    assert_eq!(walked(Walk::files(below.clone(), b"d"), &loader), ["d/e/f", "d/g"]);
    assert_eq!(walked(Walk::entries(below.clone(), b"d"), &loader), ["d/e", "d/g"]);
}

#[test]
fn what_stands_below_a_file_or_nowhere_is_not_found() {
    let loader = loader();
    let mut tree = tree(&["f", "d/g"], &loader);
    for path in [&b"x"[..], b"f/x", b"d/x", b"d/g/x", b"x/y"] {
        assert!(tree.find(path, &loader).unwrap().is_none());
        assert!(
            tree.remove(path, &loader)
                .unwrap_err()
                .to_string()
                .contains("no such file")
        );
        assert!(tree.set_mode(path, Mode::File, &loader).is_err());
        assert!(
            tree.directory(path, &loader)
                .unwrap_err()
                .to_string()
                .contains("no such file")
        );
        assert!(tree.rename(path, b"new", &loader).is_err());
    }
    assert!(
        tree.directory(b"f", &loader)
            .unwrap_err()
            .to_string()
            .contains("not a directory")
    );
    assert!(tree.directory(b"", &loader).is_ok());
    let found = tree.find(b"d", &loader).unwrap().unwrap();
    assert_eq!((found.mode(), found.row().files), (Mode::Directory, 1));
    assert!(found.child(&loader).is_ok() && found.pending().is_none());
}

#[test]
fn removing_takes_a_file_or_all_below_and_leaves_the_directory_above() {
    let loader = loader();
    let mut tree = tree(&["d/e/f", "d/e/g"], &loader);
    tree.remove(b"d/e/f", &loader).unwrap();
    assert_eq!(content(&tree, "d/e/g", &loader).unwrap(), "d/e/g");
    tree.remove(b"d/e", &loader).unwrap();
    assert!(tree.directory(b"d", &loader).unwrap().is_empty());
    assert_eq!(tree.root().files(), 0);
}

#[test]
fn a_rename_moves_files_over_files_and_directories_to_free_places_only() {
    let loader = loader();
    let tree = tree(&["f", "g", "d/x", "dd/y"], &loader);
    let renamed = |old: &str, new: &str| {
        let mut copy = tree.clone();
        copy.rename(old.as_bytes(), new.as_bytes(), &loader).map(|()| copy)
    };
    let refused = |old: &str, new: &str| renamed(old, new).unwrap_err().to_string();
    let moved = renamed("f", "g").unwrap();
    assert_eq!(content(&moved, "g", &loader).unwrap(), "f");
    assert!(moved.find(b"f", &loader).unwrap().is_none());
    let moved = renamed("d", "new/place").unwrap();
    assert_eq!(content(&moved, "new/place/x", &loader).unwrap(), "d/x");
    assert!(moved.find(b"d", &loader).unwrap().is_none());
    assert_eq!(renamed("d", "d").unwrap().root().files(), 4);
    assert_eq!(content(&renamed("d", "d2").unwrap(), "d2/x", &loader).unwrap(), "d/x");
    assert!(refused("d", "d/x/y").contains("into itself"));
    assert!(refused("d", "f").contains("stands here already"));
    assert!(refused("f", "d").contains("stands here already"));
    assert!(refused("d", "dd").contains("stands here already"));
}

#[test]
fn a_mode_changes_alone_and_directories_are_made_once() {
    let loader = loader();
    let mut tree = tree(&["d/f"], &loader);
    tree.set_mode(b"d/f", Mode::Executable, &loader).unwrap();
    assert_eq!(tree.find(b"d/f", &loader).unwrap().unwrap().mode(), Mode::Executable);
    assert_eq!(content(&tree, "d/f", &loader).unwrap(), "d/f");
    tree.make_directory(b"d", &loader).unwrap();
    tree.make_directory(b"a/b/c", &loader).unwrap();
    assert_eq!(content(&tree, "d/f", &loader).unwrap(), "d/f");
    assert!(tree.directory(b"a/b/c", &loader).unwrap().is_empty());
}

#[test]
fn a_directory_is_put_at_its_path_or_at_the_root_but_not_over_a_file() {
    let loader = loader();
    let (other, mut tree) = (tree(&["x"], &loader), tree(&["d/f", "g"], &loader));
    tree.put_directory(b"d", other.root().clone(), &loader).unwrap();
    assert_eq!(content(&tree, "d/x", &loader).unwrap(), "x");
    assert!(tree.find(b"d/f", &loader).unwrap().is_none());
    let refused = tree.clone().put_directory(b"g", other.root().clone(), &loader);
    assert!(refused.unwrap_err().to_string().contains("a file stands here"));
    tree.put_directory(b"", other.root().clone(), &loader).unwrap();
    assert!(Arc::ptr_eq(tree.root(), other.root()));
}

#[test]
fn a_refused_put_names_what_stands_in_the_way() {
    let loader = loader();
    let mut tree = tree(&["d/f"], &loader);
    let error = tree
        .put(b"d/f/g/h", Mode::File, Content::Bytes(Bytes::new()), &loader)
        .unwrap_err();
    assert!(error.to_string().contains("\"d/f\" is not a directory"), "{error}");
}

#[test]
fn a_diff_tells_of_directories_only_where_an_empty_one_came_or_went() {
    let loader = loader();
    let old = tree(&["d/f", "p"], &loader);
    let mut new = tree(&["p/q/r", "d/f"], &loader);
    new.make_directory(b"empty", &loader).unwrap();
    new.make_directory(b"p/hollow", &loader).unwrap();
    let told = |old: &Tree, new: &Tree| -> Vec<(String, bool, bool)> {
        let found = diff(old, new, &loader).unwrap().into_iter();
        found
            .map(|d| (String::from_utf8(d.path).unwrap(), d.old.is_some(), d.new.is_some()))
            .collect()
    };
    let expected = [
        ("empty", false, true),
        ("p", true, false),
        ("p/hollow", false, true),
        ("p/q/r", false, true),
    ];
    let forth: Vec<_> = expected.map(|(path, old, new)| (path.to_owned(), old, new)).into();
    assert_eq!(told(&old, &new), forth);
    let mut back = told(&new, &old);
    back.sort();
    let expected: Vec<_> = expected.map(|(path, old, new)| (path.to_owned(), new, old)).into();
    assert_eq!(back, expected);
}

#[test]
fn a_checkpoint_with_a_part_of_the_wrong_type_is_corrupt() {
    use pyi_tree::cbor::Value;
    let whole = CheckpointRoot {
        files: Id([1; 32]),
        state: Some(Id([2; 32])),
        journal: Some(Id([3; 32])),
        parents: vec![Id([4; 32])],
        time_ns: 1,
        message: "m".to_owned(),
        metadata: Value::Map(vec![("m".to_owned(), Value::Null)]),
        git: std::sync::Arc::new(Value::Map(vec![("g".to_owned(), Value::Null)])),
        unknown: Vec::new(),
    };
    assert_eq!(CheckpointRoot::decode(&whole.encode()).unwrap(), whole);
    let Value::Map(pairs) = Value::decode(&whole.encode()).unwrap() else {
        unreachable!("a map")
    };
    assert_eq!(pairs.len(), 8);
    for index in 0..pairs.len() {
        let mut wrong = pairs.clone();
        wrong[index].1 = Value::Bool(true);
        let error = CheckpointRoot::decode(&Value::Map(wrong).encode()).unwrap_err();
        assert!(error.to_string().contains("corrupt: checkpoint"), "{error}");
    }
}
