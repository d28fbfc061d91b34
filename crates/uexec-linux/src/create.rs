//! Carries out what `uexec_core::clone` has decided: makes the process or the thread.
//!
//! Decides nothing; and never touches what a C library keeps about threads and processes: its
//! handlers of `pthread_atfork(3)` do not run, and what it remembers of the thread's number is
//! wrong in the child.

use uexec_core::clone::{CloneArgs, CloneFacts, CloneFlags, ClonePlan, Entry, PidLevel};
use uexec_core::{Errno, World};

use crate::Host;
use crate::arch::{ChildMain, create_and_call, create_and_return, create_nr as nr};

/// Bits of the effective set (`capabilities(7)`).
const CAP_SYS_ADMIN: u32 = 21;
const CAP_SYS_RESOURCE: u32 = 24;
const CAP_CHECKPOINT_RESTORE: u32 = 40;

/// What a child does first.
#[derive(Clone, Copy, Debug)]
pub enum Start {
    /// Returns as the caller does.
    Return,
    /// Calls the function with this word, on [`CloneArgs::stack`] if there is one, else below the
    /// caller's frames.
    Call(unsafe extern "C" fn(usize) -> !, usize),
}

/// Who returns from [`create`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// The caller, with the child's tid in the caller's pid namespace.
    Parent(i32),
    /// The child.
    Child,
}

/// What is known of this host and of the caller; the rest as in [`CloneFacts::default`], to be
/// told the core before it decides.
#[must_use]
pub fn clone_facts() -> CloneFacts {
    let host = Host::new();
    let known = host.facts();
    let has = |cap: u32| known.creds.effective >> cap & 1 == 1;
    let sys_admin = has(CAP_SYS_ADMIN);
    CloneFacts {
        kernel: known.kernel,
        task_size: known.task_size,
        sys_admin,
        over_nproc: sys_admin || has(CAP_SYS_RESOURCE) || known.creds.uid == 0,
        pid_levels: alloc::vec![PidLevel {
            may_choose: sys_admin || has(CAP_CHECKPOINT_RESTORE),
            ..PidLevel::default()
        }],
        ..CloneFacts::default()
    }
}

/// Makes the child that was decided on.
///
/// # Errors
/// `EINVAL` when `plan` is not of these arguments, or lets caller and child return into the same
/// frame. Else the kernel's, of which only those are left that depend on what it was not told:
/// `EAGAIN` (`RLIMIT_NPROC`, which counts the tasks of the user id, threads included; FORK-29),
/// `ENOMEM`, `EEXIST` …
///
/// # Safety
/// All addresses in `args` are valid for what the kernel stores there. A child that shares the
/// caller's memory has a stack of its own, unless the caller waits for it; and whatever it does
/// must be sound at the same time as the caller (or, waiting, in the middle of this call). A child
/// that returns is a copy of a process of which all threads but this one are gone: locks they held
/// stay held.
pub unsafe fn create(args: &CloneArgs, plan: &ClonePlan, start: Start) -> Result<Created, Errno> {
    let shares = plan.flags.contains(CloneFlags::CLONE_VM);
    let own_stack = plan.sp.is_some();
    if plan.flags != args.flags || plan.sp != args.stack_pointer() {
        return Err(Errno::EINVAL);
    }
    let ret = match start {
        Start::Return if shares || own_stack => return Err(Errno::EINVAL),
        Start::Call(..) if shares && !own_stack && !plan.parent_waits => {
            return Err(Errno::EINVAL);
        }
        // SAFETY: the caller's promise; a returning child has memory of its own, and a calling one
        // a stack or a waiting caller, by the tests above.
        Start::Return => unsafe { enter(args, None) },
        // SAFETY: likewise.
        Start::Call(main, word) => unsafe { enter(args, Some((main, word))) },
    };
    match ret {
        0 => Ok(Created::Child),
        tid @ 1.. => Ok(Created::Parent(tid as i32)),
        error => Err(Errno(-error as u16)),
    }
}

/// `struct clone_args` as the kernel reads it (`include/uapi/linux/sched.h`, 6.18).
#[repr(C)]
struct Words([u64; 11]);

/// Makes the call that `args` names.
///
/// # Safety
/// As [`create`].
unsafe fn enter(args: &CloneArgs, call: Option<(ChildMain, usize)>) -> i64 {
    let words = Words([
        args.flags.bits(),
        args.pidfd,
        args.child_tid,
        args.parent_tid,
        args.exit_signal,
        args.stack,
        args.stack_size,
        args.tls,
        args.set_tid,
        args.set_tid_size,
        args.cgroup,
    ]);
    let (number, numbers) = match args.entry {
        Entry::Clone3 => (nr::CLONE3, [(&raw const words) as u64, CloneArgs::SIZE, 0, 0, 0]),
        Entry::Clone => (
            nr::CLONE,
            [
                args.flags.bits() | args.exit_signal,
                args.stack,
                args.parent_tid,
                args.child_tid,
                args.tls,
            ],
        ),
        Entry::Fork => (nr::FORK, [0; 5]),
        Entry::Vfork => (nr::VFORK, [0; 5]),
    };
    match call {
        // SAFETY: `words` lives as long as the call; the rest is the caller's promise.
        Some((main, word)) => unsafe { create_and_call(number, numbers, main, word) },
        // SAFETY: likewise.
        None => unsafe { create_and_return(number, numbers) },
    }
}
