//! Writes inputs made from real bytes for every target: `RUSTFLAGS='--cfg fuzzing' cargo run --example seeds -- DIRECTORY`. Git's own
//! come from the installed `git`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use pyi_cas::{
    Batch, FileStore, Guard, Id, Kind, ObjectStore, OpenOptions, OsFs, RangeChange, RefRange, RefTransaction,
};
use pyi_fuzz::store_files::{FILES, FORMAT};
use pyi_git::ObjectFormat;
use pyi_tree::array::ArrayIndex;
use pyi_tree::cbor::Value;
use pyi_tree::refs::{CandidateRecord, Fate, Link, Origin, SuperpositionRecord, WorkspaceRecord};
use pyi_tree::{CheckpointRoot, Mode, Row, build_directory};

fn seed(to: &Path, target: &str, name: &str, bytes: &[u8]) {
    assert!(pyi_fuzz::TARGETS.iter().any(|(known, _)| *known == target));
    fs::create_dir_all(to.join(target)).unwrap();
    fs::write(to.join(target).join(name), bytes).unwrap();
}

/// What clients say, in every version.
fn requests(to: &Path, format: &str, a: &str, b: &str) {
    let packets = |lines: &[&str]| -> Vec<u8> {
        let mut out = Vec::new();
        for line in lines {
            match *line {
                "0000" | "0001" => out.extend_from_slice(line.as_bytes()),
                line => pyi_git::pktline::write_line(line, &mut out),
            }
        }
        out
    };
    let (want, have, shallow) = (format!("want {a}"), format!("have {b}"), format!("shallow {b}"));
    let object_format = format!("object-format={format}");
    let said = [
        (
            "ls",
            vec![
                "command=ls-refs",
                &object_format,
                "0001",
                "peel",
                "symrefs",
                "unborn",
                "ref-prefix refs/heads/",
                "0000",
            ],
        ),
        (
            "fetch",
            vec![
                "command=fetch",
                "agent=git/2",
                "0001",
                "thin-pack",
                "ofs-delta",
                "include-tag",
                &want,
                &have,
                &shallow,
                "deepen 3",
                "deepen-since 1700000000",
                "deepen-not side",
                "deepen-relative",
                "filter combine:blob:limit=1k+tree:2",
                "done",
                "0000",
            ],
        ),
        ("info", vec!["command=object-info", "0001", "size", "0000"]),
    ];
    for (name, lines) in said {
        seed(to, "git_request", &format!("{format}-{name}"), &packets(&lines));
    }
    let first = format!("{want} multi_ack_detailed no-done side-band-64k ofs-delta {object_format}");
    seed(
        to,
        "git_request",
        &format!("{format}-v0"),
        &packets(&[&first, "deepen 1", "0000", &have, "0000", "done"]),
    );
    let push = format!("{a} {b} refs/heads/main\0 report-status-v2 atomic push-options {object_format}");
    seed(
        to,
        "git_request",
        &format!("{format}-push"),
        &packets(&[&push, "0000", "option", "0000"]),
    );
}

