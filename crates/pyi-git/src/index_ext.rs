//! The `TREE` extension of the index: which directories are known to equal which tree object.
//!
//! Source: gitformat-index(5) "Cache tree". Nodes stand in depth-first order, each `"<name>\0<entries> <subtrees>\n"`
//! and, unless the count of entries is negative (the directory changed since), the tree's name.

use crate::bytes::split_once;
use crate::oid::{ObjectFormat, Oid};

/// Paths in the index are at most this deep; deeper nesting is refused rather than followed.
const MAX_DEPTH: usize = 4096;

/// A directory in the cache tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheTree {
    /// The directory's name within its parent; empty for the root.
    pub name: Vec<u8>,
    /// How many index entries it covers and its tree, or `None` if it changed since the tree was known.
    pub tree: Option<(u32, Oid)>,
    /// Its subdirectories.
    pub children: Vec<CacheTree>,
}

/// Reads the extension's content; `None` if it is malformed.
#[must_use]
pub fn parse_cache_tree(format: ObjectFormat, data: &[u8]) -> Option<CacheTree> {
    // The stack holds the directories that still wait for children, with the number of those to come.
    let mut stack: Vec<(CacheTree, u32)> = Vec::new();
    let mut rest = data;
    loop {
        let (node, children, tail) = parse_node(format, rest)?;
        rest = tail;
        stack.push((node, children));
        if stack.len() > MAX_DEPTH {
            return None;
        }
        while let Some((_, 0)) = stack.last() {
            let (done, _) = stack.pop()?;
            match stack.last_mut() {
                Some((parent, waiting)) => {
                    parent.children.push(done);
                    *waiting -= 1;
                }
                None => return rest.is_empty().then_some(done),
            }
        }
    }
}

/// What the extension says about the whole index: how many entries it has and its tree, if that is known and the beginning is well formed.
#[must_use]
pub fn parse_root(format: ObjectFormat, data: &[u8]) -> Option<(u32, Oid)> {
    parse_node(format, data)?.0.tree
}

/// The extension's content.
#[must_use]
pub fn write_cache_tree(root: &CacheTree) -> Vec<u8> {
    let mut out = Vec::new();
    let mut stack = vec![root];
    while let Some(node) = stack.pop() {
        out.extend_from_slice(&node.name);
        out.push(0);
        let count = node.tree.as_ref().map_or(-1, |(count, _)| i64::from(*count));
        out.extend_from_slice(format!("{count} {}\n", node.children.len()).as_bytes());
        if let Some((_, oid)) = &node.tree {
            out.extend_from_slice(oid.as_bytes());
        }
        stack.extend(node.children.iter().rev());
    }
    out
}

fn parse_node(format: ObjectFormat, data: &[u8]) -> Option<(CacheTree, u32, &[u8])> {
    let (name, rest) = split_once(data, 0)?;
    let (count, rest) = split_once(rest, b' ')?;
    let (children, rest) = split_once(rest, b'\n')?;
    let count: i64 = std::str::from_utf8(count).ok()?.parse().ok()?;
    let children: u32 = std::str::from_utf8(children).ok()?.parse().ok()?;
    let (tree, rest) = if count < 0 {
        (None, rest)
    } else {
        let (raw, rest) = rest.split_at_checked(format.raw_len())?;
        (
            Some((u32::try_from(count).ok()?, Oid::from_bytes(format, raw).ok()?)),
            rest,
        )
    };
    Some((
        CacheTree {
            name: name.to_vec(),
            tree,
            children: Vec::new(),
        },
        children,
        rest,
    ))
}
