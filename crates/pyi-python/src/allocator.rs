//! The allocator: mimalloc, asked without an alignment where it has that anyway. Asked with one it takes four times as many instructions for
//! blocks above 1 KB, such as nodes, most of which it makes larger to align them by hand.

use std::alloc::{GlobalAlloc, Layout};
use std::ffi::c_void;

use libmimalloc_sys::{
    mi_free, mi_malloc, mi_malloc_aligned, mi_realloc, mi_realloc_aligned, mi_zalloc, mi_zalloc_aligned,
};

/// mimalloc's blocks are multiples of a pointer, and begin at such.
const ALWAYS_ALIGNED: usize = size_of::<*const c_void>();

pub(crate) struct Allocator;

// SAFETY: mimalloc keeps the contract: what is given back was made by it, with whichever of its calls, and is of the size and the alignment asked
// for (blocks without one: see `ALWAYS_ALIGNED`). None of its calls unwinds.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let block = if layout.align() <= ALWAYS_ALIGNED {
            // SAFETY: any size will do.
            unsafe { mi_malloc(layout.size()) }
        } else {
            // SAFETY: a layout's alignment is a power of two.
            unsafe { mi_malloc_aligned(layout.size(), layout.align()) }
        };
        block.cast()
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let block = if layout.align() <= ALWAYS_ALIGNED {
            // SAFETY: as in `alloc`.
            unsafe { mi_zalloc(layout.size()) }
        } else {
            // SAFETY: as in `alloc`.
            unsafe { mi_zalloc_aligned(layout.size(), layout.align()) }
        };
        block.cast()
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, _layout: Layout) {
        // SAFETY: the caller got the block from here.
        unsafe { mi_free(block.cast()) };
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size_bytes: usize) -> *mut u8 {
        let block = block.cast::<c_void>();
        let block = if layout.align() <= ALWAYS_ALIGNED {
            // SAFETY: the caller got the block from here.
            unsafe { mi_realloc(block, size_bytes) }
        } else {
            // SAFETY: as above, and a layout's alignment is a power of two.
            unsafe { mi_realloc_aligned(block, size_bytes, layout.align()) }
        };
        block.cast()
    }
}
