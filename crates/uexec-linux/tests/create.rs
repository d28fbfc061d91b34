//! Process creation, decided and carried out: what the plan says of the child is what it is.

use std::sync::atomic::{AtomicI32, Ordering::SeqCst};

use uexec_core::Errno;
use uexec_core::clone::{
    CloneArgs, CloneFacts, CloneFlags as F, ClonePlan, Gets, Item, SIGCHLD, decide,
};
use uexec_linux::{Created, Start, clone_facts, create};

/// Written to by children that share this memory.
static MARK: AtomicI32 = AtomicI32::new(0);

/// Ends the calling task only, not what it shares.
fn exit(code: usize) -> ! {
    loop {
        // SAFETY: `exit(2)` takes a number.
        unsafe { libc::syscall(libc::SYS_exit, code) };
    }
}

/// # Safety
/// None is needed: it touches an atomic.
unsafe extern "C" fn marks_and_exits(word: usize) -> ! {
    MARK.store(word as i32, SeqCst);
    exit(word)
}

/// # Safety
/// None is needed: it only waits.
unsafe extern "C" fn waits(_: usize) -> ! {
    loop {
        // SAFETY: takes nothing.
        unsafe { libc::syscall(libc::SYS_pause) };
    }
}

fn plan(args: &CloneArgs) -> ClonePlan {
    decide(args, CloneArgs::SIZE, &clone_facts()).unwrap()
}

/// The status of a child of any exit signal.
fn reap(pid: i32, flags: i32) -> Result<i32, i32> {
    let mut status = 0;
    // SAFETY: writes to the local.
    match unsafe { libc::waitpid(pid, &raw mut status, flags) } {
        -1 => Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0)),
        _ => Ok(status),
    }
}

/// A stack for one child, not given back.
fn stack() -> (u64, u64) {
    let stack = Box::leak(vec![0u128; 4096].into_boxed_slice());
    (stack.as_ptr() as u64, 65_536)
}

#[test]
fn fork_returns_twice() {
    let args = CloneArgs::fork();
    // SAFETY: the child only exits.
    match unsafe { create(&args, &plan(&args), Start::Return) }.unwrap() {
        Created::Child => exit(5),
        Created::Parent(pid) => assert_eq!(libc::WEXITSTATUS(reap(pid, 0).unwrap()), 5),
    }
}

#[test]
fn vfork_shares_memory_and_waits() {
    let args = CloneArgs::vfork();
    // SAFETY: the child writes an atomic and exits, and this thread waits for it.
    let created = unsafe { create(&args, &plan(&args), Start::Call(marks_and_exits, 42)) };
    let Ok(Created::Parent(pid)) = created else { panic!("{created:?}") };
    // It has let go of this memory, so that it has written.
    assert_eq!(MARK.load(SeqCst), 42);
    assert_eq!(libc::WEXITSTATUS(reap(pid, 0).unwrap()), 42);
}

#[test]
fn numbers_are_stored() {
    let (stack, stack_size) = stack();
    let (mut pidfd, mut parent_tid) = (-1i32, -1i32);
    let args = CloneArgs {
        pidfd: (&raw mut pidfd) as u64,
        parent_tid: (&raw mut parent_tid) as u64,
        stack,
        stack_size,
        exit_signal: SIGCHLD as u64,
        ..CloneArgs::clone3(F::CLONE_PIDFD | F::CLONE_PARENT_SETTID)
    };
    // SAFETY: the child only waits, on a stack of its own; the addresses are live locals'.
    let created = unsafe { create(&args, &plan(&args), Start::Call(waits, 0)) };
    let Ok(Created::Parent(pid)) = created else { panic!("{created:?}") };
    assert_eq!(parent_tid, pid);
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{pidfd}")).unwrap();
    assert!(info.contains(&format!("Pid:\t{pid}\n")), "{info}");
    // SAFETY: the child made above.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    assert_eq!(libc::WTERMSIG(reap(pid, 0).unwrap()), libc::SIGKILL);
    // SAFETY: nobody else knows it.
    unsafe { libc::close(pidfd) };

    // The old call stores the descriptor where the new one stores the tid.
    let mut there = -1i32;
    let flags = F::CLONE_PIDFD.bits() | SIGCHLD as u64;
    let args = CloneArgs::legacy(flags, 0, (&raw mut there) as u64, 0, 0);
    // SAFETY: as above; a child that shares nothing may use the copy of this stack.
    let created = unsafe { create(&args, &plan(&args), Start::Call(marks_and_exits, 6)) };
    let Ok(Created::Parent(pid)) = created else { panic!("{created:?}") };
    assert!(there > 2);
    assert_eq!(libc::WEXITSTATUS(reap(pid, 0).unwrap()), 6);
    // SAFETY: nobody else knows it.
    unsafe { libc::close(there) };
}

