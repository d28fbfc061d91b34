//! Process creation decided as data: what `fork(2)`, `vfork(2)`, `clone(2)` and `clone3(2)` would
//! give the child, or which rule refuses them.
//!
//! This room never creates anything: it knows the arguments and some [facts](CloneFacts) of the
//! caller, and answers as the kernel would, in the kernel's order.
//!
//! ```
//! use uexec_core::clone::{CloneArgs, CloneFacts, CloneFlags, Gets, Item, decide};
//! use uexec_core::Errno;
//!
//! let facts = CloneFacts::default();
//! let plan = decide(&CloneArgs::vfork(), 0, &facts).unwrap();
//! assert!(plan.parent_waits);
//! assert_eq!(plan.item(Item::Memory).unwrap().gets, Gets::Shared);
//!
//! let args = CloneArgs::clone3(CloneFlags::CLONE_THREAD);
//! let error = decide(&args, CloneArgs::SIZE, &facts).unwrap_err();
//! assert_eq!((error.errno(), error.spec()), (Errno::EINVAL, "FORK-22"));
//! ```

mod child;
mod decide;
mod error;
mod facts;
mod parse;
mod plan;
#[cfg(test)]
mod tests;

pub use decide::decide;
pub use error::CloneError;
pub use facts::{CloneFacts, PidLevel, Tail};
pub use parse::{ParseError, Request};
pub use plan::{ClonePlan, Gets, Inherit, Item, Memory, Parent, PtraceEvent, Write};

/// `SIGCHLD` on x86-64 (`signal(7)`).
pub const SIGCHLD: i32 = 17;

bitflags::bitflags! {
    /// The flags of `clone3(2)`. The names are the kernel's (`include/uapi/linux/sched.h`, 6.18).
    ///
    /// ```
    /// use uexec_core::clone::CloneFlags;
    /// let thread = CloneFlags::CLONE_VM | CloneFlags::CLONE_SIGHAND | CloneFlags::CLONE_THREAD;
    /// assert_eq!(thread.bits(), 0x1_0900);
    /// ```
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct CloneFlags: u64 {
        /// New time namespace.
        const CLONE_NEWTIME = 0x80;
        /// Memory is shared.
        const CLONE_VM = 0x100;
        /// Working directory, root and umask are shared.
        const CLONE_FS = 0x200;
        /// The descriptor table is shared.
        const CLONE_FILES = 0x400;
        /// Signal actions are shared.
        const CLONE_SIGHAND = 0x800;
        /// A descriptor of the child is stored.
        const CLONE_PIDFD = 0x1000;
        /// The caller's tracer traces the child too.
        const CLONE_PTRACE = 0x2000;
        /// The caller waits until the child lets go of its memory.
        const CLONE_VFORK = 0x4000;
        /// The child is the caller's sibling.
        const CLONE_PARENT = 0x8000;
        /// The child is a thread of the caller's process.
        const CLONE_THREAD = 0x1_0000;
        /// New mount namespace.
        const CLONE_NEWNS = 0x2_0000;
        /// The list of semaphore undos is shared.
        const CLONE_SYSVSEM = 0x4_0000;
        /// Thread-local storage is given.
        const CLONE_SETTLS = 0x8_0000;
        /// The child's tid is stored in the caller's memory.
        const CLONE_PARENT_SETTID = 0x10_0000;
        /// The tid is cleared in the child's memory when it ends.
        const CLONE_CHILD_CLEARTID = 0x20_0000;
        /// Without effect since Linux 2.6.
        const CLONE_DETACHED = 0x40_0000;
        /// No tracer can force the child to be traced.
        const CLONE_UNTRACED = 0x80_0000;
        /// The child's tid is stored in the child's memory.
        const CLONE_CHILD_SETTID = 0x100_0000;
        /// New cgroup namespace.
        const CLONE_NEWCGROUP = 0x200_0000;
        /// New uts namespace.
        const CLONE_NEWUTS = 0x400_0000;
        /// New ipc namespace.
        const CLONE_NEWIPC = 0x800_0000;
        /// New user namespace.
        const CLONE_NEWUSER = 0x1000_0000;
        /// New pid namespace.
        const CLONE_NEWPID = 0x2000_0000;
        /// New network namespace.
        const CLONE_NEWNET = 0x4000_0000;
        /// The io context is shared.
        const CLONE_IO = 0x8000_0000;
        /// Signal handlers are reset (5.5).
        const CLONE_CLEAR_SIGHAND = 1 << 32;
        /// The child starts in another cgroup (5.7).
        const CLONE_INTO_CGROUP = 1 << 33;
    }
}

