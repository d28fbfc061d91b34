//! x86-64: the call that makes a process or thread, and the first steps of a child that does not
//! return from it. Decides nothing.

use core::arch::asm;

use super::syscall6;

/// Numbers of the calls (`arch/x86/entry/syscalls/syscall_64.tbl`).
pub(crate) mod nr {
    pub(crate) const CLONE: u64 = 56;
    pub(crate) const FORK: u64 = 57;
    pub(crate) const VFORK: u64 = 58;
    pub(crate) const CLONE3: u64 = 435;
}

/// What a child runs: it gets the word it was made with, and has nowhere to return to.
pub(crate) type ChildMain = unsafe extern "C" fn(usize) -> !;

/// Makes a child that calls `main(word)`: on the stack it is given, or, without one, below the
/// caller's frames. Answers what the call answers the caller.
///
/// # Safety
/// `nr` is one of [`nr`], with arguments that are valid for it. If the child shares the caller's
/// memory, it needs a stack of its own, or the caller has to wait for it (`CLONE_VFORK`): it only
/// writes below this frame, which nobody uses meanwhile. `main` must be sound in such a child.
pub(crate) unsafe fn create_and_call(nr: u64, args: [u64; 5], main: ChildMain, word: usize) -> i64 {
    let ret: i64;
    // SAFETY: the caller's path is a plain system call; without `nostack` no value of the compiler
    // lies below the stack pointer. The child never gets past the call; the rest is the caller's
    // promise.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp", // the child: its frames end here
            "and rsp, -16", // as the ABI wants it before a call
            "mov rdi, r13",
            "call r12",
            "ud2", // it does not return
            "2:",
            inlateout("rax") nr => ret,
            in("rdi") args[0],
            in("rsi") args[1],
            in("rdx") args[2],
            in("r10") args[3],
            in("r8") args[4],
            in("r12") main,
            in("r13") word,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    ret
}

/// Makes a child that returns from here with 0, as after `fork(2)`.
///
/// # Safety
/// As [`create_and_call`]; the child has a copy of the caller's memory and keeps its stack pointer,
/// else two would return into the same frame.
pub(crate) unsafe fn create_and_return(nr: u64, args: [u64; 5]) -> i64 {
    let [a, b, c, d, e] = args;
    // SAFETY: the child's memory is a copy, this frame included; the rest is the caller's promise.
    unsafe { syscall6(nr, [a, b, c, d, e, 0]) }
}
