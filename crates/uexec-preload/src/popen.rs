//! `popen(3)` and `pclose(3)`; and `fclose(3)`, which some call instead of it.

use core::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicPtr, AtomicUsize};
use std::sync::{Mutex, MutexGuard, PoisonError};

use libc::FILE;
use uexec_capi::strings::string;
use uexec_linux::spawn::Step;

use crate::cancel::Uncancelled;
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
    let _uncancelled = Uncancelled::new();
    // SAFETY: null, or the caller's string.
    let command = unsafe { string(command) };
    // SAFETY: likewise.
    let mode = unsafe { string(mode) };
    let (Some(command), Some(mode)) = (command, mode) else {
        fail(libc::EINVAL);
        return null_mut();
    };
    let (mut reads, mut writes, mut keeps, mut known) = (false, false, true, true);
    for letter in mode.to_bytes() {
        match letter {
            b'r' => reads = true,
            b'w' => writes = true,
            b'e' => keeps = false,
            _ => known = false,
        }
    }
    if reads == writes || !known {
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
            NR_OPEN.fetch_add(1, Relaxed);
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
                unsafe { libcs(&FCLOSE, c"fclose", stream) };
            }
            fail(why);
            null_mut()
        }
    }
}

/// How many there are.
static NR_OPEN: AtomicUsize = AtomicUsize::new(0);

/// Closes a stream of ours and waits for its shell; `None` if it is none.
fn end(stream: *mut FILE) -> Option<c_int> {
    if NR_OPEN.load(Relaxed) == 0 {
        return None;
    }
    let _uncancelled = Uncancelled::new();
    let mut open = streams();
    let place = open.iter().position(|o| o.stream == stream)?;
    let Open { pid, .. } = open.swap_remove(place);
    NR_OPEN.fetch_sub(1, Relaxed);
    drop(open);
    // SAFETY: the caller's stream, which it gives up.
    unsafe { libcs(&FCLOSE, c"fclose", stream) };
    Some(wait(pid))
}

static FCLOSE: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
static PCLOSE: AtomicPtr<c_void> = AtomicPtr::new(null_mut());

/// libc's own function of this name and the type of `fclose(3)`, looked up once.
///
/// # Safety
/// As of that function.
unsafe fn libcs(known: &AtomicPtr<c_void>, name: &CStr, stream: *mut FILE) -> c_int {
    let mut found = known.load(Relaxed);
    if found.is_null() {
        // SAFETY: a name.
        found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
        known.store(found, Relaxed);
    }
    if found.is_null() {
        return fail(libc::EINVAL);
    }
    // SAFETY: a function of libc's with this name and type.
    let f: unsafe extern "C" fn(*mut FILE) -> c_int = unsafe { std::mem::transmute(found) };
    // SAFETY: the caller's promise.
    unsafe { f(stream) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pclose(stream: *mut FILE) -> c_int {
    // SAFETY: the caller's stream.
    end(stream).unwrap_or_else(|| unsafe { libcs(&PCLOSE, c"pclose", stream) })
}

/// libc's waits for the command, too; and the stream's place in memory is the next one's.
#[unsafe(no_mangle)]
unsafe extern "C" fn fclose(stream: *mut FILE) -> c_int {
    // SAFETY: the caller's stream.
    end(stream).unwrap_or_else(|| unsafe { libcs(&FCLOSE, c"fclose", stream) })
}