impl CloneFlags {
    /// The namespaces that need `CAP_SYS_ADMIN` (FORK-34): all but the user namespace.
    pub const NAMESPACES: CloneFlags = CloneFlags::CLONE_NEWTIME
        .union(CloneFlags::CLONE_NEWNS)
        .union(CloneFlags::CLONE_NEWCGROUP)
        .union(CloneFlags::CLONE_NEWUTS)
        .union(CloneFlags::CLONE_NEWIPC)
        .union(CloneFlags::CLONE_NEWPID)
        .union(CloneFlags::CLONE_NEWNET);

    /// The kernel's name of a single flag; empty for none or several.
    #[must_use]
    pub fn name(self) -> &'static str {
        CloneFlags::all().iter_names().find(|(_, f)| *f == self).map_or("", |(name, _)| name)
    }

    /// Whether both are set.
    pub(crate) const fn both(self, a: CloneFlags, b: CloneFlags) -> bool {
        self.contains(a) && self.contains(b)
    }
}

/// The call that is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Entry {
    /// `clone3(2)`, the only one that checks its arguments beforehand (FORK-3 to FORK-14).
    #[default]
    Clone3,
    /// `clone(2)`; flags and exit signal share a word, the pidfd goes to `parent_tid` (FORK-1).
    Clone,
    /// `fork(2)`.
    Fork,
    /// `vfork(2)`.
    Vfork,
}

impl Entry {
    /// The name of the system call.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Entry::Clone3 => "clone3",
            Entry::Clone => "clone",
            Entry::Fork => "fork",
            Entry::Vfork => "vfork",
        }
    }
}

/// `struct clone_args` of `clone3(2)`, and the call it belongs to. Addresses are of the target.
///
/// ```
/// use uexec_core::clone::{CloneArgs, CloneFlags, SIGCHLD};
/// let args = CloneArgs {
///     exit_signal: SIGCHLD as u64,
///     stack: 0x7000_0000,
///     stack_size: 0x1_0000,
///     ..CloneArgs::clone3(CloneFlags::CLONE_VM)
/// };
/// assert_eq!(args.stack_pointer(), Some(0x7001_0000));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names are those of clone(2)")]
pub struct CloneArgs {
    pub entry: Entry,
    pub flags: CloneFlags,
    pub pidfd: u64,
    pub child_tid: u64,
    pub parent_tid: u64,
    pub exit_signal: u64,
    pub stack: u64,
    pub stack_size: u64,
    pub tls: u64,
    pub set_tid: u64,
    pub set_tid_size: u64,
    pub cgroup: u64,
}

impl CloneArgs {
    /// Size of the newest `struct clone_args` in bytes (`CLONE_ARGS_SIZE_VER2`, Linux 5.7).
    pub const SIZE: u64 = 88;
    /// Size of the first one (`CLONE_ARGS_SIZE_VER0`, Linux 5.3).
    pub const SIZE_VER0: u64 = 64;

    /// `clone3(2)` with these flags; bits without a name are kept, and refused when decided.
    #[must_use]
    pub fn clone3(flags: CloneFlags) -> CloneArgs {
        CloneArgs { flags, ..CloneArgs::default() }
    }

    /// `clone(2)` as on x86-64: the exit signal is the low byte of `flags`, the upper half is
    /// ignored, the pidfd is written through `parent_tid` (FORK-1).
    ///
    /// ```
    /// use uexec_core::clone::{CloneArgs, CloneFlags};
    /// let args = CloneArgs::legacy(0xffff_ffff_0000_0111, 0, 0, 0, 0);
    /// assert_eq!(args.flags, CloneFlags::CLONE_VM);
    /// assert_eq!(args.exit_signal, 17);
    /// ```
    #[must_use]
    pub fn legacy(flags: u64, stack: u64, parent_tid: u64, child_tid: u64, tls: u64) -> CloneArgs {
        CloneArgs {
            entry: Entry::Clone,
            flags: CloneFlags::from_bits_retain(flags & 0xffff_ff00),
            exit_signal: flags & 0xff,
            pidfd: parent_tid,
            stack,
            parent_tid,
            child_tid,
            tls,
            ..CloneArgs::default()
        }
    }

    /// `fork(2)`: no flags, `SIGCHLD` (FORK-1).
    #[must_use]
    pub fn fork() -> CloneArgs {
        CloneArgs { entry: Entry::Fork, exit_signal: SIGCHLD as u64, ..CloneArgs::default() }
    }

    /// `vfork(2)`: memory shared, the parent waits, same stack pointer (FORK-1).
    #[must_use]
    pub fn vfork() -> CloneArgs {
        CloneArgs {
            entry: Entry::Vfork,
            flags: CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK,
            ..CloneArgs::fork()
        }
    }

    /// What the child's stack pointer is set to; `None` when it keeps the caller's (FORK-2,
    /// FORK-14).
    #[must_use]
    pub const fn stack_pointer(&self) -> Option<u64> {
        match self.stack {
            0 => None,
            stack => Some(stack.wrapping_add(self.stack_size)),
        }
    }
}
