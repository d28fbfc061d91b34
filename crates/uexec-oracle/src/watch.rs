//! Lists the exec system calls that a command and all its children make, whether they succeed or
//! not. Changes nothing about them.

use std::collections::BTreeSet;
use std::io;

use crate::launch::{Exec, spawn};
use crate::sys::{self, Go, Status};

/// A call of `execve(2)` or `execveat(2)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecCall {
    /// `execveat(2)`.
    pub at: bool,
    /// The flags of `execveat(2)`.
    pub flags: u64,
    /// The path as given.
    pub path: String,
}

/// `AT_EXECVE_CHECK` of `execveat(2)`, Linux 6.14: asks and never executes.
const AT_EXECVE_CHECK: u64 = 0x1_0000;

impl ExecCall {
    /// Whether it only asks if a file may be executed.
    #[must_use]
    pub const fn only_asks(&self) -> bool {
        self.at && self.flags & AT_EXECVE_CHECK != 0
    }
}

/// Runs a command to its end under `ptrace(2)`, stopping at every system call of it and of its
/// descendants. Returns the exec calls in the order in which they were made, the start of the
/// command itself first, and the command's status, negative for a signal.
///
/// # Errors
/// Those of `fork(2)` and `ptrace(2)`.
pub fn exec_calls(exec: &Exec) -> io::Result<(Vec<ExecCall>, i32)> {
    let first = spawn(exec, true)?;
    let mut all = Family(BTreeSet::from([first]));
    let mut calls = Vec::new();
    let (_, status) = sys::wait(first)?;
    if status != Status::Signal(libc::SIGSTOP) {
        return Err(io::Error::other(format!("unexpected first stop: {status:?}")));
    }
    let forks = libc::PTRACE_O_TRACEFORK | libc::PTRACE_O_TRACEVFORK | libc::PTRACE_O_TRACECLONE;
    sys::set_options(first, forks | libc::PTRACE_O_TRACEEXEC | libc::PTRACE_O_TRACESYSGOOD)?;
    sys::resume(first, Go::Syscall, 0)?;
    let mut result = 0;
    while !all.0.is_empty() {
        let (pid, status) = sys::wait(-1)?;
        let signal = match status {
            Status::Exited(_) | Status::Killed(_) => {
                if pid == first {
                    result = match status {
                        Status::Exited(code) => code,
                        Status::Killed(signal) => -signal,
                        _ => 0,
                    };
                }
                all.0.remove(&pid);
                continue;
            }
            Status::Syscall => {
                calls.extend(exec_call(pid)?);
                0
            }
            Status::Event(
                libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE,
            ) => {
                all.0.insert(sys::event_message(pid)? as i32);
                0
            }
            Status::Event(_) => 0,
            // The stop a new child begins with.
            Status::Signal(libc::SIGSTOP) if all.0.insert(pid) || pid != first => 0,
            Status::Signal(s) => s,
        };
        match sys::resume(pid, Go::Syscall, signal) {
            // Killed meanwhile: its end is reported next.
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => {}
            other => other?,
        }
    }
    Ok((calls, result))
}

/// All that are traced; killed when dropped, should an error end the watching early.
struct Family(BTreeSet<i32>);

impl Drop for Family {
    fn drop(&mut self) {
        for pid in &self.0 {
            sys::kill_and_reap(*pid);
        }
    }
}

fn exec_call(pid: i32) -> io::Result<Option<ExecCall>> {
    let Some(call) = sys::syscall_entry(pid)? else { return Ok(None) };
    let at = call.nr == libc::SYS_execveat as u64;
    if !at && call.nr != libc::SYS_execve as u64 {
        return Ok(None);
    }
    let (path, flags) = if at { (call.args[1], call.args[4]) } else { (call.args[0], 0) };
    let mut bytes = vec![0; 4096];
    // The path may lie near the end of its mapping.
    let to_page_end = 4096 - (path % 4096) as usize;
    let mut n = sys::read_memory(pid, path, &mut bytes[..to_page_end]).unwrap_or(0);
    if n == to_page_end && !bytes[..n].contains(&0) {
        n += sys::read_memory(pid, path + n as u64, &mut bytes[n..]).unwrap_or(0);
    }
    let end = bytes[..n].iter().position(|b| *b == 0).unwrap_or(n);
    Ok(Some(ExecCall { at, flags, path: String::from_utf8_lossy(&bytes[..end]).into_owned() }))
}
