//! Which lines differ, as git finds it: Myers' algorithm between what the files do not share at their ends, without lines that tell nothing,
//! giving up on the shortest answer where it costs too much; then changes slide to where they read best (`slide`).

use std::collections::HashMap;
use std::ops::Range;

use super::slide;

/// A run of lines that differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) old: Range<usize>,
    pub(crate) new: Range<usize>,
}

/// So long a run of equal lines is a hint that a path is good.
const SNAKE: i64 = 20;
/// From this cost on a good path is taken although it may not be the best.
const COST_OF_HINTS: i64 = 256;
/// How good a path has to be then, against its cost.
const HINT_FACTOR: i64 = 4;
/// The least cost at which any path is taken.
const COST_MAX_MIN: i64 = 256;
/// Lines that occur more often than this on the other side may tell nothing.
const OFTEN_MAX: usize = 1024;
/// Further than any line, and small enough to reckon with.
const FARTHEST: i64 = i64::MAX / 4;
/// How far around such a line is looked.
const WINDOW: usize = 100;

/// The lines of a content, each with its newline.
pub(crate) fn lines(content: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::with_capacity(content.len() / 24 + 1);
    let mut start = 0;
    for newline in memchr::memchr_iter(b'\n', content) {
        lines.extend(content.get(start..=newline));
        start = newline + 1;
    }
    lines.extend(content.get(start..).filter(|last| !last.is_empty()));
    lines
}

/// About the square root, as a power of two.
fn root(number: usize) -> usize {
    let mut rest = number;
    let mut root = 1;
    while rest > 0 {
        root <<= 1;
        rest >>= 2;
    }
    root
}

/// What differs between two contents.
pub(crate) fn changes(old: &[u8], new: &[u8]) -> Vec<Change> {
    changes_of(&lines(old), &lines(new))
}

/// The same of their lines. O(lines), and in between what both share at their ends what Myers' algorithm takes.
pub(crate) fn changes_of(old: &[&[u8]], new: &[&[u8]]) -> Vec<Change> {
    let start = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let most = old.len().min(new.len()) - start;
    let ends = old.iter().rev().zip(new.iter().rev()).take(most);
    let tail = ends.take_while(|(a, b)| a == b).count();
    let (mut removed, mut added) = (vec![false; old.len()], vec![false; new.len()]);
    let between = |marks: &mut [bool]| {
        let end = marks.len() - tail;
        marks.get_mut(start..end).unwrap_or_default().fill(true);
    };
    if old.len() == start + tail || new.len() == start + tail {
        between(&mut removed);
        between(&mut added);
    } else {
        mark(old, new, start, tail, &mut removed, &mut added);
    }
    slide::settle(old, &mut removed, &mut added);
    slide::settle(new, &mut added, &mut removed);
    collect(&removed, &added)
}

/// The lines between the shared ends as numbers: equal lines have equal ones.
struct Numbered {
    old: Vec<u32>,
    new: Vec<u32>,
    /// By number, how many of each line are in the whole of either file.
    in_old: Vec<usize>,
    in_new: Vec<usize>,
}

/// Numbers of lines; who makes them up gains no more than with git's own table.
type Numbers<'l> = HashMap<&'l [u8], u32, foldhash::fast::RandomState>;

impl Numbered {
    fn of(old: &[&[u8]], new: &[&[u8]], start: usize, tail: usize) -> Self {
        let between = |lines: &'_ [&'_ [u8]]| start..lines.len() - tail;
        let mut numbers = Numbers::default();
        let (mut in_old, mut in_new) = (Vec::new(), Vec::new());
        let (old_lines, new_lines) = (old.get(between(old)), new.get(between(new)));
        let old_numbers = number(&mut numbers, old_lines.unwrap_or_default(), &mut in_old);
        let new_numbers = number(&mut numbers, new_lines.unwrap_or_default(), &mut in_new);
        let ends = [old.get(..start), old.get(old.len() - tail..)];
        for line in ends.into_iter().flatten().flatten() {
            if let Some(&number) = numbers.get(line) {
                count(&mut in_old, number);
                count(&mut in_new, number);
            }
        }
        Numbered {
            old: old_numbers,
            new: new_numbers,
            in_old,
            in_new,
        }
    }
}

/// Counts a number once more; counts grow as numbers are given.
fn count(counts: &mut Vec<usize>, number: u32) {
    let at = number as usize;
    if counts.len() <= at {
        counts.resize(at + 1, 0);
    }
    if let Some(count) = counts.get_mut(at) {
        *count += 1;
    }
}

