//! The command is the same process, in the same state, as without a tracer.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};

use super::common::{
    self,
    place::{Place, uexec},
};
use super::{of, records, traced};

#[test]
fn ends_as_the_command_does() {
    let place = Place::new();
    for script in ["exit 0", "exit 3", "exit 255", "kill -TERM $$", "kill -SEGV $$", "kill -9 $$"] {
        let traced = traced(&place, "json", &["sh", "-c", script]).status().unwrap();
        let plain = Command::new("sh").args(["-c", script]).status().unwrap();
        assert_eq!((traced.code(), traced.signal()), (plain.code(), plain.signal()), "{script}");
        // Whoever has waited for the command finds all of it.
        let records = records(&place);
        assert_eq!(records.last().unwrap()["event"], "end", "{script}");
        let exit = of(&records, "exit").last().unwrap()["signal"].as_i64();
        assert_eq!(exit, plain.signal().map(i64::from));
    }
    for (word, code) in [("nosuch-program", 127), ("/", 126)] {
        let mut command = traced(&place, "json", &[word]);
        // A directory that may not be searched would make it 126.
        let status = command.env("PATH", "/usr/bin").stderr(Stdio::null()).status().unwrap();
        assert_eq!(status.code(), Some(code));
    }
}

/// Everything a program sees of itself that a tracer could have changed.
const PROBE: &str = "\
echo args \"$0\" \"$@\"; umask; ulimit -a; env | sort | grep -v ^_=; pwd; nice; cat; times
read -r stat < /proc/$$/stat; set -- ${stat##*) }
echo parent $2 group $3 session $4 terminal $5 $6
grep -E '^(Sig[BIC]|Shd|Umask|Cap|Uid|Gid|Groups)' /proc/self/status
ls /proc/$$/fd; cat /proc/$$/limits; readlink /proc/$$/exe
";

/// A state that is not what a program usually inherits.
fn unusual() -> std::io::Result<()> {
    // SAFETY: numbers only.
    unsafe { libc::signal(libc::SIGUSR1, libc::SIG_IGN) };
    // SAFETY: numbers only: Rust's runtime ignores it.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    // SAFETY: numbers only.
    unsafe { libc::umask(0o027) };
    Ok(())
}

fn probe(mut command: Command) -> String {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
    // SAFETY: makes system calls only.
    unsafe { command.pre_exec(unusual) };
    let mut child = command.spawn().unwrap();
    let pid = child.id().to_string();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"input\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .filter(|l| !l.starts_with("0m"))
        .collect::<Vec<_>>()
        .join("\n")
        .replace(&pid, "PID")
}

#[test]
fn sees_nothing_of_the_tracer() {
    let place = Place::new();
    let inside = probe(traced(&place, "json", &["sh", "-c", PROBE, "name", "arg"]));
    let mut plain = Command::new("sh");
    plain.args(["-c", PROBE, "name", "arg"]).current_dir(&place.path);
    let outside = probe(plain);
    assert_eq!(inside, outside);
    assert!(inside.contains(&format!("parent {} group PID", std::process::id())), "{inside}");
}

#[test]
fn children_and_their_signals_are_the_commands_own() {
    let place = Place::new();
    // No child is there that it has not made, and it is told of each end once.
    let script = "trap 'n=$((n + 1))' CHLD; n=0; true; wait; for i in 1 2 3; do (exit $i); done\n\
                  sleep 0.01 & wait $!; echo $? $n";
    let inside = traced(&place, "json", &["sh", "-c", script]).output().unwrap();
    let outside = Command::new("sh").args(["-c", script]).output().unwrap();
    assert_eq!(inside.stdout, outside.stdout);
    assert_eq!(inside.status, outside.status);
}

#[test]
fn nobody_gains_privilege() {
    if !common::root() {
        return common::skip("a set-user-ID file", "only root can make one");
    }
    let place = Place::new();
    let id = std::fs::read("/usr/bin/id").unwrap();
    let id = place.file("id", id, 0o4755);
    std::os::unix::fs::chown(&place.path, Some(65534), Some(65534)).unwrap();
    let mut command = traced(&place, "json", &[id.to_str().unwrap(), "-u"]);
    command.uid(65534).gid(65534);
    let output = command.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "65534", "{output:?}");
    // That is told, and nothing where the same file would have granted nothing.
    let withheld = || of(&super::records(&place), "exec")[0]["withheld"].clone();
    assert_eq!(withheld(), "set-user-ID");
    assert!(traced(&place, "json", &[id.to_str().unwrap()]).status().unwrap().success());
    assert_eq!(withheld(), serde_json::Value::Null);
    let mut command = traced(&place, "json", &["grep", "CapEff", "/proc/self/status"]);
    let output = command.uid(65534).gid(65534).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "CapEff:\t0000000000000000");
}

#[test]
fn limits_of_the_command_do_not_kill_its_tracer() {
    let place = Place::new();
    // No file may have more than one block, and what is told has many.
    let script = "ulimit -f 1; exec \"$0\" trace -o out sh -c \"$1\"";
    let inner =
        "for i in 1 2 3 4 5 6 7 8 9; do for i in 1 2 3 4 5; do /bin/true; done; done; exit 3";
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(uexec()).arg(inner).current_dir(&place.path);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said, "uexec: out: File too large (EFBIG); the trace ends here\n");
}

#[test]
fn a_full_disk_ends_the_trace_and_not_the_command() {
    for format in ["tree", "json", "perfetto", "html"] {
        let mut command = Command::new(uexec());
        command.args(["trace", "--format", format, "-o", "/dev/full", "sh", "-c"]);
        let output = command.arg("/bin/true; echo on; exit 3").output().unwrap();
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(3), &b"on\n"[..]));
        let said = String::from_utf8_lossy(&output.stderr);
        let error = "No space left on device (ENOSPC); the trace ends here";
        assert_eq!(said, format!("uexec: /dev/full: {error}\n"), "{format}");
    }
}
