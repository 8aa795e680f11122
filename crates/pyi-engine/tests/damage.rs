//! Damage in many places of a real store: a scrub finds every one, names every checkpoint that it affects (held against a reading of every
//! checkpoint in full), nothing wrong is ever served, and a repair from a copy brings everything back.
//!
//! `PYI_DAMAGE_PLACES=1000 cargo nextest run --release -p pyi-engine --test damage` runs as many places as one likes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "clippy allows it in test functions, and helpers are what tests call"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyi_cas::{Batch, Fault, FileStore, Kind, ObjectStore, OpenOptions, OsFs, RefTransaction};
use pyi_engine::{
    Bytes, ErrorKind, Expect, Id, NewArray, Repository, RepositoryOptions, ScrubOptions, ScrubReport, Take, Value,
    Version,
};
use pyi_tree::refs::tag_key;

const SECTOR: usize = 512;
const TAG: &str = "v1";
/// Bytes, so that no merge puts the versions into one text.
const CLASH: &[u8] = b"clash.bin";

/// A small generator, so that a failing place can be had again from its number.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    fn bytes(&mut self, length: usize) -> Bytes {
        (0..length).map(|_| self.below(256) as u8).collect()
    }
}

fn open(store: &Path) -> pyi_engine::Result<Repository> {
    let options = RepositoryOptions {
        create: false,
        store: Some(store.to_path_buf()),
        ..RepositoryOptions::default()
    };
    Repository::open(store, &options)
}

/// Seals what was written: a writer with tiny segments takes the store for a moment.
fn seal(store: &Path, note: &str) {
    let options = OpenOptions {
        segment_limit_bytes: 4096,
        background_seal: false,
        ..OpenOptions::default()
    };
    let store = FileStore::open(Arc::new(OsFs), store, options).unwrap();
    let mut batch = Batch::new();
    batch.put_new(Kind::Blob, note.as_bytes()).unwrap();
    store.commit(&mut batch).unwrap();
    store.close().unwrap();
}

/// Branches with a history, named workspaces, a kept superposition, states with arrays, journals; in sealed and unsealed segments.
fn make(store: &Path) -> Vec<Id> {
    let mut random = Random(7);
    fs::create_dir_all(store).unwrap();
    let options = RepositoryOptions {
        store: Some(store.to_path_buf()),
        ..RepositoryOptions::default()
    };
    Repository::open(store, &options).unwrap().close().unwrap();
    let mut checkpoints = Vec::new();
    for round in 0..6u32 {
        let repo = open(store).unwrap();
        for branch in ["main", "left", "right"] {
            let ws = match repo.workspace(branch) {
                Ok(ws) => ws,
                Err(_) => repo.workspace("main").unwrap().fork().unwrap(),
            };
            let new = round == 0;
            for file in 0..12u32 {
                if new || (file + round).is_multiple_of(5) {
                    let path = format!("{}/file{file}.txt", ["src", "src/deep/er", "doc"][file as usize % 3]);
                    let length = 20 + random.below(900) as usize;
                    ws.write(path.as_bytes(), random.bytes(length), None).unwrap();
                }
            }
            ws.write(
                format!("{branch}.txt").as_bytes(),
                Bytes::from(format!("{branch} {round}")),
                None,
            )
            .unwrap();
            ws.state_set("step", &Value::Int(i128::from(round))).unwrap();
            let array = NewArray {
                form: None,
                is_stable: true,
                dtype: "|u1".into(),
                shape: vec![70_000],
                bytes: vec![round as u8; 70_000].into(),
            };
            if branch == "main" {
                ws.state_set_array("array", &array).unwrap();
            }
            let data = Value::Map(vec![("n".into(), Value::Int(i128::from(round)))]);
            ws.journal_append("step", data).unwrap();
            checkpoints.push(*ws.checkpoint(&format!("{branch} {round}"), Value::Null).unwrap().id());
            let expect = if new { Expect::Absent } else { Expect::Origin };
            ws.publish(branch, expect).unwrap();
            if round == 2 {
                let named = ws.fork_named(&format!("agent-{branch}")).unwrap();
                named.write(b"agent.txt", random.bytes(300), None).unwrap();
                checkpoints.push(*named.checkpoint("agent", Value::Null).unwrap().id());
            }
        }
        repo.close().unwrap();
        if round % 2 == 0 {
            seal(store, &format!("round {round}"));
        }
    }
    checkpoints.push(clashing(store, &mut random));
    checkpoints.push(tagged(store, random.bytes(400)));
    checkpoints
}