/// A small store with everything in it: files by their names in a store.
fn store(directory: &Path, objects: u32, size: usize) -> Vec<(String, Vec<u8>)> {
    fs::create_dir_all(directory.join("segments")).unwrap();
    fs::create_dir_all(directory.join("refs")).unwrap();
    fs::write(directory.join("format"), FORMAT).unwrap();
    let options = OpenOptions {
        create: true,
        segment_limit_bytes: 1_000,
        ref_log_limit_bytes: 600,
        background_seal: false,
        ..OpenOptions::default()
    };
    let store = FileStore::open(Arc::new(OsFs), directory, options).unwrap();
    let mut last: Option<Vec<u8>> = None;
    for number in 0..objects {
        let mut batch = Batch::new();
        let id = batch
            .put_new(Kind::Blob, &vec![number as u8; size + number as usize])
            .unwrap();
        batch.put_new(Kind::Node, &number.to_le_bytes()).unwrap();
        store.commit(&mut batch).unwrap();
        let step = RefTransaction {
            guards: vec![
                (b"b/main".to_vec(), last.map_or(Guard::Absent, Guard::Equals)),
                (b"w/x".to_vec(), Guard::Absent),
            ],
            puts: vec![(b"b/main".to_vec(), Some(id.0.to_vec())), (b"b/gone".to_vec(), None)],
            dependencies: vec![(1, 64)],
            message: "step".into(),
            ..RefTransaction::default()
        };
        store.refs().commit(&step).unwrap();
        last = Some(id.0.to_vec());
    }
    drop(store);
    let mut files = Vec::new();
    for part in ["segments", "refs"] {
        for entry in fs::read_dir(directory.join(part)).unwrap() {
            let entry = entry.unwrap();
            files.push((
                format!("{part}/{}", entry.file_name().to_str().unwrap()),
                fs::read(entry.path()).unwrap(),
            ));
        }
    }
    files.push((
        "control".into(),
        fs::read(directory.join("control")).unwrap()[..256].to_vec(),
    ));
    files.sort();
    files
}

/// Logs in which a thousand names are made and given up by one record, and a snapshot that holds what is left of them.
fn ranges(to: &Path, directory: &Path) {
    let options = OpenOptions {
        create: true,
        ref_log_limit_bytes: 1_000,
        background_seal: false,
        ..OpenOptions::default()
    };
    let store = FileStore::open(Arc::new(OsFs), directory, options).unwrap();
    let range = |numbers, change| RefRange {
        prefix: b"w/S/".to_vec(),
        numbers,
        change,
    };
    let made = RefTransaction {
        ranges: vec![range(0..1000, RangeChange::Create(vec![7; 32]))],
        puts: vec![(b"s/S".to_vec(), Some(vec![1; 40]))],
        message: "superpose".into(),
        ..RefTransaction::default()
    };
    store.refs().commit(&made).unwrap();
    for number in 0..8_u8 {
        let moved = RefTransaction {
            puts: vec![(
                format!("w/S/{}", 100 * u32::from(number)).into_bytes(),
                Some(vec![number; 90]),
            )],
            ..RefTransaction::default()
        };
        store.refs().commit(&moved).unwrap();
    }
    let given_up = RefTransaction {
        ranges: vec![
            range(0..500, RangeChange::Delete),
            range(600..1000, RangeChange::Delete),
        ],
        epoch: 1,
        ..RefTransaction::default()
    };
    store.refs().commit(&given_up).unwrap();
    drop(store);
    let mut logs = Vec::new();
    find(&directory.join("refs"), "log", &mut logs);
    logs.sort();
    for (at, path) in logs.iter().enumerate() {
        seed(
            to,
            "cas_ref_log",
            &format!("ranges-{at}"),
            &fs::read(path).unwrap()[64..],
        );
    }
}

fn cas(to: &Path, scratch: &Path) {
    ranges(to, &scratch.join("ranges"));
    for (name, objects, size) in [("two", 2, 30), ("many", 40, 60)] {
        let files = store(&scratch.join(name), objects, size);
        let mut pieces = Vec::new();
        for (path, bytes) in &files {
            if let Some(which) = FILES.iter().position(|file| file == path) {
                pieces.push(which as u8);
                pieces.extend_from_slice(&(bytes.len().min(6_000) as u16).to_le_bytes());
                pieces.extend_from_slice(&bytes[..bytes.len().min(6_000)]);
            }
        }
        seed(to, "cas_store", name, &pieces);
        let of = |end: &'static str| files.iter().filter(move |(path, _)| path.ends_with(end)).take(3);
        for (target, end) in [
            ("cas_segment", "seg"),
            ("cas_index", "idx"),
            ("cas_merged_index", "mix"),
        ] {
            for (at, (_, bytes)) in of(end).enumerate() {
                seed(to, target, &format!("{name}-{at}"), bytes);
            }
        }
        for (at, (_, bytes)) in of("log").enumerate() {
            seed(to, "cas_ref_log", &format!("{name}-{at}"), &bytes[64..]);
        }
    }
    seed(
        to,
        "cas_payload",
        "text",
        &b"\x20the quick brown fox jumps over the lazy dog. the quick brown fox".repeat(4),
    );
    let chunks = [
        &100u64.to_le_bytes()[..],
        &[1; 32],
        &60u32.to_le_bytes(),
        &[2; 32],
        &40u32.to_le_bytes(),
    ]
    .concat();
    seed(to, "cas_payload", "chunks", &chunks);
    seed(to, "cas_batch", "words", b"one\0two\0\0three");
}

