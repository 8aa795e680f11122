//! Merges: of text against `git merge-file`, of trees against what each side did.
#![allow(clippy::unwrap_used)]

use std::process::Command;
use std::sync::Arc;

use proptest::prelude::*;
use pyi_cas::{Bytes, Kind, MemoryStore};
use pyi_tree::diff::Side;
use pyi_tree::merge::{Contents, merge, merge_flat};
use pyi_tree::text_merge::{Labels, merge_text, merge_text_marked};
use pyi_tree::tree::Content;
use pyi_tree::{Mode, Pending, StoreLoader, Tree};

struct Store(StoreLoader);

impl Contents for Store {
    fn read(&self, side: &Side) -> pyi_tree::Result<Bytes> {
        match &side.pending {
            Some(Pending::Blob(content)) => Ok(content.clone()),
            _ => Ok(self.0.store().get(Kind::Blob, &side.row.id)?.unwrap()),
        }
    }
}

fn store() -> Store {
    Store(StoreLoader::new(Arc::new(MemoryStore::new())))
}

fn put(tree: &mut Tree, path: &str, content: &str, store: &Store) {
    let content = Content::Bytes(Bytes::copy_from_slice(content.as_bytes()));
    tree.put(path.as_bytes(), Mode::File, content, &store.0).unwrap();
}

fn text(tree: &Tree, path: &str, store: &Store) -> Option<String> {
    let found = tree.find(path.as_bytes(), &store.0).unwrap()?;
    let side = Side {
        row: found.row(),
        pending: found.pending().cloned(),
    };
    Some(String::from_utf8(store.read(&side).unwrap().to_vec()).unwrap())
}

fn lines() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(0..6_u8, 0..12)
}

fn rendered(lines: &[u8]) -> String {
    lines.iter().map(|line| format!("line {line}\n")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, ..ProptestConfig::default() })]

    /// Both tools may align repeated lines differently, so the claim is: where both merge, they agree unless git's own result
    /// depends on the alignment; and ours never drops a change that only one side made.
    #[test]
    fn text_merges_keep_both_sides_changes(base in lines(), edits in proptest::collection::vec((0..12_usize, 0..3_u8, any::<bool>()), 0..4)) {
        // Unique lines, so that there is one alignment.
        let base: Vec<String> = base.iter().enumerate().map(|(at, line)| format!("{at}:{line}\n")).collect();
        let (mut ours, mut theirs) = (base.clone(), base.clone());
        for (number, (at, kind, mine)) in edits.iter().enumerate() {
            let side = if *mine { &mut ours } else { &mut theirs };
            let at = (*at).min(side.len());
            match kind {
                0 if at < side.len() => drop(side.remove(at)),
                1 if at < side.len() => side[at] = format!("changed {number}\n"),
                _ => side.insert(at, format!("new {number}\n")),
            }
        }
        let dir = tempfile_dir();
        let (base, ours, theirs) = (base.concat(), ours.concat(), theirs.concat());
        for (name, content) in [("base", &base), ("ours", &ours), ("theirs", &theirs)] {
            std::fs::write(dir.join(name), content).unwrap();
        }
        let git = Command::new("git").args(["merge-file", "-p", "ours", "base", "theirs"]).current_dir(&dir).output().unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        let merged = merge_text(base.as_bytes(), ours.as_bytes(), theirs.as_bytes());
        if git.status.success() {
            prop_assert_eq!(merged.map(|text| String::from_utf8(text).unwrap()), Some(String::from_utf8(git.stdout).unwrap()));
        } else {
            prop_assert_eq!(merged, None);
        }
    }

    #[test]
    fn a_merge_with_an_unchanged_side_is_the_other_side(base in lines(), other in lines()) {
        let (base, other) = (rendered(&base), rendered(&other));
        prop_assert_eq!(merge_text(base.as_bytes(), base.as_bytes(), other.as_bytes()).unwrap(), other.as_bytes());
        prop_assert_eq!(merge_text(base.as_bytes(), other.as_bytes(), base.as_bytes()).unwrap(), other.as_bytes());
        prop_assert_eq!(merge_text(base.as_bytes(), other.as_bytes(), other.as_bytes()).unwrap(), other.as_bytes());
    }
}