/// A checkpoint that only a tag leads to, as after a push of one.
fn tagged(store: &Path, content: Bytes) -> Id {
    let repo = open(store).unwrap();
    let ws = repo.workspace("left").unwrap().fork().unwrap();
    ws.write(b"tagged.txt", content, None).unwrap();
    let id = *ws.checkpoint("tagged", Value::Null).unwrap().id();
    drop(ws);
    repo.close().unwrap();
    let store = FileStore::open(Arc::new(OsFs), store, OpenOptions::default()).unwrap();
    let value = Value::Map(vec![("checkpoint".into(), Value::Bytes(id.0.to_vec()))]);
    let transaction = RefTransaction {
        puts: vec![(tag_key(TAG), Some(value.encode()))],
        ..RefTransaction::default()
    };
    store.refs().commit(&transaction).unwrap();
    store.close().unwrap();
    id
}

/// A checkpoint with a conflict that is kept: their version stands nowhere else.
fn clashing(store: &Path, random: &mut Random) -> Id {
    let repo = open(store).unwrap();
    let ours = repo.workspace("right").unwrap().fork().unwrap();
    ours.write(CLASH, random.bytes(300), None).unwrap();
    ours.checkpoint("before", Value::Null).unwrap();
    let theirs = ours.fork().unwrap();
    for side in [&ours, &theirs] {
        side.write(CLASH, random.bytes(300), None).unwrap();
    }
    assert_eq!(ours.merge_keeping(&Version::Workspace(theirs), None).unwrap().len(), 1);
    let id = *ours.checkpoint("clashing", Value::Null).unwrap().id();
    ours.publish("clash", Expect::Absent).unwrap();
    drop(ours);
    repo.close().unwrap();
    id
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// Everything in a checkpoint as text, or `None` if something cannot be read.
fn read(repo: &Repository, id: &Id) -> Option<BTreeMap<String, Bytes>> {
    let attempt = || -> pyi_engine::Result<BTreeMap<String, Bytes>> {
        let mut found = BTreeMap::new();
        let ws = repo.workspace_at(*id)?;
        for entry in ws.walk(b"")? {
            let path = String::from_utf8_lossy(&entry?.path).into_owned();
            found.insert(path.clone(), ws.read(path.as_bytes())?);
        }
        for key in ws.state_keys()? {
            found.insert(
                format!("state {key}"),
                Bytes::from(format!("{:?}", ws.state_get(&key)?)),
            );
        }
        for conflict in ws.conflicts()? {
            for take in [Take::Base, Take::Ours, Take::Theirs] {
                let settled = ws.fork()?;
                settled.resolve(&conflict.path, &take)?;
                found.insert(format!("{take:?} {}", conflict.reason), settled.read(&conflict.path)?);
            }
        }
        let mut journal = ws.journal()?;
        for index in 0..journal.len() {
            found.insert(
                format!("event {index}"),
                Bytes::from(format!("{:?}", journal.get(index)?)),
            );
        }
        Ok(found)
    };
    match attempt() {
        Ok(found) => Some(found),
        Err(error) => {
            if std::env::var_os("PYI_DAMAGE_SHOW").is_some() {
                println!("{id}: {error}");
            }
            assert!(
                matches!(
                    error.kind(),
                    ErrorKind::Corrupt | ErrorKind::NotFound | ErrorKind::UnsupportedFormat
                ),
                "{error}"
            );
            None
        }
    }
}

fn files(store: &Path) -> Vec<PathBuf> {
    let mut found = vec![store.join("format")];
    for directory in ["segments", "refs"] {
        let entries = fs::read_dir(store.join(directory)).unwrap();
        found.extend(entries.map(|entry| entry.unwrap().path()));
    }
    found.sort();
    found
}

/// Damages one place; says what it did, or `None` if that changed nothing.
fn damage(store: &Path, random: &mut Random) -> Option<String> {
    let files = files(store);
    // Segments hold the most, so they get the most.
    let segments: Vec<&PathBuf> = files
        .iter()
        .filter(|file| file.extension().is_some_and(|e| e == "seg"))
        .collect();
    let path = match random.below(3) {
        0 => &files[random.below(files.len() as u64) as usize],
        _ => segments[random.below(segments.len() as u64) as usize],
    };
    let before = fs::read(path).unwrap();
    let mut bytes = before.clone();
    let length = bytes.len() as u64;
    let sectors = length.div_ceil(SECTOR as u64);
    let sector = |number: u64| (number as usize * SECTOR)..((number as usize + 1) * SECTOR).min(length as usize);
    let what = match random.below(8) {
        0..=2 => {
            let at = random.below(length);
            let bit = random.below(8);
            bytes[at as usize] ^= 1 << bit;
            format!("bit {bit} of byte {at}")
        }
        3 | 4 => {
            let at = random.below(sectors);
            bytes[sector(at)].fill(0);
            format!("sector {at} zeroed")
        }
        5 | 6 => {
            let (a, b) = (random.below(sectors), random.below(sectors));
            let (from, to) = (sector(a), sector(b));
            if from.len() == to.len() {
                let (left, right) = (bytes[from.clone()].to_vec(), bytes[to.clone()].to_vec());
                bytes[from].copy_from_slice(&right);
                bytes[to].copy_from_slice(&left);
            }
            format!("sectors {a} and {b} swapped")
        }
        _ => {
            let to = random.below(length);
            bytes.truncate(to as usize);
            format!("cut to {to} of {length}")
        }
    };
    fs::write(path, &bytes).unwrap();
    (bytes != before).then(|| format!("{}: {what}", path.file_name().unwrap().to_string_lossy()))
}

#[test]
fn every_damage_is_found_and_named_and_repaired() {
    let places: u64 = std::env::var("PYI_DAMAGE_PLACES").map_or(120, |text| text.parse().unwrap());
    let seed: u64 = std::env::var("PYI_DAMAGE_SEED").map_or(1, |text| text.parse().unwrap());
    let scratch = tempfile::tempdir().unwrap();
    let whole = scratch.path().join("whole");
    let checkpoints = make(&whole);
    let repo = open(&whole).unwrap();
    let truth: BTreeMap<Id, BTreeMap<String, Bytes>> = checkpoints
        .iter()
        .map(|id| (*id, read(&repo, id).expect("whole")))
        .collect();
    let branches = repo.branches().unwrap();
    let clean = repo.scrub(&ScrubOptions::default()).unwrap();
    assert!(clean.is_clean() && clean.checked > 200, "{clean:?}");
    assert!(repo.check().unwrap().faults.is_empty());
    repo.close().unwrap();
    let names: BTreeMap<Id, Vec<String>> = branches.iter().fold(BTreeMap::new(), |mut names, (name, id)| {
        names.entry(*id).or_insert_with(Vec::new).push(name.clone());
        names
    });

    let options = OpenOptions {
        read_only: true,
        ..OpenOptions::default()
    };
    let undamaged = FileStore::open(Arc::new(OsFs), &whole, options).unwrap();
    // A damaged header can claim to be of a checkpoint that there never was.
    let unrepaired = |report: &ScrubReport| -> Vec<(Id, Kind)> {
        let lost = report.lost().into_iter();
        lost.filter(|(id, _)| undamaged.contains(id).unwrap()).collect()
    };
    let (mut injected, mut refused, mut in_logs, mut affecting, mut clean, mut tags) = (0, 0, 0, 0, 0, 0);
    // To have a failing place again.
    let mut number: u64 = std::env::var("PYI_DAMAGE_FIRST").map_or(0, |text| text.parse::<u64>().unwrap() - 1);
    while injected < places {
        number += 1;
        let mut random = Random(seed.wrapping_mul(1_000_003).wrapping_add(number));
        let store = scratch.path().join(format!("damaged-{number}"));
        copy(&whole, &store);
        let Some(what) = damage(&store, &mut random) else {
            fs::remove_dir_all(&store).unwrap();
            continue;
        };
        injected += 1;
        let what = format!("place {number} of seed {seed}: {what}");
        let repo = match open(&store) {
            Ok(repo) => repo,
            // The format file or the head of the ref log: nothing can be read without it, and nothing is.
            Err(error) => {
                assert!(
                    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::UnsupportedFormat),
                    "{what}: {error}"
                );
                refused += 1;
                fs::remove_dir_all(&store).unwrap();
                continue;
            }
        };
        let mut report = repo.scrub(&ScrubOptions::default()).unwrap();
        assert!(!report.is_clean(), "{what}: not found");
        // Nothing wrong is served, and what cannot be read is what the scrub named.
        let fresh = open(&store).unwrap();
        let mut unreadable = BTreeSet::new();
        for (id, content) in &truth {
            match read(&fresh, id) {
                Some(found) => assert!(found == *content, "{what}: wrong bytes in {id}"),
                None => {
                    unreadable.insert(*id);
                }
            }
        }
        let named: BTreeSet<Id> = report.affected.checkpoints.iter().copied().collect();
        let missed: Vec<_> = unreadable.difference(&named).collect();
        assert!(missed.is_empty(), "{what}: {missed:?} not named; {:?}", report.faults);
        let extra: Vec<_> = named
            .difference(&unreadable)
            .filter(|id| truth.contains_key(id))
            .collect();
        assert!(extra.is_empty(), "{what}: {extra:?} named and readable");
        affecting += u32::from(!unreadable.is_empty());
        let in_log = report
            .faults
            .iter()
            .any(|fault| fault.file.to_string().starts_with("refs/"));
        in_logs += u32::from(in_log);
        if !in_log {
            let hit: BTreeSet<&String> = unreadable.iter().filter_map(|id| names.get(id)).flatten().collect();
            assert_eq!(hit, report.affected.branches.iter().collect(), "{what}");
            let is_tag_hit = checkpoints.last().is_some_and(|tagged| unreadable.contains(tagged));
            assert_eq!(is_tag_hit, report.affected.tags.contains(TAG), "{what}");
            tags += u32::from(is_tag_hit);
        }
        fresh.close().unwrap();
        repo.repair(&mut report, &[&whole]).unwrap();
        assert_eq!(unrepaired(&report), [], "{what}: not repaired");
        let mut again = repo.scrub(&ScrubOptions::default()).unwrap();
        // Who takes over the segment of a dead writer cuts off its damaged end: behind the repair, or in the middle of the scrub.
        let is_cut = |fault: &Fault| {
            let about = fs::metadata(store.join(fault.file.to_string()));
            about.is_ok_and(|about| about.len() < fault.offset + fault.length)
        };
        let until = Instant::now() + Duration::from_secs(20);
        while report.is_clean() && !again.is_clean() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
            again = repo.scrub(&ScrubOptions::default()).unwrap();
        }
        if std::env::var_os("PYI_DAMAGE_SHOW").is_some() {
            println!("{what}: {report:#?}");
        }
        assert_eq!(unrepaired(&again), [], "{what}: after the repair");
        let left = again
            .faults
            .iter()
            .filter(|fault| !fault.file.to_string().starts_with("refs/"));
        let left: Vec<_> = left.collect();
        clean += u32::from(left.is_empty());
        if std::env::var_os("PYI_DAMAGE_SHOW").is_some() && !left.is_empty() {
            println!("{what}: left {left:?}");
        }
        let mut left_by_repair = report.faults.iter().filter(|fault| !report.mended.contains(fault));
        let is_cut_since = again.is_clean() && left_by_repair.all(is_cut);
        assert!(
            report.is_clean() == again.is_clean() || is_cut_since,
            "{what}: {:?}, of which mended: {:?}; damaged {:?}, of which repaired: {:?}; then {:?}",
            report.faults,
            report.mended,
            report.damaged.keys(),
            report.repaired,
            again.faults
        );
        repo.close().unwrap();
        let fresh = open(&store).unwrap();
        for (id, content) in &truth {
            assert!(
                read(&fresh, id).as_ref() == Some(content),
                "{what}: {id} after the repair"
            );
        }
        fresh.close().unwrap();
        fs::remove_dir_all(&store).unwrap();
    }
    println!(
        "{injected} places, {refused} of them refused at opening, {in_logs} in ref logs, {affecting} that made a checkpoint unreadable, {tags} of them a tag's, \
         {clean} without a trace in segments after the repair"
    );
}

