//! The first instructions of the command, and its short way.
//!
//! Setting a C library up takes several times as long as loading a program does (on virtual
//! machines its CPUID questions alone cost hundreds of microseconds). So the plain case,
//! `uexec run PROG ARGS…` without options, is tried before the C library is there: with the same
//! core and the same carrying out, but an allocator of its own and no thread-local storage. Only
//! success is handled here; whatever else comes up is left to the long way, which starts from
//! scratch and finds everything untouched.

extern crate alloc;

use core::alloc::{GlobalAlloc, Layout};
use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::ffi::{CStr, c_char};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::alloc::System;

use alloc::vec::Vec;
use uexec_core::Exec;
use uexec_linux::{Caller, Host, prepare};

global_asm!(
    ".globl uexec_start",
    "uexec_start:",
    "xor ebp, ebp",
    "mov r12, rsp", // what the C library's own start wants unchanged
    "mov r13, rdx",
    "mov edi, 0x1002", // arch_prctl(ARCH_SET_FS, the middle of the thread area)
    "lea rsi, [rip + {thread} + 4096]",
    "mov [rsi], rsi", // which begins with its own address
    "mov [rsi + 16], rsi",
    "mov eax, 158",
    "syscall",
    "mov rdi, r12",
    "and rsp, -16",
    "call {short}",
    "mov edi, 0x1002", // arch_prctl(ARCH_SET_FS, 0), as it was
    "xor esi, esi",
    "mov eax, 158",
    "syscall",
    "mov rsp, r12",
    "mov rdx, r13",
    "jmp _start",
    short = sym short_way,
    thread = sym THREAD,
);

/// What `fs` points into on the short way, in place of the C library's thread descriptor: the few
/// of its functions that are called without being set up (by the standard library's checks in a
/// debug build, say) look for a stack guard there and leave errno in front of it.
#[repr(align(4096))]
struct ThreadArea(#[allow(dead_code, reason = "only the C library looks")] UnsafeCell<[u8; 8192]>);

// SAFETY: only one thread exists while `fs` points there, and Rust code never looks at it.
unsafe impl Sync for ThreadArea {}

static THREAD: ThreadArea = ThreadArea(UnsafeCell::new([0; 8192]));

/// Tries the short way; returns if it is not for it.
extern "C" fn short_way(stack: *const usize) {
    SHORT.store(true, Relaxed);
    // SAFETY: called once, by the code above, with the stack the kernel built.
    let first = unsafe { Start::new(stack) };
    if let Some((argv, envp)) = first.plain_run() {
        run(argv, envp);
    }
    SHORT.store(false, Relaxed);
}

/// Arguments or environment.
type Strings = Vec<Vec<u8>>;

fn run(argv: Strings, envp: Strings) {
    let Some(path) = argv.first().cloned() else { return };
    let mut host = Host::new();
    let search = crate::find::path_in(&envp).map(<[u8]>::to_vec);
    let exec = Exec { path, argv, envp, untold: true, ..Exec::default() };
    if let Ok(plan) = crate::find::find_and_plan(exec, search.as_deref(), &mut host)
        && let Ok(prepared) = prepare(&plan, host, &Caller::bare())
    {
        // SAFETY: the kernel has just started this process: one thread, an own address space.
        unsafe { prepared.commit() }
    }
}

/// The stack as the kernel leaves it at the start of a program.
struct Start {
    argv: *const *const c_char,
    argc: usize,
}

impl Start {
    /// # Safety
    /// `stack` must point at `argc` as at a program's entry.
    unsafe fn new(stack: *const usize) -> Start {
        // SAFETY: the caller's promise.
        let argc = unsafe { *stack };
        // SAFETY: argv starts one word above argc.
        let argv = unsafe { stack.add(1) }.cast();
        Start { argv, argc }
    }

    /// The words of argv (from `first` on) or, behind its null pointer, of envp.
    fn strings(&self, first: usize) -> impl Iterator<Item = &'static CStr> {
        let mut at = first;
        let base = self.argv;
        core::iter::from_fn(move || {
            // SAFETY: argv and envp end with a null pointer, where this stops.
            let word = unsafe { base.add(at) };
            // SAFETY: likewise, so this word is still of the array.
            let text = unsafe { *word };
            at += 1;
            // SAFETY: every word before the null pointer is a C string that stays.
            (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) })
        })
    }

    /// Arguments and environment of a `run` without options.
    fn plain_run(&self) -> Option<(Strings, Strings)> {
        if self.argc < 3 {
            return None;
        }
        let mut argv = self.strings(1);
        if argv.next()?.to_bytes() != b"run" {
            return None;
        }
        let mut words: Vec<Vec<u8>> = Vec::with_capacity(self.argc);
        words.extend(argv.map(|s| s.to_bytes().to_vec()));
        if words.first()?.starts_with(b"-") {
            return None;
        }
        let envp = self.strings(self.argc + 1).map(|s| s.to_bytes().to_vec()).collect();
        Some((words, envp))
    }
}

