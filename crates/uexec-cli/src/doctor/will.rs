//! What follows from what was found. Tries nothing.

use super::finding::{Health, Will};

/// What a traced process can tell, whoever traces it.
const TRACED: [&str; 3] = [
    "no debugger and no other tracer can be used in it",
    "set-user-ID files run without their privilege, unless root traces",
    "TracerPid, Seccomp and, unless root traces, NoNewPrivs show in /proc/PID/status",
];

/// What one can tell whose execs are asked about.
const ASKED: [&str; 4] = [
    "a signal with a handler that comes within microseconds of an exec can make that fail (EINTR)",
    "who is traced, by strace or gdb say, executes as by the kernel",
    "set-user-ID files run without their privilege, unless root answers",
    "Seccomp and, unless root answers, NoNewPrivs show in /proc/PID/status",
];

/// What follows for each of uexec's capabilities.
pub(super) fn will(health: &Health) -> Vec<Will> {
    if health.findings.iter().any(|finding| finding.name == "proc") {
        return ["run", "policy", "tree", "trace", "i386"]
            .map(|what| row(what, None, "cannot be told without /proc"))
            .to_vec();
    }
    vec![run(health), policy(health), tree(health), trace(health), i386(health)]
}

const fn row(what: &'static str, way: Option<&'static str>, how: &'static str) -> Will {
    Will { what, way, how, but: &[] }
}

fn run(health: &Health) -> Will {
    if !health.has("run") {
        return row("run", None, "cannot load programs here");
    }
    let how = if health.has("exe_link") {
        "loads programs in place; /proc/self/exe names the program"
    } else if health.has("exe_link_userns") {
        "loads programs in place; /proc/self/exe names the program with --userns only"
    } else {
        "loads programs in place; /proc/self/exe names uexec, which JVM tools mind"
    };
    row("run", Some("in-place"), how)
}

fn policy(health: &Health) -> Will {
    if health.has("policy_check") {
        let how = "asks the kernel before anything is run, security modules included";
        return row("policy", Some("kernel"), how);
    }
    row("policy", Some("modes"), "asks permission bits and mount options before anything is run")
}

fn tree(health: &Health) -> Will {
    if health.has("tree_binfmt") {
        let other = health.has("tree_notify") || health.has("tree_ptrace");
        let how = match other {
            true => {
                "has the kernel start uexec's loader for every exec; --via notify and --via ptrace \
                 step in from aside"
            }
            false => "has the kernel start uexec's loader for every exec; there is no other way",
        };
        let but = &[
            "in a user namespace of its own: ids that are not the user's show as 65534, and \
             privilege reaches no further than it",
            "a debugger sees the loader start before the program",
        ];
        return Will { but, ..row("tree", Some("binfmt"), how) };
    }
    if health.has("tree_notify") {
        let how = "is asked before each exec, and steps in where uexec would load something else \
                   than the kernel";
        return Will { but: &ASKED, ..row("tree", Some("notify"), how) };
    }
    if health.has("tree_ptrace") {
        let how = "traces, and steps in where uexec would load something else than the kernel";
        return Will { but: &TRACED, ..row("tree", Some("ptrace"), how) };
    }
    row("tree", None, "run --tree is not possible")
}

fn trace(health: &Health) -> Will {
    match health.has("ptrace") && health.has("seccomp") {
        true => Will { but: &TRACED, ..row("trace", Some("ptrace"), "follows a whole tree") },
        false => row("trace", None, "trace is not possible"),
    }
}

fn i386(health: &Health) -> Will {
    match health.has("i386") {
        true => row("i386", Some("native"), "32-bit programs run"),
        false => row("i386", None, "32-bit programs are refused"),
    }
}
