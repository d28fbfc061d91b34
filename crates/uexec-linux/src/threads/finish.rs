//! The last steps of an exec whose other threads are ending: by the thread that called, or by the
//! leader, which takes over from it. Past the point of no return: no allocation, no lock, no libc.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::Ordering::SeqCst;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64};

use super::handler::SIGNAL;
use super::tasks::{PATIENCE, Task, is_alone, wait_a_little};
use crate::arch::{enter, on_stack, rseq_area};
use crate::ffi::{self, thread};
use crate::leave::leave;
use crate::robust;
use crate::share::{self, OtherWay, Owners};
use thread::{SigAction, SigInfo};

/// Bytes of a stack for a few small functions.
pub(super) const STACK_LEN: usize = 128 << 10;

/// Signals that are handed over at most.
const HANDED: usize = 128;

/// Everything that is needed to finish, prepared before the first thread is stopped.
#[derive(Debug)]
pub(crate) struct Ending {
    /// The trampoline and its list.
    pub(crate) code: u64,
    pub(crate) list: u64,
    /// Descriptors that the list needs, and closes.
    pub(crate) keep: Vec<i32>,
    /// How long a registered rseq area is.
    pub(crate) rseq_len: u64,
    /// What is done when the memory turns out to be shared.
    pub(crate) other_way: OtherWay,
    /// Signals that get their default action, a bit each.
    defaults: u64,
    /// What the signal did that stopped the threads.
    old: SigAction,
    /// Stack of the leader that takes over.
    stack: Vec<u8>,
    /// Pending signals of the thread that called, a `siginfo_t` each.
    signals: Box<[[AtomicU64; 16]]>,
    nr_signals: AtomicU32,
}

/// What the leader takes over.
static TAKEN: AtomicPtr<Ending> = AtomicPtr::new(core::ptr::null_mut());

impl Ending {
    /// With room for what may be handed over, if the caller is not the leader.
    pub(crate) fn new(
        code: u64,
        list: u64,
        keep: Vec<i32>,
        rseq_len: u64,
        defaults: u64,
    ) -> Ending {
        let handed = thread::gettid() != thread::getpid();
        Ending {
            code,
            list,
            keep,
            rseq_len,
            other_way: OtherWay::None,
            defaults,
            old: [0; 4],
            stack: Vec::with_capacity(if handed { STACK_LEN } else { 0 }),
            signals: core::iter::repeat_with(Default::default)
                .take(if handed { HANDED } else { 0 })
                .collect(),
            nr_signals: AtomicU32::new(0),
        }
    }

    /// From here on the leader may take over. It is never freed.
    pub(super) fn begin(mut self: Box<Self>, old: SigAction) -> &'static Ending {
        self.old = old;
        let this: &'static Ending = Box::leak(self);
        TAKEN.store(core::ptr::from_ref(this).cast_mut(), SeqCst);
        this
    }

    /// Takes the pending signals of the calling thread, for the leader.
    pub(super) fn hand_signals_over(&self) {
        let own = thread::gettid();
        each_pending(own, &mut |signal, info| {
            let n = self.nr_signals.load(SeqCst);
            if signal != SIGNAL
                && let Some(place) = self.signals.get(n as usize)
            {
                place.iter().zip(info).for_each(|(to, word)| to.store(*word, SeqCst));
                self.nr_signals.store(n + 1, SeqCst);
            }
        });
    }
}

/// Takes the pending signals of the calling thread alone off its queue.
fn each_pending(own: i32, each: &mut dyn FnMut(u64, &SigInfo)) {
    while let Some(task) = Task::ask(own)
        && task.pending != 0
    {
        let signal = u64::from(task.pending.trailing_zeros()) + 1;
        let mut info: SigInfo = [0; 16];
        if thread::take_signal(signal, &mut info).is_err() {
            return;
        }
        each(signal, &info);
    }
}

/// The stack and the function that the leader goes on with when it is pointed there.
pub(super) fn entry() -> (u64, u64) {
    // SAFETY: set by `begin`, and never freed.
    let top = unsafe { TAKEN.load(SeqCst).as_ref() }.map_or(0, Ending::stack_top);
    (top, taken_over as *const () as u64)
}

impl Ending {
    fn stack_top(&self) -> u64 {
        self.stack.as_ptr() as u64 + self.stack.capacity() as u64
    }
}

/// The leader goes on with the exec, on a stack of its own: its handler's may be small.
pub(super) fn take_over() -> ! {
    let (top, _) = entry();
    // SAFETY: the stack was allocated for this, and only the leader comes here.
    unsafe { on_stack(top, taken_over, 0) }
}

extern "C" fn taken_over(_: u64) -> ! {
    let ending = TAKEN.load(SeqCst);
    thread::set_mask(u64::MAX);
    // SAFETY: set by `begin` and never freed.
    let ending = unsafe { &*ending };
    // SAFETY: whoever called has given the process away.
    unsafe { finish(ending, true) }
}

/// Waits until this thread is the only one, clears away what the process leaves behind, and enters
/// the list.
///
/// # Safety
/// The process is given away.
pub(super) unsafe fn finish(ending: &Ending, taken_over: bool) -> ! {
    let mut waited = 0;
    while !is_alone(waited < PATIENCE) {
        wait_a_little(waited);
        waited += 1;
    }
    if taken_over {
        // The caller's were not registered for this thread.
        ffi::drop_rseq(rseq_area(), ending.rseq_len);
        // The leader is ended by an exec of another thread, and its own pending signals with it.
        each_pending(thread::getpid(), &mut |_, _| ());
    }
    // What was queued for threads that are gone, or came too late.
    thread::set_ignored(SIGNAL);
    // SAFETY: no code of this program handles signals any more, all are blocked.
    let _ = unsafe { thread::set_action(SIGNAL, &ending.old) };
    let handed = ending.signals.get(..ending.nr_signals.load(SeqCst) as usize);
    for words in handed.unwrap_or_default() {
        let info: SigInfo = core::array::from_fn(|i| words[i].load(SeqCst));
        let _ = thread::queue_info(thread::getpid(), info[0] as u32 as u64, &info);
    }
    // SAFETY: the caller's promise.
    unsafe { finish_alone(ending) }
}

/// The same for a process that has had one thread all the time.
///
/// # Safety
/// The process is given away; it has one thread, and all signals are blocked.
pub(crate) unsafe fn finish_alone(ending: &Ending) -> ! {
    if share::owners() == Owners::Others || ffi::has_unknown_rseq() {
        // Somebody else's memory must stay, and what the kernel writes to.
        if let OtherWay::Loader(loader) = &ending.other_way {
            let _ = loader.start();
        }
        ffi::die_by_segv()
    }
    robust::give_up();
    robust::clear_keyrings();
    leave(&ending.keep, ending.defaults);
    // SAFETY: the list replaces the process; one thread is left, and the memory is its own.
    unsafe { enter(ending.code, ending.list) }
}
