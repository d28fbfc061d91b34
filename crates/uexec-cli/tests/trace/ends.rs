//! Stops, kills and terminals: nothing gets stuck.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use super::common::terminal::{JOB_CONTROL, typed, until};
use super::common::{
    self,
    place::{Place, uexec},
};
use super::{of, records, traced};

fn status(pid: u32, name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim_start_matches(':').trim().to_owned())
}

fn kill(pid: u32, signal: i32) {
    // SAFETY: numbers only; the process is a child of this test, or its tracer.
    assert_eq!(unsafe { libc::kill(pid as i32, signal) }, 0);
}

#[test]
fn a_killed_command_and_a_killed_tracer_leave_nobody_behind() {
    let place = Place::new();
    for tracer_dies in [false, true] {
        let script = "sleep 1000 & echo $! > child; wait";
        let _ = fs::remove_file(place.join("child"));
        let mut command = traced(&place, "json", &["sh", "-c", script]).spawn().unwrap();
        let mut child = 0;
        until("the child", || {
            let text = fs::read_to_string(place.join("child")).unwrap_or_default();
            child = text.trim().parse().unwrap_or(0);
            child != 0
        });
        let tracer: u32 = status(command.id(), "TracerPid").unwrap().parse().unwrap();
        assert_ne!(tracer, 0);
        kill(if tracer_dies { tracer } else { command.id() }, libc::SIGKILL);
        assert_eq!(command.wait().unwrap().signal(), Some(libc::SIGKILL));
        if !tracer_dies {
            kill(child, libc::SIGTERM);
        }
        let gone = |pid| status(pid, "State").is_none_or(|s| s.starts_with('Z'));
        until("the end of all", || gone(child) && gone(tracer));
        if !tracer_dies {
            let records = records(&place);
            assert_eq!(of(&records, "exit").len(), 2);
            assert_eq!(records.last().unwrap()["event"], "end");
        }
    }
}

#[test]
fn stops_and_goes_on_as_a_job() {
    let place = Place::new();
    let script = "kill -STOP $$; exit 5";
    let mut child = traced(&place, "json", &["sh", "-c", script]).spawn().unwrap();
    let pid = child.id() as i32;
    let mut how = 0;
    // SAFETY: writes an int; waits for this test's own child.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut how, libc::WUNTRACED) }, pid);
    assert!(libc::WIFSTOPPED(how) && libc::WSTOPSIG(how) == libc::SIGSTOP, "{how:#x}");
    kill(pid as u32, libc::SIGCONT);
    assert_eq!(child.wait().unwrap().code(), Some(5));
}

#[test]
fn job_control_of_an_interactive_shell() {
    let place = Place::new();
    let lines = [&JOB_CONTROL[..], &[("status 130", "exit 0\n")]].concat();
    let mut command = Command::new(uexec());
    command.args(["trace", "--format", "json", "-o"]).arg(place.join("out"));
    command.args(["sh", "-i"]).env("PS1", "% ").env_remove("ENV");
    let seen = typed(command, &lines);
    assert!(seen.contains("Stopped") || seen.contains("Suspended"), "{seen}");
    let records = records(&place);
    assert!(of(&records, "exit").iter().any(|e| e["signal"] == libc::SIGINT), "{records:#?}");
}

/// A program that waits for all its children, however many there are.
const WAITS_FOR_ALL: &str = "
#include <sys/wait.h>
#include <unistd.h>
int main(void) {
    if (!fork()) _exit(0);
    while (wait(0) > 0);
    return 7;
}
";

#[test]
fn the_first_process_of_a_container() {
    let place = Place::new();
    let inside = |words: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["-Upf", "--mount-proc"]).args(words).current_dir(&place.path);
        command.output()
    };
    match inside(&["true"]) {
        Ok(output) if output.status.success() => {}
        other => return common::skip("a pid namespace of one's own", &format!("{other:?}")),
    }
    let source = place.file("waits.c", WAITS_FOR_ALL, 0o644);
    let waits = place.join("waits");
    assert!(Command::new("cc").arg("-o").arg(&waits).arg(source).status().unwrap().success());
    let out = place.join("out");
    let trace =
        [uexec().to_str().unwrap(), "trace", "--format", "json", "-o", out.to_str().unwrap()];
    // Its end is told, and what becomes of those that it leaves behind.
    for (script, status, left) in [
        ("true; exit 3", 3, false),
        ("sleep 1000 & exit 0", 0, true),
        ("sleep 1000 & exec /bin/false", 1, true),
        ("exec ./waits", 7, false),
    ] {
        let words = [&trace[..], &["sh", "-c", script]].concat();
        let output = inside(&words).unwrap();
        assert_eq!(output.status.code(), Some(status), "{script}: {output:?}");
        let records = records(&place);
        assert_eq!(records.last().unwrap()["event"], "end", "{script}: {records:#?}");
        let exits = of(&records, "exit");
        assert_eq!(exits.len(), of(&records, "spawn").len() + 1, "{script}: {records:#?}");
        let last = exits.last().unwrap();
        assert_eq!((&last["pid"], &last["status"]), (&1.into(), &status.into()), "{script}");
        assert_eq!(exits.iter().any(|e| e["signal"] == libc::SIGKILL), left, "{script}");
    }
}
