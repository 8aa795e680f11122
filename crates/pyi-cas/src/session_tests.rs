//! Sessions and what collectors read of them, on a real disk.

use std::time::Duration;

use super::*;
use crate::os::OsFs;
use crate::peers::Peers;

fn sessions(directory: &Path) -> (Arc<Sessions>, Shared) {
    let vfs: Arc<dyn Vfs> = Arc::new(OsFs);
    let segments = directory.join("segments");
    std::fs::create_dir_all(&segments).unwrap();
    let shared = Shared::new(Arc::clone(&vfs), segments, [0; 16], None, 0);
    (Arc::new(Sessions::new(vfs, directory.to_path_buf(), false)), shared)
}

fn id(number: u32) -> Id {
    let mut bytes = [0u8; 32];
    for part in bytes.chunks_exact_mut(4) {
        part.copy_from_slice(&number.to_le_bytes());
    }
    Id(bytes)
}

fn peers<'a>(sessions: &'a Sessions, gc: &'a GcFile) -> Peers<'a> {
    Peers::new(sessions.vfs.as_ref(), sessions.sessions_path(), gc, Duration::ZERO)
}

#[test]
fn pins_are_read_by_everybody() {
    let directory = tempfile::tempdir().unwrap();
    let (own, _) = sessions(directory.path());
    let (other, _) = sessions(directory.path());
    let gc = GcFile::open(&OsFs, &own.gc_path()).unwrap();
    let read = || peers(&own, &gc).pins(0).unwrap().unwrap();
    assert!(read().is_empty());
    let kept: Vec<Pin> = (0..300).map(|number| own.pin(&id(number))).collect();
    let pin = other.pin(&id(1000));
    let again = other.pin(&id(0));
    let mut expected: Vec<Id> = (0..300).chain([1000]).map(id).collect();
    expected.sort();
    assert_eq!(read(), expected);
    drop((pin, kept));
    assert_eq!(read(), [id(0)], "pinned by both");
    drop(again);
    assert!(read().is_empty());
    let length = |sessions: &Sessions| sessions.current().unwrap().file.len().unwrap();
    assert_eq!((length(&own), length(&other)), (16384, 4096));
    let slots: Vec<Pin> = (0..300).map(|number| own.pin(&id(number))).collect();
    assert_eq!(length(&own), 16384, "slots are used again");
    drop(slots);
    own.close();
    other.close();
    assert_eq!(std::fs::read_dir(own.sessions_path()).unwrap().count(), 0);
}

#[test]
fn a_pin_given_back_in_a_collection_counts_for_that_one() {
    let directory = tempfile::tempdir().unwrap();
    let (own, _) = sessions(directory.path());
    let gc = GcFile::open(&OsFs, &own.gc_path()).unwrap();
    let since = gc.epoch();
    let (first, second) = (own.pin(&id(1)), own.pin(&id(2)));
    gc.set(Phase::Condemned, &[7]);
    gc.move_epoch();
    drop(first);
    let third = own.pin(&id(3));
    assert_eq!(peers(&own, &gc).pins(since).unwrap().unwrap(), [id(1), id(2), id(3)]);
    gc.set(Phase::Idle, &[]);
    gc.move_epoch();
    assert_eq!(peers(&own, &gc).pins(gc.epoch()).unwrap().unwrap(), [id(2), id(3)]);
    drop((second, third));
    assert!(peers(&own, &gc).pins(gc.epoch()).unwrap().unwrap().is_empty());
}

