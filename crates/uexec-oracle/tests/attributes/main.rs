//! Everything a program can ask about itself answers the same after the kernel's exec and after
//! `uexec run`, whatever state the caller was in (PIPE-45 to PIPE-49, section G); or it is listed in
//! [`DEVIATIONS`].

mod busy;
mod compare;
#[path = "../support/mod.rs"]
mod support;
mod trees;

use std::fs::File;

use compare::{differences_of, report};
use support::{Scratch, WAYS};
use uexec_oracle::elf::{ET_EXEC, Elf, R, W, code};
use uexec_oracle::launch::{Exec, run};
use uexec_oracle::skip;
use uexec_oracle::state::State;
use uexec_oracle::uexec::uexec_binary;

/// A state of the caller.
struct Case {
    name: &'static str,
    states: Vec<State>,
    /// The states give up root's privileges.
    unprivileged: bool,
}

fn case(name: &'static str, states: impl Into<Vec<State>>) -> Case {
    Case { name, states: states.into(), unprivileged: false }
}

/// The probe.
fn program() -> std::ffi::CString {
    std::ffi::CString::new(env!("CARGO_BIN_EXE_uexec-probe")).unwrap()
}

/// Compares the probe's reports; every difference that is not a known deviation, a line each.
fn differences(dir: &Scratch, case: &Case) -> Vec<String> {
    let probe = env!("CARGO_BIN_EXE_uexec-probe");
    let mut exec = Exec::new(probe).args(["an argument"]).envs(["HOME=/", "X=1"]);
    exec.states.clone_from(&case.states);
    let (kernel_status, expected) = report(&dir.path("report"), &exec);
    if kernel_status >= 200 {
        skip(case.name, "this state cannot be set up here");
        return Vec::new();
    }
    assert!(expected.len() > 200 || kernel_status < 0, "the probe said little: {expected:?}");
    let mut found = Vec::new();
    for options in WAYS {
        let through = exec.through(uexec_binary(), options);
        let got = report(&dir.path("report"), &through);
        found.extend(differences_of(case, (kernel_status, &expected), (got.0, &got.1)));
    }
    found
}

#[track_caller]
fn check(cases: impl IntoIterator<Item = Case>) {
    let cases: Vec<Case> = cases.into_iter().collect();
    if trees::only_reports(&cases) {
        return;
    }
    let dir = Scratch::new(&format!("attributes-{}", std::thread::current().name().unwrap_or("")));
    let mut all = Vec::new();
    for case in cases {
        let found = differences(&dir, &case);
        all.extend(found.into_iter().map(|line| format!("{}: {line}", case.name)));
    }
    assert!(all.is_empty(), "{} differences:\n  {}", all.len(), all.join("\n  "));
}

#[test]
fn an_ordinary_caller() {
    check([case("ordinary", [])]);
}

/// Ignored stay ignored, handled become default; mask and pending signals stay.
#[test]
fn signals() {
    check([
        case("ignored SIGPIPE", [State::Ignore(libc::SIGPIPE)]),
        case("ignored SIGCHLD", [State::Ignore(libc::SIGCHLD)]),
        case("ignored SIGSEGV", [State::Ignore(libc::SIGSEGV), State::Ignore(libc::SIGTTOU)]),
        case("ignored 32 to 34", [State::Ignore(32), State::Ignore(33), State::Ignore(34)]),
        case("handled", [State::Handle(libc::SIGUSR1), State::Handle(libc::SIGTERM)]),
        case("blocked", [State::Block(libc::SIGINT), State::Block(40)]),
        case("blocked SIGSEGV", [State::Block(libc::SIGSEGV), State::Block(libc::SIGILL)]),
        case("pending", [State::Pending(libc::SIGUSR1), State::Pending(libc::SIGCHLD)]),
        case("pending of the thread", [State::PendingThread(libc::SIGUSR2)]),
        case("pending real-time", [State::PendingThread(40), State::Pending(41)]),
        case("alternate stack", [State::AltStack]),
    ]);
}

