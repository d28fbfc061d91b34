//! Rules of `binfmt_misc` as the command uses them: the same as by the kernel, in a `binfmt_misc` of
//! one's own; programs of other processors; rules that packages ship; `uexec binfmt`.

#[path = "../common/mod.rs"]
mod common;

mod command;
mod foreign;
mod kernel;
mod late;
mod shipped;
mod systemd;

use std::ffi::OsStr;
use std::process::Command;

use common::place::{Place, uexec};

/// The command with these arguments.
fn with(p: &Place, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(uexec());
    command.args(args).current_dir(&p.path);
    command
}

/// `uexec run` by this rule alone.
fn by_rule(p: &Place, rules: &[String], program: &[&str]) -> Command {
    let mut command = with(p, ["run", "--binfmt", "none"]);
    for rule in rules {
        command.args(["--binfmt", rule]);
    }
    command.args(program);
    command
}

/// Compiles a C program; `None`, said aloud, where that does not work.
fn cc(p: &Place, compiler: &str, source: &str, name: &str, options: &[&str]) -> Option<()> {
    let from = p.file(&format!("{name}.c"), source, 0o644);
    let done = Command::new(compiler).arg(from).arg("-o").arg(p.join(name)).args(options).output();
    match done {
        Ok(out) if out.status.success() => Some(()),
        Ok(out) => {
            let why = String::from_utf8_lossy(&out.stderr).into_owned();
            common::skip(name, why.lines().last().unwrap_or("the compiler failed"));
            None
        }
        Err(error) => {
            common::skip(name, &format!("{compiler}: {error}"));
            None
        }
    }
}
