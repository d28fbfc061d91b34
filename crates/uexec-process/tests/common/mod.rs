//! What the tests share.

/// What a forked child that calls `f` ends with.
pub(crate) fn in_fork(f: &dyn Fn() -> i32) -> i32 {
    // SAFETY: the child uses its copies, and glibc makes its allocator usable in it.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let code = f();
        // SAFETY: leaves without running anything of the parent's.
        unsafe { libc::_exit(code) }
    }
    let mut status = 0;
    // SAFETY: waits for the child made above.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    status
}
