//! The caller's side of the pipe: waits for what a child reports, or for its having let go of it.
//! Another process that was forked meanwhile may hold the pipe's other end, for as long as it likes:
//! so whoever waits for long looks whether the child itself still does. Never touches the child.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd};

use crate::procfs::Text;

/// So long is waited before one looks, in nanoseconds: longer than a start takes.
const LONG: i64 = 20_000_000;

/// The child's report; `None` when it has become the program, or has ended without one.
pub(super) fn report(pid: i32, reports: BorrowedFd<'_>, number: i32) -> Option<[u8; 8]> {
    while !is_ready(reports, LONG) {
        if has_let_go(pid, reports, number) && !is_ready(reports, 0) {
            return None;
        }
    }
    let mut said = [0u8; 8];
    let n = rustix::io::retry_on_intr(|| rustix::io::read(reports, &mut said));
    (n == Ok(said.len())).then_some(said)
}

fn is_ready(reports: BorrowedFd<'_>, nanos: i64) -> bool {
    let timeout = Timespec { tv_sec: 0, tv_nsec: nanos };
    let mut fds = [PollFd::from_borrowed_fd(reports, PollFlags::IN)];
    !matches!(poll(&mut fds, Some(&timeout)), Ok(0) | Err(rustix::io::Errno::INTR))
}

/// Whether the child's descriptor with this number is no more the pipe; false if nobody can tell.
fn has_let_go(pid: i32, reports: BorrowedFd<'_>, number: i32) -> bool {
    // `/proc` may be that of other numbers.
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let own = Text::new(format_args!("{own}"));
    let mut link = [core::mem::MaybeUninit::<u8>::uninit(); 16];
    let Ok((link, _)) = rustix::fs::readlinkat_raw(rustix::fs::CWD, c"/proc/self", &mut link)
    else {
        return false;
    };
    if link != own.as_c_str().to_bytes() {
        return false;
    }
    let theirs = Text::new(format_args!("/proc/{pid}/fd/{number}"));
    match (rustix::fs::stat(theirs.as_c_str()), rustix::fs::fstat(reports.as_fd())) {
        (Ok(theirs), Ok(pipe)) => (theirs.st_dev, theirs.st_ino) != (pipe.st_dev, pipe.st_ino),
        (Err(rustix::io::Errno::NOENT), Ok(_)) => true,
        _ => false,
    }
}
