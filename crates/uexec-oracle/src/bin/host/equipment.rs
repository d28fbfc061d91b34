//! What else the process has when it execs, by name. Everything here is set up by system calls that
//! either work or make the program fail, but for what a kernel may be built without.

use libc::{c_int, c_long};
use uexec_oracle::state::State;

/// Closes what this process was handed besides the standard descriptors: it is no part of any test.
pub(crate) fn close_inherited() {
    // SAFETY: at the start of the program, nobody owns any of them.
    unsafe { libc::close_range(3, u32::MAX, 0) };
}

/// Sets up what belongs to the process, before there are threads.
pub(crate) fn process(names: &[&str]) -> Result<(), String> {
    each(names, &|name| {
        Some(match name {
            "handlers" => handlers(),
            "ignored" => apply(&[State::Ignore(libc::SIGHUP), State::Ignore(40)]),
            "timers" => (0..100).all(|_| State::PosixTimer.apply()),
            "itimers" => (0..3).all(|which| State::Itimer(which, 1000).apply()),
            "aio" => aio(),
            "memory" => memory(),
            "locked" => apply(&[State::LockMemory]),
            "descriptors" => descriptors(),
            "rings" => rings(),
            "polled ring" => polled_ring(),
            "locks" => locks(),
            "children" => children(),
            "filter" => apply(&[State::Filter]),
            "membarrier" => apply(&[State::Membarrier]),
            "process" => apply(&[
                State::Umask(0o027),
                State::Cwd(c"/usr".into()),
                State::Limit(4, 0),
                State::Prctl(libc::PR_SET_CHILD_SUBREAPER, [1, 0, 0, 0]),
                State::Write(c"/proc/self/coredump_filter".into(), c"0x7f".into()),
                State::Write(c"/proc/self/oom_score_adj".into(), c"500".into()),
            ]),
            "no new privileges" => apply(&[State::Prctl(libc::PR_SET_NO_NEW_PRIVS, [1, 0, 0, 0])]),
            "rseq of leader" => restartable_sequences(),
            "no ptrace" => no_ptrace(),
            "file ids" => {
                call(libc::SYS_setfsgid, [65_534, 0, 0, 0, 0]);
                call(libc::SYS_setfsuid, [65_534, 0, 0, 0, 0]);
                true
            }
            "sealed" => sealed(),
            "keys" => keys(-2) && keys(-1),
            "undumpable" => apply(&[State::Prctl(libc::PR_SET_DUMPABLE, [0, 0, 0, 0])]),
            _ => return None,
        })
    })
}

/// Sets up what belongs to the thread that calls.
pub(crate) fn thread(names: &[&str]) -> Result<(), String> {
    each(names, &|name| {
        Some(match name {
            "stack" => apply(&[State::AltStack]),
            "mask" => apply(&[State::Block(libc::SIGINT), State::Block(45)]),
            // Of the process: a thread that does not block it would take it.
            "pending" => apply(&[State::Pending(libc::SIGUSR2), State::Pending(41)]),
            "pending of thread" => apply(&[
                State::PendingThread(libc::SIGTERM),
                State::PendingThread(42),
                State::PendingThread(42),
            ]),
            "pending SIGCHLD" => apply(&[State::Pending(libc::SIGCHLD)]),
            "pending SIGURG" => apply(&[State::PendingThread(libc::SIGURG)]),
            "scheduling" => apply(&[
                State::Nice(3),
                State::Scheduler(libc::SCHED_BATCH),
                State::OneCpu,
                State::IoPriority(2 << 13 | 6),
            ]),
            "options" => apply(&[
                State::Prctl(libc::PR_SET_TIMERSLACK, [123_456, 0, 0, 0]),
                State::Prctl(libc::PR_SET_PDEATHSIG, [10, 0, 0, 0]),
                State::Prctl(libc::PR_SET_NAME, [c"other".as_ptr() as u64, 0, 0, 0]),
                State::Prctl(33, [1, 1, 0, 0]),
            ]),
            "no clock" => apply(&[State::Prctl(libc::PR_SET_TSC, [2, 0, 0, 0])]),
            "policy" => memory_policy(),
            "personality" => apply(&[State::Personality(0x100_0000)]),
            "rseq" => restartable_sequences(),
            "rounding" => apply(&[State::Rounding]),
            "keys of thread" => keys(-1),
            _ => return None,
        })
    })
}

