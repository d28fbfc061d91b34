//! A directory that every user can reach, gone again at the end.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::elf::Elf;

/// Held while a file is written or a process is started. A child that is forked while another
/// thread writes a program holds that program open for writing, and executing it then fails with
/// `ETXTBSY` for no visible reason.
pub(crate) fn one_at_a_time() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The directory.
pub(crate) struct Place {
    pub(crate) path: PathBuf,
}

impl Place {
    pub(crate) fn new() -> Place {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("uexec-{}-{n}", std::process::id()));
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Place { path }
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A file with these permissions.
    pub(crate) fn file(&self, name: &str, bytes: impl AsRef<[u8]>, mode: u32) -> PathBuf {
        let path = self.join(name);
        let _lock = one_at_a_time();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&path);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        if mode & 0o111 != 0 {
            wait_for_writers(&path);
        }
        path
    }

    /// A program anybody may run.
    pub(crate) fn elf(&self, name: &str, elf: &Elf) -> PathBuf {
        self.file(name, elf.bytes(), 0o755)
    }

    /// A script anybody may run.
    pub(crate) fn script(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        self.file(name, bytes, 0o755)
    }

    /// Opens for writing what may then not be executed.
    pub(crate) fn writer(&self, name: &str) -> fs::File {
        let mut how = fs::OpenOptions::new();
        how.append(true).custom_flags(libc::O_CLOEXEC).open(self.join(name)).unwrap()
    }
}

/// Waits until nobody has the file open for writing. Whatever looks at our descriptors from outside
/// (a monitor that reads `/proc/PID/fd`) may keep the one just closed open for a moment longer, and
/// execution would then fail with `ETXTBSY`. A read lease can only be had without writers.
fn wait_for_writers(path: &Path) {
    let file = fs::File::open(path).unwrap();
    for _ in 0..5000 {
        // SAFETY: a descriptor and numbers are passed.
        let leased = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) } == 0;
        if leased || io::Error::last_os_error().raw_os_error() != Some(libc::EAGAIN) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    panic!("{}: somebody keeps it open for writing", path.display());
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// The command under test, at a place that every user can reach.
pub(crate) fn uexec() -> &'static Path {
    static COPY: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    let built = Path::new(env!("CARGO_BIN_EXE_uexec"));
    COPY.get_or_init(|| {
        let open_to_all = built
            .ancestors()
            .skip(1)
            .all(|dir| dir.metadata().is_ok_and(|m| m.permissions().mode() & 1 == 1));
        if open_to_all {
            return built.to_owned();
        }
        let copy = std::env::temp_dir().join(format!("uexec-under-test-{}", std::process::id()));
        let _lock = one_at_a_time();
        fs::copy(built, &copy).unwrap();
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
        copy
    })
}
