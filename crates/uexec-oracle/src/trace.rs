//! Starts a program for real and stops it at its first instruction, whether the kernel or
//! `uexec run` has started it. No process outlives its [`Stopped`], nor this one.

use std::io;
use std::path::Path;

use libc::pid_t;
use uexec_core::Errno;

use crate::launch::{Exec, SETUP_FAILED, spawn};
use crate::snapshot::Snapshot;
use crate::sys::{self, Go, Status};

/// What became of a start.
#[derive(Debug)]
pub enum Outcome {
    /// The program is about to run its first instruction.
    Started(Stopped),
    /// `execve(2)` failed.
    Refused(Errno),
    /// The process was killed before the first instruction: after the point of no return.
    Died(i32),
    /// `uexec` ended with this status instead of starting the program.
    Gave(i32),
}

impl Outcome {
    /// The stopped program.
    ///
    /// # Panics
    /// When it did not start; the message says what happened instead.
    #[must_use]
    #[track_caller]
    pub fn started(self) -> Stopped {
        match self {
            Outcome::Started(stopped) => stopped,
            other => panic!("did not start: {other:?}"),
        }
    }
}

/// A program stopped before its first instruction. Dropping it kills it.
#[derive(Debug)]
pub struct Stopped {
    tracee: Tracee,
}

/// A child that is traced by this thread; killed and waited for when dropped.
#[derive(Debug)]
struct Tracee {
    pid: pid_t,
    gone: bool,
}

impl Drop for Tracee {
    fn drop(&mut self) {
        if !self.gone {
            sys::kill_and_reap(self.pid);
        }
    }
}

impl Tracee {
    /// Lets it go on, then waits for what comes next.
    fn go(&mut self, how: Go, signal: i32) -> io::Result<Status> {
        sys::resume(self.pid, how, signal)?;
        self.wait()
    }

    fn wait(&mut self) -> io::Result<Status> {
        let (_, status) = sys::wait(self.pid)?;
        self.gone = matches!(status, Status::Exited(_) | Status::Killed(_));
        Ok(status)
    }

    /// Goes on to the next stop at a system call, passing signals on. Anything else that
    /// happens is the answer.
    fn next_syscall(&mut self) -> io::Result<Result<(), Outcome>> {
        let mut signal = 0;
        loop {
            match self.go(Go::Syscall, signal)? {
                Status::Syscall => return Ok(Ok(())),
                Status::Signal(s) => signal = s,
                Status::Event(_) => signal = 0,
                Status::Exited(code) => return Ok(Err(Outcome::Gave(code))),
                Status::Killed(signal) => return Ok(Err(Outcome::Died(signal))),
            }
        }
    }
}

/// Starts a program by the kernel's exec.
///
/// # Errors
/// Those of `fork(2)` and `ptrace(2)`, and a state that could not be set up.
pub fn by_kernel(exec: &Exec) -> io::Result<Outcome> {
    let mut tracee = Tracee { pid: spawn(exec, true)?, gone: false };
    // The stop that the child makes itself.
    let status = tracee.wait()?;
    if status != Status::Signal(libc::SIGSTOP) {
        return Err(io::Error::other(format!("unexpected first stop: {status:?}")));
    }
    sys::set_options(tracee.pid, libc::PTRACE_O_TRACEEXEC | libc::PTRACE_O_TRACESYSGOOD)?;
    let (mut how, mut signal) = (Go::Cont, 0);
    loop {
        match tracee.go(how, signal)? {
            Status::Event(libc::PTRACE_EVENT_EXEC) => {
                // Still inside the call; its end is the program's beginning.
                signal = 0;
                how = Go::Syscall;
            }
            Status::Syscall => return Ok(Outcome::Started(Stopped { tracee })),
            Status::Signal(s) => signal = s,
            Status::Event(_) => signal = 0,
            Status::Killed(signal) => return Ok(Outcome::Died(signal)),
            Status::Exited(code) if code >= SETUP_FAILED => {
                let state = exec.states.get((code - SETUP_FAILED) as usize);
                return Err(io::Error::other(format!("cannot set up {state:?}")));
            }
            Status::Exited(code) => return Ok(Outcome::Refused(Errno(code as u16))),
        }
    }
}

/// Starts the same program by `uexec run OPTIONS`.
///
/// The program's beginning is found without knowing its address: the last but one thing `uexec`
/// does is `rt_sigreturn(2)`, which nothing else in it ever calls; then at most a few
/// instructions of the vdso follow.
///
/// # Errors
/// As [`by_kernel`].
pub fn by_uexec(exec: &Exec, uexec: &Path, options: &[&str]) -> io::Result<Outcome> {
    match by_kernel(&exec.through(uexec, options))? {
        Outcome::Started(stopped) => stopped.run_to_program(),
        other => Ok(other),
    }
}

impl Stopped {
    /// From the first instruction of `uexec` to that of the program.
    fn run_to_program(mut self) -> io::Result<Outcome> {
        let pid = self.tracee.pid;
        loop {
            if let Err(end) = self.tracee.next_syscall()? {
                return Ok(end);
            }
            let entry = sys::syscall_entry(pid)?;
            if entry.is_some_and(|call| call.nr == libc::SYS_rt_sigreturn as u64) {
                break;
            }
        }
        if let Err(end) = self.tracee.next_syscall()? {
            return Ok(end);
        }
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
        let vdso = maps.lines().find(|l| l.ends_with("[vdso]")).and_then(crate::snapshot::range);
        let (start, end) = vdso.unwrap_or_default();
        for _ in 0..200 {
            let rip = sys::registers(pid)?.rip;
            if !(start..end).contains(&rip) {
                return Ok(Outcome::Started(self));
            }
            match self.tracee.go(Go::Step, 0)? {
                Status::Exited(code) => return Ok(Outcome::Gave(code)),
                Status::Killed(signal) => return Ok(Outcome::Died(signal)),
                Status::Signal(libc::SIGTRAP) | Status::Syscall | Status::Event(_) => {}
                Status::Signal(s) => {
                    // A fault of its own: let it have what is coming.
                    let end = self.tracee.go(Go::Cont, s)?;
                    return Ok(match end {
                        Status::Killed(s) => Outcome::Died(s),
                        _ => Outcome::Gave(-1),
                    });
                }
            }
        }
        Err(io::Error::other("uexec does not leave the vdso"))
    }

    /// The process's id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.tracee.pid
    }

    /// Everything that can be seen of it now.
    ///
    /// # Errors
    /// Those of reading `/proc`.
    pub fn snapshot(&self) -> io::Result<Snapshot> {
        Snapshot::take(self.tracee.pid)
    }

    /// Its memory from `addr` on, as far as it can be read.
    ///
    /// # Errors
    /// `EFAULT` when not even the first byte can be.
    pub fn read(&self, addr: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        let n = sys::read_memory(self.tracee.pid, addr, &mut bytes)?;
        bytes.truncate(n);
        Ok(bytes)
    }

    /// Lets it run to its end. Returns the status, negative for the signal that killed it.
    ///
    /// # Errors
    /// Those of `ptrace(2)` and `waitpid(2)`.
    pub fn finish(mut self) -> io::Result<i32> {
        sys::detach(self.tracee.pid)?;
        loop {
            match self.tracee.wait()? {
                Status::Exited(code) => return Ok(code),
                Status::Killed(signal) => return Ok(-signal),
                _ => {}
            }
        }
    }
}
