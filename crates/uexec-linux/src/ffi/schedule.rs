//! System calls about how a thread is scheduled and where its memory comes from.

use alloc::vec::Vec;

use uexec_core::Errno;

use super::{plain, result};
use crate::arch::{nr, syscall6};

/// `struct sched_attr`, 56 bytes.
pub(crate) type Schedule = [u64; 7];

/// `sched_getattr(2)` of the calling thread.
pub(crate) fn schedule() -> Option<Schedule> {
    let mut schedule: Schedule = [0; 7];
    let len = size_of::<Schedule>() as u64;
    let args = [0, (&raw mut schedule) as u64, len, 0, 0, 0];
    // SAFETY: writes at most so many bytes.
    result(unsafe { syscall6(nr::SCHED_GETATTR, args) }).ok().map(|_| schedule)
}

/// `sched_setattr(2)` of a thread.
pub(crate) fn set_schedule(tid: i32, schedule: &Schedule) -> Result<(), Errno> {
    let args = [tid as u64, core::ptr::from_ref(schedule) as u64, 0, 0, 0, 0];
    // SAFETY: reads as many bytes as the structure says it has, which the kernel has filled in.
    result(unsafe { syscall6(nr::SCHED_SETATTR, args) }).map(drop)
}

/// Processors that the calling thread may run on, a bit each.
pub(crate) fn affinity() -> Vec<u64> {
    let mut set = alloc::vec![0u64; 1024];
    let args = [0, (set.len() * 8) as u64, set.as_mut_ptr() as u64, 0, 0, 0];
    // SAFETY: writes at most so many bytes; tells how many.
    let len = result(unsafe { syscall6(nr::SCHED_GETAFFINITY, args) }).unwrap_or(0);
    set.truncate(len as usize / 8);
    set
}

/// I/O priority of the calling thread (`ioprio_get(2)`).
pub(crate) fn io_priority() -> u64 {
    plain(nr::IOPRIO_GET, [1, 0, 0, 0, 0, 0]).unwrap_or(0)
}

/// Words of a set of memory nodes: 1024, as many as any kernel is built for.
pub(crate) const NODE_WORDS: usize = 16;

/// Memory policy of the calling thread, and its nodes.
pub(crate) fn memory_policy() -> Option<(u64, [u64; NODE_WORDS])> {
    let (mut mode, mut nodes) = (0u32, [0u64; NODE_WORDS]);
    let bits = NODE_WORDS as u64 * 64;
    let args = [(&raw mut mode) as u64, nodes.as_mut_ptr() as u64, bits, 0, 0, 0];
    // SAFETY: writes an int and at most so many bits.
    result(unsafe { syscall6(nr::GET_MEMPOLICY, args) }).ok()?;
    Some((mode.into(), nodes))
}
