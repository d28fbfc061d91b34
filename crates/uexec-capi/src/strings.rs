//! Strings and arrays of C, borrowed.

use core::ffi::{CStr, c_char};

/// A string, if there is one.
///
/// # Safety
/// `s` is null, or a C string that stays as it is for `'a`.
pub unsafe fn string<'a>(s: *const c_char) -> Option<&'a CStr> {
    if s.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    Some(unsafe { CStr::from_ptr(s) })
}

/// The strings of an array that ends with a null pointer; none of a null array, as the kernel has
/// it (PIPE-14).
///
/// # Safety
/// `array` is null, or an array of C strings that ends with a null pointer, and stays as it is for
/// `'a`.
pub unsafe fn strings<'a>(array: *const *const c_char) -> Vec<&'a CStr> {
    let mut all = Vec::new();
    let mut at = array;
    // SAFETY: the array goes on until its null pointer, which has not been met.
    while let Some(s) = (!at.is_null()).then(|| unsafe { *at }).filter(|s| !s.is_null()) {
        // SAFETY: a string of the array.
        all.push(unsafe { CStr::from_ptr(s) });
        // SAFETY: at most one past the last string, where the null pointer is.
        at = unsafe { at.add(1) };
    }
    all
}
