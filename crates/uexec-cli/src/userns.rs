//! An own user namespace in which this process stays who it is. Needs no privilege where the
//! system allows user namespaces at all.

use std::io;

use rustix::process::{getgid, getuid};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Moves this process into a new user namespace with its own ids mapped to themselves.
pub(crate) fn enter() -> io::Result<()> {
    let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
    // SAFETY: a new user namespace touches neither memory nor descriptors, and there is one
    // thread.
    unsafe { unshare_unsafe(UnshareFlags::NEWUSER)? };
    // Without it the group map is refused to the unprivileged (user_namespaces(7)).
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))
}
