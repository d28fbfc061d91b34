//! States a process can be in when it calls exec, each set up by system calls in the child
//! between fork and exec: no lock, no heap.

use std::ffi::CString;

use libc::{c_int, c_long, c_ulong};

/// One thing done before the exec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Ignore a signal.
    Ignore(c_int),
    /// Block a signal.
    Block(c_int),
    /// Block a signal and send it to the process.
    Pending(c_int),
    /// Block a signal and send it to the thread, with a value: a queued real-time signal.
    PendingThread(c_int),
    /// A handler, which an exec resets.
    Handle(c_int),
    /// An alternate signal stack.
    AltStack,
    /// `setitimer(2)`: which timer, seconds until it expires and its interval.
    Itimer(c_int, i64),
    /// A POSIX timer with a far expiry.
    PosixTimer,
    /// `nice(2)`.
    Nice(c_int),
    /// Scheduling policy `SCHED_BATCH` or `SCHED_IDLE`.
    Scheduler(c_int),
    /// Only the first allowed processor.
    OneCpu,
    /// I/O priority (`ioprio_set(2)`).
    IoPriority(c_int),
    /// `umask(2)`.
    Umask(u32),
    /// `chdir(2)`.
    Cwd(CString),
    /// Soft limit of a resource (`RLIMIT_*`), in its unit; `u64::MAX` for none.
    Limit(u32, u64),
    /// `prctl(2)` with numbers.
    Prctl(c_int, [c_ulong; 4]),
    /// `personality(2)`, added to what is set.
    Personality(c_ulong),
    /// Write to a file: `/proc/self/coredump_filter` and its like.
    Write(CString, CString),
    /// `/dev/null` at this descriptor, close-on-exec or not.
    Descriptor(c_int, bool),
    /// `close(2)`: standard input or error, say.
    Close(c_int),
    /// A lock for reading by `fcntl(2)` on a whole file, held through this descriptor.
    RecordLock(CString, c_int),
    /// A `seccomp(2)` filter that lets everything pass.
    Filter,
    /// Processor identification traps (`arch_prctl(2)`, `ARCH_SET_CPUID`).
    NoCpuid,
    /// `mlockall(2)`.
    LockMemory,
    /// `membarrier(2)` registration.
    Membarrier,
    /// A robust-futex list and a clear-child-tid address of its own.
    Registrations,
    /// A new session.
    Session,
    /// All three user and group ids, and no supplementary groups.
    Ids(u32),
    /// Real ids stay, effective ones change: as set-user-ID programs run.
    EffectiveUid(u32),
    /// Make a capability inheritable and ambient.
    Ambient(u32),
    /// Rounding of the x87 and SSE units.
    Rounding,
}

/// A system call; whether it worked.
///
/// # Safety
/// Pointers among the arguments must be valid for what the call does.
unsafe fn call(nr: c_long, args: [u64; 5]) -> bool {
    // SAFETY: the caller's promise.
    unsafe { libc::syscall(nr, args[0], args[1], args[2], args[3], args[4]) != -1 }
}

fn plain(nr: c_long, args: [u64; 5]) -> bool {
    // SAFETY: used below for calls that take numbers only, or addresses in memory that this child
    // keeps until its exec and does not look at.
    unsafe { call(nr, args) }
}

fn with<T>(nr: c_long, args: [u64; 5], at: usize, value: &T) -> bool {
    let mut args = args;
    args[at] = std::ptr::from_ref(value) as u64;
    // SAFETY: the calls below only read what they are given there, and it is of the right type.
    unsafe { call(nr, args) }
}

static SPARE: [u64; 4096] = [0; 4096];

fn block(signal: c_int) -> bool {
    with(libc::SYS_rt_sigprocmask, [0, 0, 0, 8, 0], 1, &(1u64 << (signal - 1)))
}

/// This process's id. The C library does not keep it.
fn pid() -> u64 {
    std::process::id().into()
}

fn tid() -> u64 {
    // SAFETY: asks for a number.
    unsafe { libc::gettid() as u64 }
}

fn disposition(signal: c_int, handler: u64) -> bool {
    const SA_RESTORER: u64 = 0x0400_0000;
    const SA_RESTART: u64 = 0x1000_0000;
    let action = [handler, SA_RESTORER | SA_RESTART, handler, 0x200];
    with(libc::SYS_rt_sigaction, [signal as u64, 0, 0, 8, 0], 1, &action)
}

