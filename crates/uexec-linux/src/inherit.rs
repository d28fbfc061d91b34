//! What belongs to a thread rather than to its process. An exec keeps the calling thread's, while
//! the leader is the one that goes on here: some of it the leader can be given, the rest has to be
//! the same for both. Only looks, but for [`Inherited::give_schedule`].

use alloc::vec::Vec;

use uexec_core::Errno;
use uexec_core::abi::NAMESPACES;

use crate::ffi::{self, schedule, thread};
use crate::procfs::{Text, each_line};
use thread::Shared;

/// `prctl(2)` options of a thread: the one that asks, whether it answers by its second argument
/// instead of its result, and the one that sets.
const OPTIONS: [(u64, bool, u64); 5] = [
    // Parent-death signal, time stamp counter.
    (2, true, 1),
    (25, true, 26),
    // Timer slack, machine check policy, no_new_privs.
    (30, false, 29),
    (34, false, 33),
    (39, false, 38),
];

/// What a thread hands over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Inherited {
    /// `prctl(2)` calls: option, value, and whether the value is to be behind a one (`PR_MCE_KILL`).
    pub(crate) options: Vec<(u64, u64, u64)>,
    /// Processors it may run on.
    pub(crate) affinity: Vec<u64>,
    /// I/O priority (`ioprio_set(2)`).
    pub(crate) io_priority: u64,
    /// Memory policy and its nodes (`set_mempolicy(2)`).
    pub(crate) memory_policy: Option<(u64, [u64; schedule::NODE_WORDS])>,
    /// `sched_setattr(2)`.
    schedule: Option<schedule::Schedule>,
}

/// Names in `proc_pid_status(5)` of what cannot be handed over.
const FIXED: [&[u8]; 12] = [
    b"Uid",
    b"Gid",
    b"Groups",
    b"CapInh",
    b"CapPrm",
    b"CapEff",
    b"CapBnd",
    b"CapAmb",
    b"Seccomp",
    b"Seccomp_filters",
    b"Speculation_Store_Bypass",
    b"SpeculationIndirectBranch",
];

impl Inherited {
    /// What the calling thread hands over to the leader.
    ///
    /// # Errors
    /// What differs between the two and cannot be handed over.
    pub(crate) fn of_caller() -> Result<Inherited, &'static str> {
        let (own, leader) = (thread::gettid(), thread::getpid());
        if fixed(own) != fixed(leader) {
            return Err(
                "exec from a thread whose credentials or filters are not the main thread's",
            );
        }
        if thread::kcmp(own, leader, Shared::Files) == Ok(false) {
            return Err("exec from a thread whose descriptors are not the main thread's");
        }
        if thread::kcmp(own, leader, Shared::Fs) == Ok(false) {
            return Err("exec from a thread whose directories are not the main thread's");
        }
        let spaces = |tid: i32| NAMESPACES.map(|name| namespace(tid, name));
        if spaces(own) != spaces(leader) {
            return Err("exec from a thread whose namespaces are not the main thread's");
        }
        let ask = |&(get, by_place, set): &(u64, bool, u64)| {
            let value = if by_place { ffi::prctl_word(get) } else { ffi::prctl(get, 0, 0) }.ok()?;
            Some(match set {
                // PR_MCE_KILL: PR_MCE_KILL_CLEAR for the default policy, PR_MCE_KILL_SET else.
                33 if value == 2 => (set, 0, 0),
                33 => (set, 1, value),
                38 if value == 0 => return None,
                _ => (set, value, 0),
            })
        };
        Ok(Inherited {
            options: OPTIONS.iter().filter_map(ask).collect(),
            affinity: schedule::affinity(),
            io_priority: schedule::io_priority(),
            memory_policy: schedule::memory_policy(),
            schedule: schedule::schedule(),
        })
    }

    /// Gives the leader scheduling policy and nice value of the calling thread; raising them may be
    /// forbidden.
    pub(crate) fn give_schedule(&self) -> Result<(), Errno> {
        let leader = thread::getpid();
        match &self.schedule {
            Some(schedule) => schedule::set_schedule(leader, schedule),
            None => Ok(()),
        }
    }
}

fn fixed(tid: i32) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    let path = Text::new(format_args!("/proc/self/task/{tid}/status"));
    let _ = each_line(path.as_c_str(), &mut |line| {
        if line.split(|b| *b == b':').next().is_some_and(|name| FIXED.contains(&name)) {
            lines.push(line.to_vec());
        }
        true
    });
    let path = Text::new(format_args!("/proc/self/task/{tid}/cgroup"));
    let _ = each_line(path.as_c_str(), &mut |line| {
        lines.push(line.to_vec());
        true
    });
    lines
}

/// Which namespace it is: device and number of what stands for it.
fn namespace(tid: i32, name: &str) -> Option<(u64, u64)> {
    let path = Text::new(format_args!("/proc/self/task/{tid}/ns/{name}"));
    let stat = rustix::fs::stat(path.as_c_str()).ok()?;
    Some((stat.st_dev, stat.st_ino))
}
