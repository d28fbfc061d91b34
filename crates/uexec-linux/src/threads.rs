//! Stops the other threads of this process, so that they can go on or be ended: as the kernel's
//! exec ends them (PIPE-49.3), but with a way back.
//!
//! Each thread gets a signal and waits in its handler; what blocks even that is stopped by a helper
//! process through `ptrace(2)`. From the first signal on nothing here allocates or locks, as one
//! that is stopped may hold the allocator's lock. Never looks at what is executed.

mod finish;
mod handler;
mod helper;
mod table;
mod tasks;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::SeqCst;

use uexec_core::Errno;

use crate::ffi::thread;
use handler::{BIT, SIGNAL, our_action, value};
use helper::Helper;
use table::{At, GO, GO_BITS, Go, INSIDE, TABLE, Table};

pub(crate) use finish::{Ending, finish_alone};
pub(crate) use tasks::{PATIENCE, Task, count, wait_a_little};

/// Why threads cannot be ended from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// The leader has ended (`pthread_exit(3)` of the main thread): nobody has the process's id as
    /// thread id any more.
    DeadLeader,
    /// A thread waits for its `vfork(2)` child, which uses this memory.
    Vfork,
    /// A call that failed.
    Call(&'static str, Errno),
}

/// How long a thread may take to stop. It runs handlers, or waits for a disk.
const PATIENCE_MICROS: u64 = 30_000_000;

/// The thread whose exec is going on; the others wait for it, or are ended by it.
static OWNER: AtomicU32 = AtomicU32::new(0);

/// The process that has used this last.
static PROCESS: AtomicU32 = AtomicU32::new(0);

/// Every other thread of this process, stopped. Dropping it lets them go on.
#[derive(Debug)]
pub(crate) struct Stopped {
    /// Shared with the handler and the helper; freed when nobody looks at it any more.
    table: &'static Table,
    helper: Option<Helper>,
    /// Memory for the helper's stack, until there is one.
    stack: Vec<u8>,
    attempt: u32,
    /// The caller's signal mask.
    mask: u64,
}

/// Stops all other threads. All signals are blocked from here on.
///
/// # Errors
/// An [`Obstacle`]; all threads go on then.
pub(crate) fn stop_others() -> Result<Stopped, Obstacle> {
    let call = |name| move |errno| Obstacle::Call(name, errno);
    let room = count().map_err(call("stat of /proc/self/task"))?;
    let stack = helper::stack();
    lock();
    let old = thread::action(SIGNAL).inspect_err(|_| unlock()).map_err(call("rt_sigaction"))?;
    let attempt = (GO.load(SeqCst) >> GO_BITS).wrapping_add(1) << GO_BITS >> GO_BITS;
    let table: &'static Table = Box::leak(Box::new(Table::new(room * 2 + 256, old)));
    let mask = thread::set_mask(u64::MAX);
    GO.store(attempt << GO_BITS | Go::Wait as u32, SeqCst);
    TABLE.store(core::ptr::from_ref(table).cast_mut(), SeqCst);
    let mut stopped = Stopped { table, helper: None, stack, attempt, mask };
    // SAFETY: the handler is made to be called anywhere.
    unsafe { thread::set_action(SIGNAL, &our_action()) }.map_err(call("rt_sigaction"))?;
    stopped.stop()?;
    Ok(stopped)
}

/// Whether the leader has ended.
pub(crate) fn is_leader_dead() -> bool {
    Task::ask(thread::getpid()).is_some_and(Task::is_dead)
}

fn lock() {
    let (own, process) = (thread::gettid() as u32, thread::getpid() as u32);
    if PROCESS.swap(process, SeqCst) != process {
        // What fork(2) has copied of an exec in the parent.
        INSIDE.store(0, SeqCst);
    }
    while let Err(owner) = OWNER.compare_exchange(0, own, SeqCst, SeqCst) {
        if !thread::is_thread(owner as i32) {
            // Of the parent, copied by fork(2).
            let _ = OWNER.compare_exchange(owner, 0, SeqCst, SeqCst);
        }
        thread::futex_wait(&OWNER, owner, 10_000);
    }
}

fn unlock() {
    OWNER.store(0, SeqCst);
    thread::futex_wake(&OWNER);
}

/// Whether a look around may have missed somebody who runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// All that there are were known, and had been stopped.
    None,
    /// There were others, or may have been.
    Some,
}

impl Stopped {
    fn stop(&mut self) -> Result<(), Obstacle> {
        // Those that are not stopped yet can make more.
        while self.find()? == Found::Some {
            self.wait_for_called()?;
            self.stop_deaf()?;
        }
        Ok(())
    }

    /// Finds threads not known yet and calls them.
    fn find(&self) -> Result<Found, Obstacle> {
        let (own, first) = (thread::gettid(), self.table.entries().len());
        let mut obstacle = None;
        let listed = tasks::each_task(&mut |tid| {
            if tid == own || self.table.knows(tid) {
                return;
            }
            let Some(task) = Task::ask(tid) else { return };
            if task.is_dead() {
                if tid == self.table.pid {
                    obstacle = Some(Obstacle::DeadLeader);
                }
                return;
            }
            if task.kernels {
                return;
            }
            if tasks::waits_for_vfork(tid, task) {
                obstacle = Some(Obstacle::Vfork);
            }
            let at = if task.blocked & BIT == 0 { At::Called } else { At::Deaf };
            if self.table.add(tid, at).is_none() {
                obstacle = Some(Obstacle::Call("listing all threads", Errno::EAGAIN));
            }
        });
        let complete = listed.map_err(|e| Obstacle::Call("reading /proc/self/task", e))?;
        if let Some(obstacle) = obstacle {
            return Err(obstacle);
        }
        for index in first..self.table.entries().len() {
            self.call(index);
        }
        let none = complete && self.table.entries().len() == first;
        Ok(if none { Found::None } else { Found::Some })
    }

