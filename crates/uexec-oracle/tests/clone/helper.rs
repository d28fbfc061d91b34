//! The process that makes the calls, looks at the children and ends them.

use std::fs;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use uexec_core::clone::{CloneFlags as F, Entry, Item, Tail};

use crate::cases::{Caller, Case};
use crate::kernel::{Life, fork, make_child, reap, sys};

/// What `kcmp(2)` compares, from its type 1 on.
pub(crate) const KCMP: [Item; 6] =
    [Item::Memory, Item::Files, Item::Fs, Item::SignalActions, Item::IoContext, Item::SemUndo];

/// Namespaces of the child, and those the caller's children belong to.
pub(crate) const NAMESPACES: [(Item, [&str; 2]); 8] = [
    (Item::MountNs, ["mnt", "mnt"]),
    (Item::UtsNs, ["uts", "uts"]),
    (Item::IpcNs, ["ipc", "ipc"]),
    (Item::PidNs, ["pid", "pid_for_children"]),
    (Item::NetNs, ["net", "net"]),
    (Item::CgroupNs, ["cgroup", "cgroup"]),
    (Item::UserNs, ["user", "user"]),
    (Item::TimeNs, ["time", "time"]),
];

// The words of one observation.
pub(crate) const DONE: usize = 0;
pub(crate) const RET: usize = 1;
pub(crate) const CAN_LOOK: usize = 2;
pub(crate) const WAITED: usize = 3;
pub(crate) const EXIT_SIGNAL: usize = 4;
pub(crate) const PPID: usize = 5;
pub(crate) const TGID: usize = 6;
pub(crate) const OWN_PID: usize = 7;
pub(crate) const OWN_PPID: usize = 8;
pub(crate) const PARENT_TID: usize = 9;
pub(crate) const CHILD_TID: usize = 10;
pub(crate) const HANDLERS: usize = 11;
pub(crate) const SAME: usize = 12;
pub(crate) const SAME_NS: usize = SAME + KCMP.len();
pub(crate) const WORDS: usize = SAME_NS + NAMESPACES.len();

/// In [`DONE`]: this kind of caller cannot be made here.
pub(crate) const SETUP_FAILED: i64 = 2;

/// What was seen of one case.
#[derive(Debug)]
pub(crate) struct See(pub(crate) [i64; WORDS]);

impl See {
    pub(crate) fn read(words: &[AtomicI64]) -> See {
        See(std::array::from_fn(|i| words[i].load(Relaxed)))
    }
}

/// Becomes the caller, then makes every case.
pub(crate) fn run(
    caller: Caller,
    cases: &[Case],
    seen: &'static [AtomicI64],
    slots: &'static [AtomicI64],
) {
    // Exit signals of all kinds will arrive: none may act.
    let all = u64::MAX;
    sys(libc::SYS_rt_sigprocmask, [0, &raw const all as u64, 0, 8, 0, 0]);
    let work = || {
        let mut pipe = [0i32; 2];
        sys(libc::SYS_pipe2, [pipe.as_mut_ptr() as u64, 0, 0, 0, 0, 0]);
        // An io context and a list of undos of its own, so that sharing them shows.
        sys(libc::SYS_ioprio_set, [1, 0, 2 << 13 | 4, 0, 0, 0]);
        let share_undo = F::CLONE_SYSVSEM.bits() | 17;
        let mark = &raw const slots[28] as u64;
        let life = Life { nr: libc::SYS_getpid, args: [0, 0], mark };
        reap(make_child(56, [share_undo, 0, 0, 0, 0], life));
        let ready = last_step(caller);
        for (case, words) in cases.iter().zip(seen.chunks_exact(WORDS)) {
            if ready {
                one(case, words, slots, pipe);
            } else {
                words[DONE].store(SETUP_FAILED, Relaxed);
            }
        }
    };
    match caller {
        Caller::Init => {
            sys(libc::SYS_unshare, [0x2002_0000, 0, 0, 0, 0, 0]);
            let private = 0x4_4000; // MS_REC | MS_PRIVATE
            let (root, proc) = (c"/".as_ptr() as u64, c"proc".as_ptr() as u64);
            let target = c"/proc".as_ptr() as u64;
            sys(libc::SYS_mount, [0, root, 0, private, 0, 0]);
            reap(fork(|| {
                sys(libc::SYS_mount, [proc, target, proc, 0, 0, 0]);
                work();
            }));
        }
        Caller::Unshared => {
            sys(libc::SYS_unshare, [0x2000_0000, 0, 0, 0, 0, 0]);
            // The namespace needs an init that outlives the cases.
            let init = fork(|| {
                sys(libc::SYS_pause, [0; 6]);
            });
            work();
            // Not reaped here: its end waits for the siblings, which the test reaps afterwards.
            sys(libc::SYS_kill, [init as u64, 9, 0, 0, 0, 0]);
        }
        _ => work(),
    }
}

