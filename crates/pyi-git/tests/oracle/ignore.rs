//! Ignore rules against `git check-ignore -v -n --no-index`, on generated patterns and paths.

use std::sync::Arc;

use pyi_git::ignore::{IgnoreSource, IgnoreStack, PatternList};
use pyi_git::wildmatch::{WildOptions, wildmatch};

use crate::repo::{Repo, Rng};

/// Components from which paths are made; few, so that patterns match often.
const NAMES: [&str; 12] = ["a", "b", "ab", "abc", "foo", "foo.c", "A", "x y", ".h", "-", "[", "]a"];

/// Pieces from which patterns are made.
const PIECES: [&str; 48] = [
    "a",
    "b",
    "ab",
    "abc",
    "foo",
    "foo.c",
    ".c",
    "A",
    ".h",
    "x",
    " ",
    "y",
    "/",
    "/",
    "/",
    "/",
    "*",
    "*",
    "*",
    "**",
    "**/",
    "/**",
    "/**/",
    "***",
    "?",
    "[a]",
    "[!a]",
    "[^b]",
    "[a-c]",
    "[A-Z]",
    "[]a]",
    "[!]a]",
    "[[:alpha:]]",
    "[[:bogus:]]",
    "[a",
    "[[]",
    "\\a",
    "\\*",
    "\\",
    "\\/",
    "-",
    "[a-]",
    "[\\]]",
    "[a/]",
    "[A]",
    "\\A",
    "[^A]",
    "[aB]",
];

/// Patterns whose meaning is a known corner.
const CORNERS: [&str; 40] = [
    "/foo**",
    "foo**/a",
    "/f**/b",
    "a/**/b",
    "a/**",
    "**/a",
    "**",
    "**/",
    "/**",
    "/",
    "!",
    "!/",
    "\\!a",
    "\\#a",
    "#a",
    "a\\ ",
    "a\\  ",
    "a  ",
    "\\",
    "a\\",
    "[",
    "a[",
    "//",
    "a//b",
    "/a/",
    "a/",
    "a/b/",
    "!a/",
    "*/",
    "*/a",
    "/*",
    "/*/*",
    "x\\ y",
    "x y ",
    "\\ ",
    "a/*/..",
    "[[:alpha:][:digit:]]*",
    "[a-\\c]",
    "[!-]",
    "**a/b",
];

fn pattern(rng: &mut Rng) -> String {
    if rng.below(5) == 0 {
        return rng.pick(&CORNERS).to_owned();
    }
    let mut text = String::new();
    for _ in 0..=rng.below(5) {
        text.push_str(rng.pick(&PIECES));
    }
    match rng.below(8) {
        0 => format!("!{text}"),
        1 => format!("{text}/"),
        2 => format!("/{text}"),
        3 => format!("{text} "),
        4 => format!("{text}\r"),
        _ => text,
    }
}

fn file(rng: &mut Rng, longest: usize) -> Vec<u8> {
    let bom = if rng.below(10) == 0 { "\u{feff}" } else { "" };
    let lines: Vec<_> = (0..=rng.below(longest)).map(|_| pattern(rng)).collect();
    let end = if rng.below(2) == 0 { "\n" } else { "" };
    format!("{bom}{}{end}", lines.join("\n")).into_bytes()
}

/// Directories and files on disk, because git asks the file system which is which.
fn make_paths(repo: &Repo, rng: &mut Rng) -> Vec<(String, bool)> {
    let mut paths = std::collections::BTreeSet::new();
    for _ in 0..60 {
        let mut path = String::new();
        for _ in 0..=rng.below(4) {
            if !path.is_empty() {
                path.push('/');
            }
            path.push_str(rng.pick(&NAMES));
            paths.insert(path.clone());
        }
    }
    let with_children: std::collections::BTreeSet<_> = paths
        .iter()
        .filter_map(|p| p.rsplit_once('/').map(|(parent, _)| parent.to_owned()))
        .collect();
    paths
        .into_iter()
        .map(|path| {
            let is_dir = with_children.contains(&path) || rng.below(3) == 0;
            if is_dir {
                std::fs::create_dir_all(repo.path(&path)).unwrap();
            } else {
                repo.write(&path, b"");
            }
            (path, is_dir)
        })
        .collect()
}

