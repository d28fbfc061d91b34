//! The same from a process that is busy: it has other threads, a thousand descriptors, timers,
//! handlers, locked memory, and may not be called from its leader.

use uexec_oracle::launch::Exec;
use uexec_oracle::skip;
use uexec_oracle::state::State;

use crate::compare::{differences_of, report};
use crate::support::Scratch;
use crate::{Case, case};

/// Everything that `uexec-host` knows, but what excludes each other or has a test of its own.
const EVERYTHING: &str = "handlers,ignored,timers,itimers,aio,memory,locked,descriptors,rings,locks,\
    children,filter,process,stack,mask,pending of thread,scheduling,options,policy,personality,rounding";

/// Compares what the probe says after an exec of the host by the kernel and by uexec.
fn same(test: &str, cases: &[(&str, &str, &str)], states: &[State]) {
    let dir = Scratch::new(&format!("busy-{test}"));
    let (host, probe) = (env!("CARGO_BIN_EXE_uexec-host"), env!("CARGO_BIN_EXE_uexec-probe"));
    let unprivileged = states.iter().any(|s| matches!(s, State::Ids(_)));
    let mut all = Vec::new();
    for (caller, siblings, equipment) in cases {
        let start = |way| {
            let args = [way, *caller, *siblings, *equipment, probe, "an argument"];
            let mut exec = Exec::new(host).args(args).envs(["HOME=/", "X=1"]);
            exec.states = states.to_vec();
            report(&dir.path("report"), &exec)
        };
        let (kernel, uexec) = (start("kernel"), start("uexec"));
        let name = format!("{caller} {siblings} {equipment}");
        if kernel.0 == 120 {
            skip(&name, kernel.1.get("said").map_or("", |s| s));
            continue;
        }
        assert!(kernel.1.len() > 200 && kernel.0 == 0, "{name}: {} {:?}", kernel.0, kernel.1);
        let case = Case { unprivileged, ..case("busy", []) };
        let found = differences_of(&case, (kernel.0, &kernel.1), (uexec.0, &uexec.1));
        all.extend(found.into_iter().map(|line| format!("{name}: {line}")));
    }
    assert!(all.is_empty(), "{} differences:\n  {}", all.len(), all.join("\n  "));
}

#[test]
fn with_everything() {
    let threads = "pause,busy,read,libc,raw";
    same("all", &[("leader", threads, EVERYTHING), ("other", threads, EVERYTHING)], &[]);
    // The same without other threads.
    same("one", &[("leader", "-", EVERYTHING)], &[]);
}

#[test]
fn with_everything_as_nobody() {
    if !rustix::process::geteuid().is_root() {
        skip("as another user", "not root");
        return;
    }
    let threads = "pause,busy,read,libc,raw";
    let mine = EVERYTHING.replace("locked,", "").replace("filter", "no new privileges,filter");
    let cases = [("leader", threads, mine.as_str()), ("other", threads, mine.as_str())];
    same("nobody", &cases, &[State::Ids(65_534)]);
}

/// Each alone, so that none hides another.
#[test]
fn with_one_thing() {
    let all: Vec<&str> = EVERYTHING
        .split(',')
        .chain(["no clock", "undumpable", "keys", "keys of thread", "file ids"])
        .collect();
    let cases: Vec<_> =
        all.iter().flat_map(|e| [("leader", "pause", *e), ("other", "pause", *e)]).collect();
    same("each", &cases, &[]);
}

/// A thread that the kernel has made is neither stopped nor waited for; it goes with its ring.
#[test]
fn with_a_thread_of_the_kernels() {
    let cases = [
        ("leader", "-", "polled ring"),
        ("leader", "pause,raw", "polled ring"),
        ("other", "pause", "polled ring"),
    ];
    same("ring", &cases, &[]);
}

/// Pending for the process, where no other thread takes them; and signals that setting their default
/// action would drop (`sigaction(2)`).
#[test]
fn with_pending_signals() {
    let equipment = ["pending", "handlers,pending", "handlers,pending SIGCHLD,pending SIGURG"];
    let cases: Vec<_> = equipment
        .iter()
        .flat_map(|e| [("leader", "-", *e), ("leader", "libc,raw", *e), ("other", "raw,libc", *e)])
        .collect();
    same("pending", &cases, &[]);
}
