//! The file a core goes to: it has no name until it is whole.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use uexec_core::Errno;
use uexec_linux::dump::{Sink, Sparse, Stream};

/// A file that gets its name at the end.
pub(crate) struct Output {
    file: File,
    path: PathBuf,
    /// Its name meanwhile, where a file must have one.
    named: Option<PathBuf>,
}

impl Output {
    /// Makes the file, readable by its owner alone, in the folder of `path`.
    pub(crate) fn create(path: &Path) -> io::Result<Output> {
        let dir = match path.parent() {
            Some(p) if !p.as_os_str().is_empty() => p,
            _ => Path::new("."),
        };
        let mode = Mode::RUSR | Mode::WUSR;
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        if let Ok(fd) = rustix::fs::open(dir, flags | OFlags::TMPFILE, mode) {
            return Ok(Output { file: File::from(fd), path: path.to_owned(), named: None });
        }
        let temporary = beside(path);
        let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let fd = rustix::fs::open(&temporary, flags, mode)?;
        Ok(Output { file: File::from(fd), path: path.to_owned(), named: Some(temporary) })
    }

    /// The file itself.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Gives the file its name, in place of another that has it.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        let temporary = match self.named.take() {
            Some(name) => name,
            None => {
                let fd = format!("/proc/self/fd/{}", self.file.as_raw_fd());
                let link =
                    |name: &Path| rustix::fs::linkat(CWD, &fd, CWD, name, AtFlags::SYMLINK_FOLLOW);
                match link(&self.path) {
                    Err(rustix::io::Errno::EXIST) => {}
                    done => return Ok(done?),
                }
                let name = beside(&self.path);
                link(&name)?;
                name
            }
        };
        std::fs::rename(&temporary, &self.path).inspect_err(|_| {
            let _ = std::fs::remove_file(&temporary);
        })
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(name) = &self.named {
            let _ = std::fs::remove_file(name);
        }
    }
}

/// A name beside `path` that nobody looks for.
fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}", std::process::id()));
    path.with_file_name(name)
}

/// A sink into a file: sparse, or compressed.
pub(crate) fn write_to(
    file: OwnedFd,
    zstd: bool,
    regular: bool,
    write: impl FnOnce(&mut dyn Sink) -> Result<(), super::Failure>,
) -> Result<(), super::Failure> {
    if !zstd && regular {
        return write(&mut Sparse::new(file));
    }
    let file = File::from(file);
    if !zstd {
        return write(&mut Stream::new(|b: &[u8]| (&file).write_all(b).map_err(errno)));
    }
    let mut encoder = zstd::Encoder::new(file, 1)?;
    write(&mut Stream::new(|b: &[u8]| encoder.write_all(b).map_err(errno)))?;
    encoder.finish()?.flush()?;
    Ok(())
}

pub(crate) fn errno(e: io::Error) -> Errno {
    Errno(e.raw_os_error().unwrap_or(5) as u16)
}
