//! The copying, filling and comparing functions that the command has before its C library, tried
//! at every size, distance and alignment that takes another path through them.

#[path = "../src/mem.rs"]
mod mem;

use std::ffi::{c_char, c_int, c_void};
use std::hint::black_box;

// The symbols of `mem`, which take the place of the C library's in this test as in the command.
unsafe extern "C" {
    fn memcpy(to: *mut c_void, from: *const c_void, n: usize) -> *mut c_void;
    fn memmove(to: *mut c_void, from: *const c_void, n: usize) -> *mut c_void;
    fn memset(to: *mut c_void, byte: c_int, n: usize) -> *mut c_void;
    fn memcmp(a: *const c_void, b: *const c_void, n: usize) -> c_int;
    fn bcmp(a: *const c_void, b: *const c_void, n: usize) -> c_int;
    fn strlen(text: *const c_char) -> usize;
}

const SIZE: usize = 80;

/// Bytes that are all different.
fn bytes() -> [u8; SIZE] {
    std::array::from_fn(|i| (i as u8).wrapping_mul(37).wrapping_add(11))
}

#[test]
fn moves_every_length_over_every_distance() {
    let copy = black_box(memmove as unsafe extern "C" fn(_, _, _) -> _);
    let old = bytes();
    for len in 0..=24 {
        for from in 0..=32 {
            for to in 0..=32 {
                let mut new = bytes();
                let base = new.as_mut_ptr();
                // SAFETY: from + len and to + len are at most 56, inside the 80 bytes.
                let got: *mut c_void = unsafe {
                    copy(
                        base.wrapping_add(to).cast(),
                        base.wrapping_add(from).cast_const().cast(),
                        len,
                    )
                };
                assert_eq!(got as usize, base as usize + to);
                for (i, b) in new.iter().enumerate() {
                    let moved = (to..to + len).contains(&i);
                    let want = if moved { old[i - to + from] } else { old[i] };
                    assert_eq!(*b, want, "{len} bytes from {from} to {to}, byte {i}");
                }
            }
        }
    }
}

#[test]
fn copies_and_fills_no_more_than_asked() {
    let copy = black_box(memcpy as unsafe extern "C" fn(_, _, _) -> _);
    let fill = black_box(memset as unsafe extern "C" fn(_, _, _) -> _);
    let old = bytes();
    for len in 0..=40 {
        for (from, to) in (0..16).flat_map(|f| (0..16).map(move |t| (f, t))) {
            let mut new = [0u8; SIZE];
            let base = new.as_mut_ptr();
            // SAFETY: at most 56 bytes into either array of 80.
            let got: *mut c_void = unsafe {
                copy(base.wrapping_add(to).cast(), old.as_ptr().wrapping_add(from).cast(), len)
            };
            assert_eq!(got as usize, base as usize + to);
            for (i, b) in new.iter().enumerate() {
                let want = if (to..to + len).contains(&i) { old[i - to + from] } else { 0 };
                assert_eq!(*b, want, "copy of {len} from {from} to {to}, byte {i}");
            }
            // Only the low byte counts.
            // SAFETY: as above.
            let got: *mut c_void = unsafe { fill(base.wrapping_add(to).cast(), 0x1234_56e7, len) };
            assert_eq!(got as usize, base as usize + to);
            for (i, b) in new.iter().enumerate() {
                let want = if (to..to + len).contains(&i) { 0xe7 } else { 0 };
                assert_eq!(*b, want, "{len} filled at {to}, byte {i}");
            }
        }
    }
}

#[test]
fn compares_bytes_without_sign_and_up_to_the_length() {
    let compare = black_box(memcmp as unsafe extern "C" fn(_, _, _) -> _);
    let differ = black_box(bcmp as unsafe extern "C" fn(_, _, _) -> _);
    for len in 0..=33 {
        for at in 0..40 {
            for (x, y) in [(0u8, 0x80u8), (0x7f, 0x80), (0xff, 1), (5, 6)] {
                // Off by one from each other's alignment, and different behind the end as well.
                let mut a = [9u8; SIZE];
                let mut b = [9u8; SIZE];
                (a[at], b[at + 1]) = (x, y);
                (a[at + 1], b[at + 2]) = (y, x);
                // SAFETY: at most 34 bytes into arrays of 80.
                let got: c_int =
                    unsafe { compare(a.as_ptr().cast(), b.as_ptr().wrapping_add(1).cast(), len) };
                let want = if at < len { x.cmp(&y) } else { std::cmp::Ordering::Equal };
                assert_eq!(got.cmp(&0), want, "{len} bytes, {x} and {y} at {at}");
                // SAFETY: likewise.
                let got: c_int =
                    unsafe { differ(a.as_ptr().cast(), b.as_ptr().wrapping_add(1).cast(), len) };
                assert_eq!(got == 0, at >= len);
            }
        }
    }
}

#[test]
fn measures_strings() {
    let measure = black_box(strlen as unsafe extern "C" fn(_) -> _);
    for start in 0..16 {
        for len in 0..=40 {
            let mut text = [0xffu8; SIZE];
            text[start + len] = 0;
            // SAFETY: there is a zero byte inside the array.
            let got: usize = unsafe { measure(text.as_ptr().wrapping_add(start).cast()) };
            assert_eq!(got, len);
        }
    }
}