/// Every combination of what can be shared, looked at with `kcmp(2)`.
#[test]
fn shares_what_the_plan_says() {
    let kcmp = |pid: i32, kind: i32| {
        // SAFETY: takes numbers.
        unsafe { libc::syscall(libc::SYS_kcmp, std::process::id(), pid, kind, 0, 0) }
    };
    if kcmp(std::process::id() as i32, 1) != 0 {
        eprintln!("skipped: kcmp(2) cannot be used here");
        return;
    }
    // `enum kcmp_type` of `linux/kcmp.h`.
    let items = [
        (Item::Memory, 1),
        (Item::Files, 2),
        (Item::Fs, 3),
        (Item::SignalActions, 4),
        (Item::IoContext, 5),
        (Item::SemUndo, 6),
    ];
    let shareable =
        [F::CLONE_VM, F::CLONE_FILES, F::CLONE_FS, F::CLONE_SIGHAND, F::CLONE_IO, F::CLONE_SYSVSEM];
    let mut made = 0;
    for bits in 0..1 << shareable.len() {
        let set = |i: usize| if bits >> i & 1 == 1 { shareable[i] } else { F::empty() };
        let flags = (0..shareable.len()).map(set).collect();
        let (stack, stack_size) = stack();
        let args = CloneArgs {
            stack,
            stack_size,
            exit_signal: SIGCHLD as u64,
            ..CloneArgs::clone3(flags)
        };
        let decided = decide(&args, CloneArgs::SIZE, &CloneFacts::default());
        let Ok(plan) = decided else {
            assert!(flags.contains(F::CLONE_SIGHAND) && !flags.contains(F::CLONE_VM), "{flags:?}");
            continue;
        };
        // SAFETY: the child only waits, on a stack of its own.
        let created = unsafe { create(&args, &plan, Start::Call(waits, 0)) };
        let Ok(Created::Parent(pid)) = created else { panic!("{flags:?}: {created:?}") };
        for (item, kind) in items {
            let shared = plan.item(item).is_some_and(|row| row.gets == Gets::Shared);
            // Two that have none of it look alike.
            let none = matches!(item, Item::IoContext | Item::SemUndo) && !shared;
            assert!(none || (kcmp(pid, kind) == 0) == shared, "{flags:?}: {item:?}");
        }
        // SAFETY: the child made above.
        unsafe { libc::kill(pid, libc::SIGKILL) };
        reap(pid, 0).unwrap();
        made += 1;
    }
    assert_eq!(made, 48);
}

#[test]
fn exit_signal_decides_who_sees_the_end() {
    let args = CloneArgs { exit_signal: 0, ..CloneArgs::clone3(F::empty()) };
    let plan = plan(&args);
    assert!(!plan.plain_wait);
    // SAFETY: the child exits, on the copy of this stack.
    let created = unsafe { create(&args, &plan, Start::Call(marks_and_exits, 7)) };
    let Ok(Created::Parent(pid)) = created else { panic!("{created:?}") };
    assert_eq!(reap(pid, 0), Err(libc::ECHILD));
    assert_eq!(libc::WEXITSTATUS(reap(pid, libc::__WALL).unwrap()), 7);
}

#[test]
fn the_kernels_errno_comes_through() {
    // Its own number is taken.
    let mine = std::process::id() as i32;
    let args = CloneArgs {
        set_tid: (&raw const mine) as u64,
        set_tid_size: 1,
        exit_signal: SIGCHLD as u64,
        ..CloneArgs::clone3(F::empty())
    };
    let facts = CloneFacts { set_tid: Some(vec![mine]), ..CloneFacts::default() };
    let plan = decide(&args, CloneArgs::SIZE, &facts).unwrap();
    // SAFETY: no child is made.
    let refused = unsafe { create(&args, &plan, Start::Call(marks_and_exits, 0)) };
    // Who may not choose is not told whether it is taken.
    assert!(matches!(refused, Err(Errno::EEXIST | Errno::EPERM)), "{refused:?}");
}

/// FORK-29: the limit counts all tasks of the user, and privilege lifts it.
#[test]
fn limit_of_processes() {
    let args = CloneArgs::fork();
    let outer = plan(&args);
    // SAFETY: the child makes system calls only, and exits.
    let created = unsafe { create(&args, &outer, Start::Return) }.unwrap();
    let Created::Parent(pid) = created else {
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: reads the local.
        unsafe { libc::setrlimit(libc::RLIMIT_NPROC, &raw const none) };
        // SAFETY: takes a number; whoever is root becomes somebody without a process.
        unsafe { libc::syscall(libc::SYS_setuid, 54_323) };
        // SAFETY: as above.
        let inner = unsafe { create(&args, &outer, Start::Return) };
        exit(match inner {
            Err(errno) => errno.0.into(),
            Ok(_) => 99,
        });
    };
    assert_eq!(libc::WEXITSTATUS(reap(pid, 0).unwrap()), libc::EAGAIN);
}

#[test]
fn what_cannot_be_sound_is_refused() {
    let shared = CloneArgs { exit_signal: SIGCHLD as u64, ..CloneArgs::clone3(F::CLONE_VM) };
    let fork = CloneArgs::fork();
    let cases = [
        // Two would return into the same frame.
        (CloneArgs::vfork(), CloneArgs::vfork(), Start::Return),
        // Two would run on one stack.
        (shared, shared, Start::Call(marks_and_exits, 0)),
        // The plan is of other arguments.
        (shared, fork, Start::Call(marks_and_exits, 0)),
    ];
    for (args, planned, start) in cases {
        // SAFETY: no child is made.
        let refused = unsafe { create(&args, &plan(&planned), start) };
        assert_eq!(refused, Err(Errno::EINVAL));
    }
}
