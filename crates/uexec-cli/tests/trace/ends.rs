//! Stops, kills and terminals: nothing gets stuck.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::common::place::{Place, uexec};
use super::{of, records, traced};

/// Waits until something is so; nothing here takes that long.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(30), "{what} does not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn status(pid: u32, name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim_start_matches(':').trim().to_owned())
}

fn kill(pid: u32, signal: i32) {
    // SAFETY: numbers only; the process is a child of this test, or its tracer.
    assert_eq!(unsafe { libc::kill(pid as i32, signal) }, 0);
}

#[test]
fn a_killed_command_and_a_killed_tracer_leave_nobody_behind() {
    let place = Place::new();
    for tracer_dies in [false, true] {
        let script = "sleep 1000 & echo $! > child; wait";
        let _ = fs::remove_file(place.join("child"));
        let mut command = traced(&place, "json", &["sh", "-c", script]).spawn().unwrap();
        let mut child = 0;
        until("the child", || {
            let text = fs::read_to_string(place.join("child")).unwrap_or_default();
            child = text.trim().parse().unwrap_or(0);
            child != 0
        });
        let tracer: u32 = status(command.id(), "TracerPid").unwrap().parse().unwrap();
        assert_ne!(tracer, 0);
        kill(if tracer_dies { tracer } else { command.id() }, libc::SIGKILL);
        assert_eq!(command.wait().unwrap().signal(), Some(libc::SIGKILL));
        if !tracer_dies {
            kill(child, libc::SIGTERM);
        }
        let gone = |pid| status(pid, "State").is_none_or(|s| s.starts_with('Z'));
        until("the end of all", || gone(child) && gone(tracer));
        if !tracer_dies {
            let records = records(&place);
            assert_eq!(of(&records, "exit").len(), 2);
            assert_eq!(records.last().unwrap()["event"], "end");
        }
    }
}

#[test]
fn stops_and_goes_on_as_a_job() {
    let place = Place::new();
    let script = "kill -STOP $$; exit 5";
    let mut child = traced(&place, "json", &["sh", "-c", script]).spawn().unwrap();
    let pid = child.id() as i32;
    let mut how = 0;
    // SAFETY: writes an int; waits for this test's own child.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut how, libc::WUNTRACED) }, pid);
    assert!(libc::WIFSTOPPED(how) && libc::WSTOPSIG(how) == libc::SIGSTOP, "{how:#x}");
    kill(pid as u32, libc::SIGCONT);
    assert_eq!(child.wait().unwrap().code(), Some(5));
}

/// Makes standard input the terminal of a session of its own.
fn lead_terminal() -> std::io::Result<()> {
    // SAFETY: numbers only.
    unsafe { libc::setsid() };
    // SAFETY: numbers only.
    unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) };
    Ok(())
}

/// What a shell says that gets this typed, in a terminal of its own. Each line is sent when the
/// text before it has been seen.
fn typed(mut command: Command, lines: &[(&str, &str)]) -> String {
    let (mut ours, mut theirs) = (0, 0);
    let null = std::ptr::null_mut();
    // SAFETY: stores two descriptors; the other pointers may be null.
    let made =
        unsafe { libc::openpty(&raw mut ours, &raw mut theirs, null, null.cast(), null.cast()) };
    assert_eq!(made, 0);
    // SAFETY: it is open, and nobody else's.
    let mut ours = unsafe { fs::File::from_raw_fd(ours) };
    // SAFETY: likewise.
    let theirs = unsafe { OwnedFd::from_raw_fd(theirs) };
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
            let mut wait = libc::pollfd { fd: ours.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: reads and writes the one structure.
            if unsafe { libc::poll(&raw mut wait, 1, 100) } != 1 {
                return false;
            }
            let n = ours.read(&mut buffer).unwrap_or(0);
            seen += &String::from_utf8_lossy(&buffer[..n]);
            seen[from..].contains(after)
        });
        ours.write_all(line.as_bytes()).unwrap();
    }
    while let Ok(n @ 1..) = ours.read(&mut buffer) {
        seen += &String::from_utf8_lossy(&buffer[..n]);
    }
    assert!(child.wait().unwrap().success(), "{seen}");
    seen
}

#[test]
fn job_control_of_an_interactive_shell() {
    let place = Place::new();
    let lines = [
        // Whoever says it is ready is the one that is stopped: a shell that gets Ctrl-Z in the
        // middle of vfork(2) hangs, traced or not.
        ("% ", "sh -c 'echo rea''dy; exec sleep 1000'\n"),
        ("ready", "\x1a"),
        ("% ", "jobs; echo sa''w $?\n"),
        ("saw", "fg\n"),
        ("sleep", "\x03"),
        ("% ", "echo status $?\n"),
        ("status 130", "exit 0\n"),
    ];
    let mut command = Command::new(uexec());
    command.args(["trace", "--format", "json", "-o"]).arg(place.join("out"));
    command.args(["sh", "-i"]).env("PS1", "% ").env_remove("ENV");
    let seen = typed(command, &lines);
    assert!(seen.contains("Stopped") || seen.contains("Suspended"), "{seen}");
    let records = records(&place);
    assert!(of(&records, "exit").iter().any(|e| e["signal"] == libc::SIGINT), "{records:#?}");
}
