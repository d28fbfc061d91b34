//! The caller as it is now: what of it an exec has to reset. Only looks.

use alloc::string::String;
use alloc::vec::Vec;

use uexec_core::{Errno, ExecError};

use crate::ffi::{self, thread};
use crate::inherit::Inherited;

/// What is known of the calling process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Signal mask, kept by the new program.
    pub(crate) mask: u64,
    /// Signals with a handler.
    pub(crate) handled: Vec<u64>,
    /// Descriptors that are close-on-exec.
    pub(crate) cloexec: Vec<i32>,
    /// POSIX timers.
    pub(crate) timers: Vec<u64>,
    /// Where the restartable sequence area is registered; 0 for none.
    pub(crate) rseq: u64,
    /// What the leader is given that goes on in this thread's place.
    pub(crate) inherited: Option<Inherited>,
    /// Nothing but what a fresh process has needs to be reset.
    pub(crate) fresh: bool,
    /// Nor is anything registered, or a thread pointer set.
    pub(crate) untouched: bool,
}

impl Caller {
    /// A process that the kernel's exec has just started and that has since done nothing but
    /// prepare this: no handlers, timers, threads or descriptors of its own.
    #[must_use]
    pub fn fresh() -> Caller {
        Caller { rseq: ffi::rseq_area(), ..Caller::bare() }
    }

    /// A fresh process in which not even a C library has set anything up.
    #[must_use]
    pub fn bare() -> Caller {
        Caller {
            mask: ffi::signal_mask(),
            handled: Vec::new(),
            cloexec: Vec::new(),
            timers: Vec::new(),
            rseq: 0,
            inherited: None,
            fresh: true,
            untouched: false,
        }
    }

    /// The same of a program that has no thread-local storage either.
    #[must_use]
    pub fn untouched() -> Caller {
        Caller { untouched: true, ..Caller::bare() }
    }

    /// The same, with a descriptor to be closed.
    #[must_use]
    pub fn closing(mut self, fd: Option<i32>) -> Caller {
        self.cloexec.extend(fd);
        self
    }

    /// A child that `fork(2)` has just made: it has one thread and no timers, but handlers and
    /// descriptors of its parent.
    #[must_use]
    pub fn forked() -> Caller {
        Caller {
            handled: (1..=64).filter(|s| ffi::signal_handler(*s).is_ok_and(|h| h > 1)).collect(),
            cloexec: cloexec_descriptors(),
            fresh: false,
            ..Caller::fresh()
        }
    }

    /// The calling thread of any process, of which the rest is cleared away at the last moment
    /// ([`leave`](crate::leave)).
    ///
    /// # Errors
    /// What of the thread the leader cannot be given.
    pub(crate) fn thread() -> Result<Caller, &'static str> {
        let leads = thread::gettid() == thread::getpid();
        if ffi::has_unknown_rseq() {
            return Err(crate::exec::UNKNOWN_RSEQ);
        }
        Ok(Caller {
            inherited: if leads { None } else { Some(Inherited::of_caller()?) },
            rseq: if leads { ffi::rseq_area() } else { 0 },
            fresh: false,
            ..Caller::bare()
        })
    }

    /// Any single-threaded process.
    ///
    /// # Errors
    /// `EAGAIN` when the process has other threads, which cannot be ended yet, `EOPNOTSUPP` when it has
    /// sealed memory (`mseal(2)`).
    pub fn any() -> Result<Caller, ExecError> {
        let fail = |call, errno| ExecError::host(call, errno);
        // One entry per thread, and two for the directory itself.
        let tasks = rustix::fs::stat(c"/proc/self/task")
            .map_err(|e| fail("stat of /proc/self/task", ffi::errno(e)))?;
        if tasks.st_nlink > 3 {
            return Err(fail("exec from a process with other threads", Errno::EAGAIN));
        }
        if crate::sealed::any() {
            return Err(fail(
                "exec from a process with sealed memory (mseal(2))",
                Errno::EOPNOTSUPP,
            ));
        }
        Ok(Caller { timers: posix_timers(), ..Caller::forked() })
    }
}

/// Descriptors that are close-on-exec.
fn cloexec_descriptors() -> Vec<i32> {
    let mut found = Vec::new();
    ffi::each_descriptor(&mut |fd| {
        if ffi::is_cloexec(fd) == Some(true) {
            found.push(fd);
        }
    });
    found
}

/// Ids of POSIX timers. Where the kernel does not list them there are none to be found, and they
/// are removed with the process only.
fn posix_timers() -> Vec<u64> {
    let text = crate::procfs::read_file(c"/proc/self/timers");
    let text = String::from_utf8_lossy(&text);
    text.lines().filter_map(|l| l.strip_prefix("ID: ")?.trim().parse().ok()).collect()
}
