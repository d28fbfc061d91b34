//! Members of a tree die at any moment; the others do not suffer.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use crate::common::place::{Place, one_at_a_time};
use crate::common::skip;
use crate::{command, compile, possible, run, same_loader};

/// How many are killed; `UEXEC_STORM` says another number.
const KILLED: &str = "300";

#[test]
fn kills_at_any_moment() {
    if !possible("kills") {
        return;
    }
    let place = Place::new();
    let storm = compile(&place, "storm", include_str!("storm.c"), &["-pthread"]);
    let count = std::env::var("UEXEC_STORM").unwrap_or_else(|_| KILLED.to_owned());
    let pair = (crate::VIA != "binfmt").then(same_loader).flatten();
    let mut words: Vec<_> = pair.into_iter().flat_map(|pair| ["--interp".into(), pair]).collect();
    words.extend([storm.to_str().unwrap(), &count].map(str::to_owned));
    let done = run(&mut command(true, words));
    let said = String::from_utf8_lossy(&done.stdout);
    // It ends when all are gone, and all that could write there are.
    assert_eq!((done.status.code(), said.as_ref()), (Some(42), "over\n"), "{done:?}");
}

/// With errors made up for the tracer, by strace: each costs one process at most.
#[test]
fn the_tracers_own_failures() {
    if crate::VIA != "ptrace" || !possible("failures of the tracer") {
        return;
    }
    let Some(pair) = same_loader() else {
        return skip("failures of the tracer", "the loader has one name only");
    };
    if !Command::new("strace").arg("-V").output().is_ok_and(|o| o.status.success()) {
        return skip("failures of the tracer", "no strace");
    }
    let line = "grep ^TracerPid: /proc/$$/status; read x; for i in 1 2 3; do /bin/true; echo $?; done; exit 7";
    let mut lost = 0;
    for call in [3, 5, 8, 9, 11, 14] {
        let words = ["--interp", &pair, "/bin/sh", "-c", line];
        let mut tree = {
            let _lock = one_at_a_time();
            let mut tree = command(true, words);
            tree.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
        };
        let mut said = BufReader::new(tree.stdout.take().unwrap()).lines().map(Result::unwrap);
        let tracer = said.next().unwrap().split_whitespace().last().unwrap().to_owned();
        let inject = format!("inject=ptrace:error=EIO:when={call}");
        let mut strace = Command::new("strace");
        strace.args(["-o", "/dev/null", "-e", "trace=ptrace", "-e", &inject, "-p", &tracer]);
        let mut strace = strace.stderr(Stdio::piped()).spawn().unwrap();
        let mut told = BufReader::new(strace.stderr.take().unwrap()).lines().map(Result::unwrap);
        let attached = told.next().is_some_and(|line| line.contains("attached"));
        writeln!(tree.stdin.take().unwrap()).unwrap();
        let statuses: Vec<_> = said.collect();
        let status = tree.wait().unwrap();
        strace.wait().unwrap();
        if !attached {
            return skip("failures of the tracer", "strace may not attach to it");
        }
        // A process that was killed, if it was, and all others as ever.
        assert_eq!((status.code(), statuses.len()), (Some(7), 3), "{call}: {statuses:?}");
        let killed = statuses.iter().filter(|status| *status == "137").count();
        assert!(killed <= 1 && statuses[killed..].iter().all(|s| s == "0"), "{call}: {statuses:?}");
        lost += killed;
    }
    assert_ne!(lost, 0);
}
