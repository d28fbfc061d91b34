//! The child that finds out about i386 programs: it may be killed by asking.

use alloc::boxed::Box;

use uexec_core::Errno;

use super::{plain, prctl, result};
use crate::arch::ia32::{int80, nr32};
use crate::arch::{nr, syscall6};
use crate::ia32::{Answer, CALLED, READ, STARTED};

/// Lets a child find out about i386 programs; returns what it left and the signal that killed it,
/// or 0. The vdso block lies at `vdso`, `len` bytes of which the first `data` are no code. `None`
/// when there can be no child.
pub(crate) fn ask_ia32(vdso: u64, len: u64, data: u64) -> Option<(Box<Answer>, u64)> {
    // Descriptors are not copied: somebody may be writing a program that is about to run.
    const CLONE_FILES: u64 = 0x400;
    const SHARED_ANONYMOUS: u64 = 0x21;
    const READ_WRITE: u64 = 3;
    let size = size_of::<Answer>() as u64;
    let args = [0, size, READ_WRITE, SHARED_ANONYMOUS, u64::MAX, 0];
    // SAFETY: a new mapping wherever there is room.
    let shared = result(unsafe { syscall6(nr::MMAP, args) }).ok()?;
    // SAFETY: no stack: as fork(2), but without a signal at the child's end. The child only makes
    // raw system calls.
    let pid = result(unsafe { syscall6(nr::CLONE, [CLONE_FILES, 0, 0, 0, 0, 0]) });
    if pid == Ok(0) {
        // SAFETY: this is the child, single-threaded, with a copy of everything.
        unsafe { child_of_ask_ia32(shared as *mut Answer, vdso, len, data) }
    }
    let mut status = 0u32;
    let to = (&raw mut status) as u64;
    const WALL: u64 = 0x4000_0000;
    let waited = pid.and_then(|pid| {
        loop {
            // SAFETY: writes the status, an int.
            match result(unsafe { syscall6(nr::WAIT4, [pid, to, WALL, 0, 0, 0]) }) {
                Err(Errno::EINTR) => {}
                other => return other,
            }
        }
    });
    // SAFETY: mapped above, large enough, page-aligned; the child, its only other user, has ended.
    // Any bytes are valid numbers.
    let answer = waited.is_ok().then(|| Box::new(unsafe { (shared as *const Answer).read() }));
    // SAFETY: mapped above and not used any more.
    let _ = unsafe { syscall6(nr::MUNMAP, [shared, size, 0, 0, 0, 0]) };
    answer.map(|answer| (answer, u64::from(status & 0x7f)))
}

/// The child: an i386 system call, then the i386 vdso in place of the own one. What the kernel
/// does not have kills it, and the answer tells how far it came.
///
/// # Safety
/// Must be a child of its own whose end harms nobody; `answer` is shared with the parent.
unsafe fn child_of_ask_ia32(answer: *mut Answer, vdso: u64, len: u64, data: u64) -> ! {
    const PR_SET_DUMPABLE: u64 = 4;
    const ARCH_MAP_VDSO_32: u64 = 0x2002;
    let default = [0u64; 4];
    let _ = prctl(PR_SET_DUMPABLE, 0, 0);
    // SIGILL, SIGBUS, SIGSEGV, SIGSYS
    for signal in [4, 7, 11, 31] {
        let args = [signal, (&raw const default) as u64, 0, 8, 0, 0];
        // SAFETY: sets the default action from a valid 32-byte `struct sigaction`.
        let _ = unsafe { syscall6(nr::RT_SIGACTION, args) };
    }
    // SAFETY: the parent's shared memory; it looks after this child's end.
    let answer = unsafe { &mut *answer };
    answer.step = STARTED;
    // SAFETY: a new mapping without permissions, private and anonymous, wherever there is room.
    let page = unsafe { int80(nr32::MMAP2, [0, 4096, 0, 0x22, u64::from(u32::MAX)]) };
    if !(-4095..0).contains(&page) {
        answer.page = u64::from(page as u32);
    }
    answer.step = CALLED;
    let room = len + size_of::<Answer>() as u64;
    // SAFETY: a new mapping wherever there is room.
    let place = unsafe { syscall6(nr::MMAP, [0, room, 0, 0x22, u64::MAX, 0]) } as u64;
    // SAFETY: what was mapped above.
    let _ = unsafe { syscall6(nr::MUNMAP, [place, room, 0, 0, 0, 0]) };
    // SAFETY: no code of this child asks the vdso.
    let _ = unsafe { syscall6(nr::MUNMAP, [vdso, len, 0, 0, 0, 0]) };
    let code_len = plain(nr::ARCH_PRCTL, [ARCH_MAP_VDSO_32, place, 0, 0, 0, 0]).unwrap_or(0);
    let code = (place + data) as *const u8;
    if len > data && code_len > 4 && code_len as usize <= answer.code.len() {
        // SAFETY: the mapping has been made there; if it lies elsewhere this faults, and ends a
        // child whose parent expects it.
        unsafe {
            core::ptr::copy_nonoverlapping(code, answer.code.as_mut_ptr(), code_len as usize)
        };
        if answer.code.starts_with(b"\x7fELF") {
            answer.code_len = code_len;
            answer.step = READ;
        }
    }
    loop {
        let _ = plain(nr::EXIT_GROUP, [0; 6]);
    }
}
