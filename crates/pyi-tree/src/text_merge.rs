//! Three-way merge of text by lines.
//!
//! The common form of diff3 (Khanna, Kunal, Pierce: *A Formal Investigation of Diff3*, 2007): the differences of either
//! side to the base are laid over each other; a stretch that only one side changed is taken from it, one that both changed
//! alike is taken once, anything else is a conflict. Changes that touch without a line between them conflict, as in git.

use imara_diff::{Algorithm, Diff, InternedInput, TokenSource};

/// The merged text, or `None` on a conflict or if one of the three is not text (holds a NUL byte).
/// O((N + M) * D) like the diff underneath.
#[must_use]
pub fn merge_text(base: &[u8], ours: &[u8], theirs: &[u8]) -> Option<Vec<u8>> {
    if [base, ours, theirs].iter().any(|text| text.contains(&0)) {
        return None;
    }
    if ours == theirs || theirs == base {
        return Some(ours.to_vec());
    }
    if ours == base {
        return Some(theirs.to_vec());
    }
    let base_lines = lines(base);
    let (our_lines, their_lines) = (lines(ours), lines(theirs));
    let (our_hunks, their_hunks) = (hunks(base, ours), hunks(base, theirs));
    let mut merged = Vec::with_capacity(ours.len().max(theirs.len()));
    let (mut ours_left, mut theirs_left) = (our_hunks.as_slice(), their_hunks.as_slice());
    let mut done = 0;
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
            return None;
        }
        (ours_left, theirs_left) = (&ours_left[our_group..], &theirs_left[their_group..]);
        done = end;
    }
    append(&mut merged, &base_lines[done..]);
    Some(merged)
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
