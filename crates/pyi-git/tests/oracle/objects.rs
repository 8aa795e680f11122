//! Object names, loose objects, trees, commits, tags.

use pyi_git::commit::{Commit, fold, unfold};
use pyi_git::object::{ObjectError, decode_loose, decode_loose_header, encode_loose};
use pyi_git::signature::{Signature, sanitize};
use pyi_git::tag::Tag;
use pyi_git::tree::{TreeError, TreeIter, encode_tree, is_canonical};
use pyi_git::{ObjectFormat, ObjectKind, Oid, hash_object};

use crate::repo::{FORMATS, Repo, Rng};

#[test]
fn names_are_those_that_git_computes() {
    for format in FORMATS {
        let repo = Repo::new(format);
        repo.populate(10, 10);
        for (oid, (kind, content)) in repo.all_objects() {
            assert_eq!(hash_object(format, kind, &content), oid);
            assert_eq!(oid.to_hex().parse(), Ok(oid));
        }
        assert_eq!(
            format.empty_tree().to_hex(),
            repo.line(&["hash-object", "-t", "tree", "/dev/null"])
        );
    }
}

fn loose_files(repo: &Repo) -> Vec<(Oid, Vec<u8>)> {
    let mut found = Vec::new();
    for directory in std::fs::read_dir(repo.path(".git/objects"))
        .unwrap()
        .map(|e| e.unwrap())
    {
        let head = directory.file_name().into_string().unwrap();
        if head.len() == 2 {
            for file in std::fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap()) {
                let hex = head.clone() + &file.file_name().into_string().unwrap();
                found.push((hex.parse().unwrap(), std::fs::read(file.path()).unwrap()));
            }
        }
    }
    found
}

#[test]
fn loose_objects_read_and_write() {
    for format in FORMATS {
        let repo = Repo::new(format);
        repo.populate(11, 10);
        let objects = repo.all_objects();
        let files = loose_files(&repo);
        assert_eq!(files.len(), objects.len());
        let target = Repo::new(format);
        for (oid, file) in files {
            let (kind, content) = &objects[&oid];
            let head = &file[..file.len().min(64)];
            assert_eq!(decode_loose_header(head).unwrap(), (*kind, content.len() as u64));
            let object = decode_loose(&file, 1 << 20).unwrap();
            assert_eq!((object.kind, object.data.as_slice()), (*kind, content.as_slice()));
            if !content.is_empty() {
                let limit = content.len() as u64 - 1;
                assert!(matches!(decode_loose(&file, limit), Err(ObjectError::TooLarge { .. })));
            }
            let hex = oid.to_hex();
            target.write(
                &format!(".git/objects/{}/{}", &hex[..2], &hex[2..]),
                &encode_loose(*kind, content),
            );
        }
        assert_eq!(target.all_objects(), objects);
        target.git(&["fsck", "--strict"]);
    }
}

/// What is stored and not deflated takes one block of a disk all the same; git reads both.
#[test]
fn an_object_is_deflated_where_that_saves_a_block() {
    let repo = Repo::new(ObjectFormat::Sha1);
    for bytes in [0, 1, 4000, 4074, 4075, 4076, 4096, 9000] {
        let content = b"line\n".repeat(bytes).split_off(4 * bytes);
        let file = encode_loose(ObjectKind::Blob, &content);
        assert!(file.len() <= 4096);
        assert_eq!(file.len() > content.len(), bytes <= 4075, "{bytes}");
        let oid = hash_object(ObjectFormat::Sha1, ObjectKind::Blob, &content).to_hex();
        repo.write(&format!(".git/objects/{}/{}", &oid[..2], &oid[2..]), &file);
        assert_eq!(repo.line(&["cat-file", "-s", &oid]), bytes.to_string());
    }
    repo.git(&["fsck", "--strict"]);
}

