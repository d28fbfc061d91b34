//! The kernel's own exec, with its rules: where it is to start a program. Never loads one.

use alloc::ffi::CString;
use alloc::vec::Vec;

use uexec_core::world::At;
use uexec_core::{Errno, Exec};

use crate::ffi::thread;

/// Replaces this process by a program, by `execveat(2)`. Of `exec` counts what that call takes;
/// strings end at their first NUL. Returns only when it fails.
///
/// ```
/// use uexec_core::{Errno, Exec};
/// assert_eq!(uexec_linux::exec_by_kernel(&Exec::new("/nowhere")), Errno::ENOENT);
/// ```
#[must_use = "it has failed when it returns"]
pub fn exec_by_kernel(exec: &Exec) -> Errno {
    const AT_FDCWD: i32 = -100;
    let fd = match exec.at {
        At::Cwd => AT_FDCWD,
        At::Fd(fd) => fd,
    };
    let text = |s: &Vec<u8>| CString::new(s.split(|b| *b == 0).next().unwrap_or_default());
    let texts = |of: &[Vec<u8>]| of.iter().map(text).collect::<Result<Vec<_>, _>>();
    let (Ok(path), Ok(argv), Ok(envp)) = (text(&exec.path), texts(&exec.argv), texts(&exec.envp))
    else {
        return Errno::EINVAL;
    };
    let pointers =
        |of: &[CString]| -> Vec<u64> { of.iter().map(|s| s.as_ptr() as u64).chain([0]).collect() };
    let (words, variables) = (pointers(&argv), pointers(&envp));
    // SAFETY: both hold pointers to strings that live until the end of this function, and a null
    // pointer last.
    unsafe { thread::kernel_exec(fd, &path, words.as_ptr(), variables.as_ptr(), exec.flags) }
}
