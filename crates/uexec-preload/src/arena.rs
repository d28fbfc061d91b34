//! Memory for one call at a time. A child of `vfork(2)` runs in its parent's memory, of which
//! other threads may hold the C library's locks: it must not call `malloc(3)`, and what it leaves
//! behind would stay in the parent.
//!
//! While a call runs, everything this library allocates comes from a region that is claimed for it
//! and given back as a whole. Nothing allocated in it outlives the call.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

/// Address space of a region: more than all strings of an exec can take, twice. Only what is used
/// of it becomes memory.
const SIZES: [usize; 3] = [64 << 20, 8 << 20, 1 << 20];

/// So much of a region is kept when it is given back.
const KEPT: usize = 256 << 10;

/// A region: its first bytes are this.
#[derive(Debug)]
struct Region {
    used: Cell<usize>,
    len: usize,
}

/// Regions that are kept for the next call.
static POOL: [Slot; 16] =
    [const { Slot { taken: AtomicBool::new(false), region: AtomicPtr::new(null_mut()) } }; 16];

struct Slot {
    taken: AtomicBool,
    region: AtomicPtr<Region>,
}

thread_local! {
    /// The region of the call that this thread is in. A child of `vfork(2)` has its parent's, which
    /// waits for it.
    static CURRENT: Cell<*mut Region> = const { Cell::new(null_mut()) };
}

/// A claimed region; everything allocated from it is gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Arena {
    region: *mut Region,
    slot: Option<usize>,
}

impl Arena {
    /// Claims a region for this thread, which must not be in one already; `None` when there is no
    /// memory for one.
    pub(crate) fn enter() -> Option<Arena> {
        let free = |slot: &Slot| !slot.taken.swap(true, Ordering::Acquire);
        let slot = POOL.iter().position(free);
        let kept =
            slot.and_then(|i| POOL.get(i)).map_or(null_mut(), |s| s.region.load(Ordering::Relaxed));
        let region = if kept.is_null() { map() } else { kept };
        let arena = Arena { region, slot };
        if region.is_null() {
            return None;
        }
        CURRENT.set(region);
        Some(arena)
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        CURRENT.set(null_mut());
        let region = self.region;
        let Some(slot) = self.slot.and_then(|i| POOL.get(i)) else {
            if !region.is_null() {
                // SAFETY: this thread's, and mapped.
                let len = unsafe { &*region }.len;
                // SAFETY: mapped by `map`, and nothing in it is used any more.
                unsafe { libc::munmap(region.cast(), len) };
            }
            return;
        };
        if !region.is_null() {
            // SAFETY: this thread's, and mapped.
            let head = unsafe { &*region };
            if head.used.get() > KEPT {
                // SAFETY: inside the region, page-aligned; nothing in it is used any more.
                let rest = unsafe { region.cast::<u8>().add(KEPT) };
                // SAFETY: likewise.
                unsafe { libc::madvise(rest.cast(), head.len - KEPT, libc::MADV_DONTNEED) };
            }
            head.used.set(size_of::<Region>());
        }
        slot.region.store(region, Ordering::Relaxed);
        slot.taken.store(false, Ordering::Release);
    }
}

/// A new region.
fn map() -> *mut Region {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    for len in SIZES {
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let at = unsafe {
            libc::mmap(null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0)
        };
        if at != libc::MAP_FAILED {
            let region = at.cast::<Region>();
            // SAFETY: mapped, writable, aligned and large enough.
            unsafe { region.write(Region { used: Cell::new(size_of::<Region>()), len }) };
            return region;
        }
    }
    null_mut()
}

/// From the current call's region, or outside of calls from the C library.
struct Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

// SAFETY: memory of a region is handed out once, aligned, and stays until the call ends; the rest
// is the system's allocator.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let region = CURRENT.get();
        if region.is_null() {
            // SAFETY: the caller's promise.
            return unsafe { System.alloc(layout) };
        }
        // SAFETY: this thread's region, which is mapped.
        let head = unsafe { &*region };
        let start = head.used.get().next_multiple_of(layout.align());
        match start.checked_add(layout.size()) {
            Some(end) if end <= head.len => {
                head.used.set(end);
                // SAFETY: inside the region.
                unsafe { region.cast::<u8>().add(start) }
            }
            _ => null_mut(),
        }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        let region = CURRENT.get();
        if region.is_null() {
            // SAFETY: the caller's promise: it is the system's.
            return unsafe { System.dealloc(ptr, layout) };
        }
        // SAFETY: this thread's region, which is mapped.
        let head = unsafe { &*region };
        let start = (ptr as usize).wrapping_sub(region as usize);
        // The last one makes room again.
        if start.checked_add(layout.size()) == Some(head.used.get()) {
            head.used.set(start);
        }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new: usize) -> *mut u8 {
        let region = CURRENT.get();
        if region.is_null() {
            // SAFETY: the caller's promise: it is the system's.
            return unsafe { System.realloc(ptr, layout, new) };
        }
        // SAFETY: this thread's region, which is mapped.
        let head = unsafe { &*region };
        let start = (ptr as usize).wrapping_sub(region as usize);
        // The last one grows where it is.
        if start.checked_add(layout.size()) == Some(head.used.get())
            && start.checked_add(new).is_some_and(|end| end <= head.len)
        {
            head.used.set(start + new);
            return ptr;
        }
        let Ok(wanted) = Layout::from_size_align(new, layout.align()) else { return null_mut() };
        // SAFETY: the size is not 0, by the caller's promise.
        let to = unsafe { self.alloc(wanted) };
        if !to.is_null() {
            // SAFETY: both are at least that long, and apart.
            unsafe { std::ptr::copy_nonoverlapping(ptr, to, layout.size().min(new)) };
        }
        to
    }
}