/// What was damaged at the end of a segment is cut off by who takes that over from a dead writer: a repair behind that has nothing left to mend there.
#[test]
fn a_damaged_end_that_was_cut_off_meanwhile_is_mended() {
    let scratch = tempfile::tempdir().unwrap();
    let (whole, store) = (scratch.path().join("whole"), scratch.path().join("damaged"));
    fs::create_dir_all(&whole).unwrap();
    let options = RepositoryOptions {
        store: Some(whole.clone()),
        ..RepositoryOptions::default()
    };
    let repo = Repository::open(&whole, &options).unwrap();
    let workspace = repo.workspace("main").unwrap();
    for step in 0..3 {
        let content = Bytes::from(format!("step {step}"));
        workspace.write(b"file", content, None).unwrap();
        workspace.checkpoint("", Value::Null).unwrap();
    }
    let last = *workspace.head().id();
    workspace.publish("main", Expect::Absent).unwrap();
    let content = read(&repo, &last);
    repo.close().unwrap();
    copy(&whole, &store);
    let segment = store.join("segments/0000000000000001.seg");
    let mut bytes = fs::read(&segment).unwrap();
    let end = bytes.len();
    // The last record's header: that of the last checkpoint.
    let at = bytes.windows(32).rposition(|id| id == last.0).unwrap();
    bytes[at] ^= 1;
    fs::write(&segment, &bytes).unwrap();
    let damaged = open(&store).unwrap();
    let mut report = damaged.scrub(&ScrubOptions::default()).unwrap();
    assert!(
        report
            .faults
            .iter()
            .any(|fault| fault.offset as usize + fault.length as usize == end),
        "{:?}",
        report.faults
    );
    // Somebody else takes the segment over, and writes.
    seal(&store, "a writer");
    assert!(
        fs::metadata(&segment).unwrap().len() < end as u64,
        "the end was cut off"
    );
    let other = FileStore::open(Arc::new(OsFs), &store, OpenOptions::default()).unwrap();
    assert_eq!(
        other.look_again_at(&report.faults).unwrap(),
        report.faults,
        "nothing stands there"
    );
    other.close().unwrap();
    damaged.repair(&mut report, &[&whole]).unwrap();
    assert!(report.is_clean(), "{report:#?}");
    assert!(damaged.scrub(&ScrubOptions::default()).unwrap().is_clean());
    assert_eq!(read(&damaged, &last), content);
    damaged.close().unwrap();
}
