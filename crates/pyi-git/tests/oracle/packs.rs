//! Packs, their indexes and the multi-pack-index.

use std::collections::BTreeMap;

use pyi_git::delta_cache::DeltaCache;
use pyi_git::midx::MultiPackIndex;
use pyi_git::oid::OidPrefix;
use pyi_git::pack::{PackError, PackLimits, PackReader};
use pyi_git::pack_entry::EntryKind;
use pyi_git::pack_index::{PackIndex, PrefixMatch};
use pyi_git::pack_write::PackWriter;
use pyi_git::{Object, ObjectFormat, ObjectKind, Oid, hash_object};

use crate::repo::{FORMATS, Repo};

type Objects = BTreeMap<Oid, (ObjectKind, Vec<u8>)>;

fn compare(reader: &PackReader<&[u8]>, objects: &Objects, cache: &mut DeltaCache) {
    assert_eq!(reader.index().len() as usize, objects.len());
    for (oid, (kind, content)) in objects {
        let object = reader.read_verified(oid, cache).unwrap().unwrap();
        assert_eq!(
            (object.kind, object.data.as_slice()),
            (*kind, content.as_slice()),
            "{oid}"
        );
        let offset = reader.index().find(oid).unwrap().unwrap();
        assert_eq!(
            reader.info_at(offset, cache).unwrap(),
            (*kind, content.len() as u64),
            "{oid}"
        );
    }
}

#[test]
fn every_object_of_a_pack_reads_as_git_reads_it() {
    for format in FORMATS {
        let repo = Repo::new(format);
        repo.populate(1, 40);
        let objects = repo.all_objects();
        for extra in [&["-f"][..], &["-f", "--depth=1"], &["-f", "--depth=200", "--window=50"]] {
            let (pack, index) = repo.pack(extra);
            let index = PackIndex::parse(format, index.as_slice()).unwrap();
            index.verify().unwrap();
            assert_eq!(index.version(), 2);
            let reader = PackReader::new(pack.as_slice(), index, 0).unwrap();
            reader.verify_checksum().unwrap();
            compare(&reader, &objects, &mut DeltaCache::default());
            // A cache that keeps nothing and one that keeps a little must change nothing but the time.
            compare(&reader, &objects, &mut DeltaCache::new(0));
            compare(&reader, &objects, &mut DeltaCache::new(60_000));
            let mut cache = DeltaCache::default();
            let mut deltas = 0;
            for (offset, position) in reader.index().in_pack_order().unwrap() {
                let oid = reader.index().oid_at(position).unwrap();
                assert_eq!(reader.read_at(offset, &mut cache).unwrap().oid(format), oid);
                deltas += u32::from(!matches!(
                    reader.entry_header(offset).unwrap().kind,
                    EntryKind::Whole(_)
                ));
            }
            assert!(deltas > 20, "the test needs deltas");
        }
    }
}

#[test]
fn ref_deltas_and_version_1_indexes_read_too() {
    let repo = Repo::new(ObjectFormat::Sha1);
    repo.populate(2, 30);
    let objects = repo.all_objects();
    repo.git(&["config", "repack.useDeltaBaseOffset", "false"]);
    let (pack, v2) = repo.pack(&["-f"]);
    let (name, _) = repo.pack_files().pop().unwrap();
    repo.git(&[
        "index-pack",
        "--index-version=1",
        "-o",
        "v1.idx",
        name.to_str().unwrap(),
    ]);
    let v1 = std::fs::read(repo.path("v1.idx")).unwrap();
    let v1 = PackIndex::parse(repo.format, v1.as_slice()).unwrap();
    let v2 = PackIndex::parse(repo.format, v2.as_slice()).unwrap();
    v1.verify().unwrap();
    assert_eq!((v1.version(), v2.version()), (1, 2));
    assert!(v1.oids().eq(v2.oids()));
    for oid in v2.oids() {
        assert_eq!(v1.find(&oid).unwrap(), v2.find(&oid).unwrap());
    }
    let reader = PackReader::new(pack.as_slice(), v1, 0).unwrap();
    let ref_deltas = reader
        .index()
        .in_pack_order()
        .unwrap()
        .into_iter()
        .filter(|(offset, _)| matches!(reader.entry_header(*offset).unwrap().kind, EntryKind::RefDelta(_)));
    assert!(ref_deltas.count() > 20);
    compare(&reader, &objects, &mut DeltaCache::default());
}

