//! How an object is stored when nobody writes it any more: as small as it gets within what a reader may be asked to do. Used
//! where segments are rewritten, never where one is written.
//!
//! Deltas go backwards: the newest version of a path is whole, an older one is a delta on a newer one ([`plan`] says which).

use crate::encoding::{DELTA, ZSTD, delta_payload};
use crate::error::{Error, Result};
use crate::frame::Compressor;
use crate::id::{Id, IdMap, IdSet};
use crate::record::PLAIN;

/// A content below this is stored as it is.
const PLAIN_BELOW_BYTES: usize = 64;
/// What is not made smaller by this part is stored plainer.
const SAVED_PART: usize = 20;
/// A path's versions are counted in this base, newest first; see [`plan`].
const RADIX: u32 = 7;
/// After so many versions one is whole again.
const VERSIONS_TO_WHOLE: u32 = RADIX * RADIX * RADIX * RADIX;

/// An object as it is to be stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recoded {
    pub(crate) encoding: u8,
    pub(crate) payload: Vec<u8>,
}

impl Recoded {
    /// Bytes of the payload. O(1).
    pub fn payload_bytes(&self) -> usize {
        self.payload.len()
    }

    /// Whether another object is needed to read it. O(1).
    pub fn is_delta(&self) -> bool {
        self.encoding == DELTA
    }
}

/// Finds the smallest encoding of objects. One a thread.
pub struct Recoder {
    compressor: Compressor,
}

impl std::fmt::Debug for Recoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recoder").finish_non_exhaustive()
    }
}

impl Recoder {
    /// A recoder. Errors: `Storage` if there is no memory for it.
    pub fn new() -> Result<Recoder> {
        let out_of_memory = || {
            Error::storage(
                "make room for",
                "the compressor",
                std::io::ErrorKind::OutOfMemory.into(),
            )
        };
        Ok(Recoder {
            compressor: Compressor::new().ok_or_else(out_of_memory)?,
        })
    }

    /// The smallest of plain, compressed, and a delta on `base`: an object of the same kind that can be read without this one.
    /// What saves less than a twentieth is not done. O(content + base); fast where a delta serves, and some
    /// twenty times slower where none does.
    pub fn encode(&mut self, content: &[u8], base: Option<(&Id, &[u8])>) -> Recoded {
        let worth = content.len() - content.len() / SAVED_PART;
        let mut best = (PLAIN, Vec::new());
        if content.len() >= PLAIN_BELOW_BYTES
            && let Some((id, base)) = base
            && let Some(frame) = self.compressor.compress(content, base, DELTA_LEVEL)
            && HEAD_BYTES + frame.len() < worth
        {
            best = (DELTA, delta_payload(id, frame));
        }
        // A delta that takes a tenth need not be compared with what can hardly be smaller.
        let settled = best.0 == DELTA && best.1.len() < content.len() / 10;
        if content.len() >= PLAIN_BELOW_BYTES
            && !settled
            && let Some(frame) = self.compressor.compress(content, &[], LEVEL)
            && frame.len() < worth
            // A delta must earn what reading it costs.
            && (best.0 == PLAIN || frame.len() - frame.len() / SAVED_PART <= best.1.len())
        {
            best = (ZSTD, frame.to_vec());
        }
        let (encoding, payload) = match best {
            (PLAIN, _) => (PLAIN, content.to_vec()),
            best => best,
        };
        Recoded { encoding, payload }
    }
}

/// Bytes of a delta before its frame.
const HEAD_BYTES: usize = 32;
/// zstd's level for deltas: higher ones take five times as long and save next to nothing.
const DELTA_LEVEL: i32 = 9;
/// zstd's level for what is stored whole. 12 takes half as long and 1.5 % more bytes, 19 three times as long and 0.3 % less.
const LEVEL: i32 = 15;

/// In which order objects are to be encoded, and what each is to be a delta on: bases stand before what needs them, and no chain
/// is longer than 24.
///
/// `newer` tells the next newer version of an object; one that is not among `ids`, or for which `whole` holds, ends a chain. So
/// no chain leaves `ids`: what stays in other segments may be a delta itself, even on one of these. An object that such a delta
/// needs has to be `whole`, or its chain would grow with each rewriting.
///
/// Versions are counted from the newest, 0, in base 7: one whose last digit is not 0 is a delta on the one before, one that ends in
/// 0 on the one 7 before, in 00 on the one 49 before, and so on; every 2,401st is whole. So most deltas are small ones, and a chain has
/// as many links as the digits come to. O(ids).
pub(crate) fn plan(
    ids: &[Id],
    newer: &dyn Fn(&Id) -> Option<Id>,
    whole: &dyn Fn(&Id) -> bool,
) -> Vec<(Id, Option<Id>)> {
    let mut links: IdMap<Option<Id>> = ids.iter().map(|id| (*id, None)).collect();
    for id in ids {
        let link = newer(id).filter(|link| link != id && links.contains_key(link) && !whole(id));
        links.insert(*id, link);
    }
    let mut numbers: IdMap<u32> = IdMap::default();
    let mut order = Vec::with_capacity(ids.len());
    let (mut path, mut on_path) = (Vec::new(), IdSet::default());
    for id in ids {
        if numbers.contains_key(id) {
            continue;
        }
        // Towards newer versions, up to one that has its number or that nothing is known to be newer than; a circle is cut where
        // it closes.
        let mut at = *id;
        let mut number = loop {
            path.push(at);
            on_path.insert(at);
            let Some(link) = links.get(&at).copied().flatten() else {
                break 0;
            };
            if let Some(number) = numbers.get(&link) {
                break number + 1;
            }
            if on_path.contains(&link) {
                links.insert(at, None);
                break 0;
            }
            at = link;
        };
        on_path.clear();
        while let Some(id) = path.pop() {
            numbers.insert(id, number);
            order.push((id, base_of(&id, number, &links)));
            number += 1;
        }
    }
    order
}

