//! Has a stopped thread, which is about to execute something, make other system calls instead, and
//! then its own. Reads none of its memory and writes none: all arguments are numbers.

use uexec_core::Errno;

use super::call::{ARCH_I386, X32};
use crate::arch::Regs;
use crate::ffi::thread;
use crate::ffi::tracer::CallInfo;

/// A call that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    MemfdCreate,
    PidfdOpen,
    PidfdGetfd,
    Execveat,
    Close,
    Fcntl,
}

/// The call that a thread was stopped in, and how to come back to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    tid: i32,
    regs: Regs,
    i386: bool,
    /// [`X32`] or nothing.
    kind: u64,
}

impl Place {
    /// Where the thread is now, at the beginning of a call.
    pub(super) fn new(tid: i32, info: &CallInfo) -> Result<Place, Errno> {
        let regs = thread::registers(tid)?;
        let i386 = info.arch == ARCH_I386;
        let (number, _) = regs.system_call(i386);
        Ok(Place { tid, regs, i386, kind: if i386 { 0 } else { number & X32 } })
    }

    /// Has it and all others bear a mark in the place of a sixth argument, which is returned.
    pub(super) fn mark(&mut self, mark: u64) -> u64 {
        let (_, [.., sixth]) = self.regs.system_call(self.i386);
        self.regs.set_sixth(self.i386, mark);
        sixth
    }

    /// The sixth argument as it was, after the thread's own call has failed.
    pub(super) fn unmark(&self, sixth: u64) -> Result<(), Errno> {
        let mut regs = thread::registers(self.tid)?;
        regs.set_sixth(self.i386, sixth);
        // SAFETY: what the thread itself had there.
        unsafe { thread::set_registers(self.tid, &regs) }
    }

    /// Whether it is a call of a 64-bit program.
    pub(super) const fn is_native(&self) -> bool {
        !self.i386 && self.kind == 0
    }

    /// Numbers of `arch/x86/entry/syscalls/syscall_{64,32}.tbl` (Linux 6.18).
    fn number(&self, name: Name) -> u64 {
        match (name, self.i386, self.kind) {
            (Name::MemfdCreate, false, _) => 319 | self.kind,
            (Name::MemfdCreate, true, _) => 356,
            (Name::PidfdOpen, ..) => 434 | self.kind,
            (Name::PidfdGetfd, ..) => 438 | self.kind,
            (Name::Execveat, false, 0) => 322,
            (Name::Execveat, false, _) => 545 | self.kind,
            (Name::Execveat, true, _) => 358,
            (Name::Close, false, _) => 3 | self.kind,
            (Name::Close, true, _) => 6,
            (Name::Fcntl, false, _) => 72 | self.kind,
            (Name::Fcntl, true, _) => 55,
        }
    }

    /// Another call in the place of the one that has not begun.
    pub(super) fn instead(&self, name: Name, args: [u64; 5]) -> Result<(), Errno> {
        let mut regs = self.regs;
        regs.change_call(self.i386, self.number(name), args);
        // SAFETY: a call with numbers or with an address that the thread had passed itself; the
        // kernel checks both, and changes no memory of the thread by them.
        unsafe { thread::set_registers(self.tid, &regs) }
    }

    /// Another call, now that the last one is over.
    pub(super) fn then(&self, name: Name, args: [u64; 5]) -> Result<(), Errno> {
        let mut regs = self.regs;
        regs.call_again(self.i386, self.number(name), args);
        // SAFETY: as above.
        unsafe { thread::set_registers(self.tid, &regs) }
    }

    /// The thread's own call, from the beginning.
    pub(super) fn back(&self) -> Result<(), Errno> {
        let mut regs = self.regs;
        let (number, [a, b, c, d, e, _]) = regs.system_call(self.i386);
        regs.call_again(self.i386, number, [a, b, c, d, e]);
        // SAFETY: what the thread was about to do by itself.
        unsafe { thread::set_registers(self.tid, &regs) }
    }
}