fn row(mode: Mode, number: u8) -> Row {
    Row {
        mode,
        id: Id([number; 32]),
        size_bytes: u64::from(number),
        files: 1,
    }
}

fn tree(to: &Path) {
    let modes = [
        Mode::File,
        Mode::Executable,
        Mode::Symlink,
        Mode::Gitlink,
        Mode::Value,
        Mode::Array,
    ];
    for count in [0u32, 3, 40, 300] {
        let names: Vec<Vec<u8>> = (0..count).map(|n| format!("{n:05}.txt").into_bytes()).collect();
        let rows = names
            .iter()
            .zip(0u32..)
            .map(|(name, n)| (name.as_slice(), row(modes[n as usize % 6], n as u8), None));
        let node = build_directory(rows).unwrap();
        seed(to, "tree_node", &format!("{count}"), node.bytes());
    }
    let map = |pairs: &[(&str, Value)]| Value::Map(pairs.iter().map(|(k, v)| ((*k).to_string(), v.clone())).collect());
    let value = map(&[
        ("text", Value::Text("äöü".into())),
        ("bytes", Value::Bytes(vec![0, 255])),
        ("float", Value::Float(-1.5)),
        ("big", Value::Big(true, vec![1, 0, 0, 0, 0, 0, 0, 0, 0])),
        ("list", Value::Array(vec![Value::Float(f64::NAN), map(&[])])),
    ]);
    seed(to, "tree_cbor", "all", &value.encode());
    let root = CheckpointRoot {
        files: Id([1; 32]),
        state: Some(Id([2; 32])),
        journal: Some(Id([3; 32])),
        parents: vec![Id([4; 32]), Id([5; 32])],
        time_ns: 1_700_000_000_000_000_000,
        message: "a message".into(),
        metadata: value.clone(),
        git: map(&[("commit", Value::Bytes(vec![6; 20]))]).into(),
        unknown: vec![("later".into(), Value::Text("x".into()))],
    };
    seed(to, "tree_checkpoint", "all", &root.encode());
    let time = Value::decode(&[0x1a, 0x01, 0, 0, 0]).unwrap();
    let event = Value::Array(vec![Value::Text("tool".into()), time, value]);
    seed(
        to,
        "tree_journal",
        "two",
        &Value::Array(vec![
            Value::Bytes(vec![7; 32]),
            Value::Array(vec![event.clone(), event]),
        ])
        .encode(),
    );
    let array = ArrayIndex::blank(Some("bytes".into()), "|u1".into(), vec![2, 70_000], 140_000);
    seed(to, "tree_array", "description", &array.root().encode());
    let list = Value::Array(vec![Value::Int(0), Value::Bytes(vec![7; 96])]);
    seed(to, "tree_array", "list", &list.encode());
    let workspace = WorkspaceRecord {
        head: Id([1; 32]),
        origin: Some(Origin {
            branch: "main".into(),
            head: Id([2; 32]),
        }),
        journal: Some(Id([3; 32])),
        lease: Default::default(),
    };
    seed(to, "tree_records", "workspace", &workspace.encode());
    let candidate = |name: &str, weight| CandidateRecord {
        name: name.into(),
        weight,
        deadline_ns: Some(1),
        fate: Fate::Failed,
    };
    let superposition = SuperpositionRecord {
        candidates: vec![candidate("a", 0.25), candidate("b", f64::INFINITY)],
        deadline_ns: Some(1),
        outer: Some(("o".into(), 1)),
        inner: vec![(0, "i".into())],
        links: vec![Link {
            other: "l".into(),
            pairs: vec![(0, 1)],
        }],
        collapsed: Some((1, Id([2; 32]))),
        ..SuperpositionRecord::new(Id([1; 32]))
    };
    seed(to, "tree_records", "superposition", &superposition.encode());
    seed(to, "tree_records", "branch", &[7; 32]);
}

