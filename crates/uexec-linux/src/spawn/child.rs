//! The child's side: steps, choice of the program, exec of the loader. Runs in the memory of a
//! suspended caller: only system calls, no memory, no lock, no panic.

use alloc::ffi::CString;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use uexec_core::Errno;
use uexec_core::lookup::Search;

use super::Step;
use crate::ffi::{self, child as sys};

/// In place of a step's number: the exec itself.
pub const EXEC: u32 = u32::MAX;

/// Tells a waiting parent what has failed, and where. What cannot be written is lost.
pub fn report(fd: i32, errno: Errno, place: u32) {
    if let Some(report) = ffi::borrow_fd(fd) {
        let _ = rustix::io::write(report, &bytes(errno, place));
    }
}

const fn bytes(errno: Errno, place: u32) -> [u8; 8] {
    let [a, b, c, d] = (errno.0 as u32).to_ne_bytes();
    let [e, f, g, h] = place.to_ne_bytes();
    [a, b, c, d, e, f, g, h]
}

/// What [`report`] has written.
#[must_use]
pub const fn reported(bytes: [u8; 8]) -> (Errno, u32) {
    let [a, b, c, d, e, f, g, h] = bytes;
    (Errno(u32::from_ne_bytes([a, b, c, d]) as u16), u32::from_ne_bytes([e, f, g, h]))
}

/// All that the child needs, prepared by the caller.
pub(super) struct Job<'a> {
    pub(super) steps: &'a [Step<'a>],
    pub(super) candidates: &'a [CString],
    /// The first candidate that is tried.
    pub(super) from: usize,
    /// The one that was last tried.
    pub(super) picked: AtomicUsize,
    /// The loader's arguments, ended by 0; the program's path is put in by the child.
    pub(super) argv: &'a [AtomicU64],
    /// Where the program's own arguments begin.
    pub(super) program_argv: usize,
    /// Where its path goes.
    pub(super) program_path: usize,
    /// The environment, ended by 0.
    pub(super) envp: &'a [u64],
    /// -1 for the kernel's way.
    pub(super) loader: i32,
    /// -1 without one.
    pub(super) report: i32,
    /// What the report says, for a caller without one.
    pub(super) said: AtomicU64,
    /// The lowest descriptor that is not the caller's.
    pub(super) lowest: i32,
    /// One that a step names and that is not the caller's; -1 for none.
    pub(super) hidden: i32,
    /// The caller's signal mask.
    pub(super) mask: AtomicU64,
    /// Whether the kernel has not reset handlers.
    pub(super) reset_handlers: AtomicU64,
}

/// What the child runs.
///
/// # Safety
/// `word` is the address of a [`Job`] that outlives the child's use of this memory.
pub(super) unsafe extern "C" fn main(word: usize) -> ! {
    // SAFETY: the caller's promise; everything in it that changes is atomic.
    let job = unsafe { &*(word as *const Job<'_>) };
    let (errno, place) = run(job);
    job.said.store(u64::from_ne_bytes(bytes(errno, place)), Ordering::Relaxed);
    report(job.report, errno, place);
    sys::exit(127)
}

/// Returns only what has failed.
fn run(job: &Job<'_>) -> (Errno, u32) {
    if job.reset_handlers.load(Ordering::Relaxed) != 0 {
        let handled = |s: &u64| ffi::signal_handler(*s).is_ok_and(|h| h > 1);
        sys::default_signals((1..=64).filter(handled).fold(0, |set, s| set | 1 << (s - 1)));
    }
    if job.hidden >= 0 {
        sys::close(job.hidden);
    }
    let mut masked = false;
    for (step, number) in job.steps.iter().zip(0..) {
        masked |= matches!(step, Step::SignalMask(_));
        let done = match *step {
            Step::CloseFrom(from) => {
                close_from(from, job);
                Ok(())
            }
            // `open(2)` would have taken a lower number, and the copy is inherited.
            Step::Open { to, .. } if job.lowest < to => {
                step.run().and_then(|()| sys::set_cloexec(to, false))
            }
            _ => step.run(),
        };
        if let Err(errno) = done {
            return (errno, number);
        }
    }
    if !masked {
        sys::set_signal_mask(job.mask.load(Ordering::Relaxed));
    }
    if job.loader < 0 {
        return (by_kernel(job), EXEC);
    }
    if let Err(errno) = pick(job) {
        return (errno, EXEC);
    }
    // It is the loader that closes it: when it is done.
    if let Err(errno) = sys::set_cloexec(job.report, false) {
        return (errno, EXEC);
    }
    let (argv, envp) = (job.argv.as_ptr() as u64, job.envp.as_ptr() as u64);
    // SAFETY: both arrays end with 0 and hold addresses of C strings; this process is ours to give
    // away.
    (unsafe { sys::exec_fd(job.loader, argv, envp) }, EXEC)
}

/// Has the kernel execute the first candidate that it will.
fn by_kernel(job: &Job<'_>) -> Errno {
    let Some(argv) = job.argv.get(job.program_argv) else { return Errno::EINVAL };
    let (argv, envp) = ((&raw const *argv) as u64, job.envp.as_ptr() as u64);
    let mut search = Search::default();
    for (i, path) in job.candidates.iter().enumerate().skip(job.from) {
        job.picked.store(i, Ordering::Relaxed);
        // SAFETY: as with the loader.
        let errno = unsafe { sys::exec_path(path, argv, envp) };
        if !search.goes_on(errno) {
            break;
        }
    }
    search.errno()
}

/// Closes all from this number on but what the child still needs.
fn close_from(from: i32, job: &Job<'_>) {
    let (low, high) = (job.report.min(job.loader), job.report.max(job.loader));
    let between = |from: i32, to: i32| {
        if from <= to {
            sys::close_range(from, to);
        }
    };
    between(from, low - 1);
    between(from.max(low + 1), high - 1);
    between(from.max(high + 1), i32::MAX);
}

/// Puts the path of the first candidate that can be executed into the loader's arguments. A single
/// one is left to the loader to judge.
fn pick(job: &Job<'_>) -> Result<(), Errno> {
    let (Some(argv), Some(slot)) = (job.argv.get(job.program_argv), job.argv.get(job.program_path))
    else {
        return Err(Errno::EINVAL);
    };
    let mut search = Search::default();
    for (i, path) in job.candidates.iter().enumerate().skip(job.from) {
        job.picked.store(i, Ordering::Relaxed);
        slot.store(path.as_ptr() as u64, Ordering::Relaxed);
        if job.candidates.len() == 1 {
            return Ok(());
        }
        let argv = (&raw const *argv) as u64;
        // SAFETY: the rest of the loader's arguments are the program's.
        match unsafe { sys::check_exec(path, argv, job.envp.as_ptr() as u64) } {
            Ok(()) => return Ok(()),
            Err(errno) if search.goes_on(errno) => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(search.errno())
}
