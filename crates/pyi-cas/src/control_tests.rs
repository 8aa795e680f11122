//! The control file by itself: slots, generations, and files that are none.

use super::*;
use crate::os::OsFs;

fn open(path: &Path, writable: bool) -> Option<Control> {
    Control::open(&OsFs, path, writable).unwrap()
}

fn generations(control: &Control) -> (u64, u64, u64) {
    (
        control.data_generation(),
        control.segment_generation(),
        control.ref_generation(),
    )
}

#[test]
fn two_that_map_the_file_see_what_the_other_does() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control");
    assert!(open(&path, false).is_none(), "a reader makes none");
    let (one, two) = (open(&path, true).unwrap(), open(&path, true).unwrap());
    let reader = open(&path, false).unwrap();
    assert!(one.is_writable() && !reader.is_writable());
    assert_eq!(std::fs::metadata(&path).unwrap().len(), CONTROL_BYTES as u64);
    assert_eq!(generations(&two), (0, 0, 0));
    assert_eq!((one.bump_data(), one.bump_data()), (0, 1));
    assert_eq!((one.bump_segments(), one.bump_refs()), (0, 0));
    assert_eq!(generations(&two), (2, 1, 1));
    assert_eq!(
        (reader.bump_data(), reader.bump_refs()),
        (2, 1),
        "a reader moves nothing"
    );
    assert_eq!(generations(&reader), (2, 1, 1));
}

#[test]
fn a_slot_tells_how_far_a_segment_is_written_until_it_is_freed() {
    let directory = tempfile::tempdir().unwrap();
    let control = open(&directory.path().join("control"), true).unwrap();
    assert_eq!(control.committed_length(7), None);
    let slot = control.take(7, 100).unwrap();
    let other = control.take(8, 200).unwrap();
    assert_ne!(slot, other);
    assert_eq!(control.slots().collect::<Vec<_>>(), [(7, 100), (8, 200)]);
    control.publish(slot, 150);
    assert_eq!(
        (control.committed_length(7), control.committed_length(8)),
        (Some(150), Some(200))
    );
    assert_eq!(control.take(7, 160), Some(slot), "it keeps the slot that it has");
    control.free_segment(7);
    assert_eq!(
        (control.committed_length(7), control.committed_length(8)),
        (None, Some(200))
    );
    assert_eq!(control.take(9, 0), Some(slot), "a free slot is taken again");
    assert_eq!(control.committed_length(9), None, "0 is not known yet");
    let reader = open(&directory.path().join("control"), false).unwrap();
    assert_eq!(reader.take(10, 1), None);
    reader.free_segment(8);
    assert_eq!(control.committed_length(8), Some(200));
}

#[test]
fn the_layout_is_that_of_the_format() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control");
    let control = open(&path, true).unwrap();
    control.take(7, 100).unwrap();
    control.take(8, 200).unwrap();
    control.bump_data();
    for _ in 0..2 {
        control.bump_segments();
    }
    for _ in 0..3 {
        control.bump_refs();
    }
    let bytes = std::fs::read(&path).unwrap();
    let word = |at: usize| crate::bytes_le::u64_at(&bytes, at * 8);
    assert_eq!(&bytes[..8], b"PYICTL1\n");
    assert_eq!(&bytes[8..16], [1, 0, 0, 0, 0, 4, 0, 0]);
    assert_eq!([2, 3, 4, 5].map(word), [1, 2, 3, 0]);
    assert_eq!([8, 9, 16, 17].map(word), [7, 100, 8, 200]);
}

#[test]
fn more_writers_than_slots_go_without_and_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    let control = open(&directory.path().join("control"), true).unwrap();
    for segment in 1..=SLOTS as u64 {
        assert!(control.take(segment, segment).is_some());
    }
    assert_eq!(control.slots().count(), SLOTS);
    assert_eq!(control.take(5_000, 1), None);
    assert_eq!(control.word(OVERFLOW).load(Ordering::Acquire), 1);
    assert_eq!(control.committed_length(SLOTS as u64), Some(SLOTS as u64));
    assert_eq!(control.committed_length(5_000), None);
}

#[test]
fn a_file_of_the_future_is_refused_and_a_damaged_one_starts_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control");
    let mut future = fresh();
    future[8] = 2;
    std::fs::write(&path, &future).unwrap();
    for writable in [true, false] {
        let refused = Control::open(&OsFs, &path, writable);
        assert!(matches!(refused, Err(Error::UnsupportedFormat { .. })));
    }
    assert_eq!(std::fs::read(&path).unwrap(), future);
    let mut damaged = fresh();
    damaged[0] ^= 1;
    damaged[64] = 9;
    let (short, slots) = (fresh()[..CONTROL_BYTES - 1].to_vec(), {
        let mut bytes = fresh();
        bytes[12] ^= 1;
        bytes
    });
    for bytes in [damaged, short, slots] {
        std::fs::write(&path, &bytes).unwrap();
        assert!(open(&path, false).is_none(), "a reader cannot make it good");
        let control = open(&path, true).unwrap();
        assert_eq!(control.slots().count(), 0);
        assert!(open(&path, false).is_some());
        if bytes.len() == CONTROL_BYTES {
            assert_eq!(generations(&control), (1, 1, 1), "everybody looks again");
        }
    }
}
