//! What a child does to itself before it executes a program, as data. Steps are carried out in
//! order, by system calls alone: no memory, no lock, no C library.

use core::ffi::CStr;

use uexec_core::Errno;

use crate::ffi::child as sys;

/// One step of a child's set-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step<'a> {
    /// Opens a file as this descriptor, as `posix_spawn_file_actions_addopen(3)` does.
    Open {
        /// The file.
        path: &'a CStr,
        /// `O_*` of `open(2)`.
        flags: i32,
        /// Permission bits of a new file, cut by the umask.
        mode: u32,
        /// The descriptor's number.
        to: i32,
    },
    /// `dup2(2)`; a descriptor that is its own copy only loses close-on-exec.
    Dup {
        /// The open one.
        from: i32,
        /// The copy's number.
        to: i32,
    },
    /// Closes a descriptor, if it is open.
    Close(i32),
    /// Closes all descriptors from this number on.
    CloseFrom(i32),
    /// `chdir(2)`.
    Chdir(&'a CStr),
    /// `fchdir(2)`.
    Fchdir(i32),
    /// `chroot(2)`; the working directory stays where it is.
    Chroot(&'a CStr),
    /// `setgroups(2)`.
    Groups(&'a [u32]),
    /// `setgid(2)`.
    Gid(u32),
    /// `setuid(2)`.
    Uid(u32),
    /// Effective ids become the real ones (`POSIX_SPAWN_RESETIDS`).
    ResetIds,
    /// `setpgid(0, …)`: joins this process group, or with 0 makes one of its own.
    ProcessGroup(i32),
    /// `setsid(2)`.
    Session,
    /// `tcsetpgrp(3)` with the child's process group.
    Foreground(i32),
    /// Scheduling policy, or the present one, and priority (`sched(7)`).
    Scheduler(Option<i32>, i32),
    /// Default actions for a set of signals; signal 1 is bit 0.
    DefaultSignals(u64),
    /// The signal mask; signal 1 is bit 0.
    SignalMask(u64),
}

impl Step<'_> {
    /// Does it to the calling process, of which thread attributes only in the calling thread.
    ///
    /// # Errors
    /// The call's.
    pub(crate) fn run(&self) -> Result<(), Errno> {
        match *self {
            Step::Open { path, flags, mode, to } => {
                sys::close(to);
                let fd = sys::open(path, flags, mode)?;
                if fd != to {
                    let copied = sys::dup_to(fd, to);
                    sys::close(fd);
                    copied?;
                }
            }
            Step::Dup { from, to } => sys::dup_to(from, to)?,
            Step::Close(fd) => sys::close(fd),
            Step::CloseFrom(from) => sys::close_range(from, i32::MAX),
            Step::Chdir(path) => sys::chdir(path)?,
            Step::Fchdir(fd) => sys::fchdir(fd)?,
            Step::Chroot(path) => sys::chroot(path)?,
            Step::Groups(groups) => sys::set_groups(groups)?,
            Step::Gid(gid) => sys::set_gid(gid)?,
            Step::Uid(uid) => sys::set_uid(uid)?,
            Step::ResetIds => sys::reset_ids()?,
            Step::ProcessGroup(group) => sys::set_pgid(group)?,
            Step::Session => sys::set_sid()?,
            Step::Foreground(terminal) => sys::set_foreground(terminal)?,
            Step::Scheduler(policy, priority) => sys::set_scheduler(policy, priority)?,
            Step::DefaultSignals(set) => sys::default_signals(set),
            Step::SignalMask(mask) => {
                sys::set_signal_mask(mask);
            }
        }
        Ok(())
    }

    /// The descriptors that the step names, -1 for none: those it uses and changes. What a range
    /// closes is not named: [`Step::CloseFrom`] is kept off the child's own descriptors otherwise.
    pub(super) const fn named(&self) -> [i32; 2] {
        match *self {
            Step::Open { to: fd, .. }
            | Step::Close(fd)
            | Step::Fchdir(fd)
            | Step::Foreground(fd) => [fd, -1],
            Step::Dup { from, to } => [from, to],
            _ => [-1, -1],
        }
    }

    /// What it is, in a word, for messages.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Step::Open { .. } => "open",
            Step::Dup { .. } => "dup2",
            Step::Close(_) => "close",
            Step::CloseFrom(_) => "close_range",
            Step::Chdir(_) => "chdir",
            Step::Fchdir(_) => "fchdir",
            Step::Chroot(_) => "chroot",
            Step::Groups(_) => "setgroups",
            Step::Gid(_) => "setgid",
            Step::Uid(_) => "setuid",
            Step::ResetIds => "setreuid",
            Step::ProcessGroup(_) => "setpgid",
            Step::Session => "setsid",
            Step::Foreground(_) => "tcsetpgrp",
            Step::Scheduler(..) => "sched_setscheduler",
            Step::DefaultSignals(_) => "sigaction",
            Step::SignalMask(_) => "sigprocmask",
        }
    }
}

/// Carries steps out on the calling process.
///
/// # Errors
/// The number of the step that failed, and its errno. The steps before it stay done.
///
/// # Safety
/// Descriptors are closed and replaced whoever owns them, and ids change in the calling thread
/// only: this is for a process that is about to execute a program.
pub unsafe fn run_steps(steps: &[Step<'_>]) -> Result<(), (usize, Errno)> {
    steps.iter().enumerate().try_for_each(|(i, step)| step.run().map_err(|e| (i, e)))
}
