//! What `/proc` says of a process that stands still. Keeps nothing.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};
use uexec_linux::tree::is_cloexec_of;

use super::record::Stdio;
use super::text::Text;

/// Where a link of `/proc/PID` leads.
pub(super) fn link(pid: i32, name: &str) -> Option<Vec<u8>> {
    let path = std::fs::read_link(format!("/proc/{pid}/{name}")).ok()?;
    Some(path.into_os_string().into_vec())
}

/// An open file of another process, and whether an exec closes its descriptor.
pub(super) fn descriptor(tid: i32, fd: i32) -> Option<(OwnedFd, bool)> {
    let open = OFlags::PATH | OFlags::CLOEXEC;
    let file = rustix::fs::open(format!("/proc/{tid}/fd/{fd}"), open, Mode::empty()).ok()?;
    Some((file, is_cloexec_of(tid, fd)?))
}

/// Page faults without input of a process so far (`proc_pid_stat(5)`, minflt).
pub(super) fn minor_faults(pid: i32) -> Option<u64> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let after_name = stat.get(stat.iter().rposition(|b| *b == b')')? + 2..)?;
    let field = after_name.split(|b| *b == b' ').nth(7)?;
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// Whether a process whose `/proc/PID/exe` leads there has executed uexec's own loader: a file
/// without a name that begins as that does.
pub(super) fn is_loader(pid: i32, exe: &[u8]) -> bool {
    const HEADER_LEN: usize = 64;
    let mut head = [0; HEADER_LEN];
    exe.ends_with(b" (deleted)")
        && File::open(format!("/proc/{pid}/exe"))
            .is_ok_and(|f| f.read_exact_at(&mut head, 0).is_ok())
        && uexec_loader::IMAGE.starts_with(&head)
}

/// What a path is for a process, as seen from here.
pub(super) fn real_path(pid: i32, path: &[u8]) -> Option<PathBuf> {
    let from = if path.starts_with(b"/") { "root" } else { "cwd/" };
    let there = [format!("/proc/{pid}/{from}").as_bytes(), path].concat();
    std::fs::canonicalize(OsStr::from_bytes(&there)).ok()
}

/// What standard input, output and error of a process lead to.
pub(super) fn stdio(pid: i32) -> Stdio {
    let leads = |fd: &str| link(pid, fd).map(Text);
    Stdio { stdin: leads("fd/0"), stdout: leads("fd/1"), stderr: leads("fd/2") }
}