#[test]
fn check_ignore_agrees_on_generated_patterns() {
    let mut rng = Rng(20);
    let mut comparisons = 0;
    let mut hits = 0;
    for round in 0..12 {
        let repo = Repo::new(pyi_git::ObjectFormat::Sha1);
        let ignore_case = round % 4 == 3;
        repo.git(&["config", "core.ignoreCase", if ignore_case { "true" } else { "false" }]);
        repo.git(&["config", "core.excludesFile", ".git/global-ignore"]);
        let paths = make_paths(&repo, &mut rng);
        let directories: Vec<&str> = [""]
            .into_iter()
            .chain(paths.iter().filter(|(_, d)| *d).map(|(p, _)| p.as_str()))
            .collect();
        for _ in 0..25 {
            // Up to three .gitignore files, outermost first, and sometimes the two exclude files.
            let mut chosen: Vec<&str> = (0..3).map(|_| rng.pick(&directories)).collect();
            chosen.push("");
            chosen.sort_unstable();
            chosen.dedup();
            let mut stack = IgnoreStack::new(ignore_case);
            for name in ["global-ignore", "info/exclude"] {
                let content = if rng.below(3) == 0 {
                    file(&mut rng, 3)
                } else {
                    Vec::new()
                };
                repo.write(&format!(".git/{name}"), &content);
                stack.push_exclude(Arc::new(PatternList::parse(&content)));
            }
            let mut written = Vec::new();
            for directory in chosen {
                let content = file(&mut rng, 5);
                let path = if directory.is_empty() {
                    ".gitignore".into()
                } else {
                    format!("{directory}/.gitignore")
                };
                repo.write(&path, &content);
                written.push((path, content.clone()));
                stack.push_directory(directory.as_bytes(), Arc::new(PatternList::parse(&content)));
            }
            let input: Vec<u8> = paths.iter().flat_map(|(p, _)| [p.as_bytes(), b"\0"].concat()).collect();
            let output = repo.run(&["check-ignore", "-v", "-n", "--no-index", "--stdin", "-z"], &input);
            let fields: Vec<&[u8]> = output.stdout.split(|&b| b == 0).collect();
            assert_eq!(
                fields.len(),
                paths.len() * 4 + 1,
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            for ((path, is_dir), theirs) in paths.iter().zip(fields.chunks(4)) {
                let ours = stack.decide(path.as_bytes(), *is_dir).map(|found| {
                    let source = match found.source {
                        IgnoreSource::Exclude(0) => ".git/global-ignore".into(),
                        IgnoreSource::Exclude(_) => ".git/info/exclude".into(),
                        IgnoreSource::Directory(d) => format!("{}.gitignore", String::from_utf8_lossy(d)),
                    };
                    (
                        source,
                        found.pattern.line().to_string(),
                        found.pattern.original().to_vec(),
                    )
                });
                let theirs = (!theirs[0].is_empty()).then(|| {
                    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
                    (text(theirs[0]), text(theirs[1]), theirs[2].to_vec())
                });
                comparisons += 1;
                hits += u32::from(theirs.is_some());
                let files: Vec<_> = written.iter().map(|(p, c)| (p, String::from_utf8_lossy(c))).collect();
                assert_eq!(
                    ours, theirs,
                    "{path} (directory: {is_dir}, any case: {ignore_case})\n{files:#?}"
                );
            }
            for (path, _) in written {
                std::fs::remove_file(repo.path(&path)).unwrap();
            }
        }
    }
    assert!(comparisons > 10_000 && hits > 2_000, "{comparisons} {hits}");
}

#[test]
fn no_pattern_takes_long() {
    // Exponential for a matcher that tries every split.
    let text = [b'a'; 4000];
    let pattern = [&b"*a".repeat(60)[..], b"b"].concat();
    assert!(!wildmatch(
        &pattern,
        &text,
        WildOptions {
            pathname: true,
            ignore_case: false
        }
    ));
    let deep = "a/".repeat(500);
    let pattern = "**/a/".repeat(40) + "b";
    assert!(!wildmatch(
        pattern.as_bytes(),
        deep.as_bytes(),
        WildOptions {
            pathname: true,
            ignore_case: false
        }
    ));
}
