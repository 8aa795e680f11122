//! Annotated tags: which object they name, of which kind, and the rest as it stands.
//!
//! Source: git-mktag(1). Lines are `object`, `type`, `tag`, and usually `tagger`; a blank line and the message follow,
//! with any signature at its end. Tags from before 2005 have no tagger.

use crate::commit::{CommitError, Headers};
use crate::object::ObjectKind;
use crate::oid::{ObjectFormat, Oid};

/// What can be wrong with a tag.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    /// A line that must be there is not, or not in its place.
    #[error("tag has no {0} line where one belongs")]
    Missing(&'static str),
    /// `object` is followed by something that is no object name of the repository's format.
    #[error("tag has a malformed object name")]
    Oid,
    /// `type` is followed by something that is no kind of object.
    #[error("tag names an unknown kind of object")]
    Kind,
    /// A header line without newline or without value.
    #[error("tag has a malformed header line at byte {0}")]
    Header(usize),
}

/// An annotated tag, borrowed from its bytes; also what is filled in to write one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag<'a> {
    /// The object that is tagged.
    pub target: Oid,
    /// What that object is.
    pub target_kind: ObjectKind,
    /// The tag's own name.
    pub name: &'a [u8],
    /// The tagger line's value.
    pub tagger: Option<&'a [u8]>,
    /// Every header after that, in order, as in [`crate::commit::Commit::headers`].
    pub headers: Vec<(&'a [u8], &'a [u8])>,
    /// What follows the blank line, signature included.
    pub message: &'a [u8],
}

impl<'a> Tag<'a> {
    /// Reads a tag's content.
    pub fn parse(format: ObjectFormat, data: &'a [u8]) -> Result<Self, TagError> {
        let mut lines = Headers { data, at: 0 };
        let target = lines
            .oid(format, "object")
            .map_err(|_| TagError::Oid)?
            .ok_or(TagError::Missing("object"))?;
        let word = lines.named("type").ok_or(TagError::Missing("type"))?;
        let target_kind = ObjectKind::from_bytes(word).ok_or(TagError::Kind)?;
        let name = lines.named("tag").ok_or(TagError::Missing("tag"))?;
        let tagger = lines.named("tagger");
        let mut headers = Vec::new();
        while let Some(header) = lines.header().map_err(|e| match e {
            CommitError::Header(at) => TagError::Header(at),
            _ => TagError::Header(lines.at),
        })? {
            headers.push(header);
        }
        Ok(Self {
            target,
            target_kind,
            name,
            tagger,
            headers,
            message: lines.message(),
        })
    }

    /// The tag's content.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.message.len() + 256);
        out.extend_from_slice(b"object ");
        self.target.write_hex(&mut out);
        out.extend_from_slice(b"\ntype ");
        out.extend_from_slice(self.target_kind.as_str().as_bytes());
        out.extend_from_slice(b"\ntag ");
        out.extend_from_slice(self.name);
        let tagger = self.tagger.map(|t| (b"tagger".as_slice(), t));
        for (name, value) in tagger.iter().chain(&self.headers) {
            out.push(b'\n');
            out.extend_from_slice(name);
            out.push(b' ');
            out.extend_from_slice(value);
        }
        out.extend_from_slice(b"\n\n");
        out.extend_from_slice(self.message);
        out
    }
}