fn run(directory: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("git")
        .args(["-c", "user.name=A", "-c", "user.email=a@b", "-c", "gc.auto=0"])
        .args(arguments)
        .current_dir(directory)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("HOME", directory)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "git {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

fn find(directory: &Path, end: &str, out: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            find(&path, end, out);
        } else if path.to_str().unwrap().ends_with(end) {
            out.push(path);
        }
    }
}

fn git(to: &Path, scratch: &Path) {
    for format in ["sha1", "sha256"] {
        let directory = scratch.join(format);
        fs::create_dir_all(&directory).unwrap();
        run(&directory, &["init", "-q", "-b", "main", "--object-format", format]);
        for step in 0..6 {
            fs::create_dir_all(directory.join("d/e")).unwrap();
            fs::write(
                directory.join("d/e/f.txt"),
                format!("line\n").repeat(40) + &step.to_string(),
            )
            .unwrap();
            fs::write(directory.join(format!("g{step}")), "x").unwrap();
            run(&directory, &["add", "-A"]);
            run(&directory, &["commit", "-q", "-m", &format!("step {step}\n\nwhy")]);
        }
        run(&directory, &["tag", "-a", "-m", "a tag", "v1"]);
        let objects = directory.join(".git/objects");
        let mut loose = Vec::new();
        find(&objects, "", &mut loose);
        for (at, path) in loose.iter().take(6).enumerate() {
            seed(to, "git_object", &format!("{format}-{at}"), &fs::read(path).unwrap());
        }
        for (target, kind, name) in [
            ("git_tree", "tree", "HEAD^{tree}"),
            ("git_text", "commit", "HEAD"),
            ("git_text", "tag", "v1"),
        ] {
            seed(
                to,
                target,
                &format!("{format}-{kind}"),
                &run(&directory, &["cat-file", kind, name]),
            );
        }
        for version in ["2", "4"] {
            run(&directory, &["update-index", "--index-version", version]);
            seed(
                to,
                "git_index",
                &format!("{format}-{version}"),
                &fs::read(directory.join(".git/index")).unwrap(),
            );
        }
        run(&directory, &["gc", "-q"]);
        run(&directory, &["multi-pack-index", "write"]);
        let (mut packs, mut indexes) = (Vec::new(), Vec::new());
        find(&objects, ".pack", &mut packs);
        find(&objects, ".idx", &mut indexes);
        let index = fs::read(&indexes[0]).unwrap();
        let bytes = [
            &(index.len() as u32).to_le_bytes()[..],
            &index,
            &fs::read(&packs[0]).unwrap(),
        ]
        .concat();
        seed(to, "git_pack", format, &bytes);
        let pack = fs::read(&packs[0]).unwrap();
        let trailer = if format == "sha1" { 20 } else { 32 };
        seed(to, "git_receive", format, &pack[..pack.len() - trailer]);
        requests(to, format, &"1".repeat(trailer * 2), &"2".repeat(trailer * 2));
        seed(
            to,
            "git_midx",
            format,
            &fs::read(objects.join("pack/multi-pack-index")).unwrap(),
        );
        let _ = ObjectFormat::Sha1;
    }
    let base = b"the quick brown fox jumps over the lazy dog";
    let mut delta = vec![base.len() as u8, 20, 0x91, 4, 15, 5];
    delta.extend_from_slice(b"hello");
    seed(
        to,
        "git_delta",
        "copy",
        &[&(base.len() as u16).to_le_bytes()[..], base, &delta].concat(),
    );
    let config = b"[core]\n\tbare = false\n; c\n[remote \"o\\\"x\"]\n\turl = \"a;b\" # d\n\tfetch = +refs/*:refs/r/*\n[a.B]\nk\nn = 1k\n";
    let lines = [
        "-C a -c b.c=d --git-dir=x commit -am text --no-verify -- -a",
        "log --oneline -20 --since 1.week a..b -- src",
        "status --porcelain=v2 -uno",
        "stash push -m x --include-untracked",
        "rev-parse --abbrev-ref --short=7 HEAD",
        "commit --mess=a --no-ed --re",
    ];
    for (at, line) in lines.iter().enumerate() {
        seed(to, "git_argv", &at.to_string(), line.replace(' ', "\0").as_bytes());
    }
    seed(to, "git_config", "some", config);
    seed(
        to,
        "git_attributes",
        "some",
        b"*.c text diff=cpp eol=lf -merge\n# why\n/build/* filter=lfs !ident\n\"a b\" binary\0*.c working-tree-encoding=UTF-16\n[attr]x -text\n\0build/a/x.c",
    );
    seed(
        to,
        "git_attributes",
        "plain",
        b"* text=auto\n*.png binary\r\ndoc/** -diff\n\0\0doc/a/b.png",
    );
    patches(to);
    seed(
        to,
        "git_ignore",
        "some",
        b"*.o\n!keep.o\n/build/\ndoc/**/x[a-c]?\\ \n#c\n\0doc/a/b/xa1",
    );
    seed(to, "git_text", "signature", b"A U Thor <a@b> 1700000000 -0330");
    seed(to, "git_text", "refname", b"refs/heads/feature/x");
}

