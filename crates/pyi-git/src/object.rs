//! Object kinds, an object in memory, and loose objects: one zlib stream of `"<kind> <size>\0<content>"`.
//!
//! Source: gitglossary(7) "object type", the loose format as `git cat-file` and `git hash-object -w` show it. A loose
//! object is `objects/<first two hex digits>/<the rest>`; finding and writing the file is the caller's.

use std::fmt;
use std::sync::Arc;

use crate::bytes::{decimal, split_once};
use crate::oid::{ObjectFormat, Oid, hash_object};
use crate::zlib::{InflateError, Inflater, STORED_EXTRA_BYTES, deflate, store, stored};

/// Longest possible loose header: `commit`, a space, 20 digits and the NUL.
const MAX_HEADER: usize = 32;

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectKind {
    /// A commit.
    Commit,
    /// A directory.
    Tree,
    /// A file's content, or a symlink's target.
    Blob,
    /// An annotated tag.
    Tag,
}

impl ObjectKind {
    /// The word in headers: `commit`, `tree`, `blob`, `tag`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Tree => "tree",
            Self::Blob => "blob",
            Self::Tag => "tag",
        }
    }

    /// The kind that this word names.
    #[must_use]
    pub fn from_bytes(word: &[u8]) -> Option<Self> {
        match word {
            b"commit" => Some(Self::Commit),
            b"tree" => Some(Self::Tree),
            b"blob" => Some(Self::Blob),
            b"tag" => Some(Self::Tag),
            _ => None,
        }
    }

    /// The number that stands for the kind in a pack entry (1 to 4).
    #[must_use]
    pub const fn pack_code(self) -> u8 {
        match self {
            Self::Commit => 1,
            Self::Tree => 2,
            Self::Blob => 3,
            Self::Tag => 4,
        }
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An object's kind and content. Cloning shares the content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// What it is.
    pub kind: ObjectKind,
    /// Its content, without header; shared with the delta-base cache.
    pub data: Arc<Vec<u8>>,
}

impl Object {
    /// An object with this content.
    #[must_use]
    pub fn new(kind: ObjectKind, data: Vec<u8>) -> Self {
        Self {
            kind,
            data: Arc::new(data),
        }
    }

    /// Its name.
    #[must_use]
    pub fn oid(&self, format: ObjectFormat) -> Oid {
        hash_object(format, self.kind, &self.data)
    }

    /// The content by value; copied only if something else holds it too.
    #[must_use]
    pub fn into_data(self) -> Vec<u8> {
        Arc::try_unwrap(self.data).unwrap_or_else(|shared| shared.as_ref().clone())
    }
}

/// Loose objects whose file gets no larger than this are stored as they are: the least that a file takes on most disks.
const STORED_FILE_MAX_BYTES: usize = 4096;

/// What can be wrong with a loose object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// The file ended inside the stream.
    #[error("loose object is truncated")]
    Truncated,
    /// No valid zlib stream, or its checksum is wrong.
    #[error("loose object is no valid zlib stream")]
    Zlib,
    /// The header is not `"<kind> <size>\0"`.
    #[error("loose object has a malformed header")]
    Header,
    /// The kind is none of git's four.
    #[error("loose object has an unknown kind {0:?}")]
    Kind(String),
    /// The content has another length than the header says.
    #[error("loose object's header says {declared} bytes, its content is {}", if *longer { "longer" } else { "shorter" })]
    Size {
        /// The size in the header.
        declared: u64,
        /// Whether the content goes on beyond it.
        longer: bool,
    },
    /// The declared size is over the caller's limit.
    #[error("loose object of {size} bytes is over the limit of {limit}")]
    TooLarge {
        /// The size in the header.
        size: u64,
        /// The limit that was given.
        limit: u64,
    },
    /// Bytes follow the end of the stream.
    #[error("loose object is followed by {0} bytes of garbage")]
    Garbage(usize),
}

impl From<InflateError> for ObjectError {
    fn from(error: InflateError) -> Self {
        match error {
            InflateError::Truncated => Self::Truncated,
            _ => Self::Zlib,
        }
    }
}

