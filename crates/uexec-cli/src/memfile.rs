//! Programs in files that have no name in any directory.

use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{
    MemfdFlags, Mode, OFlags, StatVfsMountFlags, fchmod, fstatfs, fstatvfs, memfd_create,
};

/// A file with these bytes, open for reading only: nobody may have it open for writing while it is
/// executed.
///
/// # Errors
/// Those of `memfd_create(2)`, of writing, and of opening it again through `/proc`.
pub(crate) fn memory_file(name: &str, bytes: &[u8], cloexec: bool) -> io::Result<OwnedFd> {
    let mut file = std::fs::File::from(memfd_create(name, MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    for_reading(&file, cloexec)
}

/// The same, close-on-exec, for a program that is started thousands of times: on a disk where that
/// can be, as file systems there keep a file in larger pieces of memory than `memfd_create(2)`
/// does, and the kernel maps a piece at a time. That saves a sixth of what such a start costs.
///
/// # Errors
/// As [`memory_file`].
pub(crate) fn busy_file(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    on_disk(bytes).or_else(|_| memory_file(name, bytes, true))
}

fn on_disk(bytes: &[u8]) -> io::Result<OwnedFd> {
    // ext4, xfs, btrfs.
    const IN_LARGE_PIECES: [u64; 3] = [0xef53, 0x5846_5342, 0x9123_683e];
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let mut file = std::fs::File::from(rustix::fs::open("/var/tmp", flags, Mode::RWXU)?);
    if !IN_LARGE_PIECES.contains(&(fstatfs(&file)?.f_type as u64))
        || fstatvfs(&file)?.f_flag.contains(StatVfsMountFlags::NOEXEC)
    {
        return Err(io::ErrorKind::Unsupported.into());
    }
    file.write_all(bytes)?;
    // As of a file in memory, whatever the umask: who may not read what is executed cannot be
    // dumped either.
    fchmod(&file, Mode::from_raw_mode(0o555))?;
    for_reading(&file, true)
}

fn for_reading(file: &std::fs::File, cloexec: bool) -> io::Result<OwnedFd> {
    let mut flags = OFlags::RDONLY;
    flags.set(OFlags::CLOEXEC, cloexec);
    Ok(rustix::fs::open(format!("/proc/self/fd/{}", file.as_raw_fd()), flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use super::{busy_file, memory_file, on_disk};

    #[test]
    fn everybody_may_execute_and_nobody_has_it_open_for_writing() {
        let image = std::fs::read("/proc/self/exe").unwrap();
        let in_memory = memory_file("itself", &image, true).unwrap();
        let busy = busy_file("itself", &image).unwrap();
        if on_disk(&image).is_err() {
            eprintln!("skipped: /var/tmp holds no file on a disk that can be executed");
        }
        for file in [in_memory, busy] {
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o555, 0o555, "{mode:o}");
            // A file that somebody has open for writing cannot be executed: ETXTBSY (PIPE-12).
            let done = Command::new(&path).arg("--list").output().unwrap();
            assert!(done.status.success(), "{done:?}");
        }
    }
}
