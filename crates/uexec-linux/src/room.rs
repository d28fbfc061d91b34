//! Room for an exec to work in: memory, as an allocation that fails would end the process, and a stack,
//! as that of the calling thread may be small.

use alloc::vec::Vec;

use uexec_core::Errno;

use crate::arch::{call_on_stack, nr, syscall6};
use crate::ffi;

/// What deciding and preparing take, the stack included; more is mapped where failure can be told.
const MEMORY: u64 = 640 << 10;
const STACK: usize = 256 << 10;

/// Whether there is as much memory as [`Exec::exec`](crate::exec::Exec::exec) needs, and room for a few
/// mappings more: where an allocation fails the process ends.
///
/// # Errors
/// `ENOMEM` where a limit is reached (`RLIMIT_AS`, `RLIMIT_DATA`, `vm.max_map_count`), or
/// `RLIMIT_MEMLOCK` after `mlockall(2)` of what is mapped later.
pub fn ask() -> Result<(), Errno> {
    const PRIVATE_ANONYMOUS: u64 = 0x22;
    const READ_WRITE: u64 = 3;
    let nowhere = [0, MEMORY, READ_WRITE, PRIVATE_ANONYMOUS, u64::MAX, 0];
    // SAFETY: fresh memory, wherever there is room.
    let mapped = ffi::result(unsafe { syscall6(nr::MMAP, nowhere) });
    let at = mapped.map_err(|_| Errno::ENOMEM)?;
    // Every second page of a few another protection: a mapping of its own each.
    let split = (1..5).all(|i| {
        let page = [at + i * 8192, 4096, 0, 0, 0, 0];
        // SAFETY: a page of the mapping above, which nobody uses.
        ffi::result(unsafe { syscall6(nr::MPROTECT, page) }).is_ok()
    });
    // SAFETY: as a whole, likewise.
    let _ = unsafe { syscall6(nr::MUNMAP, [at, MEMORY, 0, 0, 0, 0]) };
    if split { Ok(()) } else { Err(Errno::ENOMEM) }
}

/// Calls `f` on a stack that is large enough for an exec.
///
/// Not from a signal handler on an alternate stack: while another is used the kernel takes that for
/// free, and the next signal would overwrite it.
pub(crate) fn on_own_stack(f: &mut dyn FnMut()) {
    if ffi::is_on_alternate_stack() {
        return f();
    }
    let stack = Vec::<u8>::with_capacity(STACK);
    let mut f = f;
    let top = stack.as_ptr() as u64 + stack.capacity() as u64;
    // SAFETY: the stack is nobody else's and stays until the call has returned, as does the closure,
    // of which the address is handed to its only user.
    unsafe { call_on_stack(top, trampoline, (&raw mut f) as u64) };
}

extern "C" fn trampoline(closure: u64) {
    // SAFETY: `on_own_stack` waits for this call, and lends it the closure.
    let f = unsafe { &mut *(closure as *mut &mut dyn FnMut()) };
    f();
}
