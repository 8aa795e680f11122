//! How fast packs, trees, paths and ignore rules are: `cargo run --release -p pyi-git --example speed -- PACK.pack`.
//!
//! Prints objects and bytes a second for one thread, in the order of the pack and in the order of names (which is
//! random in the pack), with and without checking names; and nanoseconds a path for `validate_path`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a tool for measuring"
)]

use pyi_git::delta_cache::DeltaCache;
use pyi_git::pack::PackReader;
use pyi_git::pack_index::PackIndex;
use pyi_git::path::validate_path;
use pyi_git::tree::{TreeIter, is_canonical};
use pyi_git::{ObjectFormat, ObjectKind};

/// Processor time of this thread, so that other load on the machine counts little.
#[derive(Clone, Copy)]
struct Instant(u64);

impl Instant {
    fn now() -> Self {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        Self(text.split(' ').next().unwrap().parse().unwrap())
    }

    fn elapsed(self) -> std::time::Duration {
        std::time::Duration::from_nanos(Self::now().0 - self.0)
    }
}

fn main() {
    let path = std::path::PathBuf::from(std::env::args().nth(1).expect("path of a pack"));
    let pack = std::fs::read(&path).unwrap();
    let index = std::fs::read(path.with_extension("idx")).unwrap();
    let index = PackIndex::parse(ObjectFormat::Sha1, index.as_slice()).unwrap();
    let reader = PackReader::new(pack.as_slice(), index, 0).unwrap();
    let report = |what: &str, start: Instant, objects: usize, bytes: usize| {
        let t = start.elapsed().as_secs_f64();
        println!(
            "{what:32} {:9.0} objects/s {:7.0} MB/s  {t:.2} s",
            objects as f64 / t,
            bytes as f64 / t / 1e6
        );
    };
    let start = Instant::now();
    reader.verify_checksum().unwrap();
    report("pack checksum", start, 1, pack.len());
    let order = reader.index().in_pack_order().unwrap();
    println!("{} objects, pack of {} MB", order.len(), pack.len() / 1_000_000);
    for budget in [96usize << 20, 16 << 20] {
        let mut cache = DeltaCache::new(budget);
        let start = Instant::now();
        let mut bytes = 0;
        for (offset, _) in &order {
            bytes += reader.read_at(*offset, &mut cache).unwrap().data.len();
        }
        report(
            &format!("read, pack order, {} MB cache", budget >> 20),
            start,
            order.len(),
            bytes,
        );
    }
    let mut cache = DeltaCache::default();
    let start = Instant::now();
    let mut bytes = 0;
    for (offset, position) in &order {
        let object = reader.read_at(*offset, &mut cache).unwrap();
        bytes += object.data.len();
        assert_eq!(Some(object.oid(ObjectFormat::Sha1)), reader.index().oid_at(*position));
    }
    report("read and check name, pack order", start, order.len(), bytes);
    let oids: Vec<_> = reader.index().oids().collect();
    let mut cache = DeltaCache::default();
    let start = Instant::now();
    let mut bytes = 0;
    for oid in oids.iter().take(50_000) {
        bytes += reader.read(oid, &mut cache).unwrap().unwrap().data.len();
    }
    report("read by name, random order", start, oids.len().min(50_000), bytes);
    let start = Instant::now();
    for oid in oids.iter().cycle().take(1_000_000) {
        assert!(reader.index().lookup(oid).is_some());
    }
    println!("index lookup {:.0} ns", start.elapsed().as_nanos() as f64 / 1e6);

    let mut cache = DeltaCache::default();
    let mut trees = Vec::new();
    for (offset, _) in &order {
        let object = reader.read_at(*offset, &mut cache).unwrap();
        if object.kind == ObjectKind::Tree {
            trees.push(object.data);
        }
        if trees.len() == 20_000 {
            break;
        }
    }
    let start = Instant::now();
    let mut names: Vec<Vec<u8>> = Vec::new();
    let mut entries = 0;
    for tree in &trees {
        entries += TreeIter::new(ObjectFormat::Sha1, tree).filter(Result::is_ok).count();
    }
    println!(
        "tree entry {:.1} ns ({entries})",
        start.elapsed().as_nanos() as f64 / entries as f64
    );
    let start = Instant::now();
    let canonical = trees.iter().filter(|t| is_canonical(ObjectFormat::Sha1, t)).count();
    let nanos = start.elapsed().as_nanos() as f64 / entries as f64;
    println!(
        "tree entry canonical {nanos:.1} ns ({canonical} of {} trees are)",
        trees.len()
    );
    for tree in trees.iter().take(2000) {
        for entry in TreeIter::new(ObjectFormat::Sha1, tree).flatten() {
            names.push([b"some/directory/of/usual/depth/", entry.name].concat());
        }
    }
    let start = Instant::now();
    for name in names.iter().cycle().take(5_000_000) {
        validate_path(std::hint::black_box(name)).unwrap();
    }
    let mean: usize = names.iter().map(Vec::len).sum::<usize>() / names.len().max(1);
    println!(
        "validate_path {:.1} ns (mean {mean} bytes)",
        start.elapsed().as_nanos() as f64 / 5e6
    );
}
