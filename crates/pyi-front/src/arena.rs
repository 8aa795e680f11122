//! The program's memory: the first of it from one region that is laid out without gaps, the rest from the C library.
//!
//! A short command lives for less than a millisecond and spends much of that on the first touch of pages: a general allocator keeps
//! sizes apart and writes a head before each block, so it touches more of them. Here a block stands right behind the one before, and is given
//! back only while it is the last one. What does not fit into the region, and whatever is large, is the C library's, so that a long
//! command pays at most [`SIZE`] for it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

/// Bytes of the region. Only pages that are touched cost anything.
const SIZE: usize = 4 << 20;
/// The largest block of the region, bytes: what is larger should go back to the system when it is dropped.
const LARGEST: usize = 32 << 10;
/// The region's alignment, and so the largest that it serves, bytes.
const ALIGN: usize = 4096;

#[repr(C, align(4096))]
struct Region(UnsafeCell<[u8; SIZE]>);

/// An allocator: see the module. Any thread may use it; O(1).
pub(crate) struct Arena {
    region: Region,
    /// Where the last block ends, bytes from the region's start. It only ever stands where a live block ends or where none follows,
    /// and moves by compare-and-swap: whoever moves it owns the bytes that it moved over. What was done to a block before it was given back
    /// happens before what is done by whoever gets the same bytes next.
    end: AtomicUsize,
}

// SAFETY: bytes of the region are only handed out, each to one owner at a time (`end`).
unsafe impl Sync for Arena {}

impl Arena {
    pub(crate) const fn new() -> Self {
        Arena {
            region: Region(UnsafeCell::new([0; SIZE])),
            end: AtomicUsize::new(0),
        }
    }

    fn start(&self) -> *mut u8 {
        self.region.0.get().cast()
    }

    /// Where a block starts in the region; `None` when it is the C library's.
    fn offset(&self, block: *mut u8) -> Option<usize> {
        let offset = block.addr().wrapping_sub(self.start().addr());
        (offset < SIZE).then_some(offset)
    }

    /// A block of the region; `None` when it is too large for it or the region is used up.
    fn take(&self, layout: Layout) -> Option<*mut u8> {
        if layout.size() > LARGEST || layout.align() > ALIGN {
            return None;
        }
        let mut last = self.end.load(Relaxed);
        loop {
            let start = last.next_multiple_of(layout.align());
            let end = start + layout.size();
            if end > SIZE {
                return None;
            }
            match self.end.compare_exchange_weak(last, end, Acquire, Relaxed) {
                // SAFETY: within the region.
                Ok(_) => return Some(unsafe { self.start().add(start) }),
                Err(now) => last = now,
            }
        }
    }

    /// Moves the end of the last block; false when the block that ends at `from` is not the last one.
    fn move_end(&self, from: usize, to: usize) -> bool {
        to <= SIZE && self.end.compare_exchange(from, to, AcqRel, Relaxed).is_ok()
    }
}

