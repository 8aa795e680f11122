//! Ignore rules: patterns from `.gitignore` files and exclude files, and the answer to "is this path ignored?".
//!
//! Source: gitignore(5); the corners are settled by asking `git check-ignore`. [`PatternList`] is one file, parsed once
//! and shared; [`IgnoreStack`] is the files in force at one directory, in order of precedence. [`IgnoreStack::matched`]
//! answers for one path alone: "it is not possible to re-include a file if a parent directory is excluded" is the
//! caller's, who does not descend there, or asks [`IgnoreStack::is_ignored`], which walks the parents.

use std::sync::Arc;

use crate::wildmatch::{WildOptions, has_wildcard, literal_len, wildmatch};

/// One pattern, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// Without `!` in front and `/` behind.
    text: Vec<u8>,
    /// The line as it stands in the file, trailing spaces removed; what `git check-ignore -v` prints.
    original: Vec<u8>,
    /// Its number in the file, from 1.
    line: u32,
    negated: bool,
    dir_only: bool,
    kind: PatternKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PatternKind {
    /// No slash, no wildcard: equals the last component.
    Name,
    /// No slash, `*` and then no wildcard: ends the last component.
    Suffix,
    /// No slash: matched with the last component.
    NameGlob,
    /// A slash at the start or in the middle: matched with the path below the file's directory, of which this many
    /// bytes must be equal first.
    Path(usize),
}

impl Pattern {
    /// Reads one line, without its newline; `None` for a comment or an empty line.
    #[must_use]
    pub fn parse(line: &[u8], number: u32) -> Option<Self> {
        // Git keeps lines as C strings: a NUL ends one.
        let line = line.split(|&b| b == 0).next().unwrap_or_default();
        if line.first() == Some(&b'#') {
            return None;
        }
        let original = trim_trailing_spaces(line);
        if original.is_empty() {
            return None;
        }
        let (negated, text) = match original.strip_prefix(b"!") {
            Some(rest) => (true, rest),
            None => (false, original),
        };
        let (dir_only, text) = match text.strip_suffix(b"/") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let kind = if text.contains(&b'/') {
            let text = text.strip_prefix(b"/").unwrap_or(text);
            PatternKind::Path(literal_len(text))
        } else if !has_wildcard(text) {
            PatternKind::Name
        } else if text.first() == Some(&b'*') && !has_wildcard(text.get(1..).unwrap_or_default()) {
            PatternKind::Suffix
        } else {
            PatternKind::NameGlob
        };
        let text = if matches!(kind, PatternKind::Path(_)) {
            text.strip_prefix(b"/").unwrap_or(text)
        } else {
            text
        };
        Some(Self {
            text: text.to_vec(),
            original: original.to_vec(),
            line: number,
            negated,
            dir_only,
            kind,
        })
    }

    /// Whether the pattern re-includes (`!`).
    #[must_use]
    pub fn is_negated(&self) -> bool {
        self.negated
    }

    /// The pattern as it stands in its file.
    #[must_use]
    pub fn original(&self) -> &[u8] {
        &self.original
    }

    /// Its line in the file, from 1.
    #[must_use]
    pub fn line(&self) -> u32 {
        self.line
    }

    /// Whether it matches a path below the file's directory.
    fn matches(&self, below: &[u8], name: &[u8], is_dir: bool, ignore_case: bool) -> bool {
        if self.dir_only && !is_dir {
            return false;
        }
        let equal = |a: &[u8], b: &[u8]| if ignore_case { a.eq_ignore_ascii_case(b) } else { a == b };
        match self.kind {
            PatternKind::Name => equal(&self.text, name),
            PatternKind::Suffix => {
                let suffix = self.text.get(1..).unwrap_or_default();
                let at = name.len().checked_sub(suffix.len());
                at.and_then(|at| name.get(at..)).is_some_and(|end| equal(end, suffix))
            }
            PatternKind::NameGlob => wildmatch(
                &self.text,
                name,
                WildOptions {
                    ignore_case,
                    pathname: false,
                },
            ),
            PatternKind::Path(literal) => {
                // Equal first, then matched from there on: so git does it, and `x**` counts `**` as at the start.
                let (Some((head, glob)), Some((start, rest))) =
                    (self.text.split_at_checked(literal), below.split_at_checked(literal))
                else {
                    return false;
                };
                equal(head, start)
                    && if glob.is_empty() {
                        rest.is_empty()
                    } else {
                        wildmatch(
                            glob,
                            rest,
                            WildOptions {
                                ignore_case,
                                pathname: true,
                            },
                        )
                    }
            }
        }
    }
}

/// The patterns of one file, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PatternList {
    patterns: Vec<Pattern>,
}

impl PatternList {
    /// Reads a `.gitignore` or exclude file.
    #[must_use]
    pub fn parse(file: &[u8]) -> Self {
        let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
        let lines = file.split(|&b| b == b'\n').zip(1u32..);
        let patterns =
            lines.filter_map(|(line, number)| Pattern::parse(line.strip_suffix(b"\r").unwrap_or(line), number));
        Self {
            patterns: patterns.collect(),
        }
    }