/// The header `"<kind> <size>\0"` that is hashed and deflated in front of the content.
#[must_use]
pub fn header(kind: ObjectKind, size: u64) -> String {
    format!("{} {size}\0", kind.as_str())
}

/// Reads kind and size of a loose object from the beginning of its file (the first 512 bytes are enough: the tables of a deflater come first).
///
/// # Errors
/// [`ObjectError`] for what is no loose object, or ends before its header does.
pub fn decode_loose_header(file: &[u8]) -> Result<(ObjectKind, u64), ObjectError> {
    let mut head = [0u8; MAX_HEADER];
    let (kind, size, _) = loose_header(&mut Inflater::default(), file, &mut head)?;
    Ok((kind, size))
}

/// Reads a loose object whole. Content over `limit` bytes is refused before any memory is taken for it.
pub fn decode_loose(file: &[u8], limit: u64) -> Result<Object, ObjectError> {
    let mut inflater = Inflater::default();
    let mut head = [0u8; MAX_HEADER];
    let stored = stored(file);
    let (kind, size, header_len) = match stored {
        Some(content) => read_header(content.get(..MAX_HEADER).unwrap_or(content), content.len() < MAX_HEADER)?,
        None => loose_header(&mut inflater, file, &mut head)?,
    };
    if size > limit {
        return Err(ObjectError::TooLarge { size, limit });
    }
    let total = usize::try_from(size).ok().and_then(|s| s.checked_add(header_len));
    let total = total.ok_or(ObjectError::TooLarge { size, limit })?;
    if let Some(content) = stored {
        let content = content.get(header_len..).unwrap_or_default();
        return match content.len().cmp(&(total - header_len)) {
            std::cmp::Ordering::Equal => Ok(Object::new(kind, content.to_vec())),
            order => Err(ObjectError::Size {
                declared: size,
                longer: order.is_gt(),
            }),
        };
    }
    let (mut data, consumed) = inflater.exact(file, total).map_err(|e| match e {
        InflateError::Short => ObjectError::Size {
            declared: size,
            longer: false,
        },
        InflateError::Long => ObjectError::Size {
            declared: size,
            longer: true,
        },
        other => other.into(),
    })?;
    if consumed < file.len() {
        return Err(ObjectError::Garbage(file.len() - consumed));
    }
    data.drain(..header_len);
    Ok(Object::new(kind, data))
}

/// The file of a loose object, deflated at level 1: what git's `core.looseCompression` is by default. A small one is not made smaller: it would take the
/// same block of a disk, and the tables of a deflater cost more to make than all else about it. Git packs both anew.
#[must_use]
pub fn encode_loose(kind: ObjectKind, content: &[u8]) -> Vec<u8> {
    let head = header(kind, content.len() as u64);
    if head.len() + content.len() + STORED_EXTRA_BYTES <= STORED_FILE_MAX_BYTES
        && let Some(file) = store(&[head.as_bytes(), content])
    {
        return file;
    }
    deflate(&[head.as_bytes(), content], 1)
}

/// Kind, size and length of the header, of which the bytes are left in `head`.
fn loose_header(
    inflater: &mut Inflater,
    file: &[u8],
    head: &mut [u8; MAX_HEADER],
) -> Result<(ObjectKind, u64, usize), ObjectError> {
    let got = inflater.prefix(file, head)?;
    read_header(head.get(..got).unwrap_or_default(), got < MAX_HEADER)
}

/// The same, of what the stream begins with; `is_all`: there is no more of it.
fn read_header(text: &[u8], is_all: bool) -> Result<(ObjectKind, u64, usize), ObjectError> {
    let Some((text, _)) = split_once(text, 0) else {
        return Err(if is_all {
            ObjectError::Truncated
        } else {
            ObjectError::Header
        });
    };
    let (word, digits) = split_once(text, b' ').ok_or(ObjectError::Header)?;
    let size = decimal(digits).ok_or(ObjectError::Header)?;
    let kind =
        ObjectKind::from_bytes(word).ok_or_else(|| ObjectError::Kind(String::from_utf8_lossy(word).into_owned()))?;
    Ok((kind, size, text.len() + 1))
}
