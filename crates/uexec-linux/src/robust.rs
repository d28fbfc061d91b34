//! Locks that a thread holds when its program is replaced: those on its list of robust futexes are
//! marked, and who waits for one in another process is woken, as the kernel does at its exec and at a
//! thread's end (`get_robust_list(2)`; PIPE-49.9). Believes nothing that the list says: an address that
//! cannot be read or written ends it.

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::SeqCst;

use crate::ffi::{self, thread};

const FUTEX_WAITERS: u32 = 0x8000_0000;
const FUTEX_OWNER_DIED: u32 = 0x4000_0000;
const FUTEX_TID_MASK: u32 = 0x3fff_ffff;

/// So many entries at most (`ROBUST_LIST_LIMIT`, `include/linux/futex.h`, 6.18).
const LIMIT: usize = 2048;

/// A lock on the list: its place, and whether it passes on priorities.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Lock {
    entry: u64,
    pi: bool,
}

impl Lock {
    fn at(word: u64) -> Lock {
        Lock { entry: word & !1, pi: word & 1 == 1 }
    }
}

/// Gives up what the calling thread holds.
pub(crate) fn give_up() {
    let Some(head) = thread::robust_list() else { return };
    let read = |at: u64| thread::peek(at).ok();
    let place = |n: u64| head.checked_add(8 * n).and_then(read);
    let (Some(first), Some(offset), Some(pending)) = (place(0), place(1), place(2)) else { return };
    let pending = Lock::at(pending);
    let mut lock = Lock::at(first);
    for _ in 0..LIMIT {
        if lock.entry == head {
            break;
        }
        // Its memory may be somebody else's as soon as it is given up.
        let next = read(lock.entry);
        if lock.entry != pending.entry && !release(lock, offset, false) {
            return;
        }
        let Some(next) = next else { return };
        lock = Lock::at(next);
    }
    if pending.entry != 0 {
        release(pending, offset, true);
    }
}

/// Marks a lock whose owner this thread is; false when it cannot be one.
fn release(lock: Lock, offset: u64, pending: bool) -> bool {
    let at = lock.entry.wrapping_add(offset);
    if !at.is_multiple_of(4) || !thread::futex_is_writable(at) {
        return false;
    }
    // SAFETY: aligned, and the kernel has just written to it; only this thread could unmap it. All
    // who use a futex do so atomically.
    let word = unsafe { AtomicU32::from_ptr(at as *mut u32) };
    let mut value = word.load(SeqCst);
    if pending && !lock.pi && value == 0 {
        // It was being unlocked: whoever waits has not been woken yet.
        thread::futex_wake_at(at, 1);
        return true;
    }
    loop {
        if value & FUTEX_TID_MASK != thread::gettid() as u32 {
            return true;
        }
        if lock.pi && value & FUTEX_WAITERS != 0 {
            // The kernel knows who is next. That the owner has gone is not told.
            thread::futex_unlock_pi(at);
            return true;
        }
        let new = value & FUTEX_WAITERS | FUTEX_OWNER_DIED;
        match word.compare_exchange(value, new, SeqCst, SeqCst) {
            Ok(_) => break,
            Err(now) => value = now,
        }
    }
    if value & FUTEX_WAITERS != 0 {
        thread::futex_wake_at(at, 1);
    }
    true
}

/// Clears the keyrings of process and thread, which an exec does not pass on (`keyrings(7)`); they stay,
/// empty.
pub(crate) fn clear_keyrings() {
    const THREAD: i32 = -1;
    const PROCESS: i32 = -2;
    for keyring in [THREAD, PROCESS] {
        // Asking does not make one.
        if ffi::has_keyring(keyring) {
            ffi::clear_keyring(keyring);
        }
    }
}
