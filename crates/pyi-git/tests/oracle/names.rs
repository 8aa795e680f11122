//! Paths and ref names that git takes and refuses.

use pyi_git::path::{PathError, validate_component, validate_path, validate_symlink_component};
use pyi_git::refname::{RefNameOptions, check_branch_name, check_ref_format, normalize};

use crate::repo::{Repo, Rng};

const PATH_PIECES: [&str; 38] = [
    ".",
    "..",
    ".git",
    ".GIT",
    ".Git",
    "git",
    "git~1",
    "GIT~1",
    "git~2",
    "~",
    "~1",
    " ",
    ":",
    ":$DATA",
    "\\",
    "/",
    "/",
    "/",
    "a",
    "b",
    "x.c",
    "\u{200c}",
    "\u{200d}",
    "\u{202e}",
    "\u{206a}",
    "\u{2070}",
    "\u{feff}",
    "\u{ff0e}",
    "g",
    "i",
    "t",
    "\u{e9}",
    "modules",
    "gitmod~1",
    ".gitmodules",
    "gi7eba~1",
    "-",
    "::$INDEX_ALLOCATION",
];

/// Whether git takes each path into the index, asked in one call; what it refuses it names on stderr.
fn git_takes(repo: &Repo, mode: &str, path: &str) -> bool {
    let entry = format!("{mode},{},{path}", repo.format.empty_blob());
    repo.run(
        &[
            "-c",
            "core.protectNTFS=true",
            "-c",
            "core.protectHFS=true",
            "update-index",
            "--add",
            "--cacheinfo",
            &entry,
        ],
        b"",
    )
    .status
    .success()
}

#[test]
fn paths_are_refused_where_git_refuses_them() {
    let repo = Repo::new(pyi_git::ObjectFormat::Sha1);
    repo.git(&["hash-object", "-w", "--stdin"]);
    let mut rng = Rng(30);
    let mut cases: Vec<String> = [
        "a",
        "a/b",
        ".a",
        "...",
        "a/...",
        ".git",
        "a/.git",
        ".git/config",
        ".gitx",
        ".git ",
        ".git.",
        ".git. .",
        ".git:x",
        ".git .:x",
        "git~1",
        "git~1 .",
        "git~10",
        "git~2",
        "GIT~1/a",
        ".git\\foo",
        "a\\.git",
        "a\\.git\\b",
        ".git\\",
        "..\\a",
        "a\\..\\b",
        "a\\git~1",
        ".g\u{200c}it",
        "\u{200c}.git",
        ".git\u{feff}",
        ".git\u{200b}",
        ".GI\u{202a}T",
        ".gıt",
        "a//b",
        "a/",
        "/a",
        "./a",
        "a/./b",
        "a/../b",
        "a/..",
        ".git::$INDEX_ALLOCATION",
        ".git::$INDEX_ALLOCATION/x",
        ".g",
        ".gi",
        "~",
        ":",
        "\\",
        ".gitmodules",
        "gitmod~1",
        "gitmod~4",
        "gitmod~5",
        "gi7eba~1",
        "gi7eb~10",
        "g~123456",
        ".gitmodules ",
        ".gitmodules:a",
        "a\\.gitmodules",
        ".git\u{200c}modules",
        "~1",
        "~1000000",
        "\\.git",
        "a/\\.git",
        "\\\\.git",
        "\\.git\\.git",
        "\\git~1",
        "\\.gitmodules",
        "\\\\.gitmodules",
        "\\a\\.gitmodules",
    ]
    .map(String::from)
    .to_vec();
    for _ in 0..700 {
        cases.push((0..=rng.below(4)).map(|_| rng.pick(&PATH_PIECES)).collect());
    }
    let mut refused = 0;
    for case in &cases {
        let ours = validate_path(case.as_bytes());
        assert_eq!(ours.is_ok(), git_takes(&repo, "100644", case), "{case:?}: {ours:?}");
        refused += u32::from(ours.is_err());
        repo.git(&["rm", "-q", "-r", "-f", "--cached", "--ignore-unmatch", "."]);
        if ours.is_ok() && !case.contains('/') {
            let link = validate_symlink_component(case.as_bytes());
            assert_eq!(
                link.is_ok(),
                git_takes(&repo, "120000", case),
                "link {case:?}: {link:?}"
            );
            repo.git(&["rm", "-q", "-r", "-f", "--cached", "--ignore-unmatch", "."]);
        }
    }
    assert!(refused > 100);
}