/// A large offset table is forced by asking for it beyond a small size.
#[test]
fn large_offsets_read() {
    let repo = Repo::new(ObjectFormat::Sha1);
    repo.populate(3, 10);
    let objects = repo.all_objects();
    let (pack, small) = repo.pack(&[]);
    let (name, _) = repo.pack_files().pop().unwrap();
    repo.git(&[
        "index-pack",
        "--index-version=2,0x200",
        "-o",
        "large.idx",
        name.to_str().unwrap(),
    ]);
    let large = std::fs::read(repo.path("large.idx")).unwrap();
    assert!(large.len() > small.len());
    let index = PackIndex::parse(repo.format, large.as_slice()).unwrap();
    index.verify().unwrap();
    compare(
        &PackReader::new(pack.as_slice(), index, 0).unwrap(),
        &objects,
        &mut DeltaCache::default(),
    );
}

#[test]
fn prefixes_find_what_begins_with_them() {
    let repo = Repo::new(ObjectFormat::Sha1);
    repo.populate(4, 40);
    let (_, index) = repo.pack(&[]);
    let index = PackIndex::parse(repo.format, index.as_slice()).unwrap();
    let all: Vec<String> = index.oids().map(|o| o.to_hex()).collect();
    for digits in [1, 2, 3, 4, 7, 40] {
        for oid in &all {
            let prefix = OidPrefix::from_hex(&oid.as_bytes()[..digits]).unwrap();
            let expected: Vec<u32> = (0u32..)
                .zip(&all)
                .filter(|(_, o)| o.starts_with(&oid[..digits]))
                .map(|(i, _)| i)
                .collect();
            let found = match index.prefix(&prefix) {
                PrefixMatch::None => vec![],
                PrefixMatch::One(one) => vec![one],
                PrefixMatch::Many(first, end) => (first..end).collect(),
            };
            assert_eq!(found, expected, "{oid} {digits}");
        }
    }
    let absent = OidPrefix::from_hex(b"ffffffffffffffffffffffffffffffffffffffff").unwrap();
    assert_eq!(index.prefix(&absent), PrefixMatch::None);
    assert_eq!(index.lookup(&Oid::from_hex(&[b'0'; 40]).unwrap()), None);
}

/// A thin pack has deltas whose bases the receiver is known to have.
#[test]
fn bases_outside_a_thin_pack_come_from_the_callback() {
    for format in FORMATS {
        let repo = Repo::new(format);
        repo.populate(5, 20);
        let objects = repo.all_objects();
        let revisions = format!(
            "{}\n^{}\n",
            repo.line(&["rev-parse", "main"]),
            repo.line(&["rev-parse", "main~5"])
        );
        let thin = repo.git_in(
            &["pack-objects", "--thin", "--revs", "--stdout", "-q"],
            revisions.as_bytes(),
        );
        // git index-pack refuses to index a thin pack without completing it, so the entries are read one by one.
        let entries = pack_entries(format, &thin);
        let index = pyi_git::pack_write::write_pack_index(format, entries, &format.null_oid()).unwrap();
        let index = PackIndex::parse(format, index).unwrap();
        let count = index.len();
        let reader = PackReader::new(thin, index, 7).unwrap();
        let mut cache = DeltaCache::default();
        let mut asked = 0;
        let mut missing = 0;
        for position in 0..count {
            let offset = reader.index().offset_at(position).unwrap().unwrap();
            if matches!(
                reader.read_at(offset, &mut DeltaCache::new(0)),
                Err(PackError::MissingBase { .. })
            ) {
                missing += 1;
            }
            let object = reader
                .read_at_with(offset, &mut cache, &mut |oid| {
                    asked += 1;
                    objects.get(oid).map(|(kind, data)| Object::new(*kind, data.clone()))
                })
                .unwrap();
            let name = object.oid(format);
            assert_eq!(objects[&name].1, *object.data);
        }
        assert!(asked > 0 && missing > 0, "the test needs a thin pack");
    }
}

/// The entries of a pack without index, found by walking over it; their names are made up.
fn pack_entries(format: ObjectFormat, pack: &[u8]) -> Vec<pyi_git::pack_write::IndexedEntry> {
    let mut entries = Vec::new();
    let mut at = 12;
    while at < pack.len() - format.raw_len() {
        let header = pyi_git::pack_entry::parse_entry_header(format, &pack[at..], at as u64).unwrap();
        let start = usize::try_from(header.data_offset).unwrap();
        let mut stream = flate2::Decompress::new(true);
        let mut out = Vec::with_capacity(usize::try_from(header.size).unwrap() + 64);
        let status = stream
            .decompress_vec(&pack[start..], &mut out, flate2::FlushDecompress::Finish)
            .unwrap();
        assert_eq!(status, flate2::Status::StreamEnd);
        let oid = hash_object(format, ObjectKind::Blob, &at.to_be_bytes());
        entries.push(pyi_git::pack_write::IndexedEntry {
            oid,
            offset: at as u64,
            crc32: 0,
        });
        at = start + usize::try_from(stream.total_in()).unwrap();
    }
    entries
}

