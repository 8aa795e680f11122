//! What can be wrong with the files of a store, and where.

use std::fmt;

use crate::id::Id;
use crate::index::index_name;
use crate::reflog::log_name;
use crate::segment::segment_name;

/// A file of a store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum StoreFile {
    /// The file that says that this is a store.
    Format,
    /// The segment of this number.
    Segment(u64),
    /// The index of the segment of this number.
    Index(u64),
    /// The ref log of this number.
    RefLog(u64),
}

impl fmt::Display for StoreFile {
    /// The file's name, relative to the store's directory.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreFile::Format => f.write_str("format"),
            StoreFile::Segment(number) => write!(f, "segments/{}", segment_name(*number)),
            StoreFile::Index(number) => write!(f, "segments/{}", index_name(*number)),
            StoreFile::RefLog(number) => write!(f, "refs/{}", log_name(*number)),
        }
    }
}

/// What is wrong at a place.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Flaw {
    /// The file is not there.
    Missing,
    /// The file ends before what it must hold.
    Short,
    /// The header is not what was written.
    Header,
    /// No whole record stands where there was one: bits flipped, sectors were zeroed, swapped, or went elsewhere.
    Record,
    /// The record is whole and its content does not have its id.
    Content,
    /// Bytes that are always zero are not.
    NotZero,
    /// Something that is no record stands behind the end.
    Garbage,
    /// The index does not check, or does not fit its segment.
    Index,
    /// The disk cannot read it.
    Unreadable,
}

impl Flaw {
    /// One word, for machines. O(1).
    pub fn word(self) -> &'static str {
        match self {
            Flaw::Missing => "missing",
            Flaw::Short => "short",
            Flaw::Header => "header",
            Flaw::Record => "record",
            Flaw::Content => "content",
            Flaw::NotZero => "not-zero",
            Flaw::Garbage => "garbage",
            Flaw::Index => "index",
            Flaw::Unreadable => "unreadable",
        }
    }
}

/// A damaged place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The file.
    pub file: StoreFile,
    /// First damaged byte, as far as that can be told.
    pub offset: u64,
    /// Bytes up to the next good one, or to the end.
    pub length: u64,
    /// What is wrong.
    pub flaw: Flaw,
    /// The object whose record this is, if the index, memory or the record's own header still says so.
    pub id: Option<Id>,
    /// Of a ref log: the keys that the damaged record sets, as far as they can still be read.
    pub keys: Vec<Vec<u8>>,
}

impl Fault {
    pub(crate) fn at(file: StoreFile, offset: u64, length: u64, flaw: Flaw) -> Fault {
        Fault {
            file,
            offset,
            length,
            flaw,
            id: None,
            keys: Vec::new(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} offset {} length {}: {}",
            self.file,
            self.offset,
            self.length,
            self.flaw.word()
        )?;
        if let Some(id) = &self.id {
            write!(f, " of object {id}")?;
        }
        Ok(())
    }
}
