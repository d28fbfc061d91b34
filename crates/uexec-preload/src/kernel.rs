//! The kernel's own calls, and `errno`. Decides nothing.

use core::ffi::{c_char, c_int};

/// An array of C strings that ends with a null pointer.
pub(crate) type Array = *const *const c_char;

/// Flags of `execveat(2)`.
pub(crate) const AT_EXECVE_CHECK: c_int = 0x1_0000;

/// `execveat(2)`: the errno it was refused with, 0 if a check passed.
///
/// # Safety
/// The kernel checks the addresses; without `AT_EXECVE_CHECK` the process is given away.
pub(crate) unsafe fn execveat(
    dirfd: c_int,
    path: *const c_char,
    argv: Array,
    envp: Array,
    flags: c_int,
) -> c_int {
    // SAFETY: the caller's promise.
    let ret = unsafe { libc::syscall(libc::SYS_execveat, dirfd, path, argv, envp, flags) };
    if ret == 0 { 0 } else { errno() }
}

pub(crate) fn errno() -> c_int {
    // SAFETY: the address of this thread's `errno`.
    let at = unsafe { libc::__errno_location() };
    // SAFETY: likewise.
    unsafe { *at }
}

/// Sets `errno`; answers -1.
pub(crate) fn fail(errno: c_int) -> c_int {
    // SAFETY: the address of this thread's `errno`.
    let at = unsafe { libc::__errno_location() };
    // SAFETY: likewise.
    unsafe { *at = errno };
    -1
}
