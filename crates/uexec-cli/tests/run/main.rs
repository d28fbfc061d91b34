//! What `uexec run` does beyond failing: options, finding the program, what the program inherits,
//! help and manual.

#[path = "../common/mod.rs"]
mod common;

mod docs;
mod find;
mod inherit;
mod options;

use std::ffi::OsStr;
use std::process::Command;

use common::ask::{End, Seen, finish};
use common::place::{Place, uexec};

/// `uexec run` with these arguments.
fn run(p: &Place, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(uexec());
    command.arg("run").args(args).current_dir(&p.path);
    command
}

/// Runs it, and it must succeed: what it wrote.
#[track_caller]
fn output(command: &mut Command) -> String {
    let seen = finish(command);
    assert_eq!(seen.end, End::Exit(0), "{}", seen.stderr);
    text(&seen)
}

fn text(seen: &Seen) -> String {
    String::from_utf8_lossy(&seen.stdout).trim_end().to_owned()
}