    /// The patterns.
    #[must_use]
    pub fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    /// Whether the file has no pattern.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }
}

/// A file in force: its patterns and the directory they are relative to.
#[derive(Clone, Debug)]
struct Level {
    /// Empty, or ends with `/`.
    prefix: Vec<u8>,
    list: Arc<PatternList>,
}

/// The pattern that decided, and the file it came from.
#[derive(Clone, Copy, Debug)]
pub struct IgnoreMatch<'a> {
    /// The pattern.
    pub pattern: &'a Pattern,
    /// Where its file is.
    pub source: IgnoreSource<'a>,
}

impl IgnoreMatch<'_> {
    /// Whether the path is ignored; `false` if it is expressly re-included.
    #[must_use]
    pub fn is_ignored(&self) -> bool {
        !self.pattern.negated
    }
}

/// Which file a pattern came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IgnoreSource<'a> {
    /// The exclude file that was pushed as this one, from 0.
    Exclude(usize),
    /// The `.gitignore` of this directory: empty for the root, else ends with `/`.
    Directory(&'a [u8]),
}

/// The ignore files in force at one directory.
#[derive(Clone, Debug, Default)]
pub struct IgnoreStack {
    ignore_case: bool,
    excludes: Vec<Level>,
    directories: Vec<Level>,
}

impl IgnoreStack {
    /// No rules. `ignore_case` is `core.ignoreCase`.
    #[must_use]
    pub fn new(ignore_case: bool) -> Self {
        Self {
            ignore_case,
            ..Self::default()
        }
    }

    /// Adds an exclude file: the one of `core.excludesFile` first, then `info/exclude`. Later ones win; every
    /// `.gitignore` wins over all of them.
    pub fn push_exclude(&mut self, list: Arc<PatternList>) {
        self.excludes.push(Level {
            prefix: Vec::new(),
            list,
        });
    }

    /// Enters a directory (empty for the root, else relative to it) with the patterns of its `.gitignore`.
    pub fn push_directory(&mut self, directory: &[u8], list: Arc<PatternList>) {
        let mut prefix = directory.to_vec();
        if !prefix.is_empty() && prefix.last() != Some(&b'/') {
            prefix.push(b'/');
        }
        self.directories.push(Level { prefix, list });
    }

    /// Leaves the directory that was entered last.
    pub fn pop_directory(&mut self) {
        self.directories.pop();
    }

    /// What the last pattern that matches this very path says: `Some(true)` ignored, `Some(false)` re-included.
    #[must_use]
    pub fn matched(&self, path: &[u8], is_dir: bool) -> Option<bool> {
        self.find(path, is_dir).map(|found| found.is_ignored())
    }

    /// The last pattern that matches this very path.
    #[must_use]
    pub fn find(&self, path: &[u8], is_dir: bool) -> Option<IgnoreMatch<'_>> {
        let name_at = path.iter().rposition(|&b| b == b'/').map_or(0, |slash| slash + 1);
        let name = path.get(name_at..).unwrap_or_default();
        let in_level = |level: &'_ Level| {
            let below = path.strip_prefix(level.prefix.as_slice())?;
            level
                .list
                .patterns
                .iter()
                .rposition(|p| p.matches(below, name, is_dir, self.ignore_case))
        };
        for level in self.directories.iter().rev() {
            if let Some(pattern) = in_level(level).and_then(|at| level.list.patterns.get(at)) {
                return Some(IgnoreMatch {
                    pattern,
                    source: IgnoreSource::Directory(&level.prefix),
                });
            }
        }
        for (number, level) in self.excludes.iter().enumerate().rev() {
            if let Some(pattern) = in_level(level).and_then(|at| level.list.patterns.get(at)) {
                return Some(IgnoreMatch {
                    pattern,
                    source: IgnoreSource::Exclude(number),
                });
            }
        }
        None
    }

    /// The pattern that decides about a path: the one that ignores its topmost ignored parent, else its own.
    #[must_use]
    pub fn decide(&self, path: &[u8], is_dir: bool) -> Option<IgnoreMatch<'_>> {
        for (at, _) in path.iter().enumerate().filter(|&(_, &b)| b == b'/') {
            let parent = self.find(path.get(..at).unwrap_or_default(), true);
            if parent.is_some_and(|found| found.is_ignored()) {
                return parent;
            }
        }
        self.find(path, is_dir)
    }

    /// Whether a path is ignored, by itself or because a parent is.
    #[must_use]
    pub fn is_ignored(&self, path: &[u8], is_dir: bool) -> bool {
        self.decide(path, is_dir).is_some_and(|found| found.is_ignored())
    }
}

/// The line without spaces at its end, of which a backslash keeps the first.
fn trim_trailing_spaces(line: &[u8]) -> &[u8] {
    let mut end = 0;
    let mut at = 0;
    while let Some(&byte) = line.get(at) {
        match byte {
            b' ' => at += 1,
            b'\\' => {
                at = (at + 2).min(line.len());
                end = at;
            }
            _ => {
                at += 1;
                end = at;
            }
        }
    }
    line.get(..end).unwrap_or(line)
}
