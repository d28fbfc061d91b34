//! A directory tree of the running Linux as [`Files`]: all of it, or one directory as `chroot(2)`
//! would show it. Opens regular files for reading and nothing else; never looks outside its root.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{self, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::files::{FileStat, Files, ReadAt};
use crate::walk;

/// Files of the running system.
///
/// ```
/// use uexec_ld::{Disk, Files};
/// let dir = std::env::temp_dir().join(format!("uexec-ld-doc-{}", std::process::id()));
/// std::fs::create_dir_all(&dir)?;
/// std::fs::write(dir.join("file"), "inside")?;
/// # let _ = std::fs::remove_file(dir.join("link"));
/// std::os::unix::fs::symlink("/../../file", dir.join("link"))?;
/// let disk = Disk::inside(&dir)?;
/// assert_eq!(disk.real_path(b"/link")?, b"/file");
/// assert_eq!(disk.open(b"/link")?.stat().len, 6);
/// # std::fs::remove_dir_all(&dir)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Disk {
    root: Option<OwnedFd>,
}

impl Disk {
    /// The file system of this process. Relative paths start in its working directory.
    #[must_use]
    pub const fn host() -> Disk {
        Disk { root: None }
    }

    /// One directory, as the root of everything: absolute paths, absolute symbolic links and `..`
    /// stay inside. Relative paths start at the root too.
    ///
    /// # Errors
    /// When the directory cannot be opened.
    pub fn inside(root: &Path) -> io::Result<Disk> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Disk { root: Some(fs::open(root, flags, Mode::empty())?) })
    }

    fn open_with(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let Some(root) = &self.root else {
            return fs::openat(CWD, path, flags, Mode::empty());
        };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        match fs::openat2(root, path, flags, Mode::empty(), resolve) {
            // Kernels before 5.6, filters of system calls, a rename on the way.
            Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN) => {
                walk::in_root(root.as_fd(), path, flags).map(|(fd, _)| fd)
            }
            other => other,
        }
    }
}

impl Files for Disk {
    fn open(&self, path: &[u8]) -> io::Result<Box<dyn ReadAt>> {
        // Looked at before it is opened: opening a device can do things.
        let seen = match &self.root {
            None => fs::statat(CWD, path, fs::AtFlags::empty())?,
            Some(_) => fs::fstat(self.open_with(path, OFlags::PATH | OFlags::CLOEXEC)?)?,
        };
        regular(&seen)?;
        // Should another file have taken its place, this neither blocks nor takes a terminal.
        let quiet = OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = self.open_with(path, OFlags::RDONLY | OFlags::CLOEXEC | quiet)?;
        let stat = fs::fstat(&fd)?;
        regular(&stat)?;
        let stat = FileStat {
            dev: stat.st_dev,
            ino: stat.st_ino,
            len: u64::try_from(stat.st_size).unwrap_or(0),
            mode: stat.st_mode & 0o7777,
        };
        Ok(Box::new(Open { fd, stat }))
    }

    fn real_path(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        match &self.root {
            None => {
                let real = std::fs::canonicalize(OsStr::from_bytes(path))?;
                Ok(real.as_os_str().as_bytes().to_vec())
            }
            Some(root) => Ok(walk::in_root(root.as_fd(), path, OFlags::PATH | OFlags::CLOEXEC)?.1),
        }
    }
}

fn regular(stat: &fs::Stat) -> Result<(), Errno> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(()),
        FileType::Directory => Err(Errno::ISDIR),
        _ => Err(Errno::INVAL),
    }
}

/// An open file of the disk.
struct Open {
    fd: OwnedFd,
    stat: FileStat,
}

impl ReadAt for Open {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|r| !r.is_empty()) {
            let at = offset.saturating_add(done as u64);
            match rustix::io::retry_on_intr(|| rustix::io::pread(&self.fd, &mut *rest, at)) {
                Ok(0) => break,
                Ok(n) => done += n,
                // Past what an offset can say: nothing is there.
                Err(Errno::INVAL | Errno::OVERFLOW) => break,
                Err(e) => return Err(e.into()),
            }
        }
        Ok(done)
    }

    fn stat(&self) -> FileStat {
        self.stat
    }
}
