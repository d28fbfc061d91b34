//! What a program needs before, or without, a C library: an allocator, and `memcpy` and its like.
//! For one thread. Never calls a C library.

#![no_std]

mod bump;
mod mem;

pub use bump::Bump;

/// Writes a message of uexec's own to standard error and ends the process with a status.
///
/// What cannot be written is lost.
pub fn quit(message: &[u8], status: u8) -> ! {
    const WRITE: usize = 1;
    const EXIT_GROUP: usize = 231;
    // SAFETY: reads the message.
    unsafe { bump::syscall(WRITE, [2, message.as_ptr() as usize, message.len(), 0]) };
    loop {
        // SAFETY: exit_group never returns.
        unsafe { bump::syscall(EXIT_GROUP, [status.into(), 0, 0, 0]) };
    }
}
