//! Descriptors of our own in a child, kept apart from those that its steps name: what the caller
//! believes closed must be so for a step, and a step must not replace ours. Never looks at what a step
//! does.

use rustix::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use uexec_core::Errno;

use super::Step;
use crate::ffi::child as sys;

/// Whether a step names this number.
pub(super) fn is_named(steps: &[Step<'_>], fd: i32) -> bool {
    steps.iter().any(|step| step.named().contains(&fd))
}

/// The same file under a number that no step names; `None` if this is one.
///
/// # Errors
/// `EMFILE` when there is none.
pub(super) fn copy(steps: &[Step<'_>], fd: impl AsFd) -> Result<Option<OwnedFd>, Errno> {
    let fd = fd.as_fd().as_raw_fd();
    if !is_named(steps, fd) {
        return Ok(None);
    }
    let above_all = steps.iter().flat_map(Step::named).max().unwrap_or(-1).saturating_add(1);
    if let Ok(copy) = duplicate(fd, above_all) {
        return Ok(Some(copy));
    }
    // Beyond the limit: between them, then.
    let mut from = 0;
    loop {
        let copy = duplicate(fd, from).map_err(|_| Errno::EMFILE)?;
        if !is_named(steps, copy.as_raw_fd()) {
            return Ok(Some(copy));
        }
        from = copy.as_raw_fd() + 1;
    }
}

/// Moves it to such a number.
///
/// # Errors
/// As [`copy`].
pub(super) fn away(steps: &[Step<'_>], fd: OwnedFd) -> Result<OwnedFd, Errno> {
    Ok(copy(steps, &fd)?.unwrap_or(fd))
}

fn duplicate(fd: i32, from: i32) -> Result<OwnedFd, Errno> {
    let copy = sys::dup_above(fd, from)?;
    // SAFETY: new, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}
