//! Nodes, CBOR, checkpoint roots, journals, records of the ref log.

use std::sync::Arc;

use pyi_cas::{Kind, MemoryStore};
use pyi_tree::cbor::Value;
use pyi_tree::refs::{SuperpositionRecord, WorkspaceRecord, decode_branch};
use pyi_tree::{CheckpointRoot, Node, StoreLoader, Tree};

pub fn node(data: &[u8]) {
    let Ok(node) = Node::decode(data, Kind::Node.id_of(data)) else {
        return;
    };
    assert_eq!(node.bytes(), data);
    let names: Vec<Vec<u8>> = (0..node.len()).map(|at| node.name(at).to_vec()).collect();
    assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "names out of order");
    for (at, name) in names.iter().enumerate() {
        assert_eq!(node.search(name), Ok(at));
        let _ = (node.row(at), node.mode(at));
    }
    let _ = (
        node.entries(),
        node.files(),
        node.size_bytes(),
        node.memory_bytes(),
        format!("{node:?}"),
    );
    // A tree over it: what is below is not in the store, which must be said and not assumed.
    let loader = StoreLoader::new(Arc::new(MemoryStore::new()));
    let mut tree = Tree::from_root(Arc::new(node));
    for name in names.iter().take(4) {
        let _ = tree.find(name, &loader);
        let _ = tree.find(&[name.as_slice(), b"/x"].concat(), &loader);
    }
    if let Some(name) = names.first() {
        let _ = tree.remove(name, &loader);
        let _ = tree.make_directory(b"a/b", &loader);
    }
}

pub fn cbor(data: &[u8]) {
    if let Ok(value) = Value::decode(data) {
        // There is one encoding of a value only.
        assert_eq!(value.encode(), data);
    }
}

pub fn checkpoint(data: &[u8]) {
    if let Ok(root) = CheckpointRoot::decode(data) {
        let bytes = root.encode();
        let again = CheckpointRoot::decode(&bytes);
        assert_eq!(again.ok().map(|again| again.encode()), Some(bytes));
    }
}

pub fn journal(data: &[u8]) {
    if let Ok(batch) = pyi_tree::journal::EventBatch::decode(data.to_vec().into()) {
        let size: usize = (0..batch.len()).map(|at| batch.kind(at).len()).sum();
        assert!(size <= data.len());
        for at in 0..batch.len() {
            let _ = batch.event(at);
        }
    }
}

pub fn array(data: &[u8]) {
    if let Ok((_, ids)) = pyi_tree::array::named_by(data) {
        assert!(ids.len() * 32 <= data.len());
    }
    if let Ok(root) = pyi_tree::array::ArrayRoot::decode(data) {
        let again = pyi_tree::array::ArrayRoot::decode(&root.encode());
        assert_eq!(again.ok(), Some(root));
    }
}

pub fn records(data: &[u8]) {
    let _ = decode_branch(data);
    if let Ok(record) = WorkspaceRecord::decode(data) {
        assert_eq!(WorkspaceRecord::decode(&record.encode()).ok(), Some(record));
    }
    if let Ok(record) = SuperpositionRecord::decode(data) {
        let again = SuperpositionRecord::decode(&record.encode());
        // As text, since a weight may be a NaN.
        assert_eq!(format!("{again:?}"), format!("{:?}", Ok::<_, pyi_tree::Error>(record)));
    }
}