/// Readers never see half of one id and half of another.
#[test]
fn a_slot_is_read_whole() {
    let directory = tempfile::tempdir().unwrap();
    let (own, _) = sessions(directory.path());
    let gc = GcFile::open(&OsFs, &own.gc_path()).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..2u32 {
            let (own, stop) = (&own, &stop);
            scope.spawn(move || {
                let mut number = thread;
                while !stop.load(Ordering::Relaxed) {
                    number = number.wrapping_add(2);
                    drop(own.pin(&id(number)));
                }
            });
        }
        for _ in 0..2_000 {
            for found in peers(&own, &gc).pins(0).unwrap().unwrap() {
                assert!(found.0.chunks_exact(4).all(|part| part == &found.0[..4]), "{found}");
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_grace_waits_for_sections_of_both_parities() {
    let directory = tempfile::tempdir().unwrap();
    let (own, shared) = sessions(directory.path());
    let gc = GcFile::open(&OsFs, &own.gc_path()).unwrap();
    let grace = || peers(&own, &gc).grace().unwrap();
    grace().unwrap();
    let first = own.section(&shared);
    let epoch = gc.epoch();
    grace().unwrap_err();
    assert_eq!(gc.epoch(), epoch + 1, "it moved before it waited");
    // As a collector that gave up does.
    gc.move_epoch();
    let second = own.section(&shared);
    drop(first);
    grace().unwrap_err();
    let third = own.section(&shared);
    drop(second);
    grace().unwrap_err();
    drop(third);
    grace().unwrap();
    let inner = (own.section(&shared), own.section(&shared));
    grace().unwrap_err();
    drop(inner);
    grace().unwrap();
}

#[test]
fn sections_without_a_session_rely_on_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (own, shared) = sessions(directory.path());
    std::fs::write(own.sessions_path(), b"no directory").unwrap();
    let section = own.section(&shared);
    let pin = own.pin(&id(1));
    assert!(own.is_unprotected());
    assert!(own.check_protected().unwrap_err().errno().is_some());
    std::fs::remove_file(own.sessions_path()).unwrap();
    assert!(own.is_unprotected(), "that section is still unknown to collectors");
    drop(section);
    own.check_protected().unwrap();
    drop(own.section(&shared));
    let gc = GcFile::open(&OsFs, &own.gc_path()).unwrap();
    assert_eq!(
        peers(&own, &gc).pins(0).unwrap().unwrap(),
        [id(1)],
        "the pin is told now"
    );
    drop(pin);
}

#[test]
fn a_damaged_session_stops_collectors_until_its_process_ends() {
    let directory = tempfile::tempdir().unwrap();
    let (own, _) = sessions(directory.path());
    let pin = own.pin(&id(1));
    let gc = GcFile::open(&OsFs, &own.gc_path()).unwrap();
    let taken = own.current().unwrap();
    taken.head.words()[0].store(7, SeqCst);
    assert!(peers(&own, &gc).pins(0).unwrap().unwrap_err().contains("damaged"));
    drop((pin, taken, own));
    let (other, _) = sessions(directory.path());
    assert!(peers(&other, &gc).pins(0).unwrap().unwrap().is_empty());
    assert_eq!(std::fs::read_dir(other.sessions_path()).unwrap().count(), 0);
}

/// What is handed on from one session to the next, while the one before ends, is pinned all the time.
#[test]
fn a_pin_that_is_handed_on_is_always_seen() {
    let directory = tempfile::tempdir().unwrap();
    let (first, _) = sessions(directory.path());
    let gc = GcFile::open(&OsFs, &first.gc_path()).unwrap();
    let since = gc.epoch();
    gc.set(Phase::Condemned, &[7]);
    gc.move_epoch();
    let mut holder = (first.pin(&id(1)), first);
    let stop = AtomicBool::new(false);
    let (reader, _) = sessions(directory.path());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let (next, _) = sessions(directory.path());
                let (pin, before) = std::mem::replace(&mut holder, (next.pin(&id(1)), next));
                before.close();
                drop(pin);
            }
        });
        let seen = (0..2_000).filter(|_| peers(&reader, &gc).pins(since).unwrap().unwrap() == [id(1)]);
        let seen = seen.count();
        stop.store(true, Ordering::Relaxed);
        assert_eq!(seen, 2_000);
    });
}
