//! System calls that look at another, stopped process. None changes it.

use alloc::vec;
use alloc::vec::Vec;

use rustix::fd::{AsRawFd, BorrowedFd};
use uexec_core::Errno;
use uexec_core::coredump::SIGINFO_LEN;

use super::{plain, result};
use crate::arch::{nr, syscall6};

/// A register set of a stopped thread (`PTRACE_GETREGSET`), by its `NT_…` number.
pub(crate) fn register_set(tid: i32, kind: u32) -> Result<Vec<u8>, Errno> {
    const PTRACE_GETREGSET: u64 = 0x4204;
    let mut bytes = vec![0u8; 16 << 10];
    let mut iov = [bytes.as_mut_ptr() as u64, bytes.len() as u64];
    let args = [PTRACE_GETREGSET, tid as u64, u64::from(kind), iov.as_mut_ptr() as u64, 0, 0];
    // SAFETY: `iov` is a `struct iovec` that describes `bytes`, of which the kernel writes a part.
    result(unsafe { syscall6(nr::PTRACE, args) })?;
    bytes.truncate(usize::try_from(iov[1]).unwrap_or(0));
    // There may be thousands of threads.
    bytes.shrink_to_fit();
    Ok(bytes)
}

/// The `siginfo_t` of what stopped a thread (`PTRACE_GETSIGINFO`).
pub(crate) fn signal_info(tid: i32) -> Result<[u8; SIGINFO_LEN], Errno> {
    const PTRACE_GETSIGINFO: u64 = 0x4202;
    let mut info = [0u8; SIGINFO_LEN];
    let args = [PTRACE_GETSIGINFO, tid as u64, 0, info.as_mut_ptr() as u64, 0, 0];
    // SAFETY: writes one `siginfo_t`, which has so many bytes.
    result(unsafe { syscall6(nr::PTRACE, args) })?;
    Ok(info)
}

/// Lets a stopped tracee go on, with a signal or 0; it stays traced.
pub(crate) fn go_on(tid: i32, signal: u64) -> Result<(), Errno> {
    const PTRACE_CONT: u64 = 7;
    plain(nr::PTRACE, [PTRACE_CONT, tid as u64, 0, signal, 0, 0]).map(drop)
}

/// Lets a group-stopped tracee stay stopped, but awake for the tracer (`PTRACE_LISTEN`).
pub(crate) fn listen(tid: i32) -> Result<(), Errno> {
    const PTRACE_LISTEN: u64 = 0x4208;
    plain(nr::PTRACE, [PTRACE_LISTEN, tid as u64, 0, 0, 0, 0]).map(drop)
}

/// Begins to trace a thread, with options (`PTRACE_SEIZE`). Without `PTRACE_O_EXITKILL` it goes on
/// when its tracer ends.
pub(crate) fn seize(tid: i32, options: u64) -> Result<(), Errno> {
    const PTRACE_SEIZE: u64 = 0x4206;
    plain(nr::PTRACE, [PTRACE_SEIZE, tid as u64, 0, options, 0, 0]).map(drop)
}

/// Waits for any child or tracee of the calling thread: its id and status.
pub(crate) fn wait_any() -> Result<(i32, u32), Errno> {
    const WALL: u64 = 0x4000_0000;
    const WNOTHREAD: u64 = 0x2000_0000;
    let mut status = 0u32;
    loop {
        let args = [u64::MAX, (&raw mut status) as u64, WALL | WNOTHREAD, 0, 0, 0];
        // SAFETY: writes one int.
        match result(unsafe { syscall6(nr::WAIT4, args) }) {
            Ok(pid) => return Ok((pid as i32, status)),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e),
        }
    }
}

/// Memory of another process; how much could be read from the start on.
pub(crate) fn read_memory(pid: i32, addr: u64, buf: &mut [u8]) -> Result<usize, Errno> {
    let to = [buf.as_mut_ptr() as u64, buf.len() as u64];
    let from = [addr, buf.len() as u64];
    let args = [pid as u64, to.as_ptr() as u64, 1, from.as_ptr() as u64, 1, 0];
    // SAFETY: reads two descriptions of 16 bytes, and writes at most `buf.len()` bytes to `buf`.
    result(unsafe { syscall6(nr::PROCESS_VM_READV, args) }).map(|n| n as usize)
}

/// Pages that are there (`struct page_region`, `include/uapi/linux/fs.h`, 6.7).
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Region {
    pub(crate) start: u64,
    pub(crate) end: u64,
    categories: u64,
}

/// Which pages are asked for; the kernel's page of zeros is never one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// In memory or in swap.
    Kept,
    /// In memory, of no file and of nothing that processes share on purpose.
    Anonymous,
    /// In memory, mapped 512 at a time.
    Huge,
}

/// Asks a `/proc/PID/pagemap` for pages between two addresses (`PAGEMAP_SCAN`, 6.7): how many regions there are, and up to where was
/// looked, which is the end unless `regions` is too small.
pub(crate) fn scan(
    pagemap: BorrowedFd<'_>,
    start: u64,
    end: u64,
    wanted: Wanted,
    regions: &mut [Region],
) -> Result<(usize, u64), Errno> {
    const PAGEMAP_SCAN: u64 = 0xc060_6610;
    const FILE: u64 = 1 << 2;
    const PRESENT: u64 = 1 << 3;
    const SWAPPED: u64 = 1 << 4;
    const PFNZERO: u64 = 1 << 5;
    const HUGE: u64 = 1 << 6;
    const WALK_END: usize = 4;
    // Size, flags, start, end, where the walk ended, results and their number, most pages; then the
    // categories that are inverted, all needed, one needed, and told.
    let (to, room) = (regions.as_mut_ptr() as u64, regions.len() as u64);
    let (none, any) = match wanted {
        Wanted::Kept => (PFNZERO, PRESENT | SWAPPED),
        Wanted::Anonymous => (PFNZERO | FILE, PRESENT),
        Wanted::Huge => (PFNZERO, HUGE),
    };
    let mut arg = [96, 0, start, end, 0, to, room, 0, none, none, any, any];
    let args = [pagemap.as_raw_fd() as u64, PAGEMAP_SCAN, arg.as_mut_ptr() as u64, 0, 0, 0];
    // SAFETY: reads and writes a `struct pm_scan_arg` of 96 bytes, and writes at most as many regions
    // as there is room for.
    let count = result(unsafe { syscall6(nr::IOCTL, args) })?;
    Ok((count as usize, arg[WALK_END]))
}

/// Size and offset of a component of the XSAVE area.
#[allow(unused_unsafe, reason = "the instruction is safe to use from Rust 1.92 on")]
pub(crate) fn xsave_component(number: u32) -> (u32, u32) {
    // SAFETY: every x86-64 processor has CPUID; a leaf that it lacks reads as zero.
    let leaf = unsafe { core::arch::x86_64::__cpuid_count(0xd, number) };
    (leaf.eax, leaf.ebx)
}
