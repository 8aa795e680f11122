//! Git object names and the ids of the same content: a derived map, filled at import and export, deletable at any time.
//!
//! `<store>/gitmap/v1.map` is a run of records of 96 bytes (see `docs/design/005-git-interop.md`), each with its own
//! checksum, appended with `O_APPEND` in whole records. Whoever finds something else than a record skips it byte by
//! byte, so that a write that was cut short costs its own records and no others. Entries are facts about contents: they
//! never change and never conflict; whether the store still holds the object is the caller's question.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use pyi_cas::{Id, IdSet};
use pyi_git::oid::OidPrefix;
use pyi_git::{ObjectFormat, Oid};

use super::source::GitSource;
use super::table::Table;
use crate::Result;

/// Bytes of a record.
pub(crate) const RECORD_BYTES: usize = 96;
const MAGIC: &[u8; 4] = b"PYGM";
const VERSION: u8 = 1;
/// Bytes that are read at once.
const CHUNK_BYTES: usize = RECORD_BYTES << 13;
/// Opened repositories that are kept.
const SOURCES_KEPT: usize = 4;

/// What an entry of the map is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum MapKind {
    /// A blob.
    Blob = 1,
    /// A tree whose canonical form, all the way down, has the git name.
    Tree = 2,
    /// A commit that stands for a checkpoint.
    Commit = 3,
}

/// One fact: this git object and this object of the store have the same content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct MapEntry {
    pub(crate) oid: Oid,
    pub(crate) id: Id,
    pub(crate) kind: MapKind,
    /// Bytes of the blob, or below the tree.
    pub(crate) size_bytes: u64,
    /// Files below the tree; 1 for a blob.
    pub(crate) files: u32,
}

impl MapEntry {
    /// The record of this entry.
    pub(crate) fn encode(&self) -> [u8; RECORD_BYTES] {
        let mut record = [0; RECORD_BYTES];
        record[..4].copy_from_slice(MAGIC);
        record[4] = VERSION;
        record[5] = self.kind as u8;
        record[6] = self.oid.format().id();
        record[8..8 + self.oid.as_bytes().len()].copy_from_slice(self.oid.as_bytes());
        record[40..72].copy_from_slice(&self.id.0);
        record[72..80].copy_from_slice(&self.size_bytes.to_le_bytes());
        record[80..84].copy_from_slice(&self.files.to_le_bytes());
        let crc = crc32c::crc32c(&record[..92]);
        record[92..].copy_from_slice(&crc.to_le_bytes());
        record
    }

    /// The entry of a record; `None` if this is no whole record of a version and kind that is known.
    pub(crate) fn decode(record: &[u8]) -> Option<Self> {
        let record: &[u8; RECORD_BYTES] = record.try_into().ok()?;
        let word = |at: usize| record.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
        if !record.starts_with(MAGIC) || record[4] != VERSION || word(92)? != crc32c::crc32c(&record[..92]) {
            return None;
        }
        let kind = match record[5] {
            1 => MapKind::Blob,
            2 => MapKind::Tree,
            3 => MapKind::Commit,
            _ => return None,
        };
        let format = match record[6] {
            1 => ObjectFormat::Sha1,
            2 => ObjectFormat::Sha256,
            _ => return None,
        };
        let mut id = [0; 32];
        id.copy_from_slice(&record[40..72]);
        Some(MapEntry {
            oid: Oid::from_bytes(format, record.get(8..8 + format.raw_len())?).ok()?,
            id: Id(id),
            kind,
            size_bytes: u64::from_le_bytes(record.get(72..80)?.try_into().ok()?),
            files: word(80)?,
        })
    }
}

