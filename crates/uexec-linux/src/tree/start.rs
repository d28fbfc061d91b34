//! Makes the tracer's process, and lets it take hold of this one.

use alloc::ffi::CString;
use alloc::vec::Vec;

use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd};
use rustix::pipe::{PipeFlags, pipe_with};
use uexec_core::Errno;

use super::call::{ARCH_I386, X32};
use super::{EXIT_OPTION, OPTIONS, Tracer, listen};
use crate::ffi::{self, errno, thread, tracer};

/// Who returns from [`start`]: it does so twice.
#[derive(Debug)]
pub enum Role<T = Tracer> {
    /// This process, which is followed now and should execute the command.
    Traced,
    /// The new process, which follows it.
    Tracer(T),
}

/// What is reported beside the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// Nothing.
    Plain,
    /// The moments before a process gives up its memory ([`What::Leaving`](super::What)).
    Memory,
}

const SIGCHLD: u64 = 17;
/// A filter's instruction: `SECCOMP_RET_ALLOW`.
pub(super) const ALLOW: u64 = 0x7fff_0000 << 32 | 0x06;
const AUDIT_ARCH_X86_64: u64 = 0xc000_003e;
const PR_SET_PTRACER: u64 = 0x5961_6d61;
const PR_SET_NO_NEW_PRIVS: u64 = 38;

