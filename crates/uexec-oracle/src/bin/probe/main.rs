//! Tells everything that a process can know about itself, one `key=value` a line, or ends with a
//! status: `uexec-probe [exit N]`. Started by the tests through the kernel and through `uexec`.
//!
//! There is no Rust `main`: the runtime before it changes signal dispositions.

#![no_main]

#[allow(unsafe_code, reason = "raw system calls that only ask")]
mod calls;
mod proc;

use std::ffi::c_int;
use std::io::Write;

/// What is known: keys and values, in the order in which they were asked for.
#[derive(Debug, Default)]
struct Report(String);

impl Report {
    /// A line; a value of several lines becomes several lines.
    fn add(&mut self, key: &str, value: impl std::fmt::Display) {
        let value = value.to_string();
        for (i, line) in value.lines().enumerate() {
            let number = if i == 0 { String::new() } else { format!(".{i}") };
            self.0.push_str(&format!("{key}{number}={line}\n"));
        }
        if value.is_empty() {
            self.0.push_str(&format!("{key}=\n"));
        }
    }
}

/// The C entry point.
#[unsafe(no_mangle)]
pub extern "C" fn main() -> c_int {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|a| a == "exit") {
        let status = args.next().and_then(|a| a.to_str()?.parse().ok());
        return status.unwrap_or(99);
    }
    let mut report = Report::default();
    // First what asking itself would change: descriptors and memory.
    proc::descriptors(&mut report);
    calls::ask(&mut report);
    proc::ask(&mut report);
    match std::io::stdout().write_all(report.0.as_bytes()) {
        Ok(()) => 0,
        Err(_) => 98,
    }
}
