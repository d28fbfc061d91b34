//! `posix_spawn_file_actions_t`, with a content of our own: what libc keeps in it is nobody else's
//! business. Collects, does nothing.

use core::ffi::{c_char, c_int};

use uexec_capi::strings::string;
use uexec_linux::spawn::Step;

/// What a program's `posix_spawn_file_actions_t` holds.
#[repr(C)]
pub(crate) struct Actions {
    magic: u64,
    list: *mut Action,
    len: usize,
    room: usize,
}

impl Actions {
    /// Never initialised, but zeroed, which does for libc.
    const fn is_zeroed(&self) -> bool {
        self.magic == 0 && self.list.is_null() && self.len == 0 && self.room == 0
    }
}

const MAGIC: u64 = 0x7565_7865_6361_6374;

const _: () = assert!(size_of::<Actions>() <= size_of::<libc::posix_spawn_file_actions_t>());

/// One action, with a copy of its path.
#[derive(Clone, Copy)]
#[repr(C)]
struct Action {
    what: What,
    path: *mut c_char,
}

#[derive(Clone, Copy)]
enum What {
    Open { flags: c_int, mode: u32, to: c_int },
    Dup { from: c_int, to: c_int },
    Close(c_int),
    CloseFrom(c_int),
    Chdir,
    Fchdir(c_int),
    Foreground(c_int),
}

/// The actions of a program as steps; `None` if it has others than ours.
///
/// # Safety
/// `actions` is null, or points to what `posix_spawn_file_actions_init` has set up.
pub(crate) unsafe fn steps<'a>(actions: *const Actions) -> Option<Vec<Step<'a>>> {
    // SAFETY: the caller's promise.
    let Some(actions) = (unsafe { actions.as_ref() }) else { return Some(Vec::new()) };
    if actions.is_zeroed() {
        return Some(Vec::new());
    }
    if actions.magic != MAGIC {
        return None;
    }
    let mut steps = Vec::with_capacity(actions.len + 8);
    for i in 0..actions.len {
        // SAFETY: the list has so many.
        let at = unsafe { actions.list.add(i) };
        // SAFETY: likewise.
        let action = unsafe { at.read() };
        // SAFETY: null, or a copy that stays as long as the actions.
        let path = unsafe { string(action.path) }.unwrap_or_default();
        steps.push(match action.what {
            What::Open { flags, mode, to } => Step::Open { path, flags, mode, to },
            What::Dup { from, to } => Step::Dup { from, to },
            What::Close(fd) => Step::Close(fd),
            What::CloseFrom(fd) => Step::CloseFrom(fd),
            What::Chdir => Step::Chdir(path),
            What::Fchdir(fd) => Step::Fchdir(fd),
            What::Foreground(fd) => Step::Foreground(fd),
        });
    }
    Some(steps)
}

unsafe fn add(actions: *mut Actions, what: What, path: *const c_char) -> c_int {
    // SAFETY: the caller's structure.
    let actions = unsafe { &mut *actions };
    if actions.is_zeroed() {
        actions.magic = MAGIC;
    }
    if actions.magic != MAGIC {
        return libc::EINVAL;
    }
    if actions.len == actions.room {
        let room = actions.room + 8;
        // SAFETY: null, or from here.
        let list = unsafe { libc::realloc(actions.list.cast(), room * size_of::<Action>()) };
        if list.is_null() {
            return libc::ENOMEM;
        }
        (actions.list, actions.room) = (list.cast(), room);
    }
    let path = match path.is_null() {
        true => std::ptr::null_mut(),
        // SAFETY: the caller's string.
        false => unsafe { libc::strdup(path) },
    };
    // SAFETY: there is room for one more.
    let at = unsafe { actions.list.add(actions.len) };
    // SAFETY: likewise.
    unsafe { at.write(Action { what, path }) };
    actions.len += 1;
    0
}

