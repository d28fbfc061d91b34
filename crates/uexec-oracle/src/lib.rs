//! Asks the running kernel what it does with a program, so that uexec can be compared with it.
//!
//! * [`elf`] makes program files, right or wrong ones.
//! * [`launch`] describes a start: program, arguments, environment, and the state of the process
//!   that makes it ([`state`]).
//! * [`trace`] carries it out under `ptrace(2)`, by the kernel or by `uexec run`, and stops at the
//!   program's first instruction; [`snapshot`] is what is seen there.
//! * [`predict`] is what uexec says would happen, by its library and by `uexec explain`; [`verdict`]
//!   compares it with what the kernel did.
//! * [`execs`] has the kernel's own tracepoint report what a command and its descendants execute.
//! * [`watch`] lists the exec system calls that a command makes.
//! * [`dethread`] has processes with several threads replace themselves.
//! * [`uexec`] finds the command `uexec` that is to be tested.
//!
//! No room decides what would be right: the kernel does.

#![deny(unsafe_code)]

pub mod dethread;
pub mod elf;
pub mod execs;
#[allow(unsafe_code, reason = "fork, and what the child does before its exec")]
pub mod launch;
#[allow(unsafe_code, reason = "perf_event_open and the memory it shares")]
mod perf;
pub mod predict;
pub mod snapshot;
#[allow(unsafe_code, reason = "system calls of the child before its exec")]
pub mod state;
#[allow(unsafe_code, reason = "ptrace and its like")]
mod sys;
pub mod trace;
pub mod uexec;
pub mod verdict;
pub mod watch;

pub use launch::no_aslr_from_now_on;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Says on standard error, past the test harness's capture, that something is not tested and why.
pub fn skip(what: &str, why: &str) {
    use std::io::Write;
    // `eprintln!` would be captured and shown for failing tests only.
    let _ = writeln!(std::io::stderr(), "skipped: {what}: {why}");
}

/// Held while a program file is open for writing, and while a process is forked: a child that
/// inherits such a descriptor would make an exec of the file fail with `ETXTBSY`.
pub fn file_lock() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}
