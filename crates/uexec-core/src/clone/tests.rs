//! Every rule once, by the number of its fact, and the order between neighbours.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use alloc::vec;
use alloc::vec::Vec;

use super::CloneFlags as F;
use super::*;
use crate::error::Errno;

const SIZE: u64 = CloneArgs::SIZE;

fn plain() -> CloneFacts {
    CloneFacts::default()
}

#[track_caller]
fn refuses(args: &CloneArgs, size: u64, facts: &CloneFacts, errno: Errno, spec: &str) {
    let error = decide(args, size, facts).expect_err(spec);
    assert_eq!((error.errno(), error.spec()), (errno, spec), "{error}");
    assert!(!error.why().is_empty() && !error.why().ends_with('.') && !error.hint().is_empty());
}

#[track_caller]
fn succeeds(args: &CloneArgs, facts: &CloneFacts) -> ClonePlan {
    decide(args, SIZE, facts).unwrap_or_else(|e| panic!("{e}"))
}

fn c3(flags: F) -> CloneArgs {
    CloneArgs::clone3(flags)
}

const THREAD: F = F::CLONE_VM.union(F::CLONE_SIGHAND).union(F::CLONE_THREAD);

#[test]
fn fork_1_entries() {
    let plan = succeeds(&CloneArgs::fork(), &plain());
    assert_eq!((plan.exit_signal, plan.parent_waits, plan.plain_wait), (17, false, true));
    let plan = succeeds(&CloneArgs::vfork(), &plain());
    assert_eq!((plan.flags, plan.sp), (F::CLONE_VM | F::CLONE_VFORK, None));
    for signal in [65, 161, 255] {
        let args = CloneArgs::legacy(0xdead_beef_0000_0000 | signal, 0, 0, 0, 0);
        assert_eq!(succeeds(&args, &plain()).exit_signal as u64, signal);
        assert_eq!(args.flags, F::empty());
    }
}

#[test]
fn fork_2_and_14_stack_pointer() {
    let args = CloneArgs { stack: 0x1000, stack_size: 0x2000, ..c3(F::CLONE_VM) };
    assert_eq!(succeeds(&args, &plain()).sp, Some(0x3000));
    assert_eq!(succeeds(&CloneArgs::legacy(0x100, 0x5000, 0, 0, 0), &plain()).sp, Some(0x5000));
    let warned = succeeds(&c3(F::CLONE_VM), &plain()).warnings;
    assert!(warned.iter().any(|w| w.contains("same stack")));
}

#[test]
fn fork_3_to_5_size() {
    let none = c3(F::empty());
    refuses(&none, 4097, &plain(), Errno::E2BIG, "FORK-3");
    refuses(&none, 63, &plain(), Errno::EINVAL, "FORK-4");
    for size in [64, 71, 80, 88, 4096] {
        assert!(decide(&none, size, &plain()).is_ok());
    }
    let used = CloneFacts { tail: Tail::Used, ..plain() };
    refuses(&none, 96, &used, Errno::E2BIG, "FORK-5");
    assert!(decide(&none, 88, &used).is_ok());
    let gone = CloneFacts { tail: Tail::Unreadable, ..plain() };
    refuses(&none, 88, &gone, Errno::EFAULT, "FORK-5");
    let old = CloneFacts { kernel: (5, 2), ..plain() };
    refuses(&none, 5000, &old, Errno::ENOSYS, "");
}

#[test]
fn fork_4_fields_beyond_the_size_are_zero() {
    let args = CloneArgs { set_tid: 0x1234, set_tid_size: 1, ..c3(F::empty()) };
    let facts = CloneFacts { set_tid: Some(vec![5]), ..plain() };
    assert!(decide(&args, 64, &facts).is_ok());
    // One byte of set_tid is there, but none of set_tid_size.
    refuses(&args, 65, &facts, Errno::EINVAL, "FORK-6");
    assert!(decide(&args, 73, &facts).is_ok());
}

