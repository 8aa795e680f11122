//! The scan against files made by hand: torn tails, damage in the middle, zeros where records should be.

use super::*;
use crate::batch::Batch;
use crate::kind::Kind;
use crate::os::OsFs;
use crate::vfs::{OpenMode, Vfs, write_all};
use proptest::prelude::*;

fn segment_bytes(sizes: &[usize]) -> (Vec<u8>, Vec<u64>) {
    let mut bytes = encode_header(7, &[3; 16], 5).to_vec();
    let mut offsets = Vec::new();
    for (i, size) in sizes.iter().enumerate() {
        offsets.push(bytes.len() as u64);
        let mut batch = Batch::new();
        batch.put_new(Kind::Blob, &vec![i as u8 + 1; *size]).unwrap();
        bytes.extend_from_slice(batch.finish(bytes.len() as u64));
    }
    (bytes, offsets)
}

fn scan_bytes(bytes: &[u8], to: u64) -> Scan {
    let directory = tempfile::tempdir().unwrap();
    let file = OsFs.open(&directory.path().join("x"), OpenMode::CreateNew).unwrap();
    write_all(file.as_ref(), bytes, 0).unwrap();
    scan(file.as_ref(), SEGMENT_HEADER_BYTES, to).unwrap()
}

fn offsets(scan: &Scan) -> Vec<u64> {
    scan.records.iter().map(|found| found.offset).collect()
}

#[test]
fn names_and_headers() {
    assert_eq!(segment_name(0x1f), "000000000000001f.seg");
    assert_eq!(number_in_name("000000000000001f.seg", "seg"), Some(0x1f));
    for other in [
        "000000000000001f.idx",
        "1f.seg",
        "+00000000000001f.seg",
        "000000000000001F.seg",
        "seg",
        "",
    ] {
        assert_eq!(number_in_name(other, "seg"), None, "{other}");
    }
    let directory = tempfile::tempdir().unwrap();
    let check = |bytes: &[u8], number| {
        let path = directory.path().join("x");
        let _ = std::fs::remove_file(&path);
        let file = OsFs.open(&path, OpenMode::CreateNew).unwrap();
        write_all(file.as_ref(), bytes, 0).unwrap();
        check_header(file.as_ref(), number, &[3; 16], "x")
    };
    let good = encode_header(7, &[3; 16], 5);
    assert_eq!(check(&good, 7).unwrap(), HeaderState::Good);
    assert_eq!(check(&good, 8).unwrap(), HeaderState::Damaged);
    assert_eq!(check(&good[..40], 7).unwrap(), HeaderState::Unborn);
    assert_eq!(check(&[0; 64], 7).unwrap(), HeaderState::Unborn);
    assert_eq!(check(&[0; 65], 7).unwrap(), HeaderState::Damaged);
    for bit in 0..52 * 8 {
        let mut flipped = good;
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(check(&flipped, 7).unwrap(), HeaderState::Damaged, "bit {bit}");
    }
    let mut newer = good;
    newer[8] = 2;
    let crc = crc32c::crc32c(&newer[..48]);
    set_at(&mut newer, 48, &crc.to_le_bytes());
    assert!(matches!(check(&newer, 7), Err(Error::UnsupportedFormat { .. })));
}

#[test]
fn records_larger_than_the_window_and_bounds() {
    let (bytes, places) = segment_bytes(&[10, 3 << 20, 0, 5]);
    let whole = scan_bytes(&bytes, u64::MAX);
    assert_eq!(
        (offsets(&whole), whole.end, whole.torn),
        (places.clone(), bytes.len() as u64, false)
    );
    let part = scan_bytes(&bytes, places[2]);
    assert_eq!((offsets(&part), part.end), (places[..2].to_vec(), places[2]));
}

#[test]
fn a_zeroed_record_in_the_middle_is_damage_and_no_end() {
    let (mut bytes, places) = segment_bytes(&[100, 100, 100]);
    bytes[places[1] as usize..places[2] as usize].fill(0);
    let result = scan_bytes(&bytes, u64::MAX);
    assert_eq!(offsets(&result), [places[0], places[2]]);
    assert_eq!(result.gaps, [(places[1], places[2] - places[1])]);
}

#[test]
fn zeros_at_the_end_are_the_ordinary_end() {
    let (mut bytes, places) = segment_bytes(&[100, 100]);
    let end = bytes.len() as u64;
    bytes.resize(bytes.len() + (3 << 20) + 5, 0);
    let result = scan_bytes(&bytes, u64::MAX);
    assert_eq!((offsets(&result), result.end, result.torn), (places, end, false));
    assert!(result.gaps.is_empty());
}

proptest! {
    #[test]
    fn a_cut_leaves_the_whole_records_before_it(sizes in proptest::collection::vec(0usize..300, 1..8), cut in any::<prop::sample::Index>()) {
        let (bytes, places) = segment_bytes(&sizes);
        let cut = 64 + cut.index(bytes.len() - 63);
        let result = scan_bytes(&bytes[..cut], u64::MAX);
        // The padding of the last record may be cut: its payload is whole.
        let whole = places.iter().zip(&sizes).filter(|(at, size)| **at as usize + 48 + **size <= cut).count();
        prop_assert_eq!(offsets(&result), &places[..whole]);
        prop_assert!(result.gaps.is_empty());
        let exact = whole == places.len() || places[whole] as usize >= cut;
        prop_assert_eq!(result.torn, !exact);
    }

    #[test]
    fn a_flipped_bit_costs_one_record_and_is_reported(sizes in proptest::collection::vec(1usize..300, 2..8), which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let (mut bytes, places) = segment_bytes(&sizes);
        let which = which.index(places.len());
        bytes[places[which] as usize + at.index(48 + sizes[which])] ^= 1 << bit;
        let result = scan_bytes(&bytes, u64::MAX);
        let mut left = places.clone();
        left.remove(which);
        prop_assert_eq!(offsets(&result), left);
        if which + 1 < places.len() {
            prop_assert_eq!(&result.gaps, &[(places[which], places[which + 1] - places[which])]);
            prop_assert!(!result.torn);
        } else {
            prop_assert!(result.gaps.is_empty() && result.torn);
        }
    }

    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 64..600)) {
        scan_bytes(&bytes, u64::MAX);
    }
}