#[test]
fn timers() {
    check([
        case("real interval timer", [State::Itimer(libc::ITIMER_REAL, 1000)]),
        case("virtual interval timer", [State::Itimer(libc::ITIMER_VIRTUAL, 1000)]),
        case("profiling interval timer", [State::Itimer(libc::ITIMER_PROF, 1000)]),
        case("POSIX timer", [State::PosixTimer]),
        case("timer slack", [State::Prctl(libc::PR_SET_TIMERSLACK, [123_456, 0, 0, 0])]),
    ]);
}

#[test]
fn scheduling() {
    check([
        case("nice", [State::Nice(5)]),
        case("batch", [State::Scheduler(libc::SCHED_BATCH)]),
        case("idle", [State::Scheduler(libc::SCHED_IDLE)]),
        case("one processor", [State::OneCpu]),
        case("I/O priority", [State::IoPriority(2 << 13 | 6)]),
        case("membarrier", [State::Membarrier]),
    ]);
}

#[test]
fn files() {
    check([
        case("umask", [State::Umask(0o077)]),
        case("directory", [State::Cwd(c"/usr".into())]),
        case("descriptor", [State::Descriptor(7, false), State::Descriptor(200, false)]),
        case("close-on-exec", [State::Descriptor(7, true), State::Descriptor(200, true)]),
        case("no standard input", [State::Close(0)]),
        case("no standard error", [State::Close(2)]),
        case("lock", [State::RecordLock(c"/dev/null".into(), 6)]),
        case("lock of the program", [State::RecordLock(program(), 6)]),
        case("both", [State::Descriptor(4, true), State::Descriptor(5, false)]),
    ]);
}

#[test]
fn limits() {
    const STACK: u32 = 3;
    const CORE: u32 = 4;
    const NOFILE: u32 = 7;
    check([
        case("small stack", [State::Limit(STACK, 256 << 10)]),
        case("unlimited stack", [State::Limit(STACK, u64::MAX)]),
        case("no core", [State::Limit(CORE, 0)]),
        case("few files", [State::Limit(NOFILE, 20)]),
        case("files and a descriptor", [State::Descriptor(60, false), State::Limit(NOFILE, 20)]),
    ]);
}

#[test]
fn process_attributes() {
    let prctl = |option, value| [State::Prctl(option, [value, 0, 0, 0])];
    check([
        case("parent-death signal", prctl(libc::PR_SET_PDEATHSIG, 10)),
        case("not dumpable", prctl(libc::PR_SET_DUMPABLE, 0)),
        case("keep capabilities", prctl(libc::PR_SET_KEEPCAPS, 1)),
        case("no new privileges", prctl(libc::PR_SET_NO_NEW_PRIVS, 1)),
        case("child subreaper", prctl(libc::PR_SET_CHILD_SUBREAPER, 1)),
        case("no huge pages", prctl(libc::PR_SET_THP_DISABLE, 1)),
        case("no time stamp counter", prctl(libc::PR_SET_TSC, 2)),
        case("no processor identification", [State::NoCpuid]),
        case("filter of system calls", [State::Filter]),
        case("machine check policy", [State::Prctl(33, [1, 1, 0, 0])]),
        case("speculation", [State::Prctl(53, [0, 4, 0, 0])]),
        case("speculation until exec", [State::Prctl(53, [0, 16, 0, 0])]),
        case("name", [State::Prctl(libc::PR_SET_NAME, [c"other".as_ptr() as u64, 0, 0, 0])]),
        case("locked memory", [State::LockMemory]),
        case("registrations", [State::Registrations]),
        case("rounding", [State::Rounding]),
        case("session", [State::Session]),
        case("core filter", [State::Write(c"/proc/self/coredump_filter".into(), c"0x7f".into())]),
        case("OOM score", [State::Write(c"/proc/self/oom_score_adj".into(), c"500".into())]),
        case("personality", [State::Personality(0x100_0000)]),
    ]);
}