/// What cannot be taken back, or hinders the rest: last.
fn last_step(caller: Caller) -> bool {
    let limit = |which: u64, to: u64| {
        let both = [to; 2];
        sys(libc::SYS_prlimit64, [0, which, both.as_ptr() as u64, 0, 0, 0]) == 0
    };
    let nobody = || {
        sys(libc::SYS_setgroups, [0; 6]) == 0
            && sys(libc::SYS_setresgid, [65_534, 65_534, 65_534, 0, 0, 0]) == 0
            && sys(libc::SYS_setresuid, [65_534, 65_534, 65_534, 0, 0, 0]) == 0
            && sys(libc::SYS_prctl, [4, 1, 0, 0, 0, 0]) == 0 // PR_SET_DUMPABLE
    };
    match caller {
        Caller::User => nobody(),
        Caller::UserFull => limit(6, 0) && nobody(),
        Caller::NoFd => limit(7, 3),
        Caller::Chrooted => sys(libc::SYS_chroot, [c"/proc".as_ptr() as u64, 0, 0, 0, 0, 0]) == 0,
        Caller::Deadline => {
            // struct sched_attr: size and policy, flags, nice and priority, runtime, deadline, period.
            let attr = [48 | 6 << 32, 0u64, 0, 1_000_000, 100_000_000, 100_000_000];
            sys(libc::SYS_sched_setattr, [0, attr.as_ptr() as u64, 0, 0, 0, 0]) == 0
        }
        _ => true,
    }
}

fn one(case: &Case, words: &[AtomicI64], slots: &'static [AtomicI64], pipe: [i32; 2]) {
    let set = |i: usize, value: i64| words[i].store(value, Relaxed);
    // When a child that shares signal actions was the init of a pid namespace, its end has made the
    // kernel ignore SIGCHLD in them.
    let default = [0u64; 4];
    sys(libc::SYS_rt_sigaction, [17, default.as_ptr() as u64, 0, 8, 0, 0]);
    slots[..1024].iter().for_each(|slot| slot.store(0, Relaxed));
    set(OWN_PID, std::process::id().into());
    set(OWN_PPID, sys(libc::SYS_getppid, [0; 6]));
    let a = case.args;
    let vfork = a.flags.contains(F::CLONE_VFORK);
    let thread = a.flags.contains(F::CLONE_THREAD);
    // A child that is waited for sleeps a little, any other until it is ended.
    let pause = [0i64, 200_000];
    let (nr, args) = if vfork {
        (libc::SYS_nanosleep, [pause.as_ptr() as u64, 0])
    } else {
        (libc::SYS_read, [pipe[0] as u64, &raw const slots[24] as u64])
    };
    let life = Life { nr, args, mark: &raw const slots[28] as u64 };
    for (i, pair) in case.tids.chunks(2).enumerate() {
        let high = pair.get(1).copied().unwrap_or(0);
        slots[32 + i].store(i64::from(high) << 32 | i64::from(pair[0] as u32), Relaxed);
    }
    let pid = if a.entry == Entry::Clone {
        let word = a.flags.bits() | a.exit_signal;
        make_child(56, [word, a.stack, a.parent_tid, a.child_tid, a.tls], life)
    } else {
        let mut block = vec![0u64; 1024];
        block[..11].copy_from_slice(&[
            a.flags.bits(),
            a.pidfd,
            a.child_tid,
            a.parent_tid,
            a.exit_signal,
            a.stack,
            a.stack_size,
            a.tls,
            a.set_tid,
            a.set_tid_size,
            a.cgroup,
        ]);
        block[11] = u64::from(case.tail == Tail::Used);
        let at = if case.tail == Tail::Unreadable { 8 } else { block.as_ptr() as u64 };
        make_child(435, [at, case.size, 0, 0, 0], life)
    };
    set(WAITED, slots[28].load(Relaxed));
    set(RET, pid);
    if pid > 0 {
        set(PARENT_TID, slots[0].load(Relaxed) as i32 as i64);
        if !matches!(
            case.caller,
            Caller::NoFd | Caller::Chrooted | Caller::UserFull | Caller::Deadline
        ) {
            let stores = a.flags.contains(F::CLONE_CHILD_SETTID) && a.child_tid > 8;
            look(pid, [thread, vfork, stores], words, slots);
        }
        if a.flags.contains(F::CLONE_PIDFD) && a.pidfd > 8 {
            let fd = slots[if a.pidfd == &raw const slots[0] as u64 { 0 } else { 8 }].load(Relaxed);
            sys(libc::SYS_close, [fd as i32 as u64, 0, 0, 0, 0, 0]);
        }
        end(pid, thread, vfork, a.flags.contains(F::CLONE_PARENT), pipe);
    }
    set(DONE, 1);
}

