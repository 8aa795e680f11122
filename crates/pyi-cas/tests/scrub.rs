//! Scrub, repair, the quick check, and images of a store: at the level of objects and keys.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyi_cas::{
    Batch, FileStore, Flaw, Guard, Id, Kind, ObjectStore, OpenOptions, OsFs, PutBack, RefOutcome, RefTransaction,
    ScrubOptions, StoreFile, lay_out, log_positions,
};

fn options() -> OpenOptions {
    OpenOptions {
        create: true,
        background_seal: false,
        segment_limit_bytes: 8 << 10,
        ref_log_limit_bytes: 2 << 10,
        ..OpenOptions::default()
    }
}

fn open(directory: &Path) -> FileStore {
    FileStore::open(Arc::new(OsFs), directory, options()).unwrap()
}

fn content(number: u32) -> Vec<u8> {
    number.to_le_bytes().repeat(1 + number as usize % 100)
}

fn put(store: &FileStore, content: &[u8]) -> Id {
    let mut batch = Batch::new();
    let id = batch.put_new(Kind::Blob, content).unwrap();
    store.commit(&mut batch).unwrap();
    id
}

fn segments(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory.join("segments")).unwrap();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
    found.sort();
    found
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 4;
    fs::write(path, bytes).unwrap();
}

/// Where a record's payload stands in the segments.
fn find(directory: &Path, wanted: &[u8]) -> Vec<(PathBuf, usize)> {
    let mut found = Vec::new();
    for path in segments(directory) {
        let bytes = fs::read(&path).unwrap();
        let places = bytes
            .windows(wanted.len())
            .enumerate()
            .filter(|(_, window)| *window == wanted);
        found.extend(places.map(|(at, _)| (path.clone(), at)));
    }
    found
}

#[test]
fn a_damaged_copy_hides_no_whole_one_and_a_new_put_heals() {
    let directory = tempfile::tempdir().unwrap();
    let text = b"what everybody relies on, and somebody damages".as_slice();
    for sealed in [false, true] {
        let place = directory.path().join(format!("{sealed}"));
        let id = {
            let store = open(&place);
            let id = put(&store, text);
            // Damage of the last record of all would be a torn tail.
            put(&store, b"behind it");
            if sealed {
                for number in 0..60 {
                    put(&store, &content(number));
                }
            }
            store.close().unwrap();
            id
        };
        let (path, at) = find(&place, text).remove(0);
        flip(&path, at);
        let store = open(&place);
        // A sealed index names it; without one, what is damaged is not known at all.
        assert_eq!(store.get(Kind::Blob, &id).is_err(), sealed);
        assert!(!store.contains_hint(&id), "so that it is written again");
        put(&store, text);
        assert_eq!(store.get(Kind::Blob, &id).unwrap().as_deref(), Some(text));
        assert!(store.contains_hint(&id) && store.contains(&id).unwrap());
        let found = store.scrub(&ScrubOptions::default()).unwrap();
        assert!(found.damaged.is_empty() && found.claimed.is_empty(), "{found:?}");
        assert_eq!(found.healed, vec![(id, Kind::Blob)]);
        // In a process of its own, whichever copy it meets first.
        let other = open(&place);
        assert_eq!(other.get(Kind::Blob, &id).unwrap().as_deref(), Some(text));
        let spots: Vec<_> = found.faults.iter().collect();
        assert_eq!(store.put_back(Kind::Blob, &id, text, &spots).unwrap(), PutBack::InPlace);
        store.look_again_at(&found.faults).unwrap();
        assert!(store.scrub(&ScrubOptions::default()).unwrap().faults.is_empty());
        assert!(store.stats().unwrap().damage.is_empty());
    }
}

