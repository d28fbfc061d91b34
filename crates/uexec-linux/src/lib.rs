#![doc = include_str!("../README.md")]
#![no_std]
#![deny(unsafe_code)]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

#[allow(unsafe_code, reason = "raw system calls, trampoline and jump")]
mod arch;
#[allow(unsafe_code, reason = "raw system calls that try what a host allows")]
pub mod attempt;
#[allow(unsafe_code, reason = "maps the region the trampoline runs in, and enters it")]
mod carry;
#[allow(unsafe_code, reason = "makes processes and threads, as was decided")]
mod create;
mod difference;
pub mod dump;
#[allow(unsafe_code, reason = "gives the process away")]
pub mod exec;
mod facts;
#[allow(unsafe_code, reason = "system calls that rustix does not have")]
mod ffi;
mod gadget;
#[allow(unsafe_code, reason = "the memory of a program that stays until its last step")]
mod home;
mod host;
mod ia32;
mod inherit;
#[allow(unsafe_code, reason = "gives the process away")]
mod kernel;
mod known;
#[allow(unsafe_code, reason = "closes descriptors and resets signals by their number")]
mod leave;
mod lower;
mod maps;
mod process;
mod procfs;
mod publish;
#[allow(unsafe_code, reason = "futexes at addresses that a list names")]
mod robust;
#[allow(unsafe_code, reason = "calls on another stack")]
mod room;
mod sealed;
#[allow(unsafe_code, reason = "starts another program by the kernel")]
mod share;
#[allow(unsafe_code, reason = "maps a library where nothing is")]
mod shlib;
#[allow(unsafe_code, reason = "a child that shares the caller's memory until its exec")]
pub mod spawn;
#[allow(unsafe_code, reason = "what stopped threads run, and the process that stops them")]
mod threads;
pub mod tree;

pub use carry::{Prepared, prepare};
pub use create::{Created, Start, clone_facts, create};
pub use difference::Difference;
pub use dump::core_dump;
pub use ffi::is_cloexec;
pub use home::{Home, prepare_at};
pub use host::Host;
pub use kernel::exec_by_kernel;
pub use known::Known;
pub use process::Caller;
pub use shlib::load_shlib;
pub use uexec_core as core;

/// Ends this process as the kernel ends one whose exec fails after the point of no return: by
/// `SIGSEGV`, without a core dump.
pub fn die() -> ! {
    ffi::die_by_segv()
}

/// Has the kernel lay out what this process executes next as under `setarch -R`; all descendants
/// inherit it.
///
/// # Errors
/// Those of `personality(2)`.
pub fn without_aslr() -> Result<(), uexec_core::Errno> {
    ffi::set_personality(ffi::personality() | uexec_core::abi::personality::ADDR_NO_RANDOMIZE)
}

/// Sets `personality(2)` of this process.
///
/// # Errors
/// Those of the call.
pub fn set_personality(persona: u32) -> Result<(), uexec_core::Errno> {
    ffi::set_personality(persona)
}
