//! What `/proc` tells of the threads of this process. Only looks, and allocates nothing: it is used
//! while others may hold the allocator's locks.

use core::mem::MaybeUninit;

use rustix::fs::{CWD, Mode, OFlags, RawDir, openat};
use uexec_core::Errno;

use crate::ffi::{self, thread};
use crate::procfs::{Text, each_line};

/// One thread as it is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Task {
    /// The letter of `proc_pid_status(5)`.
    pub(crate) state: u8,
    /// Blocked signals.
    pub(crate) blocked: u64,
    /// Pending signals of this thread alone.
    pub(crate) pending: u64,
    /// Made by the kernel for `io_uring(7)` and the like: runs no code of the process's.
    pub(crate) kernels: bool,
}

impl Task {
    /// `None` when there is no such thread any more.
    pub(crate) fn ask(tid: i32) -> Option<Task> {
        let mut task = Task::default();
        let hex = |text: &[u8]| {
            core::str::from_utf8(text).ok().and_then(|t| u64::from_str_radix(t.trim(), 16).ok())
        };
        each_line(path(tid, "status").as_c_str(), &mut |line| {
            let Some(colon) = line.iter().position(|b| *b == b':') else { return true };
            let (name, value) = line.split_at(colon);
            let value = value.get(1..).unwrap_or_default();
            match name {
                b"Name" => {
                    let name = value.trim_ascii();
                    task.kernels = name.starts_with(b"iou-") || name.starts_with(b"vhost-");
                }
                b"State" => task.state = value.trim_ascii().first().copied().unwrap_or(0),
                b"SigPnd" => task.pending = hex(value).unwrap_or(0),
                b"SigBlk" => {
                    task.blocked = hex(value).unwrap_or(0);
                    return false;
                }
                _ => {}
            }
            true
        })
        .ok()?;
        task.kernels = task.kernels && is_kernels(tid);
        (task.state != 0).then_some(task)
    }

    /// Has ended; only the rest of it is still there.
    pub(crate) const fn is_dead(self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }
}

fn path(tid: i32, file: &str) -> Text {
    Text::new(format_args!("/proc/self/task/{tid}/{file}"))
}

/// `PF_USER_WORKER` or `PF_IO_WORKER` in the flags of `proc_pid_stat(5)`: anybody may have such a
/// name.
fn is_kernels(tid: i32) -> bool {
    const WORKER: u64 = 0x4000 | 0x10;
    let mut flags = 0;
    let _ = each_line(path(tid, "stat").as_c_str(), &mut |line| {
        let rest = line.iter().rposition(|b| *b == b')').and_then(|i| line.get(i + 1..));
        let words = rest.unwrap_or_default().split(|b| *b == b' ');
        let word = words.filter(|w| !w.is_empty()).nth(6).unwrap_or_default();
        flags = core::str::from_utf8(word).ok().and_then(|t| t.parse().ok()).unwrap_or(0);
        false
    });
    flags & WORKER != 0
}

/// Calls `each` for every thread of this process; whether that were all that there had been before.
/// The list ends early when the thread that the kernel is at ends meanwhile. As new ones are at its
/// end, whoever is missing leaves it shorter than the number before.
pub(crate) fn each_task(each: &mut dyn FnMut(i32)) -> Result<bool, Errno> {
    let (before, mut listed) = (count()?, 0);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = openat(CWD, c"/proc/self/task", flags, Mode::empty()).map_err(ffi::errno)?;
    let mut buf = [MaybeUninit::<u8>::uninit(); 2048];
    let mut entries = RawDir::new(dir, &mut buf);
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(ffi::errno)?;
        let name = entry.file_name().to_str().unwrap_or("");
        if let Ok(tid) = name.parse() {
            listed += 1;
            each(tid);
        }
    }
    Ok(listed >= before)
}

/// How many threads there are, those included that have ended and are still listed.
pub(crate) fn count() -> Result<usize, Errno> {
    // One entry per thread, and two for the directory itself.
    let tasks = rustix::fs::stat(c"/proc/self/task").map_err(ffi::errno)?;
    Ok(usize::try_from(tasks.st_nlink).unwrap_or(usize::MAX).saturating_sub(2))
}

/// Whether the calling thread is the only one left that runs code of this process; `patient` also
/// waits for those that have ended to be gone, which takes as long as a debugger wants.
pub(crate) fn is_alone(patient: bool) -> bool {
    if count() == Ok(1) {
        return true;
    }
    let own = thread::gettid();
    let mut others = 0;
    let listed = each_task(&mut |tid| {
        let may_stay = |t: Task| t.kernels || (t.is_dead() && !patient);
        if tid != own && Task::ask(tid).is_some_and(|t| !may_stay(t)) {
            others += 1;
        }
    });
    listed == Ok(true) && others == 0
}

/// Whether a thread waits for a `vfork(2)` child to let go of the memory: only a fatal signal
/// wakes it.
pub(crate) fn waits_for_vfork(tid: i32, task: Task) -> bool {
    const CLONE_VFORK: u64 = 0x4000;
    const CLONE: u64 = 56;
    const VFORK: u64 = 58;
    const CLONE3: u64 = 435;
    if task.state != b'D' {
        return false;
    }
    let mut call = [0u64; 2];
    let _ = each_line(path(tid, "syscall").as_c_str(), &mut |line| {
        let text = core::str::from_utf8(line).unwrap_or("");
        let mut words = text.split(' ');
        call[0] = words.next().and_then(|w| w.parse().ok()).unwrap_or(u64::MAX);
        let first = words.next().and_then(|w| w.strip_prefix("0x"));
        call[1] = first.and_then(|w| u64::from_str_radix(w, 16).ok()).unwrap_or(0);
        false
    });
    match call {
        [VFORK, _] => true,
        [CLONE, flags] => flags & CLONE_VFORK != 0,
        // Its arguments are in memory, the flags first.
        [CLONE3, place] => thread::peek(place).is_ok_and(|flags| flags & CLONE_VFORK != 0),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use core::sync::atomic::{AtomicBool, AtomicI32, Ordering::SeqCst};
    use std::thread as threads;

    /// A list that ended early, at a thread that was ending, was taken for complete.
    #[test]
    fn regression_nobody_is_missing_from_a_complete_list() {
        for _ in 0..60 {
            let (end, stop, staying) =
                (AtomicBool::new(false), AtomicBool::new(false), AtomicI32::new(0));
            threads::scope(|scope| {
                let ending = scope.spawn(|| {
                    while !end.load(SeqCst) {
                        core::hint::spin_loop();
                    }
                });
                // Made later, so that it is behind the other in the list.
                scope.spawn(|| {
                    staying.store(thread::gettid(), SeqCst);
                    while !stop.load(SeqCst) {
                        threads::yield_now();
                    }
                });
                while staying.load(SeqCst) == 0 {
                    core::hint::spin_loop();
                }
                end.store(true, SeqCst);
                let mut missing = false;
                while !missing && !ending.is_finished() {
                    let mut seen = false;
                    let complete = each_task(&mut |tid| seen |= tid == staying.load(SeqCst));
                    missing = complete == Ok(true) && !seen;
                }
                for _ in 0..5 {
                    let mut seen = false;
                    let complete = each_task(&mut |tid| seen |= tid == staying.load(SeqCst));
                    missing |= complete == Ok(true) && !seen;
                }
                stop.store(true, SeqCst);
                assert!(!missing);
            });
        }
    }
}
