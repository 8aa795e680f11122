//! A node's bytes: where a directory is cut, and that a node with any one thing wrong is refused by name.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use pyi_cas::{Batch, Bytes, Id, MemoryStore};
use pyi_tree::tree::Content;
use pyi_tree::{Mode, NAME_MAX_BYTES, Node, Row, SPLIT_ABOVE, Sealer, StoreLoader, Tree, build_directory, seal};

const HEADER: usize = 40;
const ROW: usize = 48;

fn loader() -> StoreLoader {
    StoreLoader::new(Arc::new(MemoryStore::new()))
}

const FILE: Row = Row {
    mode: Mode::File,
    id: Id([1; 32]),
    size_bytes: 3,
    files: 1,
};

fn built(names: &[Vec<u8>]) -> Arc<Node> {
    build_directory(names.iter().map(|name| (name.as_slice(), FILE, None))).unwrap()
}

fn numbered(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|number| format!("{number:05}").into_bytes()).collect()
}

fn refusal(bytes: &[u8]) -> String {
    Node::decode(bytes, Id([2; 32])).map_or_else(|error| error.to_string(), |node| format!("taken: {node:?}"))
}

#[test]
fn a_directory_is_one_node_up_to_256_entries_and_pieces_above() {
    for (count, level) in [(0, 0), (1, 0), (255, 0), (SPLIT_ABOVE, 0), (SPLIT_ABOVE + 1, 1)] {
        let node = built(&numbered(count));
        assert_eq!(node.level(), level, "{count}");
        assert_eq!(node.entries(), count as u64);
        assert_eq!(node.is_empty(), count == 0);
        let (loader, mut tree) = (loader(), Tree::default());
        for name in numbered(count) {
            let content = Content::Stored {
                id: FILE.id,
                size_bytes: 3,
            };
            tree.put(&name, Mode::File, content, &loader).unwrap();
        }
        assert_eq!(
            tree.root().bytes().len(),
            node.bytes().len(),
            "the same whether built or edited"
        );
        if count > SPLIT_ABOVE {
            tree.remove(b"00100", &loader).unwrap();
            assert_eq!(tree.root().level(), 0, "one node again");
            assert_eq!(tree.root().entries(), SPLIT_ABOVE as u64);
        }
    }
}

#[test]
fn names_have_1_to_4096_bytes() {
    let loader = loader();
    let put = |name: &[u8]| {
        let content = Content::Bytes(Bytes::new());
        Tree::default().put_name(name, Mode::File, content, &loader)
    };
    put(b"x").unwrap();
    put(&[b'x'; NAME_MAX_BYTES]).unwrap();
    assert!(put(b"").unwrap_err().to_string().contains("1 to 4096 bytes"));
    assert!(
        put(&[b'x'; NAME_MAX_BYTES + 1])
            .unwrap_err()
            .to_string()
            .contains("1 to 4096 bytes")
    );
}

#[test]
fn a_directory_holds_many_long_names() {
    let (loader, mut tree) = (loader(), Tree::default());
    let names: Vec<Vec<u8>> = (0..200).map(|number| format!("{number:04000}").into_bytes()).collect();
    for name in names.iter().rev() {
        tree.put_name(name, Mode::File, Content::Bytes(Bytes::new()), &loader)
            .unwrap();
    }
    assert_eq!(tree.root().len(), 200);
    assert!((0..200).all(|index| tree.root().name(index) == names[index]));
}

#[test]
fn entries_out_of_order_are_not_built() {
    for names in [["b", "a"], ["a", "a"]] {
        let entries = names.map(|name| (name.as_bytes(), FILE, None));
        assert!(
            build_directory(entries)
                .unwrap_err()
                .to_string()
                .contains("out of order")
        );
    }
}

