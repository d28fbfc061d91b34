//! Small files of `/proc` and `/sys`, read whole. Understands none of them.

use alloc::vec::Vec;
use core::ffi::CStr;

use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags, openat};

/// Opens a file for reading.
pub(crate) fn open_read(path: &CStr) -> rustix::io::Result<OwnedFd> {
    openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// All of a small file; what could be read of it when something fails.
pub(crate) fn read_file(path: &CStr) -> Vec<u8> {
    let mut all = Vec::new();
    let Ok(fd) = open_read(path) else { return all };
    let mut buf = [0; 4096];
    while let Ok(n @ 1..) = rustix::io::retry_on_intr(|| rustix::io::read(&fd, &mut buf)) {
        all.extend_from_slice(&buf[..n]);
    }
    all
}

/// The number that is all of a file.
pub(crate) fn read_number(path: &CStr) -> Option<u64> {
    let fd = open_read(path).ok()?;
    let mut buf = [0u8; 24];
    let n = rustix::io::read(&fd, &mut buf).ok()?;
    core::str::from_utf8(&buf[..n]).ok()?.trim().parse().ok()
}