/// The version that the one with this number is a delta on.
fn base_of(id: &Id, number: u32, links: &IdMap<Option<Id>>) -> Option<Id> {
    if number.is_multiple_of(VERSIONS_TO_WHOLE) {
        return None;
    }
    let mut steps = 1;
    while number.is_multiple_of(steps * RADIX) {
        steps *= RADIX;
    }
    (0..steps).try_fold(*id, |at, _| links.get(&at).copied().flatten())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::decompress;
    use crate::kind::Kind;
    use proptest::prelude::*;

    fn id(number: usize) -> Id {
        Kind::Blob.id_of(&number.to_le_bytes())
    }

    #[test]
    fn the_smallest_encoding_is_taken() {
        let mut recoder = Recoder::new().unwrap();
        let text: Vec<u8> = (0..500)
            .flat_map(|i| format!("{i} and {}\n", i * i).into_bytes())
            .collect();
        let noise: Vec<u8> = (0..100usize).flat_map(|i| id(i).0).collect();
        let base = id(0);
        let encoding = |recoded: Recoded| (recoded.encoding, recoded.payload.len());
        assert_eq!(encoding(recoder.encode(b"short", None)), (PLAIN, 5));
        assert_eq!(encoding(recoder.encode(&noise, None)), (PLAIN, 3200));
        assert_eq!(encoding(recoder.encode(&noise, Some((&base, &text)))), (PLAIN, 3200));
        assert_eq!(recoder.encode(&text, None).encoding, ZSTD);
        // A base that is of no use is not needed to read it.
        assert_eq!(recoder.encode(&text, Some((&base, &noise))).encoding, ZSTD);
        let changed = [&noise[..1_000], b"changed", &noise[1_000..]].concat();
        let (encoding, length) = encoding(recoder.encode(&changed, Some((&base, &noise))));
        assert!(encoding == DELTA && length < 100, "{encoding} {length}");
        // What zstd would take for a dictionary of its own is passed over.
        let magic = [&0xEC30_A437_u32.to_le_bytes()[..], &noise].concat();
        assert_eq!(recoder.encode(&changed, Some((&base, &magic))).encoding, PLAIN);
    }

    #[test]
    fn chains_are_short_and_most_links_too() {
        let ids: Vec<Id> = (0..6_000).map(id).collect();
        let places: IdMap<usize> = ids.iter().enumerate().map(|(at, id)| (*id, at)).collect();
        let newer = |id: &Id| places[id].checked_sub(1).map(|at| ids[at]);
        let mut shuffled = ids.clone();
        shuffled.sort();
        let order = plan(&shuffled, &newer, &|_| false);
        assert_eq!(order.len(), ids.len());
        let (mut depths, mut neighbours) = (IdMap::<usize>::default(), 0);
        for (id, base) in &order {
            let depth = match base {
                Some(base) => depths[base] + 1,
                None => 0,
            };
            assert_eq!(depth == 0, places[id].is_multiple_of(2_401));
            neighbours += usize::from(base.is_some_and(|base| places[&base] + 1 == places[id]));
            depths.insert(*id, depth);
        }
        assert_eq!(depths.values().max(), Some(&24));
        assert!(neighbours > 5_000, "{neighbours}");
    }

    proptest! {
        #[test]
        fn whatever_is_newer_than_what_a_plan_has_no_circles(links in proptest::collection::vec(0usize..40, 30), whole in 0usize..30) {
            let ids: Vec<Id> = (0..30).map(id).collect();
            let places: IdMap<usize> = ids.iter().enumerate().map(|(at, id)| (*id, at)).collect();
            let order = plan(&ids, &|of| Some(id(links[places[of]])), &|id| *id == ids[whole]);
            let mut depths = IdMap::<u32>::default();
            for (id, base) in &order {
                let depth = base.map_or(0, |base| depths[&base] + 1);
                prop_assert!(depth <= 24 && !(*id == ids[whole] && depth > 0));
                prop_assert!(depths.insert(*id, depth).is_none());
            }
            prop_assert_eq!(depths.len(), ids.len());
        }

        #[test]
        fn what_is_recoded_can_be_read(content in proptest::collection::vec(0u8..9, 0..4000), base in proptest::collection::vec(0u8..9, 0..4000), share in 0usize..4000) {
            let mut recoder = Recoder::new().unwrap();
            let base = [&content[..share.min(content.len())], &base].concat();
            let name = id(0);
            let recoded = recoder.encode(&content, Some((&name, &base)));
            prop_assert!(recoded.payload.len() <= content.len());
            let plain = match crate::encoding::parse(recoded.encoding, &recoded.payload).unwrap().unwrap() {
                crate::encoding::Payload::Plain(plain) => plain.to_vec(),
                crate::encoding::Payload::Zstd(frame) => decompress(&mut [b"1234", frame].concat(), 4, &[]).unwrap(),
                crate::encoding::Payload::Delta(named, frame) => {
                    prop_assert_eq!(named, name);
                    decompress(&mut [b"1234", frame].concat(), 4, &base).unwrap()
                }
                crate::encoding::Payload::Chunks(_) | crate::encoding::Payload::Splice(..) => unreachable!(),
            };
            prop_assert_eq!(plain, content);
        }
    }
}
