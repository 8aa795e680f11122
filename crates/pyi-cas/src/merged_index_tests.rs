use super::*;
use crate::kind::Kind;
use proptest::prelude::*;

struct Memory(Vec<u8>);
impl Mapped for Memory {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The bytes of an index over rows of (id, place among the segments 10, 20, 30 ...).
fn encode(rows: &[(Id, u32)], segments: u32) -> Vec<u8> {
    let mut rows = rows.to_vec();
    rows.sort_unstable();
    let words = filter_words(rows.len() as u64);
    let mut filter = vec![0u8; words as usize * 8];
    let mut body = Vec::new();
    for (n, (id, place)) in rows.iter().enumerate() {
        let entry = IndexEntry {
            id: *id,
            offset: 64 + 8 * n as u64,
            length: n as u32,
            kind: 1,
            encoding: 0,
        };
        body.extend_from_slice(&encode_row(&entry, *place));
        let (at, bits) = filter_bits(id, words);
        let word = u64_at(&filter, at) | bits;
        set_at(&mut filter, at, &word.to_le_bytes());
    }
    body.extend_from_slice(&filter);
    let checksums: Vec<u8> = body
        .chunks(BLOCK_BYTES)
        .flat_map(|block| crc32c::crc32c(block).to_le_bytes())
        .collect();
    let covered: Vec<Covered> = (0..segments)
        .map(|place| Covered {
            number: 10 * u64::from(place + 1),
            segment_bytes: 1_000,
            objects: rows.iter().filter(|(_, of)| *of == place).count() as u64,
        })
        .collect();
    let mut bytes = encode_head(&covered, rows.len() as u64, words, &checksums);
    bytes.extend_from_slice(&body);
    bytes.extend_from_slice(&checksums);
    bytes
}

fn open(bytes: Vec<u8>, segments: u32) -> Option<MergedIndex> {
    let index = MergedIndex::from_map(Arc::new(Memory(bytes)), 10 * u64::from(segments))?;
    for place in 0..segments {
        index.bind(place as usize, 100 + place);
    }
    Some(index)
}

fn slots(index: &MergedIndex, id: &Id) -> std::result::Result<Vec<u32>, Broken> {
    let mut slots = Vec::new();
    index.each_copy(id, |slot, _| {
        slots.push(slot);
        false
    })?;
    Ok(slots)
}

fn ids(kind: Kind, n: u32) -> Vec<Id> {
    (0..n).map(|i| kind.id_of(&i.to_le_bytes())).collect()
}

#[test]
fn finds_all_copies_of_all_and_nothing_else() {
    let ids = ids(Kind::Blob, 5_000);
    let mut rows: Vec<(Id, u32)> = ids.iter().zip(0u32..).map(|(id, n)| (*id, n % 3)).collect();
    rows.extend(ids[..100].iter().zip(0u32..).map(|(id, n)| (*id, (n + 1) % 3)));
    let index = open(encode(&rows, 3), 3).unwrap();
    assert_eq!((index.rows(), index.objects()), (5_100, 5_100));
    for (n, id) in ids.iter().enumerate() {
        let mut expected = vec![100 + n as u32 % 3];
        if n < 100 {
            expected.push(100 + (n as u32 + 1) % 3);
            expected.sort_unstable();
        }
        assert_eq!(slots(&index, id), Ok(expected));
    }
    for id in (0..5_000u32).map(|i| Kind::Node.id_of(&i.to_le_bytes())) {
        assert_eq!(slots(&index, &id), Ok(vec![]));
    }
    assert_eq!(index.check_all(), Ok(()));
}

#[test]
fn rows_of_a_segment_that_is_gone_count_as_misses() {
    let ids = ids(Kind::Blob, 300);
    let mut rows: Vec<(Id, u32)> = ids.iter().zip(0u32..).map(|(id, n)| (*id, n % 3)).collect();
    // This one stands in two segments, and outlives the first.
    rows.push((ids[0], 1));
    let index = open(encode(&rows, 3), 3).unwrap();
    assert_eq!(slots(&index, &ids[0]), Ok(vec![100, 101]));
    index.forget(100);
    assert_eq!(slots(&index, &ids[0]), Ok(vec![101]));
    assert_eq!(slots(&index, &ids[3]), Ok(vec![]));
    assert_eq!(slots(&index, &ids[1]), Ok(vec![101]));
    assert_eq!(index.objects(), 201);
    let prefix = HexPrefix::parse("").unwrap();
    let found = index.find(&prefix, 1).unwrap();
    assert_eq!(found.len(), prefix::RESULTS);
    assert!(found.iter().all(|id| slots(&index, id) != Ok(vec![])));
}

#[test]
fn an_empty_one_and_one_without_a_filter() {
    assert!(open(encode(&[], 0), 0).is_none(), "it covers nothing");
    let index = open(encode(&[], 2), 2).unwrap();
    assert_eq!(slots(&index, &Id([7; 32])), Ok(vec![]));
    let ids = ids(Kind::Blob, 10);
    let rows: Vec<(Id, u32)> = ids.iter().map(|id| (*id, 0)).collect();
    let bytes = encode(&rows, 1);
    // The words of the filter are left out, and what follows from that is set right.
    let rows_end = body_at(1) + 10 * ENTRY_BYTES;
    let checksums = crc32c::crc32c(&bytes[body_at(1)..rows_end]).to_le_bytes();
    let covered = [Covered {
        number: 10,
        segment_bytes: 1_000,
        objects: 10,
    }];
    let mut without = encode_head(&covered, 10, 0, &checksums);
    without.extend_from_slice(&bytes[body_at(1)..rows_end]);
    without.extend_from_slice(&checksums);
    let index = open(without, 1).unwrap();
    assert!(ids.iter().all(|id| slots(&index, id) == Ok(vec![100])));
    assert_eq!(slots(&index, &Id([7; 32])), Ok(vec![]));
}

#[test]
fn every_flipped_bit_of_the_head_and_of_the_checksums_is_refused() {
    let rows: Vec<(Id, u32)> = ids(Kind::Blob, 200).into_iter().map(|id| (id, 0)).collect();
    let bytes = encode(&rows, 1);
    let body_end = body_at(1) + 200 * ENTRY_BYTES + filter_words(200) as usize * 8;
    // 52 to 64 are reserved.
    for at in (0..52).chain(HEADER_BYTES..body_at(1)).chain(body_end..bytes.len()) {
        let mut broken = bytes.clone();
        broken[at] ^= 1 << (at % 8);
        assert!(open(broken, 1).is_none(), "byte {at}");
    }
    for length in 0..bytes.len() {
        assert!(open(bytes[..length].to_vec(), 1).is_none(), "cut at {length}");
    }
}

proptest! {
    /// Whatever happens to the body, no lookup says that an object is missing that is there: it finds it, or says that the index
    /// is broken.
    #[test]
    fn no_damage_of_the_body_makes_an_object_missing(
        count in 1u32..400,
        places in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        zeroed in any::<bool>(),
    ) {
        let ids = ids(Kind::Blob, count);
        let rows: Vec<(Id, u32)> = ids.iter().map(|id| (*id, 0)).collect();
        let good = encode(&rows, 1);
        let body = body_at(1)..body_at(1) + rows.len() * ENTRY_BYTES + filter_words(rows.len() as u64) as usize * 8;
        let mut bytes = good.clone();
        for (place, value) in places {
            let at = body.start + place.index(body.len());
            if zeroed {
                let end = body.end.min(at + 512);
                bytes[at..end].fill(0);
            } else {
                bytes[at] = value;
            }
        }
        let index = open(bytes.clone(), 1).unwrap();
        for id in &ids {
            let found = slots(&index, id);
            prop_assert!(found == Ok(vec![100]) || found == Err(Broken), "{:?}", found);
        }
        for id in (0..50u32).map(|i| Kind::Node.id_of(&i.to_le_bytes())) {
            let found = slots(&index, &id);
            prop_assert!(found == Ok(vec![]) || found == Err(Broken), "{:?}", found);
        }
        prop_assert_eq!(index.check_all().is_ok(), bytes == good);
    }
}
