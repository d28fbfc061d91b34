#![doc = include_str!("../README.md")]
#![no_std]
#![deny(unsafe_code)]

extern crate alloc;

#[allow(unsafe_code, reason = "raw system calls, trampoline and jump")]
mod arch;
#[allow(unsafe_code, reason = "maps the region the trampoline runs in, and enters it")]
mod carry;
#[allow(unsafe_code, reason = "makes processes and threads, as was decided")]
mod create;
mod difference;
mod facts;
#[allow(unsafe_code, reason = "system calls that rustix does not have")]
mod ffi;
mod gadget;
mod host;
mod lower;
mod maps;
mod process;
mod procfs;
mod publish;
#[allow(unsafe_code, reason = "a child that shares the caller's memory until its exec")]
pub mod spawn;

pub use carry::{Prepared, prepare};
pub use create::{Created, Start, clone_facts, create};
pub use difference::Difference;
pub use ffi::is_cloexec;
pub use host::Host;
pub use process::Caller;
pub use uexec_core as core;

/// Ends this process as the kernel ends one whose exec fails after the point of no return: by
/// `SIGSEGV`, without a core dump.
pub fn die() -> ! {
    ffi::die_by_segv()
}

/// Sets `personality(2)` of this process.
///
/// # Errors
/// Those of the call.
pub fn set_personality(persona: u32) -> Result<(), uexec_core::Errno> {
    ffi::set_personality(persona)
}