fn tempfile_dir() -> std::path::PathBuf {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = format!(
        "pyi-merge-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    );
    let dir = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

#[test]
fn binary_contents_are_not_merged_by_lines() {
    assert_eq!(merge_text(b"a\0", b"b\0", b"c\0"), None);
}

#[test]
fn changes_that_fit_together_are_merged_and_others_are_conflicts() {
    let merged = |base: &str, ours: &str, theirs: &str| {
        let [base, ours, theirs] = [base, ours, theirs].map(|text| text.replace(' ', "\n"));
        let merged = merge_text(base.as_bytes(), ours.as_bytes(), theirs.as_bytes())?;
        Some(String::from_utf8(merged).unwrap().replace('\n', " "))
    };
    let base = "1 2 3 4 5 6 7 8 9 ";
    for (ours, theirs, expected) in [
        (base, base, Some(base)),
        ("1 2 3 4 5 6 7 8 9 o ", base, Some("1 2 3 4 5 6 7 8 9 o ")),
        (base, "t 1 2 3 4 5 6 7 8 9 ", Some("t 1 2 3 4 5 6 7 8 9 ")),
        // Both changed 2 alike, and each something else.
        ("1 x 3 4 5 6 7 8 o ", "t x 3 4 5 6 7 8 9 ", None),
        ("1 x 3 4 5 6 7 8 o ", "1 x 3 4 t 6 7 8 9 ", Some("1 x 3 4 t 6 7 8 o ")),
        ("1 x 3 4 o 6 7 8 9 ", "1 x 3 4 5 6 7 8 t ", Some("1 x 3 4 o 6 7 8 t ")),
        // Changes that touch conflict, with a line between them they do not.
        ("1 o 3 4 5 6 7 8 9 ", "1 2 t 4 5 6 7 8 9 ", None),
        ("1 2 o 4 5 6 7 8 9 ", "1 t 3 4 5 6 7 8 9 ", None),
        ("1 o 3 4 5 6 7 8 9 ", "1 2 3 t 5 6 7 8 9 ", Some("1 o 3 t 5 6 7 8 9 ")),
        ("1 2 3 o 5 6 7 8 9 ", "1 t 3 4 5 6 7 8 9 ", Some("1 t 3 o 5 6 7 8 9 ")),
        // A long change against several short ones, on either side.
        ("1 o o o o o 7 8 9 ", "1 2 t 4 t 6 7 8 9 ", None),
        ("1 2 o 4 o 6 7 8 9 ", "1 t t t t t 7 8 9 ", None),
        ("1 9 ", "1 2 3 4 5 6 7 8 9 t ", Some("1 9 t ")),
        ("", "1 2 3 4 5 6 7 8 t ", None),
    ] {
        assert_eq!(merged(base, ours, theirs).as_deref(), expected, "{ours} + {theirs}");
    }
    // A file without a newline at its end is text like any other.
    assert_eq!(merged("1 2 3", "o 2 3", "1 2 t").unwrap(), "o 2 t");
    for binary in [["\0", "b", "c"], ["a", "\0", "c"], ["a", "b", "\0"]] {
        assert_eq!(merged(binary[0], binary[1], binary[2]), None);
    }
}

#[test]
fn trees_merge_by_path_and_by_line() {
    let store = store();
    let mut base = Tree::default();
    put(&mut base, "src/a", "1\n2\n3\n4\n5\n", &store);
    put(&mut base, "src/b", "b\n", &store);
    put(&mut base, "gone/x", "x\n", &store);
    put(&mut base, "same", "s\n", &store);
    let (mut ours, mut theirs) = (base.clone(), base.clone());
    put(&mut ours, "src/a", "one\n2\n3\n4\n5\n", &store);
    put(&mut theirs, "src/a", "1\n2\n3\n4\nfive\n", &store);
    put(&mut theirs, "new/deep/file", "n\n", &store);
    theirs.remove(b"gone", &store.0).unwrap();
    ours.remove(b"src/b", &store.0).unwrap();
    theirs.set_mode(b"same", Mode::Executable, &store.0).unwrap();
    let merged = merge(&base, &ours, &theirs, &store.0, &store).unwrap();
    assert!(merged.conflicts.is_empty(), "{:?}", merged.conflicts);
    assert_eq!(text(&merged.tree, "src/a", &store).unwrap(), "one\n2\n3\n4\nfive\n");
    assert_eq!(text(&merged.tree, "new/deep/file", &store).unwrap(), "n\n");
    assert_eq!(text(&merged.tree, "gone/x", &store), None);
    assert_eq!(text(&merged.tree, "src/b", &store), None);
    assert_eq!(
        merged.tree.find(b"same", &store.0).unwrap().unwrap().mode(),
        Mode::Executable
    );
    assert!(merged.tree.find(b"gone", &store.0).unwrap().is_none());
}

#[test]
fn conflicts_are_data_and_ours_stays() {
    let store = store();
    let mut base = Tree::default();
    for path in ["both", "we-drop", "they-drop", "dir/keep"] {
        put(&mut base, path, "base\n", &store);
    }
    let (mut ours, mut theirs) = (base.clone(), base.clone());
    put(&mut ours, "both", "ours\n", &store);
    put(&mut theirs, "both", "theirs\n", &store);
    ours.remove(b"we-drop", &store.0).unwrap();
    put(&mut theirs, "we-drop", "changed\n", &store);
    theirs.remove(b"they-drop", &store.0).unwrap();
    put(&mut ours, "they-drop", "changed\n", &store);
    put(&mut ours, "added", "a\n", &store);
    put(&mut theirs, "added", "b\n", &store);
    ours.remove(b"dir", &store.0).unwrap();
    put(&mut ours, "dir", "a file now\n", &store);
    put(&mut theirs, "dir/more", "m\n", &store);
    let merged = merge(&base, &ours, &theirs, &store.0, &store).unwrap();
    let mut found: Vec<(String, &str)> = merged
        .conflicts
        .iter()
        .map(|c| (String::from_utf8(c.path.clone()).unwrap(), c.reason))
        .collect();
    found.sort();
    assert_eq!(
        found,
        [
            ("added".to_owned(), "both sides added this with different contents"),
            ("both".to_owned(), "both sides changed the same lines"),
            (
                "dir".to_owned(),
                "both sides changed this in ways that do not fit together"
            ),
            ("they-drop".to_owned(), "they removed what we changed"),
            ("we-drop".to_owned(), "we removed what they changed"),
        ]
    );
    assert_eq!(text(&merged.tree, "both", &store).unwrap(), "ours\n");
    assert!(
        merged
            .conflicts
            .iter()
            .any(|c| c.path == b"both" && c.base.is_some() && c.ours.is_some())
    );
}

#[test]
fn a_directory_that_they_removed_goes_with_its_last_file_only() {
    let store = store();
    let mut base = Tree::default();
    put(&mut base, "d/a", "a\n", &store);
    put(&mut base, "d/b", "b\n", &store);
    let (mut ours, mut theirs) = (base.clone(), base.clone());
    theirs.remove(b"d", &store.0).unwrap();
    put(&mut ours, "d/new", "n\n", &store);
    let merged = merge(&base, &ours, &theirs, &store.0, &store).unwrap();
    assert!(merged.conflicts.is_empty());
    assert_eq!(text(&merged.tree, "d/new", &store).unwrap(), "n\n");
    assert_eq!(text(&merged.tree, "d/a", &store), None);
    let merged = merge(&base, &base, &theirs, &store.0, &store).unwrap();
    assert!(merged.tree.find(b"d", &store.0).unwrap().is_none());
}

#[test]
fn a_directory_that_we_removed_conflicts_only_where_they_changed_it() {
    let store = store();
    let mut base = Tree::default();
    for path in ["d/a", "d/b", "d/e/c"] {
        put(&mut base, path, "base\n", &store);
    }
    let (mut ours, mut theirs) = (base.clone(), base.clone());
    ours.remove(b"d", &store.0).unwrap();
    put(&mut theirs, "d/a", "changed\n", &store);
    put(&mut theirs, "d/new", "n\n", &store);
    let merged = merge(&base, &ours, &theirs, &store.0, &store).unwrap();
    let found: Vec<(&[u8], &str)> = merged.conflicts.iter().map(|c| (c.path.as_slice(), c.reason)).collect();
    assert_eq!(found, [(&b"d/a"[..], "we removed what they changed")]);
    assert_eq!(text(&merged.tree, "d/new", &store).unwrap(), "n\n");
    assert_eq!(text(&merged.tree, "d/b", &store), None);
    assert_eq!(text(&merged.tree, "d/e/c", &store), None);
}

#[test]
fn what_both_added_conflicts_unless_it_is_alike() {
    let store = store();
    let add = |mode: Mode, content: &'static str| {
        let mut tree = Tree::default();
        tree.put(
            b"p",
            mode,
            Content::Bytes(Bytes::from_static(content.as_bytes())),
            &store.0,
        )
        .unwrap();
        tree
    };
    let conflict = |ours: &Tree, theirs: &Tree| {
        let merged = merge(&Tree::default(), ours, theirs, &store.0, &store).unwrap();
        merged.conflicts.first().map(|conflict| conflict.reason)
    };
    let file = add(Mode::File, "1");
    assert_eq!(conflict(&file, &add(Mode::File, "1")), None);
    assert_eq!(
        conflict(&file, &add(Mode::File, "2")),
        Some("both sides added this with different contents")
    );
    assert_eq!(
        conflict(&file, &add(Mode::Executable, "1")),
        Some("both sides added this with different modes")
    );
    assert_eq!(
        conflict(&file, &add(Mode::Symlink, "1")),
        Some("both sides added something else here")
    );
    let mut below = Tree::default();
    put(&mut below, "p/x", "1", &store);
    assert_eq!(conflict(&file, &below), Some("both sides added something else here"));
}

#[test]
fn a_mode_and_a_content_changed_on_either_side_come_together() {
    let store = store();
    let mut base = Tree::default();
    put(&mut base, "f", "1\n2\n3\n", &store);
    let (mut moded, mut edited) = (base.clone(), base.clone());
    put(&mut moded, "f", "one\n2\n3\n", &store);
    moded.set_mode(b"f", Mode::Executable, &store.0).unwrap();
    put(&mut edited, "f", "1\n2\nthree\n", &store);
    for (ours, theirs) in [(&moded, &edited), (&edited, &moded)] {
        let merged = merge(&base, ours, theirs, &store.0, &store).unwrap();
        assert!(merged.conflicts.is_empty());
        assert_eq!(text(&merged.tree, "f", &store).unwrap(), "one\n2\nthree\n");
        assert_eq!(
            merged.tree.find(b"f", &store.0).unwrap().unwrap().mode(),
            Mode::Executable
        );
    }
}

#[test]
fn a_directory_in_place_of_a_file_and_the_other_way_round_is_taken_over() {
    let store = store();
    let (mut file, mut directory) = (Tree::default(), Tree::default());
    put(&mut file, "p", "1\n", &store);
    put(&mut directory, "p/x", "1\n", &store);
    for tree in [&mut file, &mut directory] {
        put(tree, "keep", "k\n", &store);
    }
    for (base, theirs) in [(&file, &directory), (&directory, &file)] {
        let mut ours = base.clone();
        put(&mut ours, "keep", "changed\n", &store);
        let merged = merge(base, &ours, theirs, &store.0, &store).unwrap();
        assert!(merged.conflicts.is_empty(), "{:?}", merged.conflicts);
        assert_eq!(text(&merged.tree, "keep", &store).unwrap(), "changed\n");
        for path in [&b"p"[..], b"p/x"] {
            let mode = |tree: &Tree| tree.find(path, &store.0).unwrap().map(|found| found.mode());
            assert_eq!(mode(&merged.tree), mode(theirs));
        }
    }
}

#[test]
fn a_change_below_a_directory_that_became_a_file_or_went_is_not_lost() {
    let store = store();
    let (mut file, mut directory) = (Tree::default(), Tree::default());
    put(&mut file, "p", "1\n", &store);
    put(&mut directory, "p/x", "1\n", &store);
    let mut changed = directory.clone();
    put(&mut changed, "p/y", "y\n", &store);
    let clash = "both sides changed this in ways that do not fit together";
    for (base, ours, theirs, reason) in [
        (&directory, &changed, &file, clash),
        (&directory, &file, &changed, clash),
        (&file, &directory, &Tree::default(), "they removed what we changed"),
        (&file, &Tree::default(), &directory, "we removed what they changed"),
    ] {
        let merged = merge(base, ours, theirs, &store.0, &store).unwrap();
        let found: Vec<(&[u8], &str)> = merged.conflicts.iter().map(|c| (c.path.as_slice(), c.reason)).collect();
        assert_eq!(found, [(&b"p"[..], reason)]);
        for path in ["p", "p/x", "p/y"] {
            assert_eq!(
                text_or_none(&merged.tree, path, &store),
                text_or_none(ours, path, &store)
            );
        }
    }
}

fn text_or_none(tree: &Tree, path: &str, store: &Store) -> Option<String> {
    let found = tree.find(path.as_bytes(), &store.0).unwrap()?;
    if found.mode() == Mode::File {
        text(tree, path, store)
    } else {
        None
    }
}

#[test]
fn flat_mappings_merge_key_by_key_whatever_the_keys_hold() {
    let store = store();
    let put = |tree: &mut Tree, key: &str, value: &str| {
        let content = Content::Bytes(Bytes::copy_from_slice(value.as_bytes()));
        tree.put_name(key.as_bytes(), Mode::Value, content, &store.0).unwrap();
    };
    let mut base = Tree::default();
    put(&mut base, "a/b", "1");
    put(&mut base, "both", "1");
    let (mut ours, mut theirs) = (base.clone(), base.clone());
    put(&mut theirs, "a/b", "2");
    put(&mut theirs, "c/d", "3");
    put(&mut ours, "both", "ours");
    put(&mut theirs, "both", "theirs");
    let merged = merge_flat(&base, &ours, &theirs, &store.0).unwrap();
    assert_eq!(merged.conflicts.len(), 1);
    assert_eq!(merged.conflicts[0].path, b"both");
    let value = |tree: &Tree, key: &str| {
        let found = tree.find_name(key.as_bytes(), &store.0).unwrap()?;
        let side = Side {
            row: found.row(),
            pending: found.pending().cloned(),
        };
        Some(store.read(&side).unwrap())
    };
    assert_eq!(value(&merged.tree, "c/d").unwrap(), "3");
    assert_eq!(value(&merged.tree, "a/b").unwrap(), "2");
    assert_eq!(value(&merged.tree, "both").unwrap(), "ours");
    // What they removed goes, unless we changed it; what both did alike is no conflict.
    theirs = ours.clone();
    assert!(theirs.remove_name(b"a/b", &store.0).unwrap());
    let merged = merge_flat(&base, &ours, &theirs, &store.0).unwrap();
    assert!(merged.conflicts.is_empty());
    assert_eq!(value(&merged.tree, "a/b"), None);
    put(&mut ours, "a/b", "ours");
    let merged = merge_flat(&base, &ours, &theirs, &store.0).unwrap();
    assert_eq!(merged.conflicts.len(), 1);
    assert_eq!(value(&merged.tree, "a/b").unwrap(), "ours");
}

#[test]
fn markers_show_what_git_shows() {
    let labels = Labels {
        ours: "ours",
        base: "base",
        theirs: "theirs",
    };
    let dir = tempfile_dir();
    for (base, ours, theirs) in [
        ("1\n2\n3\n4\n5\n", "1\no\n3\n4\n5\n", "1\nt\n3\n4\n5\n"),
        ("1\n2\n3\n4\n5\n", "1\no\n3\n4\n6\n", "t\n1\nt\n3\n4\n5\n"),
        ("1\n2\n3\n", "1\n2\n3\no\n", "1\n2\n3\nt\n"),
        ("1\n2\n3\n", "1\n3\n", "1\nt\n3\n"),
        ("", "o\n", "t\n"),
        ("1\n2\n3", "1\n2\no", "1\n2\nt"),
        ("1\r\n2\r\n3\r\n", "1\r\no\r\n3\r\n", "1\r\nt\r\n3\r\n"),
    ] {
        for (name, content) in [("base", base), ("ours", ours), ("theirs", theirs)] {
            std::fs::write(dir.join(name), content).unwrap();
        }
        let git = Command::new("git")
            .args(["merge-file", "-p", "--diff3", "ours", "base", "theirs"])
            .current_dir(&dir)
            .output()
            .unwrap();
        let (text, conflicts) = merge_text_marked(base.as_bytes(), ours.as_bytes(), theirs.as_bytes(), labels).unwrap();
        assert_eq!(String::from_utf8_lossy(&text), String::from_utf8_lossy(&git.stdout));
        assert_eq!(git.status.code(), Some(conflicts as i32));
    }
    std::fs::remove_dir_all(&dir).unwrap();
    assert!(merge_text_marked(b"a", b"b\0", b"c", labels).is_none());
}

#[test]
fn moves_into_what_is_in_the_way_are_conflicts() {
    let store = store();
    let long: String = (0..30).map(|line| format!("line {line}\n")).collect();
    let mut base = Tree::default();
    put(&mut base, "a", &long, &store);
    put(&mut base, "d/keep", "k\n", &store);
    let mut edited = base.clone();
    put(&mut edited, "a", &format!("{long}more\n"), &store);
    let mut moved = base.clone();
    moved.rename(b"a", b"x/y/a", &store.0).unwrap();
    for blocker in ["x", "x/y", "x/y/a", "x/y/a/b"] {
        let mut blocked = edited.clone();
        put(&mut blocked, blocker, "in the way\n", &store);
        for (ours, theirs) in [(&blocked, &moved), (&moved, &blocked)] {
            let merged = merge(&base, ours, theirs, &store.0, &store).unwrap();
            assert!(!merged.conflicts.is_empty(), "{blocker}");
        }
    }
    for (ours, theirs) in [(&edited, &moved), (&moved, &edited)] {
        let merged = merge(&base, ours, theirs, &store.0, &store).unwrap();
        assert!(merged.conflicts.is_empty());
        assert_eq!(text(&merged.tree, "x/y/a", &store).unwrap(), format!("{long}more\n"));
        assert_eq!(text(&merged.tree, "a", &store), None);
    }
}
