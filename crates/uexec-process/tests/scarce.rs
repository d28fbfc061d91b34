//! Execs from callers that have little: a small stack, no memory.

#![allow(unsafe_code, reason = "forked processes with limits")]

mod common;

use common::in_fork;

fn become_true() -> i32 {
    uexec_process::execv(c"/bin/true", &[c"true"]).errno().0.into()
}

/// A thread with as little stack as there can be (`PTHREAD_STACK_MIN`) died by SIGSEGV.
#[test]
fn regression_a_thread_with_a_small_stack() {
    let status = in_fork(&|| {
        let thread = std::thread::Builder::new().stack_size(16 << 10).spawn(become_true);
        thread.map_or(98, |t| t.join().unwrap_or(99))
    });
    assert_eq!(status, 0);
}

/// Without memory the process ended by SIGABRT, instead of being told.
#[test]
fn regression_no_memory_left() {
    let status = in_fork(&|| {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages: u64 = statm.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
        let most = pages * 4096 + (400 << 10);
        let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
        // SAFETY: reads the local.
        unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) };
        become_true()
    });
    assert_eq!(status, libc::ENOMEM << 8);
}
