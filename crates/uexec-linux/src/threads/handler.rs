//! The signal handler that other threads wait in. Runs at any instruction of any thread, on
//! whatever stack that has: system calls and atomics only, no thread-local storage.

use core::ffi::{c_int, c_void};
use core::sync::atomic::Ordering::SeqCst;

use super::finish::take_over;
use super::table::{At, GO, GO_BITS, Go, INSIDE, TABLE, Table};
use crate::arch::restorer;
use crate::ffi::{
    self,
    thread::{self, SI_QUEUE, SigAction, SigInfo},
};

/// The signal. C libraries keep it for themselves, so that threads that block "all" signals through
/// them still get it.
pub(super) const SIGNAL: u64 = 33;

/// Its bit in a mask.
pub(super) const BIT: u64 = 1 << (SIGNAL - 1);

/// The action that calls the handler: on the alternate stack if there is one, every signal blocked
/// meanwhile, interrupted calls started again.
pub(super) fn our_action() -> SigAction {
    const SA_SIGINFO: u64 = 4;
    const SA_RESTORER: u64 = 0x0400_0000;
    const SA_ONSTACK: u64 = 0x0800_0000;
    const SA_RESTART: u64 = 0x1000_0000;
    let flags = SA_SIGINFO | SA_RESTORER | SA_ONSTACK | SA_RESTART;
    [on_signal as *const () as u64, flags, restorer(), u64::MAX]
}

/// The value that comes with the signal: which attempt, and which thread.
pub(super) const fn value(attempt: u32, index: usize) -> u64 {
    (attempt as u64) << 32 | index as u64
}

extern "C" fn on_signal(signal: c_int, info: *const SigInfo, context: *const c_void) {
    INSIDE.fetch_add(1, SeqCst);
    // SAFETY: whoever takes the table away waits until nobody is inside.
    if let Some(table) = unsafe { TABLE.load(SeqCst).as_ref() } {
        // SAFETY: the kernel gives a handler with SA_SIGINFO a whole `siginfo_t`.
        let info = unsafe { info.read() };
        match index_in(table, &info) {
            Some(index) => park(table, index),
            None => chain(table, signal, &raw const info, context),
        }
    }
    INSIDE.fetch_sub(1, SeqCst);
}

/// Which entry a signal of ours is about; `None` for anybody else's.
fn index_in(table: &Table, info: &SigInfo) -> Option<usize> {
    let (code, pid) = (info[1] as u32 as i32, info[2] as u32 as i32);
    let (attempt, index) = ((info[3] >> 32) as u32, info[3] as u32 as usize);
    let ours = code == SI_QUEUE
        && pid == table.pid
        && attempt == GO.load(SeqCst) >> GO_BITS
        && index < table.entries().len();
    ours.then_some(index)
}

fn park(table: &Table, index: usize) {
    let Some(entry) = table.entries().get(index) else { return };
    if entry.tid.load(SeqCst) == table.pid {
        table.unknown_rseq.store(ffi::has_unknown_rseq(), SeqCst);
    }
    entry.set(At::Parked);
    table.arrived.fetch_add(1, SeqCst);
    thread::futex_wake(&table.arrived);
    let attempt = GO.load(SeqCst) >> GO_BITS;
    loop {
        let go = GO.load(SeqCst);
        if go >> GO_BITS != attempt {
            return;
        }
        match go & ((1 << GO_BITS) - 1) {
            x if x == Go::Wait as u32 => thread::futex_wait(&GO, go, 60_000_000),
            x if x == Go::End as u32 => break,
            _ => return,
        }
    }
    if entry.tid.load(SeqCst) == table.pid {
        take_over();
    }
    thread::exit_thread();
}

/// Somebody else's signal: what was there before is called.
fn chain(table: &Table, signal: c_int, info: *const SigInfo, context: *const c_void) {
    type Handler = extern "C" fn(c_int, *const SigInfo, *const c_void);
    let [handler, ..] = table.old;
    if handler > 1 {
        // SAFETY: the process has installed this address as a handler; one that takes less than
        // three arguments does not see the rest.
        let handler = unsafe { core::mem::transmute::<usize, Handler>(handler as usize) };
        handler(signal, info, context);
    }
}
