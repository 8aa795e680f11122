//! Changes as a patch that `git apply` takes, and their lines counted.

use std::ops::Range;

use imara_diff::{Algorithm, Diff, InternedInput};
use pyi_engine::{Bytes, Change, ChangeKind, EntryKind, Mode};

use crate::text::quoted;

/// Unchanged lines around a change.
const CONTEXT: u32 = 3;
/// How far git looks for a NUL to tell that a file is no text.
const BINARY_PROBE_BYTES: usize = 8000;

/// One side of a changed file.
pub(crate) struct Side {
    pub(crate) path: Vec<u8>,
    pub(crate) mode: Mode,
    /// The content; of a symlink its target, of a submodule git's line for its commit.
    pub(crate) content: Bytes,
}

/// Lines that came and went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) insertions: u64,
    pub(crate) deletions: u64,
}

/// A changed file: what it was and what it is.
pub(crate) struct FilePair {
    pub(crate) old: Option<Side>,
    pub(crate) new: Option<Side>,
}

impl FilePair {
    /// Whether git would not show the lines of it.
    pub(crate) fn is_binary(&self) -> bool {
        let binary = |side: &Side| side.content.iter().take(BINARY_PROBE_BYTES).any(|byte| *byte == 0);
        self.old.as_ref().is_some_and(binary) || self.new.as_ref().is_some_and(binary)
    }

    /// Lines that came and went; `None` for a binary file.
    pub(crate) fn counts(&self) -> Option<Counts> {
        if self.is_binary() {
            return None;
        }
        let input = InternedInput::new(content(self.old.as_ref()), content(self.new.as_ref()));
        let diff = Diff::compute(Algorithm::Histogram, &input);
        Some(Counts {
            insertions: diff.count_additions().into(),
            deletions: diff.count_removals().into(),
        })
    }

    /// Writes the patch of this file.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match (&self.old, &self.new) {
            // Git has no change of kind: a file goes and a symlink comes.
            (Some(old), Some(new))
                if old.mode.is_file() != new.mode.is_file() || !old.mode.is_file() && old.mode != new.mode =>
            {
                one(out, Some(old), None);
                one(out, None, Some(new));
            }
            (old, new) => one(out, old.as_ref(), new.as_ref()),
        }
    }
}

/// Whether a change has lines at all: a directory has none.
pub(crate) fn has_lines(change: &Change) -> bool {
    let file = |entry: &pyi_engine::Entry| entry.kind() != EntryKind::Directory;
    change.old.as_ref().is_none_or(file) && change.new.as_ref().is_none_or(file)
}

/// Whether both sides have the same content, so that only names or modes are worth a line.
pub(crate) fn is_content_same(change: &Change) -> bool {
    matches!(change.kind, ChangeKind::Mode | ChangeKind::Moved)
}

fn content(side: Option<&Side>) -> &[u8] {
    side.map_or(&[], |side| &side.content)
}

fn git_mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Executable => "100755",
        Mode::Symlink => "120000",
        Mode::Gitlink => "160000",
        _ => "100644",
    }
}

fn one(out: &mut Vec<u8>, old: Option<&Side>, new: Option<&Side>) {
    let Some(some) = new.or(old) else { return };
    let name = |side: &'static [u8; 2], path: &[u8]| quoted(&[side, path].concat());
    let (a, b) = (
        name(b"a/", &old.unwrap_or(some).path),
        name(b"b/", &new.unwrap_or(some).path),
    );
    let line = |out: &mut Vec<u8>, parts: &[&[u8]]| {
        parts.iter().for_each(|part| out.extend_from_slice(part));
        out.push(b'\n');
    };
    line(out, &[b"diff --git ", &a, b" ", &b]);
    match (old, new) {
        (None, Some(new)) => line(out, &[b"new file mode ", git_mode(new.mode).as_bytes()]),
        (Some(old), None) => line(out, &[b"deleted file mode ", git_mode(old.mode).as_bytes()]),
        (Some(old), Some(new)) => {
            if old.mode != new.mode {
                line(out, &[b"old mode ", git_mode(old.mode).as_bytes()]);
                line(out, &[b"new mode ", git_mode(new.mode).as_bytes()]);
            }
            if old.path != new.path {
                line(out, &[b"similarity index 100%"]);
                line(out, &[b"rename from ", &quoted(&old.path)]);
                line(out, &[b"rename to ", &quoted(&new.path)]);
            }
        }
        (None, None) => {}
    }
    let (before, after) = (content(old), content(new));
    if before == after {
        return;
    }
    let null: &[u8] = b"/dev/null";
    let (a, b) = (
        if old.is_some() { &a } else { null },
        if new.is_some() { &b } else { null },
    );
    let binary = |content: &[u8]| content.iter().take(BINARY_PROBE_BYTES).any(|byte| *byte == 0);
    if binary(before) || binary(after) {
        return line(out, &[b"Binary files ", a, b" and ", b, b" differ"]);
    }
    // A tab ends a name with spaces, as git and patch have it.
    let end = |name: &[u8]| -> &'static [u8] {
        if name.contains(&b' ') && name[0] != b'"' {
            b"\t"
        } else {
            b""
        }
    };
    line(out, &[b"--- ", a, end(a)]);
    line(out, &[b"+++ ", b, end(b)]);
    hunks(out, before, after);
}