fn number<'l>(numbers: &mut Numbers<'l>, lines: &[&'l [u8]], counts: &mut Vec<usize>) -> Vec<u32> {
    let mut found = Vec::with_capacity(lines.len());
    for line in lines {
        let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
        let number = *numbers.entry(line).or_insert(next);
        count(counts, number);
        found.push(number);
    }
    found
}

/// The runs of what is marked.
fn collect(removed: &[bool], added: &[bool]) -> Vec<Change> {
    let (mut a, mut b) = (0, 0);
    let mut changes = Vec::new();
    while a < removed.len() || b < added.len() {
        let (from_a, from_b) = (a, b);
        while removed.get(a) == Some(&true) {
            a += 1;
        }
        while added.get(b) == Some(&true) {
            b += 1;
        }
        if a > from_a || b > from_b {
            changes.push(Change {
                old: from_a..a,
                new: from_b..b,
            });
        } else {
            // Both go on to where the next one begins.
            let ahead =
                |marks: &[bool], at: usize| marks.get(at..).unwrap_or_default().iter().position(|marked| *marked);
            let step = match (ahead(removed, a), ahead(added, b)) {
                (Some(a), Some(b)) => a.min(b),
                (Some(one), None) | (None, Some(one)) => one,
                (None, None) => break,
            };
            a += step;
            b += step;
        }
    }
    changes
}

/// One side between the shared ends: the numbers of the lines that are compared, and where they stand.
struct Side<'m> {
    lines: Vec<u32>,
    places: Vec<usize>,
    marks: &'m mut [bool],
}

impl Side<'_> {
    fn mark(&mut self, range: Range<usize>) {
        for place in self.places.get(range).unwrap_or_default() {
            if let Some(mark) = self.marks.get_mut(*place) {
                *mark = true;
            }
        }
    }
}

fn mark(a: &[&[u8]], b: &[&[u8]], start: usize, tail: usize, removed: &mut [bool], added: &mut [bool]) {
    let numbered = Numbered::of(a, b, start, tail);
    let mut old = prepare(&numbered.old, start, a.len(), &numbered.in_new, removed);
    let mut new = prepare(&numbered.new, start, b.len(), &numbered.in_old, added);
    let (len_a, len_b) = (old.lines.len(), new.lines.len());
    let mut search = Search {
        forward: vec![0; len_a + len_b + 4],
        backward: vec![0; len_a + len_b + 4],
        shift: i64::try_from(len_b).unwrap_or(0) + 1,
        cost_max: i64::try_from(root(len_a + len_b + 3)).unwrap_or(0).max(COST_MAX_MIN),
    };
    let mut waiting = vec![(0..len_a, 0..len_b, false)];
    while let Some((mut a, mut b, exact)) = waiting.pop() {
        while a.start < a.end && b.start < b.end && old.lines.get(a.start) == new.lines.get(b.start) {
            a.start += 1;
            b.start += 1;
        }
        while a.start < a.end && b.start < b.end && old.lines.get(a.end - 1) == new.lines.get(b.end - 1) {
            a.end -= 1;
            b.end -= 1;
        }
        if a.is_empty() {
            new.mark(b);
        } else if b.is_empty() {
            old.mark(a);
        } else {
            let split = search.split(&old.lines, &new.lines, &a, &b, exact);
            waiting.push((split.a..a.end, split.b..b.end, split.exact_after));
            waiting.push((a.start..split.a, b.start..split.b, split.exact_before));
        }
    }
}

/// Marks lines that are not on the other side at all, or so often there that they tell nothing where they stand; the rest is compared.
fn prepare<'m>(lines: &[u32], start: usize, all: usize, others: &[usize], marks: &'m mut [bool]) -> Side<'m> {
    let limit = root(all).min(OFTEN_MAX);
    // 0: nowhere, 1: there, 2: often.
    let kinds: Vec<u8> = lines
        .iter()
        .map(|line| match others.get(*line as usize) {
            None | Some(0) => 0,
            Some(count) if *count >= limit => 2,
            Some(_) => 1,
        })
        .collect();
    let mut side = Side {
        lines: Vec::new(),
        places: Vec::new(),
        marks,
    };
    for (at, kind) in kinds.iter().enumerate() {
        let place = start + at;
        if *kind == 1 || (*kind == 2 && !tells_nothing(&kinds, at)) {
            side.lines.extend(lines.get(at));
            side.places.push(place);
        } else if let Some(mark) = side.marks.get_mut(place) {
            *mark = true;
        }
    }
    side
}

