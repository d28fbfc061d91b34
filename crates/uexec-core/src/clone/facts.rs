//! What the rules depend on besides the arguments. Only holds answers; asks nobody.

use alloc::vec::Vec;

use super::{CloneFlags, SIGCHLD};
use crate::abi;
use crate::error::Errno;

/// What follows the known part of a longer `struct clone_args` (FORK-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Tail {
    /// Only zeros, or nothing.
    #[default]
    Zero,
    /// Something this kernel does not know.
    Used,
    /// Not readable; likewise when the known part is not.
    Unreadable,
}

/// One level of process ids: the child gets a number in each (FORK-40).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PidLevel {
    /// `kernel.pid_max` as this namespace has it: since Linux 6.14 a new one starts with 4,194,304,
    /// whatever its parent's is.
    pub pid_max: i32,
    /// It has, or had, an init: only then can a number other than 1 be chosen.
    pub has_init: bool,
    /// The caller has `CAP_CHECKPOINT_RESTORE` or `CAP_SYS_ADMIN` over it.
    pub may_choose: bool,
    /// Numbers in use, as far as they matter for `set_tid`.
    pub taken: Vec<i32>,
}

impl Default for PidLevel {
    fn default() -> PidLevel {
        PidLevel { pid_max: 32_768, has_init: true, may_choose: true, taken: Vec::new() }
    }
}

/// Kernel, caller and host before the call. The default is a privileged caller on Linux 6.18
/// with everything to spare, not an init, in the initial namespaces.
///
/// ```
/// use uexec_core::clone::{CloneArgs, CloneFacts, decide};
/// use uexec_core::Errno;
/// let facts = CloneFacts { rlimit_nproc: 10, user_tasks: 10, ..CloneFacts::unprivileged() };
/// assert_eq!(decide(&CloneArgs::fork(), 0, &facts).unwrap_err().errno(), Errno::EAGAIN);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloneFacts {
    /// Kernel version, major and minor.
    pub kernel: (u16, u16),
    /// End of user addresses.
    pub task_size: u64,

    // The caller's memory.
    /// What follows the known part of the arguments.
    pub tail: Tail,
    /// What `set_tid` points to; `None` where it cannot be read.
    pub set_tid: Option<Vec<i32>>,
    /// Where `pidfd` points can be written.
    pub pidfd_writable: bool,

    // The caller.
    /// It is the init of a pid namespace, the initial one included.
    pub is_init: bool,
    /// It has `CAP_SYS_ADMIN` in its user namespace.
    pub sys_admin: bool,
    /// It has `CAP_SYS_RESOURCE` or `CAP_SYS_ADMIN` in the initial user namespace, or is that
    /// one's root: `RLIMIT_NPROC` does not bind it.
    pub over_nproc: bool,
    /// `RLIMIT_NPROC`.
    pub rlimit_nproc: u64,
    /// Tasks of its user, the new one not counted.
    pub user_tasks: u64,
    /// Scheduled by `SCHED_DEADLINE`, without `SCHED_FLAG_RESET_ON_FORK`.
    pub deadline: bool,
    /// Its root directory is not that of its mount namespace.
    pub chrooted: bool,
    /// Its user and group id are mapped in its user namespace.
    pub ids_mapped: bool,
    /// Another thread of it is executing a program.
    pub sibling_execs: bool,
    /// It can open another descriptor.
    pub fd_left: bool,
    /// The exit signal of its thread group's leader.
    pub leader_exit_signal: i32,
    /// A tracer is attached, and asked to be told of new children.
    pub traced: bool,

    // Namespaces and limits.
    /// Nesting of its user namespace, 0 for the initial one.
    pub user_level: u32,
    /// The pid namespace its children go to, innermost first, up to the initial one.
    pub pid_levels: Vec<PidLevel>,
    /// Its children go to another pid namespace than its own, by `unshare(2)` or `setns(2)`.
    pub pid_ns_differs: bool,
    /// The init of its children's pid namespace has ended.
    pub init_ended: bool,
    /// Its children go to another time namespace than its own.
    pub time_ns_differs: bool,
    /// The `CLONE_NEW…` whose limit in `/proc/sys/user` is reached.
    pub limits_reached: CloneFlags,
    /// Threads of the system.
    pub threads: u64,
    /// `kernel.threads-max`.
    pub threads_max: u64,
    /// A pids cgroup above it is full.
    pub pids_cgroup_full: bool,
    /// What comes of the descriptor of `CLONE_INTO_CGROUP`.
    pub into_cgroup: Result<(), Errno>,
    /// What the system's policy says.
    pub policy: Result<(), Errno>,
}

impl Default for CloneFacts {
    fn default() -> CloneFacts {
        CloneFacts {
            kernel: (6, 18),
            task_size: abi::TASK_SIZE_4LEVEL,
            tail: Tail::Zero,
            set_tid: None,
            pidfd_writable: true,
            is_init: false,
            sys_admin: true,
            over_nproc: true,
            rlimit_nproc: abi::RLIM_INFINITY,
            user_tasks: 1,
            deadline: false,
            chrooted: false,
            ids_mapped: true,
            sibling_execs: false,
            fd_left: true,
            leader_exit_signal: SIGCHLD,
            traced: false,
            user_level: 0,
            pid_levels: alloc::vec![PidLevel::default()],
            pid_ns_differs: false,
            init_ended: false,
            time_ns_differs: false,
            limits_reached: CloneFlags::empty(),
            threads: 100,
            threads_max: 100_000,
            pids_cgroup_full: false,
            into_cgroup: Ok(()),
            policy: Ok(()),
        }
    }
}

impl CloneFacts {
    /// The default for a caller without any capability.
    #[must_use]
    pub fn unprivileged() -> CloneFacts {
        let level = PidLevel { may_choose: false, ..PidLevel::default() };
        CloneFacts {
            sys_admin: false,
            over_nproc: false,
            pid_levels: alloc::vec![level],
            ..CloneFacts::default()
        }
    }

    /// Whether the kernel is this version or newer.
    #[must_use]
    pub fn since(&self, major: u16, minor: u16) -> bool {
        self.kernel >= (major, minor)
    }
}
