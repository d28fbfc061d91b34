//! The rule that refuses a clone: errno, numbered fact, cause and remedy stand in one row, so
//! that they cannot disagree.

use alloc::borrow::Cow;
use alloc::format;
use core::fmt;

use super::CloneFlags;
use crate::error::Errno;

/// Why no child is made.
///
/// ```
/// use uexec_core::clone::{CloneError, CloneFlags};
/// let error = CloneError::Pair { a: CloneFlags::CLONE_NEWNS, b: CloneFlags::CLONE_FS };
/// assert_eq!(error.spec(), "FORK-21");
/// assert!(error.why().starts_with("CLONE_NEWNS and CLONE_FS"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the fields say what the message says; see CloneError::why")]
#[non_exhaustive]
pub enum CloneError {
    // clone3's own checks.
    NoClone3,
    SizeTooLarge { size: u64 },
    SizeTooSmall { size: u64 },
    TailUsed,
    ArgsUnreadable,
    SetTidTooMany { count: u64 },
    SetTidHalf { count: u64 },
    ExitSignal { signal: u64 },
    CgroupTooLarge { fd: u64 },
    CgroupSize { size: u64 },
    SetTidUnreadable,
    UnknownFlags { bits: u64 },
    DetachedOrSignal { bits: u64 },
    ClearAndShare,
    ExitSignalUnwanted { flag: CloneFlags, signal: u64 },
    StackHalf { stack: u64, size: u64 },
    StackOutside { stack: u64, size: u64 },
    // Checks common to all calls.
    PidfdOverTid { legacy: bool },
    Pair { a: CloneFlags, b: CloneFlags },
    Needs { flag: CloneFlags, needs: CloneFlags },
    InitHasNoSibling,
    ThreadOtherNamespace { flag: CloneFlags },
    ThreadChildrensPidNs,
    ChildrensTimeNs { flag: CloneFlags },
    PidfdDetached,
    PidfdThread,
    UserNsNesting { level: u32 },
    Limit { flag: CloneFlags },
    Chrooted,
    IdsUnmapped,
    Nproc { tasks: u64, limit: u64 },
    ThreadsMax { max: u64 },
    Deadline,
    Policy { errno: Errno },
    FsInExec,
    NamespaceDenied { flags: CloneFlags },
    IpcAndSemundo,
    PidNsDiffers,
    PidNsNesting,
    TlsOutside { tls: u64 },
    SetTidTooDeep { count: u64, depth: u64 },
    SetTidRange { tid: i32, max: i32 },
    SetTidBeforeInit { tid: i32 },
    SetTidDenied { tid: i32 },
    SetTidTaken { tid: i32 },
    InitEnded,
    NoFd,
    PidfdUnwritable,
    IntoCgroup { errno: Errno },
    PidsCgroup,
}

