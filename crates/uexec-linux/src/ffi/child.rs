//! System calls by which a child sets itself up. None needs memory, a lock or a C library, so that
//! they also work in a child that shares its parent's memory.

use core::ffi::CStr;

use uexec_core::Errno;

use super::{plain, result};
use crate::arch::syscall6;

/// Numbers of these calls (`arch/x86/entry/syscalls/syscall_64.tbl`).
mod nr {
    pub(super) const CLOSE: u64 = 3;
    pub(super) const RT_SIGACTION: u64 = 13;
    pub(super) const RT_SIGPROCMASK: u64 = 14;
    pub(super) const IOCTL: u64 = 16;
    pub(super) const EXIT_GROUP: u64 = 231;
    pub(super) const FCNTL: u64 = 72;
    pub(super) const CHDIR: u64 = 80;
    pub(super) const FCHDIR: u64 = 81;
    pub(super) const SETUID: u64 = 105;
    pub(super) const SETGID: u64 = 106;
    pub(super) const SETPGID: u64 = 109;
    pub(super) const SETSID: u64 = 112;
    pub(super) const SETREUID: u64 = 113;
    pub(super) const SETREGID: u64 = 114;
    pub(super) const SETGROUPS: u64 = 116;
    pub(super) const SCHED_SETPARAM: u64 = 142;
    pub(super) const SCHED_SETSCHEDULER: u64 = 144;
    pub(super) const CHROOT: u64 = 161;
    pub(super) const OPENAT: u64 = 257;
    pub(super) const DUP3: u64 = 292;
    pub(super) const EXECVEAT: u64 = 322;
    pub(super) const CLOSE_RANGE: u64 = 436;
    pub(super) const FACCESSAT2: u64 = 439;
    pub(super) const NEWFSTATAT: u64 = 262;
}

/// `AT_FDCWD` as an argument.
const CWD: u64 = -100i64 as u64;
const AT_EMPTY_PATH: u64 = 0x1000;
const AT_EACCESS: u64 = 0x200;
const AT_EXECVE_CHECK: u64 = 0x1_0000;
const F_GETFD: u64 = 1;
const F_SETFD: u64 = 2;
const F_DUPFD_CLOEXEC: u64 = 1030;
const TIOCSPGRP: u64 = 0x5410;

fn call(nr: u64, args: [u64; 4]) -> Result<u64, Errno> {
    let [a, b, c, d] = args;
    plain(nr, [a, b, c, d, 0, 0])
}

/// A call whose first argument is a path.
fn with_path(nr: u64, path: &CStr) -> Result<u64, Errno> {
    // SAFETY: the kernel reads a C string that outlives the call.
    result(unsafe { syscall6(nr, [path.as_ptr() as u64, 0, 0, 0, 0, 0]) })
}

pub(crate) fn open(path: &CStr, flags: i32, mode: u32) -> Result<i32, Errno> {
    let args = [CWD, path.as_ptr() as u64, flags as u32 as u64, mode.into(), 0, 0];
    // SAFETY: the kernel reads a C string that outlives the call.
    result(unsafe { syscall6(nr::OPENAT, args) }).map(|fd| fd as i32)
}

pub(crate) fn close(fd: i32) {
    let _ = call(nr::CLOSE, [fd as u32 as u64, 0, 0, 0]);
}

/// Closes `from` to `to`, both included.
pub(crate) fn close_range(from: i32, to: i32) {
    if call(nr::CLOSE_RANGE, [from as u32 as u64, to as u32 as u64, 0, 0]).is_err() {
        // Before Linux 5.9. Above the limit there is nothing, unless it was lowered.
        let limit = super::limit(7).map_or(1024, |l| l[0].min(1 << 20)) as i32;
        (from..=to.min(limit)).for_each(close);
    }
}

