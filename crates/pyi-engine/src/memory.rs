//! Memory that the content of an array stands in, one piece, for programs to compute on. Knows no arrays.

use memmap2::{Advice, MmapMut};

use crate::{Error, Result};

/// Above this, memory is mapped: it costs nothing before it is touched.
const MAP_ABOVE_BYTES: usize = 256 << 10;
/// A stretch that is filled at once and is longer than this asks for huge pages: one fault then stands for 512.
pub(crate) const BULK_BYTES: usize = 4 << 20;

enum Owner {
    /// Words of 16 bytes, so that it is aligned for every element.
    Heap(#[allow(dead_code)] Vec<u128>),
    Map(MmapMut),
    Foreign(#[allow(dead_code)] Box<dyn Send + Sync>),
}

/// A piece of memory that is written through raw pointers, by programs that this library does not know.
pub struct Memory {
    owner: Owner,
    start: *mut u8,
    size_bytes: usize,
}

// SAFETY: the owner may be sent and shared, and the pointer is to what it owns. What is read or written there is up to the users of
// the pointer, who have to agree among themselves, as with any buffer that Python programs share.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let content = pyi_cas::Kind::Blob.id_of(Source::of_memory(self).peek(0, self.size_bytes));
        write!(f, "Memory({} bytes, {content})", self.size_bytes)
    }
}

impl Memory {
    /// Memory that is all zero. O(1) above 256 KB.
    ///
    /// # Errors
    /// `Storage` if the system has no room.
    pub fn zeroed(size_bytes: usize) -> Result<Self> {
        if size_bytes <= MAP_ABOVE_BYTES {
            let mut words = vec![0_u128; size_bytes.div_ceil(16).max(1)];
            let start = words.as_mut_ptr().cast();
            let owner = Owner::Heap(words);
            return Ok(Memory {
                owner,
                start,
                size_bytes,
            });
        }
        let mut map = MmapMut::map_anon(size_bytes)
            .map_err(|error| Error::io("cannot get memory", format!("{size_bytes} bytes").as_ref(), &error))?;
        let start = map.as_mut_ptr();
        Ok(Memory {
            owner: Owner::Map(map),
            start,
            size_bytes,
        })
    }

    /// Memory that somebody else owns. O(1).
    ///
    /// # Safety
    /// `start` is valid for reads and writes of `size_bytes` as long as `owner` lives.
    #[must_use]
    pub unsafe fn foreign(start: *mut u8, size_bytes: usize, owner: Box<dyn Send + Sync>) -> Self {
        Memory {
            owner: Owner::Foreign(owner),
            start,
            size_bytes,
        }
    }

    /// Where it begins.
    #[must_use]
    pub fn start(&self) -> *mut u8 {
        self.start
    }

    /// Its length in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// A copy of all of it, as it is at this moment. O(bytes).
    #[must_use]
    pub fn copy(&self) -> Vec<u8> {
        Source::of_memory(self).peek(0, self.size_bytes).to_vec()
    }

    /// Copies all of it, as it is at this moment, to the beginning of `bytes`. O(bytes).
    pub fn copy_to(&self, bytes: &mut [u8]) {
        let size_bytes = self.size_bytes.min(bytes.len());
        bytes[..size_bytes].copy_from_slice(Source::of_memory(self).peek(0, size_bytes));
    }

    /// Says that all of a stretch will be filled now.
    pub(crate) fn fill_soon(&self, from: usize, to: usize) {
        if let Owner::Map(map) = &self.owner
            && to - from >= BULK_BYTES
        {
            // Advice; whoever cannot take it does without.
            let _ = map.advise_range(Advice::HugePage, from, to - from);
        }
    }

    /// Puts bytes in. The place must be inside.
    pub(crate) fn put(&self, at: usize, bytes: &[u8]) {
        debug_assert!(at + bytes.len() <= self.size_bytes);
        if at.checked_add(bytes.len()).is_none_or(|end| end > self.size_bytes) {
            return;
        }
        // SAFETY: the stretch is inside the memory, checked above, and `bytes` is a slice that cannot overlap what is written through
        // raw pointers only.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.add(at), bytes.len()) }
    }
}

/// Bytes that may change while they are looked at: memory that a program goes on computing in.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    start: *const u8,
    size_bytes: usize,
    /// Nobody changes them.
    pub(crate) is_stable: bool,
    _lives: std::marker::PhantomData<&'a u8>,
}

impl<'a> Source<'a> {
    pub(crate) fn of_memory(memory: &'a Memory) -> Self {
        Source {
            start: memory.start,
            size_bytes: memory.size_bytes,
            is_stable: false,
            _lives: std::marker::PhantomData,
        }
    }

    pub(crate) fn of_bytes(bytes: &'a [u8], is_stable: bool) -> Self {
        Source {
            start: bytes.as_ptr(),
            size_bytes: bytes.len(),
            is_stable,
            _lives: std::marker::PhantomData,
        }
    }

    /// The bytes of a stretch, cut at the end.
    ///
    /// Where the source is not stable they may change under the reader: nothing may be concluded from them but whether it is worth
    /// while to make a copy.
    pub(crate) fn peek(&self, from: usize, size_bytes: usize) -> &'a [u8] {
        let from = from.min(self.size_bytes);
        let size_bytes = size_bytes.min(self.size_bytes - from);
        // SAFETY: inside the memory, which lives for 'a. A program that writes there at the same time makes the bytes any bytes,
        // which is what callers expect.
        unsafe { std::slice::from_raw_parts(self.start.add(from), size_bytes) }
    }

    /// A copy of a stretch in `copy`, cut at the end.
    pub(crate) fn copy(&self, from: usize, size_bytes: usize, copy: &mut Vec<u8>) {
        copy.clear();
        copy.extend_from_slice(self.peek(from, size_bytes));
    }
}
