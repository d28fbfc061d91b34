//! Makes attempts: starts a process for each and reads what it says.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::{Command, Output, Stdio};

use clap::ValueEnum;
use uexec_core::Errno;

use crate::args::doctor::Attempt;
use crate::memfile::memory_file;
use crate::report::reason;

/// This very program, whatever it is called and wherever it lies.
const SELF: &str = "/proc/self/exe";
/// What the two programs below exit with.
const STATUS: i32 = 42;

/// An attempt in a process of its own: `Err` says what failed, and how.
pub(super) fn attempt(which: Attempt) -> Result<(), String> {
    let output = run(Command::new(SELF).args(["doctor", "--attempt"]).arg(name(which)))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    match text.trim().split_once(' ').map(|(errno, call)| (errno.parse(), call)) {
        Some((Ok(errno), call)) => Err(format!("{call}: {}", Errno(errno))),
        // Killed, by a filter say.
        _ => Err(output.status.to_string()),
    }
}

/// What `/proc/self/exe` names in a program that `uexec run` has started with these options.
pub(super) fn exe_under_run(options: &[&str]) -> Result<Vec<u8>, String> {
    let program = File::open(SELF).map_err(|e| reason(&e))?;
    let mut command = Command::new(SELF);
    command.arg("run").args(options).args(["-", "doctor", "--attempt"]).arg(name(Attempt::Exe));
    let output = run(command.stdin(program))?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => {
            let text = String::from_utf8_lossy(&output.stderr);
            let line = text.lines().next().unwrap_or_default();
            Err(if line.is_empty() { output.status.to_string() } else { line.to_owned() })
        }
    }
}

/// A whole small tree, served this way.
pub(super) fn tree(via: &str) -> Result<(), String> {
    let mut command = Command::new(SELF);
    command.args(["run", "--tree", "--via", via, SELF, "doctor", "--attempt"]);
    let output = run(command.arg(name(Attempt::Tree)))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let said = text.lines().next().unwrap_or_default().strip_prefix("uexec: ");
    let said = said.map(|line| line.split("; uexec doctor").next().unwrap_or(line).to_owned());
    Err(said.unwrap_or_else(|| output.status.to_string()))
}

/// Has the kernel execute a small program from memory that exits with [`STATUS`].
pub(super) fn kernel_runs(program: &[u8]) -> Result<(), String> {
    let file = memory_file("uexec-doctor", program, true).map_err(|e| reason(&e))?;
    let output = run(&mut Command::new(format!("/proc/self/fd/{}", file.as_raw_fd())))?;
    match output.status.code() {
        Some(STATUS) => Ok(()),
        _ => Err(output.status.to_string()),
    }
}

fn run(command: &mut Command) -> Result<Output, String> {
    // Nothing of the environment shall matter: no preloaded libraries, no variables of uexec's.
    command
        .env_clear()
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .output()
        .map_err(|e| reason(&e))
}

fn name(which: Attempt) -> String {
    which.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default()
}

/// A program for x86-64 that exits with [`STATUS`].
pub(super) fn x86_64() -> Vec<u8> {
    // mov edi, 42; mov eax, 60; syscall
    let code = [0xbf, STATUS as u8, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 0x05];
    const BASE: u64 = 0x40_0000;
    let len = 120 + code.len() as u64;
    let mut elf = ident(2, 62);
    for word in [BASE + 120, 64, 0] {
        elf.extend(word.to_le_bytes()); // e_entry, e_phoff, e_shoff
    }
    elf.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    elf.extend([1, 0, 0, 0, 5, 0, 0, 0]); // PT_LOAD, read and execute
    for word in [0, BASE, BASE, len, len, 4096] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(code);
    elf
}

/// The same for i386.
pub(super) fn i386() -> Vec<u8> {
    // mov ebx, 42; mov eax, 1; int 0x80
    let code = [0xbb, STATUS as u8, 0, 0, 0, 0xb8, 1, 0, 0, 0, 0xcd, 0x80];
    const BASE: u32 = 0x0804_8000;
    let len = 84 + code.len() as u32;
    let mut elf = ident(1, 3);
    for word in [BASE + 84, 52, 0] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend([0, 0, 0, 0, 52, 0, 32, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    for word in [1, 0, BASE, BASE, len, len, 5, 4096] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(code);
    elf
}

/// `e_ident`, type, machine and version of a program at fixed addresses.
fn ident(class: u8, machine: u8) -> Vec<u8> {
    let mut head = vec![0x7f, b'E', b'L', b'F', class, 1, 1];
    head.resize(16, 0);
    head.extend([2, 0, machine, 0, 1, 0, 0, 0]);
    head
}
