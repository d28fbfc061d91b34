//! The only questions asked outside: open a file, read a range of it, and what its real path is.
//!
//! This room defines questions; [`Disk`](crate::Disk) answers them from a running Linux.

use std::io;

/// What identifies an open file and bounds reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileStat {
    /// Device it lies on.
    pub dev: u64,
    /// Its number there. Two opens with the same pair are the same file.
    pub ino: u64,
    /// Size in bytes.
    pub len: u64,
    /// Permission bits with set-user-ID (`07777`).
    pub mode: u32,
}

/// A regular file, open for reading.
pub trait ReadAt {
    /// Reads at an offset; fewer bytes than asked for, and only then, means end of file.
    ///
    /// # Errors
    /// Those of `pread(2)`.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// What `fstat(2)` said when it was opened.
    fn stat(&self) -> FileStat;
}

/// A file system as the program will see it.
pub trait Files {
    /// Opens a regular file, following symbolic links.
    ///
    /// # Errors
    /// Those of `open(2)`; anything that is not a regular file is an error, and is not opened.
    fn open(&self, path: &[u8]) -> io::Result<Box<dyn ReadAt>>;

    /// The absolute path without symbolic links, as seen by the program.
    ///
    /// # Errors
    /// Those of path resolution.
    fn real_path(&self, path: &[u8]) -> io::Result<Vec<u8>>;
}
