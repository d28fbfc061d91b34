//! The answer of a clone that succeeds: what the child has of each item, and because of what.
//! Only types and names; decides nothing.

use alloc::vec::Vec;

use super::CloneFlags;

/// How the child comes by an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gets {
    /// Parent and child have one and the same.
    Shared,
    /// A copy of its own.
    Copied,
    /// Nothing of it is passed on.
    Cleared,
    /// A new one is made.
    New,
    /// What the caller passed.
    Given,
}

impl Gets {
    /// Stable name, as in tables and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Gets::Shared => "shared",
            Gets::Copied => "copied",
            Gets::Cleared => "cleared",
            Gets::New => "new",
            Gets::Given => "given",
        }
    }
}

macro_rules! items {
    ($($name:ident = $text:literal;)*) => {
        /// What a process consists of, as far as a clone decides about it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Item {
            $(#[doc = concat!("The ", $text, ".")] $name,)*
        }

        impl Item {
            /// All of them, in the order of the table.
            pub const ALL: &'static [Item] = &[$(Item::$name),*];

            /// Stable name, as in tables and JSON.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Item::$name => $text),* }
            }
        }
    };
}

items! {
    Memory = "memory";
    Files = "descriptor table";
    Fs = "working directory, root, umask";
    SignalActions = "signal actions";
    PendingSignals = "pending signals";
    Timers = "timers, alarm";
    SignalMask = "signal mask";
    AltStack = "alternate signal stack";
    SemUndo = "semaphore undo list";
    IoContext = "io context";
    MountNs = "mount namespace";
    UtsNs = "uts namespace";
    IpcNs = "ipc namespace";
    PidNs = "pid namespace";
    NetNs = "network namespace";
    CgroupNs = "cgroup namespace";
    UserNs = "user namespace";
    TimeNs = "time namespace";
    Cgroup = "cgroup";
    ThreadGroup = "thread group";
    Parent = "parent";
    ExitSignal = "exit signal";
    Registers = "registers";
    StackPointer = "stack pointer";
    Tls = "thread-local storage";
    Limits = "resource limits";
    RobustList = "robust futex list";
    TidAddress = "clear-tid address";
    Rseq = "restartable sequence";
    ParentDeathSignal = "parent-death signal";
    Subreaper = "child subreaper";
    Credentials = "credentials";
    Attributes = "name, scheduling, personality, seccomp, oom score, mempolicy";
    SessionKeyring = "session keyring";
    ProcessKeyring = "process keyring";
    ThreadKeyring = "thread keyring";
    Times = "CPU times, accounting, start time";
    IoPorts = "io port permissions";
    Tracing = "tracing";
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inherit {
    /// What.
    pub item: Item,
    /// How the child comes by it.
    pub gets: Gets,
    /// The flag that caused it; empty for the default.
    pub flag: CloneFlags,
    /// The fact behind it; `FORK-E` is the table of what the child gets.
    pub spec: &'static str,
    /// What the word alone does not say; mostly empty.
    pub note: &'static str,
}

/// Whose child the new task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Parent {
    /// The caller's.
    Caller,
    /// The caller's parent's: a sibling.
    CallersParent,
    /// A thread of the caller's process: that process's parent.
    SameProcess,
}

/// In whose memory something is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Memory {
    /// The caller's.
    Parent,
    /// The child's.
    Child,
}

/// A number the kernel stores for the caller or the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Write {
    /// The flag that asks for it.
    pub flag: CloneFlags,
    /// In whose memory.
    pub memory: Memory,
    /// Where.
    pub addr: u64,
    /// What and when.
    pub what: &'static str,
}

/// What a tracer of the caller is told (FORK-50).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are those of ptrace(2)")]
pub enum PtraceEvent {
    Fork,
    Vfork,
    Clone,
}

impl PtraceEvent {
    /// The name in `ptrace(2)`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            PtraceEvent::Fork => "PTRACE_EVENT_FORK",
            PtraceEvent::Vfork => "PTRACE_EVENT_VFORK",
            PtraceEvent::Clone => "PTRACE_EVENT_CLONE",
        }
    }
}

/// A clone that succeeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClonePlan {
    /// The flags that count.
    pub flags: CloneFlags,
    /// Every item, in the order of [`Item::ALL`].
    pub child: Vec<Inherit>,
    /// Whose child it is.
    pub parent: Parent,
    /// The signal its end sends; -1 for a thread, which sends none.
    pub exit_signal: i32,
    /// The caller stops until the child has executed a program or ended (FORK-51).
    pub parent_waits: bool,
    /// The child's stack pointer; `None` for the caller's.
    pub sp: Option<u64>,
    /// The child's fs base; `None` for the caller's.
    pub tls: Option<u64>,
    /// What is stored where.
    pub writes: Vec<Write>,
    /// What a tracer with the matching option is told; `None` when `CLONE_UNTRACED` forbids it.
    pub event: Option<PtraceEvent>,
    /// Plain `wait(2)` sees the child (FORK-52).
    pub plain_wait: bool,
    /// What succeeds and is hardly meant.
    pub warnings: Vec<&'static str>,
}

impl ClonePlan {
    /// The row of an item.
    ///
    /// ```
    /// use uexec_core::clone::*;
    /// let plan = decide(&CloneArgs::fork(), 0, &CloneFacts::default()).unwrap();
    /// assert_eq!(plan.item(Item::Files).unwrap().gets, Gets::Copied);
    /// ```
    #[must_use]
    pub fn item(&self, item: Item) -> Option<&Inherit> {
        self.child.iter().find(|row| row.item == item)
    }
}
