//! Children that share this process's memory, as `vfork(2)` makes them, become a program, again and
//! again: this process is unharmed and grows in nothing.

use std::ffi::{OsString, c_int, c_void};

use uexec_linux::exec::Exec;

use crate::soak::Seen;

/// So many children become the program, each with arguments of another length. `Err` if one of them
/// does not end with status 0, or something accumulates.
pub(crate) fn children(count: u32, program: &[OsString]) -> Result<(), String> {
    let kept = vec![0x5au8; 1 << 20];
    let mut first = None;
    for i in 0..count {
        let told = Told { program, filler: "x".repeat(i as usize % 50 * 200) };
        let status = one(&told)?;
        if status != 0 {
            return Err(format!("child {i}: status {status:#x}"));
        }
        // Allocators and what is kept settle first.
        if i == count / 2 {
            first = Some(Seen::now());
        }
    }
    let (first, now) = (first.ok_or("no children")?, Seen::now());
    if !now.is_as(first) {
        return Err(format!("after {count}: {now:?}, not {first:?}"));
    }
    if kept.iter().any(|b| *b != 0x5a) {
        return Err("memory was changed".to_owned());
    }
    Ok(())
}

struct Told<'a> {
    program: &'a [OsString],
    filler: String,
}

/// The status of one child.
fn one(told: &Told<'_>) -> Result<c_int, String> {
    let mut stack = vec![0u64; 1 << 15];
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    let top = stack.as_mut_ptr_range().end.cast::<c_void>();
    let argument = std::ptr::from_ref(told).cast_mut().cast::<c_void>();
    // SAFETY: the child has a stack of its own; this thread waits until it is done with it.
    let child = unsafe { libc::clone(become_it, top, flags, argument) };
    let mut status = 0;
    // SAFETY: waits for the child made above.
    if unsafe { libc::waitpid(child, &raw mut status, 0) } != child {
        return Err(std::io::Error::last_os_error().to_string());
    }
    Ok(status)
}

extern "C" fn become_it(told: *mut c_void) -> c_int {
    // SAFETY: what `one` was given, which waits.
    let Told { program, filler } = unsafe { &*told.cast::<Told<'_>>() };
    let exec = Exec::new(program[0].as_os_str()).args(&program[1..]).env("FILLER", filler);
    let _ = exec.loader(uexec_loader::IMAGE).exec();
    crate::FAILED.into()
}
