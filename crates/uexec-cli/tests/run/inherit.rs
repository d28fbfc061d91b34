//! What the program inherits is what the caller gave: compared with the kernel's own exec.

use std::io;

use crate::common::ask::{Ask, check};
use crate::common::place::Place;
use crate::text;

/// Kernel and command run `/bin/sh -c script` in a child set up like this; both must say the same.
#[track_caller]
fn same(
    what: &str,
    script: &str,
    set: impl Fn() -> io::Result<()> + Send + Sync + 'static,
) -> String {
    same_program(what, "/bin/sh", &[b"-c", script.as_bytes()], set)
}

/// The same for any program.
#[track_caller]
fn same_program(
    what: &str,
    program: &str,
    args: &[&[u8]],
    set: impl Fn() -> io::Result<()> + Send + Sync + 'static,
) -> String {
    let p = Place::new();
    let ask = Ask::new(&p.path, program).args(args).before(set);
    let ask = ask.env(&[b"PATH=/bin:/usr/bin"]);
    let (kernel, ours) = (ask.kernel(), ask.uexec());
    assert_eq!(ours.end, kernel.end, "{what}: {}", ours.stderr);
    assert_eq!(text(&ours), text(&kernel), "{what}");
    assert_eq!(ours.stderr, kernel.stderr, "{what}");
    text(&ours)
}

/// Compares signals. No shell: some reset the mask.
#[track_caller]
fn same_signals(what: &str, set: impl Fn() -> io::Result<()> + Send + Sync + 'static) -> String {
    same_program(what, "/bin/grep", &[b"-E", b"^(Sig[PBIC]|Shd)", b"/proc/self/status"], set)
}

fn disposition(signal: i32, to: libc::sighandler_t) -> io::Result<()> {
    // SAFETY: default and ignore run no code.
    let old = unsafe { libc::signal(signal, to) };
    check(if old == libc::SIG_ERR { -1 } else { 0 })
}

#[test]
fn signals() {
    let pipe = |to| move || disposition(libc::SIGPIPE, to);
    let default = same_signals("SIGPIPE default", pipe(libc::SIG_DFL));
    let ignored = same_signals("SIGPIPE ignored", pipe(libc::SIG_IGN));
    assert_ne!(default, ignored);
    same_signals("SIGCHLD ignored", || disposition(libc::SIGCHLD, libc::SIG_IGN));
    let masked = same_signals("a mask and a pending signal", || {
        // SAFETY: a signal set is plain bits.
        let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: the set is valid.
        check(unsafe { libc::sigaddset(&raw mut set, libc::SIGUSR1) })?;
        // SAFETY: likewise.
        check(unsafe {
            libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut())
        })?;
        // SAFETY: it is blocked, so nothing happens.
        check(unsafe { libc::raise(libc::SIGUSR1) })
    });
    assert!(masked.contains("SigBlk:\t0000000000000200"), "{masked}");
    assert!(masked.contains("SigPnd:\t0000000000000200"), "{masked}");
}

#[test]
fn sigpipe_kills_the_program_only_if_the_caller_lets_it() {
    let script = "yes 2>&1 | head -1; trap - PIPE";
    same("SIGPIPE default", script, || disposition(libc::SIGPIPE, libc::SIG_DFL));
}

const DESCRIPTORS: &str = "ls /proc/$$/fd";

#[test]
fn descriptors() {
    // Nothing leaks, whatever was free.
    same("plain", DESCRIPTORS, || Ok(()));
    same("high ones", DESCRIPTORS, || {
        for fd in [3, 7, 50] {
            // SAFETY: only numbers are passed.
            let got = unsafe { libc::dup2(1, fd) };
            check((got - fd).signum())?;
        }
        Ok(())
    });
    same("close-on-exec", DESCRIPTORS, || {
        // SAFETY: only numbers are passed.
        let fd = unsafe { libc::fcntl(1, libc::F_DUPFD_CLOEXEC, 20) };
        check(if fd < 0 { -1 } else { 0 })?;
        // SAFETY: only numbers are passed.
        let fd = unsafe { libc::fcntl(1, libc::F_DUPFD, 30) };
        check(if fd < 0 { -1 } else { 0 })
    });
    same("standard input closed", DESCRIPTORS, || {
        // SAFETY: the child has no other use for it.
        check(unsafe { libc::close(0) })
    });
}

/// The file read from standard input stayed open in the program.
#[test]
fn regression_program_from_stdin_is_closed() {
    let p = Place::new();
    let program = std::fs::File::open("/bin/ls").unwrap();
    let mut command = crate::run(&p, ["-", "/proc/self/fd"]);
    let seen = crate::common::ask::finish_with(command.stdin(program));
    let kernel = std::process::Command::new("/bin/ls").arg("/proc/self/fd").output().unwrap();
    assert_eq!(seen.stdout, kernel.stdout, "{}", seen.stderr);
}

/// From here on these system calls are answered by `EPERM`.
fn forbid(calls: &[libc::c_long]) -> io::Result<()> {
    let op = |code: u32, k: u32, jf: u8| libc::sock_filter { code: code as u16, jt: 0, jf, k };
    let (load, equal, give) = (0x20, 0x15, 0x06);
    let mut program = vec![op(load, 0, 0)];
    for call in calls {
        program.push(op(equal, *call as u32, 1));
        program.push(op(give, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32, 0));
    }
    program.push(op(give, libc::SECCOMP_RET_ALLOW, 0));
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: only numbers are passed.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
    // SAFETY: the kernel copies the program, which lives until then.
    check(unsafe { libc::prctl(libc::PR_SET_SECCOMP, 2, &raw const filter) })
}