type Row = (Errno, &'static str, Cow<'static, str>, &'static str);

impl CloneError {
    /// What the call returns.
    #[must_use]
    pub fn errno(&self) -> Errno {
        self.row().0
    }

    /// The numbered fact behind the rule; empty for a kernel without the call.
    #[must_use]
    pub fn spec(&self) -> &'static str {
        self.row().1
    }

    /// The cause, in one sentence without a full stop.
    #[must_use]
    pub fn why(&self) -> Cow<'static, str> {
        self.row().2
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        self.row().3
    }

    #[rustfmt::skip]
    fn row(&self) -> Row {
        use CloneError::*;
        const INVAL: Errno = Errno::EINVAL;
        match *self {
            NoClone3 => (Errno::ENOSYS, "", "clone3(2) came with Linux 5.3".into(), "use clone(2)"),
            SizeTooLarge { size } => (Errno::E2BIG, "FORK-3", format!("the arguments have {size} bytes; at most a page is read").into(), "pass sizeof(struct clone_args)"),
            SizeTooSmall { size } => (INVAL, "FORK-4", format!("the arguments have {size} bytes; the first version has 64").into(), "pass sizeof(struct clone_args)"),
            TailUsed => (Errno::E2BIG, "FORK-5", "something is set beyond the 88 bytes this kernel knows".into(), "clear the bytes, or use a newer kernel"),
            ArgsUnreadable => (Errno::EFAULT, "FORK-5", "the arguments cannot be read".into(), "pass an address of readable memory"),
            SetTidTooMany { count } => (INVAL, "FORK-6", format!("set_tid_size is {count}; pid namespaces nest 32 deep").into(), "pass one number a level"),
            SetTidHalf { count } => (INVAL, "FORK-6", format!("set_tid and set_tid_size belong together, but one of them is 0 (set_tid_size {count})").into(), "set both or none"),
            ExitSignal { signal } => (INVAL, "FORK-7", format!("exit_signal {signal} is no signal").into(), "pass 0 to 64; mostly SIGCHLD"),
            CgroupTooLarge { fd } => (INVAL, "FORK-8", format!("{fd} cannot be a descriptor of a cgroup").into(), "open the cgroup's directory"),
            CgroupSize { size } => (INVAL, "FORK-8", format!("CLONE_INTO_CGROUP needs 88 bytes of arguments, {size} were passed").into(), "pass sizeof(struct clone_args) of Linux 5.7 or newer"),
            SetTidUnreadable => (Errno::EFAULT, "FORK-9", "the array of set_tid cannot be read".into(), "pass set_tid_size numbers"),
            UnknownFlags { bits } => (INVAL, "FORK-10", format!("no flag has the bits {bits:#x}").into(), "use the flags of clone(2)"),
            DetachedOrSignal { bits } if bits & 0x7f == 0 => (INVAL, "FORK-11", "CLONE_DETACHED is refused by clone3(2)".into(), "leave it out: clone(2) ignores it"),
            DetachedOrSignal { bits } => (INVAL, "FORK-11", format!("the low bits {:#x} are no flags of clone3(2)", bits & 0x7f).into(), "pass the exit signal in exit_signal"),
            ClearAndShare => (INVAL, "FORK-12", "CLONE_SIGHAND shares the signal actions that CLONE_CLEAR_SIGHAND would reset".into(), "leave one of them out"),
            ExitSignalUnwanted { flag, signal } => (INVAL, "FORK-13", format!("{} leaves no choice of the exit signal ({signal})", flag.name()).into(), "pass exit_signal 0"),
            StackHalf { stack: 0, size } => (INVAL, "FORK-14", format!("stack_size is {size}, but there is no stack").into(), "pass the stack's lowest byte"),
            StackHalf { stack, .. } => (INVAL, "FORK-14", format!("the stack at {stack:#x} has size 0").into(), "pass lowest byte and size: unlike clone(2), clone3(2) adds them up"),
            StackOutside { stack, size } => (INVAL, "FORK-14", format!("the stack ({size:#x} bytes at {stack:#x}) leaves the user addresses").into(), "pass lowest byte and size"),
            PidfdOverTid { legacy: true } => (INVAL, "FORK-20", "clone(2) would write pidfd and tid to the same address".into(), "leave out CLONE_PIDFD or CLONE_PARENT_SETTID, or use clone3(2)"),
            PidfdOverTid { legacy: false } => (INVAL, "FORK-20", "pidfd and parent_tid are the same address".into(), "pass two addresses"),
            Pair { a, b } => (INVAL, "FORK-21", format!("{} and {} exclude each other: a working directory cannot be shared across them", a.name(), b.name()).into(), "leave out CLONE_FS"),
            Needs { flag, needs } => (INVAL, "FORK-22", format!("{} needs {}", flag.name(), needs.name()).into(), "add it: a thread has CLONE_THREAD, CLONE_SIGHAND and CLONE_VM"),
            InitHasNoSibling => (INVAL, "FORK-23", "the caller is the init of a pid namespace, and CLONE_PARENT would give it a sibling".into(), "leave out CLONE_PARENT"),
            ThreadOtherNamespace { flag } => (INVAL, "FORK-24", format!("threads of a process cannot differ by {}", flag.name()).into(), "leave out CLONE_THREAD: only a process has such a namespace of its own"),
            ThreadChildrensPidNs => (INVAL, "FORK-24", "the caller's children go to another pid namespace since unshare(CLONE_NEWPID) or setns".into(), "fork first, make threads in the child"),
            ChildrensTimeNs { flag } => (INVAL, "FORK-24", format!("the caller's children go to another time namespace, and {} would share this one's clocks", flag.name()).into(), "fork first"),
            PidfdDetached => (INVAL, "FORK-25", "CLONE_DETACHED is refused together with CLONE_PIDFD".into(), "leave out CLONE_DETACHED"),
            PidfdThread => (INVAL, "FORK-25", "before Linux 6.9 a pidfd cannot refer to a thread".into(), "leave out CLONE_PIDFD"),
            UserNsNesting { level } => (Errno::ENOSPC, "FORK-28", format!("the caller's user namespace is nested {level} deep; 33 are possible").into(), "nest less"),
            Limit { flag: CloneFlags::CLONE_NEWUSER } => (Errno::ENOSPC, "FORK-28", "the limit of user namespaces is reached".into(), "raise user.max_user_namespaces"),
            Limit { flag } => (Errno::ENOSPC, "FORK-34", format!("the limit for {} is reached", flag.name()).into(), "raise user.max_*_namespaces"),
            Chrooted => (Errno::EPERM, "FORK-28", "a user namespace is refused to callers inside a chroot".into(), "leave the chroot, or use pivot_root(2)"),
            IdsUnmapped => (Errno::EPERM, "FORK-28", "the caller's user or group id has no mapping in its user namespace".into(), "write uid_map and gid_map first"),
            Nproc { tasks, limit } => (Errno::EAGAIN, "FORK-29", format!("the user would have {tasks} tasks; RLIMIT_NPROC is {limit}").into(), "raise ulimit -u, or end some of the user's processes"),
            ThreadsMax { max } => (Errno::EAGAIN, "FORK-30", format!("the system has {max} threads, as many as kernel.threads-max allows").into(), "raise kernel.threads-max"),
            Deadline => (Errno::EAGAIN, "FORK-31", "a SCHED_DEADLINE task cannot pass its reservation on".into(), "set SCHED_FLAG_RESET_ON_FORK"),
            Policy { errno } => (errno, "FORK-32", format!("the system's policy refuses it ({})", errno.name()).into(), "see the audit log of the system's security module"),
            FsInExec => (Errno::EAGAIN, "FORK-33", "another thread is executing a program, and CLONE_FS would share its working directory".into(), "try again"),
            NamespaceDenied { flags } => (Errno::EPERM, "FORK-34", format!("{} needs CAP_SYS_ADMIN", flags.iter_names().next().map_or("", |(n, _)| n)).into(), "add CLONE_NEWUSER: in a user namespace of its own the child may"),
            IpcAndSemundo => (INVAL, "FORK-34", "CLONE_SYSVSEM would share an undo list across IPC namespaces".into(), "leave out CLONE_SYSVSEM"),
            PidNsDiffers => (INVAL, "FORK-34", "the caller's children already go to another pid namespace".into(), "fork first"),
            PidNsNesting => (Errno::ENOSPC, "FORK-34", "pid namespaces nest 32 deep".into(), "nest less"),
            TlsOutside { tls } => (Errno::EPERM, "FORK-35", format!("tls {tls:#x} is no user address").into(), "pass the address of the thread's TLS block"),
            SetTidTooDeep { count, depth } => (INVAL, "FORK-36", format!("set_tid has {count} numbers; the child's pid namespace is {depth} deep").into(), "pass one number a level"),
            SetTidRange { tid, max } => (INVAL, "FORK-36", format!("tid {tid} is not between 1 and {}", i64::from(max) - 1).into(), "choose another, or raise kernel.pid_max"),
            SetTidBeforeInit { tid } => (INVAL, "FORK-36", format!("tid {tid} is chosen in a pid namespace that has no init").into(), "the first number in a namespace is 1"),
            SetTidDenied { tid } => (Errno::EPERM, "FORK-36", format!("choosing tid {tid} needs CAP_CHECKPOINT_RESTORE over the pid namespace").into(), "leave out set_tid, or add CLONE_NEWUSER and CLONE_NEWPID"),
            SetTidTaken { tid } => (Errno::EEXIST, "FORK-36", format!("tid {tid} is in use").into(), "choose another"),
            InitEnded => (Errno::ENOMEM, "FORK-36", "the init of the children's pid namespace has ended".into(), "make a new pid namespace"),
            NoFd => (Errno::EMFILE, "FORK-37", "no descriptor is left for the pidfd".into(), "raise ulimit -n"),
            PidfdUnwritable => (Errno::EFAULT, "FORK-37", "the pidfd cannot be written where it should go".into(), "pass the address of an int"),
            IntoCgroup { errno } => (errno, "FORK-38", format!("the child cannot be put into the cgroup ({})", errno.text()).into(), "pass a descriptor of a cgroup2 directory that may be written"),
            PidsCgroup => (Errno::EAGAIN, "FORK-38", "a pids cgroup is full".into(), "raise its pids.max"),
        }
    }
}

impl fmt::Display for CloneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.errno(), self.why())
    }
}

impl core::error::Error for CloneError {}
