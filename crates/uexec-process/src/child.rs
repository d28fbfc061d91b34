//! A started process: waiting, killing, reading what it says. Starts nothing.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{ChildStderr, ChildStdin, ChildStdout, ExitStatus, Output};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, pidfd_send_signal, waitpid};

/// A process started by [`Command`](crate::Command): as [`std::process::Child`]. Dropping it
/// neither waits nor kills.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    status: Option<ExitStatus>,
    pidfd: Option<OwnedFd>,
    /// The writing end of its standard input, if that is a pipe.
    pub stdin: Option<ChildStdin>,
    /// The reading end of its standard output, if that is a pipe.
    pub stdout: Option<ChildStdout>,
    /// The reading end of its standard error, if that is a pipe.
    pub stderr: Option<ChildStderr>,
}

impl Child {
    pub(crate) fn new(pid: Pid, pidfd: Option<OwnedFd>, ends: [Option<OwnedFd>; 3]) -> Child {
        let [stdin, stdout, stderr] = ends;
        Child {
            pid,
            status: None,
            pidfd,
            stdin: stdin.map(ChildStdin::from),
            stdout: stdout.map(ChildStdout::from),
            stderr: stderr.map(ChildStderr::from),
        }
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Sends `SIGKILL`; nothing happens to a process that has been waited for.
    ///
    /// # Errors
    /// Those of `kill(2)`.
    pub fn kill(&mut self) -> io::Result<()> {
        if self.status.is_some() {
            return Ok(());
        }
        match &self.pidfd {
            Some(pidfd) => pidfd_send_signal(pidfd, Signal::KILL)?,
            None => kill_process(self.pid, Signal::KILL)?,
        }
        Ok(())
    }

    /// Closes its standard input and waits for its end; the answer is kept.
    ///
    /// # Errors
    /// Those of `waitpid(2)`: `ECHILD` when somebody else has waited for it, or `SIGCHLD` is
    /// ignored.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        drop(self.stdin.take());
        loop {
            if let Some(status) = self.poll(WaitOptions::empty())? {
                return Ok(status);
            }
        }
    }

    /// Its exit status if it has ended; does not wait.
    ///
    /// # Errors
    /// Those of `waitpid(2)`.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.poll(WaitOptions::NOHANG)
    }

    fn poll(&mut self, options: WaitOptions) -> io::Result<Option<ExitStatus>> {
        if self.status.is_none() {
            let waited = rustix::io::retry_on_intr(|| waitpid(Some(self.pid), options))?;
            self.status = waited.map(|(_, status)| ExitStatus::from_raw(status.as_raw()));
        }
        Ok(self.status)
    }

    /// Closes its standard input, reads all of its output and errors at the same time, and waits
    /// for its end.
    ///
    /// # Errors
    /// Those of reading and of [`Child::wait`].
    pub fn wait_with_output(mut self) -> io::Result<Output> {
        drop(self.stdin.take());
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        match (self.stdout.take(), self.stderr.take()) {
            (None, None) => {}
            (Some(mut out), None) => {
                out.read_to_end(&mut stdout)?;
            }
            (None, Some(mut err)) => {
                err.read_to_end(&mut stderr)?;
            }
            (Some(out), Some(err)) => read_both((out, &mut stdout), (err, &mut stderr))?,
        }
        let status = self.wait()?;
        Ok(Output { status, stdout, stderr })
    }

    /// The process's descriptor (`pidfd_open(2)`).
    ///
    /// # Errors
    /// `Unsupported` when [`Command::create_pidfd`](crate::Command::create_pidfd) had not asked
    /// for one.
    pub fn pidfd(&self) -> io::Result<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(AsFd::as_fd).ok_or_else(no_pidfd)
    }

    /// The process's descriptor, to be kept.
    ///
    /// # Errors
    /// As [`Child::pidfd`]; the child comes back.
    pub fn into_pidfd(mut self) -> Result<OwnedFd, Child> {
        self.pidfd.take().ok_or(self)
    }
}

fn no_pidfd() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "no pidfd was asked for")
}

/// A stream and where what it says goes.
type Reading<'a, T> = (T, &'a mut Vec<u8>);

/// Reads both to their ends, whichever has something.
fn read_both(a: Reading<'_, ChildStdout>, b: Reading<'_, ChildStderr>) -> io::Result<()> {
    let ((mut a, into_a), (mut b, into_b)) = (a, b);
    rustix::io::ioctl_fionbio(&a, true)?;
    rustix::io::ioctl_fionbio(&b, true)?;
    let (mut a_open, mut b_open) = (true, true);
    while a_open && b_open {
        let mut fds = [PollFd::new(&a, PollFlags::IN), PollFd::new(&b, PollFlags::IN)];
        rustix::io::retry_on_intr(|| poll(&mut fds, None))?;
        let [ready_a, ready_b] = [!fds[0].revents().is_empty(), !fds[1].revents().is_empty()];
        if ready_a {
            a_open = !ended(a.read_to_end(into_a))?;
        }
        if ready_b {
            b_open = !ended(b.read_to_end(into_b))?;
        }
    }
    if a_open {
        rustix::io::ioctl_fionbio(&a, false)?;
        a.read_to_end(into_a)?;
    }
    if b_open {
        rustix::io::ioctl_fionbio(&b, false)?;
        b.read_to_end(into_b)?;
    }
    Ok(())
}

/// Whether a reading came to the end rather than to where it would have to wait.
fn ended(read: io::Result<usize>) -> io::Result<bool> {
    match read {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(e) => Err(e),
    }
}
