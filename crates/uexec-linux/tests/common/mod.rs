//! What tests of execs in children share.

/// Runs `f` in a forked child; how that ended, as `waitpid(2)` says it.
pub(crate) fn in_child(f: impl FnOnce()) -> i32 {
    // SAFETY: the child has this thread only, and uses memory as it finds it.
    let child = unsafe { libc::fork() };
    if child == 0 {
        f();
        // SAFETY: leaves without running anything of the parent's.
        unsafe { libc::_exit(77) };
    }
    let mut status = 0;
    // SAFETY: waits for the child made above.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    status
}
