//! Clears away what a process would leave to its successor besides memory: what is registered under
//! numbers that only the kernel knows for certain (PIPE-49.6 to 49.19). Asks and acts at the last
//! moment, when nothing else runs that could make more. Allocates nothing.

use core::mem::MaybeUninit;

use rustix::fd::AsRawFd;
use rustix::fs::{CWD, Mode, OFlags, RawDir, openat};

use crate::ffi::{self, Ids, thread};
use crate::procfs::{each_line, read_number};
use crate::threads::{self, PATIENCE, Task, wait_a_little};

/// Clears everything away but the descriptors that are still needed. All signals are blocked, and
/// the calling thread is the only one.
pub(crate) fn leave(keep: &[i32], defaults: u64) {
    // A thread that the kernel has made for a ring shares the descriptors, and goes when the ring is
    // closed: for both.
    let others = threads::count().is_ok_and(|n| n > 1);
    if !others {
        unshare_descriptors();
    }
    destroy_aio();
    delete_timers();
    close_on_exec(keep);
    if others {
        let mut looks = 0;
        while threads::count().is_ok_and(|n| n > 1) && looks < PATIENCE {
            wait_a_little(looks);
            looks += 1;
        }
        unshare_descriptors();
    }
    reset_signals(defaults);
    settle_fs_ids();
}

/// Who accesses files is the effective user again (PIPE-42).
fn settle_fs_ids() {
    let ((_, user, _), (_, group, _)) = (ffi::res_ids(Ids::User), ffi::res_ids(Ids::Group));
    if ffi::fs_ids() != (user, group) {
        ffi::tracer::set_fs_ids(user, group);
    }
}

/// From another process that has the same table (`CLONE_FILES`).
fn unshare_descriptors() {
    const CLONE_FILES: u64 = 0x400;
    let _ = thread::unshare(CLONE_FILES);
}

/// Contexts of `io_setup(2)`: each is known by the address of its ring.
fn destroy_aio() {
    if read_number(c"/proc/sys/fs/aio-nr") == Some(0) {
        return;
    }
    let _ = each_line(c"/proc/self/maps", &mut |line| {
        let line = core::str::from_utf8(line).unwrap_or("");
        if line.contains(" /[aio]")
            && let Some(Ok(start)) = line.split('-').next().map(|s| u64::from_str_radix(s, 16))
        {
            thread::io_destroy(start);
        }
        true
    });
}

/// Timers of `timer_create(2)`. The list is read again until it is empty, as it is told in pieces
/// between which those behind move up.
fn delete_timers() {
    let mut found = true;
    while core::mem::take(&mut found) {
        let _ = each_line(c"/proc/self/timers", &mut |line| {
            let id = line.strip_prefix(b"ID: ").and_then(|n| core::str::from_utf8(n).ok());
            if let Some(Ok(id)) = id.map(|n| n.trim().parse()) {
                found |= thread::timer_delete(id).is_ok();
            }
            true
        });
    }
}

fn close_on_exec(keep: &[i32]) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let close = |fd| {
        if ffi::is_cloexec(fd) == Some(true) && !keep.contains(&fd) {
            // SAFETY: whoever owns it is about to be replaced, and is not run any more.
            unsafe { thread::close(fd) };
        }
    };
    let Ok(dir) = openat(CWD, c"/proc/self/fd", flags, Mode::empty()) else {
        // Without /proc a process has had one thread all the time, and may allocate.
        ffi::each_descriptor(&mut |fd| close(fd));
        return;
    };
    let own = dir.as_raw_fd();
    let mut buf = [MaybeUninit::<u8>::uninit(); 4096];
    let mut entries = RawDir::new(&dir, &mut buf);
    while let Some(Ok(entry)) = entries.next() {
        if let Some(Ok(fd)) = entry.file_name().to_str().ok().map(str::parse)
            && fd != own
        {
            close(fd);
        }
    }
}

/// Handlers become the default action, and so do signals of this mask; flags, signal mask and
/// restorer go, those of ignored signals too.
fn reset_signals(defaults: u64) {
    for signal in 1..=64 {
        let Ok(action) = thread::action(signal) else { continue };
        let new = match action {
            _ if defaults >> (signal - 1) & 1 == 1 => [0; 4],
            [1, 0, 0, 0] | [0, 0, 0, 0] => continue,
            [1, ..] => [1, 0, 0, 0],
            _ => [0; 4],
        };
        keeping_pending(signal, new[0] == 0, || {
            // SAFETY: no code of this program's is called by either action.
            let _ = unsafe { thread::set_action(signal, &new) };
        });
    }
}

/// Setting the default action of a signal that is ignored by default drops it where it is pending
/// (`sigaction(2)`); an exec does not.
fn keeping_pending(signal: u64, is_default: bool, set: impl FnOnce()) {
    const SIGCHLD: u64 = 17;
    const SIGCONT: u64 = 18;
    const SIGURG: u64 = 23;
    const SIGWINCH: u64 = 28;
    let mut info = [0; 16];
    if !is_default
        || ![SIGCHLD, SIGCONT, SIGURG, SIGWINCH].contains(&signal)
        || thread::pending() >> (signal - 1) & 1 == 0
    {
        return set();
    }
    let own = thread::gettid();
    let is_own = Task::ask(own).is_some_and(|t| t.pending >> (signal - 1) & 1 == 1);
    // Those of the thread are taken first.
    let of_thread = (is_own && thread::take_signal(signal, &mut info).is_ok()).then_some(info);
    let of_process = thread::take_signal(signal, &mut info).is_ok().then_some(info);
    set();
    if let Some(info) = of_thread {
        let _ = thread::queue_info(own, signal, &info);
    }
    if let Some(info) = of_process {
        let _ = thread::queue_to_process(signal, &info);
    }
}