fn oid_hash(oid: &Oid) -> u64 {
    oid.as_bytes()
        .first_chunk::<8>()
        .map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// What [`oid_hash`] is of names that begin so, as far as it is known; and the bits that are.
fn hash_of_prefix(prefix: &OidPrefix) -> (u64, u64) {
    let mut known = [0; 8];
    for digit in 0..prefix.digits().min(16) {
        known[digit / 2] |= if digit % 2 == 0 { 0xf0 } else { 0x0f };
    }
    let hash = prefix.low().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    (hash, u64::from_le_bytes(known))
}

fn id_hash(id: &Id) -> u64 {
    id.0.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[derive(Default)]
struct Entries {
    all: Vec<MapEntry>,
    by_oid: Table,
    by_id: Table,
}

impl Entries {
    fn insert(&mut self, entry: &MapEntry) {
        let Entries { all, by_oid, by_id } = self;
        let position = all.len();
        if by_oid
            .find(oid_hash(&entry.oid), |at| all[at].oid == entry.oid)
            .is_some()
            || position >= u32::MAX as usize
        {
            return;
        }
        all.push(*entry);
        by_oid.insert(oid_hash(&entry.oid), position, |at| oid_hash(&all[at].oid));
        let same = |at: usize| all[at].id == entry.id && all[at].oid.format() == entry.oid.format();
        if by_id.find(id_hash(&entry.id), same).is_none() {
            by_id.insert(id_hash(&entry.id), position, |at| id_hash(&all[at].id));
        }
    }

    fn reserve(&mut self, more: usize) {
        let Entries { all, by_oid, by_id } = self;
        all.reserve(more);
        by_oid.reserve(more, |at| oid_hash(&all[at].oid));
        by_id.reserve(more, |at| id_hash(&all[at].id));
    }
}

/// How far a file was read, and which file that was.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
struct Seen {
    device: u64,
    inode: u64,
    length: u64,
}

/// The map of a store, and the git repositories that were opened for it.
pub(crate) struct GitMap {
    path: PathBuf,
    entries: RwLock<Entries>,
    seen: Mutex<Seen>,
    sources: Mutex<Vec<(Stamp, Arc<GitSource>)>>,
}

impl GitMap {
    /// The map in this directory; nothing is read yet.
    pub(crate) fn new(dir: PathBuf) -> Self {
        GitMap {
            path: dir.join("v1.map"),
            entries: RwLock::default(),
            seen: Mutex::default(),
            sources: Mutex::default(),
        }
    }

    /// The entry for a git object. O(1).
    pub(crate) fn by_oid(&self, oid: &Oid) -> Option<MapEntry> {
        let entries = self.entries.read();
        let at = entries.by_oid.find(oid_hash(oid), |at| entries.all[at].oid == *oid)?;
        Some(entries.all[at])
    }

    /// The git objects whose names begin so, in order. O(those + entries / 16 to the number of digits): the first digits of a name choose most of its slot.
    pub(crate) fn beginning(&self, format: ObjectFormat, prefix: &OidPrefix) -> Vec<Oid> {
        let entries = self.entries.read();
        let (hash, known) = hash_of_prefix(prefix);
        let mut found = Vec::new();
        entries.by_oid.near(hash, known, |at| {
            let oid = entries.all[at].oid;
            if oid.format() == format && prefix.matches(oid.as_bytes()) {
                found.push(oid);
            }
        });
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The git name of a blob or of a directory node. O(1).
    pub(crate) fn by_id(&self, format: ObjectFormat, id: &Id) -> Option<Oid> {
        let entries = self.entries.read();
        let fits = |at: usize| entries.all[at].id == *id && entries.all[at].oid.format() == format;
        let at = entries.by_id.find(id_hash(id), fits)?;
        Some(entries.all[at].oid)
    }

    /// Takes in what was appended since the last look, by any process. The map is derived: a file that cannot be read is an
    /// empty one.
    pub(crate) fn refresh(&self) {
        let mut seen = self.seen.lock();
        let Ok(mut file) = File::open(&self.path) else {
            self.forget(&mut seen);
            return;
        };
        let Ok(metadata) = file.metadata() else { return };
        if (seen.device, seen.inode) != (metadata.dev(), metadata.ino()) || metadata.len() < seen.length {
            self.forget(&mut seen);
            *seen = Seen {
                device: metadata.dev(),
                inode: metadata.ino(),
                length: 0,
            };
        }
        if metadata.len() <= seen.length || file.seek(SeekFrom::Start(seen.length)).is_err() {
            return;
        }
        let mut entries = self.entries.write();
        entries.reserve(((metadata.len() - seen.length) / RECORD_BYTES as u64) as usize);
        let wanted = usize::try_from(metadata.len() - seen.length).unwrap_or(CHUNK_BYTES) + RECORD_BYTES;
        let mut buffer = vec![0; wanted.min(CHUNK_BYTES)];
        let mut held = 0;
        loop {
            let Ok(count) = file.read(&mut buffer[held..]) else {
                return;
            };
            held += count;
            let used = take(&buffer[..held], &mut entries);
            // What is left is less than a record, or the beginning of one that is still on its way.
            seen.length += used as u64;
            buffer.copy_within(used..held, 0);
            held -= used;
            if count == 0 {
                return;
            }
        }
    }

    /// Forgets what another file said: a collector that removes objects puts one without them into its place.
    fn forget(&self, seen: &mut Seen) {
        if *seen != Seen::default() {
            *self.entries.write() = Entries::default();
            *seen = Seen::default();
        }
    }

    /// Forgets entries whose object is not among those that stay, here and in the file. A file that cannot be written anew is removed.
    pub(crate) fn retain(&self, live: &IdSet) {
        self.refresh();
        let mut entries = self.entries.write();
        if entries.all.iter().all(|entry| live.contains(&entry.id)) {
            return;
        }
        let old = std::mem::take(&mut *entries);
        let mut records = Vec::new();
        for entry in old.all.iter().filter(|entry| live.contains(&entry.id)) {
            records.extend_from_slice(&entry.encode());
            entries.insert(entry);
        }
        drop(entries);
        let mut seen = self.seen.lock();
        *seen = Seen::default();
        // Under a new name first, so that everybody sees that it is another file.
        let fresh = self.path.with_extension(format!("{}.tmp", std::process::id()));
        let written = fs::write(&fresh, &records).and_then(|()| fs::rename(&fresh, &self.path));
        if written.is_err() {
            let _ = fs::remove_file(&fresh);
            let _ = fs::remove_file(&self.path);
        }
    }

    /// Adds entries, here and in the file. A file that cannot be written costs a slower next import, no more.
    pub(crate) fn append(&self, fresh: &[MapEntry]) {
        if fresh.is_empty() {
            return;
        }
        let mut records = Vec::with_capacity(fresh.len() * RECORD_BYTES);
        let mut entries = self.entries.write();
        for entry in fresh {
            records.extend_from_slice(&entry.encode());
            entries.insert(entry);
        }
        drop(entries);
        if let Some(dir) = self.path.parent() {
            let _ = fs::create_dir_all(dir);
        }
        let mut seen = self.seen.lock();
        let Ok(mut file) = OpenOptions::new().append(true).create(true).open(&self.path) else {
            return;
        };
        if file.write_all(&records).is_err() {
            return;
        }
        // Nobody else wrote in between: there is no need to read it back.
        if let Ok(now) = file.metadata() {
            let before = now.len() - (records.len() as u64).min(now.len());
            if before == seen.length && (before == 0 || (seen.device, seen.inode) == (now.dev(), now.ino())) {
                *seen = Seen {
                    device: now.dev(),
                    inode: now.ino(),
                    length: now.len(),
                };
            }
        }
    }

    /// The repository at `path`, opened now or before.
    pub(crate) fn source(&self, path: &Path) -> Result<Arc<GitSource>> {
        let git_dir = GitSource::find(path)?;
        let mut sources = self.sources.lock();
        if let Some(at) = sources.iter().position(|(_, known)| known.git_dir() == git_dir) {
            let (stamp, source) = sources.remove(at);
            if stamp == Stamp::of(source.common_dir()) {
                sources.push((stamp, source.clone()));
                return Ok(source);
            }
        }
        drop(sources);
        let source = Arc::new(GitSource::open_git_dir(git_dir)?);
        let stamp = Stamp::of(source.common_dir());
        let mut sources = self.sources.lock();
        if sources.len() >= SOURCES_KEPT {
            sources.remove(0);
        }
        sources.push((stamp, source.clone()));
        Ok(source)
    }
}

/// What must be the same for an opened repository to be taken again: its directories and its configuration.
#[derive(Default, PartialEq, Eq, Clone, Copy)]
struct Stamp([(u64, u64, i64, i64); 2], (u64, u64));

impl Stamp {
    fn of(common_dir: &Path) -> Self {
        let config = |name: &str| {
            fs::metadata(common_dir.join(name)).map_or((0, 0, 0, 0), |found| {
                (found.dev(), found.ino(), found.mtime(), found.mtime_nsec())
            })
        };
        let objects = fs::metadata(common_dir.join("objects")).map_or((0, 0), |found| (found.dev(), found.ino()));
        Stamp([config("config"), config("config.worktree")], objects)
    }
}

/// Takes whole records from the front; returns how many bytes are done with.
fn take(bytes: &[u8], entries: &mut Entries) -> usize {
    let mut at = 0;
    while let Some(record) = bytes.get(at..at + RECORD_BYTES) {
        match MapEntry::decode(record) {
            Some(entry) => {
                entries.insert(&entry);
                at += RECORD_BYTES;
            }
            None => at += 1,
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(number: u64) -> MapEntry {
        let id = pyi_cas::Kind::Blob.id_of(&number.to_le_bytes());
        let kind = if number.is_multiple_of(3) {
            MapKind::Tree
        } else {
            MapKind::Blob
        };
        let format = if number.is_multiple_of(2) {
            ObjectFormat::Sha1
        } else {
            ObjectFormat::Sha256
        };
        let oid = pyi_git::oid::hash_bytes(format, &number.to_le_bytes());
        MapEntry {
            oid,
            id,
            kind,
            size_bytes: number,
            files: number as u32,
        }
    }

    fn check(map: &GitMap, numbers: impl Iterator<Item = u64>) {
        for number in numbers {
            let entry = entry(number);
            assert_eq!(map.by_oid(&entry.oid), Some(entry));
            assert_eq!(map.by_id(entry.oid.format(), &entry.id), Some(entry.oid));
        }
    }

    #[test]
    fn a_record_comes_back_and_a_changed_one_does_not() {
        for number in [1, 2, 3, u64::MAX] {
            let record = entry(number).encode();
            assert_eq!(MapEntry::decode(&record), Some(entry(number)));
            for at in 0..RECORD_BYTES {
                let mut changed = record;
                changed[at] ^= 0x10;
                assert_eq!(MapEntry::decode(&changed), None, "byte {at}");
            }
            assert_eq!(MapEntry::decode(&record[..95]), None);
        }
    }

    #[test]
    fn processes_share_the_file_and_a_torn_write_costs_its_own_records_only() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (GitMap::new(dir.path().join("m")), GitMap::new(dir.path().join("m")));
        let entries: Vec<_> = (0..300).map(entry).collect();
        one.append(&entries[..100]);
        two.refresh();
        check(&two, 0..100);
        two.append(&entries[100..200]);
        // Somebody died in the middle of a record.
        let mut file = OpenOptions::new().append(true).open(&two.path).unwrap();
        file.write_all(&entries[250].encode()[..50]).unwrap();
        two.append(&entries[200..250]);
        one.refresh();
        check(&one, 0..250);
        assert_eq!(one.by_oid(&entries[250].oid), None);
        let fresh = GitMap::new(dir.path().join("m"));
        fresh.refresh();
        check(&fresh, 0..250);
        // Deleted, as a collector does: nothing is known any more, and the next file begins anew.
        fs::remove_file(&one.path).unwrap();
        one.refresh();
        assert_eq!(one.by_oid(&entries[0].oid), None);
        one.append(&entries[250..]);
        two.refresh();
        check(&two, 250..300);
        assert_eq!(two.by_oid(&entries[0].oid), None);
        // A collection keeps what lives, for everybody.
        let live: IdSet = entries[260..270].iter().map(|entry| entry.id).collect();
        one.retain(&live);
        for map in [&one, &two, &GitMap::new(dir.path().join("m"))] {
            map.refresh();
            check(map, 260..270);
            assert!(
                (250..260)
                    .chain(270..300)
                    .all(|at| map.by_oid(&entries[at].oid).is_none())
            );
        }
        two.append(&entries[..10]);
        one.refresh();
        check(&one, 0..10);
    }

    proptest! {
        /// The same as looking at every entry, for names with much and little in common.
        #[test]
        fn names_are_found_by_their_first_digits(
            count in 0_u64..3_000,
            alike in proptest::collection::vec((0_u64..40, 1_usize..20, any::<u8>()), 0..40),
            digits in 1_usize..41,
            wanted in 0_u64..50,
        ) {
            let mut entries: Vec<MapEntry> = (0..count).map(entry).collect();
            // Each begins as another one does, and goes on in its own way.
            for (like, same, last) in alike {
                let oid = entry(like).oid;
                let mut raw = oid.as_bytes().to_vec();
                raw[same] ^= last;
                let oid = Oid::from_bytes(oid.format(), &raw).unwrap();
                entries.push(MapEntry { oid, ..entry(like) });
            }
            let mut all = Entries::default();
            entries.iter().for_each(|entry| all.insert(entry));
            let mut hex = entry(wanted).oid.to_hex().into_bytes();
            hex.truncate(digits);
            let prefix = OidPrefix::from_hex(&hex).unwrap();
            let dir = tempfile::tempdir().unwrap();
            let map = GitMap::new(dir.path().join("m"));
            *map.entries.write() = all;
            for format in [ObjectFormat::Sha1, ObjectFormat::Sha256] {
                let begins = |oid: &Oid| oid.format() == format && prefix.matches(oid.as_bytes());
                let all: std::collections::BTreeSet<Oid> =
                    entries.iter().map(|entry| entry.oid).filter(begins).collect();
                prop_assert_eq!(map.beginning(format, &prefix), all.into_iter().collect::<Vec<_>>());
            }
        }
    }

    /// A short name was looked for among all entries.
    #[test]
    fn few_entries_are_looked_at_for_a_short_name() {
        let mut entries = Entries::default();
        (0..50_000).for_each(|number| entries.insert(&entry(number)));
        for (digits, most) in [(4, 100), (5, 100), (7, 30), (12, 30), (40, 30)] {
            let mut hex = entry(7).oid.to_hex().into_bytes();
            hex.truncate(digits);
            let (hash, known) = hash_of_prefix(&OidPrefix::from_hex(&hex).unwrap());
            let mut looked_at = 0;
            entries.by_oid.near(hash, known, |_| looked_at += 1);
            assert!((1..=most).contains(&looked_at), "{digits} digits: {looked_at}");
        }
    }

    #[test]
    fn many_entries_are_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let map = GitMap::new(dir.path().join("m"));
        let count = 50_000;
        map.append(&(0..count).map(entry).collect::<Vec<_>>());
        let fresh = GitMap::new(dir.path().join("m"));
        fresh.refresh();
        check(&fresh, (0..count).step_by(7));
    }

    /// Not a check but a number: `cargo test --release -- --ignored --nocapture a_million`.
    #[test]
    #[ignore = "prints a timing"]
    fn a_million_entries() {
        let dir = tempfile::tempdir().unwrap();
        let map = GitMap::new(dir.path().join("m"));
        map.append(&(0..1_000_000).map(entry).collect::<Vec<_>>());
        let fresh = GitMap::new(dir.path().join("m"));
        let start = std::time::Instant::now();
        fresh.refresh();
        println!("1,000,000 entries loaded in {:?}", start.elapsed());
    }
}