#[test]
fn a_pack_we_write_is_what_git_would_index() {
    for format in FORMATS {
        let source = Repo::new(format);
        source.populate(6, 20);
        let objects = source.all_objects();
        let mut pack = Vec::new();
        let mut writer = PackWriter::new(format, u32::try_from(objects.len()).unwrap(), 1, &mut pack);
        for (oid, (kind, content)) in &objects {
            assert_eq!(writer.add(*kind, content, &mut pack), *oid);
        }
        let done = writer.finish(&mut pack).unwrap();
        let target = Repo::new(format);
        let stem = target.path(&format!(".git/objects/pack/pack-{}", done.checksum));
        std::fs::write(stem.with_extension("pack"), &pack).unwrap();
        std::fs::write(stem.with_extension("idx"), &done.index).unwrap();
        target.git(&["verify-pack", stem.with_extension("idx").to_str().unwrap()]);
        target.git(&["fsck", "--strict", "--no-dangling"]);
        assert_eq!(target.all_objects(), objects);
        target.git(&[
            "index-pack",
            "-o",
            "git.idx",
            stem.with_extension("pack").to_str().unwrap(),
        ]);
        assert_eq!(std::fs::read(target.path("git.idx")).unwrap(), done.index);
    }
}

#[test]
fn an_announced_count_is_held_to() {
    let mut pack = Vec::new();
    let mut writer = PackWriter::new(ObjectFormat::Sha1, 2, 1, &mut pack);
    writer.add(ObjectKind::Blob, b"one", &mut pack);
    assert!(writer.finish(&mut pack).is_err());
}

#[test]
fn limits_refuse_large_objects_and_deep_chains() {
    let repo = Repo::new(ObjectFormat::Sha1);
    repo.populate(7, 30);
    let (pack, index) = repo.pack(&["-f"]);
    let index = PackIndex::parse(repo.format, index.as_slice()).unwrap();
    let reader = PackReader::new(pack.as_slice(), index, 0).unwrap();
    let shallow = reader.clone().with_limits(PackLimits {
        max_depth: 2,
        ..PackLimits::default()
    });
    let small = reader.with_limits(PackLimits {
        max_object_bytes: 100,
        ..PackLimits::default()
    });
    let (mut deep, mut large) = (0, 0);
    for (offset, _) in small.index().in_pack_order().unwrap() {
        match small.read_at(offset, &mut DeltaCache::new(0)) {
            Ok(object) => assert!(object.data.len() <= 100),
            Err(PackError::TooLarge { size, limit, .. }) => {
                assert!(size > limit && limit >= 100);
                large += 1;
            }
            Err(other) => panic!("{other}"),
        }
        deep += u32::from(matches!(
            shallow.read_at(offset, &mut DeltaCache::new(0)),
            Err(PackError::TooDeep { .. })
        ));
    }
    assert!(deep > 0 && large > 0);
}

#[test]
fn the_multi_pack_index_leads_to_every_object() {
    for format in FORMATS {
        let repo = Repo::new(format);
        repo.populate(8, 5);
        repo.git(&["repack", "-d", "-q"]);
        for n in 0..3 {
            repo.write(&format!("more{n}"), format!("more {n}").as_bytes());
            repo.git(&["add", "-A"]);
            repo.git(&["commit", "-q", "-m", "more"]);
            repo.git(&["repack", "-d", "-q"]);
        }
        repo.git(&["multi-pack-index", "write"]);
        let file = std::fs::read(repo.path(".git/objects/pack/multi-pack-index")).unwrap();
        let midx = MultiPackIndex::parse(format, file.as_slice()).unwrap();
        midx.verify().unwrap();
        assert_eq!(midx.pack_names().len(), 4);
        let readers: Vec<_> = (0u32..)
            .zip(midx.pack_names())
            .map(|(number, name)| {
                let path = repo
                    .path(".git/objects/pack")
                    .join(String::from_utf8(name.clone()).unwrap());
                let index = PackIndex::parse(format, std::fs::read(&path).unwrap()).unwrap();
                PackReader::new(std::fs::read(path.with_extension("pack")).unwrap(), index, number).unwrap()
            })
            .collect();
        let objects = repo.all_objects();
        assert_eq!(midx.len() as usize, objects.len());
        let mut cache = DeltaCache::default();
        for (oid, (kind, content)) in objects {
            let (pack, offset) = midx.find(&oid).unwrap().unwrap();
            let object = readers[pack as usize].read_at(offset, &mut cache).unwrap();
            assert_eq!((object.kind, object.into_data()), (kind, content));
        }
        assert_eq!(midx.find(&format.null_oid()).unwrap(), None);
    }
}
