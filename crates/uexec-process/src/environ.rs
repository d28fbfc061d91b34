//! This process's environment as it is in memory: what has no name, or is there twice, included, as
//! libc hands it on. Never changes it.

#![allow(unsafe_code, reason = "libc's variable")]

use std::ffi::{CStr, CString, c_char};

unsafe extern "C" {
    #[link_name = "environ"]
    static ENVIRON: *const *const c_char;
}

/// A copy of it.
pub(crate) fn environ() -> Vec<CString> {
    // SAFETY: libc's variable. Who changes the environment while another thread starts programs has
    // promised more than can be kept: libc's own functions read it in the same way.
    let mut at = unsafe { ENVIRON };
    let mut all = Vec::new();
    // SAFETY: null, or an array that ends with a null pointer, which has not been met.
    while let Some(s) = (!at.is_null()).then(|| unsafe { *at }).filter(|s| !s.is_null()) {
        // SAFETY: a string of the array.
        all.push(unsafe { CStr::from_ptr(s) }.to_owned());
        // SAFETY: at most at the null pointer.
        at = unsafe { at.add(1) };
    }
    all
}