fn look(pid: i64, [thread, vfork, stores]: [bool; 3], words: &[AtomicI64], slots: &[AtomicI64]) {
    let set = |i: usize, value: i64| words[i].store(value, Relaxed);
    let own = format!("/proc/{}", std::process::id());
    let dir = if thread { format!("{own}/task/{pid}") } else { format!("/proc/{pid}") };
    let stat = fs::read_to_string(format!("{dir}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    set(CAN_LOOK, 1);
    // Counted from the state, field 3 of proc_pid_stat(5).
    set(EXIT_SIGNAL, fields.get(35).and_then(|f| f.parse().ok()).unwrap_or(-99));
    let status = fs::read_to_string(format!("{dir}/status")).unwrap_or_default();
    set(PPID, line(&status, "PPid:").parse().unwrap_or(-99));
    set(TGID, line(&status, "Tgid:").parse().unwrap_or(-99));
    let own_status = fs::read_to_string(format!("{own}/status")).unwrap_or_default();
    let ignored = line(&status, "SigIgn:") == line(&own_status, "SigIgn:");
    let caught = line(&status, "SigCgt:");
    set(HANDLERS, (caught == line(&own_status, "SigCgt:") && ignored).into());
    if vfork {
        return;
    }
    let me = u64::from(std::process::id());
    for i in 0..KCMP.len() {
        let got = sys(libc::SYS_kcmp, [me, pid as u64, i as u64 + 1, 0, 0, 0]);
        set(SAME + i, if got < 0 { got } else { (got == 0).into() });
    }
    for (i, (_, [theirs, ours])) in NAMESPACES.into_iter().enumerate() {
        let child = fs::read_link(format!("{dir}/ns/{theirs}")).ok();
        let caller = fs::read_link(format!("{own}/ns/{ours}")).ok();
        set(SAME_NS + i, if child.is_none() { -1 } else { (child == caller).into() });
    }
    // The child stores its number when it first runs: soon, unless it is never.
    let started = Instant::now();
    while stores && slots[16].load(Relaxed) == 0 && started.elapsed().as_secs() < 1 {
        sys(libc::SYS_sched_yield, [0; 6]);
    }
    set(CHILD_TID, slots[16].load(Relaxed) as i32 as i64);
}

fn line<'a>(status: &'a str, name: &str) -> &'a str {
    status.lines().find_map(|l| l.strip_prefix(name)).unwrap_or("").trim()
}

fn end(pid: i64, thread: bool, ended: bool, sibling: bool, pipe: [i32; 2]) {
    if thread {
        if !ended {
            sys(libc::SYS_write, [pipe[1] as u64, c"x".as_ptr() as u64, 1, 0, 0, 0]);
        }
        let own = u64::from(std::process::id());
        while sys(libc::SYS_tgkill, [own, pid as u64, 0, 0, 0, 0]) == 0 {
            sys(libc::SYS_sched_yield, [0; 6]);
        }
        return;
    }
    sys(libc::SYS_kill, [pid as u64, 9, 0, 0, 0, 0]);
    if !sibling {
        reap(pid);
        return;
    }
    // The test reaps it later, but what its end does must not reach into the next case.
    let running = |stat: String| !stat.contains(") Z");
    while fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(running) {
        sys(libc::SYS_sched_yield, [0; 6]);
    }
}
