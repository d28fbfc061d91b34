//! What else the process has when it execs.

/// Closes what this process was handed besides the standard descriptors: it is no part of any test.
pub(crate) fn close_inherited() {
    // SAFETY: at the start of the program, nobody owns any of them.
    unsafe { libc::close_range(3, u32::MAX, 0) };
}

/// Sets up what belongs to the process, before there are threads.
pub(crate) fn process(names: &[&str]) -> Result<(), String> {
    let _ = names;
    Ok(())
}

/// Sets up what belongs to the thread that calls.
pub(crate) fn thread(names: &[&str]) -> Result<(), String> {
    let _ = names;
    Ok(())
}
