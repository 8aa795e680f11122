//! The index file against `git ls-files`, in all three versions.

use pyi_git::index::{Index, IndexEntry, IndexError, IndexVersion};
use pyi_git::index_ext::CacheTree;
use pyi_git::index_view::IndexView;
use pyi_git::oid::hash_bytes;
use pyi_git::{ObjectFormat, Oid};

use crate::repo::{FORMATS, Repo};

fn read(repo: &Repo) -> (Vec<u8>, Index) {
    let file = std::fs::read(repo.path(".git/index")).unwrap();
    let index = Index::parse(repo.format, &file, true).unwrap();
    (file, index)
}

/// What `git ls-files --stage --debug -z` says of each entry.
fn check_listing(repo: &Repo, index: &Index) {
    let mut ours = Vec::new();
    for e in &index.entries {
        ours.extend_from_slice(format!("{:06o} {} {}\t", e.mode, e.oid, e.stage).as_bytes());
        ours.extend_from_slice(&e.path);
        ours.push(0);
        let s = &e.stat;
        let flags = u32::from(e.stage) << 12
            | if e.assume_valid { 0x8000 } else { 0 }
            | if e.skip_worktree { 0x4000_0000 } else { 0 }
            | if e.intent_to_add { 0x2000_0000 } else { 0 };
        // Git also keeps "extended flags follow" in memory.
        let flags = if e.skip_worktree || e.intent_to_add {
            flags | 0x4000
        } else {
            flags
        };
        ours.extend_from_slice(
            format!(
                "  ctime: {}:{}\n  mtime: {}:{}\n  dev: {}\tino: {}\n  uid: {}\tgid: {}\n  size: {}\tflags: {flags:x}\n",
                s.ctime_seconds, s.ctime_nanos, s.mtime_seconds, s.mtime_nanos, s.dev, s.ino, s.uid, s.gid, s.size
            )
            .as_bytes(),
        );
    }
    let theirs = repo.git(&["ls-files", "--stage", "--debug", "-z"]);
    assert_eq!(String::from_utf8_lossy(&ours), String::from_utf8_lossy(&theirs));
}

fn make(format: ObjectFormat) -> Repo {
    let repo = Repo::new(format);
    repo.populate(50, 6);
    let long = format!("{}/{}", "n".repeat(200), "m".repeat(200));
    repo.write(&long, b"long");
    for i in 0..30 {
        repo.write(&format!("pad/{}", "x".repeat(i + 1)), b"");
    }
    repo.git(&["add", "-A"]);
    repo
}

#[test]
fn every_version_reads_and_comes_back() {
    for format in FORMATS {
        let repo = make(format);
        for version in ["2", "3", "4"] {
            for flags in [false, true] {
                if flags {
                    repo.git(&["update-index", "--assume-unchanged", "big.txt"]);
                    repo.git(&["update-index", "--skip-worktree", "side"]);
                    repo.write("later", b"");
                    repo.git(&["add", "-N", "later"]);
                }
                repo.git(&["update-index", "--force-write-index", "--index-version", version]);
                let (file, index) = read(&repo);
                assert_eq!(
                    index.version,
                    if version == "3" && !flags {
                        2
                    } else if flags && version == "2" {
                        3
                    } else {
                        version.parse().unwrap()
                    }
                );
                check_listing(&repo, &index);
                let written = index
                    .encode(if version == "4" {
                        IndexVersion::V4
                    } else {
                        IndexVersion::Lowest
                    })
                    .unwrap();
                assert_eq!(written, file, "{format:?} version {version}, flags {flags}");
                let view = IndexView::parse(format, file.clone().into()).unwrap();
                assert_eq!(view.version(), index.version);
                assert_eq!(view.is_plain(), !flags);
                let null = format.null_oid();
                assert_eq!(
                    view.to_index().unwrap(),
                    Index {
                        checksum: null,
                        ..index
                    }
                );
                assert_eq!(view.encode(&[]).unwrap(), file);
                if flags {
                    repo.git(&["update-index", "--no-assume-unchanged", "big.txt"]);
                    repo.git(&["update-index", "--no-skip-worktree", "side"]);
                    repo.git(&["rm", "-q", "--cached", "later"]);
                }
            }
        }
    }
}