/// `PR_SET_MDWE(2const)`: the list of operations was put in memory both writable and executable.
#[test]
fn regression_no_memory_both_writable_and_executable() {
    check([case("no write and execute", [State::Prctl(65, [1, 0, 0, 0])])]);
}

/// `PR_SET_MEMORY_MERGE(2const)`: the kernel makes the first stack before it is passed on.
#[test]
fn regression_memory_merging_leaves_the_stack_out() {
    check([case("memory merging", [State::Prctl(67, [1, 0, 0, 0])])]);
}

/// PIPE-42 to PIPE-48. Needs root to begin with.
#[test]
fn credentials() {
    const NET_BIND_SERVICE: u32 = 10;
    let nobody = |name, states: &[State]| Case {
        unprivileged: true,
        ..case(name, [&[State::Ids(65_534)], states].concat())
    };
    let prctl = |option, value| State::Prctl(option, [value, 0, 0, 0]);
    const NOROOT: u64 = 1;
    check([
        nobody("another user", &[]),
        nobody("not dumpable", &[prctl(libc::PR_SET_DUMPABLE, 0)]),
        Case {
            unprivileged: true,
            ..case(
                "capability dropped",
                [prctl(libc::PR_CAPBSET_DROP, 21), prctl(libc::PR_CAPBSET_DROP, 40)],
            )
        },
        case("one capability dropped", [prctl(libc::PR_CAPBSET_DROP, 13)]),
        case("ambient", [State::Ambient(NET_BIND_SERVICE)]),
        Case {
            unprivileged: true,
            ..case("root is nobody special", [prctl(libc::PR_SET_SECUREBITS, NOROOT)])
        },
        Case { unprivileged: true, ..case("effective user", [State::EffectiveUid(65_534)]) },
        case("kept capabilities", [prctl(libc::PR_SET_SECUREBITS, 0x10)]),
    ]);
}

/// What a C library registers before `main` is asked by a program that has none: at the first
/// instruction nothing is registered (PIPE-49.9, PIPE-49.23).
#[test]
fn nothing_is_registered_at_the_first_instruction() {
    let dir = Scratch::new("attributes-registered");
    const CODE: u64 = 0x1000_0000;
    const DATA: u64 = 0x2000_0000;
    const PR_GET_TID_ADDRESS: u64 = 40;
    let call =
        |nr: i64, args: &[u64], slot: u64| code::call_store(nr as u32, args, DATA + slot * 8);
    let code = [
        call(libc::SYS_get_robust_list, &[0, DATA + 8, DATA + 16], 0),
        call(libc::SYS_prctl, &[PR_GET_TID_ADDRESS, DATA + 32], 3),
        call(libc::SYS_rseq, &[DATA + 0x400, 32, 0, 0x1234], 5),
        call(libc::SYS_sigaltstack, &[0, DATA + 56], 6),
        call(libc::SYS_brk, &[0], 10),
        code::call(libc::SYS_write as u32, &[1, DATA, 88]),
        code::exit(0),
    ]
    .concat();
    let mut elf = Elf::program(ET_EXEC, CODE, &code);
    elf.bss(R | W, DATA, 0x1000);
    let path = dir.path("program");
    elf.write(&path).unwrap();
    let ask = |exec: &Exec, name: &str| {
        let to = dir.path(name);
        let file = File::create_new(&to).unwrap();
        assert_eq!(run(&Exec { output: Some(file.into()), ..exec.clone() }).unwrap(), 0);
        let bytes = std::fs::read(&to).unwrap();
        let words = bytes.chunks_exact(8).map(|w| u64::from_le_bytes(w.try_into().unwrap()));
        words.collect::<Vec<_>>()
    };
    let exec = Exec::new(&path).state(State::Registrations).state(State::AltStack);
    let kernel = ask(&exec, "kernel");
    assert_eq!((kernel[0], kernel[1], kernel[4]), (0, 0, 0), "{kernel:x?}");
    assert_eq!(kernel, ask(&exec.through(uexec_binary(), &[]), "uexec"));
}