/// `dup2(2)`; a descriptor that is where it should be stays open across exec.
pub(crate) fn dup_to(from: i32, to: i32) -> Result<(), Errno> {
    if from == to {
        return set_cloexec(from, false);
    }
    call(nr::DUP3, [from as u32 as u64, to as u32 as u64, 0, 0]).map(drop)
}

/// A copy, close-on-exec, numbered `floor` or higher.
pub(crate) fn dup_above(fd: i32, floor: i32) -> Result<i32, Errno> {
    call(nr::FCNTL, [fd as u32 as u64, F_DUPFD_CLOEXEC, floor as u32 as u64, 0]).map(|n| n as i32)
}

pub(crate) fn set_cloexec(fd: i32, cloexec: bool) -> Result<(), Errno> {
    let fd = fd as u32 as u64;
    let old = call(nr::FCNTL, [fd, F_GETFD, 0, 0])?;
    call(nr::FCNTL, [fd, F_SETFD, old & !1 | u64::from(cloexec), 0]).map(drop)
}

pub(crate) fn chdir(path: &CStr) -> Result<(), Errno> {
    with_path(nr::CHDIR, path).map(drop)
}

pub(crate) fn fchdir(fd: i32) -> Result<(), Errno> {
    call(nr::FCHDIR, [fd as u32 as u64, 0, 0, 0]).map(drop)
}

pub(crate) fn chroot(path: &CStr) -> Result<(), Errno> {
    with_path(nr::CHROOT, path).map(drop)
}

/// Of the calling thread only, as are the next three: a child has no other.
pub(crate) fn set_uid(uid: u32) -> Result<(), Errno> {
    call(nr::SETUID, [uid.into(), 0, 0, 0]).map(drop)
}

pub(crate) fn set_gid(gid: u32) -> Result<(), Errno> {
    call(nr::SETGID, [gid.into(), 0, 0, 0]).map(drop)
}

pub(crate) fn set_groups(groups: &[u32]) -> Result<(), Errno> {
    let args = [groups.len() as u64, groups.as_ptr() as u64, 0, 0, 0, 0];
    // SAFETY: the kernel reads so many ids.
    result(unsafe { syscall6(nr::SETGROUPS, args) }).map(drop)
}

/// Effective ids become the real ones.
pub(crate) fn reset_ids() -> Result<(), Errno> {
    let (uid, ..) = super::res_ids(super::Ids::User);
    let (gid, ..) = super::res_ids(super::Ids::Group);
    let same = u64::from(u32::MAX);
    call(nr::SETREGID, [same, gid.into(), 0, 0])?;
    call(nr::SETREUID, [same, uid.into(), 0, 0]).map(drop)
}

pub(crate) fn set_pgid(group: i32) -> Result<(), Errno> {
    call(nr::SETPGID, [0, group as u32 as u64, 0, 0]).map(drop)
}

pub(crate) fn set_sid() -> Result<(), Errno> {
    call(nr::SETSID, [0; 4]).map(drop)
}

/// Makes the child's process group the terminal's foreground one.
pub(crate) fn set_foreground(terminal: i32) -> Result<(), Errno> {
    let group: i32 = rustix::process::getpgrp().as_raw_nonzero().get();
    let args = [terminal as u32 as u64, TIOCSPGRP, (&raw const group) as u64, 0, 0, 0];
    // SAFETY: the kernel reads one pid.
    result(unsafe { syscall6(nr::IOCTL, args) }).map(drop)
}

/// Scheduling policy (`None` keeps it) and priority of the caller.
pub(crate) fn set_scheduler(policy: Option<i32>, priority: i32) -> Result<(), Errno> {
    let param = (&raw const priority) as u64;
    let (nr, args) = match policy {
        Some(policy) => (nr::SCHED_SETSCHEDULER, [0, policy as u32 as u64, param, 0, 0, 0]),
        None => (nr::SCHED_SETPARAM, [0, param, 0, 0, 0, 0]),
    };
    // SAFETY: the kernel reads one `struct sched_param`, which is an int.
    result(unsafe { syscall6(nr, args) }).map(drop)
}

