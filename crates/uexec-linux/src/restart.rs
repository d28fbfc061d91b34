//! Starts this very program again without randomisation. Where the kernel places a process's later
//! mappings was drawn when the kernel started it and cannot be changed from inside.

use alloc::ffi::CString;
use alloc::vec::Vec;

use uexec_core::Errno;
use uexec_core::abi::personality::ADDR_NO_RANDOMIZE;

use crate::{facts, ffi};

/// Starts this program again, with its own arguments and environment, so that the kernel's own
/// choices are not random any more. Does nothing when they are not random now.
///
/// To be called before anything else is done: the new start finds open descriptors, signal mask
/// and ignored signals as this one did.
///
/// # Errors
/// Where the system forbids it (`personality(2)` is often filtered in containers), or where the
/// kernel would randomise again because the program is privileged.
pub fn restart_unrandomized(argv: &[Vec<u8>], envp: &[Vec<u8>]) -> Result<(), Errno> {
    let persona = ffi::personality();
    if persona & ADDR_NO_RANDOMIZE != 0 {
        return Ok(());
    }
    // Privileged programs lose the bit on every start (PIPE-39, PIPE-43): that would never end.
    let file = rustix::fs::stat(c"/proc/self/exe").map_err(facts::errno)?;
    if file.st_mode & 0o6000 != 0 || facts::is_secure() {
        return Err(Errno::EPERM);
    }
    let strings = |all: &[Vec<u8>]| -> Result<Vec<CString>, Errno> {
        all.iter().map(|s| CString::new(s.as_slice()).map_err(|_| Errno::EINVAL)).collect()
    };
    let (argv, envp) = (strings(argv)?, strings(envp)?);
    ffi::set_personality(persona | ADDR_NO_RANDOMIZE)?;
    let errno = ffi::execve(c"/proc/self/exe", &argv, &envp);
    ffi::set_personality(persona)?;
    Err(errno)
}
