//! Stops all threads of a process by `ptrace(2)` and lets them go on. No option makes the kernel
//! kill them with their tracer.

use alloc::vec::Vec;

use rustix::fs::{Mode, OFlags, openat};
use uexec_core::Errno;

use super::DumpError;
use crate::ffi::{dump, thread};
use crate::procfs::Text;

/// A stopped process. All of its threads are traced by the calling thread, which is the only one
/// that may use it; they go on when it is dropped.
#[derive(Debug)]
pub struct Stopped {
    pid: i32,
    /// Every thread, with the signal it is about to get.
    threads: Vec<(i32, i32)>,
    /// The thread whose signal the dump is about.
    dying: Option<i32>,
    /// Whether the threads are let go at the end.
    detach: bool,
}

/// How often a thread is asked whether it has stopped, and how long is waited in between: 10 s.
const PATIENCE: (u32, u64) = (50_000, 200);

impl Stopped {
    /// Stops a process.
    ///
    /// # Errors
    /// `ESRCH`, `EPERM` of `ptrace(2)`; `EAGAIN` when a thread does not stop.
    pub fn seize(pid: i32) -> Result<Stopped, DumpError> {
        let mut this = Stopped { pid, threads: Vec::new(), dying: None, detach: true };
        let mut refused = Vec::new();
        // Threads may start others until they have stopped.
        loop {
            let mut seen: Vec<i32> = this.tids();
            seen.extend_from_slice(&refused);
            seen.sort_unstable();
            let mut fresh: Vec<i32> = threads(pid)?;
            fresh.retain(|tid| seen.binary_search(tid).is_err());
            if fresh.is_empty() {
                break;
            }
            let before = this.threads.len();
            for tid in fresh {
                match dump::seize(tid, 0) {
                    Ok(()) => this.threads.push((tid, 0)),
                    // The main thread may have ended before the others; some threads are the
                    // kernel's.
                    Err(Errno::EPERM) if is_dead(tid) || tid != pid && !this.threads.is_empty() => {
                        refused.push(tid);
                    }
                    Err(Errno::ESRCH) if tid != pid => refused.push(tid),
                    Err(e) => return Err(DumpError::process("trace", tid)(e)),
                }
            }
            let mut ended = Vec::new();
            for (tid, _) in this.threads.get(before..).unwrap_or_default() {
                let _ = thread::ptrace(thread::Trace::Interrupt, *tid, 0);
            }
            for (tid, signal) in this.threads.get_mut(before..).unwrap_or_default() {
                match wait_stopped(*tid) {
                    Ok(pending) => *signal = pending,
                    Err(Errno::EAGAIN) => {
                        return Err(DumpError::process("stop thread", *tid)(Errno::EAGAIN));
                    }
                    Err(_) => ended.push(*tid),
                }
            }
            this.threads.retain(|(tid, _)| !ended.contains(tid));
            refused.extend(ended);
        }
        if this.threads.is_empty() {
            return Err(DumpError::process("trace", pid)(Errno::ESRCH));
        }
        Ok(this)
    }

    /// A process all of whose threads the caller has already stopped by tracing them; `dying` is the
    /// one that is about to get the signal the dump is for. They stay stopped and traced.
    #[must_use]
    pub fn held(pid: i32, tids: &[i32], dying: i32) -> Stopped {
        let threads = tids.iter().map(|tid| (*tid, 0)).collect();
        Stopped { pid, threads, dying: Some(dying), detach: false }
    }

    /// The process.
    #[must_use]
    pub const fn pid(&self) -> i32 {
        self.pid
    }

    /// Its threads: the dying one, else the main one, first.
    #[must_use]
    pub fn tids(&self) -> Vec<i32> {
        let mut tids: Vec<i32> = self.threads.iter().map(|(tid, _)| *tid).collect();
        let first = self.dying.unwrap_or(self.pid);
        tids.sort_by_key(|tid| *tid != first);
        tids
    }

    /// The thread that is about to die.
    #[must_use]
    pub const fn dying(&self) -> Option<i32> {
        self.dying
    }

    /// A thread through which memory and mappings can be seen: a main thread that has ended has
    /// none.
    pub(super) fn looked_at(&self) -> i32 {
        let has_main = self.threads.iter().any(|(tid, _)| *tid == self.pid);
        let first = self.threads.first().map_or(self.pid, |(tid, _)| *tid);
        if has_main { self.pid } else { first }
    }

    /// Whether the process has been killed meanwhile.
    pub(super) fn is_gone(&self) -> bool {
        is_dead(self.looked_at())
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if !self.detach {
            return;
        }
        for (tid, signal) in &self.threads {
            // One that has not stopped yet cannot be let go; wait for it a little.
            if thread::ptrace(thread::Trace::Detach, *tid, *signal as u64).is_err()
                && let Ok(signal) = wait_stopped(*tid)
            {
                let _ = thread::ptrace(thread::Trace::Detach, *tid, signal as u64);
            }
        }
    }
}

/// Waits until a thread has stopped; the signal it is about to get, or 0.
fn wait_stopped(tid: i32) -> Result<i32, Errno> {
    for _ in 0..PATIENCE.0 {
        match thread::wait(tid, thread::WNOHANG)? {
            None => thread::sleep(PATIENCE.1),
            Some(status) if status & 0xff != 0x7f => return Err(Errno::ESRCH),
            // A stop by PTRACE_INTERRUPT, or of the whole process: nothing to be delivered.
            Some(status) if status >> 16 != 0 => return Ok(0),
            Some(status) => return Ok((status >> 8 & 0xff) as i32),
        }
    }
    Err(Errno::EAGAIN)
}

/// Whether a thread has ended.
pub(super) fn is_dead(tid: i32) -> bool {
    let mut dead = true;
    let path = Text::new(format_args!("/proc/{tid}/status"));
    let _ = crate::procfs::each_line(path.as_c_str(), &mut |line| {
        let Some(state) = line.strip_prefix(b"State:") else { return true };
        dead = matches!(state.trim_ascii().first(), Some(b'Z' | b'X' | b'x'));
        false
    });
    dead
}

/// The threads of a process.
pub(super) fn threads(pid: i32) -> Result<Vec<i32>, DumpError> {
    let path = Text::new(format_args!("/proc/{pid}/task"));
    let error = |e| DumpError::process("list the threads of", pid)(crate::ffi::errno(e));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = openat(rustix::fs::CWD, path.as_c_str(), flags, Mode::empty());
    let dir = dir.map_err(|e| match e {
        rustix::io::Errno::NOENT => DumpError::process("find process", pid)(Errno::ESRCH),
        e => error(e),
    })?;
    let mut found = Vec::new();
    for entry in rustix::fs::Dir::new(dir).map_err(error)? {
        let entry = entry.map_err(error)?;
        let name = entry.file_name().to_str().ok();
        found.extend(name.and_then(|n| n.parse::<i32>().ok()));
    }
    Ok(found)
}
