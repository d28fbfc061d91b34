//! `system(3)`. Unlike libc's it is no cancellation point: a thread that is cancelled meanwhile ends
//! after it.

use core::ffi::{CStr, c_char, c_int};
use std::ffi::CString;
use std::sync::Mutex;

use uexec_capi::strings::{string, strings};
use uexec_linux::spawn::Step;

use crate::arena::Arena;
use crate::cancel::Uncancelled;
use crate::family::environment;
use crate::spawn::spawn;

/// Starts `sh -c command` with these steps.
pub(crate) fn start_shell(command: &CStr, steps: &[Step<'_>]) -> Result<libc::pid_t, c_int> {
    let _arena = Arena::enter().ok_or(libc::ENOMEM)?;
    let tried = [CString::from(c"/bin/sh")];
    let argv = [c"sh", c"-c", command];
    let pointers = [argv[0].as_ptr(), argv[1].as_ptr(), argv[2].as_ptr(), std::ptr::null()];
    let envp = environment();
    // SAFETY: libc's own array.
    let strings = unsafe { strings(envp) };
    // SAFETY: the arrays are those of the strings.
    let spawned =
        unsafe { spawn(&tried, steps, &argv, &strings, (pointers.as_ptr(), envp), false) };
    spawned.map(|s| s.pid)
}

/// Waits for a child of ours; -1 with `errno` set when somebody else has.
pub(crate) fn wait(pid: libc::pid_t) -> c_int {
    let mut status = 0;
    loop {
        // SAFETY: writes to the local.
        if unsafe { libc::waitpid(pid, &raw mut status, 0) } == pid {
            return status;
        }
        if crate::kernel::errno() != libc::EINTR {
            return -1;
        }
    }
}

/// What SIGINT and SIGQUIT did before the first of the calls that go on at the same time.
struct Kept {
    calls: usize,
    actions: Option<[libc::sigaction; 2]>,
}

static KEPT: Mutex<Kept> = Mutex::new(Kept { calls: 0, actions: None });

const IGNORED: [c_int; 2] = [libc::SIGINT, libc::SIGQUIT];

#[unsafe(no_mangle)]
unsafe extern "C" fn system(command: *const c_char) -> c_int {
    // SAFETY: null, or the caller's string.
    match unsafe { string(command) } {
        Some(command) => run(command),
        // Is there a shell?
        None => c_int::from(run(c"exit 0") == 0),
    }
}

/// POSIX: while the command runs SIGINT and SIGQUIT are ignored and SIGCHLD is blocked, in the
/// caller; the command has them as they were.
fn run(command: &CStr) -> c_int {
    let _uncancelled = Uncancelled::new();
    let mask = block(libc::SIGCHLD);
    ignore();
    let defaults = IGNORED.iter().zip(before()).filter(|(_, was)| *was != libc::SIG_IGN);
    let set = defaults.fold(0, |set, (signal, _)| set | 1u64 << (signal - 1));
    let steps = [Step::DefaultSignals(set), Step::SignalMask(mask)];
    let started = start_shell(command, &steps);
    // As if the shell had ended with 127.
    let status = started.map_or(127 << 8, wait);
    restore();
    set_mask(mask);
    if let Err(why) = started {
        crate::kernel::fail(why);
    }
    status
}

/// Blocks a signal in this thread; answers the mask before.
fn block(signal: c_int) -> u64 {
    let set = 1u64 << (signal - 1);
    let mut old = 0u64;
    // SAFETY: SIG_BLOCK from and to 8-byte sets.
    unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_BLOCK, &raw const set, &raw mut old, 8)
    };
    old
}

fn set_mask(mask: u64) {
    let none = std::ptr::null::<u64>();
    // SAFETY: SIG_SETMASK from an 8-byte set.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const mask, none, 8) };
}

fn kept() -> std::sync::MutexGuard<'static, Kept> {
    KEPT.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Ignores both signals, unless another call has already.
fn ignore() {
    let mut kept = kept();
    kept.calls += 1;
    if kept.calls > 1 {
        return;
    }
    kept.actions = Some(IGNORED.map(|signal| {
        // SAFETY: zeroes are a valid action: the default one.
        let mut new: libc::sigaction = unsafe { std::mem::zeroed() };
        new.sa_sigaction = libc::SIG_IGN;
        let mut old = new;
        // SAFETY: from and to locals.
        unsafe { libc::sigaction(signal, &raw const new, &raw mut old) };
        old
    }));
}

/// What both signals did before.
fn before() -> [libc::sighandler_t; 2] {
    kept().actions.map_or([libc::SIG_DFL; 2], |old| old.map(|a| a.sa_sigaction))
}

/// The last call that goes on puts both back.
fn restore() {
    let mut kept = kept();
    kept.calls -= 1;
    if kept.calls > 0 {
        return;
    }
    for (signal, old) in IGNORED.into_iter().zip(kept.actions.take().into_iter().flatten()) {
        // SAFETY: from a local.
        unsafe { libc::sigaction(signal, &raw const old, std::ptr::null_mut()) };
    }
}
