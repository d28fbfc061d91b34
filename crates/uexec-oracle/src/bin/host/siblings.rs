//! Other threads, each in a state in which an exec may find it, and able to show that it still runs.
//!
//! Kinds: `pause`, `busy`, `read`; `libc` and `raw`, which block all signals through the C library
//! or behind its back (every second one busy, the others reading); `malloc`, which holds the
//! allocator's only lock most of the time; `rival`, which stops all other threads again and again, as
//! for an exec of its own; `vfork`, which waits for a child that shares its memory.

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64};
use std::time::{Duration, Instant};

use libc::{c_int, c_void};
use uexec_linux::exec::Exec;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Pause,
    Busy,
    Read,
    Malloc,
    Rival,
    Vfork,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blocked {
    Nothing,
    ByLibc,
    Raw,
}

/// What can be seen of a thread from outside.
#[derive(Debug, Default)]
struct Shown {
    tid: AtomicI32,
    /// How often it has come round.
    rounds: AtomicU64,
}

/// A thread that is not started yet.
#[derive(Debug)]
pub(crate) struct Sibling {
    kind: Kind,
    blocked: Blocked,
    shown: Arc<Shown>,
    input: PipeReader,
    output_fd: c_int,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Siblings {
    all: Vec<(Kind, Arc<Shown>, PipeWriter)>,
}

/// Set when all threads there are to be have been made: while one execs, or asks the kernel whether it
/// could, others cannot make threads (`EAGAIN` of `clone(2)`).
static ALL_MADE: AtomicBool = AtomicBool::new(false);

extern "C" fn nothing(_: c_int) {}

impl Siblings {
    /// Starts threads of these kinds.
    pub(crate) fn start(kinds: &[&str]) -> Result<Siblings, String> {
        let nothing: extern "C" fn(c_int) = nothing;
        // SAFETY: the handler does nothing.
        unsafe { libc::signal(libc::SIGUSR1, nothing as libc::sighandler_t) };
        let mut siblings = Siblings::default();
        for kind in kinds {
            let sibling = siblings.add(kind)?;
            std::thread::spawn(move || sibling.run());
        }
        Ok(siblings)
    }

    /// One more, to be run by whoever calls.
    pub(crate) fn add(&mut self, name: &str) -> Result<Sibling, String> {
        let odd = if self.all.len() % 2 == 1 { Kind::Read } else { Kind::Busy };
        let (kind, blocked) = match name {
            "pause" => (Kind::Pause, Blocked::Nothing),
            "busy" => (Kind::Busy, Blocked::Nothing),
            "read" => (Kind::Read, Blocked::Nothing),
            "vfork" => (Kind::Vfork, Blocked::Nothing),
            "rival" => (Kind::Rival, Blocked::Nothing),
            "malloc" => {
                // One arena for all threads.
                // SAFETY: numbers only.
                unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
                (Kind::Malloc, Blocked::Nothing)
            }
            "libc" => (odd, Blocked::ByLibc),
            "raw" => (odd, Blocked::Raw),
            other => return Err(format!("no kind {other:?}")),
        };
        let (input, output) = std::io::pipe().map_err(|e| e.to_string())?;
        let shown = Arc::new(Shown::default());
        let output_fd = output.as_raw_fd();
        self.all.push((kind, Arc::clone(&shown), output));
        Ok(Sibling { kind, blocked, shown, input, output_fd })
    }

    /// Waits until each is where it is to be.
    pub(crate) fn wait_until_in_place(&self) {
        ALL_MADE.store(true, SeqCst);
        for (kind, shown, _) in &self.all {
            while shown.tid.load(SeqCst) == 0 {
                std::thread::yield_now();
            }
            let path = format!("/proc/self/task/{}/stat", shown.tid.load(SeqCst));
            let wanted = match kind {
                Kind::Busy | Kind::Malloc | Kind::Rival => continue,
                Kind::Pause | Kind::Read => ") S",
                Kind::Vfork => ") D",
            };
            while !std::fs::read_to_string(&path).is_ok_and(|s| s.contains(wanted)) {
                std::thread::yield_now();
            }
        }
    }

