//! Tells everything that a process can know about itself, one `key=value` a line, or ends with a
//! status: `uexec-probe [exit N | alone PID]`. Started by the tests through the kernel and through `uexec`.
//!
//! There is no Rust `main`: the runtime before it changes signal dispositions.

#![no_main]

#[allow(unsafe_code, reason = "asks for a number")]
mod alone;
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
    let words: Vec<_> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["exit", status] => return status.parse().unwrap_or(99),
        [file, "handed"] => {
            println!("{file} {}", alone::handed());
            return 0;
        }
        ["alone", pid] => {
            let complaints = alone::complaints(pid);
            for complaint in &complaints {
                eprintln!("{complaint}");
            }
            return i32::from(!complaints.is_empty());
        }
        _ => {}
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
