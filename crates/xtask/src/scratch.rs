//! For tests of the libraries: a folder that goes away, the libraries, programs in C.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::{Profile, libs, root};

/// Where the libraries are, built once, or `UEXEC_TEST_PREFIX`; `None`, with a line that says so,
/// without a C compiler.
///
/// # Panics
/// When they cannot be built.
#[must_use]
pub fn prefix() -> Option<&'static Path> {
    static PREFIX: OnceLock<Option<PathBuf>> = OnceLock::new();
    let made = PREFIX.get_or_init(|| {
        if Command::new("cc").arg("--version").output().is_err() {
            eprintln!("skipped: there is no C compiler (cc)");
            return None;
        }
        if let Some(prefix) = std::env::var_os("UEXEC_TEST_PREFIX") {
            return Some(prefix.into());
        }
        let prefix = root().join("target/libs/test");
        libs(Profile::Dev, &prefix).expect("the libraries can be built");
        Some(prefix)
    });
    made.as_deref()
}

/// A folder that is removed when this is dropped.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new one.
    ///
    /// # Panics
    /// When there is no room for it.
    #[must_use]
    pub fn new(name: &str) -> Scratch {
        let dir = std::env::temp_dir().join(format!("uexec-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).expect("a folder for the test");
        Scratch(dir)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file into it.
    ///
    /// # Panics
    /// When that is impossible.
    pub fn file(&self, path: &str, text: &(impl AsRef<[u8]> + ?Sized), mode: u32) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap_or(&self.0)).expect("a folder");
        write(&path, text, mode);
    }

    /// Compiles a program in C into it.
    ///
    /// # Panics
    /// When the compiler complains.
    #[must_use]
    pub fn compile(&self, source: &Path, name: &str, flags: &[&str]) -> PathBuf {
        let out = self.0.join(name);
        let built = Command::new("cc")
            .args(["-Wall", "-Wextra", "-Werror", "-O1", "-pthread", "-o"])
            .arg(&out)
            .arg(source)
            .args(flags)
            .output()
            .expect("cc can be started");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        out
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// An a.out program (`QMAGIC`) for i386 that ends with status 7. It lies at 4096.
#[must_use]
pub fn lost_program() -> Vec<u8> {
    let words = [0xcc | 100u32 << 16, 4096, 4096, 0, 0, 4096 + 32, 0, 0];
    let mut file: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    file.extend([0xbb, 7, 0, 0, 0]); // mov ebx, 7
    file.extend([0xb8, 1, 0, 0, 0, 0xcd, 0x80]); // exit
    file.resize(8192, 0);
    file
}

/// Whether this user may map memory at 4096.
#[must_use]
pub fn may_map_so_low() -> bool {
    const SYS_RAWIO: u64 = 1 << 17;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("CapEff:")).unwrap_or("0");
    let has = u64::from_str_radix(line.trim(), 16).unwrap_or(0) & SYS_RAWIO != 0;
    let least = fs::read_to_string("/proc/sys/vm/mmap_min_addr").unwrap_or_default();
    has || least.trim().parse().is_ok_and(|least: u64| least <= 4096)
}

/// Writes a file. One that can be executed is written by another process: a child that another
/// thread of this one starts meanwhile would hold it open, and `execve(2)` say `ETXTBSY`.
///
/// # Panics
/// When that is impossible.
pub fn write(path: &Path, text: &(impl AsRef<[u8]> + ?Sized), mode: u32) {
    if mode & 0o111 == 0 {
        fs::write(path, text).expect("a file");
    } else {
        let mut first = path.as_os_str().to_owned();
        first.push(".first");
        fs::write(&first, text).expect("a file");
        copy(Path::new(&first), path);
        fs::remove_file(first).expect("the copy is enough");
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its mode");
}

/// Copies a program, by another process for the same reason.
///
/// # Panics
/// When that is impossible.
pub fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg(from).arg(to).status().expect("cp can be started");
    assert!(done.success(), "cp {} {}", from.display(), to.display());
}
