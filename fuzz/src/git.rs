//! Git's formats.

use pyi_git::ObjectFormat::{Sha1, Sha256};
use pyi_git::argv::{Kind, parse};
use pyi_git::command::{Asked, Attributes};
use pyi_git::commit::{Commit, fold, unfold};
use pyi_git::config::{Config, parse_int};
use pyi_git::delta::{apply_delta, delta_sizes};
use pyi_git::delta_cache::DeltaCache;
use pyi_git::ignore::PatternList;
use pyi_git::index::{Index, IndexVersion};
use pyi_git::index_ext::{parse_cache_tree, write_cache_tree};
use pyi_git::index_view::IndexView;
use pyi_git::midx::MultiPackIndex;
use pyi_git::object::{decode_loose, encode_loose};
use pyi_git::oid::hash_bytes;
use pyi_git::pack::{PackLimits, PackReader};
use pyi_git::pack_index::PackIndex;
use pyi_git::pack_receive::{self, ReceiveLimits};
use pyi_git::pack_write::write_pack_index;
use pyi_git::pktline::{Packet, PacketReader, write_data};
use pyi_git::refname::{RefNameOptions, check_branch_name, check_ref_format, normalize};
use pyi_git::remote::fetch::{Command, FetchRequest};
use pyi_git::remote::filter::Filter;
use pyi_git::remote::push::PushRequest;
use pyi_git::signature::Signature;
use pyi_git::tag::Tag;
use pyi_git::tree::{TreeIter, encode_tree, is_canonical};
use pyi_git::wildmatch::{WildOptions, wildmatch};
use pyi_git::{Object, ObjectKind, Oid};

/// Objects larger than this are refused, as they are elsewhere above some limit.
const LIMIT_BYTES: u64 = 1 << 20;

/// Words are what stands between zeros.
pub fn argv(data: &[u8]) {
    let words: Vec<&[u8]> = data.split(|&byte| byte == 0).collect();
    match parse(&words) {
        Ok(parsed) => {
            assert!(parsed.command_at() <= words.len());
            let mut last = 0;
            for given in parsed.globals().iter().chain(parsed.given()) {
                assert_eq!(
                    words[given.at as usize..]
                        .first()
                        .map(|word| word.len() >= given.word.len()),
                    Some(true)
                );
                assert!(given.at >= last);
                last = given.at;
                if let Kind::Option { id, negated } = given.kind {
                    let _ = (
                        parsed.flag(id.name()),
                        parsed.times(id.name()),
                        parsed.values(id.name()).count(),
                    );
                    assert!(!negated || given.value.is_none() || id.says_no());
                }
            }
            // The lookups agree with what was given.
            assert!(
                parsed
                    .separator()
                    .is_none_or(|before| before <= parsed.operands().count())
            );
        }
        Err(refusal) => {
            assert!(refusal.at <= words.len());
            let _ = refusal.to_string();
        }
    }
}

pub fn object(data: &[u8]) {
    if let Ok(object) = decode_loose(data, LIMIT_BYTES) {
        let again = decode_loose(&encode_loose(object.kind, &object.data), LIMIT_BYTES);
        assert!(again.is_ok_and(|again| again.data == object.data && again.kind == object.kind));
    }
}

pub fn tree(data: &[u8]) {
    for format in [Sha1, Sha256] {
        let entries: Result<Vec<_>, _> = TreeIter::new(format, data).collect();
        let Ok(entries) = entries else { continue };
        if is_canonical(format, data) {
            let entries: Vec<_> = entries.iter().map(|e| (e.name, e.mode, e.oid)).collect();
            assert_eq!(encode_tree(format, &entries).as_deref(), Ok(data));
        }
    }
}

pub fn text(data: &[u8]) {
    for format in [Sha1, Sha256] {
        if let Ok(commit) = Commit::parse(format, data) {
            let bytes = commit.encode();
            assert!(Commit::parse(format, &bytes).is_ok_and(|again| again.encode() == bytes));
            let _ = (
                commit.author(),
                commit.committer(),
                commit.encoding(),
                commit.header(b"gpgsig"),
            );
        }
        if let Ok(tag) = Tag::parse(format, data) {
            let bytes = tag.encode();
            assert!(Tag::parse(format, &bytes).is_ok_and(|again| again.encode() == bytes));
        }
    }
    let _ = unfold(&fold(data));
    if let Ok(signature) = Signature::parse(data) {
        let _ = Signature::parse(&signature.to_bytes());
    }
    let _ = check_branch_name(data);
    if check_ref_format(data, RefNameOptions::default()).is_ok() {
        assert_eq!(normalize(data), data);
    }
}

