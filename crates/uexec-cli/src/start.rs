//! The first instructions of the command, and its short way.
//!
//! Setting a C library up takes several times as long as loading a program does (on virtual
//! machines its CPUID questions alone cost hundreds of microseconds). So the plain case,
//! `uexec run PROG ARGS…` without options, is tried before the C library is there: with the same
//! core and the same carrying out, but an allocator of its own and no thread-local storage. Only
//! success is handled here; whatever else comes up is left to the long way, which starts from
//! scratch and finds everything untouched.

extern crate alloc;

mod arena;

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::ffi::{CStr, c_char};

use alloc::vec::Vec;
use uexec_core::{ALL_FORMATS, Exec};
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
    "lea rsp, [rip + {stack} + {stack_len}]", // a multiple of 16, as calls want it
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
    stack = sym STACK,
    stack_len = const STACK_LEN,
);

/// What `fs` points into on the short way, in place of the C library's thread descriptor: the few
/// of its functions that are called without being set up (by the standard library's checks in a
/// debug build, say) look for a stack guard there and leave errno in front of it.
#[repr(align(4096))]
struct ThreadArea(#[allow(dead_code, reason = "only the C library looks")] UnsafeCell<[u8; 8192]>);

// SAFETY: only one thread exists while `fs` points there, and Rust code never looks at it.
unsafe impl Sync for ThreadArea {}

static THREAD: ThreadArea = ThreadArea(UnsafeCell::new([0; 8192]));

/// The stack of the short way: what the kernel gives may be as small as `ulimit -s` says.
#[repr(align(4096))]
struct Stack(#[allow(dead_code, reason = "only `rsp` points there")] UnsafeCell<[u8; STACK_LEN]>);

const STACK_LEN: usize = if cfg!(debug_assertions) { 1 << 20 } else { 128 << 10 };

// SAFETY: only one thread exists while `rsp` points there, and nothing names it but the code above.
unsafe impl Sync for Stack {}

static STACK: Stack = Stack(UnsafeCell::new([0; STACK_LEN]));

/// Tries the short way; returns if it is not for it.
extern "C" fn short_way(stack: *const usize) {
    arena::open();
    // SAFETY: called once, by the code above, with the stack the kernel built.
    let first = unsafe { Start::new(stack) };
    if let Some((argv, envp)) = first.plain_run() {
        run(argv, envp);
    }
    // SAFETY: everything allocated since has been dropped by the two calls above.
    unsafe { arena::close() };
}

/// Arguments or environment.
type Strings = Vec<Vec<u8>>;

fn run(argv: Strings, envp: Strings) {
    let Some(path) = argv.first().cloned() else { return };
    let mut host = Host::new();
    let search = crate::find::path_in(&envp).map(<[u8]>::to_vec);
    let exec = Exec { path, argv, envp, untold: true, ..Exec::default() };
    if let Ok(plan) = crate::find::find_and_plan(exec, search.as_deref(), &mut host, &ALL_FORMATS)
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

/// How much stack the long way gets.
const LONG_STACK_LEN: usize = 1 << 20;

/// Calls `f` on a stack of its own: what the kernel gives may be as small as `ulimit -s` says.
#[cfg(not(test))]
pub(crate) fn on_own_stack(f: extern "C" fn(usize) -> i32, argument: usize) -> i32 {
    let stack = vec![0u8; LONG_STACK_LEN];
    let top = stack.as_ptr_range().end as usize & !15;
    let status;
    // SAFETY: calls `f` as the C ABI wants it, with everything declared that it may clobber, on
    // aligned memory that nobody else uses until it returns; r12 outlives the call.
    unsafe {
        core::arch::asm!(
            "mov r12, rsp",
            "mov rsp, {top}",
            "call {f}",
            "mov rsp, r12",
            top = in(reg) top,
            f = in(reg) f,
            out("r12") _,
            in("rdi") argument,
            lateout("eax") status,
            clobber_abi("C"),
        );
    }
    status
}