fn hunks(out: &mut Vec<u8>, before: &[u8], after: &[u8]) {
    let input = InternedInput::new(before, after);
    let mut diff = Diff::compute(Algorithm::Histogram, &input);
    diff.postprocess_lines(&input);
    let total = input.before.len() as u32;
    let mut group: Vec<(Range<u32>, Range<u32>)> = Vec::new();
    for hunk in diff.hunks() {
        if group
            .last()
            .is_some_and(|last| hunk.before.start - last.0.end > 2 * CONTEXT)
        {
            write_group(out, &input, &group, total);
            group.clear();
        }
        group.push((hunk.before, hunk.after));
    }
    write_group(out, &input, &group, total);
}

fn write_group(out: &mut Vec<u8>, input: &InternedInput<&[u8]>, group: &[(Range<u32>, Range<u32>)], total: u32) {
    let (Some(first), Some(last)) = (group.first(), group.last()) else {
        return;
    };
    let lead = first.0.start.min(CONTEXT);
    let trail = (total - last.0.end).min(CONTEXT);
    let range = |start: u32, length: u32| match length {
        // An empty range is named by the line before it.
        0 => format!("{start},0"),
        1 => format!("{}", start + 1),
        _ => format!("{},{length}", start + 1),
    };
    let (old_start, new_start) = (first.0.start - lead, first.1.start - lead);
    let old = range(old_start, last.0.end + trail - old_start);
    let new = range(new_start, last.1.end + trail - new_start);
    out.extend_from_slice(format!("@@ -{old} +{new} @@\n").as_bytes());
    let mut lines = |sign: u8, tokens: &[imara_diff::Token]| {
        for token in tokens {
            let line = input.interner[*token];
            out.push(sign);
            out.extend_from_slice(line);
            if !line.ends_with(b"\n") {
                out.extend_from_slice(b"\n\\ No newline at end of file\n");
            }
        }
    };
    let slice =
        |tokens: &[imara_diff::Token], range: Range<u32>| tokens[range.start as usize..range.end as usize].to_vec();
    let mut at = old_start;
    for (removed, added) in group {
        lines(b' ', &slice(&input.before, at..removed.start));
        lines(b'-', &slice(&input.before, removed.clone()));
        lines(b'+', &slice(&input.after, added.clone()));
        at = removed.end;
    }
    lines(b' ', &slice(&input.before, at..at + trail));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(path: &str, content: &str) -> Option<Side> {
        Some(Side {
            path: path.into(),
            mode: Mode::File,
            content: Bytes::copy_from_slice(content.as_bytes()),
        })
    }

    fn patch(old: Option<Side>, new: Option<Side>) -> String {
        let mut out = Vec::new();
        FilePair { old, new }.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn hunks_have_three_lines_around_them() {
        let old: String = (1..=20).map(|line| format!("{line}\n")).collect();
        let new = old.replace("\n10\n", "\nten\n");
        let text = patch(side("x", &old), side("x", &new));
        assert!(
            text.contains("@@ -7,7 +7,7 @@\n 7\n 8\n 9\n-10\n+ten\n 11\n 12\n 13\n"),
            "{text}"
        );
    }

    #[test]
    fn near_hunks_are_one_and_far_ones_two() {
        let old: String = (1..=30).map(|line| format!("{line}\n")).collect();
        let near = old.replace("\n5\n", "\nfive\n").replace("\n12\n", "\ntwelve\n");
        assert_eq!(patch(side("x", &old), side("x", &near)).matches("@@ -").count(), 1);
        let far = old.replace("\n5\n", "\nfive\n").replace("\n13\n", "\nthirteen\n");
        assert_eq!(patch(side("x", &old), side("x", &far)).matches("@@ -").count(), 2);
    }

    #[test]
    fn a_new_file_without_a_newline() {
        assert_eq!(
            patch(None, side("a b", "x")),
            "diff --git a/a b b/a b\nnew file mode 100644\n--- /dev/null\n+++ b/a b\t\n@@ -0,0 +1 @@\n+x\n\\ No newline at end of file\n"
        );
    }

    #[test]
    fn binary_files_and_counts() {
        let pair = FilePair {
            old: side("x", "a\0"),
            new: side("x", "b\0"),
        };
        assert_eq!(pair.counts(), None);
        assert!(patch(pair.old, pair.new).ends_with("Binary files a/x and b/x differ\n"));
        let pair = FilePair {
            old: side("x", "a\nb\n"),
            new: side("x", "a\nc\nd\n"),
        };
        assert_eq!(
            pair.counts(),
            Some(Counts {
                insertions: 2,
                deletions: 1
            })
        );
    }
}
