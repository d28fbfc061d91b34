//! What the tests of trees share: commands in a tree and outside of one.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::VIA;
use crate::common::place::{Place, one_at_a_time, uexec};
use crate::common::{root, skip};

pub(crate) const NOBODY: u32 = 65534;

/// Whether this host lets anybody have a tree; says so if not.
pub(crate) fn possible(what: &str) -> bool {
    possible_via(VIA, what)
}

/// The same of one way.
pub(crate) fn possible_via(via: &str, what: &str) -> bool {
    let words = ["run", "--tree", "--via", via, "/bin/sh", "-c", "exit 42"];
    let output = run(Command::new(uexec()).args(words));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code() == Some(42) {
        return true;
    }
    assert!(text.contains("no tree: "), "{text}");
    skip(what, text.trim_end());
    false
}

/// A command with these arguments: in a tree, or as it is.
pub(crate) fn command(tree: bool, words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut words = words.into_iter();
    let mut command = match tree {
        true => {
            let mut command = Command::new(uexec());
            command.args(["run", "--tree", "--via", VIA]);
            command
        }
        false => Command::new(words.next().unwrap()),
    };
    command.args(words);
    command
}

/// The same as whoever is not root.
pub(crate) fn unprivileged(command: &mut Command) -> &mut Command {
    if root() { command.uid(NOBODY).gid(NOBODY) } else { command }
}

pub(crate) fn run(command: &mut Command) -> Output {
    let child = {
        let _lock = one_at_a_time();
        command
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .stdin(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    child.wait_with_output().unwrap()
}

/// What it wrote; it must succeed.
#[track_caller]
pub(crate) fn output(command: &mut Command) -> String {
    let output = run(command);
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A program from C.
pub(crate) fn compile(place: &Place, name: &str, source: &str, flags: &[&str]) -> PathBuf {
    let file = place.file(&format!("{name}.c"), source, 0o644);
    let program = place.join(name);
    let built = run(Command::new("cc").args(["-O1", "-o"]).arg(&program).arg(file).args(flags));
    assert!(built.status.success(), "{built:?}");
    program
}

/// The dynamic loader that a program names.
pub(crate) fn interpreter(program: &Path) -> Option<String> {
    let told = run(Command::new(uexec()).args(["explain", "--json"]).arg(program));
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    Some(told["image"]["interp"].as_str()?.to_owned())
}

/// The dynamic loader of this host's programs under its real name, for `--interp`: whoever has it
/// by its usual name is then served, and finds everything as before.
pub(crate) fn same_loader() -> Option<String> {
    let usual = interpreter(Path::new("/bin/sh"))?;
    let real = std::fs::canonicalize(&usual).unwrap();
    (real.as_os_str() != OsStr::new(&usual)).then(|| format!("{usual}={}", real.display()))
}
