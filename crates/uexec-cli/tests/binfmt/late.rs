//! The host's own rules: read when nobody else knows a file, once, and no sooner (PIPE-34).

use std::process::Command;

use super::with;
use crate::common::ask::{End, finish};
use crate::common::elf::Elf;
use crate::common::place::{Place, uexec};
use crate::common::skip;

/// Runs a file by a rule of a folder that this process alone sees. Arguments: uexec, the file.
const SCRIPT: &str = r#"
mount -t tmpfs none /usr/lib/binfmt.d && cp late.conf /usr/lib/binfmt.d/zz-late.conf || exit 99
exec "$1" run "$2" arg
"#;

#[test]
fn pipe_34_a_rule_of_a_folder_runs_what_nobody_knows() {
    let p = Place::new();
    p.elf("i", &Elf::exit(42));
    p.script("x.late", "TEST");
    p.file("late.conf", format!(":late:E::late::{}:\n", p.join("i").display()), 0o644);
    assert_eq!(finish(&mut with(&p, ["run", "./x.late", "arg"])).end, End::Exit(126));
    let mut command = Command::new("unshare");
    command.args(["-Urm", "sh", "-c", SCRIPT, "sh"]).arg(uexec()).arg("./x.late");
    let seen = finish(command.current_dir(&p.path));
    if matches!(seen.end, End::Exit(99) | End::Errno(_)) || seen.stderr.starts_with("unshare:") {
        let why = seen.stderr.lines().next().unwrap_or("no unshare(1)");
        return skip("a rule of a folder", why);
    }
    assert_eq!(seen.end, End::Exit(42), "{}", seen.stderr);
}

#[test]
fn pipe_34_folders_are_read_once_and_no_sooner() {
    let p = Place::new();
    p.elf("known", &Elf::exit(7));
    p.script("script", "#!./known\n");
    p.script("unknown", "\x01\x02\x03\x04");
    // How often the folder and the kernel's table are opened.
    let opened = |options: &[&str], program: &str, status: i32| -> Option<[usize; 2]> {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-e", "trace=open,openat", "-o", "log"]).arg(uexec()).arg("run");
        let seen = finish(strace.args(options).arg(program).current_dir(&p.path));
        if seen.end != End::Exit(status) {
            skip("when folders are read", seen.stderr.lines().next().unwrap_or("no strace(1)"));
            return None;
        }
        let log = std::fs::read_to_string(p.join("log")).unwrap();
        let times = |path: &str| log.matches(path).count();
        Some([times("\"/usr/lib/binfmt.d\""), times("/binfmt_misc/status\"")])
    };
    for (options, program, status, expected) in [
        (&[][..], "./known", 7, [0, 0]),
        (&[], "./script", 7, [0, 0]),
        (&["--binfmt", ":x:M::\\x01\\x02::./known:"], "./unknown", 7, [0, 0]),
        (&["--binfmt", "none"], "./unknown", 126, [0, 0]),
        (&[], "./unknown", 126, [1, 1]),
    ] {
        let Some(times) = opened(options, program, status) else { return };
        assert_eq!(times, expected, "{options:?} {program}");
    }
}
