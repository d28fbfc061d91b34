//! The loader as it is handed to threads of a tree: a file of the tracer's, and one that a thread is
//! made to make.

use alloc::format;

use rustix::fd::AsRawFd;
use rustix::fs::{MemfdFlags, Mode, OFlags, Stat, memfd_create};
use uexec_core::Errno;

use super::behind::Behind;
use crate::ffi::thread;
use crate::spawn;

/// The loader.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    /// The file.
    pub bytes: &'a [u8],
    /// Where in its memory something is told.
    pub told_at: u64,
}

/// The loader as it is handed over.
#[derive(Debug)]
pub struct Prepared<'a> {
    pub(super) image: Image<'a>,
    pub(super) file: spawn::Loader,
    pub(super) stat: Stat,
    pub(super) tracer: i32,
    /// Its path, and how it gets to a thread.
    pub(super) behind: Option<Behind>,
    /// Flags for `memfd_create(2)` that this kernel knows.
    pub(super) file_flags: u64,
}

impl<'a> Prepared<'a> {
    pub(super) fn new(image: Image<'a>) -> Result<Prepared<'a>, Errno> {
        const CLOEXEC: u64 = 1;
        const EXEC: u64 = 0x10;
        // Before Linux 6.3 memory files are executable without being asked to.
        let both = MemfdFlags::CLOEXEC | MemfdFlags::EXEC;
        let file_flags = memfd_create(c"", both).map_or(CLOEXEC, |_| CLOEXEC | EXEC);
        let file = spawn::Loader::new(image.bytes)?;
        let stat = rustix::fs::fstat(file.as_fd()).map_err(crate::ffi::errno)?;
        let behind = Behind::new(file.as_fd().as_raw_fd());
        Ok(Prepared { image, file, stat, tracer: thread::getpid(), behind, file_flags })
    }

    /// Whether a thread's descriptor is the loader.
    pub(super) fn is(&self, tid: i32, fd: i32) -> bool {
        rustix::fs::stat(format!("/proc/{tid}/fd/{fd}"))
            .is_ok_and(|s| (s.st_dev, s.st_ino) == (self.stat.st_dev, self.stat.st_ino))
    }
}

/// Writes the loader to a thread's file.
pub(super) fn write(tid: i32, file: i32, image: &[u8]) -> Result<(), rustix::io::Errno> {
    let name = format!("/proc/{tid}/fd/{file}");
    let fd = rustix::fs::open(name, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut done = 0;
    while let Some(rest) = image.get(done..).filter(|rest| !rest.is_empty()) {
        done += rustix::io::pwrite(&fd, rest, done as u64)?;
    }
    Ok(())
}