    /// Whether all of them still run, each seen to come round once more.
    pub(crate) fn all_run(&self) -> ExitCode {
        for (kind, shown, mut output) in self.all.iter().map(|(k, s, o)| (k, s, o)) {
            let before = shown.rounds.load(SeqCst);
            let tid = shown.tid.load(SeqCst);
            match kind {
                Kind::Busy | Kind::Malloc | Kind::Rival => {}
                Kind::Pause => {
                    // SAFETY: the signal has a handler that does nothing.
                    unsafe {
                        libc::syscall(libc::SYS_tgkill, std::process::id(), tid, libc::SIGUSR1)
                    };
                }
                Kind::Read | Kind::Vfork => drop(output.write_all(b"x")),
            }
            let start = Instant::now();
            while shown.rounds.load(SeqCst) == before {
                if start.elapsed() > Duration::from_secs(20) {
                    return crate::complain(&format!("a thread in {kind:?} does not run any more"));
                }
                std::thread::sleep(Duration::from_micros(100));
            }
        }
        ExitCode::SUCCESS
    }
}

/// Ends this process, and runs nothing: the standard library's exit would unmap the alternate signal
/// stack of the main thread, which may still get a signal.
pub(crate) fn exit(worked: bool) -> ! {
    let status = if worked { 0 } else { i32::from(crate::FAILED) };
    // SAFETY: numbers only.
    unsafe { libc::_exit(status) }
}

/// Ends this thread, and nothing else.
pub(crate) fn end_thread() -> ! {
    loop {
        // SAFETY: nothing of this thread's is used by others.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    }
}

/// Whether the leader has ended.
pub(crate) fn is_leader_dead() -> bool {
    std::fs::read_to_string("/proc/self/stat").is_ok_and(|s| s.contains(") Z"))
}

impl Sibling {
    /// Is in its state for ever.
    pub(crate) fn run(self) -> ! {
        let all = u64::MAX;
        match self.blocked {
            Blocked::Nothing => {}
            Blocked::ByLibc => {
                // SAFETY: a signal set is plain bits.
                let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
                // SAFETY: the set is valid.
                unsafe { libc::sigfillset(&raw mut set) };
                // SAFETY: likewise.
                unsafe {
                    libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut())
                };
            }
            Blocked::Raw => {
                let none = std::ptr::null_mut::<u64>();
                // SAFETY: reads 8 bytes.
                unsafe { libc::syscall(libc::SYS_rt_sigprocmask, 0, &raw const all, none, 8) };
            }
        }
        // SAFETY: asks for a number.
        self.shown.tid.store(unsafe { libc::gettid() }, SeqCst);
        loop {
            match self.kind {
                Kind::Pause => {
                    // SAFETY: waits for any signal.
                    unsafe { libc::pause() };
                }
                Kind::Busy => std::hint::spin_loop(),
                // Too large for a cache of its own.
                Kind::Malloc => drop(std::hint::black_box(vec![0u8; 5000])),
                Kind::Read => {
                    let _ = (&self.input).read(&mut [0]);
                }
                Kind::Rival if !ALL_MADE.load(SeqCst) => std::thread::yield_now(),
                Kind::Rival => drop(Exec::new("/bin/sh").rehearse()),
                Kind::Vfork => self.wait_for_child(),
            }
            self.shown.rounds.fetch_add(1, SeqCst);
        }
    }

    fn wait_for_child(&self) {
        let mut stack = vec![0u64; 8192];
        let fds = [self.input.as_raw_fd(), self.output_fd];
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        let top = stack.as_mut_ptr_range().end.cast::<c_void>();
        // SAFETY: the child has a stack of its own that outlives it, as this thread waits.
        unsafe { libc::clone(child, top, flags, (&raw const fds).cast_mut().cast()) };
    }
}

/// Waits for a byte, or for the end of whoever could send one.
extern "C" fn child(fds: *mut c_void) -> c_int {
    // SAFETY: the parent's array, which waits.
    let [input, output] = unsafe { fds.cast::<[c_int; 2]>().read() };
    let mut byte = 0u8;
    // SAFETY: numbers only; the child's table of descriptors is its own.
    unsafe { libc::close(output) };
    // SAFETY: writes one byte.
    unsafe { libc::syscall(libc::SYS_read, input, &raw mut byte, 1usize) };
    // SAFETY: ends this process alone, running nothing.
    unsafe { libc::syscall(libc::SYS_exit_group, 0) };
    0
}
