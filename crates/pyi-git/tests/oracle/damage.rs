//! Cut and flipped files: a typed error or a right answer, never a panic, never memory without end.

use proptest::prelude::*;
use pyi_git::commit::Commit;
use pyi_git::config::Config;
use pyi_git::delta::apply_delta;
use pyi_git::delta_cache::DeltaCache;
use pyi_git::ignore::{IgnoreStack, PatternList};
use pyi_git::index::Index;
use pyi_git::midx::MultiPackIndex;
use pyi_git::object::{decode_loose, encode_loose};
use pyi_git::pack::{PackLimits, PackReader};
use pyi_git::pack_index::PackIndex;
use pyi_git::path::{validate_component, validate_path, validate_symlink_component};
use pyi_git::signature::Signature;
use pyi_git::tag::Tag;
use pyi_git::tree::{TreeIter, encode_tree, is_canonical};
use pyi_git::wildmatch::{WildOptions, wildmatch};
use pyi_git::{ObjectFormat, ObjectKind};

use crate::repo::{FORMATS, Repo, Rng};

const LIMITS: PackLimits = PackLimits {
    max_object_bytes: 1 << 22,
    max_depth: 64,
};

/// A copy with one to three bytes changed, cut short, or both.
fn damaged(rng: &mut Rng, file: &[u8]) -> Vec<u8> {
    let mut copy = file.to_vec();
    let kind = rng.below(4);
    if kind != 0 {
        for _ in 0..=rng.below(3) {
            let at = rng.below(copy.len());
            copy[at] = match rng.below(4) {
                0 => 0,
                1 => 0xff,
                _ => copy[at] ^ (1 << rng.below(8)),
            };
        }
    }
    if kind == 0 || rng.below(4) == 0 {
        copy.truncate(rng.below(copy.len()));
    }
    copy
}

#[test]
fn damaged_packs_and_indexes_never_panic_nor_lie() {
    for format in FORMATS {
        let repo = Repo::new(format);
        repo.populate(60, 12);
        let objects = repo.all_objects();
        let (pack, index) = repo.pack(&["-f"]);
        let mut rng = Rng(60);
        let mut errors = 0;
        for round in 0..400 {
            let (pack, index) = match round % 3 {
                0 => (damaged(&mut rng, &pack), index.clone()),
                1 => (pack.clone(), damaged(&mut rng, &index)),
                _ => (damaged(&mut rng, &pack), damaged(&mut rng, &index)),
            };
            let Ok(index) = PackIndex::parse(format, index.as_slice()) else {
                errors += 1;
                continue;
            };
            let _ = index.verify();
            let Ok(reader) = PackReader::new(pack.as_slice(), index, 0) else {
                errors += 1;
                continue;
            };
            let reader = reader.with_limits(LIMITS);
            let _ = reader.verify_checksum();
            let mut cache = DeltaCache::new(1 << 20);
            for (oid, (kind, content)) in &objects {
                match reader.read_verified(oid, &mut cache) {
                    Ok(Some(object)) => assert_eq!((object.kind, &*object.data), (*kind, content)),
                    Ok(None) | Err(_) => errors += 1,
                }
                if let Ok(Some(offset)) = reader.index().find(oid) {
                    let _ = reader.info_at(offset, &mut cache);
                }
            }
            for offset in [
                0,
                11,
                12,
                pack.len() as u64,
                u64::MAX,
                rng.next() % (pack.len() as u64 + 1),
            ] {
                let _ = reader.read_at(offset, &mut cache);
            }
        }
        assert!(errors > 100);
    }
}

#[test]
fn every_cut_of_a_small_pack_and_index_is_an_error() {
    let repo = Repo::new(ObjectFormat::Sha1);
    repo.write("f", b"content");
    repo.git(&["add", "f"]);
    repo.git(&["commit", "-q", "-m", "one"]);
    let (pack, index) = repo.pack(&[]);
    for end in 0..index.len() {
        assert!(PackIndex::parse(repo.format, &index[..end]).is_err(), "{end}");
    }
    let whole = PackIndex::parse(repo.format, index.as_slice()).unwrap();
    for end in 0..pack.len() {
        if let Ok(reader) = PackReader::new(&pack[..end], whole.clone(), 0) {
            assert!(reader.verify_checksum().is_err(), "{end}");
        }
    }
    let file = std::fs::read(repo.path(".git/index")).unwrap();
    for end in 0..file.len() {
        assert!(Index::parse(repo.format, &file[..end], true).is_err(), "{end}");
        let _ = Index::parse(repo.format, &file[..end], false);
    }
}