#[test]
fn a_node_with_anything_wrong_is_refused() {
    let node = built(&[b"aa".to_vec(), b"b".to_vec(), b"cc".to_vec()]);
    let good = node.bytes();
    assert!(refusal(good).starts_with("taken"));
    let names = HEADER + 3 * ROW;
    assert_eq!(good.len(), names + 5);
    let row = |index: usize| HEADER + index * ROW;
    // What is wrong, where it stands, what stands there instead.
    let damages: &[(&str, usize, &[u8])] = &[
        ("no node header", 0, &[2]),
        ("no node header", 1, &[10]),
        ("length", 4, &[2]),
        ("length", 4, &[4]),
        ("length", 4, &[0xff; 4]),
        ("length", 32, &[4]),
        ("length", 32, &[0xff; 4]),
        ("reserved", 2, &[1]),
        ("reserved", 3, &[1]),
        ("reserved", 36, &[1]),
        ("reserved", 39, &[1]),
        ("count", 8, &[4]),
        ("totals", 16, &[4]),
        ("totals", 24, &[8]),
        ("unknown mode", row(1) + 47, &[0xee]),
        ("out of bounds", row(0) + 44, &[0]),
        ("out of bounds", row(1) + 44, &[2]),
        ("out of bounds", row(2) + 44, &[6]),
        ("totals", row(2) + 44, &[4]),
        ("out of order", names, b"bb"),
        ("out of order", names + 2, b"a"),
        ("out of order", names + 3, b"aa"),
        ("its level does not allow", 1, &[1]),
        ("its level does not allow", row(1) + 47, &[Mode::Piece as u8]),
        ("without content", row(1), &[0; 32]),
        ("without content", row(1) + 40, &[2]),
        ("totals", row(1) + 32, &[4]),
    ];
    for (what, at, bytes) in damages {
        let mut damaged = good.to_vec();
        damaged[*at..at + bytes.len()].copy_from_slice(bytes);
        let refusal = refusal(&damaged);
        assert!(refusal.contains(what), "{what} at {at}: {refusal}");
    }
    for length in 0..good.len() {
        assert!(!refusal(&good[..length]).starts_with("taken"));
    }
    // Two names alike.
    let twice = [
        &built(&[b"a".to_vec(), b"b".to_vec()]).bytes()[..HEADER + 2 * ROW],
        b"aa",
    ]
    .concat();
    assert!(refusal(&twice).contains("out of order"));
}

#[test]
fn names_of_4096_bytes_are_read_and_longer_ones_refused() {
    let longest = [b'x'; NAME_MAX_BYTES];
    let three = built(&[[b'a'; NAME_MAX_BYTES], [b'b'; NAME_MAX_BYTES], [b'c'; NAME_MAX_BYTES]].map(Vec::from));
    assert!(refusal(three.bytes()).starts_with("taken"));
    let node = built(&[longest.to_vec()]);
    assert!(refusal(node.bytes()).starts_with("taken"));
    let mut longer = [node.bytes(), b"x"].concat();
    longer[32..36].copy_from_slice(&4097_u32.to_le_bytes());
    longer[HEADER + 44..HEADER + 47].copy_from_slice(&4097_u32.to_le_bytes()[..3]);
    assert!(refusal(&longer).contains("out of bounds"));
}

#[test]
fn pieces_stand_on_levels_1_to_9_and_are_never_empty() {
    let loader = loader();
    let mut tree = Tree::from_root(built(&numbered(300)));
    let mut batch = Batch::new();
    seal(tree.root_mut(), &mut Sealer::new(&**loader.store(), &mut batch)).unwrap();
    let good = tree.root().bytes();
    assert_eq!(good[1], 1);
    for (level, taken) in [(0, false), (1, true), (8, true), (9, true), (10, false)] {
        let mut bytes = good.to_vec();
        bytes[1] = level;
        assert_eq!(refusal(&bytes).starts_with("taken"), taken, "{level}");
    }
    let empty = Tree::default().root().bytes().to_vec();
    assert!(refusal(&empty).starts_with("taken"));
    let mut piece = empty;
    piece[1] = 1;
    assert!(refusal(&piece).contains("no piece"));
}

#[test]
fn a_piece_of_another_level_than_its_place_is_corrupt() {
    let loader = loader();
    let mut tree = Tree::from_root(built(&numbered(300)));
    let mut batch = Batch::new();
    seal(tree.root_mut(), &mut Sealer::new(&**loader.store(), &mut batch)).unwrap();
    loader.store().commit(&mut batch).unwrap();
    let mut bytes = tree.root().bytes().to_vec();
    bytes[1] = 2;
    let node = Node::decode(&bytes, Id([2; 32])).unwrap();
    assert!(node.child(0, &loader).unwrap_err().to_string().contains("wrong level"));
    assert!(tree.cold().unwrap().root().child(0, &loader).is_ok());
    let file = built(&[b"f".to_vec()]);
    assert!(
        file.child(0, &loader)
            .unwrap_err()
            .to_string()
            .contains("not a directory")
    );
}

#[test]
fn a_node_is_shown_with_its_level_and_names() {
    let shown = format!("{:?}", built(&[b"hello".to_vec()]));
    assert!(shown.contains("level: 0") && shown.contains("hello"), "{shown}");
}

#[test]
fn a_tree_that_is_not_stored_has_no_cold_form() {
    let (loader, mut tree) = (loader(), Tree::default());
    tree.put(b"f", Mode::File, Content::Bytes(Bytes::new()), &loader)
        .unwrap();
    assert!(tree.cold().is_none());
}
