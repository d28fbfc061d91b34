//! Programs in memory: files that have no name in any directory.

use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{MemfdFlags, Mode, OFlags, memfd_create};

/// A file with these bytes, open for reading only: nobody may have it open for writing while it is
/// executed.
///
/// # Errors
/// Those of `memfd_create(2)`, of writing, and of opening it again through `/proc`.
pub(crate) fn memory_file(name: &str, bytes: &[u8], cloexec: bool) -> io::Result<OwnedFd> {
    let mut file = std::fs::File::from(memfd_create(name, MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    let mut flags = OFlags::RDONLY;
    flags.set(OFlags::CLOEXEC, cloexec);
    Ok(rustix::fs::open(format!("/proc/self/fd/{}", file.as_raw_fd()), flags, Mode::empty())?)
}