impl State {
    /// Sets it up in this thread; false if that does not work.
    #[must_use]
    pub fn apply(&self) -> bool {
        match self {
            State::Ignore(s) => disposition(*s, 1),
            State::Handle(s) => disposition(*s, 0x1000),
            State::Block(s) => block(*s),
            State::Pending(s) => block(*s) && plain(libc::SYS_kill, [pid(), *s as u64, 0, 0, 0]),
            State::PendingThread(s) => {
                block(*s) && plain(libc::SYS_tgkill, [pid(), tid(), *s as u64, 0, 0])
            }
            State::AltStack => {
                let stack = [(&raw const SPARE) as u64, 0, size_of_val(&SPARE) as u64];
                with(libc::SYS_sigaltstack, [0; 5], 0, &stack)
            }
            State::Itimer(which, seconds) => with(
                libc::SYS_setitimer,
                [*which as u64, 0, 0, 0, 0],
                1,
                &[*seconds, 0, *seconds, 0],
            ),
            State::PosixTimer => posix_timer(),
            State::Nice(by) => plain(libc::SYS_setpriority, [0, 0, *by as u64, 0, 0]),
            State::Scheduler(policy) => {
                with(libc::SYS_sched_setscheduler, [0, *policy as u64, 0, 0, 0], 2, &0i32)
            }
            State::OneCpu => one_cpu(),
            State::IoPriority(value) => plain(libc::SYS_ioprio_set, [1, 0, *value as u64, 0, 0]),
            State::Umask(mask) => plain(libc::SYS_umask, [u64::from(*mask), 0, 0, 0, 0]),
            State::Cwd(path) => plain(libc::SYS_chdir, [path.as_ptr() as u64, 0, 0, 0, 0]),
            State::Limit(which, soft) => limit(*which, *soft),
            State::Prctl(option, [a, b, c, d]) => {
                plain(libc::SYS_prctl, [*option as u64, *a, *b, *c, *d])
            }
            State::Personality(bits) => personality(*bits),
            State::Write(path, text) => write(path, text),
            State::Descriptor(fd, cloexec) => descriptor(*fd, *cloexec),
            State::Close(fd) => plain(libc::SYS_close, [*fd as u64, 0, 0, 0, 0]),
            State::RecordLock(path, fd) => record_lock(path, *fd),
            State::Filter => filter(),
            State::NoCpuid => plain(libc::SYS_arch_prctl, [0x1012, 0, 0, 0, 0]),
            State::LockMemory => plain(libc::SYS_mlockall, [3, 0, 0, 0, 0]),
            State::Membarrier => plain(libc::SYS_membarrier, [1 << 4, 0, 0, 0, 0]),
            State::Registrations => {
                let spare = (&raw const SPARE) as u64;
                plain(libc::SYS_set_tid_address, [spare, 0, 0, 0, 0])
                    && plain(libc::SYS_set_robust_list, [spare, 24, 0, 0, 0])
            }
            State::Session => plain(libc::SYS_setsid, [0; 5]),
            State::Ids(id) => ids(*id),
            State::EffectiveUid(id) => {
                plain(libc::SYS_setresuid, [u64::MAX, u64::from(*id), u64::MAX, 0, 0])
            }
            State::Ambient(cap) => ambient(*cap),
            State::Rounding => rounding(),
        }
    }
}

fn posix_timer() -> bool {
    let mut id = 0i32;
    let to = (&raw mut id) as u64;
    // SAFETY: writes one int to a valid place; a null event means SIGALRM.
    if !unsafe { call(libc::SYS_timer_create, [1, 0, to, 0, 0]) } {
        return false;
    }
    with(libc::SYS_timer_settime, [id as u64, 0, 0, 0, 0], 2, &[0u64, 0, 1000, 0])
}

