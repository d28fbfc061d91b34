//! Where a core goes. Knows nothing of cores: bytes at rising offsets.

use alloc::boxed::Box;

use rustix::fd::OwnedFd;

use uexec_core::Errno;

/// Takes the bytes of a file in rising order; what is left out is zero.
pub trait Sink {
    /// Bytes at an offset that is never below the end of those before.
    ///
    /// # Errors
    /// Those of `write(2)`.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Errno>;

    /// The end: the file has this size.
    ///
    /// # Errors
    /// Those of `write(2)` and `ftruncate(2)`.
    fn finish(&mut self, len: u64) -> Result<(), Errno>;

    /// Another way into the same file, for another thread; each of both then sees rising offsets
    /// only. None where the order of all the bytes matters.
    fn another(&self) -> Option<Box<dyn Sink + Send>> {
        None
    }
}

/// A regular file, with holes.
#[derive(Debug)]
pub struct Sparse {
    fd: OwnedFd,
}

impl Sparse {
    /// An open, empty file.
    #[must_use]
    pub const fn new(fd: OwnedFd) -> Sparse {
        Sparse { fd }
    }

    /// The file again.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

impl Sink for Sparse {
    fn write(&mut self, mut offset: u64, mut bytes: &[u8]) -> Result<(), Errno> {
        while !bytes.is_empty() {
            let done = rustix::io::retry_on_intr(|| rustix::io::pwrite(&self.fd, bytes, offset));
            let done = done.map_err(crate::ffi::errno)?;
            bytes = bytes.get(done..).unwrap_or_default();
            offset += done as u64;
        }
        Ok(())
    }

    fn finish(&mut self, len: u64) -> Result<(), Errno> {
        rustix::fs::ftruncate(&self.fd, len).map_err(crate::ffi::errno)
    }

    fn another(&self) -> Option<Box<dyn Sink + Send>> {
        let fd = rustix::io::fcntl_dupfd_cloexec(&self.fd, 3).ok()?;
        Some(Box::new(Sparse::new(fd)))
    }
}

/// A pipe or anything else without holes: `write` gets every byte, zeros included.
#[derive(Debug)]
pub struct Stream<W> {
    write: W,
    at: u64,
}

impl<W: FnMut(&[u8]) -> Result<(), Errno>> Stream<W> {
    /// What writes all it is given.
    pub const fn new(write: W) -> Stream<W> {
        Stream { write, at: 0 }
    }

    fn fill(&mut self, to: u64) -> Result<(), Errno> {
        static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
        while self.at < to {
            let len = (to - self.at).min(ZEROS.len() as u64);
            (self.write)(&ZEROS[..len as usize])?;
            self.at += len;
        }
        Ok(())
    }
}

impl<W: FnMut(&[u8]) -> Result<(), Errno>> Sink for Stream<W> {
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.fill(offset)?;
        (self.write)(bytes)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn finish(&mut self, len: u64) -> Result<(), Errno> {
        self.fill(len)
    }
}
