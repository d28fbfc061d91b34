//! The last failure of each thread, in words. The errno is in `errno`, where C looks for it.

use core::ffi::{c_char, c_int};
use std::cell::RefCell;

use uexec_core::ExecError;
use uexec_process::SpawnError;

/// `struct uexec_error` of `uexec.h`.
#[allow(non_camel_case_types, reason = "the name in C")]
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct uexec_error {
    /// The errno; 0 when nothing has failed yet.
    pub errnum: c_int,
    /// Where it failed, e.g. `open` or `elf.interp`.
    pub stage: [c_char; 32],
    /// The file at fault, if one is.
    pub file: [c_char; 256],
    /// The cause.
    pub why: [c_char; 256],
    /// The remedy, if one is known.
    pub hint: [c_char; 256],
}

impl uexec_error {
    const NONE: uexec_error =
        uexec_error { errnum: 0, stage: [0; 32], file: [0; 256], why: [0; 256], hint: [0; 256] };

    pub(crate) fn of_exec(error: &ExecError) -> uexec_error {
        let refusal = &error.refusal;
        let mut this = uexec_error { errnum: error.errno().0.into(), ..uexec_error::NONE };
        fill(&mut this.stage, refusal.stage.as_str().as_bytes());
        fill(&mut this.file, &refusal.file);
        fill(&mut this.why, refusal.why().as_bytes());
        fill(&mut this.hint, refusal.hint().as_bytes());
        this
    }

    pub(crate) fn of_spawn(error: &SpawnError) -> uexec_error {
        let mut this = uexec_error { errnum: error.errno().0.into(), ..uexec_error::NONE };
        fill(&mut this.stage, error.stage().as_bytes());
        fill(&mut this.why, error.why().as_bytes());
        fill(&mut this.hint, error.hint().as_bytes());
        this
    }

    /// Remembers it for this thread; answers its number.
    pub(crate) fn remember(self) -> c_int {
        LAST.with(|last| *last.borrow_mut() = self);
        self.errnum
    }

    /// Remembers it and sets `errno`; answers -1.
    pub(crate) fn fail(self) -> c_int {
        let errnum = self.remember();
        // SAFETY: the address of this thread's `errno`.
        let errno = unsafe { libc::__errno_location() };
        // SAFETY: likewise.
        unsafe { *errno = errnum };
        -1
    }
}

/// As much of `text` as fits, ended by NUL, and no half character.
fn fill(to: &mut [c_char], text: &[u8]) {
    let mut len = text.len().min(to.len() - 1);
    while len < text.len() && len > 0 && text[len] & 0xc0 == 0x80 {
        len -= 1;
    }
    for (to, from) in to.iter_mut().zip(text[..len].iter().chain([&0])) {
        *to = *from as c_char;
    }
}

thread_local! {
    static LAST: RefCell<uexec_error> = const { RefCell::new(uexec_error::NONE) };
}

/// What this thread's last call of this library failed with: fills `out`, answers its errno.
#[cfg_attr(feature = "exports", unsafe(no_mangle))]
pub unsafe extern "C" fn uexec_last_error(out: *mut uexec_error) -> c_int {
    let last = LAST.with(|last| *last.borrow());
    if !out.is_null() {
        // SAFETY: not null, so it is the caller's structure.
        unsafe { out.write(last) };
    }
    last.errnum
}
