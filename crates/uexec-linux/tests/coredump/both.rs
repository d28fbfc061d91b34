//! A program that dies under supervision, and its two cores.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

#[path = "../../../uexec-cli/tests/common/core_pattern.rs"]
mod core_pattern;

use core_pattern::Unchanged;
use uexec_core::coredump::{Core, Load, Options};
use uexec_linux::dump::{Dump, Sparse, Stopped, supervise};

pub(crate) fn skip(what: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {what}: {why}");
}

/// A folder, gone again at the end.
pub(crate) struct Place(PathBuf);

impl Place {
    pub(crate) fn new() -> Place {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("uexec-core-{}-{n}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Place(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A program. It is copied by another process: one that is forked here meanwhile would keep the
    /// file open for writing.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let (source, path) = (self.0.join(format!("{name}.data")), self.0.join(name));
        fs::write(&source, bytes).unwrap();
        fs::set_permissions(&source, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(Command::new("cp").arg("-p").args([&source, &path]).status().unwrap().success());
        path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Builds the victim.
pub(crate) fn victim(place: &Place) -> Option<PathBuf> {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/coredump/victim.c");
    let path = place.0.join("victim");
    let mut cc = Command::new("cc");
    match cc.args(["-O0", "-g", "-pthread", "-w", "-o"]).arg(&path).arg(source).status() {
        Ok(status) if status.success() => Some(path),
        _ => {
            skip("a core by the kernel", "no C compiler");
            None
        }
    }
}

/// Two cores of one death.
pub(crate) struct Both {
    place: Place,
    ours: Vec<u8>,
    kernels: Vec<u8>,
}

/// Raises `RLIMIT_CORE`.
fn unlimited() -> std::io::Result<()> {
    let all = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: reads the structure.
    match unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const all) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// A thread that goes on elsewhere between the two dumps has another processor's number in its
/// restartable sequence area, which the kernel writes.
fn on_one_cpu() -> std::io::Result<()> {
    let first: [u64; 16] = std::array::from_fn(|i| u64::from(i == 0));
    // SAFETY: the kernel reads the 128 bytes of the set.
    let done = unsafe { libc::sched_setaffinity(0, 128, first.as_ptr().cast()) };
    if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Lets the program die, and dumps it both ways.
pub(crate) fn dies(place: Place, program: &Path, args: &[&str]) -> Option<Both> {
    let Some(_unchanged) = Unchanged::here() else {
        skip("comparison with the kernel's core", "core_pattern is not core");
        return None;
    };
    let mut command = Command::new(program);
    command.args(args).current_dir(&place.0);
    // SAFETY: what is called only makes a system call.
    unsafe { command.pre_exec(unlimited) };
    // SAFETY: likewise.
    unsafe { command.pre_exec(on_one_cpu) };
    let Ok(child) = command.spawn() else {
        skip("comparison with the kernel's core", "RLIMIT_CORE cannot be raised");
        return None;
    };
    let pid = child.id() as i32;
    let mut status = 0;
    // SAFETY: writes one int.
    unsafe { libc::waitpid(pid, &raw mut status, libc::WUNTRACED) };
    assert!(libc::WIFSTOPPED(status), "{status:x}");
    let ours = place.0.join("ours");
    let mut dumped = None;
    let end = supervise(pid, false, &mut |stopped, tid| {
        let tids = stopped.tids();
        let held = Stopped::held(stopped.pid(), &tids, tid);
        dumped = Some(Dump::of(held, None, Options::default()).and_then(|dump| {
            let file = fs::File::create(&ours).unwrap();
            dump.write(&mut Sparse::new(file.into()), &mut |_| {})
        }));
    });
    assert!(matches!(end, Ok(uexec_linux::dump::End::Killed(_))), "{end:?}");
    dumped.expect("the death was seen").expect("it was dumped");
    let kernels = fs::read(place.0.join("core")).expect("the kernel's core");
    Some(Both { ours: fs::read(&ours).unwrap(), kernels, place })
}

impl Both {
    pub(crate) fn ours(&self) -> Core {
        Core::read(&mut &self.ours[..]).unwrap()
    }

    pub(crate) fn kernels(&self) -> Core {
        Core::read(&mut &self.kernels[..]).unwrap()
    }

    pub(crate) fn ours_memory(&self, load: &Load) -> &[u8] {
        &self.ours[load.offset as usize..][..load.file_len as usize]
    }

    pub(crate) fn kernels_memory(&self, load: &Load) -> &[u8] {
        &self.kernels[load.offset as usize..][..load.file_len as usize]
    }

    fn head(bytes: &[u8]) -> &[u8] {
        let (size, at) = if bytes[4] == 2 { (56, 64) } else { (32, 52) };
        let count = u16::from_le_bytes(bytes[at - 8..at - 6].try_into().unwrap());
        &bytes[..at + size * usize::from(count)]
    }

    pub(crate) fn ours_head(&self) -> &[u8] {
        Both::head(&self.ours)
    }

    pub(crate) fn kernels_head(&self) -> &[u8] {
        Both::head(&self.kernels)
    }

    pub(crate) fn ours_blocks(&self) -> u64 {
        fs::metadata(self.place.0.join("ours")).unwrap().blocks()
    }

    pub(crate) fn kernels_blocks(&self) -> u64 {
        fs::metadata(self.place.0.join("core")).unwrap().blocks()
    }
}
