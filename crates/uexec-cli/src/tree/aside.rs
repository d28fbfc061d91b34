//! How an exec of another process looks from this one: which file of which root directory.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use rustix::fs::{Mode, OFlags};
use uexec_core::world::At;
use uexec_core::{Exec, flags};
use uexec_linux::tree::{Asked, is_cloexec_of};

/// The descriptor that the path of an exec starts from.
pub(super) fn dir_of(asked: &Asked) -> Option<i32> {
    const AT_FDCWD: i32 = -100;
    asked.dir.filter(|fd| *fd != AT_FDCWD && !asked.path.starts_with(b"/"))
}

/// The exec as it looks from this process, in whose root directory the paths lead to the same if
/// `same_root`; and what has to stay open for it.
pub(super) fn exec_of(asked: &Asked, same_root: bool) -> Option<(Exec, Option<OwnedFd>)> {
    let tid = asked.tid;
    let dir = dir_of(asked);
    let fd_cloexec = dir.map_or(Some(false), |fd| is_cloexec_of(tid, fd))?;
    let dir = dir.map(|fd| format!("/proc/{tid}/fd/{fd}"));
    let (at, path, open) = match (dir, same_root) {
        (None, true) => (At::Cwd, from_aside(tid, &asked.path), None),
        (Some(dir), true) => {
            let open = OFlags::PATH | OFlags::CLOEXEC;
            let open = rustix::fs::open(dir, open, Mode::empty()).ok()?;
            (At::Fd(open.as_raw_fd()), asked.path.clone(), Some(open))
        }
        (dir, false) => {
            let base = dir.unwrap_or_else(|| format!("/proc/{tid}/cwd"));
            let path = match asked.path.first() {
                Some(b'/') => asked.path.clone(),
                first => {
                    let root = link(&format!("/proc/{tid}/root")).filter(|root| root != b"/");
                    let mut base = link(&base)?;
                    if let Some(root) = root {
                        base = base.strip_prefix(root.as_slice())?.to_vec();
                    }
                    if first.is_some() {
                        base.push(b'/');
                        base.extend(&asked.path);
                    }
                    base
                }
            };
            (At::Cwd, path, None)
        }
    };
    let flags = if same_root { asked.flags } else { asked.flags & !flags::AT_EMPTY_PATH };
    let argv = vec![asked.path.clone()];
    Some((Exec { at, path, flags, fd_cloexec, argv, ..Exec::default() }, open))
}

/// What a thread calls its own in `/proc` is somebody else's here.
fn from_aside(tid: i32, path: &[u8]) -> Vec<u8> {
    let own = [(&b"/proc/self/"[..], ""), (b"/proc/thread-self/", ""), (b"/dev/fd/", "fd/")];
    match own.iter().find_map(|(name, below)| Some((path.strip_prefix(*name)?, below))) {
        Some((rest, below)) => [format!("/proc/{tid}/{below}").as_bytes(), rest].concat(),
        None => path.to_vec(),
    }
}

/// Whether what a thread executes is the same file once the loader has its place. A name that leads
/// through what each process has of its own (`/proc/self/exe`) is not, but for open descriptors.
pub(super) fn stays(asked: &Asked, exec: &Exec, dir: Option<&OwnedFd>) -> bool {
    use rustix::fs::{CWD, ResolveFlags, openat2};
    if let Some(fd) = own_descriptor(asked) {
        return is_cloexec_of(asked.tid, fd) == Some(false);
    }
    if exec.path.is_empty() {
        return true;
    }
    let dir = dir.map_or(CWD, AsFd::as_fd);
    let (open, plain) = (OFlags::PATH | OFlags::CLOEXEC, ResolveFlags::NO_MAGICLINKS);
    let found = openat2(dir, exec.path.as_slice(), open, Mode::empty(), plain);
    // Before Linux 5.6 nobody can say.
    found.map_or_else(|error| error == rustix::io::Errno::NOSYS, |_| true)
}

/// The thread's own descriptor that a path names.
fn own_descriptor(asked: &Asked) -> Option<i32> {
    let below = from_aside(asked.tid, &asked.path);
    let number = below.strip_prefix(format!("/proc/{}/fd/", asked.tid).as_bytes())?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

/// Which directory of which mount: each mount namespace has mounts of its own (Linux 5.8).
pub(super) fn identity(path: &str) -> Option<(u64, u64)> {
    use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
    let what = StatxFlags::INO | StatxFlags::MNT_ID;
    let stat = statx(CWD, path, AtFlags::empty(), what).ok()?;
    Some((stat.stx_mnt_id, stat.stx_ino))
}

fn link(path: &str) -> Option<Vec<u8>> {
    Some(std::fs::read_link(path).ok()?.into_os_string().into_vec())
}
