//! Tries what a host may forbid, for those who want to know beforehand. What is tried changes the
//! calling process for good (it is traced, filtered, or shows another layout), so a process is made
//! for each.

use alloc::vec::Vec;

use uexec_core::abi::at;
use uexec_core::{Errno, MmFields};

use crate::arch::{nr, syscall6};
use crate::{ffi, procfs, publish};

const PR_SET_NO_NEW_PRIVS: u64 = 38;

/// Asks to be traced by the parent (`PTRACE_TRACEME`).
///
/// # Errors
/// `EPERM` where a tracer is there already, or tracing is forbidden; what a seccomp filter says.
pub fn trace_me() -> Result<(), Errno> {
    // SAFETY: the request takes no memory; from now on signals stop the process for its parent.
    ffi::result(unsafe { syscall6(nr::PTRACE, [0; 6]) }).map(drop)
}

/// Installs a system call filter that allows everything but reports one number nobody uses to a
/// tracer (`SECCOMP_RET_TRACE`).
///
/// # Errors
/// `EINVAL` on kernels without filters; what another filter says.
pub fn filter_for_tracer() -> Result<(), Errno> {
    ffi::prctl(PR_SET_NO_NEW_PRIVS, 1, 0)?;
    // `struct sock_filter`: code, jump if true, jump if false, operand (`seccomp(2)`).
    let op = |code: u64, jt: u64, jf: u64, k: u64| code | jt << 16 | jf << 24 | k << 32;
    let program: [u64; 4] = [
        op(0x20, 0, 0, 0),           // load the number of the call
        op(0x15, 0, 1, 0x7fff_fff0), // nobody's?
        op(0x06, 0, 0, 0x7ff0_0000), // SECCOMP_RET_TRACE
        op(0x06, 0, 0, 0x7fff_0000), // SECCOMP_RET_ALLOW
    ];
    ffi::tracer::install_filter(&program)
}

/// Asks the kernel whether it would execute this very program (`AT_EXECVE_CHECK`).
///
/// # Errors
/// `EINVAL` before Linux 6.14.
pub fn execve_check() -> Result<(), Errno> {
    let fd = procfs::open_read(c"/proc/self/exe").map_err(ffi::errno)?;
    ffi::execve_check(rustix::fd::AsFd::as_fd(&fd))
}

/// Publishes a layout in which nothing is where it is (`PR_SET_MM_MAP(2const)`).
///
/// # Errors
/// `EINVAL` on kernels without `CONFIG_CHECKPOINT_RESTORE`.
pub fn set_mm() -> Result<(), Errno> {
    const PR_SET_MM: u64 = 35;
    const PR_SET_MM_MAP: u64 = 14;
    const SOMEWHERE: u64 = 0x1000_0000;
    let end = SOMEWHERE + 4096;
    let mm = MmFields {
        start_code: SOMEWHERE,
        end_code: end,
        start_data: SOMEWHERE,
        end_data: end,
        start_brk: end,
        brk: end,
        start_stack: end,
        arg_start: SOMEWHERE,
        arg_end: SOMEWHERE,
        env_start: SOMEWHERE,
        env_end: SOMEWHERE,
    };
    let auxv: [u64; 2] = [at::NULL, 0];
    let map: Vec<u8> = publish::mm_map(&mm, auxv.as_ptr() as u64, 16, u32::MAX);
    let args = [PR_SET_MM, PR_SET_MM_MAP, map.as_ptr() as u64, map.len() as u64, 0, 0];
    // SAFETY: the kernel reads the description and the vector it names; it only stores what
    // `/proc` shows of this process.
    ffi::result(unsafe { syscall6(nr::PRCTL, args) }).map(drop)
}
