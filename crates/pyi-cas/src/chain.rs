//! The ids of contents each of which holds the id of the one before: a file, its directory, the one above that, up to the root.
//!
//! One id has to be there before the next content is known, so such contents cannot be hashed side by side as others are. But a directory is known but
//! for that id, and so what stands in front of it, and the other chunk, is hashed beside the contents below.

use crate::chunk::Chunk;
use crate::hashing::{ALONE_BYTES, BLOCK_BYTES, CHUNK_BYTES, Hashing, ROOT, digest, parent_block};
use crate::id::Id;
use crate::kind::Kind;
use crate::twin::{self, Next, Processor};

const ID_BYTES: usize = 32;

/// A content of a chain.
#[derive(Clone, Copy, Debug)]
pub struct Link<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its bytes.
    pub content: &'a [u8],
    /// Where in them the 32 bytes of the id of the content before go, whatever stands there now; nothing changes where there is none before.
    pub hole: Option<usize>,
}

/// The ids of these contents, in order, each with the id of the one before it in its hole. O(bytes). A hole lies within its content.
#[must_use]
pub fn ids_of_chain(links: &[Link<'_>]) -> Vec<Id> {
    ids_by(links, |kind| kind.hashing())
}

fn ids_by<'a>(links: &'a [Link<'a>], hashing_of: impl Fn(Kind) -> &'a Hashing) -> Vec<Id> {
    let mut ids: Vec<Id> = Vec::with_capacity(links.len());
    let mut states: Vec<State<'_>> = links
        .iter()
        .map(|link| State::of(link, hashing_of(link.kind)))
        .collect();
    for at in 0..states.len() {
        let (done, later) = states.split_at_mut(at + 1);
        done[at].below = ids.last().copied();
        ids.push(done[at].finish(later));
    }
    ids
}

/// A link that is being hashed.
struct State<'a> {
    link: &'a Link<'a>,
    hashing: &'a Hashing,
    /// The first one is none for a long content, which is hashed when all of it is known.
    chunks: [Option<Chunk<'a>>; 2],
    /// So many blocks of each stand in front of the hole.
    ahead: [usize; 2],
    /// What goes into the hole.
    below: Option<Id>,
}

impl<'a> State<'a> {
    fn of(link: &'a Link<'a>, hashing: &'a Hashing) -> Self {
        let chunks = match link.content.split_at_checked(CHUNK_BYTES) {
            _ if link.content.len() > ALONE_BYTES => [None, None],
            Some((left, right)) if !right.is_empty() => [
                Some(Chunk::of_several(hashing, left, 0)),
                Some(Chunk::of_several(hashing, right, 1)),
            ],
            _ => [Some(Chunk::alone(hashing, link.content)), None],
        };
        let ahead = [0, CHUNK_BYTES].map(|begin| match link.hole {
            Some(hole) if hole >= begin => (hole - begin) / BLOCK_BYTES,
            Some(hole) if hole + ID_BYTES > begin => 0,
            _ => usize::MAX,
        });
        State {
            link,
            hashing,
            chunks,
            ahead,
            below: None,
        }
    }

    /// A block that needs not wait for what goes into the hole.
    fn next_ahead(&mut self) -> Option<Next<'_>> {
        let mut chunks = self.chunks.iter_mut().flatten().zip(self.ahead);
        let (chunk, _) = chunks.find(|(chunk, ahead)| chunk.has_next() && chunk.blocks_done() < *ahead)?;
        chunk.next(None)
    }

    /// Hashes what is left, and beside it what can be hashed of those that come later.
    fn finish(&mut self, later: &mut [State<'_>]) -> Id {
        let (processor, hole) = (self.hashing.processor(), self.link.hole.zip(self.below.as_ref()));
        let [left, right] = &mut self.chunks;
        let Some(left) = left else { return self.id_of_long() };
        loop {
            let (one, other) = (left.next(hole), right.as_mut().and_then(|right| right.next(hole)));
            match (one, other) {
                (Some(one), Some(other)) => twin::compress(processor, one, other),
                (Some(one), None) | (None, Some(one)) => compress_beside(processor, one, later),
                (None, None) => break,
            }
        }
        let Some(right) = right else {
            return digest(left.value());
        };
        let (mut value, block) = (self.hashing.key(), parent_block(left.value(), right.value()));
        let parent = Hashing::next_parent(&mut value, &block, ROOT);
        compress_beside(processor, parent, later);
        digest(&value)
    }

    fn id_of_long(&self) -> Id {
        let Link { kind, content, hole } = *self.link;
        let Some((hole, id)) = hole.zip(self.below) else {
            return kind.id_of(content);
        };
        let mut content = content.to_vec();
        content[hole..hole + ID_BYTES].copy_from_slice(&id.0);
        kind.id_of(&content)
    }
}

/// Compresses a block that others wait for, and beside it one of those that come later.
fn compress_beside(processor: Processor, one: Next<'_>, later: &mut [State<'_>]) {
    match later.iter_mut().find_map(State::next_ahead) {
        Some(other) => twin::compress(processor, one, other),
        None => one.compress(processor),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use blake3::hazmat::hash_derive_key_context;
    use proptest::prelude::*;

    fn link() -> impl Strategy<Value = (usize, usize, Option<usize>)> {
        let bytes = prop_oneof![
            0usize..2100,
            (1usize..34).prop_map(|blocks| blocks * BLOCK_BYTES),
            Just(CHUNK_BYTES),
            Just(6000),
        ];
        let hole = prop_oneof![
            2 => (0usize..6000).prop_map(Some),
            1 => (960usize..1060).prop_map(Some),
            1 => Just(None),
        ];
        (0usize..5, bytes, hole).prop_map(|(kind, bytes, hole)| {
            let last = bytes.checked_sub(ID_BYTES);
            (kind, bytes, hole.zip(last).map(|(hole, last)| hole % (last + 1)))
        })
    }

    proptest! {
        #[test]
        fn a_chain_has_the_ids_of_its_contents(links in proptest::collection::vec(link(), 0..6), seed in any::<u8>()) {
            let content = |bytes: usize| -> Vec<u8> { (0..bytes).map(|n| (n * 31 + n / 251) as u8 ^ seed).collect() };
            let mut contents: Vec<Vec<u8>> = links.iter().map(|(_, bytes, _)| content(*bytes)).collect();
            let chain: Vec<Link<'_>> = links
                .iter()
                .zip(&contents)
                .map(|((kind, _, hole), content)| Link { kind: Kind::ALL[*kind], content, hole: *hole })
                .collect();
            let ids = ids_of_chain(&chain);
            for processor in Processor::all() {
                let hashings = Kind::ALL.map(|kind| Hashing::on(processor, &hash_derive_key_context(kind.context())));
                prop_assert_eq!(&ids_by(&chain, |kind| &hashings[kind as usize - 1]), &ids, "{:?}", processor);
            }
            let mut before: Option<Id> = None;
            for (at, (kind, _, hole)) in links.iter().enumerate() {
                if let (Some(hole), Some(before)) = (*hole, before) {
                    contents[at][hole..hole + ID_BYTES].copy_from_slice(&before.0);
                }
                let id = Kind::ALL[*kind].id_of(&contents[at]);
                prop_assert_eq!(ids[at], id);
                prop_assert_eq!(id.0, blake3::derive_key(Kind::ALL[*kind].context(), &contents[at]));
                before = Some(id);
            }
        }
    }
}
