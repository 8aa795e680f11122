//! What a history takes when its objects are stored as rewriting stores them, how long that takes, and how long it takes to read
//! all of it again; beside git, which has packed the same history with `git gc --aggressive`.
//!
//! `cargo run --release -p pyi-engine --example density -- <git directory after gc>`
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyi_cas::{CollectOptions, FileStore, Id, IdMap, IdSet, Kind, Mark, ObjectStore, OpenOptions, OsFs, chunk_ids};
use pyi_engine::git::History;
use pyi_engine::{Repository, RepositoryOptions};
use pyi_tree::{CheckpointRoot, Mode, Node};

/// Objects, newest first, with what is newer than each.
#[derive(Default)]
struct Objects {
    order: Vec<Id>,
    kinds: IdMap<Kind>,
    newer: IdMap<Id>,
    by_name: HashMap<Vec<u8>, Id>,
    chunks: IdMap<Vec<Id>>,
}

impl Objects {
    fn add(&mut self, kind: Kind, id: Id, newer: Option<Id>) -> bool {
        if self.kinds.insert(id, kind).is_some() {
            return false;
        }
        self.order.push(id);
        if let Some(newer) = newer.filter(|newer| self.kinds.get(newer) == Some(&kind)) {
            self.newer.insert(id, newer);
        }
        true
    }

    fn blob(&mut self, store: &FileStore, id: Id, newer: Option<Id>) {
        if !self.add(Kind::Blob, id, newer) {
            return;
        }
        let chunks = chunk_ids(&store.get(Kind::Blob, &id).unwrap().unwrap());
        self.chunks.insert(id, chunks);
    }

    /// A directory and what is in it; `newer` is what stands there in the next newer version.
    fn directory(&mut self, store: &FileStore, id: Id, newer: Option<Id>) {
        if !self.add(Kind::Node, id, newer) {
            return;
        }
        let load = |id: Id| Node::decode(&store.get(Kind::Node, &id).unwrap().unwrap(), id).unwrap();
        let (node, newer) = (load(id), newer.map(load));
        for at in 0..node.len() {
            let row = node.row(at);
            let other = newer.as_ref().and_then(|newer| {
                let at = newer.search(node.name(at)).ok()?;
                Some(newer.row(at).id)
            });
            match row.mode {
                Mode::Directory | Mode::Piece => self.directory(store, row.id, other),
                Mode::Gitlink => {}
                _ => {
                    let name = node.name(at).to_vec();
                    let other = other.or_else(|| self.by_name.get(&name).copied());
                    self.blob(store, row.id, other);
                    self.by_name.insert(name, row.id);
                }
            }
        }
    }
}

impl Mark for Objects {
    fn mark(&mut self, pins: &[Id], live: &mut IdSet) -> pyi_cas::Result<()> {
        live.extend(pins);
        live.extend(&self.order);
        Ok(())
    }

    fn delta_base(&self, id: &Id) -> Option<Id> {
        self.newer.get(id).copied()
    }
}

fn du(path: &Path) -> u64 {
    let output = Command::new("du").arg("-sk").arg(path).output().unwrap().stdout;
    String::from_utf8(output)
        .unwrap()
        .split('\t')
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

/// Time of the clock and of the processors.
type Spent = (Duration, Duration);

/// Time of the processors that this process (or its children that ended) used.
fn processors(whose: libc::c_int) -> Duration {
    // SAFETY: all zeros are a valid `rusage`, and the call writes nothing else.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(whose, &mut usage), 0);
        usage
    };
    let part = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1_000);
    part(usage.ru_utime) + part(usage.ru_stime)
}