#[test]
fn fork_6_to_9_fields() {
    let many = CloneArgs { set_tid: 1, set_tid_size: 33, ..c3(F::empty()) };
    refuses(&many, SIZE, &plain(), Errno::EINVAL, "FORK-6");
    for (set_tid, set_tid_size) in [(0, 1), (1, 0)] {
        let half = CloneArgs { set_tid, set_tid_size, ..c3(F::empty()) };
        refuses(&half, SIZE, &plain(), Errno::EINVAL, "FORK-6");
    }
    for exit_signal in [65, 0x100, u64::MAX] {
        let args = CloneArgs { exit_signal, ..c3(F::empty()) };
        refuses(&args, SIZE, &plain(), Errno::EINVAL, "FORK-7");
    }
    let cgroup = CloneArgs { cgroup: 1 << 31, ..c3(F::CLONE_INTO_CGROUP) };
    refuses(&cgroup, SIZE, &plain(), Errno::EINVAL, "FORK-8");
    refuses(&c3(F::CLONE_INTO_CGROUP), 87, &plain(), Errno::EINVAL, "FORK-8");
    let array = CloneArgs { set_tid: 1, set_tid_size: 2, ..c3(F::CLONE_DETACHED) };
    refuses(&array, SIZE, &plain(), Errno::EFAULT, "FORK-9");
    let short = CloneFacts { set_tid: Some(vec![1]), ..plain() };
    refuses(&array, SIZE, &short, Errno::EFAULT, "FORK-9");
}

#[test]
fn fork_10_to_13_flags() {
    refuses(&c3(F::from_bits_retain(1 << 34)), SIZE, &plain(), Errno::EINVAL, "FORK-10");
    for bits in [1, 17, 0x40, 0x40_0000] {
        refuses(&c3(F::from_bits_retain(bits)), SIZE, &plain(), Errno::EINVAL, "FORK-11");
    }
    assert!(decide(&c3(F::CLONE_NEWTIME), SIZE, &plain()).is_ok());
    let both = F::CLONE_VM | F::CLONE_SIGHAND | F::CLONE_CLEAR_SIGHAND;
    refuses(&c3(both), SIZE, &plain(), Errno::EINVAL, "FORK-12");
    for flags in [THREAD, F::CLONE_PARENT] {
        let args = CloneArgs { exit_signal: 17, ..c3(flags) };
        refuses(&args, SIZE, &plain(), Errno::EINVAL, "FORK-13");
    }
    // The other calls take it.
    assert_eq!(
        succeeds(&CloneArgs::legacy(THREAD.bits() | 17, 0, 0, 0, 0), &plain()).exit_signal,
        -1
    );
}

#[test]
fn fork_14_stack() {
    for (stack, stack_size) in
        [(0, 1), (1, 0), (1 << 47, 1), (u64::MAX, 2), (4096, u64::MAX), ((1 << 47) - 4096, 1)]
    {
        let args = CloneArgs { stack, stack_size, ..c3(F::CLONE_VM) };
        refuses(&args, SIZE, &plain(), Errno::EINVAL, "FORK-14");
    }
}

#[test]
fn fork_20_to_22_pairs() {
    let pair = F::CLONE_PIDFD | F::CLONE_PARENT_SETTID;
    refuses(&c3(pair), SIZE, &plain(), Errno::EINVAL, "FORK-20");
    assert!(decide(&CloneArgs { pidfd: 8, ..c3(pair) }, SIZE, &plain()).is_ok());
    let legacy = CloneArgs::legacy(pair.bits(), 0, 64, 0, 0);
    refuses(&legacy, 0, &plain(), Errno::EINVAL, "FORK-20");
    for flag in [F::CLONE_NEWNS, F::CLONE_NEWUSER] {
        refuses(&c3(flag | F::CLONE_FS), SIZE, &plain(), Errno::EINVAL, "FORK-21");
    }
    refuses(&c3(F::CLONE_THREAD | F::CLONE_VM), SIZE, &plain(), Errno::EINVAL, "FORK-22");
    refuses(&c3(F::CLONE_SIGHAND), SIZE, &plain(), Errno::EINVAL, "FORK-22");
}

