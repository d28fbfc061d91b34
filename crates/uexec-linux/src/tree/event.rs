//! What is reported of a tree. Only holds it.

use alloc::vec::Vec;

use uexec_core::Errno;
use uexec_core::clone::CloneArgs;

use crate::ffi::tracer::Rusage;

/// Something that has happened.
#[derive(Debug)]
pub struct Event {
    /// When: nanoseconds of `CLOCK_MONOTONIC`.
    pub at: u64,
    /// The process.
    pub pid: i32,
    /// Its thread.
    pub tid: i32,
    /// What.
    pub what: What,
}

/// What has happened to a process.
#[derive(Debug)]
pub enum What {
    /// It has made a process or a thread.
    Created {
        /// Its id.
        child: i32,
        /// The call, as it was asked for.
        args: Option<CloneArgs>,
        /// It is a thread of the same process.
        thread: bool,
    },
    /// It executes a program from now on.
    Executed {
        /// The call; `None` when a filter of the program's own has hidden it.
        call: Option<Call>,
        /// What the program begins with.
        image: Image,
    },
    /// An exec has failed.
    Failed {
        /// The call.
        call: Call,
        /// What the kernel says.
        errno: Errno,
    },
    /// It is about to execute something or to end, and still has its memory. Reported only where
    /// [`Watch::Memory`](super::Watch) was asked for, and of each of its threads.
    Leaving,
    /// It has ended, and is a zombie: whoever waits for it does not know yet.
    Ended {
        /// How.
        how: Ended,
        /// What it has used.
        usage: Usage,
    },
}

/// `execve(2)` or `execveat(2)` as it was called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// When it was entered: nanoseconds of `CLOCK_MONOTONIC`.
    pub at: u64,
    /// The descriptor of `execveat`.
    pub dir: Option<i32>,
    /// `AT_…` flags of `execveat`.
    pub flags: u32,
    /// The path, as far as it can be read.
    pub path: Vec<u8>,
    /// The arguments, as far as they can be read.
    pub argv: Vec<Vec<u8>>,
    /// Address of the environment in the caller's memory.
    pub envp: u64,
    /// Bytes of a pointer there: 8 or 4.
    pub word: usize,
}

/// The first stack of a program, read when nothing of it has run yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// The arguments.
    pub argv: Vec<Vec<u8>>,
    /// The environment.
    pub envp: Vec<Vec<u8>>,
    /// There is more of it than was read.
    pub truncated: bool,
}

/// How a process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this status.
    Exited(i32),
    /// By a signal.
    Killed {
        /// Which.
        signal: i32,
        /// It has left a core dump.
        core: bool,
    },
}

/// What a process and the children it has waited for have used (`getrusage(2)`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Microseconds of processor time in the program.
    pub user_us: u64,
    /// Microseconds of processor time in the kernel.
    pub system_us: u64,
    /// The largest resident set of any of them, in KiB.
    pub max_rss_kib: u64,
    /// Page faults without input.
    pub minor_faults: u64,
}

impl Ended {
    /// As `wait(2)` has it.
    pub(super) const fn from_wait(status: i32) -> Ended {
        match status & 0x7f {
            0 => Ended::Exited(status >> 8 & 0xff),
            signal => Ended::Killed { signal, core: status & 0x80 != 0 },
        }
    }
}

impl Usage {
    pub(super) fn from_words(words: &Rusage) -> Usage {
        let [us, uus, ss, sus, max_rss_kib, _, _, _, minor_faults, ..] = *words;
        Usage {
            user_us: us * 1_000_000 + uus,
            system_us: ss * 1_000_000 + sus,
            max_rss_kib,
            minor_faults,
        }
    }
}