/// Bytes the short way may allocate; it needs a few tens of thousands beside the arguments.
const ARENA: usize = 16 << 20;

#[repr(align(4096))]
struct Arena(UnsafeCell<[u8; ARENA]>);

// SAFETY: only one thread exists while the arena hands out memory.
unsafe impl Sync for Arena {}

static MEMORY: Arena = Arena(UnsafeCell::new([0; ARENA]));
static USED: AtomicUsize = AtomicUsize::new(0);
static SHORT: AtomicBool = AtomicBool::new(false);

/// Hands out memory from the arena while on the short way, from the C library afterwards.
struct Alloc;

#[global_allocator]
static ALLOC: Alloc = Alloc;

// SAFETY: on the short way blocks are cut from the arena one after the other, never overlapping
// and never reused; everything else is passed on to the system's allocator.
unsafe impl GlobalAlloc for Alloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !SHORT.load(Relaxed) {
            // SAFETY: the caller's promise, passed on.
            return unsafe { System.alloc(layout) };
        }
        let start = USED.load(Relaxed).next_multiple_of(layout.align());
        let Some(end) = start.checked_add(layout.size()).filter(|e| *e <= ARENA) else {
            return core::ptr::null_mut();
        };
        USED.store(end, Relaxed);
        // SAFETY: inside the arena by the check.
        unsafe { MEMORY.0.get().cast::<u8>().add(start) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let arena = MEMORY.0.get() as usize;
        if !(arena..arena + ARENA).contains(&(block as usize)) {
            // SAFETY: not ours, so it came from the system's allocator; the caller's promise.
            unsafe { System.dealloc(block, layout) }
        }
    }
}

// What compilers call instead of copying themselves. The C library's own choose an implementation
// while it is being set up, and cannot be called before that.
global_asm!(
    ".globl memcpy",
    "memcpy:",
    "mov rax, rdi",
    "mov rcx, rdx",
    "rep movsb",
    "ret",
    ".globl memmove",
    "memmove:",
    "mov rax, rdi",
    "mov rcx, rdx",
    "mov r8, rdi",
    "sub r8, rsi",
    "cmp r8, rdx", // destination inside the source: from the end
    "jb 2f",
    "rep movsb",
    "ret",
    "2:",
    "lea rdi, [rdi + rdx - 1]",
    "lea rsi, [rsi + rdx - 1]",
    "std",
    "rep movsb",
    "cld",
    "ret",
    ".globl memset",
    "memset:",
    "mov r8, rdi",
    "mov eax, esi",
    "mov rcx, rdx",
    "rep stosb",
    "mov rax, r8",
    "ret",
    ".globl bcmp",
    ".globl memcmp",
    "bcmp:",
    "memcmp:",
    "cmp rdx, 8", // eight bytes at a time while they are equal
    "jb 4f",
    "3:",
    "mov rax, [rdi]",
    "cmp rax, [rsi]",
    "jne 4f",
    "add rdi, 8",
    "add rsi, 8",
    "sub rdx, 8",
    "cmp rdx, 8",
    "jae 3b",
    "4:",
    "test rdx, rdx",
    "jz 6f",
    "movzx eax, byte ptr [rdi]",
    "movzx ecx, byte ptr [rsi]",
    "sub eax, ecx",
    "jnz 7f",
    "inc rdi",
    "inc rsi",
    "dec rdx",
    "jmp 4b",
    "6:",
    "xor eax, eax",
    "7:",
    "ret",
    ".globl strlen",
    "strlen:",
    "xor eax, eax",
    "8:",
    "cmp byte ptr [rdi + rax], 0",
    "je 9f",
    "inc rax",
    "jmp 8b",
    "9:",
    "ret",
);
