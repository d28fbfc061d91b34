//! A terminal, somebody who types, and patience.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Waits until something is so; nothing here takes that long.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(30), "{what} does not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Makes standard input the terminal of a session of its own.
fn lead_terminal() -> std::io::Result<()> {
    // SAFETY: numbers only.
    unsafe { libc::setsid() };
    // SAFETY: numbers only.
    unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) };
    Ok(())
}

/// A job of a shell whose prompt is `% ` is stopped, goes on, and is interrupted: what is typed, and
/// after what. Whoever says it is ready is the one that is stopped: a shell that gets Ctrl-Z in the
/// middle of vfork(2) hangs, traced or not.
pub(crate) const JOB_CONTROL: [(&str, &str); 6] = [
    ("% ", "sh -c 'echo rea''dy; exec sleep 1000'\n"),
    ("ready", "\x1a"),
    ("% ", "jobs; echo sa''w $?\n"),
    ("saw", "fg\n"),
    ("sleep", "\x03"),
    ("% ", "echo status $?\n"),
];

/// Whether there is something to be read soon, be it the end.
fn readable(terminal: &fs::File) -> bool {
    let mut wait = libc::pollfd { fd: terminal.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: reads and writes the one structure.
    unsafe { libc::poll(&raw mut wait, 1, 100) == 1 }
}

/// The process group that the keys of this terminal go to.
fn foreground(terminal: &fs::File) -> i32 {
    // SAFETY: a descriptor is passed.
    unsafe { libc::tcgetpgrp(terminal.as_raw_fd()) }
}

/// A terminal: the end that types and reads, and the one for programs. Other tests start programs
/// meanwhile, which must not inherit either: `openpty(3)` leaves both open for all.
fn pair() -> (fs::File, OwnedFd) {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    let mut options = fs::OpenOptions::new();
    let ours = options.read(true).write(true).custom_flags(flags).open("/dev/ptmx").unwrap();
    // SAFETY: a descriptor is passed.
    assert_eq!(unsafe { libc::unlockpt(ours.as_raw_fd()) }, 0);
    // SAFETY: numbers are passed.
    let theirs = unsafe { libc::ioctl(ours.as_raw_fd(), libc::TIOCGPTPEER, flags) };
    assert!(theirs >= 0);
    // SAFETY: it is open, and nobody else's.
    (ours, unsafe { OwnedFd::from_raw_fd(theirs) })
}

/// What a shell says that gets this typed, in a terminal of its own. Each line is sent when the
/// text before it has been seen.
pub(crate) fn typed(mut command: Command, lines: &[(&str, &str)]) -> String {
    let (mut ours, theirs) = pair();
    for to in [Command::stdin, Command::stdout, Command::stderr] {
        to(&mut command, Stdio::from(theirs.try_clone().unwrap()));
    }
    // SAFETY: makes system calls only.
    unsafe { command.pre_exec(lead_terminal) };
    let mut child = command.spawn().unwrap();
    drop((command, theirs));
    let mut seen = String::new();
    let mut buffer = [0; 1024];
    for (after, line) in lines {
        let from = seen.len();
        until(after, || {
            if seen[from..].contains(after) {
                return true;
            }
            if !readable(&ours) {
                return false;
            }
            let n = ours.read(&mut buffer).unwrap_or(0);
            seen += &String::from_utf8_lossy(&buffer[..n]);
            seen[from..].contains(after)
        });
        // A shell says what it takes to the foreground before it does.
        if ["\x03", "\x1a"].contains(line) {
            until("a job in the foreground", || {
                let group = foreground(&ours);
                group > 0 && group != child.id() as i32
            });
        }
        ours.write_all(line.as_bytes()).unwrap();
    }
    until("the end of all output", || {
        if !readable(&ours) {
            return false;
        }
        let n = ours.read(&mut buffer).unwrap_or(0);
        seen += &String::from_utf8_lossy(&buffer[..n]);
        n == 0
    });
    assert!(child.wait().unwrap().success(), "{seen}");
    seen
}
