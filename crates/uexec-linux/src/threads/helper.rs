//! The helper: a process that shares this one's memory and stops by `ptrace(2)` the threads that
//! no signal reaches. It has a stack of its own, uses no thread-local storage, takes no lock.

use alloc::vec::Vec;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::SeqCst;

use uexec_core::Errno;

use super::finish::{self, STACK_LEN};
use super::table::{At, Entry, Table};
use crate::arch::exit_thread_stub;
use crate::ffi::{self, thread};
use thread::Trace;

/// What the helper is told in [`Table::order`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
enum Order {
    /// Stop what is [`At::Deaf`].
    Stop = 1,
    /// Let all go on, and end.
    Release = 2,
    /// Point all to their end, and end.
    End = 3,
}

/// Added to an order that has been carried out.
const DONE: u32 = 0x10;

/// A running helper.
#[derive(Debug)]
pub(super) struct Helper {
    pid: i32,
    /// Its stack, kept until it has ended.
    _stack: Vec<u8>,
}

impl Helper {
    /// Starts one.
    pub(super) fn start(table: &Table, mut stack: Vec<u8>) -> Result<Helper, Errno> {
        const PR_SET_PTRACER: u64 = 0x5961_6d61;
        let top = stack.spare_capacity_mut().as_ptr_range().end as u64;
        let argument = core::ptr::from_ref(table) as u64;
        // SAFETY: the stack is the helper's alone and kept until it has ended, like the table; what
        // it runs is below.
        let pid = unsafe { thread::start_helper(top, serve, argument) }?;
        // Where Yama asks for it; elsewhere the call is not known.
        let _ = ffi::prctl(PR_SET_PTRACER, pid as u64, 0);
        Ok(Helper { pid, _stack: stack })
    }

    /// Stops all that is deaf.
    pub(super) fn stop(&self, table: &Table) -> Result<(), Errno> {
        table.failure.store(0, SeqCst);
        self.give(table, Order::Stop)?;
        match table.failure.load(SeqCst) {
            0 => Ok(()),
            errno => Err(Errno(errno as u16)),
        }
    }

    /// Lets all go on.
    pub(super) fn release(self, table: &Table) {
        let _ = self.give(table, Order::Release);
        let _ = thread::wait(self.pid, 0);
    }

    /// Ends all, but a leader, which takes over.
    pub(super) fn end(self, table: &Table) {
        let _ = self.give(table, Order::End);
        let _ = thread::wait(self.pid, 0);
        // Nothing is given back any more: the allocator's lock may be held by one that has ended.
        core::mem::forget(self);
    }

    /// Gives an order and waits until it is carried out.
    fn give(&self, table: &Table, order: Order) -> Result<(), Errno> {
        table.order.store(order as u32, SeqCst);
        thread::futex_wake(&table.order);
        while table.order.load(SeqCst) == order as u32 {
            thread::futex_wait(&table.order, order as u32, 100_000);
            if table.order.load(SeqCst) == order as u32
                && thread::wait(self.pid, thread::WNOHANG) != Ok(None)
            {
                // Killed from outside; what it traced goes on by itself.
                return Err(Errno::ECHILD);
            }
        }
        Ok(())
    }
}

/// What the helper runs.
extern "C" fn serve(table: u64) -> ! {
    const PR_SET_PDEATHSIG: u64 = 1;
    const SIGKILL: u64 = 9;
    let _ = ffi::prctl(PR_SET_PDEATHSIG, SIGKILL, 0);
    // SAFETY: whoever started this process keeps the table until it has ended.
    let table = unsafe { &*(table as *const Table) };
    loop {
        let order = table.order.load(SeqCst);
        let each = |at, f: fn(&Table, &Entry)| {
            table.entries().iter().filter(|e| e.at() == at).for_each(|e| f(table, e));
        };
        match order {
            x if x == Order::Stop as u32 => each(At::Deaf, stop),
            x if x == Order::Release as u32 => each(At::Traced, release),
            x if x == Order::End as u32 => each(At::Traced, end),
            _ => {
                thread::futex_wait(&table.order, order, 1_000_000);
                continue;
            }
        }
        answer(&table.order, order);
        if order != Order::Stop as u32 {
            thread::exit_thread();
        }
    }
}

fn answer(word: &AtomicU32, order: u32) {
    word.store(order | DONE, SeqCst);
    thread::futex_wake(word);
}

fn stop(table: &Table, entry: &Entry) {
    let tid = entry.tid.load(SeqCst);
    let stopped = thread::ptrace(Trace::Seize, tid, 0)
        .and_then(|()| thread::ptrace(Trace::Interrupt, tid, 0))
        .and_then(|()| wait_for_stop(tid));
    match stopped {
        Ok(status) if status & 0xff == 0x7f => {
            // About to get a signal: it gets it when it goes on.
            let signal = if status >> 16 == 0 { status >> 8 & 0xff } else { 0 };
            entry.signal.store(signal, SeqCst);
            entry.set(At::Traced);
        }
        // It has ended meanwhile.
        Ok(_) => entry.set(At::Gone),
        Err(_) if !is_there(table, tid) => entry.set(At::Gone),
        Err(errno) => {
            let _ = thread::ptrace(Trace::Detach, tid, 0);
            table.failure.store(errno.0.into(), SeqCst);
        }
    }
}

fn is_there(table: &Table, tid: i32) -> bool {
    thread::is_thread_of(table.pid, tid)
}

/// The status of a thread that was interrupted. Some do not stop: in `vfork(2)`, say.
fn wait_for_stop(tid: i32) -> Result<u32, Errno> {
    for _ in 0..20_000 {
        if let Some(status) = thread::wait(tid, thread::WNOHANG)? {
            return Ok(status);
        }
        thread::sleep(100);
    }
    Err(Errno::EBUSY)
}

fn release(_: &Table, entry: &Entry) {
    let signal = entry.signal.load(SeqCst);
    let _ = thread::ptrace(Trace::Detach, entry.tid.load(SeqCst), signal.into());
}

fn end(table: &Table, entry: &Entry) {
    let tid = entry.tid.load(SeqCst);
    if let Ok(mut regs) = thread::registers(tid) {
        if tid == table.pid {
            let (top, f) = finish::entry();
            regs.call(f, top, 0);
        } else {
            regs.call(exit_thread_stub(), 0, 0);
        }
        // SAFETY: the thread goes on at code that needs none of its registers, on a stack of its
        // own if any, and never returns.
        let _ = unsafe { thread::set_registers(tid, &regs) };
    }
    let _ = thread::ptrace(Trace::Detach, tid, 0);
}

/// A stack, allocated while that is still possible.
pub(super) fn stack() -> Vec<u8> {
    Vec::with_capacity(STACK_LEN)
}