#[test]
fn fork_23_to_25_caller() {
    let init = CloneFacts { is_init: true, ..plain() };
    refuses(&c3(F::CLONE_PARENT), SIZE, &init, Errno::EINVAL, "FORK-23");
    for flag in [F::CLONE_NEWUSER, F::CLONE_NEWPID] {
        refuses(&c3(THREAD | flag), SIZE, &plain(), Errno::EINVAL, "FORK-24");
    }
    let unshared = CloneFacts { pid_ns_differs: true, ..plain() };
    refuses(&c3(THREAD), SIZE, &unshared, Errno::EINVAL, "FORK-24");
    let clocks = |kernel| CloneFacts { time_ns_differs: true, kernel, ..plain() };
    for flags in [THREAD, F::CLONE_VM] {
        refuses(&c3(flags), SIZE, &clocks((5, 10)), Errno::EINVAL, "FORK-24");
        assert!(decide(&c3(flags), SIZE, &clocks((6, 2))).is_ok());
    }
    let args = CloneArgs::legacy((F::CLONE_PIDFD | F::CLONE_DETACHED).bits(), 0, 8, 0, 0);
    refuses(&args, 0, &plain(), Errno::EINVAL, "FORK-25");
    let old = CloneFacts { kernel: (6, 8), ..plain() };
    refuses(&c3(THREAD | F::CLONE_PIDFD), SIZE, &old, Errno::EINVAL, "FORK-25");
    assert!(decide(&c3(THREAD | F::CLONE_PIDFD), SIZE, &plain()).is_ok());
}

#[test]
fn fork_28_user_namespaces() {
    let user = c3(F::CLONE_NEWUSER);
    for (facts, errno) in [
        (CloneFacts { user_level: 33, ..plain() }, Errno::ENOSPC),
        (CloneFacts { limits_reached: F::CLONE_NEWUSER, ..plain() }, Errno::ENOSPC),
        (CloneFacts { chrooted: true, ..plain() }, Errno::EPERM),
        (CloneFacts { ids_mapped: false, ..plain() }, Errno::EPERM),
    ] {
        refuses(&user, SIZE, &facts, errno, "FORK-28");
        assert!(decide(&c3(F::empty()), SIZE, &facts).is_ok());
    }
    assert!(decide(&user, SIZE, &CloneFacts { user_level: 32, ..plain() }).is_ok());
}

#[test]
fn fork_29_to_33_limits() {
    let none = c3(F::empty());
    let full = CloneFacts { rlimit_nproc: 5, user_tasks: 5, ..CloneFacts::unprivileged() };
    refuses(&none, SIZE, &full, Errno::EAGAIN, "FORK-29");
    assert!(decide(&none, SIZE, &CloneFacts { over_nproc: true, ..full.clone() }).is_ok());
    assert!(decide(&none, SIZE, &CloneFacts { user_tasks: 4, ..full }).is_ok());
    let threads = CloneFacts { threads: 9, threads_max: 9, ..plain() };
    refuses(&none, SIZE, &threads, Errno::EAGAIN, "FORK-30");
    refuses(&none, SIZE, &CloneFacts { deadline: true, ..plain() }, Errno::EAGAIN, "FORK-31");
    let policy = CloneFacts { policy: Err(Errno::EACCES), ..plain() };
    refuses(&none, SIZE, &policy, Errno::EACCES, "FORK-32");
    let execs = CloneFacts { sibling_execs: true, ..plain() };
    refuses(&c3(F::CLONE_FS), SIZE, &execs, Errno::EAGAIN, "FORK-33");
    assert!(decide(&none, SIZE, &execs).is_ok());
}

#[test]
fn fork_34_namespaces() {
    let user = CloneFacts::unprivileged();
    for (_, flag) in F::NAMESPACES.iter_names() {
        refuses(&c3(flag), SIZE, &user, Errno::EPERM, "FORK-34");
        assert!(decide(&c3(flag | F::CLONE_NEWUSER), SIZE, &user).is_ok());
        let reached = CloneFacts { limits_reached: flag, ..plain() };
        refuses(&c3(flag), SIZE, &reached, Errno::ENOSPC, "FORK-34");
    }
    let ipc = c3(F::CLONE_NEWIPC | F::CLONE_SYSVSEM);
    refuses(&ipc, SIZE, &plain(), Errno::EINVAL, "FORK-34");
    refuses(&ipc, SIZE, &user, Errno::EPERM, "FORK-34");
    let unshared = CloneFacts { pid_ns_differs: true, ..plain() };
    refuses(&c3(F::CLONE_NEWPID), SIZE, &unshared, Errno::EINVAL, "FORK-34");
    let deep = CloneFacts { pid_levels: vec![PidLevel::default(); 33], ..plain() };
    refuses(&c3(F::CLONE_NEWPID), SIZE, &deep, Errno::ENOSPC, "FORK-34");
}

