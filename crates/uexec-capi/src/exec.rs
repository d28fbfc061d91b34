//! The exec family. Each function returns only when it has failed: -1, with `errno` set.

use core::ffi::{CStr, c_char, c_int};

use uexec_core::{Errno, Exec, ExecError, KERNEL_FORMATS, plan};
use uexec_linux::Host;
use uexec_process as family;

use crate::error::uexec_error;
use crate::strings::{string, strings};
use crate::variadic;

type Array = *const *const c_char;

fn fail(error: &ExecError) -> c_int {
    uexec_error::of_exec(error).fail()
}

/// With a path that is there: what the kernel says of one that is not is `EFAULT` (PIPE-1).
unsafe fn with_path(path: *const c_char, f: impl FnOnce(&CStr) -> ExecError) -> c_int {
    // SAFETY: null, or the caller's string.
    match unsafe { string(path) } {
        Some(path) => fail(&f(path)),
        None => fail(&ExecError::host("reading the path", Errno::EFAULT)),
    }
}

/// `execve(2)`.
#[cfg_attr(feature = "exports", unsafe(no_mangle))]
pub unsafe extern "C" fn uexec_execve(path: *const c_char, argv: Array, envp: Array) -> c_int {
    // SAFETY: the caller's array.
    let argv = unsafe { strings(argv) };
    // SAFETY: the caller's array.
    let envp = unsafe { strings(envp) };
    // SAFETY: the caller's string.
    unsafe { with_path(path, |path| family::execve(path, &argv, &envp)) }
}

/// `execv(3)`.
#[cfg_attr(feature = "exports", unsafe(no_mangle))]
pub unsafe extern "C" fn uexec_execv(path: *const c_char, argv: Array) -> c_int {
    // SAFETY: the caller's array.
    let argv = unsafe { strings(argv) };
    // SAFETY: the caller's string.
    unsafe { with_path(path, |path| family::execv(path, &argv)) }
}

/// `execvp(3)`.
#[cfg_attr(feature = "exports", unsafe(no_mangle))]
pub unsafe extern "C" fn uexec_execvp(file: *const c_char, argv: Array) -> c_int {
    // SAFETY: the caller's array.
    let argv = unsafe { strings(argv) };
    // SAFETY: the caller's string.
    unsafe { with_path(file, |file| family::execvp(file, &argv)) }
}

/// `execvpe(3)`.
#[cfg_attr(feature = "exports", unsafe(no_mangle))]
pub unsafe extern "C" fn uexec_execvpe(file: *const c_char, argv: Array, envp: Array) -> c_int {
    // SAFETY: the caller's array.
    let argv = unsafe { strings(argv) };
    // SAFETY: the caller's array.
    let envp = unsafe { strings(envp) };
    // SAFETY: the caller's string.
    unsafe { with_path(file, |file| family::execvpe(file, &argv, &envp)) }
}

/// `execveat(2)`.
#[cfg_attr(feature = "exports", unsafe(no_mangle))]
pub unsafe extern "C" fn uexec_execveat(
    dirfd: c_int,
    path: *const c_char,
    argv: Array,
    envp: Array,
    flags: c_int,
) -> c_int {
    // SAFETY: the caller's array.
    let argv = unsafe { strings(argv) };
    // SAFETY: the caller's array.
    let envp = unsafe { strings(envp) };
    let exec = |path: &CStr| family::execveat(dirfd, path, &argv, &envp, flags as u32);
    // SAFETY: the caller's string.
    unsafe { with_path(path, exec) }
}

/// `fexecve(3)`.
#[cfg_attr(feature = "exports", unsafe(no_mangle))]
pub unsafe extern "C" fn uexec_fexecve(fd: c_int, argv: Array, envp: Array) -> c_int {
    if argv.is_null() || envp.is_null() {
        return fail(&ExecError::host("fexecve", Errno::EINVAL));
    }
    // SAFETY: the caller's array.
    let argv = unsafe { strings(argv) };
    // SAFETY: the caller's array.
    let envp = unsafe { strings(envp) };
    fail(&family::fexecve(fd, &argv, &envp))
}

variadic! {
    /// `execl(3)`.
    #[cfg_attr(feature = "exports", unsafe(no_mangle))]
    uexec_execl => uexec_execv
}

variadic! {
    /// `execlp(3)`.
    #[cfg_attr(feature = "exports", unsafe(no_mangle))]
    uexec_execlp => uexec_execvp
}

variadic! {
    /// `execle(3)`.
    #[cfg_attr(feature = "exports", unsafe(no_mangle))]
    uexec_execle => execle
}

/// The environment follows the list's null pointer.
unsafe extern "C" fn execle(path: *const c_char, list: Array) -> c_int {
    // SAFETY: the list ends with a null pointer.
    let len = unsafe { strings(list) }.len();
    // SAFETY: one beyond that pointer.
    let envp = unsafe { list.add(len + 1) };
    // SAFETY: the caller has passed an array there.
    let envp = unsafe { envp.cast::<Array>().read() };
    // SAFETY: the caller's.
    unsafe { uexec_execve(path, list, envp) }
}

/// Whether [`uexec_execve`] would succeed: 0, or an errno; what is the matter goes to `out`.
#[cfg_attr(feature = "exports", unsafe(no_mangle))]
pub unsafe extern "C" fn uexec_explain(
    path: *const c_char,
    argv: Array,
    envp: Array,
    out: *mut uexec_error,
) -> c_int {
    let words = |array| {
        // SAFETY: the caller's array.
        unsafe { strings(array) }.into_iter().map(|s| s.to_bytes().to_vec()).collect()
    };
    // SAFETY: null, or the caller's string.
    let decided = match unsafe { string(path) } {
        Some(path) => {
            let path = path.to_bytes().to_vec();
            let exec = Exec { path, argv: words(argv), envp: words(envp), ..Exec::default() };
            plan(exec, &mut Host::new(), &KERNEL_FORMATS).map(drop)
        }
        None => Err(ExecError::host("reading the path", Errno::EFAULT)),
    };
    let Err(error) = decided else { return 0 };
    let error = uexec_error::of_exec(&error);
    if !out.is_null() {
        // SAFETY: not null, so it is the caller's structure.
        unsafe { out.write(error) };
    }
    error.remember()
}
