//! What a thread that execs shares with those it stops: who they are, how far each is, and the word
//! on which they wait. Atomics only; whoever is stopped touches nothing else.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32};

use crate::ffi::thread;

/// How far a thread is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum At {
    /// A signal was sent to it.
    Called = 0,
    /// It waits inside the handler.
    Parked = 1,
    /// It blocks the signal: the helper has to stop it.
    Deaf = 2,
    /// The helper has stopped it.
    Traced = 3,
    /// It has ended.
    Gone = 4,
}

/// One thread.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) tid: AtomicI32,
    at: AtomicU32,
    /// A signal it was about to get when the helper stopped it.
    pub(super) signal: AtomicU32,
}

impl Entry {
    pub(super) fn at(&self) -> At {
        match self.at.load(Acquire) {
            0 => At::Called,
            1 => At::Parked,
            2 => At::Deaf,
            3 => At::Traced,
            _ => At::Gone,
        }
    }

    pub(super) fn set(&self, at: At) {
        self.at.store(at as u32, Release);
    }
}

/// All of it.
#[derive(Debug)]
pub(super) struct Table {
    entries: Box<[Entry]>,
    len: AtomicU32,
    /// Counts arrivals; waited on by the thread that execs.
    pub(super) arrived: AtomicU32,
    /// What the helper is to do, and whether it has; waited on by both.
    pub(super) order: AtomicU32,
    /// Errno of what the helper could not do.
    pub(super) failure: AtomicU32,
    /// Set by a leader that has a restartable sequence area that nobody knows of.
    pub(super) unknown_rseq: AtomicBool,
    /// What the handler did before ours.
    pub(super) old: thread::SigAction,
    /// This process.
    pub(super) pid: i32,
}

impl Table {
    /// Room for so many threads.
    pub(super) fn new(room: usize, old: thread::SigAction) -> Table {
        let entries: Vec<Entry> = core::iter::repeat_with(Entry::default).take(room).collect();
        Table {
            entries: entries.into_boxed_slice(),
            len: AtomicU32::new(0),
            arrived: AtomicU32::new(0),
            order: AtomicU32::new(0),
            failure: AtomicU32::new(0),
            unknown_rseq: AtomicBool::new(false),
            old,
            pid: thread::getpid(),
        }
    }

    /// The threads known so far.
    pub(super) fn entries(&self) -> &[Entry] {
        let len = self.len.load(Acquire) as usize;
        self.entries.get(..len).unwrap_or_default()
    }

    /// Adds a thread; its index, or `None` when there is no room.
    pub(super) fn add(&self, tid: i32, at: At) -> Option<usize> {
        let index = self.len.load(Relaxed) as usize;
        let entry = self.entries.get(index)?;
        entry.tid.store(tid, Relaxed);
        entry.set(at);
        self.len.store(index as u32 + 1, Release);
        Some(index)
    }

    pub(super) fn knows(&self, tid: i32) -> bool {
        self.entries().iter().any(|e| e.tid.load(Relaxed) == tid && e.at() != At::Gone)
    }
}

/// The table of the exec that is going on. Points to nothing between them.
pub(super) static TABLE: AtomicPtr<Table> = AtomicPtr::new(core::ptr::null_mut());

/// The word that stopped threads wait on: a number for each attempt, and one of [`Go`] below it.
pub(super) static GO: AtomicU32 = AtomicU32::new(0);

/// Threads inside the handler, which may look at the table.
pub(super) static INSIDE: AtomicU32 = AtomicU32::new(0);

/// What stopped threads do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Go {
    /// Stay.
    Wait = 0,
    /// Go on as if nothing had been.
    On = 1,
    /// End, or take the exec over if it is the leader.
    End = 2,
}

/// Bits of [`GO`] that are one of [`Go`].
pub(super) const GO_BITS: u32 = 2;