// SAFETY: a block of the region is aligned, as large as asked for, and nobody else's (`end`); others are the C library's, which
// gets back exactly those.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller says.
        self.take(layout).unwrap_or_else(|| unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match self.take(layout) {
            Some(block) => {
                // SAFETY: as large as the layout. A block before it may have left something there.
                unsafe { ptr::write_bytes(block, 0, layout.size()) };
                block
            }
            // SAFETY: as the caller says.
            None => unsafe { System.alloc_zeroed(layout) },
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match self.offset(block) {
            Some(offset) => {
                self.move_end(offset + layout.size(), offset);
            }
            // SAFETY: not of the region, so the C library's.
            None => unsafe { System.dealloc(block, layout) },
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Some(offset) = self.offset(block) else {
            // SAFETY: not of the region, so the C library's.
            return unsafe { System.realloc(block, layout, size) };
        };
        if size <= LARGEST && self.move_end(offset + layout.size(), offset + size) || size <= layout.size() {
            return block;
        }
        // SAFETY: the caller says that the size is a valid one for this alignment; the old block is given up after its copy is made.
        unsafe {
            let wanted = Layout::from_size_align_unchecked(size, layout.align());
            let larger = self.alloc(wanted);
            if !larger.is_null() {
                ptr::copy_nonoverlapping(block, larger, layout.size());
                self.dealloc(block, layout);
            }
            larger
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    static ARENA: Arena = Arena::new();
    static OTHER: Arena = Arena::new();

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    /// Draws the next number below `limit` (Knuth's multiplier; high bits).
    fn below(state: &mut u64, limit: usize) -> usize {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (*state >> 33) as usize % limit
    }

    /// Four threads hold blocks of any size, each filled with a byte of its own, grow, shrink and drop them, past the end of
    /// the region: every block keeps its bytes and its alignment, whoever else takes and gives back meanwhile.
    #[test]
    fn each_block_keeps_its_bytes_whatever_its_neighbours_do() {
        let hold = |seed: u64| {
            let mut state = seed;
            let mut held: Vec<(*mut u8, Layout, u8)> = Vec::new();
            for step in 0..20_000_usize {
                let what = below(&mut state, 10);
                if what < 5 || held.is_empty() {
                    let size = 1 + below(&mut state, if what == 0 { 3 * LARGEST } else { 300 });
                    let wanted = layout(size, 1 << below(&mut state, 8));
                    let fill = (step % 251) as u8;
                    // SAFETY: a size above zero, and as many bytes written as asked for.
                    let block = unsafe {
                        let zeroed = step % 3 == 0;
                        let block = if zeroed {
                            ARENA.alloc_zeroed(wanted)
                        } else {
                            ARENA.alloc(wanted)
                        };
                        assert!(!zeroed || (0..size).all(|at| *block.add(at) == 0));
                        block.write_bytes(fill, size);
                        block
                    };
                    assert_eq!(block.addr() % wanted.align(), 0);
                    held.push((block, wanted, fill));
                    continue;
                }
                // The youngest more often than not: it is the one that is given back in place.
                let at = if what < 8 {
                    held.len() - 1
                } else {
                    below(&mut state, held.len())
                };
                let (block, was, fill) = held.swap_remove(at);
                // SAFETY: a live block of this layout.
                unsafe {
                    assert!(
                        (0..was.size()).all(|at| *block.add(at) == fill),
                        "a block of {was:?} was written to"
                    );
                    if what < 7 {
                        ARENA.dealloc(block, was);
                    } else {
                        let size = 1 + below(&mut state, 2 * was.size());
                        let block = ARENA.realloc(block, was, size);
                        assert!((0..size.min(was.size())).all(|at| *block.add(at) == fill));
                        block.write_bytes(fill, size);
                        held.push((block, layout(size, was.align()), fill));
                    }
                }
            }
            for (block, was, fill) in held {
                // SAFETY: a live block of this layout.
                unsafe {
                    assert!((0..was.size()).all(|at| *block.add(at) == fill));
                    ARENA.dealloc(block, was);
                }
            }
        };
        thread::scope(|scope| {
            for seed in 1..=4 {
                scope.spawn(move || hold(seed));
            }
        });
    }

    #[test]
    fn the_last_block_grows_in_place_and_is_given_back_and_what_is_large_is_the_c_librarys() {
        let arena = &OTHER;
        // SAFETY: live blocks of these layouts.
        unsafe {
            let first = arena.alloc(layout(100, 8));
            assert_eq!(arena.offset(first), Some(0));
            assert_eq!(arena.realloc(first, layout(100, 8), 5_000), first);
            assert_eq!(arena.realloc(first, layout(5_000, 8), 50), first);
            assert_eq!(arena.offset(arena.alloc(layout(8, 64))), Some(64));
            let moved = arena.realloc(first, layout(50, 8), 60);
            assert_eq!(arena.offset(moved), Some(72), "another block stands behind it");
            arena.dealloc(moved, layout(60, 8));
            assert_eq!(arena.end.load(Relaxed), 72);
            let large = arena.alloc(layout(LARGEST + 1, 8));
            assert_eq!(arena.offset(large), None);
            arena.dealloc(large, layout(LARGEST + 1, 8));
        }
    }
}
