//! An allocator for one thread: blocks are cut one after the other from a small arena, and from
//! pages mapped when that is used up.

use core::alloc::{GlobalAlloc, Layout};
use core::arch::asm;
use core::cell::UnsafeCell;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Relaxed};

/// Enough for a program with a common environment. Small, because it counts against `ulimit -v`
/// and `ulimit -d` from the first instruction on.
const ARENA: usize = 64 << 10;
/// How much is mapped at once beyond that.
const CHUNK: usize = 1 << 20;
const PAGE: usize = 4096;

struct Arena(UnsafeCell<[u8; ARENA]>);

// SAFETY: only one thread exists while the arena hands out memory.
unsafe impl Sync for Arena {}

/// The allocator. One a program, and only while there is one thread.
///
/// Room is reused only when the last block cut is given back; everything else stays until
/// [`Bump::close`].
#[repr(C, align(4096))]
pub struct Bump<const STATUS: u8> {
    /// Free room in the arena or the newest chunk: the first address, and the end.
    free: AtomicUsize,
    end: AtomicUsize,
    /// The newest chunk.
    chunks: AtomicPtr<Chunk>,
    /// Behind the rest, so that all share the first page.
    arena: Arena,
}

/// What mapped pages begin with.
struct Chunk {
    before: *mut Chunk,
    len: usize,
}

impl<const STATUS: u8> Default for Bump<STATUS> {
    fn default() -> Self {
        Bump::new()
    }
}

impl<const STATUS: u8> Bump<STATUS> {
    /// An allocator that ends the process with this status when there is no memory. All of it is
    /// zero, so that it takes no room in a file.
    #[must_use]
    pub const fn new() -> Self {
        Bump {
            arena: Arena(UnsafeCell::new([0; ARENA])),
            free: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            chunks: AtomicPtr::new(null_mut()),
        }
    }

    /// Cuts blocks from the arena from now on.
    pub fn open(&self) {
        let start = self.arena.0.get() as usize;
        self.free.store(start, Relaxed);
        self.end.store(start + ARENA, Relaxed);
    }

    /// Gives mapped pages back.
    ///
    /// # Safety
    /// No block handed out since [`Bump::open`] may be used any more.
    pub unsafe fn close(&self) {
        let mut chunk = self.chunks.swap(null_mut(), Relaxed);
        while !chunk.is_null() {
            // SAFETY: every chunk of the list begins with its header.
            let Chunk { before, len } = unsafe { chunk.read() };
            // SAFETY: mapped with that length, and no longer used by the caller's promise.
            unsafe { syscall(11, [chunk as usize, len, 0, 0]) };
            chunk = before;
        }
    }

    /// Ends the process as for every failure of uexec's own.
    pub fn out_of_memory(&self) -> ! {
        crate::quit(b"uexec: out of memory\n", STATUS)
    }

    /// Maps room for a block, at least.
    fn grow(&self, layout: Layout) -> Option<()> {
        let need = layout.size().checked_add(layout.align() + size_of::<Chunk>())?;
        let need = need.checked_next_multiple_of(PAGE)?;
        let (chunk, len) = map(need.max(CHUNK)).or_else(|| map(need))?;
        let header = Chunk { before: self.chunks.load(Relaxed), len };
        // SAFETY: freshly mapped, writable, page-aligned and longer than that.
        unsafe { chunk.write(header) };
        self.chunks.store(chunk, Relaxed);
        self.free.store(chunk as usize + size_of::<Chunk>(), Relaxed);
        self.end.store(chunk as usize + len, Relaxed);
        Some(())
    }

    /// A block from where the last one ended, if it fits there.
    fn cut(&self, layout: Layout) -> Option<*mut u8> {
        let start = self.free.load(Relaxed).checked_next_multiple_of(layout.align())?;
        let end = start.checked_add(layout.size()).filter(|e| *e <= self.end.load(Relaxed))?;
        self.free.store(end, Relaxed);
        Some(start as *mut u8)
    }

    /// Whether this block is the last one cut.
    fn is_last(&self, block: *mut u8, len: usize) -> bool {
        block as usize + len == self.free.load(Relaxed)
    }
}

fn map(len: usize) -> Option<(*mut Chunk, usize)> {
    const READ_WRITE: usize = 3;
    const PRIVATE_ANONYMOUS: usize = 0x22;
    // SAFETY: a fresh private mapping wherever there is room touches nothing that exists.
    let got = unsafe { syscall(9, [0, len, READ_WRITE, PRIVATE_ANONYMOUS]) };
    (got > 0).then_some((got as *mut Chunk, len))
}

/// Makes a system call, without descriptor and offset where it is `mmap`.
///
/// # Safety
/// The call must be sound with these arguments.
pub(crate) unsafe fn syscall(nr: usize, args: [usize; 4]) -> isize {
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

// SAFETY: blocks are cut from mapped memory one after the other, never overlapping; room is reused
// only when the last block cut is given back.
unsafe impl<const STATUS: u8> GlobalAlloc for Bump<STATUS> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let block = self.cut(layout).or_else(|| self.grow(layout).and_then(|()| self.cut(layout)));
        block.unwrap_or_else(|| self.out_of_memory())
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if self.is_last(block, layout.size()) {
            self.free.store(block as usize, Relaxed);
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // The last block grows and shrinks where it is.
        let end = (block as usize).checked_add(new_size);
        if self.is_last(block, layout.size())
            && let Some(end) = end.filter(|e| *e <= self.end.load(Relaxed))
        {
            self.free.store(end, Relaxed);
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
