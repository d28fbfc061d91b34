//! `uexec run` makes no exec of its own: after the kernel has started `uexec`, the only exec system
//! calls are those that ask whether a file may be executed and never execute (`AT_EXECVE_CHECK`,
//! PIPE-20). Seen by a tracer that stops the process and all its descendants at each system call.

mod support;

use std::path::Path;

use support::{Scratch, ordinary};
use uexec_oracle::elf;
use uexec_oracle::launch::Exec;
use uexec_oracle::uexec::uexec_binary;
use uexec_oracle::watch::exec_calls;

/// Starts by `uexec run`, and asserts that only `uexec` itself was executed.
#[track_caller]
fn only_uexec_is_executed(exec: &Exec, expected: i32) {
    let through = exec.through(uexec_binary(), &[]);
    let (calls, status) = exec_calls(&through).unwrap();
    assert_eq!(status, expected, "{calls:?}");
    let (asking, executing): (Vec<_>, Vec<_>) = calls.iter().partition(|c| c.only_asks());
    assert_eq!(executing.len(), 1, "{calls:?}");
    assert_eq!(executing[0].path, uexec_binary().to_str().unwrap());
    assert_eq!(calls.first(), executing.first().copied(), "the first is uexec's own start");
    // The system's policy is asked where the kernel can be asked (Linux 6.14).
    let old = kernel_version() < (6, 14);
    assert!(old || !asking.is_empty(), "the kernel's policy was not asked: {calls:?}");
}

fn kernel_version() -> (u32, u32) {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map_while(|n| n.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[test]
fn a_dynamic_program() {
    only_uexec_is_executed(&ordinary(Path::new("/bin/true")), 0);
    only_uexec_is_executed(&Exec::new("/bin/cat").args(["/dev/null"]), 0);
}

#[test]
fn a_static_program() {
    // This test's own probe: static where Rust's configuration here makes it so.
    let exec = Exec::new(env!("CARGO_BIN_EXE_uexec-probe")).args(["exit", "5"]);
    only_uexec_is_executed(&exec, 5);
}

#[test]
fn scripts_and_their_interpreters() {
    let dir = Scratch::new("no-exec");
    let path = dir.path("script");
    elf::write_program(&path, b"#!/bin/sh\nexit 3\n").unwrap();
    only_uexec_is_executed(&Exec::new(&path), 3);
}

#[test]
fn in_a_user_namespace_too() {
    let through = Exec::new("/bin/true").through(uexec_binary(), &["--userns"]);
    let (calls, status) = exec_calls(&through).unwrap();
    if status == 125 {
        return uexec_oracle::skip("--userns", "no user namespaces here");
    }
    assert_eq!((calls.iter().filter(|c| !c.only_asks()).count(), status), (1, 0), "{calls:?}");
}

/// What a program executes itself is its own affair, and is seen: `env` executes `true`.
#[test]
fn the_watch_sees_an_exec() {
    let path = ["/usr/bin/env", "/bin/env"].map(Path::new).into_iter().find(|p| p.exists());
    let Some(env) = path else { return uexec_oracle::skip("control run", "no env here") };
    let exec = Exec::new(env).args(["/bin/true"]);
    let (calls, status) = exec_calls(&exec).unwrap();
    assert_eq!(status, 0);
    let paths: Vec<&str> = calls.iter().map(|c| c.path.as_str()).collect();
    assert_eq!(paths, [env.to_str().unwrap(), "/bin/true"]);
    let (calls, _) = exec_calls(&exec.through(uexec_binary(), &[])).unwrap();
    assert_eq!(calls.iter().filter(|c| !c.only_asks()).count(), 2, "{calls:?}");
}

/// Children are watched as well.
#[test]
fn the_watch_follows_children() {
    let exec = Exec::new("/bin/sh").args(["-c", "/bin/true; (/bin/cat /dev/null); exit 4"]);
    let (calls, status) = exec_calls(&exec).unwrap();
    let paths: Vec<&str> = calls.iter().map(|c| c.path.as_str()).collect();
    assert_eq!((paths, status), (vec!["/bin/sh", "/bin/true", "/bin/cat"], 4));
}