/// What POSIX has these functions say of a descriptor that cannot be.
fn bad(fd: c_int) -> bool {
    // SAFETY: takes a number.
    let most = unsafe { libc::sysconf(libc::_SC_OPEN_MAX) };
    fd < 0 || (most >= 0 && i64::from(fd) >= most)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn posix_spawn_file_actions_init(actions: *mut Actions) -> c_int {
    // SAFETY: the caller's structure, which is at least as large.
    unsafe { actions.write(Actions { magic: MAGIC, list: std::ptr::null_mut(), len: 0, room: 0 }) };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn posix_spawn_file_actions_destroy(actions: *mut Actions) -> c_int {
    // SAFETY: the caller's structure.
    let this = unsafe { &mut *actions };
    if this.magic == MAGIC {
        for i in 0..this.len {
            // SAFETY: the list has so many.
            let at = unsafe { this.list.add(i) };
            // SAFETY: likewise.
            let path = unsafe { (*at).path };
            // SAFETY: null, or from strdup.
            unsafe { libc::free(path.cast()) };
        }
        // SAFETY: null, or from realloc.
        unsafe { libc::free(this.list.cast()) };
        *this = Actions { magic: 0, list: std::ptr::null_mut(), len: 0, room: 0 };
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn posix_spawn_file_actions_addopen(
    actions: *mut Actions,
    to: c_int,
    path: *const c_char,
    flags: c_int,
    mode: libc::mode_t,
) -> c_int {
    if bad(to) {
        return libc::EBADF;
    }
    // SAFETY: the caller's.
    unsafe { add(actions, What::Open { flags, mode, to }, path) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn posix_spawn_file_actions_addclose(actions: *mut Actions, fd: c_int) -> c_int {
    if bad(fd) {
        return libc::EBADF;
    }
    // SAFETY: the caller's.
    unsafe { add(actions, What::Close(fd), std::ptr::null()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn posix_spawn_file_actions_adddup2(
    actions: *mut Actions,
    from: c_int,
    to: c_int,
) -> c_int {
    if bad(from) || bad(to) {
        return libc::EBADF;
    }
    // SAFETY: the caller's.
    unsafe { add(actions, What::Dup { from, to }, std::ptr::null()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn posix_spawn_file_actions_addchdir_np(
    actions: *mut Actions,
    path: *const c_char,
) -> c_int {
    // SAFETY: the caller's.
    unsafe { add(actions, What::Chdir, path) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn posix_spawn_file_actions_addfchdir_np(
    actions: *mut Actions,
    fd: c_int,
) -> c_int {
    // Judged by the child alone, in glibc 2.36.
    // SAFETY: the caller's.
    unsafe { add(actions, What::Fchdir(fd), std::ptr::null()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn posix_spawn_file_actions_addclosefrom_np(
    actions: *mut Actions,
    from: c_int,
) -> c_int {
    if bad(from) {
        return libc::EBADF;
    }
    // SAFETY: the caller's.
    unsafe { add(actions, What::CloseFrom(from), std::ptr::null()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn posix_spawn_file_actions_addtcsetpgrp_np(
    actions: *mut Actions,
    terminal: c_int,
) -> c_int {
    if bad(terminal) {
        return libc::EBADF;
    }
    // SAFETY: the caller's.
    unsafe { add(actions, What::Foreground(terminal), std::ptr::null()) }
}

/// The names that POSIX.1-2024 has given two of them.
#[unsafe(no_mangle)]
unsafe extern "C" fn posix_spawn_file_actions_addchdir(
    actions: *mut Actions,
    path: *const c_char,
) -> c_int {
    // SAFETY: the caller's.
    unsafe { posix_spawn_file_actions_addchdir_np(actions, path) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn posix_spawn_file_actions_addfchdir(actions: *mut Actions, fd: c_int) -> c_int {
    // SAFETY: the caller's.
    unsafe { posix_spawn_file_actions_addfchdir_np(actions, fd) }
}
