//! uexec's loader as a file without a name, and how it is told what to load. Loads nothing itself.

use alloc::ffi::CString;
use alloc::format;
use alloc::vec::Vec;
use core::ffi::CStr;
use core::sync::atomic::AtomicU64;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{MemfdFlags, memfd_create};
use uexec_core::Errno;

use crate::ffi::errno;

/// The loader, open and close-on-exec.
#[derive(Debug)]
pub struct Loader {
    fd: OwnedFd,
    /// Device and number of the file.
    file: (u64, u64),
}

impl Loader {
    /// Puts the image of the loader's program into a file in memory.
    ///
    /// # Errors
    /// Those of `memfd_create(2)` and `write(2)`.
    pub fn new(image: &[u8]) -> Result<Loader, Errno> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let create = |flags| memfd_create(c"uexec-loader", flags);
        // Before Linux 6.3 memory files are executable without being asked to.
        let fd = create(flags | MemfdFlags::EXEC).or_else(|_| create(flags)).map_err(errno)?;
        let mut rest = image;
        while !rest.is_empty() {
            let n = rustix::io::retry_on_intr(|| rustix::io::write(&fd, rest)).map_err(errno)?;
            rest = rest.get(n..).unwrap_or_default();
        }
        use rustix::fs::SealFlags;
        let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
        rustix::fs::fcntl_add_seals(&fd, seals).map_err(errno)?;
        let stat = rustix::fs::fstat(&fd).map_err(errno)?;
        Ok(Loader { fd, file: (stat.st_dev, stat.st_ino) })
    }

    /// Whether the descriptor is still the loader's: a program may close what it does not know, as
    /// daemons do, and open something else under that number.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        rustix::fs::fstat(&self.fd).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == self.file)
    }

    /// The open file.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What the loader's arguments begin with; after a colon the descriptor to report to may follow.
pub const TAG: &str = "uexec-loader";

/// Where the program's path is among the loader's arguments.
pub(super) const PROGRAM_PATH: usize = 2;
/// Where the program's own arguments begin.
pub(super) const PROGRAM_ARGV: usize = 3;

/// The loader's own arguments.
pub(super) struct Words(CString);

impl Words {
    pub(super) fn new(report: i32) -> Words {
        Words(CString::new(format!("{TAG}:{report}")).unwrap_or_default())
    }

    /// The loader's arguments for a program's, ended by 0; the path is still missing.
    pub(super) fn argv(&self, program: &[&CStr]) -> Vec<AtomicU64> {
        let own = [self.0.as_ptr(), c"-".as_ptr(), core::ptr::null()];
        let all = own.into_iter().chain(program.iter().map(|s| s.as_ptr()));
        all.map(|p| AtomicU64::new(p as u64)).chain([AtomicU64::new(0)]).collect()
    }
}