#[test]
fn malformed_loose_objects_are_named() {
    let good = encode_loose(ObjectKind::Blob, b"some content that is long enough to be cut");
    for end in 0..good.len() {
        assert!(decode_loose(&good[..end], 1 << 20).is_err(), "{end}");
    }
    let mut trailing = good.clone();
    trailing.extend_from_slice(b"xyz");
    assert_eq!(decode_loose(&trailing, 1 << 20), Err(ObjectError::Garbage(3)));
    let raw = |bytes: &[u8]| {
        use std::io::Write;
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let size = |declared, longer| Err(ObjectError::Size { declared, longer });
    assert_eq!(decode_loose(&raw(b"blob 4\0abc"), 100), size(4, false));
    assert_eq!(decode_loose(&raw(b"blob 2\0abc"), 100), size(2, true));
    assert_eq!(decode_loose(&raw(b"blob 03\0abc"), 100), Err(ObjectError::Header));
    assert_eq!(decode_loose(&raw(b"blob -3\0abc"), 100), Err(ObjectError::Header));
    assert_eq!(
        decode_loose(&raw(b"blub 3\0abc"), 100),
        Err(ObjectError::Kind("blub".into()))
    );
    assert_eq!(decode_loose(&raw(&[b'a'; 100]), 100), Err(ObjectError::Header));
    assert_eq!(decode_loose(b"not zlib at all", 100), Err(ObjectError::Zlib));
    let bomb = raw(&[&b"blob 3\0"[..], &vec![0u8; 50 << 20]].concat());
    assert_eq!(decode_loose(&bomb, 100), size(3, true));
    let lie = raw(b"blob 9999999999999\0abc");
    assert_eq!(decode_loose(&lie, u64::MAX), Err(ObjectError::Truncated));
}

#[test]
fn trees_are_taken_apart_and_written_as_git_does() {
    for format in FORMATS {
        let repo = Repo::new(format);
        repo.populate(12, 10);
        let mut rng = Rng(12);
        // Names that sort differently as file and directory.
        let base = [
            "a", "a-b", "a.b", "a0", "a/x", "b/x", "b.c", "b-/y", "B", "\u{e4}", "z z",
        ];
        for name in base {
            if !name.starts_with("a/") || !repo.path("a").exists() {
                repo.write(
                    &format!("sort/{}/{name}", if name == "a/x" { 1 } else { 2 }),
                    name.as_bytes(),
                );
            }
        }
        repo.git(&["add", "-A"]);
        repo.git(&["commit", "-q", "-m", "names"]);
        for (oid, (kind, content)) in repo.all_objects() {
            if kind != ObjectKind::Tree {
                continue;
            }
            assert!(is_canonical(format, &content));
            let entries: Vec<_> = TreeIter::new(format, &content).map(Result::unwrap).collect();
            let mut listing = Vec::new();
            for e in &entries {
                let kind = if e.is_tree() { "tree" } else { "blob" };
                listing.extend_from_slice(format!("{:06o} {kind} {}\t", e.mode, e.oid).as_bytes());
                listing.extend_from_slice(e.name);
                listing.push(0);
            }
            assert_eq!(listing, repo.git(&["ls-tree", "-z", &oid.to_hex()]));
            let mut shuffled: Vec<_> = entries.iter().map(|e| (e.name, e.mode, e.oid)).collect();
            for i in (1..shuffled.len()).rev() {
                shuffled.swap(i, rng.below(i + 1));
            }
            assert_eq!(encode_tree(format, &shuffled).unwrap(), content);
        }
    }
}

#[test]
fn unusual_trees_are_read_but_not_canonical() {
    let format = ObjectFormat::Sha1;
    let oid = format.empty_blob();
    let entry = |mode: &str, name: &str| {
        let mut out = format!("{mode} {name}\0").into_bytes();
        out.extend_from_slice(oid.as_bytes());
        out
    };
    for (mode, value) in [
        ("100664", 0o100_664),
        ("040000", 0o40000),
        ("0100644", 0o100_644),
        ("100600", 0o100_600),
    ] {
        let raw = entry(mode, "x");
        let read = TreeIter::new(format, &raw).next().unwrap().unwrap();
        assert_eq!(
            (read.mode_raw, read.mode, read.name),
            (mode.as_bytes(), value, &b"x"[..])
        );
        assert!(!is_canonical(format, &raw), "{mode}");
    }
    let two = |a: (&str, &str), b: (&str, &str)| [entry(a.0, a.1), entry(b.0, b.1)].concat();
    assert!(is_canonical(format, &two(("100644", "a.b"), ("40000", "a"))));
    assert!(!is_canonical(format, &two(("40000", "a"), ("100644", "a.b"))));
    assert!(!is_canonical(format, &two(("100644", "a"), ("100644", "a"))));
    let apart = [entry("100644", "a"), entry("100644", "a-b"), entry("40000", "a")].concat();
    assert!(!is_canonical(format, &apart));
    assert!(!is_canonical(format, &entry("100644", "a/b")));
    assert_eq!(
        encode_tree(
            format,
            &[("a", 0o40000, oid), ("a-b", 0o100_644, oid), ("a", 0o100_644, oid)]
        ),
        Err(TreeError::Duplicate("a".into()))
    );
    for name in ["", "a/b", "a\0b"] {
        assert!(matches!(
            encode_tree(format, &[(name, 0o100_644, oid)]),
            Err(TreeError::Name(_))
        ));
    }
    let good = entry("100644", "name");
    for end in 1..good.len() {
        let last = TreeIter::new(format, &good[..end]).last().unwrap();
        assert_eq!(last, Err(TreeError::Truncated(0)), "{end}");
    }
    assert_eq!(
        TreeIter::new(format, &entry("", "x")).next().unwrap(),
        Err(TreeError::Mode(0))
    );
    assert_eq!(
        TreeIter::new(format, &entry("10x644", "x")).next().unwrap(),
        Err(TreeError::Mode(0))
    );
    assert_eq!(
        TreeIter::new(format, &entry("100644", "")).next().unwrap(),
        Err(TreeError::EmptyName(0))
    );
}

#[test]
fn commits_and_tags_come_back_byte_for_byte() {
    for format in FORMATS {
        let repo = Repo::new(format);
        repo.populate(13, 5);
        let tree = repo.line(&["rev-parse", "HEAD^{tree}"]);
        let odd = format!(
            "tree {tree}\nauthor <> 0 -0000\ncommitter A <a@b> c> 12345 +9999\nencoding latin-1\ngpgsig -----BEGIN\n \n \
             abc\n -----END\nx-other y\n\nmessage\n\nwithout newline"
        );
        repo.git_in(
            &["hash-object", "-t", "commit", "-w", "--stdin", "--literally"],
            odd.as_bytes(),
        );
        let (mut commits, mut tags) = (0, 0);
        for (oid, (kind, content)) in repo.all_objects() {
            match kind {
                ObjectKind::Commit => {
                    let commit = Commit::parse(format, &content).unwrap();
                    assert_eq!(commit.encode(), content, "{oid}");
                    if commit.headers.is_empty() {
                        let shown = repo.git(&["log", "-1", "--format=%T%n%P%n%an%n%ae%n%at", &oid.to_hex()]);
                        let author = commit.author().unwrap();
                        let parents: Vec<_> = commit.parents.iter().map(Oid::to_hex).collect();
                        let ours = format!(
                            "{}\n{}\n{}\n{}\n{}\n",
                            commit.tree,
                            parents.join(" "),
                            String::from_utf8_lossy(&author.name),
                            String::from_utf8_lossy(&author.mail),
                            author.seconds
                        );
                        assert_eq!(ours.as_bytes(), shown);
                        assert_eq!(author.to_bytes(), commit.author);
                    } else {
                        assert_eq!(commit.encoding().unwrap().as_ref(), b"latin-1");
                        let signature = commit.header(b"gpgsig").unwrap();
                        assert_eq!(signature.as_ref(), b"-----BEGIN\n\nabc\n-----END");
                        assert_eq!(unfold(&fold(&signature)), signature);
                        let author = commit.author().unwrap();
                        assert_eq!(author.to_bytes(), commit.author);
                        assert_eq!(commit.committer().unwrap().mail, b"a@b> c");
                    }
                    commits += 1;
                }
                ObjectKind::Tag => {
                    let tag = Tag::parse(format, &content).unwrap();
                    assert_eq!(tag.encode(), content);
                    assert_eq!((tag.name, tag.target_kind), (&b"v1"[..], ObjectKind::Commit));
                    assert_eq!(tag.target.to_hex(), repo.line(&["rev-parse", "v1^{commit}"]));
                    tags += 1;
                }
                _ => {}
            }
        }
        assert!(commits > 5 && tags == 1);
    }
}

#[test]
fn identities_are_cleaned_as_git_cleans_them() {
    let repo = Repo::new(ObjectFormat::Sha1);
    let tree = repo.line(&["hash-object", "-w", "-t", "tree", "/dev/null"]);
    let names = [
        "plain",
        " sp ace ",
        ".dots.",
        "<an>gle<",
        "new\nline",
        "\"q'",
        "a.",
        "J. R.",
        "x,;:",
        "\\back\\",
        "\u{1}c\u{1}",
        "-x-",
    ];
    for name in names {
        let mut command = repo.command(&["commit-tree", &tree, "-m", "x"]);
        command
            .env("GIT_AUTHOR_NAME", name)
            .env("GIT_AUTHOR_EMAIL", format!("{name}@x"));
        let output = command.output().unwrap();
        assert!(output.status.success());
        let oid = String::from_utf8(output.stdout).unwrap();
        let content = repo.git(&["cat-file", "commit", oid.trim()]);
        let commit = Commit::parse(repo.format, &content).unwrap();
        let ours = Signature::new(name.as_bytes(), format!("{name}@x").as_bytes(), 1_700_000_000, 90);
        assert_eq!(
            String::from_utf8_lossy(&ours.to_bytes()),
            String::from_utf8_lossy(commit.author),
            "{name:?}"
        );
    }
    assert_eq!(sanitize(b" ,:;<>\"\\'\n"), b"");
}