/// Gives signals their default action; not those for which that is impossible.
pub(crate) fn default_signals(set: u64) {
    let default = [0u64; 4];
    for signal in (1..=64u64).filter(|s| set >> (s - 1) & 1 == 1) {
        let args = [signal, (&raw const default) as u64, 0, 8, 0, 0];
        // SAFETY: sets the default action from a valid 32-byte `struct sigaction`.
        let _ = unsafe { syscall6(nr::RT_SIGACTION, args) };
    }
}

/// Replaces the signal mask; answers the old one.
pub(crate) fn set_signal_mask(mask: u64) -> u64 {
    let mut old = 0u64;
    let args = [2, (&raw const mask) as u64, (&raw mut old) as u64, 8, 0, 0];
    // SAFETY: SIG_SETMASK; the kernel reads one 8-byte set and writes another.
    let _ = unsafe { syscall6(nr::RT_SIGPROCMASK, args) };
    old
}

/// Would the kernel execute the file with these strings? `execveat(2)` with `AT_EXECVE_CHECK`, and
/// before Linux 6.14 what can be asked otherwise.
///
/// # Safety
/// `argv` and `envp` are arrays of C strings that end with a null pointer.
pub(crate) unsafe fn check_exec(path: &CStr, argv: u64, envp: u64) -> Result<(), Errno> {
    let path = path.as_ptr() as u64;
    // SAFETY: the caller's promise; with this flag the kernel replaces nothing.
    let said =
        result(unsafe { syscall6(nr::EXECVEAT, [CWD, path, argv, envp, AT_EXECVE_CHECK, 0]) });
    match said {
        Err(Errno::EINVAL | Errno::ENOSYS) => {}
        said => return said.map(drop),
    }
    // SAFETY: the kernel reads a C string that outlives the call.
    result(unsafe { syscall6(nr::FACCESSAT2, [CWD, path, 1, AT_EACCESS, 0, 0]) })?;
    let mut stat = [0u64; 18];
    // SAFETY: the kernel reads the string and writes a `struct stat`, 144 bytes.
    result(unsafe { syscall6(nr::NEWFSTATAT, [CWD, path, (&raw mut stat) as u64, 0, 0, 0]) })?;
    // `st_mode` follows three words of 8 bytes (`arch/x86/include/uapi/asm/stat.h`, 6.18).
    let regular = stat[3] as u32 & 0o170_000 == 0o100_000;
    if regular { Ok(()) } else { Err(Errno::EACCES) }
}

/// The kernel's exec of an open file; returns when it is refused.
///
/// # Safety
/// `argv` and `envp` are arrays of C strings that end with a null pointer; the caller gives its
/// process away.
pub(crate) unsafe fn exec_fd(fd: i32, argv: u64, envp: u64) -> Errno {
    // SAFETY: the caller's promise.
    unsafe { exec(fd as u32 as u64, c"", argv, envp, AT_EMPTY_PATH) }
}

/// The kernel's exec of a path; returns when it is refused.
///
/// # Safety
/// As [`exec_fd`].
pub(crate) unsafe fn exec_path(path: &CStr, argv: u64, envp: u64) -> Errno {
    // SAFETY: the caller's promise.
    unsafe { exec(CWD, path, argv, envp, 0) }
}

/// # Safety
/// As [`exec_fd`].
unsafe fn exec(at: u64, path: &CStr, argv: u64, envp: u64, flags: u64) -> Errno {
    let args = [at, path.as_ptr() as u64, argv, envp, flags, 0];
    // SAFETY: the caller's promise.
    match result(unsafe { syscall6(nr::EXECVEAT, args) }) {
        Err(errno) => errno,
        Ok(_) => Errno::ENOSYS,
    }
}

/// Ends the process at once.
pub(crate) fn exit(status: u8) -> ! {
    loop {
        let _ = call(nr::EXIT_GROUP, [status.into(), 0, 0, 0]);
    }
}
