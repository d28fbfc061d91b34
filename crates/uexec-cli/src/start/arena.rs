//! The allocator: before the C library is set up blocks are cut from a small arena; afterwards the
//! C library's own is used.

use core::alloc::{GlobalAlloc, Layout};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::alloc::System;

use uexec_early::Bump;

static EARLY: Bump<{ crate::OWN_FAILURE }> = Bump::new();
static SHORT: AtomicBool = AtomicBool::new(false);

/// Cuts blocks from the arena from now on.
pub(super) fn open() {
    EARLY.open();
    SHORT.store(true, Relaxed);
}

/// Gives mapped pages back and leaves allocating to the C library.
///
/// # Safety
/// No block handed out since [`open`] may be used any more.
pub(super) unsafe fn close() {
    SHORT.store(false, Relaxed);
    // SAFETY: the caller's promise.
    unsafe { EARLY.close() };
}

/// A block of the C library's, if it had one.
fn present(block: *mut u8) -> *mut u8 {
    if block.is_null() { EARLY.out_of_memory() } else { block }
}

struct Alloc;

#[global_allocator]
static ALLOC: Alloc = Alloc;

// SAFETY: both allocators keep the promise, and no block outlives the change from one to the other.
unsafe impl GlobalAlloc for Alloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if SHORT.load(Relaxed) {
            // SAFETY: the caller's promise, passed on.
            return unsafe { EARLY.alloc(layout) };
        }
        // SAFETY: likewise.
        present(unsafe { System.alloc(layout) })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if SHORT.load(Relaxed) {
            // SAFETY: the caller's promise, passed on.
            return unsafe { EARLY.dealloc(block, layout) };
        }
        // SAFETY: no early block is in use any more, so it came from the system's allocator; the
        // caller's promise.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if SHORT.load(Relaxed) {
            // SAFETY: the caller's promise, passed on.
            return unsafe { EARLY.realloc(block, layout, new_size) };
        }
        // SAFETY: as in `dealloc`.
        present(unsafe { System.realloc(block, layout, new_size) })
    }
}