/// Names of this file are known to one of the two above; `None` is for the other one.
fn each(names: &[&str], set_up: &dyn Fn(&str) -> Option<bool>) -> Result<(), String> {
    match names.iter().find(|name| set_up(name) == Some(false)) {
        Some(name) => Err(format!("cannot set up {name}")),
        None => Ok(()),
    }
}

fn apply(states: &[State]) -> bool {
    states.iter().all(State::apply)
}

fn call(nr: c_long, args: [u64; 5]) -> c_long {
    // SAFETY: used below with numbers, and with places that are valid for what the calls do.
    unsafe { libc::syscall(nr, args[0], args[1], args[2], args[3], args[4]) }
}

/// For every signal that can have one, and none is used by the test itself.
fn handlers() -> bool {
    extern "C" fn nothing(_: c_int) {}
    let handler: extern "C" fn(c_int) = nothing;
    (1..=64).filter(|s| ![9, 10, 19, 32, 33].contains(s)).all(|signal| {
        // SAFETY: the handler does nothing.
        let old = unsafe { libc::signal(signal, handler as libc::sighandler_t) };
        old != libc::SIG_ERR
    })
}

/// Contexts for asynchronous I/O: each is a mapping, and a number that only the kernel knows.
fn aio() -> bool {
    (0..3).all(|_| {
        let mut context = 0u64;
        call(libc::SYS_io_setup, [16, (&raw mut context) as u64, 0, 0, 0]) == 0
    })
}

/// Mappings of many kinds, some of them locked, shared or of a System V segment.
fn memory() -> bool {
    let map = |prot: c_int, flags: c_int| {
        // SAFETY: fresh memory wherever there is room.
        unsafe {
            libc::mmap(std::ptr::null_mut(), 1 << 20, prot, flags | libc::MAP_ANONYMOUS, -1, 0)
        }
    };
    let writable = libc::PROT_READ | libc::PROT_WRITE;
    let private = map(writable, libc::MAP_PRIVATE);
    let all = [
        private,
        map(writable, libc::MAP_SHARED),
        map(libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_NORESERVE),
        map(libc::PROT_READ | libc::PROT_EXEC, libc::MAP_PRIVATE),
        map(writable, libc::MAP_PRIVATE | libc::MAP_GROWSDOWN),
    ];
    // SAFETY: advice and locks for the first mapping, which nobody uses.
    let advised = unsafe { libc::madvise(private, 1 << 20, libc::MADV_DONTFORK) } == 0;
    // SAFETY: likewise.
    let locked = unsafe { libc::mlock(private, 16 << 10) } == 0;
    // SAFETY: numbers only.
    let segment = unsafe { libc::shmget(libc::IPC_PRIVATE, 1 << 16, 0o600) };
    // SAFETY: attached wherever there is room.
    unsafe { libc::shmat(segment, std::ptr::null(), 0) };
    // SAFETY: it goes with its last user.
    unsafe { libc::shmctl(segment, libc::IPC_RMID, std::ptr::null_mut()) };
    advised && locked && !all.contains(&libc::MAP_FAILED)
}

/// Memory that can neither be changed nor unmapped any more (`mseal(2)`).
fn sealed() -> bool {
    const SYS_MSEAL: c_long = 462;
    // SAFETY: fresh memory wherever there is room.
    let at = unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_READ, flags, -1, 0)
    };
    call(SYS_MSEAL, [at as u64, 4096, 0, 0, 0]) == 0
}

/// A key in the keyring of the process or of the thread (`keyrings(7)`).
fn keys(keyring: i64) -> bool {
    let (kind, name) = (c"user".as_ptr() as u64, c"uexec".as_ptr() as u64);
    call(libc::SYS_add_key, [kind, name, name, 5, keyring as u64]) > 0
}

/// A thousand, half of them close-on-exec.
fn descriptors() -> bool {
    (0..1000).all(|i| State::Descriptor(20 + i, i % 2 == 0).apply())
}

