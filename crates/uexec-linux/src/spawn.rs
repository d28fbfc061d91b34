//! Starts a program in a new process, loaded by uexec, without copying the caller's page tables.
//!
//! The child shares the caller's memory while the caller waits, does its [steps](Step) by system
//! calls alone, and then executes uexec's loader, which has fresh memory and loads the program
//! there. So the time it takes does not grow with the caller, which waits at a pipe that the child and
//! then the loader hold: what fails before the program's point of no return comes back through it, and
//! it ends when that point is passed.
//!
//! Never allocates, locks or calls a C library in the child.

mod apart;
mod child;
mod loader;
mod steps;
mod wait;

use alloc::ffi::CString;
use alloc::vec::Vec;
use core::ffi::CStr;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use rustix::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use uexec_core::Errno;
use uexec_core::clone::{CloneArgs, CloneFacts, CloneFlags, Entry, SIGCHLD, decide};
use uexec_core::lookup::{SHELL, Search};

use crate::create::{Created, Start, create};
use crate::ffi::{child as sys, errno};
use child::Job;
pub use child::{EXEC, report, reported};
pub use loader::{Loader, TAG};
pub use steps::{Step, run_steps};

/// A program to be started in a new process.
#[derive(Clone, Copy, Debug)]
pub struct Spawn<'a> {
    /// What the child executes to load the program; without one it has the kernel execute the
    /// program itself.
    pub loader: Option<&'a Loader>,
    /// What the child does before, in order. Signals are blocked meanwhile; the mask is the
    /// caller's afterwards unless a step sets it, which should be the last. Signals with a handler
    /// have their default action.
    pub steps: &'a [Step<'a>],
    /// The program's path, or several that are tried in this order as `execvp(3)` does.
    pub candidates: &'a [CString],
    /// A file that is no program is run by `/bin/sh`, as `execvp(3)` does (ERR-70).
    pub shell: bool,
    /// The arguments, `argv[0]` first.
    pub argv: &'a [&'a CStr],
    /// The environment.
    pub envp: &'a [&'a CStr],
    /// A descriptor of the child is wanted.
    pub pidfd: bool,
}

/// A process that runs, or has run, the program.
#[derive(Debug)]
pub struct Spawned {
    /// Its number in the caller's pid namespace.
    pub pid: i32,
    /// Its descriptor, close-on-exec, if one was wanted.
    pub pidfd: Option<OwnedFd>,
}

/// Why no program was started. The child, if there was one, is gone and waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A call of the caller's own: no pipe, no process.
    Call(&'static str, Errno),
    /// The step with this index.
    Step(usize, Errno),
    /// The program with this index among the candidates, or the search as a whole.
    Exec(usize, Errno),
}

impl Failure {
    /// What the kernel said.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        match *self {
            Failure::Call(_, errno) | Failure::Step(_, errno) | Failure::Exec(_, errno) => errno,
        }
    }
}

