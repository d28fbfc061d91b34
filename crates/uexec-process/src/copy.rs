//! A child that is a copy of this process, for closures that may do anything: as std does it.
//! Decides nothing.

use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};

use uexec_core::{Errno, ExecError};
use uexec_linux::spawn::{self, EXEC, Failure, Spawned, Step, run_steps};

use crate::command::Closure;

/// Carries steps and closures out on this process.
#[allow(unsafe_code, reason = "replaces descriptors of a process that is to be replaced itself")]
pub(crate) fn set_up(steps: &[Step<'_>], closures: &mut [Closure]) -> Result<(), (usize, Errno)> {
    // SAFETY: only standard streams are replaced, and what comes next is an exec.
    unsafe { run_steps(steps) }?;
    for closure in closures {
        closure().map_err(|e| (steps.len(), crate::start::errno(&e)))?;
    }
    Ok(())
}

/// Forks; the child sets itself up and then becomes the program.
#[allow(unsafe_code, reason = "fork(2), as std does it")]
pub(crate) fn start(
    steps: &[Step<'_>],
    closures: &mut [Closure],
    become_it: &dyn Fn() -> ExecError,
    pidfd: bool,
) -> Result<Spawned, Failure> {
    let failed =
        |call: &'static str| move |e: std::io::Error| Failure::Call(call, crate::start::errno(&e));
    let (mut reports, report) = std::io::pipe().map_err(failed("pipe2"))?;
    // SAFETY: as with std, the closures' author has promised that they can be run in a child of
    // a process with several threads; the rest of what the child does allocates, which glibc's
    // fork makes possible.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(failed("fork")(std::io::Error::last_os_error()));
    }
    if pid == 0 {
        drop(reports);
        let (place, errno) = match set_up(steps, closures) {
            Ok(()) => (EXEC, become_it().errno()),
            Err((i, errno)) => (i as u32, errno),
        };
        spawn::report(report.as_raw_fd(), errno, place);
        // SAFETY: ends this process without running anything of the parent's.
        unsafe { libc::_exit(1) }
    }
    drop(report);
    let handle = match pidfd.then(|| open_pidfd(pid)).transpose() {
        Ok(handle) => handle,
        Err(errno) => return Err(Failure::Call("pidfd_open", errno)),
    };
    let mut said = [0u8; 8];
    if reports.read_exact(&mut said).is_err() {
        // Its end: the pipe was close-on-exec.
        return Ok(Spawned { pid, pidfd: handle });
    }
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        let wait = || rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
        let _ = rustix::io::retry_on_intr(wait);
    }
    let (errno, place) = spawn::reported(said);
    Err(match place {
        EXEC => Failure::Exec(0, errno),
        step => Failure::Step(step as usize, errno),
    })
}

/// The child has not been waited for, so that its number is still its own.
fn open_pidfd(pid: i32) -> Result<OwnedFd, Errno> {
    let pid = rustix::process::Pid::from_raw(pid).ok_or(Errno::EINVAL)?;
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
        .map_err(|e| Errno(e.raw_os_error() as u16))
}