#[test]
fn damaged_index_files_and_multi_pack_indexes_never_panic() {
    for format in FORMATS {
        let repo = Repo::new(format);
        repo.populate(61, 3);
        repo.git(&["repack", "-d", "-q"]);
        repo.git(&["multi-pack-index", "write"]);
        let midx = std::fs::read(repo.path(".git/objects/pack/multi-pack-index")).unwrap();
        let mut rng = Rng(61);
        let mut files = Vec::new();
        for version in ["2", "4"] {
            repo.git(&["update-index", "--force-write-index", "--index-version", version]);
            files.push(std::fs::read(repo.path(".git/index")).unwrap());
        }
        for _ in 0..3000 {
            for file in &files {
                let _ = Index::parse(format, &damaged(&mut rng, file), false);
            }
            let copy = damaged(&mut rng, &midx);
            if let Ok(midx) = MultiPackIndex::parse(format, copy.as_slice()) {
                let _ = midx.verify();
                for position in 0..midx.len().min(2000) {
                    let _ = midx.entry_at(position);
                    if let Some(oid) = midx.oid_at(position) {
                        let _ = midx.find(&oid);
                    }
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn no_parser_panics_on_any_bytes(data in proptest::collection::vec(any::<u8>(), 0..300), is_sha1 in any::<bool>()) {
        let format = if is_sha1 { ObjectFormat::Sha1 } else { ObjectFormat::Sha256 };
        let _ = TreeIter::new(format, &data).count();
        let _ = is_canonical(format, &data);
        let _ = Commit::parse(format, &data);
        let _ = Tag::parse(format, &data);
        let _ = Signature::parse(&data);
        let _ = Config::parse(&data);
        let _ = decode_loose(&data, 1 << 16);
        let _ = Index::parse(format, &data, false);
        let _ = PackIndex::parse(format, data.as_slice());
        let _ = MultiPackIndex::parse(format, data.as_slice());
        let _ = validate_path(&data);
        let _ = validate_component(&data);
        let _ = validate_symlink_component(&data);
        let split = data.len() / 2;
        let _ = apply_delta(&data[..split], &data[split..], 1 << 16);
        let mut stack = IgnoreStack::new(is_sha1);
        stack.push_directory(b"", std::sync::Arc::new(PatternList::parse(&data[..split])));
        let _ = stack.is_ignored(&data[split..], is_sha1);
        for pathname in [false, true] {
            let _ = wildmatch(&data[..split], &data[split..], WildOptions { ignore_case: is_sha1, pathname });
        }
    }

    #[test]
    fn index_headers_before_any_bytes_never_panic(
        data in proptest::collection::vec(any::<u8>(), 0..300), version in 2u8..=4, count in 0u8..4
    ) {
        let mut file = vec![b'D', b'I', b'R', b'C', 0, 0, 0, version, 0, 0, 0, count];
        file.extend_from_slice(&data);
        let _ = Index::parse(ObjectFormat::Sha1, &file, false);
    }

    #[test]
    fn loose_objects_come_back(content in proptest::collection::vec(any::<u8>(), 0..5000)) {
        let object = decode_loose(&encode_loose(ObjectKind::Blob, &content), 5000).unwrap();
        prop_assert_eq!(object.into_data(), content);
    }

    #[test]
    fn trees_are_canonical_exactly_if_they_come_back(
        entries in proptest::collection::vec(("[abc.-]{1,3}", prop_oneof![
            Just("100644"), Just("40000"), Just("100755"), Just("040000"), Just("100664"), Just("120000"), Just("160000")
        ]), 0..6)
    ) {
        let format = ObjectFormat::Sha1;
        let mut raw = Vec::new();
        for (name, mode) in &entries {
            raw.extend_from_slice(format!("{mode} {name}\0").as_bytes());
            raw.extend_from_slice(format.empty_blob().as_bytes());
        }
        let read: Vec<_> = TreeIter::new(format, &raw).map(|e| e.unwrap()).map(|e| (e.name, e.mode, e.oid)).collect();
        let again = encode_tree(format, &read);
        prop_assert_eq!(is_canonical(format, &raw), again == Ok(raw.clone()));
        let names: std::collections::BTreeSet<_> = entries.iter().map(|(n, _)| n).collect();
        prop_assert_eq!(again.is_ok(), names.len() == entries.len());
    }

    /// Deltas built from known instructions make what they say.
    #[test]
    fn deltas_make_what_they_say(
        base in proptest::collection::vec(any::<u8>(), 1..2000),
        pieces in proptest::collection::vec((any::<bool>(), any::<prop::sample::Index>(), 1usize..127), 0..40)
    ) {
        let mut expected = Vec::new();
        let mut code = Vec::new();
        for (copies, at, len) in pieces {
            let start = at.index(base.len());
            if copies {
                let len = len.min(base.len() - start);
                expected.extend_from_slice(&base[start..start + len]);
                code.extend_from_slice(&[0x80 | 0x01 | 0x02 | 0x10, start as u8, (start >> 8) as u8, len as u8]);
            } else {
                let text: Vec<u8> = (0..len).map(|i| (start + i) as u8).collect();
                code.push(len as u8);
                expected.extend_from_slice(&text);
                code.extend_from_slice(&text);
            }
        }
        let varint = |mut n: usize| {
            let mut out = Vec::new();
            while n > 127 {
                out.push(n as u8 | 0x80);
                n >>= 7;
            }
            out.push(n as u8);
            out
        };
        let delta = [varint(base.len()), varint(expected.len()), code].concat();
        prop_assert_eq!(apply_delta(&base, &delta, 1 << 20), Ok(expected));
        for end in 0..delta.len() {
            let _ = apply_delta(&base, &delta[..end], 1 << 20);
        }
    }
}
