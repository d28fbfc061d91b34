//! Stops all threads of a process by `ptrace(2)` and lets them go on. No option makes the kernel
//! kill them with their tracer.

use alloc::vec::Vec;

use rustix::fs::{Mode, OFlags, openat};
use uexec_core::Errno;

use super::DumpError;
use crate::ffi::{dump, thread};
use crate::procfs::Text;

/// A stopped process. All of its threads are traced by the calling thread, which is the only one
/// that may use it; they go on when it is dropped. A thread that did not stop in time (it waits inside
/// the kernel, as after `vfork(2)`) is let go by the kernel when the calling thread ends.
#[derive(Debug)]
pub struct Stopped {
    pid: i32,
    /// Every thread, with the signal it is about to get.
    threads: Vec<(i32, i32)>,
    /// The thread whose signal the dump is about.
    dying: Option<i32>,
    /// Whether the threads are let go at the end.
    detach: bool,
    /// Threads that did not stop.
    missing: Vec<i32>,
}

/// How long is waited for all threads of a process to stop, in microseconds: four seconds.
const PATIENCE: u64 = 4_000_000;
/// How long for one that did not, before it is given up.
const LAST_CHANCE: u64 = 200_000;

impl Stopped {
    /// Stops a process.
    ///
    /// # Errors
    /// `ESRCH`, `EPERM` of `ptrace(2)`; `EAGAIN` when a thread does not stop.
    pub fn seize(pid: i32) -> Result<Stopped, DumpError> {
        let mut this =
            Stopped { pid, threads: Vec::new(), dying: None, detach: true, missing: Vec::new() };
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
            let mut new = Vec::new();
            for tid in fresh {
                match dump::seize(tid, 0) {
                    Ok(()) => new.push(tid),
                    // The main thread may have ended before the others; some threads are the
                    // kernel's.
                    Err(Errno::EPERM)
                        if is_dead(tid)
                            || tid != pid && !(this.threads.is_empty() && new.is_empty()) =>
                    {
                        refused.push(tid);
                    }
                    Err(Errno::ESRCH) if tid != pid => refused.push(tid),
                    Err(e) => {
                        this.threads.extend(new.iter().map(|tid| (*tid, 0)));
                        return Err(DumpError::process("trace", tid)(e));
                    }
                }
            }
            let halted = halt(&new);
            refused.extend(halted.ended);
            this.threads.extend(halted.stopped);
            if let Some(tid) = halted.running.first() {
                this.threads.extend(halted.running.iter().map(|tid| (*tid, 0)));
                return Err(DumpError::process("stop thread", *tid)(Errno::EAGAIN));
            }
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
        Stopped { pid, threads, dying: Some(dying), detach: false, missing: Vec::new() }
    }

    /// The same, of a process that has these threads, too, which did not stop.
    #[must_use]
    pub fn lacking(mut self, tids: &[i32]) -> Stopped {
        self.missing.extend_from_slice(tids);
        self
    }

    /// Threads that did not stop, so that nothing is known of their registers.
    #[must_use]
    pub fn missing(&self) -> &[i32] {
        &self.missing
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
        let deadline = now() + LAST_CHANCE;
        for (tid, signal) in &self.threads {
            // One that has not stopped yet cannot be let go; wait for it a little.
            if thread::ptrace(thread::Trace::Detach, *tid, *signal as u64).is_err()
                && let Ok(signal) = wait_stopped(*tid, deadline)
            {
                let _ = thread::ptrace(thread::Trace::Detach, *tid, signal as u64);
            }
        }
    }
}

/// What became of threads that were told to stop.
#[derive(Default)]
pub(super) struct Halted {
    /// They stand, each with the signal it is about to get, or 0.
    pub(super) stopped: Vec<(i32, i32)>,
    /// They ended meanwhile.
    pub(super) ended: Vec<i32>,
    /// They have not stopped.
    pub(super) running: Vec<i32>,
}

/// Stops traced threads, and waits for all of them.
pub(super) fn halt(tids: &[i32]) -> Halted {
    for tid in tids {
        let _ = thread::ptrace(thread::Trace::Interrupt, *tid, 0);
    }
    let deadline = now() + PATIENCE;
    let mut halted = Halted::default();
    for tid in tids {
        match wait_stopped(*tid, deadline) {
            Ok(signal) => halted.stopped.push((*tid, signal)),
            Err(Errno::EAGAIN) => halted.running.push(*tid),
            Err(_) => halted.ended.push(*tid),
        }
    }
    halted
}

/// Waits until a thread has stopped; the signal it is about to get, or 0.
fn wait_stopped(tid: i32, deadline: u64) -> Result<i32, Errno> {
    /// Most stop at once: sleeping would take longer.
    const AT_ONCE: u32 = 200;
    let mut asked = 0;
    loop {
        match thread::wait(tid, thread::WNOHANG)? {
            None if asked < AT_ONCE => thread::sched_yield(),
            None if now() > deadline => return Err(Errno::EAGAIN),
            None => thread::sleep(200),
            Some(status) if status & 0xff != 0x7f => return Err(Errno::ESRCH),
            // A stop by PTRACE_INTERRUPT, or of the whole process: nothing to be delivered.
            Some(status) if status >> 16 != 0 => return Ok(0),
            Some(status) => return Ok((status >> 8 & 0xff) as i32),
        }
        asked += 1;
    }
}

/// Microseconds of a clock that nobody sets.
fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000
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

fn has_proc() -> bool {
    rustix::fs::access("/proc/self/task", rustix::fs::Access::EXISTS).is_ok()
}

/// The threads of a process.
pub(super) fn threads(pid: i32) -> Result<Vec<i32>, DumpError> {
    let path = Text::new(format_args!("/proc/{pid}/task"));
    let error = |e| DumpError::process("list the threads of", pid)(crate::ffi::errno(e));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = openat(rustix::fs::CWD, path.as_c_str(), flags, Mode::empty());
    let dir = dir.map_err(|e| match e {
        // Without /proc nobody is found; see the hint.
        rustix::io::Errno::NOENT if !has_proc() => {
            DumpError::process("look into /proc for", pid)(Errno::ENOENT)
        }
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
