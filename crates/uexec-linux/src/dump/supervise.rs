//! Waits for a child and its threads as their tracer, and sees each death coming. What the child
//! notices of it is what `ptrace(2)` says a tracee notices.

use alloc::vec::Vec;

use uexec_core::Errno;

use super::DumpError;
use super::stop::{Stopped, halt, threads};
use crate::ffi::dump;

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With a status.
    Exited(i32),
    /// By a signal.
    Killed(i32),
}

const CLONE: u64 = 1 << 3;
const FORK: u64 = 1 << 1;
const VFORK: u64 = 1 << 2;
const EXEC: u64 = 1 << 4;

/// Signals that kill with a core by default (CORE-1).
const DUMPING: [i32; 10] = [3, 4, 5, 6, 7, 8, 11, 24, 25, 31];

/// Traces `child`, which must be a child of the calling thread that has stopped itself by `SIGSTOP`,
/// continues it, and returns when it has ended. `dying` is called when a process of
/// it is about to be killed by a signal that dumps core, with all of its threads stopped. With
/// `tree` the descendants are watched, too.
///
/// # Errors
/// When the child cannot be traced.
pub fn supervise(
    child: i32,
    tree: bool,
    dying: &mut dyn FnMut(&Stopped, i32),
) -> Result<End, DumpError> {
    let options = CLONE | EXEC | if tree { FORK | VFORK } else { 0 };
    dump::seize(child, options).map_err(DumpError::process("trace", child))?;
    if let Some(pid) = rustix::process::Pid::from_raw(child) {
        let cont = rustix::process::kill_process(pid, rustix::process::Signal::CONT);
        cont.map_err(|e| DumpError::process("continue", child)(crate::ffi::errno(e)))?;
    }
    loop {
        let (tid, status) = match dump::wait_any() {
            Ok(news) => news,
            Err(e) => return Err(DumpError::process("wait for", child)(e)),
        };
        if status & 0xff != 0x7f {
            if tid == child {
                let by = (status & 0x7f) as i32;
                let code = (status >> 8 & 0xff) as i32;
                return Ok(if by == 0 { End::Exited(code) } else { End::Killed(by) });
            }
            continue;
        }
        let signal = (status >> 8 & 0xff) as i32;
        let event = status >> 16;
        const STOPPED: u32 = 128;
        match event {
            0 => {
                if DUMPING.contains(&signal) && is_fatal(tid, signal) {
                    caught(tid, dying);
                }
                let _ = dump::go_on(tid, signal as u64);
            }
            // The whole process is stopped by job control: it stays so, and can be continued.
            STOPPED if matches!(signal, 19..=22) => {
                let _ = dump::listen(tid);
            }
            _ => {
                let _ = dump::go_on(tid, 0);
            }
        }
    }
}

/// Whether a signal that is about to be delivered has its default action.
fn is_fatal(tid: i32, signal: i32) -> bool {
    let mut fatal = true;
    let path = crate::procfs::Text::new(format_args!("/proc/{tid}/status"));
    let _ = crate::procfs::each_line(path.as_c_str(), &mut |line| {
        for name in [&b"SigIgn:"[..], b"SigCgt:"] {
            if let Some(mask) = line.strip_prefix(name) {
                let text = core::str::from_utf8(mask.trim_ascii()).unwrap_or("");
                let mask = u64::from_str_radix(text, 16).unwrap_or(0);
                fatal &= mask >> (signal - 1) & 1 == 0;
            }
        }
        true
    });
    fatal
}

/// Stops the other threads, calls, and lets them go on. Those that do not stop are named.
fn caught(tid: i32, dying: &mut dyn FnMut(&Stopped, i32)) {
    let pid = leader(tid);
    let mut all = Vec::from([tid]);
    let mut pending: Vec<(i32, i32)> = Vec::new();
    let mut asked = all.clone();
    let mut missing = Vec::new();
    // Until no thread is new.
    loop {
        let mut fresh = threads(pid).unwrap_or_default();
        asked.sort_unstable();
        fresh.retain(|t| asked.binary_search(t).is_err());
        if fresh.is_empty() {
            break;
        }
        let halted = halt(&fresh);
        asked.extend(fresh);
        all.extend(halted.stopped.iter().map(|(t, _)| *t));
        pending.extend(halted.stopped);
        missing.extend(halted.running);
    }
    dying(&Stopped::held(pid, &all, tid).lacking(&missing), tid);
    for (t, signal) in pending {
        let _ = dump::go_on(t, signal as u64);
    }
}

/// The process of a thread.
fn leader(tid: i32) -> i32 {
    let mut pid = tid;
    let path = crate::procfs::Text::new(format_args!("/proc/{tid}/status"));
    let _ = crate::procfs::each_line(path.as_c_str(), &mut |line| {
        let Some(id) = line.strip_prefix(b"Tgid:") else { return true };
        pid =
            core::str::from_utf8(id.trim_ascii()).ok().and_then(|t| t.parse().ok()).unwrap_or(tid);
        false
    });
    pid
}

/// Passes signals on to a child: those that other processes send to the caller by its id and that
/// would end it. What a terminal sends, it sends to both; and what the caller ignored, it ignores.
///
/// # Errors
/// Those of `pidfd_open(2)`.
pub fn pass_on(child: i32) -> Result<(), Errno> {
    let pid = rustix::process::Pid::from_raw(child).ok_or(Errno::ESRCH)?;
    let flags = rustix::process::PidfdFlags::empty();
    let fd = rustix::process::pidfd_open(pid, flags).map_err(crate::ffi::errno)?;
    crate::ffi::pass_on::to(fd);
    Ok(())
}

/// Dies by the signal that the supervised program died by, without another core.
pub fn die_by(signal: i32) -> ! {
    crate::ffi::die_by(u64::from(signal.unsigned_abs()))
}