/// One of each kind that is more than a file, inherited and not.
fn rings() -> bool {
    let made = |fd: c_long| {
        if fd >= 0 {
            call(libc::SYS_fcntl, [fd as u64, libc::F_DUPFD_CLOEXEC as u64, 0, 0, 0]);
        }
    };
    let mut parameters = [0u32; 30];
    let ring = call(libc::SYS_io_uring_setup, [4, parameters.as_mut_ptr() as u64, 0, 0, 0]);
    if ring >= 0 {
        // It is made close-on-exec.
        made(call(libc::SYS_fcntl, [ring as u64, libc::F_DUPFD as u64, 0, 0, 0]));
    }
    let set = 1u64;
    made(call(libc::SYS_epoll_create1, [0; 5]));
    made(call(libc::SYS_userfaultfd, [1, 0, 0, 0, 0]));
    made(call(libc::SYS_inotify_init1, [0; 5]));
    made(call(libc::SYS_eventfd2, [7, 0, 0, 0, 0]));
    made(call(libc::SYS_timerfd_create, [1, 0, 0, 0, 0]));
    made(call(libc::SYS_signalfd4, [u64::MAX, (&raw const set) as u64, 8, 0, 0]));
    made(call(libc::SYS_memfd_create, [c"kept".as_ptr() as u64, 0, 0, 0, 0]));
    true
}

/// A ring whose submissions a thread of the kernel's looks for, which is listed with this process's.
fn polled_ring() -> bool {
    const IORING_SETUP_SQPOLL: u32 = 2;
    let mut parameters = [0u32; 30];
    parameters[2] = IORING_SETUP_SQPOLL;
    call(libc::SYS_io_uring_setup, [4, parameters.as_mut_ptr() as u64, 0, 0, 0]) >= 0
}

/// Record locks on a file that is not the program.
fn locks() -> bool {
    apply(&[State::RecordLock(c"/dev/null".into(), 12), State::RecordLock(c"/dev/zero".into(), 13)])
}

/// One that runs until the test has ended, and one that has ended and was not waited for.
fn children() -> bool {
    let parent = std::process::id();
    for waits in [true, false] {
        // SAFETY: there is one thread yet; the child makes system calls only.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: numbers only: nothing of the parent's may be held open.
            unsafe { libc::close_range(0, u32::MAX, 0) };
            // SAFETY: asks for a number.
            while waits && unsafe { libc::getppid() } == parent as i32 {
                // SAFETY: sleeps.
                unsafe { libc::usleep(10_000) };
            }
            // SAFETY: ends without running anything of the parent's.
            unsafe { libc::_exit(0) };
        }
        if !waits {
            // SAFETY: a description of how a process ended is plain data.
            let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
            // SAFETY: waits, and leaves the child as it is.
            unsafe {
                libc::waitid(libc::P_PID, pid as u32, &raw mut info, libc::WEXITED | libc::WNOWAIT)
            };
        }
    }
    true
}

/// Interleaved over node 0, as far as the kernel knows nodes.
fn memory_policy() -> bool {
    const PREFERRED: u64 = 1;
    let nodes = 1u64;
    call(libc::SYS_set_mempolicy, [PREFERRED, (&raw const nodes) as u64, 8, 0, 0]);
    true
}

/// A filter that refuses `ptrace(2)` with `EPERM`, as sandboxes have it.
fn no_ptrace() -> bool {
    let op = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut program = [
        op(0x20, 0, 0, 0), // load the number of the call
        op(0x15, 0, 1, libc::SYS_ptrace as u32),
        op(0x06, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        op(0x06, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: 4, filter: program.as_mut_ptr() };
    // SAFETY: numbers only.
    let done = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    // SAFETY: reads the program.
    done == 0 && unsafe { libc::prctl(libc::PR_SET_SECCOMP, 2, &raw const filter) } == 0
}

/// An area that the C library knows nothing of; only where that has none itself.
fn restartable_sequences() -> bool {
    #[repr(align(32))]
    struct Area(std::cell::UnsafeCell<[u64; 4]>);
    // SAFETY: only the kernel writes to it.
    unsafe impl Sync for Area {}
    static AREA: Area = Area(std::cell::UnsafeCell::new([0; 4]));
    call(libc::SYS_rseq, [AREA.0.get() as u64, 32, 0, 0x1234_5678, 0]) == 0
}
