//! The command `uexec`. Parses, hands over, prints; decides nothing about programs.
//!
//! There is no Rust `main`: the runtime that normally runs before it changes what the program to
//! be run inherits (it ignores SIGPIPE and installs signal handlers), so the C entry is used.

#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(dead_code, reason = "unit tests have a main of their own"))]

mod args;
mod binfmt;
mod check;
mod clone;
mod core;
mod docs;
mod doctor;
mod explain;
mod find;
mod fit;
mod libraries;
mod memfile;
mod picture;
mod report;
mod run;
mod shlib;
mod signal;
mod start;
mod style;
mod trace;
mod tree;
mod userns;

use std::ffi::{CStr, c_char};

/// Exit status for uexec's own failures, as of `env(1)` and its like.
const OWN_FAILURE: u8 = 125;

/// The C entry point.
#[cfg(not(test))]
#[unsafe(no_mangle)]
pub extern "C" fn main(
    _argc: std::ffi::c_int,
    _argv: *const *const c_char,
    envp: *const *const c_char,
) -> std::ffi::c_int {
    start::on_own_stack(parse, envp as usize)
}

/// Parses the command line, and does what it says.
#[cfg(not(test))]
extern "C" fn parse(envp: usize) -> std::ffi::c_int {
    match <args::Cli as clap::Parser>::try_parse() {
        Ok(cli) => dispatch(cli, environment(envp as *const *const c_char)).into(),
        Err(error) => {
            let _ = error.print();
            if error.use_stderr() { OWN_FAILURE.into() } else { 0 }
        }
    }
}

/// The environment as this process got it, byte for byte, strings without `=` included.
fn environment(envp: *const *const c_char) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for i in 0.. {
        // SAFETY: the C library hands main the kernel's array, which ends with a null pointer;
        // this loop ends there.
        let word = unsafe { envp.add(i) };
        // SAFETY: likewise, so this word is still of the array.
        let text = unsafe { *word };
        if text.is_null() {
            break;
        }
        // SAFETY: every entry before it is a C string.
        found.push(unsafe { CStr::from_ptr(text) }.to_bytes().to_vec());
    }
    found
}

fn dispatch(cli: args::Cli, envp: Vec<Vec<u8>>) -> u8 {
    match cli.command {
        args::Command::Run(run) => run::run(run, envp),
        args::Command::Explain(explain) => explain::explain(explain, envp),
        args::Command::Check(check) => check::check(&check),
        args::Command::Binfmt(args) => binfmt::binfmt(&args),
        args::Command::Trace(args) => trace::trace(&args, &envp),
        args::Command::Doctor(args) => doctor::doctor(&args),
        args::Command::MapIds => match tree::namespace::map_ids_of_parent() {
            Ok(()) => 0,
            Err(_) => OWN_FAILURE,
        },
        args::Command::Core(args) => core::core(args),
        args::Command::Man { dir } => docs::man(dir.as_deref()),
        args::Command::Completions { shell } => docs::completions(shell),
    }
}