#[test]
fn a_record_that_is_put_back_is_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let ids: Vec<Id> = (0..200).map(|number| put(&store, &content(number))).collect();
    store.close().unwrap();
    let (path, at) = find(directory.path(), &content(99)).remove(0);
    let before = fs::read(&path).unwrap();
    // Header, payload and the next record's header.
    let mut bytes = before.clone();
    bytes[at - 40..at + 448].fill(0);
    fs::write(&path, &bytes).unwrap();
    let store = open(directory.path());
    let found = store.scrub(&ScrubOptions::default()).unwrap();
    let lost: Vec<Id> = found.damaged.iter().map(|(id, _)| *id).collect();
    assert!(lost.contains(&ids[99]) && (1..=3).contains(&lost.len()), "{lost:?}");
    assert!(store.put_back(Kind::Blob, &ids[99], b"something else", &[]).is_err());
    for (number, id) in ids.iter().enumerate().filter(|(_, id)| lost.contains(id)) {
        assert_eq!(
            store.put_back(Kind::Blob, id, &content(number as u32), &[]).unwrap(),
            PutBack::InPlace
        );
        assert_eq!(
            store.put_back(Kind::Blob, id, &content(number as u32), &[]).unwrap(),
            PutBack::Whole
        );
    }
    assert_eq!(fs::read(&path).unwrap(), before);
    assert!(store.scrub(&ScrubOptions::default()).unwrap().faults.is_empty());
}

#[test]
fn what_is_derived_is_built_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let ids: Vec<Id> = (0..200).map(|number| put(&store, &content(number))).collect();
    store.close().unwrap();
    let segment = &segments(directory.path())[0];
    let index = segment.with_extension("idx");
    let whole = (
        fs::read(&index).unwrap(),
        fs::read(segment).unwrap(),
        fs::read(directory.path().join("format")).unwrap(),
    );
    flip(&index, 200);
    flip(segment, 30); // the store's name in the header
    flip(segment, 56); // reserved
    let format = directory.path().join("format");
    let at = whole.2.len() - 3; // the time
    flip(&format, at);
    let store = open(directory.path());
    let mut quick = store.check().unwrap();
    quick.sort_by_key(|fault| fault.file);
    let files: Vec<StoreFile> = quick.iter().map(|fault| fault.file).collect();
    assert_eq!(files, [StoreFile::Format, StoreFile::Segment(1), StoreFile::Index(1)]);
    let found = store.scrub(&ScrubOptions::default()).unwrap();
    assert!(found.damaged.is_empty(), "{:?}", found.damaged);
    let mended = store.mend(&found.faults).unwrap();
    assert_eq!(mended.len(), found.faults.len(), "{:?}", found.faults);
    store.look_again_at(&found.faults).unwrap();
    let again = store.scrub(&ScrubOptions::default()).unwrap();
    assert!(
        again.faults.is_empty() && store.check().unwrap().is_empty(),
        "{:?}",
        again.faults
    );
    store.close().unwrap();
    // All but the times is as it was.
    assert_eq!(fs::read(&index).unwrap(), whole.0);
    let bytes = fs::read(segment).unwrap();
    assert_eq!((&bytes[..40], &bytes[52..]), (&whole.1[..40], &whole.1[52..]));
    let store = open(directory.path());
    for (number, id) in ids.iter().enumerate() {
        assert_eq!(
            store.get(Kind::Blob, id).unwrap().as_deref(),
            Some(&content(number as u32)[..])
        );
    }
}

