//! An own user namespace in which this process stays who it is. Needs no privilege where the
//! system allows user namespaces at all.

use std::io;

use rustix::process::{getegid, geteuid};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Moves this process into a new user namespace with its own ids mapped to themselves.
pub(crate) fn enter() -> io::Result<()> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    unshare(UnshareFlags::NEWUSER)?;
    map((uid, gid), (uid, gid))
}

/// New namespaces for this process.
pub(crate) fn unshare(which: UnshareFlags) -> io::Result<()> {
    // SAFETY: new user and mount namespaces touch neither memory nor descriptors, and there is one
    // thread.
    unsafe { unshare_unsafe(which) }.map_err(io::Error::from)
}

/// Says who this process is in its new user namespace: all that the unprivileged may say.
pub(crate) fn map(inside: (u32, u32), outside: (u32, u32)) -> io::Result<()> {
    // Without it the group map is refused to the unprivileged (user_namespaces(7)).
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("{} {} 1", inside.0, outside.0))?;
    std::fs::write("/proc/self/gid_map", format!("{} {} 1", inside.1, outside.1))
}