/// Time of `git cat-file --batch` over these names.
fn git_reads(source: &Path, names: &[u8]) -> Spent {
    let (start, before) = (Instant::now(), processors(libc::RUSAGE_CHILDREN));
    let mut child = Command::new("git")
        .arg("--git-dir")
        .arg(source)
        .args(["cat-file", "--batch"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdin, names) = (child.stdin.take().unwrap(), names.to_vec());
    let writer = std::thread::spawn(move || stdin.write_all(&names));
    let mut stdout = child.stdout.take().unwrap();
    let mut buffer = vec![0; 1 << 20];
    while std::io::Read::read(&mut stdout, &mut buffer).unwrap() > 0 {}
    writer.join().unwrap().unwrap();
    child.wait().unwrap();
    (start.elapsed(), processors(libc::RUSAGE_CHILDREN) - before)
}

fn percentile(times: &mut [Duration], share: f64) -> Duration {
    times.sort();
    times[((times.len() - 1) as f64 * share) as usize]
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let source = Path::new(&arguments[1]);
    let scratch = tempfile::Builder::new().prefix("pyi-density").tempdir().unwrap();
    let store_path = scratch.path().join("store");
    let start = Instant::now();
    let options = RepositoryOptions {
        store: Some(store_path.clone()),
        ..RepositoryOptions::default()
    };
    let head = {
        let repository = Repository::open(scratch.path(), &options).unwrap();
        let workspace = repository.import_git(source, "HEAD", "main", History::Full).unwrap();
        let stats = repository.stats().unwrap();
        println!(
            "imported in {:?}: {} objects, {} bytes",
            start.elapsed(),
            stats.objects,
            stats.bytes_stored
        );
        let head = *workspace.head().id();
        repository.close().unwrap();
        head
    };
    let store = FileStore::open(Arc::new(OsFs), &store_path, OpenOptions::default()).unwrap();
    let start = Instant::now();
    let mut objects = Objects::default();
    let (mut at, mut newer, mut newer_files) = (Some(head), None, None);
    while let Some(id) = at {
        let root = CheckpointRoot::decode(&store.get(Kind::Checkpoint, &id).unwrap().unwrap()).unwrap();
        objects.add(Kind::Checkpoint, id, newer);
        objects.directory(&store, root.files, newer_files);
        (newer, newer_files, at) = (Some(id), Some(root.files), root.parents.first().copied());
    }
    let walked = start.elapsed();
    let (start, before) = (Instant::now(), processors(libc::RUSAGE_SELF));
    let options = CollectOptions {
        compact: true,
        ..CollectOptions::default()
    };
    let collected = store.collect(&mut objects, &options).unwrap();
    let rewritten = start.elapsed();
    assert_eq!(collected.gave_up, None);
    let lists = objects.chunks.values().filter(|list| !list.is_empty()).count();
    let spent = processors(libc::RUSAGE_SELF) - before;
    println!(
        "walked in {walked:?}, rewritten in {rewritten:?}, processors {spent:?}; {lists} objects are lists of chunks"
    );
    println!("{collected:?}");
    store.close().unwrap();
    if std::env::var_os("PYI_DU").is_some() {
        Command::new("du").arg("-ak").arg(&store_path).status().unwrap();
    }
    let (all, map, git) = (du(&store_path), du(&store_path.join("gitmap")), du(source));
    let share = |kb: u64| kb as f64 / git as f64;
    println!(
        "du: git {git} KB; store {all} KB ({:.3}x), of which gitmap {map} KB; without it {:.3}x",
        share(all),
        share(all - map)
    );
    // Reading every version: all objects that git has too, in git's order of history and at random.
    let history = ["rev-list", "--objects", "--no-object-names", "HEAD"];
    let listed = Command::new("git").arg("--git-dir").arg(source).args(history).output();
    let names = listed.unwrap().stdout;
    let mut shuffled: Vec<&[u8]> = names.split_inclusive(|byte| *byte == b'\n').collect();
    shuffled.sort();
    let git_times = [git_reads(source, &names), git_reads(source, &shuffled.concat())];
    let mut random: Vec<Id> = objects
        .order
        .iter()
        .filter(|id| objects.kinds[id] != Kind::Chunk)
        .copied()
        .collect();
    let in_order = random.clone();
    random.sort();
    for ((label, ids), git) in [("in order", in_order), ("at random", random)]
        .into_iter()
        .zip(git_times)
    {
        let new = FileStore::open(Arc::new(OsFs), &store_path, OpenOptions::default()).unwrap();
        let (start, before) = (Instant::now(), processors(libc::RUSAGE_SELF));
        let mut bytes = 0;
        for id in &ids {
            bytes += new.get(objects.kinds[id], id).unwrap().unwrap().len();
        }
        println!(
            "read {} objects, {bytes} bytes, {label}: {:?}, processors {:?}; git cat-file --batch {:?}, processors {:?}",
            ids.len(),
            start.elapsed(),
            processors(libc::RUSAGE_SELF) - before,
            git.0,
            git.1
        );
    }
    // Cold: nothing is known of any base.
    let mut times: Vec<Duration> = Vec::new();
    let mut readers: Vec<FileStore> = Vec::new();
    for (i, id) in objects
        .order
        .iter()
        .step_by(7)
        .filter(|id| objects.kinds[id] == Kind::Blob)
        .enumerate()
    {
        if i % 4 == 0 {
            readers = vec![
                FileStore::open(
                    Arc::new(OsFs),
                    &store_path,
                    OpenOptions {
                        read_only: true,
                        ..OpenOptions::default()
                    },
                )
                .unwrap(),
            ];
        }
        let start = Instant::now();
        readers[0].get(Kind::Blob, id).unwrap().unwrap();
        times.push(start.elapsed());
    }
    println!(
        "cold read of a blob: p50 {:?}, p95 {:?}, p99 {:?}",
        percentile(&mut times, 0.5),
        percentile(&mut times, 0.95),
        percentile(&mut times, 0.99)
    );
}