#[test]
fn conflicts_have_stages_and_resolving_them_is_remembered() {
    let repo = Repo::new(ObjectFormat::Sha1);
    repo.write("f", b"base\n");
    repo.git(&["add", "f"]);
    repo.git(&["commit", "-q", "-m", "base"]);
    repo.git(&["checkout", "-q", "-b", "other"]);
    repo.write("f", b"other\n");
    repo.git(&["commit", "-q", "-a", "-m", "other"]);
    repo.git(&["checkout", "-q", "main"]);
    repo.write("f", b"main\n");
    repo.git(&["commit", "-q", "-a", "-m", "main"]);
    assert!(!repo.run(&["merge", "other"], b"").status.success());
    let (file, index) = read(&repo);
    check_listing(&repo, &index);
    assert_eq!(index.entries.iter().map(|e| e.stage).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(
        (
            index.position(b"f", 2),
            index.position(b"f", 0),
            index.position(b"g", 0)
        ),
        (Ok(1), Err(0), Err(3))
    );
    assert_eq!(index.encode(IndexVersion::Lowest).unwrap(), file);
    repo.write("f", b"both\n");
    repo.git(&["add", "f"]);
    let (file, index) = read(&repo);
    assert!(index.resolve_undo.is_some());
    assert_eq!(index.encode(IndexVersion::Lowest).unwrap(), file);
}

#[test]
fn the_cache_tree_names_the_trees_of_the_commit() {
    fn check(repo: &Repo, tree: &CacheTree, prefix: &str) -> usize {
        let (count, oid) = tree.tree.unwrap();
        assert_eq!(repo.line(&["rev-parse", &format!("HEAD:{prefix}")]), oid.to_hex());
        assert!(count > 0);
        let below = tree.children.iter().map(|child| {
            let name = std::str::from_utf8(&child.name).unwrap();
            check(repo, child, &format!("{prefix}{name}/"))
        });
        1 + below.sum::<usize>()
    }
    let repo = make(ObjectFormat::Sha1);
    repo.git(&["commit", "-q", "-m", "all"]);
    let (_, index) = read(&repo);
    let tree = index.cache_tree.unwrap();
    assert_eq!(tree.tree.unwrap().0 as usize, index.entries.len());
    assert!(check(&repo, &tree, "") > 5);
}

#[test]
fn an_index_made_from_nothing_is_one_to_git() {
    for format in FORMATS {
        let repo = make(format);
        let commit = repo.line(&["write-tree"]);
        let listing = repo.git(&["ls-files", "--stage"]);
        let (_, theirs) = read(&repo);
        let mut ours = Index::new(format);
        ours.entries = theirs
            .entries
            .iter()
            .map(|e| IndexEntry::new(&e.path, e.mode, e.oid))
            .collect();
        ours.entries.sort_by(IndexEntry::compare);
        for version in [IndexVersion::Lowest, IndexVersion::V4] {
            std::fs::write(repo.path(".git/index"), ours.encode(version).unwrap()).unwrap();
            assert_eq!(repo.git(&["ls-files", "--stage"]), listing);
            assert_eq!(repo.line(&["write-tree"]), commit);
            repo.git(&["fsck"]);
            assert!(
                repo.git(&["status", "--porcelain", "-uno"])
                    .split(|&b| b == b'\n')
                    .all(|l| !l.starts_with(b" "))
            );
        }
        ours.entries.reverse();
        assert!(matches!(ours.encode(IndexVersion::Lowest), Err(IndexError::Order(_))));
    }
}

#[test]
fn extensions_are_skipped_or_refused_by_their_first_letter() {
    let repo = make(ObjectFormat::Sha1);
    repo.git(&["config", "core.untrackedCache", "true"]);
    repo.git(&["config", "index.threads", "2"]);
    repo.git(&["update-index", "--untracked-cache"]);
    repo.git(&["status"]);
    let (_, index) = read(&repo);
    assert!(index.skipped.contains(b"UNTR"), "{:?}", index.skipped);
    check_listing(&repo, &index);
    repo.git(&["update-index", "--split-index"]);
    let file = std::fs::read(repo.path(".git/index")).unwrap();
    assert_eq!(
        Index::parse(repo.format, &file, true),
        Err(IndexError::RequiredExtension("link".into()))
    );
    repo.git(&["update-index", "--no-split-index"]);
    repo.git(&["config", "index.skipHash", "true"]);
    repo.git(&["update-index", "--force-write-index"]);
    let (_, index) = read(&repo);
    assert!(index.checksum.is_null());
}

#[test]
fn contradictions_are_named() {
    let format = ObjectFormat::Sha1;
    let mut index = Index::new(format);
    index.entries = vec![IndexEntry::new(b"a", 0o100_644, format.empty_blob())];
    let good = index.encode(IndexVersion::Lowest).unwrap();
    let sealed = |mut body: Vec<u8>| {
        body.truncate(body.len() - 20);
        let sum: Oid = hash_bytes(format, &body);
        body.extend_from_slice(sum.as_bytes());
        Index::parse(format, &body, true)
    };
    assert!(sealed(good.clone()).is_ok());
    let with = |at: usize, byte: u8| {
        let mut file = good.clone();
        file[at] = byte;
        file
    };
    assert_eq!(Index::parse(format, &with(20, 9), true), Err(IndexError::Checksum));
    assert!(Index::parse(format, &with(20, 9), false).is_ok());
    assert_eq!(sealed(with(0, b'X')), Err(IndexError::Signature));
    assert_eq!(sealed(with(7, 5)), Err(IndexError::Version(5)));
    assert!(matches!(sealed(with(8, 255)), Err(IndexError::Truncated(_))));
    assert!(matches!(sealed(with(12 + 61, 0)), Err(IndexError::Entry { .. })));
    assert!(matches!(sealed(with(12 + 60, 0x40)), Err(IndexError::Entry { .. })));
}

/// The same changes made to entries that are taken apart, and to those that stand where they were read.
#[test]
fn a_view_changes_as_the_index_does() {
    let mut state = 7u64;
    let mut roll = move |sides: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % sides
    };
    for round in 0..300 {
        let format = FORMATS[round % 2];
        let mut entry = |name: u64| {
            let path = format!("{}d{}/{name}", "x".repeat((name % 90) as usize), name % 7);
            let mut entry = IndexEntry::new(path.as_bytes(), 0o100_644, hash_bytes(format, &[roll(200) as u8]));
            entry.stat.size = roll(1000) as u32;
            entry.skip_worktree = roll(40) == 0;
            entry.assume_valid = roll(40) == 0;
            entry
        };
        let mut index = Index::new(format);
        index.entries = (0..60).map(&mut entry).collect();
        index.entries.sort_by(IndexEntry::compare);
        index.entries.dedup_by(|a, b| a.path == b.path);
        let view = IndexView::of(&index).unwrap();
        assert_eq!(view.to_index().unwrap(), index);
        let mut changes: std::collections::BTreeMap<Vec<u8>, Option<IndexEntry>> = Default::default();
        for name in 40..70 {
            let changed = entry(name);
            changes.insert(changed.path.clone(), (name % 3 != 0).then_some(changed));
        }
        if round % 5 == 0 {
            changes.extend(
                index
                    .entries
                    .iter()
                    .filter(|entry| entry.skip_worktree)
                    .map(|entry| (entry.path.clone(), None)),
            );
        }
        for (path, entry) in &changes {
            match (index.position(path, 0), entry) {
                (Ok(at), Some(entry)) => index.entries[at] = entry.clone(),
                (Ok(at), None) => drop(index.entries.remove(at)),
                (Err(at), Some(entry)) => index.entries.insert(at, entry.clone()),
                (Err(_), None) => {}
            }
        }
        let changed = view
            .changed(changes.iter().map(|(path, entry)| (path.as_slice(), entry.as_ref())))
            .unwrap();
        assert_eq!(changed.to_index().unwrap().entries, index.entries);
        assert_eq!(
            changed.encode(&[]).unwrap(),
            index.encode(IndexVersion::Lowest).unwrap()
        );
        for (at, entry) in index.entries.iter().enumerate() {
            assert_eq!(changed.position(&entry.path), Ok(at));
        }
        let below = changed.below(b"d3");
        let expected: Vec<_> = (0..index.entries.len())
            .filter(|at| index.entries[*at].path.starts_with(b"d3/"))
            .collect();
        assert_eq!(below.collect::<Vec<_>>(), expected);
        index.entries[3].stat.size = 0;
        assert_eq!(
            changed.encode(&[3]).unwrap(),
            index.encode(IndexVersion::Lowest).unwrap()
        );
    }
}

/// Whatever the bytes are, both readers take them, or none does.
#[test]
fn a_view_takes_what_the_index_takes() {
    let repo = make(ObjectFormat::Sha1);
    repo.git(&["commit", "-q", "-m", "all"]);
    let (file, _) = read(&repo);
    let mut taken = 0;
    for at in 0..6000 {
        let mut bytes = file.clone();
        let place = at * 7919 % bytes.len();
        bytes[place] ^= 1 << (at % 8);
        if at % 9 == 0 {
            bytes.truncate(place);
        }
        let view = IndexView::parse(repo.format, bytes.clone().into()).and_then(|view| view.to_index());
        match Index::parse(repo.format, &bytes, false) {
            Ok(index) => {
                let null = repo.format.null_oid();
                assert_eq!(
                    view.unwrap(),
                    Index {
                        checksum: null,
                        ..index
                    },
                    "byte {place}"
                );
                taken += 1;
            }
            Err(error) => assert!(view.is_err(), "byte {place}: {error}"),
        }
    }
    assert!(taken > 1000);
}
