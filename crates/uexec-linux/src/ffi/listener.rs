//! System calls of who answers for a system call filter (`seccomp_unotify(2)`), each behind a safe
//! function.

use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use uexec_core::Errno;

use super::tracer::CallInfo;
use super::{plain, result};
use crate::arch::{nr, syscall6};

/// `struct seccomp_notif` (`include/uapi/linux/seccomp.h`, Linux 5.0): a call that waits for an answer.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Notice {
    pub(crate) id: u64,
    /// The thread, as this process's namespace numbers it; 0 where it does not.
    pub(crate) tid: i32,
    flags: u32,
    number: i32,
    arch: u32,
    instruction: u64,
    args: [u64; 6],
}

impl Notice {
    /// The call.
    pub(crate) fn info(&self) -> CallInfo {
        CallInfo::of_filter(self.arch, self.number as u32, self.args)
    }
}

/// Installs a filter whose notices are read from the descriptor (Linux 5.0). Who waits for an answer
/// can only be killed, once that has been received (Linux 5.19).
///
/// # Errors
/// `EBUSY` where somebody else answers for this process already.
pub(crate) fn install(program: &[u64]) -> Result<OwnedFd, Errno> {
    const SECCOMP_SET_MODE_FILTER: u64 = 1;
    const NEW_LISTENER: u64 = 1 << 3;
    const WAIT_KILLABLE_RECV: u64 = 1 << 5;
    let filter: [u64; 2] = [program.len() as u64, program.as_ptr() as u64];
    let flags = NEW_LISTENER | WAIT_KILLABLE_RECV;
    let args = [SECCOMP_SET_MODE_FILTER, flags, (&raw const filter) as u64, 0, 0, 0];
    // SAFETY: the kernel reads the 16-byte description and the instructions it names.
    let fd = result(unsafe { syscall6(nr::SECCOMP, args) })?;
    // SAFETY: it has just been opened, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Has whoever reads be woken where the notice was made, who waits from then on (Linux 6.6).
pub(crate) fn wake_nearby(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    const SET_FLAGS: u64 = 0x4008_2104;
    const SYNC_WAKE_UP: u64 = 1;
    plain(nr::IOCTL, [fd.as_raw_fd() as u64, SET_FLAGS, SYNC_WAKE_UP, 0, 0, 0]).map(drop)
}

/// Waits for the next notice.
///
/// # Errors
/// `ENOENT` where who has made it is gone.
pub(crate) fn receive(fd: BorrowedFd<'_>) -> Result<Notice, Errno> {
    const RECV: u64 = 0xc050_2100;
    let mut notice = Notice::default();
    let args = [fd.as_raw_fd() as u64, RECV, (&raw mut notice) as u64, 0, 0, 0];
    // SAFETY: writes one `struct seccomp_notif`, all bits of which are numbers.
    result(unsafe { syscall6(nr::IOCTL, args) }).map(|_| notice)
}

/// Whether a notice still waits for its answer.
pub(crate) fn waits(fd: BorrowedFd<'_>, id: u64) -> bool {
    const ID_VALID: u64 = 0x4008_2102;
    let args = [fd.as_raw_fd() as u64, ID_VALID, (&raw const id) as u64, 0, 0, 0];
    // SAFETY: reads eight bytes.
    result(unsafe { syscall6(nr::IOCTL, args) }).is_ok()
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It goes on.
    Continue,
    /// It begins anew, once its thread has stopped for its tracer.
    Again,
}

/// Answers a notice.
///
/// # Errors
/// `ENOENT` where who has made it is gone.
pub(crate) fn answer(fd: BorrowedFd<'_>, id: u64, answer: Answer) -> Result<(), Errno> {
    const SEND: u64 = 0xc018_2101;
    /// What an interrupted call leaves for the signal's delivery to see; never for the program.
    const ERESTARTSYS: i32 = 512;
    // `struct seccomp_notif_resp`: id, value, error and flags.
    let last = match answer {
        Answer::Continue => 1 << 32,
        Answer::Again => u64::from((-ERESTARTSYS) as u32),
    };
    let response = [id, 0, last];
    let args = [fd.as_raw_fd() as u64, SEND, (&raw const response) as u64, 0, 0, 0];
    // SAFETY: reads one `struct seccomp_notif_resp`.
    result(unsafe { syscall6(nr::IOCTL, args) }).map(drop)
}