pub fn index(data: &[u8]) {
    for format in [Sha1, Sha256] {
        let _ = Index::parse(format, data, true);
        // What is read where it stands is what is taken apart.
        let viewed = IndexView::parse(format, data.to_vec().into());
        match (Index::parse(format, data, false), viewed) {
            (Ok(index), Ok(view)) => {
                let again = view.to_index().map(|again| Index {
                    checksum: index.checksum,
                    ..again
                });
                assert!(again.is_ok_and(|again| again == index));
                if let Ok(bytes) = view.encode(&[]) {
                    assert!(Index::parse(format, &bytes, true).is_ok_and(|again| again.entries == index.entries));
                }
            }
            // Of several trees only the last one is looked at, and only when it is asked for.
            (Err(_), Ok(view)) => drop((view.to_index(), view.encode(&[]))),
            (Err(_), Err(_)) => {}
            (Ok(_), Err(error)) => panic!("{error}"),
        }
        if let Ok(index) = Index::parse(format, data, false) {
            for version in [IndexVersion::Lowest, IndexVersion::V4] {
                if let Ok(bytes) = index.encode(version) {
                    let again = Index::parse(format, &bytes, true);
                    assert!(again.is_ok_and(|again| again.entries == index.entries));
                }
            }
            for entry in &index.entries {
                assert!(index.position(&entry.path, entry.stage).is_ok());
            }
        }
        if let Some(root) = parse_cache_tree(format, data) {
            assert!(parse_cache_tree(format, &write_cache_tree(&root)).is_some());
        }
    }
}

/// First the length of the index, then the index, then the pack.
pub fn pack(data: &[u8]) {
    let Some((length, rest)) = data.split_first_chunk::<4>() else {
        return;
    };
    let Some((index, pack)) = rest.split_at_checked(u32::from_le_bytes(*length) as usize) else {
        return;
    };
    for format in [Sha1, Sha256] {
        let Ok(index) = PackIndex::parse(format, index) else {
            continue;
        };
        for oid in index.oids().take(100) {
            let _ = (index.lookup(&oid), index.find(&oid));
        }
        for at in 0..index.len().min(100) {
            let _ = (index.oid_at(at), index.offset_at(at), index.crc32_at(at));
        }
        let _ = (index.verify(), index.pack_checksum());
        let offsets = index.in_pack_order().unwrap_or_default();
        let Ok(reader) = PackReader::new(pack, index, 0) else {
            continue;
        };
        let reader = reader.with_limits(PackLimits {
            max_object_bytes: LIMIT_BYTES,
            max_depth: 50,
        });
        let mut cache = DeltaCache::new(1 << 20);
        for (offset, _) in offsets.iter().take(50) {
            let _ = reader.entry_header(*offset);
            let size = reader.info_at(*offset, &mut cache);
            if let Ok(object) = reader.read_at(*offset, &mut cache) {
                assert_eq!(size, Ok((object.kind, object.data.len() as u64)));
            }
        }
        let _ = reader.verify_checksum();
    }
}

/// A pack from a stranger, as it is and with its checksum set right; its own first object is outside too, for deltas to lean on.
pub fn receive(data: &[u8]) {
    let limits = ReceiveLimits {
        object: PackLimits {
            max_object_bytes: LIMIT_BYTES,
            max_depth: 50,
        },
        max_objects: 1_000,
        max_work_bytes: 16 * LIMIT_BYTES,
    };
    for format in [Sha1, Sha256] {
        let sealed = [data, hash_bytes(format, data).as_bytes()].concat();
        for pack in [data, &sealed] {
            let mut cache = DeltaCache::new(1 << 20);
            let outside = Object::new(ObjectKind::Blob, b"what the receiver has".to_vec());
            let mut external = |oid: &Oid| Some(outside.clone()).filter(|object| object.oid(format) == *oid);
            let Ok(received) = pack_receive::receive(format, pack, &limits, &mut cache, &mut external) else {
                continue;
            };
            let Some(checksum) = pack.len().checked_sub(format.raw_len()).and_then(|at| pack.get(at..)) else {
                continue;
            };
            let names: Vec<Oid> = received.entries.iter().map(|entry| entry.oid).collect();
            let checksum = Oid::from_bytes(format, checksum).unwrap();
            let index =
                PackIndex::parse(format, write_pack_index(format, received.entries, &checksum).unwrap()).unwrap();
            let reader = PackReader::partial(pack, index, 1).with_limits(limits.object);
            let mut cache = DeltaCache::new(1 << 20);
            for (oid, kind) in names.iter().zip(received.kinds) {
                let object = reader.read_with(oid, &mut cache, &mut external).unwrap().unwrap();
                assert_eq!((object.oid(format), object.kind), (*oid, kind));
            }
        }
    }
}