#[test]
fn fork_35_tls() {
    let at = |tls| CloneArgs { tls, ..c3(F::CLONE_SETTLS) };
    refuses(&at((1 << 47) - 4096), SIZE, &plain(), Errno::EPERM, "FORK-35");
    assert_eq!(succeeds(&at(0x7000), &plain()).tls, Some(0x7000));
}

#[test]
fn fork_36_chosen_pids() {
    let with = |tids: &[i32], flags| {
        let args = CloneArgs { set_tid: 1, set_tid_size: tids.len() as u64, ..c3(flags) };
        let level = PidLevel { taken: vec![77], ..PidLevel::default() };
        (args, CloneFacts { set_tid: Some(tids.to_vec()), pid_levels: vec![level], ..plain() })
    };
    for tids in [vec![0], vec![-1], vec![32_768], vec![5, 5]] {
        let (args, facts) = with(&tids, F::empty());
        refuses(&args, SIZE, &facts, Errno::EINVAL, "FORK-36");
    }
    let (args, facts) = with(&[77], F::empty());
    refuses(&args, SIZE, &facts, Errno::EEXIST, "FORK-36");
    let (args, mut facts) = with(&[78], F::empty());
    succeeds(&args, &facts);
    facts.pid_levels.iter_mut().for_each(|l| l.may_choose = false);
    refuses(&args, SIZE, &facts, Errno::EPERM, "FORK-36");
    let (args, facts) = with(&[2, 78], F::CLONE_NEWPID);
    refuses(&args, SIZE, &facts, Errno::EINVAL, "FORK-36");
    let (args, facts) = with(&[1, 78], F::CLONE_NEWPID);
    succeeds(&args, &facts);
    let ended = CloneFacts { init_ended: true, ..plain() };
    refuses(&c3(F::empty()), SIZE, &ended, Errno::ENOMEM, "FORK-36");
}

#[test]
fn fork_37_and_38_last() {
    let pidfd = c3(F::CLONE_PIDFD);
    refuses(&pidfd, SIZE, &CloneFacts { fd_left: false, ..plain() }, Errno::EMFILE, "FORK-37");
    let facts = CloneFacts { pidfd_writable: false, ..plain() };
    refuses(&pidfd, SIZE, &facts, Errno::EFAULT, "FORK-37");
    let facts = CloneFacts { into_cgroup: Err(Errno::EBADF), ..plain() };
    refuses(&c3(F::CLONE_INTO_CGROUP), SIZE, &facts, Errno::EBADF, "FORK-38");
    let facts = CloneFacts { pids_cgroup_full: true, ..plain() };
    refuses(&c3(F::empty()), SIZE, &facts, Errno::EAGAIN, "FORK-38");
}

#[test]
fn fork_50_to_53() {
    // The end of an init makes its signal actions ignore SIGCHLD: shared, nobody can wait for it.
    let args =
        CloneArgs { exit_signal: 17, ..c3(F::CLONE_VM | F::CLONE_SIGHAND | F::CLONE_NEWPID) };
    assert!(!succeeds(&args, &plain()).plain_wait);

    let event = |args: CloneArgs| succeeds(&args, &plain()).event;
    assert_eq!(event(CloneArgs::fork()), Some(PtraceEvent::Fork));
    assert_eq!(event(CloneArgs::vfork()), Some(PtraceEvent::Vfork));
    assert_eq!(event(c3(THREAD)), Some(PtraceEvent::Clone));
    assert_eq!(event(c3(F::CLONE_UNTRACED)), None);
    assert!(succeeds(&c3(F::CLONE_VFORK), &plain()).parent_waits);
    assert!(!succeeds(&c3(F::empty()), &plain()).plain_wait);
    let detached = CloneArgs::legacy(F::CLONE_DETACHED.bits() | 17, 0, 0, 0, 0);
    assert!(!succeeds(&detached, &plain()).warnings.is_empty());
}

