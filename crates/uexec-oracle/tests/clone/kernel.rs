//! The calls the test makes, and all of its unsafe code.

use std::arch::asm;
use std::sync::atomic::AtomicI64;

/// A system call whose pointers, if any, are the caller's to keep right. Answers `-errno`.
pub(crate) fn sys(nr: libc::c_long, a: [u64; 6]) -> i64 {
    // SAFETY: the test only passes addresses of its own live buffers, or addresses the kernel is
    // meant to refuse; no call used here unmaps or replaces memory of Rust's.
    let got = unsafe { libc::syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]) };
    if got == -1 {
        -i64::from(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
    } else {
        got
    }
}

/// What a child does: one system call of two arguments, a mark in a word of memory, its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    pub(crate) nr: i64,
    pub(crate) args: [u64; 2],
    pub(crate) mark: u64,
}

/// `clone3` (435) or `clone` (56). The child never returns here and never touches a stack, so that
/// it may share or lack one.
pub(crate) fn make_child(nr: u64, a: [u64; 5], life: Life) -> i64 {
    let got: i64;
    // SAFETY: the parent's path is a plain system call. The child only uses values it has
    // in registers, writes a word of the test's own memory, and cannot get past its exit.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "mov rdi, r12", // its call, with 1 for a third argument
            "mov rsi, r13",
            "mov edx, 1",
            "mov rax, r14",
            "syscall",
            "mov qword ptr [r15], 1", // the mark
            "3:",
            "xor edi, edi", // exit(0)
            "mov eax, 60",
            "syscall",
            "jmp 3b",
            "2:",
            inlateout("rax") nr => got,
            in("rdi") a[0], in("rsi") a[1], in("rdx") a[2], in("r10") a[3], in("r8") a[4],
            in("r12") life.args[0], in("r13") life.args[1], in("r14") life.nr, in("r15") life.mark,
            lateout("rcx") _, lateout("r11") _,
        );
    }
    got
}

/// Zeroed memory that stays shared with children, forgotten when the test ends.
pub(crate) fn shared(words: usize) -> &'static [AtomicI64] {
    // SAFETY: an anonymous mapping at an address of the kernel's choice touches nothing.
    let start = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            words * 8,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert_ne!(start, libc::MAP_FAILED, "mmap");
    // SAFETY: page-aligned, zeroed, `words` long, never unmapped; atomics may be changed by others.
    unsafe { std::slice::from_raw_parts(start.cast(), words) }
}

/// Forks, runs `f` in the child, and answers its pid.
pub(crate) fn fork(f: impl FnOnce()) -> i64 {
    // SAFETY: glibc makes its allocator usable in the child; `f` takes no lock another thread of
    // this test holds, and the child ends without running anything of the parent's.
    match unsafe { libc::fork() } {
        0 => {
            let code =
                i32::from(std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).is_err());
            // SAFETY: ends this process at once.
            unsafe { libc::_exit(code) }
        }
        pid => pid.into(),
    }
}

/// Waits for a child of any exit signal.
pub(crate) fn reap(pid: i64) -> i32 {
    let mut status = 0i32;
    let wall = 0x4000_0000; // __WALL
    while sys(libc::SYS_wait4, [pid as u64, &raw mut status as u64, wall, 0, 0, 0])
        == -i64::from(libc::EINTR)
    {}
    status
}