/// What a client says: packets, and requests of every version.
pub fn request(data: &[u8]) {
    let mut packets = PacketReader::new(data);
    while let Ok(Some(packet)) = packets.next() {
        let mut out = Vec::new();
        match packet {
            Packet::Data(data) => write_data(data, &mut out),
            Packet::Flush => out.extend_from_slice(b"0000"),
            _ => continue,
        }
        // An empty packet is written as none.
        assert!(out.is_empty() || PacketReader::new(&out).next() == Ok(Some(packet)));
    }
    for format in [Sha1, Sha256] {
        let mut packets = PacketReader::new(data);
        while let Ok(Some(command)) = Command::parse(&mut packets, format) {
            if let Command::LsRefs(request) = command {
                let _ = request.wants(b"refs/heads/main");
            }
        }
        let _ = FetchRequest::parse_v0(data, format);
        if let Ok(Some((push, used))) = PushRequest::parse(data, format) {
            assert!(used <= data.len());
            // More bytes behind the commands change nothing about them.
            let longer = [data, b"PACK"].concat();
            assert_eq!(PushRequest::parse(&longer, format), Ok(Some((push, used))));
        }
    }
    let _ = Filter::parse(data);
}

pub fn midx(data: &[u8]) {
    for format in [Sha1, Sha256] {
        let Ok(index) = MultiPackIndex::parse(format, data) else {
            continue;
        };
        for at in 0..index.len().min(100) {
            let _ = index.entry_at(at);
            if let Some(oid) = index.oid_at(at) {
                let _ = index.find(&oid);
            }
        }
        let _ = (index.pack_names().len(), index.verify());
    }
}

/// First the length of the base, then the base, then the delta.
pub fn delta(data: &[u8]) {
    let Some((length, rest)) = data.split_first_chunk::<2>() else {
        return;
    };
    let Some((base, delta)) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length))) else {
        return;
    };
    if let Ok(result) = apply_delta(base, delta, LIMIT_BYTES) {
        let sizes = delta_sizes(delta).map(|(from, to, _)| (from, to));
        assert_eq!(sizes, Ok((base.len() as u64, result.len() as u64)));
    }
}

pub fn config(data: &[u8]) {
    let _ = parse_int(data);
    if let Ok(config) = Config::parse(data) {
        for entry in config.entries() {
            let _ = config.subsections(&entry.section);
            let _ = config.boolean(&entry.section, entry.subsection.as_deref(), &entry.key);
            let _ = config.integer(&entry.section, entry.subsection.as_deref(), &entry.key);
        }
    }
}

/// Patterns, and behind a zero byte a path.
pub fn ignore(data: &[u8]) {
    let at = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let (patterns, path) = (&data[..at], data.get(at + 1..).unwrap_or_default());
    let list = PatternList::parse(patterns);
    let mut rules = pyi_git::ignore::IgnoreStack::new(data.len() % 2 == 1);
    rules.push_exclude(std::sync::Arc::new(list));
    for is_dir in [false, true] {
        let _ = (rules.matched(path, is_dir), rules.is_ignored(path, is_dir));
    }
    // Short ones only: a pattern of many stars takes time that grows with its length, in git as well.
    if patterns.len() < 64 && path.len() < 64 {
        let _ = wildmatch(patterns, path, WildOptions::default());
    }
}

/// A file of attributes at the top, behind a zero byte one that stands beside the path, and the path.
pub fn attributes(data: &[u8]) {
    let mut parts = data.splitn(3, |byte| *byte == 0);
    let (top, below) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let path = parts.next().unwrap_or_default();
    let directory = path.iter().rposition(|byte| *byte == b'/').map(|at| &path[..at]);
    let asked = |top: &[u8]| -> Option<Asked> {
        let answer = Attributes::default().asked(path, |name| {
            Ok(if name == b".gitattributes" {
                Some(top.to_vec().into())
            } else {
                // Nothing else is asked for than what stands above the path.
                let above = name.strip_suffix(b"/.gitattributes").unwrap();
                assert!(path.strip_prefix(above).is_some_and(|rest| rest.first() == Some(&b'/')));
                (Some(above) == directory).then(|| below.to_vec().into())
            })
        });
        answer.unwrap()
    };
    let bits = |asked: Asked| [asked.text, asked.eol, asked.convert, asked.diff, asked.driver];
    // What one half of a file asks for, all of it asks for; what is not understood in a half is not understood.
    let whole = asked(top);
    let at = top
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(top.len(), |at| at + 1);
    for half in [&top[..at], &top[at..]] {
        match (whole, asked(half)) {
            (Some(whole), Some(half)) => {
                assert!(bits(half).iter().zip(bits(whole)).all(|(half, whole)| !half || whole))
            }
            (whole, None) => assert!(whole.is_none()),
            (None, Some(_)) => {}
        }
    }
}