#[test]
fn each_refusal_has_its_own_error() {
    let long = [b'a'; 4097];
    let cases: [(&[u8], PathError); 13] = [
        (b"", PathError::Empty),
        (b"/a", PathError::Absolute),
        (b"a//b", PathError::EmptyComponent),
        (b"a/", PathError::EmptyComponent),
        (b"./a", PathError::Dot),
        (b"a/..", PathError::DotDot),
        (b"a/.GiT/b", PathError::DotGit),
        (b"GIT~1", PathError::DotGit),
        (b"x\\.git", PathError::DotGit),
        (".g\u{200d}it".as_bytes(), PathError::DotGit),
        (b"a\0b", PathError::Nul),
        (&long, PathError::TooLong),
        (&long[..4096], PathError::Empty),
    ];
    for (path, error) in cases {
        let expected = if path.len() == 4096 { Ok(()) } else { Err(error) };
        assert_eq!(validate_path(path), expected, "{}", String::from_utf8_lossy(path));
    }
    assert_eq!(validate_component(b"a/b"), Err(PathError::Slash));
    assert_eq!(validate_component(b""), Err(PathError::EmptyComponent));
    assert_eq!(validate_component(&[b'a'; 65_536]), Err(PathError::ComponentTooLong));
    assert_eq!(validate_component(&[b'a'; 65_535]), Ok(()));
    assert_eq!(validate_component(b"\xff\xfe raw bytes"), Ok(()));
    assert_eq!(
        validate_symlink_component(b".gitmodules"),
        Err(PathError::GitmodulesLink)
    );
}

const REF_PIECES: [&str; 26] = [
    "refs", "heads", "a", "b", "/", "/", "/", ".", "..", ".lock", "lock", "@", "@{", "{", "*", "~", "^", ":", "?", "[",
    "\\", " ", "-", "HEAD", "\u{7f}", "\u{e9}",
];

#[test]
fn ref_names_are_checked_as_git_checks_them() {
    let repo = Repo::new(pyi_git::ObjectFormat::Sha1);
    let mut rng = Rng(31);
    let mut cases: Vec<String> = [
        "@", "a/@", "HEAD", "", "a", "/a/b", "a/b/", "a.lock/b", "a/b.", "a./b", "a/*/*", "a/b*c", "-", "a/-b",
    ]
    .map(String::from)
    .to_vec();
    for _ in 0..500 {
        cases.push((0..=rng.below(5)).map(|_| rng.pick(&REF_PIECES)).collect());
    }
    let mut taken = 0;
    // An argument that begins with a dash is an option to the oracle.
    for case in cases.iter().filter(|c| !c.starts_with('-')) {
        for options in [
            RefNameOptions::default(),
            RefNameOptions {
                one_level: true,
                pattern: false,
            },
            RefNameOptions {
                one_level: false,
                pattern: true,
            },
        ] {
            let mut args = vec!["check-ref-format"];
            args.extend(options.one_level.then_some("--allow-onelevel"));
            args.extend(options.pattern.then_some("--refspec-pattern"));
            args.push(case);
            let ours = check_ref_format(case.as_bytes(), options);
            assert_eq!(
                ours.is_ok(),
                repo.run(&args, b"").status.success(),
                "{case:?} {options:?} {ours:?}"
            );
            taken += u32::from(ours.is_ok());
        }
        let theirs = repo.run(&["check-ref-format", "--normalize", case], b"");
        let normal = normalize(case.as_bytes());
        assert_eq!(
            check_ref_format(&normal, RefNameOptions::default()).is_ok(),
            theirs.status.success(),
            "{case:?}"
        );
        if theirs.status.success() {
            assert_eq!([normal, b"\n".to_vec()].concat(), theirs.stdout);
        }
        // `--branch` also expands `@{-1}` and the like, which is not this function's.
        if !case.contains('@') {
            let theirs = repo.run(&["check-ref-format", "--branch", case], b"").status.success();
            assert_eq!(check_branch_name(case.as_bytes()).is_ok(), theirs, "{case:?}");
        }
    }
    assert!(taken > 50);
}