/// Whether a frequent line stands among lines that are nowhere on the other side.
fn tells_nothing(kinds: &[u8], at: usize) -> bool {
    // Lines that are nowhere, and frequent ones with the line itself, up to the next ordinary line.
    let look = |around: &mut dyn Iterator<Item = &u8>| {
        let (mut nowhere, mut often) = (0, 1);
        for kind in around.take(WINDOW) {
            match kind {
                0 => nowhere += 1,
                2 => often += 1,
                _ => break,
            }
        }
        (nowhere, often)
    };
    let before = look(&mut kinds.get(..at).unwrap_or_default().iter().rev());
    if before.0 == 0 {
        return false;
    }
    let after = look(&mut kinds.get(at + 1..).unwrap_or_default().iter());
    if after.0 == 0 {
        return false;
    }
    let (nowhere, often) = (before.0 + after.0, before.1 + after.1);
    often * 4 < often + nowhere
}

/// Where a box is divided, and whether the parts need the shortest answer.
struct Split {
    a: usize,
    b: usize,
    exact_before: bool,
    exact_after: bool,
}

impl Split {
    fn at(a: i64, b: i64, exact_before: bool, exact_after: bool) -> Self {
        Split {
            a: usize::try_from(a).unwrap_or(0),
            b: usize::try_from(b).unwrap_or(0),
            exact_before,
            exact_after,
        }
    }
}

/// How far paths from both corners have come, by diagonal.
struct Search {
    forward: Vec<i64>,
    backward: Vec<i64>,
    shift: i64,
    cost_max: i64,
}

fn get(reach: &[i64], shift: i64, diagonal: i64) -> i64 {
    let at = usize::try_from(diagonal + shift).unwrap_or(usize::MAX);
    reach.get(at).copied().unwrap_or(0)
}

fn set(reach: &mut [i64], shift: i64, diagonal: i64, value: i64) {
    let at = usize::try_from(diagonal + shift).unwrap_or(usize::MAX);
    if let Some(place) = reach.get_mut(at) {
        *place = value;
    }
}