/// Begins to trace this process. The tracer keeps standard error and the descriptors in `keep`, and
/// closes all others, so that nobody waits for their end because of it.
///
/// # Errors
/// `EPERM` where this process is traced already, or tracing is forbidden; `EBUSY` where somebody
/// [answers](super::Listener) for its execs, which a tracer is then not told of; what a filter or a limit
/// says. This process may then have `no_new_privs` set.
///
/// # Safety
/// This process must have one thread.
pub unsafe fn start(keep: &[BorrowedFd<'_>], watch: Watch) -> Result<Role, Errno> {
    let root = thread::getpid();
    // SAFETY: one thread, by the caller's promise.
    let line = match unsafe { apart(root == 1) }? {
        Half::Aside(line) => return follow(root, line, keep, watch).map(Role::Tracer),
        Half::Here(line) => line,
    };
    let pid = line.hear().ok_or(Errno::EAGAIN)?;
    // Where the Yama module lets only ancestors trace; elsewhere the kernel does not know it.
    let _ = ffi::prctl(PR_SET_PTRACER, pid.into(), 0);
    line.tell(0);
    line.agree()?;
    unprivileged(|| tracer::install_filter(&program(Told::Tracer)))?;
    Ok(Role::Traced)
}

/// The two that [`apart`] makes of one, each with a line to the other.
pub(super) enum Half {
    /// The same process as before.
    Here(Line),
    /// A new one.
    Aside(Line),
}

/// Numbers heard from another process, and told to it.
pub(super) struct Line {
    hear: OwnedFd,
    tell: OwnedFd,
}

impl Line {
    pub(super) fn tell(&self, number: u32) {
        let _ = rustix::io::write(&self.tell, &number.to_ne_bytes());
    }

    /// `None` when the other has ended.
    pub(super) fn hear(&self) -> Option<u32> {
        let mut bytes = [0; 4];
        let n = rustix::io::retry_on_intr(|| rustix::io::read(&self.hear, &mut bytes)).ok()?;
        (n == 4).then(|| u32::from_ne_bytes(bytes))
    }

    /// The number of one of its descriptors.
    pub(super) fn number(&self) -> u32 {
        self.tell.as_raw_fd() as u32
    }

    /// Hears whether something has been done there, or why not.
    pub(super) fn agree(&self) -> Result<(), Errno> {
        match self.hear() {
            Some(0) => Ok(()),
            error => Err(Errno(error.unwrap_or(1) as u16)),
        }
    }
}

/// Makes a process aside, in a session of its own, and a child of nobody here. That of the first of a
/// namespace, who would be the parent of whoever has lost his own, becomes one of its children that
/// `wait(2)` does not see.
///
/// # Safety
/// This process must have one thread.
pub(super) unsafe fn apart(is_first: bool) -> Result<Half, Errno> {
    let (hear, told) = pipe_with(PipeFlags::CLOEXEC).map_err(errno)?;
    let (heard, tell) = pipe_with(PipeFlags::CLOEXEC).map_err(errno)?;
    // The process in between must not be seen: neither by a signal at its end, nor by what it has
    // used, which is not counted where the signal is ignored.
    let action = thread::action(SIGCHLD)?;
    thread::set_ignored(SIGCHLD);
    // SAFETY: one thread, by the caller's promise.
    let between = unsafe { tracer::fork(if is_first { 0 } else { SIGCHLD }) };
    if between == Ok(0) {
        // The tracer's own session, so that signals of the terminal are not for it.
        let _ = rustix::process::setsid();
        // SAFETY: as above.
        if !is_first && unsafe { tracer::fork(SIGCHLD) } != Ok(0) {
            tracer::exit(0);
        }
        return Ok(Half::Aside(Line { hear: heard, tell: told }));
    }
    if let Some(pid) = between.ok().filter(|_| !is_first) {
        tracer::wait_child(pid);
    }
    // SAFETY: what was there before.
    let restored = unsafe { thread::set_action(SIGCHLD, &action) };
    between.and(restored)?;
    Ok(Half::Here(Line { hear, tell }))
}

/// The tracer's beginning.
fn follow(root: i32, line: Line, keep: &[BorrowedFd<'_>], watch: Watch) -> Result<Tracer, Errno> {
    let ends = watch == Watch::Memory || root == 1;
    let options = if ends { OPTIONS | EXIT_OPTION } else { OPTIONS };
    line.tell(thread::getpid() as u32);
    let seized = match line.hear() {
        Some(_) if listen::is_answered() => Err(Errno::EBUSY),
        Some(_) => thread::ptrace(thread::Trace::Seize, root, options),
        None => tracer::exit(0),
    };
    line.tell(seized.err().map_or(0, |e| e.0.into()));
    if seized.is_err() {
        tracer::exit(0);
    }
    // Its descriptors must not be closed behind their owner's back.
    drop(line);
    settle(keep);
    Ok(Tracer::new(root, watch))
}

/// What a process aside lets go of: its own signals, those that a terminal sends to whoever writes to
/// it, and all descriptors but standard error and these.
pub(super) fn settle(keep: &[BorrowedFd<'_>]) {
    // Limits on the command (`SIGXCPU`, `SIGXFSZ`) shall not kill who serves it.
    for signal in [1, 2, 3, 13, 15, 20, 21, 22, 24, 25] {
        thread::set_ignored(signal);
    }
    thread::set_default(SIGCHLD);
    let mut kept: Vec<u32> = keep.iter().map(|fd| fd.as_raw_fd() as u32).chain([2]).collect();
    kept.sort_unstable();
    let mut from = 0;
    for fd in kept {
        if fd > from {
            tracer::close_range(from, fd - 1);
        }
        from = fd + 1;
    }
    tracer::close_range(from, u32::MAX);
}

/// Who is told of an exec.
#[derive(Clone, Copy, Debug)]
pub(super) enum Told {
    /// Its tracer.
    Tracer,
    /// Who answers for the filter; of those with this sixth argument, which they have no use for, its
    /// tracer; of those with the next number, nobody.
    Listener(u32),
}

/// A filter by which every `execve` and `execveat`, of all three kinds of system calls, is told of,
/// and nothing else: not the question whether a file may be executed (`AT_EXECVE_CHECK`).
pub(super) fn program(told: Told) -> Vec<u64> {
    // `struct sock_filter`: code, jump if true, jump if false, operand (`seccomp(2)`).
    const fn op(code: u64, jt: u64, jf: u64, k: u64) -> u64 {
        code | jt << 16 | jf << 24 | k << 32
    }
    const AT_EXECVE_CHECK: u64 = 0x1_0000;
    let is = |jt, jf, k| op(0x15, jt, jf, k);
    let trace = op(0x06, 0, 0, 0x7ff0_0000); // SECCOMP_RET_TRACE
    let end = match told {
        Told::Tracer => alloc::vec![trace],
        Told::Listener(mark) => alloc::vec![
            op(0x20, 0, 0, 56), // the sixth argument
            is(2, 0, mark.into()),
            is(2, 0, u64::from(mark) + 1),
            op(0x06, 0, 0, 0x7fc0_0000), // SECCOMP_RET_USER_NOTIF
            trace,
        ],
    };
    let over = end.len() as u64;
    let begin = [
        op(0x20, 0, 0, 4), // the architecture
        is(4, 0, AUDIT_ARCH_X86_64),
        is(0, 10 + over, ARCH_I386.into()),
        op(0x20, 0, 0, 0), // the number
        is(8, 0, 11),
        is(5, 7 + over, 358),
        op(0x20, 0, 0, 0),
        is(5, 0, 59),
        is(2, 0, 322),
        is(3, 0, X32 | 520),
        is(0, 2 + over, X32 | 545),
        op(0x20, 0, 0, 48), // the flags of execveat
        op(0x45, over, 0, AT_EXECVE_CHECK),
    ];
    begin.into_iter().chain(end).chain([ALLOW]).collect()
}

/// Installs a filter. With `CAP_SYS_ADMIN` there is no need to change what the command inherits.
pub(super) fn unprivileged<T>(install: impl Fn() -> Result<T, Errno>) -> Result<T, Errno> {
    match install() {
        Err(Errno::EACCES) => {
            ffi::prctl(PR_SET_NO_NEW_PRIVS, 1, 0)?;
            install()
        }
        done => done,
    }
}

/// Executes the command by the kernel, the candidates one after the other as `execvp(3)` does.
/// Returns only on failure.
#[must_use]
pub fn command(candidates: &[Vec<u8>], argv: &[Vec<u8>], envp: &[Vec<u8>]) -> Errno {
    let strings = |list: &[Vec<u8>]| -> Result<Vec<CString>, Errno> {
        list.iter().map(|s| CString::new(s.as_slice()).map_err(|_| Errno::EINVAL)).collect()
    };
    let pointers = |list: &[CString]| -> Vec<*const u8> {
        list.iter().map(|s| s.as_ptr().cast()).chain([core::ptr::null()]).collect()
    };
    let (argv, envp, paths) = match (strings(argv), strings(envp), strings(candidates)) {
        (Ok(argv), Ok(envp), Ok(paths)) => (argv, envp, paths),
        _ => return Errno::EINVAL,
    };
    let (argv, envp) = (pointers(&argv), pointers(&envp));
    let mut search = uexec_core::lookup::Search::default();
    for path in &paths {
        // SAFETY: both lists were made from C strings that still live.
        let error = unsafe { tracer::execve(path, &argv, &envp) };
        if !search.goes_on(error) {
            return error;
        }
    }
    search.errno()
}
