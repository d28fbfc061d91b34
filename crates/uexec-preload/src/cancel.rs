//! Keeps a thread from being cancelled (`pthread_cancel(3)`) where libc's own functions are no
//! cancellation points: what is called here on the way would be, and a thread cannot be unwound
//! through it.

use core::ffi::c_int;

unsafe extern "C" {
    fn pthread_setcancelstate(state: c_int, old: *mut c_int) -> c_int;
}

const DISABLE: c_int = 1;

/// The thread is not cancelled as long as there is one.
#[derive(Debug)]
pub(crate) struct Uncancelled(c_int);

fn set(state: c_int) -> c_int {
    let mut old = 0;
    // SAFETY: writes to the local.
    unsafe { pthread_setcancelstate(state, &raw mut old) };
    old
}

impl Uncancelled {
    pub(crate) fn new() -> Uncancelled {
        Uncancelled(set(DISABLE))
    }

    /// Calls `f` in the state before: it may give away a child of `vfork(2)`, and the state is its
    /// parent's. What `f` calls must be no cancellation point.
    pub(crate) fn lifted<T>(&self, f: impl FnOnce() -> T) -> T {
        set(self.0);
        let out = f();
        set(DISABLE);
        out
    }
}

impl Drop for Uncancelled {
    fn drop(&mut self) {
        set(self.0);
    }
}
