//! Terminals, stops and kills: an interactive shell is as it is outside, and nobody gets stuck.

use std::fs;
use std::os::unix::process::ExitStatusExt;

use crate::common::place::{Place, one_at_a_time};
use crate::common::terminal::{JOB_CONTROL, typed, until};
use crate::{VIA, command, possible, same_loader};

#[test]
fn an_interactive_shell() {
    if !possible("an interactive shell") {
        return;
    }
    let rest = [("status 130", "cat\n"), ("cat", "li''ne\n\x04"), ("% ", "exit 0\n")];
    let lines = [&JOB_CONTROL[..], &rest].concat();
    let pair = same_loader();
    let served: Vec<&str> = pair.iter().flat_map(|pair| ["--interp", pair]).collect();
    for options in [vec![], served] {
        let words = options.into_iter().chain(["sh", "-i"]);
        let mut command = command(true, words);
        command.env("PS1", "% ").env_remove("ENV");
        let seen = typed(command, &lines);
        assert!(seen.contains("Stopped") || seen.contains("Suspended"), "{seen}");
    }
}

fn state(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// The number that somebody writes to a file.
fn number(place: &Place, name: &str) -> i32 {
    let mut number = 0;
    until(name, || {
        let text = fs::read_to_string(place.join(name)).unwrap_or_default();
        number = text.trim().parse().unwrap_or(0);
        number != 0
    });
    number
}

#[test]
fn whoever_is_killed_nobody_is_left_stuck() {
    if !possible("kill -9 of a member") {
        return;
    }
    let pair = same_loader();
    // A member, the command, and the tracer if there is one.
    for victim in ["child", "command", "tracer"] {
        if victim == "tracer" && VIA != "ptrace" {
            continue;
        }
        let place = Place::new();
        let script = "sh -c 'echo $$ > child; while :; do (exec true); done' & echo $$ > command; \
                      grep TracerPid /proc/$$/status | cut -f2 > tracer; wait";
        let words = pair.iter().flat_map(|pair| ["--interp", pair]).chain(["sh", "-c", script]);
        let mut started = {
            let _lock = one_at_a_time();
            command(true, words).current_dir(&place.path).spawn().unwrap()
        };
        let [child, tracer] = ["child", "tracer"].map(|name| {
            let none = name == "tracer" && VIA != "ptrace";
            if none { 0 } else { number(&place, name) }
        });
        assert_eq!(number(&place, "command"), started.id() as i32);
        let kill = |pid| {
            // SAFETY: numbers only; a process of the tree that this test has started.
            unsafe { libc::kill(pid, libc::SIGKILL) }
        };
        kill(number(&place, victim));
        let status = started.wait().unwrap();
        let expected = if victim == "child" { None } else { Some(libc::SIGKILL) };
        assert_eq!(status.signal(), expected, "{victim}");
        if victim == "command" {
            kill(child);
        }
        let gone = |pid| pid == 0 || state(pid).is_none_or(|state| state == 'Z');
        until("the end of all", || gone(child) && gone(tracer));
    }
}
