//! The functions of libc that replace a process.

use core::ffi::{CStr, c_char, c_int};

use uexec_capi::strings::string;
use uexec_capi::variadic;
use uexec_core::Errno;
use uexec_core::lookup::{SHELL, Search, candidates};

use crate::arena::Arena;
use crate::exec::exec;
use crate::kernel::{Array, Pointers, count, fail, words_of};

unsafe extern "C" {
    static environ: Array;
}

/// The caller's environment now.
pub(crate) fn environment() -> Array {
    // SAFETY: libc's variable; a program that changes it meanwhile in another thread has the same
    // trouble with libc's own functions.
    unsafe { environ }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn execve(path: *const c_char, argv: Array, envp: Array) -> c_int {
    // SAFETY: the caller's.
    fail(unsafe { exec(libc::AT_FDCWD, path, argv, envp, 0) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn execveat(
    dirfd: c_int,
    path: *const c_char,
    argv: Array,
    envp: Array,
    flags: c_int,
) -> c_int {
    // SAFETY: the caller's.
    match unsafe { exec(dirfd, path, argv, envp, flags) } {
        0 => 0,
        errno => fail(errno),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fexecve(fd: c_int, argv: Array, envp: Array) -> c_int {
    if fd < 0 || argv.is_null() || envp.is_null() {
        return fail(libc::EINVAL);
    }
    // SAFETY: the caller's.
    fail(unsafe { exec(fd, c"".as_ptr(), argv, envp, libc::AT_EMPTY_PATH) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn execv(path: *const c_char, argv: Array) -> c_int {
    // SAFETY: the caller's.
    fail(unsafe { exec(libc::AT_FDCWD, path, argv, environment(), 0) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn execvp(file: *const c_char, argv: Array) -> c_int {
    // SAFETY: the caller's.
    fail(unsafe { search(file, argv, environment()) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn execvpe(file: *const c_char, argv: Array, envp: Array) -> c_int {
    // SAFETY: the caller's.
    fail(unsafe { search(file, argv, envp) })
}

variadic! {
    #[unsafe(no_mangle)]
    execl => execv
}

variadic! {
    #[unsafe(no_mangle)]
    execlp => execvp
}

variadic! {
    #[unsafe(no_mangle)]
    execle => execle_list
}

/// The environment follows the list's null pointer.
unsafe extern "C" fn execle_list(path: *const c_char, list: Array) -> c_int {
    // SAFETY: the list ends with a null pointer.
    let len = unsafe { count(list) };
    // SAFETY: one beyond that pointer.
    let envp = unsafe { list.add(len + 1) };
    // SAFETY: the caller has passed an array there.
    let envp = unsafe { envp.cast::<Array>().read() };
    // SAFETY: the caller's.
    fail(unsafe { exec(libc::AT_FDCWD, path, list, envp, 0) })
}

/// The value of `PATH`.
pub(crate) fn search_path<'a>() -> Option<&'a [u8]> {
    // SAFETY: a C string; see `environment` for other threads.
    let value = unsafe { libc::getenv(c"PATH".as_ptr()) };
    // SAFETY: null, or a string of the environment.
    unsafe { string(value) }.map(CStr::to_bytes)
}

/// Executes what is found in `PATH`; answers the errno (ERR-70, ERR-71).
unsafe fn search(file: *const c_char, argv: Array, envp: Array) -> c_int {
    // SAFETY: null, or the caller's string.
    let Some(name) = (unsafe { string(file) }) else { return libc::EFAULT };
    let mut path = [0u8; libc::PATH_MAX as usize + 256];
    let mut search = Search::default();
    for i in 0.. {
        match candidate(name.to_bytes(), i, &mut path) {
            Ok(true) => {}
            Ok(false) => break,
            Err(errno) => return errno,
        }
        // SAFETY: the caller's arrays.
        let mut errno = unsafe { exec(libc::AT_FDCWD, path.as_ptr().cast(), argv, envp, 0) };
        if errno == libc::ENOEXEC {
            // SAFETY: the caller's arrays.
            errno = unsafe { by_shell(path.as_ptr().cast(), argv, envp) };
        }
        if !search.goes_on(Errno(errno as u16)) {
            return errno;
        }
    }
    search.errno().0.into()
}

/// Writes the candidate with this number to `to`, ended by NUL; false when there are no more.
fn candidate(name: &[u8], number: usize, to: &mut [u8]) -> Result<bool, c_int> {
    let _arena = Arena::enter().ok_or(libc::ENOMEM)?;
    let all = candidates(name, search_path()).map_err(|e| c_int::from(e.0))?;
    let Some(path) = all.get(number) else { return Ok(false) };
    let to = to.get_mut(..=path.len()).ok_or(libc::ENAMETOOLONG)?;
    to[..path.len()].copy_from_slice(path);
    to[path.len()] = 0;
    Ok(true)
}

/// Lets the shell run a file that is no program.
unsafe fn by_shell(path: *const c_char, argv: Array, envp: Array) -> c_int {
    let mut shell = [0u8; SHELL.len() + 1];
    shell[..SHELL.len()].copy_from_slice(SHELL);
    let shell = shell.as_ptr().cast();
    // SAFETY: the caller's array.
    let words = unsafe { count(argv) };
    let mut few = [std::ptr::null(); 256];
    let mut many = Pointers::none();
    let array = match few.get_mut(..words + 3) {
        Some(few) => few,
        None => many.room(words + 3),
    };
    if array.is_empty() {
        return libc::ENOMEM;
    }
    array[0] = shell;
    array[1] = path;
    // SAFETY: the array has so many.
    let rest = unsafe { words_of(argv, words) }.get(1..).unwrap_or_default();
    array[2..2 + rest.len()].copy_from_slice(rest);
    // SAFETY: an array of C strings that ends with a null pointer, and the caller's.
    unsafe { exec(libc::AT_FDCWD, shell, array.as_ptr(), envp, 0) }
}