#[test]
fn a_segment_or_the_end_of_one_that_is_gone_is_told_by_its_index() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let ids: Vec<Id> = (0..200).map(|number| put(&store, &content(number))).collect();
    store.close().unwrap();
    let all = segments(directory.path());
    let length = fs::metadata(&all[1]).unwrap().len();
    fs::OpenOptions::new()
        .write(true)
        .open(&all[1])
        .unwrap()
        .set_len(length / 2)
        .unwrap();
    fs::remove_file(&all[2]).unwrap();
    let store = open(directory.path());
    let found = store.scrub(&ScrubOptions::default()).unwrap();
    let (number, orphans) = &found.orphans[0];
    assert_eq!((*number, found.orphans.len()), (3, 1));
    assert!(
        found
            .faults
            .iter()
            .any(|fault| (fault.file, fault.flaw) == (StoreFile::Segment(2), Flaw::Short))
    );
    let unreadable: Vec<Id> = ids
        .iter()
        .filter(|id| !matches!(store.get(Kind::Blob, id), Ok(Some(_))))
        .copied()
        .collect();
    let mut named: Vec<Id> = found.damaged.iter().chain(orphans).map(|(id, _)| *id).collect();
    named.sort();
    let mut expected = unreadable.clone();
    expected.sort();
    assert!(!expected.is_empty());
    assert_eq!(named, expected);
    let short = store.check().unwrap();
    assert!(short.iter().any(|fault| fault.flaw == Flaw::Short), "{short:?}");
    // A source brings both back: the end in its place, the others as new records.
    for (number, id) in ids.iter().enumerate().filter(|(_, id)| unreadable.contains(id)) {
        store.put_back(Kind::Blob, id, &content(number as u32), &[]).unwrap();
    }
    assert_eq!(fs::metadata(&all[1]).unwrap().len(), length);
    for (number, id) in ids.iter().enumerate() {
        assert_eq!(
            store.get(Kind::Blob, id).unwrap().as_deref(),
            Some(&content(number as u32)[..])
        );
    }
}

#[test]
fn the_end_of_a_ref_log_that_is_gone_is_missed() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    for number in 0..10u8 {
        set(&store, &format!("b/{number}"), Some(&[number]));
    }
    store.close().unwrap();
    let log = directory.path().join("refs").join(format!("{:016x}.log", 1));
    let whole = fs::read(&log).unwrap();
    let store = open(directory.path());
    let positions = log_positions(&OsFs, &directory.path().join("refs"), &name(&store)).unwrap();
    assert!(store.check().unwrap().is_empty());
    store.close().unwrap();
    for cut in [positions[8].position & 0xffff_ffff, whole.len() as u64 - 1, 100] {
        fs::write(&log, &whole[..cut as usize]).unwrap();
        let Ok(store) = FileStore::open(Arc::new(OsFs), directory.path(), options()) else {
            panic!("{cut}")
        };
        let found = store.scrub(&ScrubOptions::default()).unwrap();
        assert!(
            found.faults.iter().any(|fault| fault.file == StoreFile::RefLog(1)),
            "{cut}"
        );
        assert!(!store.check().unwrap().is_empty(), "{cut}");
        store.close().unwrap();
    }
    // A flipped bit in a record: its keys are named.
    let middle = (positions[4].position & 0xffff_ffff) as usize + 60;
    let mut damaged = whole.clone();
    damaged[middle] ^= 1;
    fs::write(&log, &damaged).unwrap();
    let store = open(directory.path());
    let found = store.scrub(&ScrubOptions::default()).unwrap();
    assert_eq!(found.faults.len(), 1, "{:?}", found.faults);
    assert!(found.faults[0].keys.len() <= 1);
}

/// A flipped bit in a record's magic or length costs nothing, as its checksum proves the rest; a restore once cut the log before it.
#[test]
fn a_restore_counts_a_record_that_its_checksum_proves() {
    let scratch = tempfile::tempdir().unwrap();
    let place = scratch.path().join("store");
    let store = open(&place);
    for number in 0..10u8 {
        set(&store, &format!("b/{number}"), Some(&[number]));
    }
    let refs = place.join("refs");
    let positions = log_positions(&OsFs, &refs, &name(&store)).unwrap();
    let log = refs.join(format!("{:016x}.log", 1));
    let whole = fs::read(&log).unwrap();
    let begins = |record: usize| (positions[record].position & 0xffff_ffff) as usize;
    for (at, bit) in [(begins(9), 1), (begins(9) + 8, 1), (begins(4), 8), (begins(4) + 9, 2)] {
        let mut damaged = whole.clone();
        damaged[at] ^= bit;
        fs::write(&log, &damaged).unwrap();
        assert_eq!(log_positions(&OsFs, &refs, &name(&store)).unwrap(), positions, "{at}");
        let to = scratch.path().join(format!("{at}"));
        assert_eq!(lay(&store, &to, None).unwrap(), positions[10].position, "{at}");
        let restored = open(&to);
        assert_eq!(restored.refs().scan(b"b/").unwrap().len(), 10, "{at}");
    }
}