/// A filter that answers questions by errors. A limit that could not be asked was taken from
/// memory nobody had written, and set; a bounding set that could not be asked was taken for empty.
#[test]
fn regression_questions_refused() {
    let refused = |calls: &'static [libc::c_long]| {
        let limits = same_program("limits", "/bin/cat", &[b"/proc/self/limits"], || forbid(calls));
        assert!(limits.contains("Max data size"), "{limits}");
        let status: [&[u8]; 3] = [b"-E", b"^(Cap|Seccomp|NoNew)", b"/proc/self/status"];
        same_program("status", "/bin/grep", &status, || forbid(calls));
    };
    refused(&[libc::SYS_prlimit64, libc::SYS_getrlimit]);
    refused(&[libc::SYS_prlimit64]);
    refused(&[libc::SYS_prctl]);
    refused(&[libc::SYS_rseq]);
    refused(&[libc::SYS_getrandom, libc::SYS_personality, libc::SYS_ioctl]);
}

/// Without `/proc` a mapping stays behind: it was writable and executable, at an address that
/// everybody can guess, and held a copy of the environment and of `AT_RANDOM`.
#[test]
fn regression_what_stays_behind_is_harmless() {
    use std::os::unix::fs::FileExt;
    use std::os::unix::process::CommandExt;
    let p = Place::new();
    let without_proc = || {
        // SAFETY: only numbers are passed.
        check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
        // SAFETY: the path is a static string; the mounts are this process's own.
        check(unsafe { libc::umount2(c"/proc".as_ptr(), libc::MNT_DETACH) })
    };
    let mut command = crate::run(&p, ["/bin/sleep", "100"]);
    command.env("SECRET", "abracadabra");
    // SAFETY: system calls only.
    unsafe { command.pre_exec(without_proc) };
    let Ok(mut child) = command.spawn() else {
        crate::common::skip("what stays behind", "mounts cannot be changed here");
        return;
    };
    let proc = |file| format!("/proc/{}/{file}", child.id());
    // Once it has mapped its C library it is running.
    let maps = (0..100).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        let maps = std::fs::read_to_string(proc("maps")).ok()?;
        maps.contains("/libc").then_some(maps)
    });
    let maps = maps.unwrap();
    let memory = std::fs::File::open(proc("mem")).unwrap();
    for line in maps.lines() {
        assert!(!line.contains("rwx"), "{maps}");
        let mut words = line.split([' ', '-']);
        let [start, end] = [words.next(), words.next()]
            .map(|word| u64::from_str_radix(word.unwrap(), 16).unwrap());
        let name = line.split_whitespace().nth(5);
        if name.is_some() || start >> 44 != 0 {
            continue;
        }
        let mut bytes = vec![0; (end - start) as usize];
        memory.read_exact_at(&mut bytes, start).unwrap();
        assert!(!bytes.windows(11).any(|w| w == b"abracadabra"), "{line}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// With a small stack uexec died on it; with little memory already while the kernel started it.
#[test]
fn regression_little_room() {
    const KIB: u64 = 1024;
    let p = Place::new();
    let rooms = [
        (libc::RLIMIT_STACK, 16 * KIB),
        // An unoptimised build alone takes 7.5 MiB.
        (libc::RLIMIT_AS, 12288 * KIB),
        (libc::RLIMIT_DATA, 4096 * KIB),
    ];
    for (which, limit) in rooms {
        // With an option it is the long way.
        for option in [None, Some("--argv0=/bin/true")] {
            let mut ask = Ask::new(&p.path, "/bin/true").limit(which, limit);
            ask.envp.clear();
            let kernel = ask.kernel().end;
            let ask = option.into_iter().fold(ask, Ask::option);
            let ours = ask.uexec();
            assert_eq!(ours.end, kernel, "{which} {limit} {option:?}: {}", ours.stderr);
        }
    }
}

/// The 16 MiB that it could allocate before its C library is set up did not hold the most
/// arguments that the kernel takes.
#[test]
fn regression_many_short_arguments() {
    let p = Place::new();
    let words = vec![b"x".as_slice(); 500_000];
    let script: [&[u8]; 3] = [b"-c", b"echo $#", b"sh"];
    let ask = Ask::new(&p.path, "/bin/sh").args(&[&script, words.as_slice()].concat());
    let ours = ask.limit(libc::RLIMIT_STACK, 64 << 20).uexec();
    assert_eq!(text(&ours), "500000", "{}", ours.stderr);
}

#[test]
fn attributes() {
    let script = "umask; pwd; ulimit -n; ulimit -s; nice; cat /proc/$$/comm; cat /proc/self/comm;
        cat /proc/self/coredump_filter; cat /proc/self/oom_score_adj; cat /proc/self/personality;
        grep -E '^(Cap|NoNewPrivs|Seccomp|Cpus_allowed|Uid|Gid|Groups|Threads)' /proc/self/status;
        tr '\\0' '\\n' < /proc/$$/cmdline; tr '\\0' '\\n' < /proc/$$/environ";
    same("attributes", script, || {
        // SAFETY: only numbers are passed.
        unsafe { libc::umask(0o27) };
        // SAFETY: only numbers are passed.
        unsafe { libc::nice(3) };
        // SAFETY: only numbers are passed.
        check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })
    });
}
