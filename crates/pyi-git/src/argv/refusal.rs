//! Why an argument vector means nothing.

use std::fmt;

/// What is wrong, and with which word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// What is wrong.
    pub kind: RefusalKind,
    /// Whose rule it breaks: a command's name; empty for git's own options.
    pub command: &'static str,
    /// The word, as it was given.
    pub word: &'a [u8],
    /// Where it stands in the vector.
    pub at: usize,
}

/// What can be wrong with a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// Git has no such command: it may be an alias, or a program `git-NAME` on PATH.
    UnknownCommand,
    /// The command has no such option, or not together with what stands before it in one word.
    UnknownOption,
    /// The short form of more than one option.
    AmbiguousOption,
    /// An option that needs a value has none.
    MissingValue,
    /// An option that takes no value was given one.
    UnexpectedValue,
}

impl RefusalKind {
    /// A word for it, for counting.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            RefusalKind::UnknownCommand => "unknown-command",
            RefusalKind::UnknownOption => "unknown-option",
            RefusalKind::AmbiguousOption => "ambiguous-option",
            RefusalKind::MissingValue => "missing-value",
            RefusalKind::UnexpectedValue => "unexpected-value",
        }
    }
}

impl fmt::Display for Refusal<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = String::from_utf8_lossy(self.word);
        let what = match self.kind {
            RefusalKind::UnknownCommand => return write!(out, "{word:?} is no git command"),
            RefusalKind::UnknownOption => "is no option",
            RefusalKind::AmbiguousOption => "may be more than one option",
            RefusalKind::MissingValue => "needs a value",
            RefusalKind::UnexpectedValue => "takes no value",
        };
        let of = if self.command.is_empty() { "" } else { " " };
        write!(out, "{word:?} {what} of git{of}{}", self.command)
    }
}

impl std::error::Error for Refusal<'_> {}