fn name(store: &FileStore) -> [u8; 16] {
    let digits = store.name();
    let mut name = [0u8; 16];
    for (at, byte) in name.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap();
    }
    name
}

fn set(store: &FileStore, key: &str, value: Option<&[u8]>) {
    let transaction = RefTransaction {
        guards: vec![],
        puts: vec![(key.as_bytes().to_vec(), value.map(<[u8]>::to_vec))],
        message: format!("set {key}"),
        ..RefTransaction::default()
    };
    assert_eq!(store.refs().commit(&transaction).unwrap(), RefOutcome::Done);
}

/// The files of an image, written elsewhere.
fn lay(store: &FileStore, to: &Path, position: Option<u64>) -> io::Result<u64> {
    let image = store.image().unwrap();
    fs::create_dir_all(to.join("segments"))?;
    fs::create_dir_all(to.join("refs"))?;
    fs::write(to.join("format"), &image.format)?;
    let mut sealed = Vec::new();
    for file in &image.files {
        fs::write(to.join(file.file.to_string()), file.read(0, usize::MAX).unwrap())?;
        if let (StoreFile::Segment(number), false) = (file.file, file.seal.is_empty()) {
            sealed.push(number);
        }
    }
    Ok(lay_out(Arc::new(OsFs), to, position, &sealed).unwrap())
}

#[test]
fn every_position_of_rotated_logs_gives_the_state_of_a_model() {
    let scratch = tempfile::tempdir().unwrap();
    let place = scratch.path().join("store");
    let limits = OpenOptions {
        segment_limit_bytes: 1 << 20,
        ref_log_limit_bytes: 24 << 10,
        ..options()
    };
    let store = FileStore::open(Arc::new(OsFs), &place, limits).unwrap();
    let mut model: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut states = BTreeMap::new();
    for step in 0..1000u32 {
        let key = format!("b/{}", step % 37);
        if step % 11 == 10 && model.remove(&key).is_some() {
            set(&store, &key, None);
        } else {
            let value = put(&store, &content(step));
            set(&store, &key, Some(&value.0));
            model.insert(key, value.0.to_vec());
        }
        // One that does not apply leaves no position.
        if step % 50 == 0 {
            let refused = RefTransaction {
                guards: vec![(b"b/none".to_vec(), Guard::Present)],
                puts: vec![(b"b/none".to_vec(), Some(vec![1]))],
                ..RefTransaction::default()
            };
            assert_ne!(store.refs().commit(&refused).unwrap(), RefOutcome::Done);
        }
        states.insert(step, model.clone());
    }
    let positions = log_positions(&OsFs, &place.join("refs"), &name(&store)).unwrap();
    let positions: Vec<_> = positions.into_iter().filter(|at| !at.message.is_empty()).collect();
    assert_eq!(positions.len(), 1000);
    assert!(
        positions.iter().map(|at| at.position >> 32).max() > Some(2),
        "the log was rotated"
    );
    assert!(positions.is_sorted_by_key(|at| at.position) && positions.is_sorted_by_key(|at| at.time_ns));
    let whole = scratch.path().join("whole");
    lay(&store, &whole, None).unwrap();
    store.close().unwrap();
    // The copying is done once; what a restore does with the files, at each position.
    for (step, at) in positions.iter().enumerate().step_by(9) {
        let to = scratch.path().join("to");
        fs::create_dir_all(to.join("refs")).unwrap();
        fs::create_dir_all(to.join("segments")).unwrap();
        fs::copy(whole.join("format"), to.join("format")).unwrap();
        for directory in ["refs", "segments"] {
            for entry in fs::read_dir(whole.join(directory)).unwrap().map(Result::unwrap) {
                let file = to.join(directory).join(entry.file_name());
                if directory == "refs" {
                    fs::copy(entry.path(), file).unwrap();
                } else {
                    fs::hard_link(entry.path(), file).unwrap();
                }
            }
        }
        assert_eq!(
            lay_out(Arc::new(OsFs), &to, Some(at.position + 3), &[]).unwrap(),
            at.position
        );
        let options = OpenOptions {
            read_only: true,
            ..options()
        };
        let restored = FileStore::open(Arc::new(OsFs), &to, options).unwrap();
        let found: BTreeMap<String, Vec<u8>> = restored
            .refs()
            .scan(b"")
            .unwrap()
            .into_iter()
            .map(|(key, value)| (String::from_utf8(key).unwrap(), value.to_vec()))
            .collect();
        assert_eq!(found, states[&(step as u32)], "step {step}");
        for value in found.values() {
            let id = Id(value.as_slice().try_into().unwrap());
            assert!(restored.get(Kind::Blob, &id).unwrap().is_some());
        }
        drop(restored);
        fs::remove_dir_all(&to).unwrap();
    }
}

