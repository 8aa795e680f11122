//! Three-way merge of text by lines.
//!
//! The common form of diff3 (Khanna, Kunal, Pierce: *A Formal Investigation of Diff3*, 2007): the differences of either
//! side to the base are laid over each other; a stretch that only one side changed is taken from it, one that both changed
//! alike is taken once, anything else is a conflict. Changes that touch without a line between them conflict, as in git.

use imara_diff::{Algorithm, Diff, InternedInput, TokenSource};

/// What stands at the markers of a conflict.
#[derive(Clone, Copy, Debug)]
pub struct Labels<'a> {
    /// Behind `<<<<<<<`.
    pub ours: &'a str,
    /// Behind `|||||||`.
    pub base: &'a str,
    /// Behind `>>>>>>>`.
    pub theirs: &'a str,
}

/// The merged text, or `None` on a conflict or if one of the three is not text (holds a NUL byte).
/// O((N + M) * D) like the diff underneath.
#[must_use]
pub fn merge_text(base: &[u8], ours: &[u8], theirs: &[u8]) -> Option<Vec<u8>> {
    let merged = run(base, ours, theirs, None)?;
    (merged.conflicts == 0).then_some(merged.text)
}

/// The merged text with all three versions of each stretch in conflict between markers, as git shows them in its style `diff3`, and
/// the number of those; `None` if one of the three is not text. O((N + M) * D).
#[must_use]
pub fn merge_text_marked(base: &[u8], ours: &[u8], theirs: &[u8], labels: Labels<'_>) -> Option<(Vec<u8>, usize)> {
    let merged = run(base, ours, theirs, Some(labels))?;
    Some((merged.text, merged.conflicts))
}

struct Merged {
    text: Vec<u8>,
    conflicts: usize,
}

/// Without labels it ends at the first conflict.
fn run(base: &[u8], ours: &[u8], theirs: &[u8], labels: Option<Labels<'_>>) -> Option<Merged> {
    let whole = |text: &[u8]| Merged {
        text: text.to_vec(),
        conflicts: 0,
    };
    if [base, ours, theirs].iter().any(|text| text.contains(&0)) {
        return None;
    }
    if ours == theirs || theirs == base {
        return Some(whole(ours));
    }
    if ours == base {
        return Some(whole(theirs));
    }
    let base_lines = lines(base);
    let (our_lines, their_lines) = (lines(ours), lines(theirs));
    let (our_hunks, their_hunks) = (hunks(base, ours), hunks(base, theirs));
    let mut merged = Vec::with_capacity(ours.len().max(theirs.len()));
    let (mut ours_left, mut theirs_left) = (our_hunks.as_slice(), their_hunks.as_slice());
    let (mut done, mut conflicts) = (0, 0);
    loop {
        let start = match (ours_left.first(), theirs_left.first()) {
            (None, None) => break,
            (Some(hunk), None) | (None, Some(hunk)) => hunk.base.0,
            (Some(a), Some(b)) => a.base.0.min(b.base.0),
        };
        // One group: everything that overlaps or touches, from either side.
        let (mut end, mut our_group, mut their_group) = (start, 0, 0);
        loop {
            if let Some(hunk) = ours_left.get(our_group).filter(|hunk| hunk.base.0 <= end) {
                (end, our_group) = (end.max(hunk.base.1), our_group + 1);
            } else if let Some(hunk) = theirs_left.get(their_group).filter(|hunk| hunk.base.0 <= end) {
                (end, their_group) = (end.max(hunk.base.1), their_group + 1);
            } else {
                break;
            }
        }
        append(&mut merged, &base_lines[done..start]);
        let group_ours = replaced(&base_lines, &our_lines, &ours_left[..our_group], start, end);
        let group_theirs = replaced(&base_lines, &their_lines, &theirs_left[..their_group], start, end);
        if their_group == 0 || (our_group > 0 && group_ours == group_theirs) {
            append(&mut merged, &group_ours);
        } else if our_group == 0 {
            append(&mut merged, &group_theirs);
        } else {
            let labels = labels?;
            conflicts += 1;
            mark(
                &mut merged,
                [&group_ours, &base_lines[start..end], &group_theirs],
                labels,
            );
        }
        (ours_left, theirs_left) = (&ours_left[our_group..], &theirs_left[their_group..]);
        done = end;
    }
    append(&mut merged, &base_lines[done..]);
    Some(Merged {
        text: merged,
        conflicts,
    })
}

/// Appends the three versions of a stretch between markers, each on lines of their own.
fn mark(text: &mut Vec<u8>, [ours, base, theirs]: [&[&[u8]]; 3], labels: Labels<'_>) {
    let crlf = ours
        .iter()
        .chain(theirs)
        .next()
        .is_some_and(|line| line.ends_with(b"\r\n"));
    let newline: &[u8] = if crlf { b"\r\n" } else { b"\n" };
    let mut part = |marker: &[u8], label: &str, lines: &[&[u8]]| {
        text.extend_from_slice(marker);
        if !label.is_empty() {
            text.push(b' ');
            text.extend_from_slice(label.as_bytes());
        }
        text.extend_from_slice(newline);
        append(text, lines);
        if lines.last().is_some_and(|line| !line.ends_with(b"\n")) {
            text.extend_from_slice(newline);
        }
    };
    part(b"<<<<<<<", labels.ours, ours);
    part(b"|||||||", labels.base, base);
    part(b"=======", "", theirs);
    part(b">>>>>>>", labels.theirs, &[]);
}
struct Hunk {
    base: (usize, usize),
    side: (usize, usize),
}

struct Lines<'a>(&'a [u8]);

impl<'a> TokenSource for Lines<'a> {
    type Token = &'a [u8];
    type Tokenizer = std::slice::SplitInclusive<'a, u8, fn(&u8) -> bool>;

    fn tokenize(&self) -> Self::Tokenizer {
        self.0.split_inclusive(is_newline)
    }

    fn estimate_tokens(&self) -> u32 {
        (self.0.len() / 40) as u32
    }
}

fn is_newline(byte: &u8) -> bool {
    *byte == b'\n'
}

fn lines(text: &[u8]) -> Vec<&[u8]> {
    text.split_inclusive(is_newline).collect()
}

fn hunks(base: &[u8], side: &[u8]) -> Vec<Hunk> {
    let input = InternedInput::new(Lines(base), Lines(side));
    let diff = Diff::compute(Algorithm::Histogram, &input);
    diff.hunks()
        .map(|hunk| Hunk {
            base: (hunk.before.start as usize, hunk.before.end as usize),
            side: (hunk.after.start as usize, hunk.after.end as usize),
        })
        .collect()
}

/// The base's lines `start..end` with the hunks of one side applied.
fn replaced<'a>(base: &[&'a [u8]], side: &[&'a [u8]], hunks: &[Hunk], start: usize, end: usize) -> Vec<&'a [u8]> {
    let (mut result, mut done) = (Vec::new(), start);
    for hunk in hunks {
        result.extend_from_slice(&base[done..hunk.base.0]);
        result.extend_from_slice(&side[hunk.side.0..hunk.side.1]);
        done = hunk.base.1;
    }
    result.extend_from_slice(&base[done..end]);
    result
}

fn append(text: &mut Vec<u8>, lines: &[&[u8]]) {
    for line in lines {
        text.extend_from_slice(line);
    }
}
