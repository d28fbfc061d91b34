//! `kernel.core_pattern`, borrowed: nobody else who asks here has it at the same time, and whatever
//! becomes of the borrower, even by SIGKILL, it is given back.

#![allow(dead_code, reason = "every program uses its own part of this")]

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::process::{Child, ChildStdin, Command, Stdio};

const PATH: &str = "/proc/sys/kernel/core_pattern";

/// The pattern is this one while it lives.
pub(crate) struct CorePattern {
    guard: Child,
    /// The guard waits until this is closed.
    alive: Option<ChildStdin>,
    /// The kernel's own file is the lock that all who depend on the pattern take.
    _lock: File,
}

impl CorePattern {
    /// Sets the pattern; an error where that is not allowed.
    pub(crate) fn set(pattern: &str) -> io::Result<CorePattern> {
        let lock = lock(libc::LOCK_EX)?;
        let before = fs::read_to_string(PATH)?;
        drop(fs::OpenOptions::new().write(true).open(PATH)?);
        let script = "trap '' HUP INT QUIT TERM; echo; read -r _; printf '%s\\n' \"$1\" > \"$0\"";
        let mut guard = Command::new("/bin/sh")
            .args(["-c", script, PATH, before.trim_end_matches('\n')])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let alive = guard.stdin.take();
        // It ignores what would end it, from now on.
        let mut line = [0];
        guard.stdout.take().map(|mut out| out.read_exact(&mut line)).transpose()?;
        let this = CorePattern { guard, alive, _lock: lock };
        fs::OpenOptions::new().write(true).open(PATH)?.write_all(pattern.as_bytes())?;
        Ok(this)
    }
}

impl Drop for CorePattern {
    fn drop(&mut self) {
        drop(self.alive.take());
        let _ = self.guard.wait();
    }
}

/// Waits for the lock, shared or exclusive.
fn lock(how: i32) -> io::Result<File> {
    let file = File::open(PATH)?;
    // SAFETY: a call on an open descriptor.
    match unsafe { libc::flock(file.as_raw_fd(), how) } {
        0 => Ok(file),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The pattern is `core`, a name in the directory of who dies, and stays so while this lives.
pub(crate) struct Unchanged {
    _lock: File,
}

impl Unchanged {
    /// If it is.
    pub(crate) fn here() -> Option<Unchanged> {
        let lock = lock(libc::LOCK_SH).ok()?;
        let is = |name, what| fs::read_to_string(name).is_ok_and(|text| text.trim() == what);
        let plain = is(PATH, "core") && is("/proc/sys/kernel/core_uses_pid", "0");
        plain.then_some(Unchanged { _lock: lock })
    }
}
