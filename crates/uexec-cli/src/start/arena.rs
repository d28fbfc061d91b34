//! The allocator: before the C library is set up blocks are cut from a small arena, and from pages
//! mapped when that is used up; afterwards the C library's own is used.

use core::alloc::{GlobalAlloc, Layout};
use core::arch::asm;
use core::cell::UnsafeCell;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering::Relaxed};
use std::alloc::System;

/// Enough for a program with a common environment. Small, because it counts against `ulimit -v`
/// and `ulimit -d` from the first instruction on.
const ARENA: usize = 64 << 10;
/// How much is mapped at once beyond that.
const CHUNK: usize = 1 << 20;
const PAGE: usize = 4096;

#[repr(align(4096))]
struct Arena(UnsafeCell<[u8; ARENA]>);

// SAFETY: only one thread exists while the arena hands out memory.
unsafe impl Sync for Arena {}

static MEMORY: Arena = Arena(UnsafeCell::new([0; ARENA]));
/// Free room in the arena or the newest chunk: the first address, and the end.
static FREE: AtomicUsize = AtomicUsize::new(0);
static END: AtomicUsize = AtomicUsize::new(0);
/// The newest chunk.
static CHUNKS: AtomicPtr<Chunk> = AtomicPtr::new(null_mut());
static SHORT: AtomicBool = AtomicBool::new(false);

/// What mapped pages begin with.
struct Chunk {
    before: *mut Chunk,
    len: usize,
}

/// Cuts blocks from the arena from now on.
pub(super) fn open() {
    let start = MEMORY.0.get() as usize;
    FREE.store(start, Relaxed);
    END.store(start + ARENA, Relaxed);
    SHORT.store(true, Relaxed);
}

/// Gives mapped pages back and leaves allocating to the C library.
///
/// # Safety
/// No block handed out since [`open`] may be used any more.
pub(super) unsafe fn close() {
    SHORT.store(false, Relaxed);
    let mut chunk = CHUNKS.swap(null_mut(), Relaxed);
    while !chunk.is_null() {
        // SAFETY: every chunk of the list begins with its header.
        let Chunk { before, len } = unsafe { chunk.read() };
        // SAFETY: mapped with that length, and no longer used by the caller's promise.
        unsafe { syscall(11, [chunk as usize, len, 0, 0]) };
        chunk = before;
    }
}

/// Maps room for a block, at least.
fn grow(layout: Layout) -> Option<()> {
    let need = layout.size().checked_add(layout.align() + size_of::<Chunk>())?;
    let need = need.checked_next_multiple_of(PAGE)?;
    let (chunk, len) = map(need.max(CHUNK)).or_else(|| map(need))?;
    let header = Chunk { before: CHUNKS.load(Relaxed), len };
    // SAFETY: freshly mapped, writable, page-aligned and longer than that.
    unsafe { chunk.write(header) };
    CHUNKS.store(chunk, Relaxed);
    FREE.store(chunk as usize + size_of::<Chunk>(), Relaxed);
    END.store(chunk as usize + len, Relaxed);
    Some(())
}

fn map(len: usize) -> Option<(*mut Chunk, usize)> {
    const READ_WRITE: usize = 3;
    const PRIVATE_ANONYMOUS: usize = 0x22;
    // SAFETY: a fresh private mapping wherever there is room touches nothing that exists.
    let got = unsafe { syscall(9, [0, len, READ_WRITE, PRIVATE_ANONYMOUS]) };
    (got > 0).then_some((got as *mut Chunk, len))
}

/// A block from where the last one ended, if it fits there.
fn cut(layout: Layout) -> Option<*mut u8> {
    let start = FREE.load(Relaxed).checked_next_multiple_of(layout.align())?;
    let end = start.checked_add(layout.size()).filter(|e| *e <= END.load(Relaxed))?;
    FREE.store(end, Relaxed);
    Some(start as *mut u8)
}

/// A block of the C library's, if it had one.
fn present(block: *mut u8) -> *mut u8 {
    if block.is_null() { out_of_memory() } else { block }
}

/// Ends the process as for every failure of uexec's own.
fn out_of_memory() -> ! {
    const WHAT: &[u8] = b"uexec: out of memory\n";
    // SAFETY: writes from a static string.
    unsafe { syscall(1, [2, WHAT.as_ptr() as usize, WHAT.len(), 0]) };
    loop {
        // SAFETY: exit_group never returns.
        unsafe { syscall(231, [crate::OWN_FAILURE.into(), 0, 0, 0]) };
    }
}

/// Makes a system call, without descriptor and offset where it is `mmap`.
///
/// # Safety
/// The call must be sound with these arguments.
unsafe fn syscall(nr: usize, args: [usize; 4]) -> isize {
    let ret;
    // SAFETY: the instruction clobbers rcx and r11 only; the rest is the caller's promise.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") nr => ret,
            in("rdi") args[0],
            in("rsi") args[1],
            in("rdx") args[2],
            in("r10") args[3],
            in("r8") -1isize,
            in("r9") 0,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    ret
}

struct Alloc;

#[global_allocator]
static ALLOC: Alloc = Alloc;

// SAFETY: on the short way blocks are cut from mapped memory one after the other, never
// overlapping; room is reused only when the last block cut is given back. Everything else is
// passed on to the system's allocator.
unsafe impl GlobalAlloc for Alloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if SHORT.load(Relaxed) {
            let block = cut(layout).or_else(|| grow(layout).and_then(|()| cut(layout)));
            return block.unwrap_or_else(|| out_of_memory());
        }
        // SAFETY: the caller's promise, passed on.
        let block = unsafe { System.alloc(layout) };
        present(block)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if SHORT.load(Relaxed) {
            if block as usize + layout.size() == FREE.load(Relaxed) {
                FREE.store(block as usize, Relaxed);
            }
            return;
        }
        // SAFETY: no block of ours is in use any more, so it came from the system's allocator; the
        // caller's promise.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if !SHORT.load(Relaxed) {
            // SAFETY: as in `dealloc`.
            return present(unsafe { System.realloc(block, layout, new_size) });
        }
        // The last block grows and shrinks where it is.
        let end = (block as usize).checked_add(new_size);
        if block as usize + layout.size() == FREE.load(Relaxed)
            && let Some(end) = end.filter(|e| *e <= END.load(Relaxed))
        {
            FREE.store(end, Relaxed);
            return block;
        }
        if new_size <= layout.size() {
            return block;
        }
        // SAFETY: alignment and size are the caller's, which promises that they fit.
        let new = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        // SAFETY: likewise, the size is not 0.
        let to = unsafe { self.alloc(new) };
        // SAFETY: both blocks are that long, and they are different blocks.
        unsafe { core::ptr::copy_nonoverlapping(block, to, layout.size().min(new_size)) };
        // SAFETY: the caller's promise; it uses the new block from here on.
        unsafe { self.dealloc(block, layout) };
        to
    }
}