fn one_cpu() -> bool {
    let mut set = [0u64; 128];
    let to = (&raw mut set) as u64;
    // SAFETY: writes at most the set's size.
    if !unsafe { call(libc::SYS_sched_getaffinity, [0, size_of_val(&set) as u64, to, 0, 0]) } {
        return false;
    }
    let mut found = false;
    for word in &mut set {
        *word = if found { 0 } else { *word & word.wrapping_neg() };
        found |= *word != 0;
    }
    with(libc::SYS_sched_setaffinity, [0, size_of_val(&set) as u64, 0, 0, 0], 2, &set)
}

fn limit(which: u32, soft: u64) -> bool {
    let mut old = [0u64; 2];
    let to = (&raw mut old) as u64;
    // SAFETY: writes the old limit, two words.
    if !unsafe { call(libc::SYS_prlimit64, [0, which.into(), 0, to, 0]) } {
        return false;
    }
    with(libc::SYS_prlimit64, [0, which.into(), 0, 0, 0], 2, &[soft, old[1]])
}

fn personality(bits: c_ulong) -> bool {
    // SAFETY: numbers only.
    let old = unsafe { libc::personality(0xffff_ffff) };
    // SAFETY: numbers only.
    unsafe { libc::personality(old as c_ulong | bits) != -1 }
}

fn write(path: &CString, text: &CString) -> bool {
    // SAFETY: a C string.
    let fd = unsafe { libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC) };
    let len = text.as_bytes().len();
    // SAFETY: the text is that long; a bad descriptor is an error.
    let n = unsafe { libc::write(fd, text.as_ptr().cast(), len) };
    // SAFETY: numbers only.
    unsafe { libc::close(fd) };
    n == len as isize
}

fn descriptor(fd: c_int, cloexec: bool) -> bool {
    // SAFETY: a C string.
    let from = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY) };
    let flags = if cloexec { libc::O_CLOEXEC } else { 0 };
    // SAFETY: numbers only.
    let ok = unsafe { libc::dup3(from, fd, flags) == fd };
    // SAFETY: numbers only.
    unsafe { libc::close(from) };
    ok
}

fn record_lock(path: &CString, fd: c_int) -> bool {
    // SAFETY: a C string.
    let from = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY) };
    // SAFETY: numbers only.
    let ok = unsafe { libc::dup2(from, fd) == fd };
    // SAFETY: numbers only. Before the lock is taken: closing any descriptor drops it.
    unsafe { libc::close(from) };
    // Type F_RDLCK, then whence, start and length 0: all of the file.
    let lock = [0u64, 0, 0, 0];
    ok && with(libc::SYS_fcntl, [fd as u64, libc::F_SETLK as u64, 0, 0, 0], 2, &lock)
}

fn filter() -> bool {
    // BPF_RET | BPF_K, SECCOMP_RET_ALLOW
    static ALLOW: [u64; 1] = [0x7fff_0000_0000_0006];
    let program = [1u64, (&raw const ALLOW) as u64];
    with(libc::SYS_seccomp, [1, 0, 0, 0, 0], 2, &program)
}

fn ids(id: u32) -> bool {
    let id = u64::from(id);
    plain(libc::SYS_setgroups, [0; 5])
        && plain(libc::SYS_setresgid, [id, id, id, 0, 0])
        && plain(libc::SYS_setresuid, [id, id, id, 0, 0])
}

fn ambient(cap: u32) -> bool {
    static VERSION_3: [u32; 2] = [0x2008_0522, 0];
    let mut sets = [[0u32; 3]; 2];
    let to = (&raw mut sets) as u64;
    let header = (&raw const VERSION_3) as u64;
    // SAFETY: reads the header, writes two triples of words.
    if !unsafe { call(libc::SYS_capget, [header, to, 0, 0, 0]) } {
        return false;
    }
    sets[(cap / 32) as usize][2] |= 1 << (cap % 32);
    with(libc::SYS_capset, [header, 0, 0, 0, 0], 1, &sets)
        && plain(libc::SYS_prctl, [47, 2, cap.into(), 0, 0])
}

fn rounding() -> bool {
    let (mxcsr, control) = (0x7f80u32, 0x0f7fu16);
    // SAFETY: round towards zero; nothing computes with floating point before the exec.
    unsafe {
        std::arch::asm!(
            "ldmxcsr [{}]", "fldcw [{}]",
            in(reg) &raw const mxcsr, in(reg) &raw const control, options(nostack)
        );
    };
    true
}