#[test]
fn table_e() {
    use Gets::*;
    let gets = |flags, item| succeeds(&c3(flags), &plain()).item(item).map(|r| (r.gets, r.flag));
    for (item, flag, default) in [
        (Item::Memory, F::CLONE_VM, Copied),
        (Item::Files, F::CLONE_FILES, Copied),
        (Item::Fs, F::CLONE_FS, Copied),
        (Item::SemUndo, F::CLONE_SYSVSEM, Cleared),
        (Item::IoContext, F::CLONE_IO, Cleared),
    ] {
        assert_eq!(gets(F::empty(), item), Some((default, F::empty())));
        assert_eq!(gets(flag, item), Some((Shared, flag)));
    }
    for (flag, item) in [
        (F::CLONE_NEWNS, Item::MountNs),
        (F::CLONE_NEWPID, Item::PidNs),
        (F::CLONE_NEWUSER, Item::UserNs),
        (F::CLONE_NEWNET, Item::NetNs),
        (F::CLONE_NEWTIME, Item::TimeNs),
    ] {
        assert_eq!(gets(F::empty(), item), Some((Shared, F::empty())));
        assert_eq!(gets(flag, item), Some((New, flag)));
    }
    assert_eq!(
        gets(F::CLONE_CLEAR_SIGHAND, Item::SignalActions),
        Some((Cleared, F::CLONE_CLEAR_SIGHAND))
    );
    assert_eq!(gets(F::CLONE_VM, Item::AltStack), Some((Cleared, F::CLONE_VM)));
    assert_eq!(gets(F::CLONE_VM | F::CLONE_VFORK, Item::AltStack), Some((Copied, F::empty())));
    assert_eq!(gets(F::CLONE_VM, Item::Rseq), Some((Cleared, F::CLONE_VM)));
    assert_eq!(gets(THREAD, Item::Limits), Some((Shared, F::CLONE_THREAD)));
    assert_eq!(gets(THREAD, Item::ProcessKeyring), Some((Shared, F::CLONE_THREAD)));
    assert_eq!(gets(F::empty(), Item::ParentDeathSignal), Some((Cleared, F::empty())));
    let items: Vec<Item> = succeeds(&c3(THREAD), &plain()).child.iter().map(|r| r.item).collect();
    assert_eq!(items, Item::ALL);
}

#[test]
fn parents_and_writes() {
    let facts = CloneFacts { leader_exit_signal: 10, ..plain() };
    let plan = succeeds(&c3(F::CLONE_PARENT), &facts);
    assert_eq!((plan.parent, plan.exit_signal), (Parent::CallersParent, 10));
    assert_eq!(succeeds(&c3(THREAD), &plain()).parent, Parent::SameProcess);
    let args = CloneArgs {
        parent_tid: 8,
        child_tid: 16,
        ..c3(F::CLONE_PARENT_SETTID | F::CLONE_CHILD_SETTID)
    };
    let writes = succeeds(&args, &plain()).writes;
    let got: Vec<_> = writes.iter().map(|w| (w.memory, w.addr)).collect();
    assert_eq!(got, [(Memory::Parent, 8), (Memory::Child, 16)]);
}

/// No argument, however wild, makes it panic.
#[test]
fn never_panics() {
    let mut x = 1u64;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        if x & 3 == 0 { u64::MAX - (x >> 60) } else { x >> (x & 63) }
    };
    for _ in 0..20_000 {
        let args = CloneArgs {
            entry: if next() & 1 == 0 { Entry::Clone3 } else { Entry::Clone },
            flags: F::from_bits_retain(next()),
            pidfd: next(),
            child_tid: next(),
            parent_tid: next(),
            exit_signal: next() & 0xff,
            stack: next(),
            stack_size: next(),
            tls: next(),
            set_tid: next(),
            set_tid_size: next() & 0x3f,
            cgroup: next(),
        };
        let facts = CloneFacts { set_tid: Some(vec![next() as i32; 40]), ..plain() };
        let _ = decide(&args, next() & 0x1fff, &facts);
    }
}
