//! One exec: asks the kernel, decides, hands over to the loader. Runs in any process, a child of
//! `vfork(2)` included: takes no lock, and no memory but its own.

use core::ffi::{CStr, c_char, c_int};
use std::os::fd::AsRawFd;

use uexec_capi::strings::{string, strings};
use uexec_core::world::At;
use uexec_core::{Errno, Exec, ExecError, Reason, plan};
use uexec_linux::Host;
use uexec_linux::spawn::Loader;

use crate::arena::Arena;
use crate::cancel::Uncancelled;
use crate::kernel::{self, AT_EXECVE_CHECK, Array, Pointers, count, words_of};
use crate::rules;

/// So many arguments are handed to the loader without taking memory.
const FEW: usize = 1000;

/// Executes; answers the errno it was refused with, and then nothing has changed.
///
/// # Safety
/// As `execveat(2)`: `argv` and `envp` are null, or arrays of C strings that end with a null
/// pointer.
pub(crate) unsafe fn exec(
    dirfd: c_int,
    path: *const c_char,
    argv: Array,
    envp: Array,
    flags: c_int,
) -> c_int {
    let uncancelled = Uncancelled::new();
    // SAFETY: only asks.
    let said = unsafe { kernel::execveat(dirfd, path, argv, envp, flags | AT_EXECVE_CHECK) };
    // Before Linux 6.14 it does not know the question.
    let asked = !matches!(said, libc::EINVAL | libc::ENOSYS);
    if asked && (said != 0 || flags & AT_EXECVE_CHECK != 0) {
        return said;
    }
    // SAFETY: the kernel has read it, or it is the caller's.
    let Some(name) = (unsafe { string(path) }) else { return libc::EFAULT };
    let verdict = match Arena::enter() {
        // SAFETY: the caller's promise.
        Some(_arena) => unsafe { decide(dirfd, name, argv, envp, flags) },
        None => Verdict::Kernel,
    };
    match verdict {
        Verdict::Load => {
            // SAFETY: the caller's promise.
            let errno = unsafe { load(dirfd, name, argv, envp, &uncancelled) };
            if !takes_too_much(errno) {
                return errno;
            }
        }
        Verdict::Refuse(errno) => return errno,
        Verdict::Kernel => {}
    }
    // SAFETY: the caller's promise.
    uncancelled.lifted(|| unsafe { kernel::execveat(dirfd, path, argv, envp, flags) })
}

/// Whether it may be the loader, told more and a file of its own, that there is no room for.
pub(crate) const fn takes_too_much(errno: c_int) -> bool {
    matches!(errno, libc::E2BIG | libc::EMFILE | libc::ENFILE | libc::ENOMEM)
}

/// What is to be done with a program.
pub(crate) enum Verdict {
    /// uexec loads it.
    Load,
    /// It cannot be executed.
    Refuse(c_int),
    /// Only the kernel can do it.
    Kernel,
}

/// Decides, within an [arena](Arena).
///
/// # Safety
/// As [`exec`].
pub(crate) unsafe fn decide(
    dirfd: c_int,
    path: &CStr,
    argv: Array,
    envp: Array,
    flags: c_int,
) -> Verdict {
    let words = |array| {
        // SAFETY: the caller's promise.
        unsafe { strings(array) }.into_iter().map(|s| s.to_bytes().to_vec()).collect()
    };
    let exec = Exec {
        at: if dirfd == libc::AT_FDCWD { At::Cwd } else { At::Fd(dirfd) },
        path: path.to_bytes().to_vec(),
        flags: flags as u32,
        fd_cloexec: uexec_linux::is_cloexec(dirfd).unwrap_or(false),
        argv: words(argv),
        envp: words(envp),
        untold: true,
        ..Exec::default()
    };
    let config = rules::config();
    let rules = config.misc();
    match plan(exec, &mut Host::new(), &config.formats(&rules)) {
        Ok(_) => Verdict::Load,
        Err(error) if only_the_kernel_can(&error) => Verdict::Kernel,
        Err(error) => Verdict::Refuse(error.errno().0.into()),
    }
}

/// Whether uexec refuses what the kernel would do. That may have rules of its own for what nobody knows
/// here.
fn only_the_kernel_can(error: &ExecError) -> bool {
    matches!(
        error.refusal.reason,
        Reason::Privilege { .. } | Reason::PrivilegeCaps { .. } | Reason::Unreadable
    ) || matches!(
        error.errno(),
        Errno::ENOSYS | Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::ENOEXEC
    )
}

/// Lets the kernel execute the loader, which loads the program; answers the errno it was refused
/// with.
///
/// # Safety
/// As [`exec`].
unsafe fn load(
    dirfd: c_int,
    path: &CStr,
    argv: Array,
    envp: Array,
    uncancelled: &Uncancelled,
) -> c_int {
    let loader = {
        let Some(_arena) = Arena::enter() else { return libc::ENOMEM };
        Loader::new(&rules::image())
    };
    let loader = match loader {
        Ok(loader) => loader,
        Err(errno) => return errno.0.into(),
    };
    // SAFETY: the caller's array.
    let words = unsafe { count(argv) };
    let at = Word::new(dirfd, path);
    let own = [c"uexec-loader".as_ptr(), at.as_ptr(), path.as_ptr()];
    let mut few = [std::ptr::null(); FEW];
    let mut many = Pointers::none();
    let array = match few.get_mut(..own.len() + words + 1) {
        Some(few) => few,
        None => many.room(own.len() + words + 1),
    };
    if array.is_empty() {
        return libc::ENOMEM;
    }
    array[..own.len()].copy_from_slice(&own);
    // SAFETY: the array has so many.
    array[own.len()..own.len() + words].copy_from_slice(unsafe { words_of(argv, words) });
    let fd = loader.as_fd().as_raw_fd();
    // A descriptor has to outlive the loader's exec by the kernel; the loader then closes it.
    let kept = at.closes().then(|| set_cloexec(dirfd, false));
    let array = array.as_ptr();
    let errno = uncancelled.lifted(|| {
        // SAFETY: arrays of C strings that end with a null pointer.
        unsafe { kernel::execveat(fd, c"".as_ptr(), array, envp, libc::AT_EMPTY_PATH) }
    });
    if kept.is_some() {
        set_cloexec(dirfd, true);
    }
    errno
}

fn set_cloexec(fd: c_int, cloexec: bool) {
    // SAFETY: takes numbers.
    unsafe { libc::fcntl(fd, libc::F_SETFD, c_int::from(cloexec)) };
}

/// What the loader is told of where a path starts: nothing, or a descriptor, which it closes if
/// there is a minus before it.
struct Word([u8; 16]);

impl Word {
    fn new(dirfd: c_int, path: &CStr) -> Word {
        let mut word = [0; 16];
        word[0] = b'-';
        if dirfd == libc::AT_FDCWD || path.to_bytes().starts_with(b"/") {
            return Word(word);
        }
        let sign = usize::from(uexec_linux::is_cloexec(dirfd).unwrap_or(false));
        let mut rest = dirfd;
        let digits = dirfd.checked_ilog10().unwrap_or(0) as usize + 1;
        for to in word[sign..sign + digits].iter_mut().rev() {
            *to = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        Word(word)
    }

    /// Whether it is a descriptor that the loader closes.
    fn closes(&self) -> bool {
        self.0[0] == b'-' && self.0[1] != 0
    }

    fn as_ptr(&self) -> *const c_char {
        self.0.as_ptr().cast()
    }
}
