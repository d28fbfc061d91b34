//! The loader as a file to be executed.

use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{MemfdFlags, Mode, OFlags};
use uexec_loader::config::Config;

/// The image in memory, told this, open for reading.
pub(crate) fn image(config: &Config) -> OwnedFd {
    let fd = rustix::fs::memfd_create("uexec-loader", MemfdFlags::CLOEXEC).unwrap();
    let mut file = std::fs::File::from(fd);
    file.write_all(&uexec_loader::image(config).unwrap()).unwrap();
    rustix::fs::fchmod(&file, Mode::from_bits_retain(0o755)).unwrap();
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap()
}
