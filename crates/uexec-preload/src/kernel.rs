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

/// How many strings an array has; none of a null array.
///
/// # Safety
/// `array` is null, or an array of C strings that ends with a null pointer.
pub(crate) unsafe fn count(array: Array) -> usize {
    let (mut n, mut at) = (0, array);
    // SAFETY: the array goes on until its null pointer, which has not been met.
    while !at.is_null() && unsafe { !at.read().is_null() } {
        n += 1;
        // SAFETY: at most at that pointer.
        at = unsafe { at.add(1) };
    }
    n
}

/// The first `len` pointers of an array.
///
/// # Safety
/// It has so many, and stays as it is for `'a`.
pub(crate) unsafe fn words_of<'a>(array: Array, len: usize) -> &'a [*const c_char] {
    if len == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(array, len) }
}

/// Memory for pointers, for longer than an [arena](crate::arena) can be held; given back when
/// dropped. What an exec of a `vfork(2)` child does not give back stays in its parent: so it is for
/// long lists only.
pub(crate) struct Pointers {
    at: *mut *const c_char,
    len: usize,
}

impl Pointers {
    pub(crate) const fn none() -> Pointers {
        Pointers { at: std::ptr::null_mut(), len: 0 }
    }

    /// So many null pointers; an empty slice if there is no memory.
    pub(crate) fn room(&mut self, len: usize) -> &mut [*const c_char] {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let bytes = len * size_of::<*const c_char>();
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), bytes, prot, flags, -1, 0) };
        if at == libc::MAP_FAILED {
            return &mut [];
        }
        *self = Pointers { at: at.cast(), len };
        // SAFETY: mapped, zeroed, aligned, and borrowed as long as `self`.
        unsafe { std::slice::from_raw_parts_mut(self.at, len) }
    }
}

impl Drop for Pointers {
    fn drop(&mut self) {
        if !self.at.is_null() {
            // SAFETY: mapped above with this length, and no longer borrowed.
            unsafe { libc::munmap(self.at.cast(), self.len * size_of::<*const c_char>()) };
        }
    }
}
