//! The command `uexec`. Parses, hands over, prints; decides nothing about programs.
//!
//! There is no Rust `main`: the runtime that normally runs before it changes what the program to
//! be run inherits (it ignores SIGPIPE and installs signal handlers), so the C entry is used.

#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(dead_code, reason = "unit tests have a main of their own"))]

mod args;
mod docs;
mod report;
mod run;
mod userns;

/// Exit status for uexec's own failures, as of `env(1)` and its like.
const OWN_FAILURE: u8 = 125;

/// The C entry point.
#[cfg(not(test))]
#[unsafe(no_mangle)]
pub extern "C" fn main() -> std::ffi::c_int {
    match <args::Cli as clap::Parser>::try_parse() {
        Ok(cli) => dispatch(cli).into(),
        Err(error) => {
            let _ = error.print();
            if error.use_stderr() { OWN_FAILURE.into() } else { 0 }
        }
    }
}

fn dispatch(cli: args::Cli) -> u8 {
    match cli.command {
        args::Command::Run(run) => run::run(run),
        args::Command::Man { dir } => docs::man(dir.as_deref()),
        args::Command::Completions { shell } => docs::completions(shell),
    }
}
