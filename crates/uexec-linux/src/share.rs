//! Whose memory this is. Where another process uses it too, as the parent of a `vfork(2)` child
//! does, nothing of it may be replaced: then the kernel has to start a loader in memory of its own.
//! Never replaces memory.

mod block;
mod loader;

use rustix::fs::{CWD, Mode, OFlags, openat};
use uexec_core::Errno;

use crate::ffi::{self, thread};
use crate::procfs::{Text, read_hex};
use crate::threads;
use thread::Shared;

pub(crate) use loader::OtherWay;

/// Who uses this process's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owners {
    /// This thread alone.
    Thread,
    /// The threads of this process.
    Process,
    /// Another process too, or nobody can tell.
    Others,
}

/// Asks the kernel.
///
/// `unshare(2)` with `CLONE_VM` changes nothing; it works exactly where there is one thread and the
/// memory is its own.
pub(crate) fn owners() -> Owners {
    const CLONE_VM: u64 = 0x100;
    const CLONE_SIGHAND: u64 = 0x800;
    const CLONE_THREAD: u64 = 0x1_0000;
    let asked = thread::unshare(CLONE_VM | CLONE_SIGHAND | CLONE_THREAD);
    if asked.is_ok() {
        return Owners::Thread;
    }
    let threads = threads::count();
    if threads == Ok(1) && asked == Err(Errno::EINVAL) {
        return Owners::Others;
    }
    match (is_parents(), threads) {
        (Ok(false), Ok(1)) => Owners::Thread,
        (Ok(false), Ok(_)) => Owners::Process,
        _ => Owners::Others,
    }
}

/// Whether the parent has the same memory.
fn is_parents() -> Result<bool, Errno> {
    let parent = rustix::process::getppid().map_or(0, rustix::process::Pid::as_raw_pid);
    if parent == 0 {
        // Of another PID namespace.
        return Ok(false);
    }
    thread::kcmp(thread::getpid(), parent, Shared::Memory).or_else(|_| changes_together(parent))
}

/// The same where `kcmp(2)` is refused: what `/proc/PID/coredump_filter` says belongs to the memory,
/// anybody may read it, and it can be changed for a moment.
fn changes_together(parent: i32) -> Result<bool, Errno> {
    let of_parent = Text::new(format_args!("/proc/{parent}/coredump_filter"));
    let of_parent = of_parent.as_c_str();
    let own = c"/proc/self/coredump_filter";
    let ask = |path| read_hex(path).ok_or(Errno::EACCES);
    let before = ask(own)?;
    if ask(of_parent)? != before {
        return Ok(false);
    }
    let set = |value: u64| {
        let fd = openat(CWD, own, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::io::write(fd, Text::new(format_args!("{value:#x}")).as_c_str().to_bytes())
    };
    set(before ^ 1).map_err(ffi::errno)?;
    let together = ask(of_parent).map(|now| now == before ^ 1);
    set(before).map_err(ffi::errno)?;
    together
}