/// Old and new files: what `git_patch` reads.
fn patches(to: &Path) {
    let file = |sides: u8, path: &str, old: &[u8], new: &[u8]| -> Vec<u8> {
        let mut out = vec![sides, path.len() as u8];
        out.extend_from_slice(path.as_bytes());
        for content in [old, new] {
            out.extend_from_slice(&(content.len() as u16).to_le_bytes());
            out.extend_from_slice(content);
        }
        out
    };
    let all = |how: u8, files: &[Vec<u8>]| [&[how][..], &files.concat()].concat();
    let text: Vec<u8> = (0..40u8).collect();
    let mut changed = text.clone();
    changed.splice(3..5, [60, 61, 62]);
    changed.splice(20..20, [63]);
    changed.push(0x80);
    seed(
        to,
        "git_patch",
        "lines",
        &all(0x43, &[file(0x11, "src/a.c", &text, &changed)]),
    );
    seed(
        to,
        "git_patch",
        "tight",
        &all(
            0x40,
            &[file(0x51, "a", &changed, &text), file(0x10, "b \t", b"", &text)],
        ),
    );
    let moved = [
        file(0x01, "d/old name", &text, b""),
        file(0x10, "d/new", b"", &changed),
        file(0x71, "link", &text, &text),
    ];
    seed(to, "git_patch", "moved", &all(0xc1, &moved));
    let bytes = [
        file(0x11, "x.bin", b"a\0b", b"a\0c"),
        file(
            0x11,
            "\u{e4}",
            b"int f()\n{\n\treturn 1;\n}\n",
            b"int f()\r\n{\n\treturn 2;\n}",
        ),
        file(0x10, "empty", b"", b""),
    ];
    seed(to, "git_patch", "bytes", &all(0x02, &bytes));
    seed(to, "git_patch", "far", &all(0x47, &[file(0x11, "a", &text, &changed)]));
}

fn main() {
    let to = std::env::args().nth(1).expect("usage: seeds DIRECTORY");
    let scratch = tempfile::tempdir().unwrap();
    cas(Path::new(&to), scratch.path());
    tree(Path::new(&to));
    git(Path::new(&to), scratch.path());
}
