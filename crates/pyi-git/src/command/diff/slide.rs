//! Where a change stands if it could stand in several places: beside a change of the other side, else where the indentation says that
//! something begins or ends.

/// A run of marked lines; empty between two lines that are not.
#[derive(Clone, Copy)]
struct Group {
    start: usize,
    end: usize,
}

/// No change is moved further for its looks.
const FAR: usize = 100;
const INDENT_MAX: i64 = 200;
const BLANKS_MAX: i64 = 20;

fn is_marked(marks: &[bool], at: usize) -> bool {
    marks.get(at).copied().unwrap_or(false)
}

impl Group {
    fn at(marks: &[bool], start: usize) -> Self {
        let mut end = start;
        while is_marked(marks, end) {
            end += 1;
        }
        Group { start, end }
    }

    fn is_empty(self) -> bool {
        self.start == self.end
    }

    fn next(&mut self, marks: &[bool]) -> bool {
        if self.end >= marks.len() {
            return false;
        }
        self.start = self.end + 1;
        self.end = self.start;
        while is_marked(marks, self.end) {
            self.end += 1;
        }
        true
    }

    fn previous(&mut self, marks: &[bool]) -> bool {
        let Some(end) = self.start.checked_sub(1) else {
            return false;
        };
        (self.start, self.end) = (end, end);
        while self.start > 0 && is_marked(marks, self.start - 1) {
            self.start -= 1;
        }
        true
    }

    fn up(&mut self, lines: &[&[u8]], marks: &mut [bool]) -> bool {
        if self.start == 0 || lines.get(self.start - 1) != lines.get(self.end - 1) {
            return false;
        }
        self.start -= 1;
        self.end -= 1;
        put(marks, self.start, true);
        put(marks, self.end, false);
        while self.start > 0 && is_marked(marks, self.start - 1) {
            self.start -= 1;
        }
        true
    }

    fn down(&mut self, lines: &[&[u8]], marks: &mut [bool]) -> bool {
        if self.end >= lines.len() || lines.get(self.start) != lines.get(self.end) {
            return false;
        }
        put(marks, self.start, false);
        put(marks, self.end, true);
        self.start += 1;
        self.end += 1;
        while is_marked(marks, self.end) {
            self.end += 1;
        }
        true
    }
}

fn put(marks: &mut [bool], at: usize, value: bool) {
    if let Some(mark) = marks.get_mut(at) {
        *mark = value;
    }
}

/// Moves the changes of one side (`marks`, over lines with these texts).
pub(super) fn settle(texts: &[&[u8]], marks: &mut [bool], others: &mut [bool]) {
    let first = |marks: &[bool]| marks.iter().position(|marked| *marked);
    let Some(last) = marks.iter().rposition(|marked| *marked) else {
        return;
    };
    // Before the first change of either side both have the same lines, and behind the last one of this side there is nothing to move.
    let start = first(marks).into_iter().chain(first(others)).min().unwrap_or(0);
    let (mut group, mut other) = (Group::at(marks, start), Group::at(others, start));
    loop {
        if !group.is_empty() {
            settle_one(texts, marks, others, &mut group, &mut other);
        }
        if group.start > last || !group.next(marks) || !other.next(others) {
            return;
        }
    }
}

fn settle_one(texts: &[&[u8]], marks: &mut [bool], others: &[bool], group: &mut Group, other: &mut Group) {
    let mut len;
    let mut highest;
    let mut beside;
    // Groups that are met on the way become part of this one, and it starts again.
    loop {
        len = group.end - group.start;
        beside = false;
        while group.up(texts, marks) {
            other.previous(others);
        }
        highest = group.end;
        beside |= !other.is_empty();
        while group.down(texts, marks) {
            other.next(others);
            beside |= !other.is_empty();
        }
        if len == group.end - group.start {
            break;
        }
    }
    if group.end == highest {
        return;
    }
    if beside {
        while other.is_empty() && group.up(texts, marks) {
            other.previous(others);
        }
        return;
    }
    let first = highest
        .max((group.end - len).saturating_sub(1))
        .max(group.end.saturating_sub(FAR));
    let mut best: Option<(usize, Score)> = None;
    for end in first..=group.end {
        let score = Score::default().add(texts, end).add(texts, end - len);
        if best.as_ref().is_none_or(|(_, known)| score.against(known) <= 0) {
            best = Some((end, score));
        }
    }
    if let Some((end, _)) = best {
        while group.end > end && group.up(texts, marks) {
            other.previous(others);
        }
    }
}

/// How a place to divide the text reads; less is better.
#[derive(Default)]
struct Score {
    indent: i64,
    penalty: i64,
}

/// Columns of space before a line's text; `None` for a blank line.
fn indent(line: &[u8]) -> Option<i64> {
    let mut columns = 0;
    for byte in line {
        match byte {
            b' ' => columns += 1,
            b'\t' => columns += 8 - columns % 8,
            b'\n' | b'\r' | 0x0b | 0x0c => {}
            _ => return Some(columns),
        }
        if columns >= INDENT_MAX {
            return Some(INDENT_MAX);
        }
    }
    None
}

/// Blank lines up to the next that is not, and its indentation.
fn look<'t>(lines: impl Iterator<Item = &'t &'t [u8]>) -> (i64, Option<i64>) {
    let mut blanks = 0;
    for line in lines {
        if let Some(columns) = indent(line) {
            return (blanks, Some(columns));
        }
        blanks += 1;
        if blanks == BLANKS_MAX {
            return (blanks, Some(0));
        }
    }
    (blanks, None)
}

impl Score {
    /// Adds what it costs to divide before this line.
    fn add(mut self, texts: &[&[u8]], at: usize) -> Self {
        let here = texts.get(at).and_then(|line| indent(line));
        let (blanks_before, before) = look(texts.get(..at).unwrap_or_default().iter().rev());
        let (blanks_after, after) = look(texts.get(at + 1..).unwrap_or_default().iter());
        if before.is_none() && blanks_before == 0 {
            self.penalty += 1;
        }
        if at >= texts.len() {
            self.penalty += 21;
        }
        let after_split = if here.is_none() { 1 + blanks_after } else { 0 };
        let blanks = blanks_before + after_split;
        self.penalty += -30 * blanks + 6 * after_split;
        let columns = here.or(after);
        self.indent += columns.unwrap_or(-1);
        let pick = |blank: i64, none: i64| if blanks != 0 { blank } else { none };
        if let (Some(columns), Some(before)) = (columns, before) {
            if columns > before {
                self.penalty += pick(10, -4);
            } else if columns < before {
                let outdent = after.is_some_and(|after| after > columns);
                self.penalty += if outdent { pick(17, 24) } else { pick(17, 23) };
            }
        }
        self
    }

    fn against(&self, other: &Score) -> i64 {
        60 * (self.indent - other.indent).signum() + self.penalty - other.penalty
    }
}