    /// Sends a thread the signal, if it is to be called.
    fn call(&self, index: usize) {
        let Some(entry) = self.table.entries().get(index) else { return };
        if entry.at() == At::Called
            && thread::queue_signal(entry.tid.load(SeqCst), SIGNAL, value(self.attempt, index))
                == Err(Errno::ESRCH)
        {
            entry.set(At::Gone);
        }
    }

    /// Waits until every thread that was called is stopped, has ended, or turns out to be deaf.
    fn wait_for_called(&self) -> Result<(), Obstacle> {
        const STEP_MICROS: u64 = 1000;
        let mut waited = 0;
        loop {
            let arrived = self.table.arrived.load(SeqCst);
            if self.entries(At::Called).next().is_none() {
                return Ok(());
            }
            thread::futex_wait(&self.table.arrived, arrived, STEP_MICROS);
            if self.table.arrived.load(SeqCst) != arrived {
                continue;
            }
            waited += STEP_MICROS;
            for entry in self.entries(At::Called) {
                let tid = entry.tid.load(SeqCst);
                match Task::ask(tid) {
                    None => entry.set(At::Gone),
                    Some(task) if task.is_dead() => entry.set(At::Gone),
                    Some(task) if tasks::waits_for_vfork(tid, task) => {
                        return Err(Obstacle::Vfork);
                    }
                    // Blocked since it was called: for long, or only while it makes a thread?
                    Some(task) if task.blocked & BIT != 0 && entry.at() == At::Called => {
                        if waited >= 20 * STEP_MICROS && task.pending & BIT != 0 {
                            entry.set(At::Deaf);
                        }
                    }
                    Some(_) => {}
                }
            }
            if waited > PATIENCE_MICROS {
                return Err(Obstacle::Call("stopping the other threads", Errno::EAGAIN));
            }
        }
    }

    /// Has the helper stop those that the signal does not reach.
    fn stop_deaf(&mut self) -> Result<(), Obstacle> {
        // C libraries block everything for a moment, to make or end a thread.
        for _ in 0..3 {
            if self.entries(At::Deaf).next().is_none() {
                return Ok(());
            }
            thread::sleep(500);
            for (index, entry) in self.table.entries().iter().enumerate() {
                if entry.at() != At::Deaf {
                    continue;
                }
                match Task::ask(entry.tid.load(SeqCst)) {
                    None => entry.set(At::Gone),
                    Some(task) if task.is_dead() => entry.set(At::Gone),
                    Some(task) if task.blocked & BIT == 0 && task.pending & BIT == 0 => {
                        entry.set(At::Called);
                        self.call(index);
                    }
                    Some(_) => {}
                }
            }
            self.wait_for_called()?;
        }
        if self.entries(At::Deaf).next().is_none() {
            return Ok(());
        }
        let call = |name| move |errno| Obstacle::Call(name, errno);
        if self.helper.is_none() {
            let stack = core::mem::take(&mut self.stack);
            let helper = Helper::start(self.table, stack);
            self.helper = Some(helper.map_err(call("starting a helper process"))?);
        }
        let helper = self.helper.as_ref().map_or(Ok(()), |h| h.stop(self.table));
        helper.map_err(call("ptrace(2) of a thread that blocks all signals"))
    }

    /// Whether the leader, which would take over, has a restartable sequence area that nobody knows of.
    /// One that no signal reaches is not asked.
    pub(crate) fn leader_has_unknown_rseq(&self) -> bool {
        self.table.unknown_rseq.load(SeqCst)
    }

    fn entries(&self, at: At) -> impl Iterator<Item = &table::Entry> {
        self.table.entries().iter().filter(move |e| e.at() == at)
    }

    /// Ends all other threads. The leader goes on with the exec, which is either the calling thread
    /// or takes over from it. The point of no return.
    ///
    /// # Safety
    /// The process is given away: `ending` must hold a list that replaces it.
    pub(crate) unsafe fn end(mut self, ending: Box<Ending>) -> ! {
        let leader = thread::gettid() == self.table.pid;
        let ending = ending.begin(self.table.old);
        if let Some(helper) = self.helper.take() {
            helper.end(self.table);
        }
        GO.store(self.attempt << GO_BITS | Go::End as u32, SeqCst);
        thread::futex_wake(&GO);
        core::mem::forget(self);
        if leader {
            // SAFETY: the caller's promise; all others are on their way out.
            unsafe { finish::finish(ending, false) }
        }
        ending.hand_signals_over();
        thread::exit_thread()
    }
}

impl Drop for Stopped {
    /// Lets everybody go on.
    fn drop(&mut self) {
        if let Some(helper) = self.helper.take() {
            helper.release(self.table);
        }
        GO.store(self.attempt << GO_BITS | Go::On as u32, SeqCst);
        thread::futex_wake(&GO);
        // What was sent and did not arrive is forgotten: the old handler would not know it.
        thread::set_ignored(SIGNAL);
        // SAFETY: as it was before.
        let _ = unsafe { thread::set_action(SIGNAL, &self.table.old) };
        // Who comes from now on does not see it; who has seen it is waited for.
        let table = TABLE.swap(core::ptr::null_mut(), SeqCst);
        while INSIDE.load(SeqCst) != 0 {
            thread::sched_yield();
        }
        // SAFETY: it was leaked for this, and nobody looks at it any more.
        drop(unsafe { Box::from_raw(table) });
        thread::set_mask(self.mask);
        unlock();
    }
}
