//! Commit objects: header lines, a blank line, the message.
//!
//! Source: git-commit-tree(1), `git cat-file commit`. Lines are `tree`, any number of `parent`, `author`, `committer`,
//! then any others (`encoding`, `gpgsig`, `mergetag`, what future versions add), each perhaps continued on lines that
//! begin with a space. Signature lines and extra headers stay bytes, so that writing what was read gives it back.

use std::borrow::Cow;

use crate::bytes::split_once;
use crate::oid::{ObjectFormat, Oid};
use crate::signature::{Signature, SignatureError};

/// What can be wrong with a commit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// A line that must be there is not, or not in its place.
    #[error("commit has no {0} line where one belongs")]
    Missing(&'static str),
    /// `tree` or `parent` is followed by something that is no object name of the repository's format.
    #[error("commit has a malformed object name in its {0} line")]
    Oid(&'static str),
    /// A header line without newline or without value.
    #[error("commit has a malformed header line at byte {0}")]
    Header(usize),
}

/// A commit, borrowed from its bytes; also what is filled in to write one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit<'a> {
    /// The tree.
    pub tree: Oid,
    /// The parents, in order.
    pub parents: Vec<Oid>,
    /// The author line's value.
    pub author: &'a [u8],
    /// The committer line's value.
    pub committer: &'a [u8],
    /// Every header after `committer`, in order: name and value as it stands, continuation lines still indented.
    pub headers: Vec<(&'a [u8], &'a [u8])>,
    /// What follows the blank line.
    pub message: &'a [u8],
}

impl<'a> Commit<'a> {
    /// Reads a commit's content.
    pub fn parse(format: ObjectFormat, data: &'a [u8]) -> Result<Self, CommitError> {
        let mut lines = Headers { data, at: 0 };
        let tree = lines.oid(format, "tree")?.ok_or(CommitError::Missing("tree"))?;
        let mut parents = Vec::new();
        while let Some(parent) = lines.oid(format, "parent")? {
            parents.push(parent);
        }
        let author = lines.named("author").ok_or(CommitError::Missing("author"))?;
        let committer = lines.named("committer").ok_or(CommitError::Missing("committer"))?;
        let mut headers = Vec::new();
        while let Some(header) = lines.header()? {
            headers.push(header);
        }
        Ok(Self {
            tree,
            parents,
            author,
            committer,
            headers,
            message: lines.message(),
        })
    }

    /// The commit's content.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.message.len() + 256);
        out.extend_from_slice(b"tree ");
        self.tree.write_hex(&mut out);
        for parent in &self.parents {
            out.extend_from_slice(b"\nparent ");
            parent.write_hex(&mut out);
        }
        out.extend_from_slice(b"\nauthor ");
        out.extend_from_slice(self.author);
        out.extend_from_slice(b"\ncommitter ");
        out.extend_from_slice(self.committer);
        for (name, value) in &self.headers {
            out.push(b'\n');
            out.extend_from_slice(name);
            out.push(b' ');
            out.extend_from_slice(value);
        }
        out.extend_from_slice(b"\n\n");
        out.extend_from_slice(self.message);
        out
    }

    /// The author line, taken apart.
    pub fn author(&self) -> Result<Signature, SignatureError> {
        Signature::parse(self.author)
    }

    /// The committer line, taken apart.
    pub fn committer(&self) -> Result<Signature, SignatureError> {
        Signature::parse(self.committer)
    }

    /// The first extra header of that name, continuation lines joined.
    #[must_use]
    pub fn header(&self, name: &[u8]) -> Option<Cow<'a, [u8]>> {
        self.headers
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, value)| unfold(value))
    }

    /// The message's encoding, if it is not UTF-8.
    #[must_use]
    pub fn encoding(&self) -> Option<Cow<'a, [u8]>> {
        self.header(b"encoding")
    }
}

/// The value of a header with the space in front of each continuation line removed.
#[must_use]
pub fn unfold(value: &[u8]) -> Cow<'_, [u8]> {
    if !value.contains(&b'\n') {
        return Cow::Borrowed(value);
    }
    let mut out = Vec::with_capacity(value.len());
    for (i, line) in value.split(|&b| b == b'\n').enumerate() {
        if i > 0 {
            out.push(b'\n');
        }
        out.extend_from_slice(if i > 0 {
            line.strip_prefix(b" ").unwrap_or(line)
        } else {
            line
        });
    }
    Cow::Owned(out)
}

/// A value as it stands in a header: a space in front of every line but the first.
#[must_use]
pub fn fold(value: &[u8]) -> Cow<'_, [u8]> {
    if !value.contains(&b'\n') {
        return Cow::Borrowed(value);
    }
    let mut out = Vec::with_capacity(value.len() + 16);
    for (i, line) in value.split(|&b| b == b'\n').enumerate() {
        if i > 0 {
            out.extend_from_slice(b"\n ");
        }
        out.extend_from_slice(line);
    }
    Cow::Owned(out)
}

/// Name and value of a header line.
type Header<'a> = (&'a [u8], &'a [u8]);

/// The header lines of a commit or tag, read one after the other.
pub(crate) struct Headers<'a> {
    pub(crate) data: &'a [u8],
    pub(crate) at: usize,
}

impl<'a> Headers<'a> {
    fn rest(&self) -> &'a [u8] {
        self.data.get(self.at..).unwrap_or_default()
    }

    /// The value of the next line if its name is `name`.
    pub(crate) fn named(&mut self, name: &str) -> Option<&'a [u8]> {
        let value = self.rest().strip_prefix(name.as_bytes())?.strip_prefix(b" ")?;
        let (value, _) = split_once(value, b'\n')?;
        self.at += name.len() + 1 + value.len() + 1;
        Some(value)
    }

    /// The object name in the next line if its name is `name`.
    pub(crate) fn oid(&mut self, format: ObjectFormat, name: &'static str) -> Result<Option<Oid>, CommitError> {
        match self.named(name) {
            None => Ok(None),
            Some(hex) => match Oid::from_hex(hex) {
                Ok(oid) if oid.format() == format => Ok(Some(oid)),
                _ => Err(CommitError::Oid(name)),
            },
        }
    }

    /// The next header of any name, with its continuation lines; `None` at the blank line or the end.
    pub(crate) fn header(&mut self) -> Result<Option<Header<'a>>, CommitError> {
        let rest = self.rest();
        if rest.is_empty() || rest.first() == Some(&b'\n') {
            return Ok(None);
        }
        let malformed = CommitError::Header(self.at);
        let mut end = rest.iter().position(|&b| b == b'\n').ok_or(malformed.clone())?;
        while rest.get(end + 1) == Some(&b' ') {
            let more = rest.get(end + 1..).unwrap_or_default();
            end += 1 + more.iter().position(|&b| b == b'\n').ok_or(malformed.clone())?;
        }
        let line = rest.get(..end).unwrap_or_default();
        let (name, value) = split_once(line, b' ')
            .filter(|(name, _)| !name.is_empty())
            .ok_or(malformed)?;
        self.at += end + 1;
        Ok(Some((name, value)))
    }

    /// What follows the blank line.
    pub(crate) fn message(&self) -> &'a [u8] {
        self.rest().strip_prefix(b"\n").unwrap_or_default()
    }
}
