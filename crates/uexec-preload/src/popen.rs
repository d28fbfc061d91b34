//! `popen(3)` and `pclose(3)`.

use core::ffi::{c_char, c_int};
use std::ptr::null_mut;
use std::sync::{Mutex, MutexGuard, PoisonError};

use libc::FILE;
use uexec_capi::strings::string;
use uexec_linux::spawn::Step;

use crate::kernel::{errno, fail};
use crate::shell::{start_shell, wait};

/// A stream that is open, and the shell at its other end.
#[derive(Clone, Copy)]
struct Open {
    stream: *mut FILE,
    pid: libc::pid_t,
}

// SAFETY: only compared, and used by whoever has it from the list.
unsafe impl Send for Open {}

static STREAMS: Mutex<Vec<Open>> = Mutex::new(Vec::new());

fn streams() -> MutexGuard<'static, Vec<Open>> {
    STREAMS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn popen(command: *const c_char, mode: *const c_char) -> *mut FILE {
    // SAFETY: null, or the caller's string.
    let command = unsafe { string(command) };
    // SAFETY: likewise.
    let mode = unsafe { string(mode) };
    let (Some(command), Some(mode)) = (command, mode) else {
        fail(libc::EINVAL);
        return null_mut();
    };
    let (mut reads, mut writes, mut keeps) = (false, false, true);
    for letter in mode.to_bytes() {
        match letter {
            b'r' => reads = true,
            b'w' => writes = true,
            b'e' => keeps = false,
            _ => reads = writes,
        }
    }
    if reads == writes {
        fail(libc::EINVAL);
        return null_mut();
    }
    let mut ends = [-1; 2];
    // SAFETY: writes two descriptors to the local.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return null_mut();
    }
    let (own, childs, to) = if reads { (ends[0], ends[1], 1) } else { (ends[1], ends[0], 0) };
    let mode = if reads { c"r" } else { c"w" };
    // SAFETY: a descriptor of ours.
    let stream = unsafe { libc::fdopen(own, mode.as_ptr()) };
    let mut steps = vec![Step::Dup { from: childs, to }];
    // Streams of earlier calls are not the command's.
    // SAFETY: open streams.
    let earlier = |open: &Open| Some(unsafe { libc::fileno(open.stream) }).filter(|fd| *fd != to);
    steps.extend(streams().iter().filter_map(earlier).map(Step::Close));
    let started = if stream.is_null() { Err(errno()) } else { start_shell(command, &steps) };
    // SAFETY: nobody else knows it.
    unsafe { libc::close(childs) };
    match started {
        Ok(pid) => {
            streams().push(Open { stream, pid });
            if keeps {
                // SAFETY: takes numbers.
                unsafe { libc::fcntl(own, libc::F_SETFD, 0) };
            }
            stream
        }
        Err(why) => {
            if stream.is_null() {
                // SAFETY: nobody else knows it.
                unsafe { libc::close(own) };
            } else {
                // SAFETY: nobody else knows it.
                unsafe { libc::fclose(stream) };
            }
            fail(why);
            null_mut()
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pclose(stream: *mut FILE) -> c_int {
    let mut open = streams();
    let Some(place) = open.iter().position(|o| o.stream == stream) else {
        drop(open);
        // SAFETY: a function of libc's with this name and type, or null.
        let libcs = unsafe { libc::dlsym(libc::RTLD_NEXT, c"pclose".as_ptr()) };
        if libcs.is_null() {
            return fail(libc::EINVAL);
        }
        // SAFETY: likewise.
        let libcs: unsafe extern "C" fn(*mut FILE) -> c_int = unsafe { std::mem::transmute(libcs) };
        // SAFETY: the caller's stream.
        return unsafe { libcs(stream) };
    };
    let Open { pid, .. } = open.swap_remove(place);
    drop(open);
    // SAFETY: the caller's stream, which it gives up.
    unsafe { libc::fclose(stream) };
    wait(pid)
}