#[test]
fn a_scrub_keeps_its_speed_and_can_be_stopped() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    put(&store, &vec![7; 1_000_000]);
    let start = Instant::now();
    let options = ScrubOptions {
        bytes_per_second: Some(4_000_000),
        progress: None,
    };
    let found = store.scrub(&options).unwrap();
    assert!(found.faults.is_empty() && found.bytes > 1_000_000);
    assert!(start.elapsed() > Duration::from_millis(200), "{:?}", start.elapsed());
    let stopped = store.scrub(&ScrubOptions {
        bytes_per_second: None,
        progress: Some(&|_, _| false),
    });
    assert!(stopped.is_err());
}

/// `cargo nextest run --release -p pyi-cas --test scrub --run-ignored all quick --no-capture`
#[test]
#[ignore = "a measurement"]
fn quick_check_of_a_million_objects() {
    let directory = tempfile::tempdir().unwrap();
    let options = OpenOptions {
        create: true,
        ..OpenOptions::default()
    };
    let store = FileStore::open(Arc::new(OsFs), directory.path(), options.clone()).unwrap();
    let mut batch = Batch::new();
    for number in 0..1_000_000u32 {
        batch.put_new(Kind::Blob, &content(number)).unwrap();
        if number % 20_000 == 19_999 {
            store.commit(&mut batch).unwrap();
        }
    }
    store.close().unwrap();
    let last = segments(directory.path()).pop().unwrap();
    let store = FileStore::open(Arc::new(OsFs), directory.path(), options.clone()).unwrap();
    println!(
        "{} segments, the last one unsealed: {}",
        store.stats().unwrap().segments,
        last.display()
    );
    store.close().unwrap();
    for _ in 0..3 {
        let start = Instant::now();
        let store = FileStore::open(Arc::new(OsFs), directory.path(), options.clone()).unwrap();
        let opened = start.elapsed();
        assert!(store.check().unwrap().is_empty());
        println!("open {opened:?}, check {:?}", start.elapsed() - opened);
    }
    let start = Instant::now();
    let found = store_scrub(directory.path(), &options);
    let seconds = start.elapsed().as_secs_f64();
    println!("scrub {} objects, {:.0} MB/s", found.0, found.1 as f64 / seconds / 1e6);
}

fn store_scrub(directory: &Path, options: &OpenOptions) -> (u64, u64) {
    let store = FileStore::open(Arc::new(OsFs), directory, options.clone()).unwrap();
    let found = store.scrub(&ScrubOptions::default()).unwrap();
    (found.objects, found.bytes)
}
