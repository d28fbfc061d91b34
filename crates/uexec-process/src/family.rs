//! The exec family of libc, with libc's semantics, in user space: each of these returns only when
//! it has failed, and then nothing has changed.
//!
//! | | program | environment |
//! | --- | --- | --- |
//! | [`execl`], [`execv`] | path | the caller's |
//! | [`execlp`], [`execvp`] | looked for in the caller's `PATH` | the caller's |
//! | [`execvpe`] | looked for in the caller's `PATH` | given |
//! | [`execle`], [`execve`] | path | given |
//! | [`execveat`], [`fexecve`] | descriptor, or path from one | given |
//!
//! Those that look for a program go on after `ENOENT`, `ENOTDIR`, `ESTALE`, `ENODEV`, `ETIMEDOUT`
//! and `EACCES`, and fail with `EACCES` if they have met it (ERR-71). They run a file that is no
//! program by `/bin/sh` (ERR-70); the others never do.

use std::ffi::{CStr, CString};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;

use uexec_core::lookup::{SHELL, Search, candidates, shell_argv};
use uexec_core::world::At;
use uexec_core::{Errno, Exec, ExecError, flags};

use crate::Formats;
use crate::environ::environ;
use crate::replace::replace;

/// `AT_FDCWD` of `openat(2)`.
pub const AT_FDCWD: RawFd = -100;

/// `execve(2)`: replaces this process by the program at `path`.
///
/// ```
/// let error = uexec_process::execve(c"/no/such", &[c"such"], &[]);
/// assert_eq!(error.errno().name(), "ENOENT");
/// ```
pub fn execve(path: &CStr, argv: &[&CStr], envp: &[&CStr]) -> ExecError {
    replace(exec(path, argv, words(envp)), Formats::Kernel)
}

/// `execv(3)`: as [`execve`] with this process's environment.
pub fn execv(path: &CStr, argv: &[&CStr]) -> ExecError {
    replace(exec(path, argv, environment()), Formats::Kernel)
}

/// `execl(3)`. What is a list in C is a slice here, so that this is [`execv`].
pub fn execl(path: &CStr, args: &[&CStr]) -> ExecError {
    execv(path, args)
}

/// `execle(3)`: as [`execve`].
pub fn execle(path: &CStr, args: &[&CStr], envp: &[&CStr]) -> ExecError {
    execve(path, args, envp)
}

/// `execvpe(3)`: looks for `file` in this process's `PATH`; its environment is given.
///
/// ```
/// let error = uexec_process::execvpe(c"no-such-program", &[c"x"], &[]);
/// assert_eq!(error.errno().name(), "ENOENT");
/// ```
pub fn execvpe(file: &CStr, argv: &[&CStr], envp: &[&CStr]) -> ExecError {
    let path = std::env::var_os("PATH");
    search(file, argv, words(envp), path.as_ref().map(|p| p.as_bytes()), Formats::Kernel)
}

/// `execvp(3)`: looks for `file` in `PATH`; the environment is this process's.
pub fn execvp(file: &CStr, argv: &[&CStr]) -> ExecError {
    let path = std::env::var_os("PATH");
    search(file, argv, environment(), path.as_ref().map(|p| p.as_bytes()), Formats::Kernel)
}

/// `execlp(3)`: as [`execvp`].
pub fn execlp(file: &CStr, args: &[&CStr]) -> ExecError {
    execvp(file, args)
}

/// `execveat(2)`: `path` starts at the directory `dirfd`, which may be [`AT_FDCWD`]; with
/// `AT_EMPTY_PATH` and an empty path the descriptor is the program.
///
/// ```
/// let error = uexec_process::execveat(-1, c"x", &[c"x"], &[], 0);
/// assert_eq!(error.errno().name(), "EBADF");
/// ```
pub fn execveat(
    dirfd: RawFd,
    path: &CStr,
    argv: &[&CStr],
    envp: &[&CStr],
    flags: u32,
) -> ExecError {
    let at = if dirfd == AT_FDCWD { At::Cwd } else { At::Fd(dirfd) };
    let fd_cloexec = uexec_linux::is_cloexec(dirfd).unwrap_or(false);
    replace(Exec { at, flags, fd_cloexec, ..exec(path, argv, words(envp)) }, Formats::Kernel)
}

/// `fexecve(3)`: executes the file behind a descriptor.
///
/// ```
/// let error = uexec_process::fexecve(-1, &[c"x"], &[]);
/// assert_eq!(error.errno().name(), "EINVAL");
/// ```
pub fn fexecve(fd: RawFd, argv: &[&CStr], envp: &[&CStr]) -> ExecError {
    if fd < 0 {
        return ExecError::host("fexecve", Errno::EINVAL);
    }
    execveat(fd, c"", argv, envp, flags::AT_EMPTY_PATH)
}

/// `execvpe(3)` with a search path of the caller's choice; `None` for the default one.
pub(crate) fn search(
    file: &CStr,
    argv: &[&CStr],
    envp: Vec<Vec<u8>>,
    path: Option<&[u8]>,
    formats: Formats,
) -> ExecError {
    let tried = match candidates(file.to_bytes(), path) {
        Ok(tried) => tried,
        Err(errno) => return ExecError::host("looking for the program", errno),
    };
    let argv = words(argv);
    let mut search = Search::default();
    let mut denied = None;
    let mut last = ExecError::host("looking for the program", Errno::ENOENT);
    for path in tried {
        let exec = |path, argv| Exec { path, argv, envp: envp.clone(), ..Exec::default() };
        last = replace(exec(path.clone(), argv.clone()), formats);
        if last.errno() == Errno::ENOEXEC {
            last = replace(exec(SHELL.to_vec(), shell_argv(&path, &argv)), formats);
        }
        if !search.goes_on(last.errno()) {
            return last;
        }
        if last.errno() == Errno::EACCES {
            denied.get_or_insert_with(|| last.clone());
        }
    }
    denied.unwrap_or(last)
}

fn exec(path: &CStr, argv: &[&CStr], envp: Vec<Vec<u8>>) -> Exec {
    Exec { path: path.to_bytes().to_vec(), argv: words(argv), envp, ..Exec::default() }
}

pub(crate) fn words(words: &[&CStr]) -> Vec<Vec<u8>> {
    words.iter().map(|w| w.to_bytes().to_vec()).collect()
}

/// This process's environment.
fn environment() -> Vec<Vec<u8>> {
    environ().into_iter().map(CString::into_bytes).collect()
}
