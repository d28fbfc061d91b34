//! What is peculiar to a tree that nobody traces: others may, and who answers may be killed.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};

use crate::common::place::{Place, one_at_a_time, uexec};
use crate::common::skip;
use crate::{command, compile, output, possible, run, same_loader};

fn has(program: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok_and(|o| o.status.success());
    if !there {
        skip(program, "not installed");
    }
    there
}

/// Options with which everybody is served, and without any.
fn served() -> Vec<Vec<String>> {
    let pair = same_loader().map(|pair| vec!["--interp".to_owned(), pair]);
    [Some(vec![]), pair].into_iter().flatten().collect()
}

#[test]
fn strace_sees_all_execs() {
    if !possible("strace in a tree") || !has("strace") {
        return;
    }
    let place = Place::new();
    let log = place.join("log");
    let line = "(exec /bin/echo a); sh -c '/bin/echo b'; exec /nonexistent";
    for options in served() {
        let words = ["strace", "-f", "-e", "trace=execve", "-o", log.to_str().unwrap(), "sh", "-c"];
        let words = options.iter().map(String::as_str).chain(words).chain([line]);
        let done = run(&mut command(true, words));
        assert_eq!((done.status.code(), &done.stdout[..]), (Some(127), &b"a\nb\n"[..]), "{done:?}");
        let log = fs::read_to_string(&log).unwrap();
        let results = log.lines().filter_map(|line| Some(line.split_once(" = ")?.1));
        let (good, bad): (Vec<_>, Vec<_>) = results.partition(|result| *result == "0");
        assert_eq!((good.len(), bad.len()), (4, 1), "{options:?} {log}");
    }
}

#[test]
fn gdb_runs_programs() {
    if !possible("gdb in a tree") || !has("gdb") {
        return;
    }
    let place = Place::new();
    let source = "int times(int n) { return 6 * n; }\nint main(void) { return times(7); }\n";
    let program = compile(&place, "times", source, &["-g", "-O0"]);
    let gdb = ["gdb", "-nx", "-batch", "-ex", "break times", "-ex", "run", "-ex", "print n + 1"];
    let gdb: Vec<_> =
        gdb.into_iter().chain(["-ex", "continue", program.to_str().unwrap()]).collect();
    let outside = output(&mut command(false, &gdb));
    if !outside.contains("$1 = 8") {
        return skip("gdb in a tree", "gdb does not work outside of one either");
    }
    for options in served() {
        let words = options.iter().map(String::as_str).chain(gdb.iter().copied());
        let said = output(&mut command(true, words));
        assert!(said.contains("$1 = 8") && said.contains("exited with code 052"), "{said}");
    }
}

/// An exec that fails after all: all registers that a call leaves alone are as they were, and so is the
/// signal mask.
const FAILS: &str = r#"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(void)
{
    static char *argv[300];
    sigset_t mask, after;
    for (int i = 0; i < 299; i++) {
        argv[i] = malloc(100001);
        memset(argv[i], 'x', 100000);
        argv[i][100000] = 0;
    }
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    sigprocmask(SIG_SETMASK, &mask, 0);
    long result;
    const char *path = "/bin/true";
    register long r10 asm("r10") = 10, r8 asm("r8") = 8, r9 asm("r9") = 9;
    char **envp = 0;
    asm volatile("syscall" : "=a"(result), "+r"(r10), "+r"(r8), "+r"(r9)
                 : "0"(59L), "D"(path), "S"(argv), "d"(envp) : "rcx", "r11", "memory");
    long tenth = r10, eighth = r8, ninth = r9;
    sigprocmask(SIG_SETMASK, 0, &after);
    printf("%ld %ld %ld %ld %d\n", result, tenth, eighth, ninth, memcmp(&mask, &after, 8));
}
"#;

#[test]
fn a_failure_leaves_everything_as_it_was() {
    if !possible("failing execs") {
        return;
    }
    let place = Place::new();
    let program = compile(&place, "fails", FAILS, &[]);
    let program = program.to_str().unwrap();
    for options in served() {
        let words = options.iter().map(String::as_str).chain([program]);
        assert_eq!(output(&mut command(true, words)), "-7 10 8 9 0\n", "{options:?}");
    }
}

/// Only one can answer, and he is asked before any tracer's filter counts.
#[test]
fn a_second_that_answers_is_refused() {
    if !possible("trees in a tree") {
        return;
    }
    let uexec = uexec().to_str().unwrap();
    for inner in [
        vec!["run", "--tree", "--via", "notify"],
        vec!["run", "--tree", "--via", "ptrace"],
        vec!["trace", "-o", "/dev/null"],
    ] {
        let words = [&[uexec], &inner[..], &["true"]].concat();
        let done = run(&mut command(true, words));
        let said = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(125), "{inner:?} {said}");
        assert!(said.contains("another"), "{inner:?} {said}");
    }
}

/// Who answers for the tree that was started with this word.
fn who_answers(word: &str) -> i32 {
    let holds = |pid: i32| {
        let fds = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
        let mut links = fds.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
        let told = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let ours = told.windows(word.len()).any(|part| part == word.as_bytes());
        (ours && links.any(|link| link.as_os_str().as_bytes().ends_with(b"seccomp notify")))
            .then_some(pid)
    };
    let all = fs::read_dir("/proc").unwrap();
    let mut pids = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.find_map(holds).unwrap()
}

#[test]
fn without_who_answers_nobody_is_stuck() {
    if !possible("an answer that does not come") {
        return;
    }
    let place = Place::new();
    let word = place.path.to_str().unwrap();
    let line = "trap '' TERM; while (exec true); do :; done & echo ready; read x; wait; /bin/true; \
                echo $?; exit 7";
    for options in served() {
        let words = options.iter().map(String::as_str).chain(["sh", "-c", line, word]);
        let mut tree = {
            let _lock = one_at_a_time();
            let mut tree = command(true, words);
            tree.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
        };
        let mut said = BufReader::new(tree.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert_eq!(said.next().as_deref(), Some("ready"));
        // SAFETY: numbers only; the process that this test's tree has made.
        unsafe { libc::kill(who_answers(word), libc::SIGKILL) };
        writeln!(tree.stdin.take().unwrap()).unwrap();
        // ENOSYS, which shells have their own numbers for.
        assert_ne!(said.next().as_deref(), Some("0"));
        assert_eq!(tree.wait().unwrap().code(), Some(7));
    }
}