impl Search {
    fn split(&mut self, old: &[u32], new: &[u32], a: &Range<usize>, b: &Range<usize>, exact: bool) -> Split {
        let number = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        let (a0, a1, b0, b1) = (number(a.start), number(a.end), number(b.start), number(b.end));
        let same = |i: i64, j: i64| {
            let line = |lines: &[u32], at: i64| usize::try_from(at).ok().and_then(|at| lines.get(at).copied());
            line(old, i) == line(new, j)
        };
        let (low, high) = (a0 - b1, a1 - b0);
        let (middle_f, middle_b) = (a0 - b0, a1 - b1);
        let odd = (middle_f - middle_b) & 1 != 0;
        let (mut f_low, mut f_high, mut b_low, mut b_high) = (middle_f, middle_f, middle_b, middle_b);
        let shift = self.shift;
        let (forward, backward) = (&mut self.forward, &mut self.backward);
        set(forward, shift, middle_f, a0);
        set(backward, shift, middle_b, a1);
        let mut cost = 1;
        loop {
            let mut hint = false;
            if f_low > low {
                f_low -= 1;
                set(forward, shift, f_low - 1, -1);
            } else {
                f_low += 1;
            }
            if f_high < high {
                f_high += 1;
                set(forward, shift, f_high + 1, -1);
            } else {
                f_high -= 1;
            }
            let mut d = f_high;
            while d >= f_low {
                let (left, right) = (get(forward, shift, d - 1), get(forward, shift, d + 1));
                let from = if left >= right { left + 1 } else { right };
                let mut i = from;
                while i < a1 && i - d < b1 && same(i, i - d) {
                    i += 1;
                }
                hint |= i - from > SNAKE;
                set(forward, shift, d, i);
                if odd && b_low <= d && d <= b_high && get(backward, shift, d) <= i {
                    return Split::at(i, i - d, true, true);
                }
                d -= 2;
            }
            if b_low > low {
                b_low -= 1;
                set(backward, shift, b_low - 1, FARTHEST);
            } else {
                b_low += 1;
            }
            if b_high < high {
                b_high += 1;
                set(backward, shift, b_high + 1, FARTHEST);
            } else {
                b_high -= 1;
            }
            let mut d = b_high;
            while d >= b_low {
                let (left, right) = (get(backward, shift, d - 1), get(backward, shift, d + 1));
                let from = if left < right { left } else { right - 1 };
                let mut i = from;
                while i > a0 && i - d > b0 && same(i - 1, i - d - 1) {
                    i -= 1;
                }
                hint |= from - i > SNAKE;
                set(backward, shift, d, i);
                if !odd && f_low <= d && d <= f_high && i <= get(forward, shift, d) {
                    return Split::at(i, i - d, true, true);
                }
                d -= 2;
            }
            if exact {
                cost += 1;
                continue;
            }
            if hint && cost > COST_OF_HINTS {
                let mut best: Option<(i64, i64, i64)> = None;
                let mut d = f_high;
                while d >= f_low {
                    let i = get(forward, shift, d);
                    let j = i - d;
                    let value = (i - a0) + (j - b0) - (d - middle_f).abs();
                    let inside = a0 + SNAKE <= i && i < a1 && b0 + SNAKE <= j && j < b1;
                    if value > HINT_FACTOR * cost
                        && best.is_none_or(|best| value > best.0)
                        && inside
                        && (1..=SNAKE).all(|k| same(i - k, j - k))
                    {
                        best = Some((value, i, j));
                    }
                    d -= 2;
                }
                if let Some((_, i, j)) = best {
                    return Split::at(i, j, true, false);
                }
                let mut d = b_high;
                while d >= b_low {
                    let i = get(backward, shift, d);
                    let j = i - d;
                    let value = (a1 - i) + (b1 - j) - (d - middle_b).abs();
                    let inside = a0 < i && i <= a1 - SNAKE && b0 < j && j <= b1 - SNAKE;
                    if value > HINT_FACTOR * cost
                        && best.is_none_or(|best| value > best.0)
                        && inside
                        && (0..SNAKE).all(|k| same(i + k, j + k))
                    {
                        best = Some((value, i, j));
                    }
                    d -= 2;
                }
                if let Some((_, i, j)) = best {
                    return Split::at(i, j, false, true);
                }
            }
            if cost >= self.cost_max {
                let mut far = (-1, -1);
                let mut d = f_high;
                while d >= f_low {
                    let mut i = get(forward, shift, d).min(a1);
                    let mut j = i - d;
                    if j > b1 {
                        (i, j) = (b1 + d, b1);
                    }
                    if far.0 < i + j {
                        far = (i + j, i);
                    }
                    d -= 2;
                }
                let mut near = (i64::MAX, i64::MAX);
                let mut d = b_high;
                while d >= b_low {
                    let mut i = get(backward, shift, d).max(a0);
                    let mut j = i - d;
                    if j < b0 {
                        (i, j) = (b0 + d, b0);
                    }
                    if i + j < near.0 {
                        near = (i + j, i);
                    }
                    d -= 2;
                }
                return if (a1 + b1) - near.0 < far.0 - (a0 + b0) {
                    Split::at(far.1, far.0 - far.1, true, false)
                } else {
                    Split::at(near.1, near.0 - near.1, false, true)
                };
            }
            cost += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the old content becomes when the changes are made.
    fn applied(old: &[u8], new: &[u8]) -> Vec<u8> {
        let (a, b) = (lines(old), lines(new));
        let (mut out, mut at) = (Vec::new(), 0);
        for change in changes(old, new) {
            out.extend(a[at..change.old.start].concat());
            out.extend(b[change.new.clone()].concat());
            at = change.old.end;
        }
        out.extend(a[at..].concat());
        out
    }

    #[test]
    fn changes_lead_from_the_old_content_to_the_new_one() {
        let mut state = 1u64;
        let mut text = |lines: usize, kinds: u64| {
            let mut out = Vec::new();
            for _ in 0..lines {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                out.extend(format!("{}\n", (state >> 33) % kinds).bytes());
            }
            out
        };
        for (size, kinds) in [(0, 2), (1, 2), (9, 2), (40, 3), (200, 20), (900, 400), (1500, 3)] {
            let (old, new) = (text(size, kinds), text(size + size / 7, kinds));
            assert_eq!(applied(&old, &new), new, "{size} lines of {kinds} kinds");
            assert_eq!(applied(&new, &old), old);
            assert_eq!(changes(&old, &old), []);
        }
        assert_eq!(applied(b"a\nb", b"a\nb\n"), b"a\nb\n");
    }

    #[test]
    fn a_change_stands_where_a_function_begins() {
        let old = b"def a():\n    return 1\n\ndef c():\n    return 1\n";
        let new = b"def a():\n    return 1\n\ndef b():\n    return 1\n\ndef c():\n    return 1\n";
        let found = changes(old, new);
        assert_eq!(found, [Change { old: 3..3, new: 3..6 }]);
    }
}