impl Spawn<'_> {
    /// Starts it. Returns when the program has passed its point of no return.
    ///
    /// # Errors
    /// What the kernel would have said: of the steps those of their calls, of the program those of
    /// `execve(2)`, of the process `EAGAIN` (`RLIMIT_NPROC`) and `ENOMEM`, of pipe and descriptor
    /// `EMFILE` and `ENFILE`.
    ///
    /// # Safety
    /// The steps close and replace descriptors of the child; those that the caller passes on to the
    /// program or names in a step have to be open.
    pub unsafe fn spawn(&self) -> Result<Spawned, Failure> {
        let mut search = Search::default();
        let mut from = 0;
        loop {
            let failure = match self.once(from) {
                Err(failure @ Failure::Exec(..)) => failure,
                other => return other,
            };
            let (Failure::Exec(index, errno), [_, _, ..]) = (failure, self.candidates) else {
                return self.by_shell(failure);
            };
            let goes_on = search.goes_on(errno);
            if !goes_on || index + 1 >= self.candidates.len() {
                return self.by_shell(Failure::Exec(index, search.errno()));
            }
            from = index + 1;
        }
    }

    /// A file that is no program is a script for the shell, if that is wanted.
    fn by_shell(&self, failure: Failure) -> Result<Spawned, Failure> {
        let Failure::Exec(index, Errno::ENOEXEC) = failure else { return Err(failure) };
        let Some(file) = self.candidates.get(index).filter(|_| self.shell) else {
            return Err(failure);
        };
        let shell = [CString::new(SHELL).unwrap_or_default()];
        let mut argv = alloc::vec![shell[0].as_c_str(), file.as_c_str()];
        argv.extend(self.argv.iter().skip(1));
        Spawn { candidates: &shell, shell: false, argv: &argv, ..*self }.once(0)
    }

    /// One child, for the first candidate from `from` on that can be executed.
    fn once(&self, from: usize) -> Result<Spawned, Failure> {
        let fail = |call| move |e| Failure::Call(call, errno(e));
        let pipe = match rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC) {
            Ok(ends) => Some(ends),
            // The kernel's own exec does without: the caller is stopped until then.
            Err(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) if self.loader.is_none() => {
                None
            }
            Err(e) => return Err(fail("pipe2")(e)),
        };
        let (reports, report) = pipe.unzip();
        let fcntl = |e| Failure::Call("fcntl", e);
        let away = |fd: Option<OwnedFd>| {
            fd.map(|fd| apart::away(self.steps, fd)).transpose().map_err(fcntl)
        };
        let (reports, report) = (away(reports)?, away(report)?);
        let number = |fd: &OwnedFd| fd.as_raw_fd();
        let own = self.loader.map(Loader::as_fd);
        let moved = own.map(|fd| apart::copy(self.steps, fd)).transpose().map_err(fcntl)?.flatten();
        let loader = moved.as_ref().map(AsFd::as_fd).or(own);

        let words = loader::Words::new(report.as_ref().map_or(-1, number));
        let argv = words.argv(self.argv);
        let envp: Vec<u64> = self.envp.iter().map(|s| s.as_ptr() as u64).chain([0]).collect();
        let job = Job {
            steps: self.steps,
            candidates: self.candidates,
            from,
            picked: AtomicUsize::new(from),
            argv: &argv,
            program_argv: loader::PROGRAM_ARGV,
            program_path: loader::PROGRAM_PATH,
            envp: &envp,
            loader: loader.as_ref().map_or(-1, AsRawFd::as_raw_fd),
            report: report.as_ref().map_or(-1, number),
            said: AtomicU64::new(0),
            lowest: [
                reports.as_ref().map(number),
                report.as_ref().map(number),
                own.map(|fd| fd.as_raw_fd()),
            ]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(i32::MAX),
            hidden: moved.as_ref().and(own).as_ref().map_or(-1, AsRawFd::as_raw_fd),
            mask: AtomicU64::new(0),
            reset_handlers: AtomicU64::new(0),
        };
        // Used by the child until its exec, or until it is waited for.
        let mut stack = Vec::<Stack>::with_capacity(1);
        let (pid, pidfd) = self.child(&job, stack.as_mut_ptr())?;
        drop(report);
        let said = match &reports {
            Some(reports) => wait::report(pid, reports.as_fd(), job.report),
            None => Some(job.said.load(Ordering::Relaxed).to_ne_bytes()).filter(|s| *s != [0; 8]),
        };
        let Some(said) = said else {
            // The point of no return is passed, or the child was killed, which its parent will see.
            return Ok(Spawned { pid, pidfd });
        };
        reap(pid);
        let (errno, place) = reported(said);
        Err(match place {
            EXEC => Failure::Exec(job.picked.load(Ordering::Relaxed), errno),
            step => Failure::Step(step as usize, errno),
        })
    }

    /// Makes the child. That it has let go of this memory is seen at the pipe: being woken for it by
    /// the kernel as well would only take time.
    fn child(&self, job: &Job<'_>, stack: *mut Stack) -> Result<(i32, Option<OwnedFd>), Failure> {
        let mut pidfd = -1i32;
        let mut flags = CloneFlags::CLONE_VM | CloneFlags::CLONE_CLEAR_SIGHAND;
        flags.set(CloneFlags::CLONE_PIDFD, self.pidfd);
        flags.set(CloneFlags::CLONE_VFORK, job.report < 0);
        let args = CloneArgs {
            pidfd: (&raw mut pidfd) as u64,
            exit_signal: SIGCHLD as u64,
            stack: stack as u64,
            stack_size: size_of::<Stack>() as u64,
            ..CloneArgs::clone3(flags)
        };
        // Nothing may run in the child but what it is meant to: no handler of the caller's.
        job.mask.store(sys::set_signal_mask(!0), Ordering::Relaxed);
        let mut made = make(&args, job);
        if matches!(made, Err(Errno::ENOSYS | Errno::EINVAL)) {
            // Before Linux 5.5, or in a sandbox that knows only the old call.
            job.reset_handlers.store(1, Ordering::Relaxed);
            flags.remove(CloneFlags::CLONE_CLEAR_SIGHAND);
            let old = CloneArgs {
                entry: Entry::Clone,
                flags: flags | CloneFlags::CLONE_VFORK,
                parent_tid: (&raw mut pidfd) as u64,
                stack: 0,
                stack_size: 0,
                ..args
            };
            made = make(&old, job);
        }
        sys::set_signal_mask(job.mask.load(Ordering::Relaxed));
        let pid = made.map_err(|e| Failure::Call("clone", e))?;
        // SAFETY: the kernel has stored a new descriptor there, which nobody else knows.
        let pidfd = (pidfd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(pidfd) });
        Ok((pid, pidfd))
    }
}

/// What the child stands on. It calls nothing that is deep.
#[repr(align(16))]
struct Stack(#[allow(dead_code, reason = "only its address is used")] [u8; 32 << 10]);

/// A child that works on the job.
fn make(args: &CloneArgs, job: &Job<'_>) -> Result<i32, Errno> {
    // The kernel's own answer is the one that counts: what it depends on is not asked beforehand.
    let plan = decide(args, CloneArgs::SIZE, &CloneFacts::default()).map_err(|e| e.errno())?;
    let start = Start::Call(child::main, (&raw const *job) as usize);
    // SAFETY: the pidfd's address is a live local's. The child shares memory and has a stack of its
    // own, or the caller waits for it (CLONE_VFORK), so that it may use what lies below this frame;
    // it only reads the job and writes its atomics, and `main` ends in an exec or an exit. Job and
    // stack are there until `once` has seen the other end of the pipe closed, by the exec or the
    // death, or has waited for the child.
    match unsafe { create(args, &plan, start) }? {
        Created::Parent(pid) => Ok(pid),
        // It has called `main` instead.
        Created::Child => Err(Errno::ENOSYS),
    }
}

/// Waits for a child that has failed, so that it does not stay a zombie.
fn reap(pid: i32) {
    let Some(pid) = rustix::process::Pid::from_raw(pid) else { return };
    let wait = || rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
    let _ = rustix::io::retry_on_intr(wait);
}
