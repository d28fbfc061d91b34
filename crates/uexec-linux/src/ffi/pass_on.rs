//! Passes signals on to one other process. The handler runs at any instruction: it makes one system
//! call, and touches nothing else.

use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicI32, Ordering::SeqCst};

use rustix::fd::{IntoRawFd, OwnedFd};

use super::plain;
use super::thread::{SigInfo, action, set_action};
use crate::arch::restorer;

/// Who gets them: a descriptor, which never means another process, as a number may.
static TO: AtomicI32 = AtomicI32::new(-1);

/// HUP, INT, QUIT, USR1, USR2, TERM: what ends a process that does not expect it.
const SIGNALS: [u64; 6] = [1, 2, 3, 10, 12, 15];

/// From now on, passes on what others send to this process. What is ignored stays ignored.
pub(crate) fn to(pidfd: OwnedFd) {
    TO.store(pidfd.into_raw_fd(), SeqCst);
    for signal in SIGNALS {
        const SIG_IGN: u64 = 1;
        const SA_SIGINFO: u64 = 4;
        const SA_RESTORER: u64 = 0x0400_0000;
        const SA_RESTART: u64 = 0x1000_0000;
        if action(signal).is_ok_and(|[handler, ..]| handler == SIG_IGN) {
            continue;
        }
        let flags = SA_SIGINFO | SA_RESTORER | SA_RESTART;
        let new = [on_signal as *const () as u64, flags, restorer(), u64::MAX];
        // SAFETY: the handler makes a system call, which is sound at any instruction.
        let _ = unsafe { set_action(signal, &new) };
    }
}

extern "C" fn on_signal(signal: c_int, info: *const SigInfo, _context: *const c_void) {
    const PIDFD_SEND_SIGNAL: u64 = 424;
    // SAFETY: the kernel gives a handler with SA_SIGINFO a whole `siginfo_t`.
    let code = unsafe { info.read() }[1] as u32 as i32;
    // Codes above are the kernel's own; the terminal has told the other process, too.
    if code <= 0 {
        let _ = plain(PIDFD_SEND_SIGNAL, [TO.load(SeqCst) as u64, signal as u64, 0, 0, 0, 0]);
    }
}
