//! `Command` against std's: the same lines run by both, with the same outcome. Most are the cases
//! of std's own documentation.

#![allow(unsafe_code, reason = "closures in the child, and forked helpers")]

mod common;

use std::fmt::Debug;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::PathBuf;

use common::in_fork;
use xtask::scratch::{copy, write};

/// Runs the same lines with std's types and with uexec's, and compares what they answer.
macro_rules! same {
    ($($(#[$meta:meta])* fn $name:ident() $body:block)*) => {$(
        $(#[$meta])*
        #[test]
        fn $name() {
            let by_std = {
                #[allow(unused_imports)]
                use std::{os::unix::process::CommandExt as _, process::{Command, Stdio}};
                fn run() -> String $body
                run()
            };
            let ours = {
                #[allow(unused_imports)]
                use uexec_process::{Command, Stdio};
                fn run() -> String $body
                run()
            };
            assert_eq!(ours, by_std);
        }
    )*};
}

fn said(outcome: impl Debug) -> String {
    format!("{outcome:?}")
}

fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("uexec-{name}-{}", std::process::id()))
}

/// Without the signals that glibc has for itself, 32 and 33, which its `posix_spawn(3)` ignores.
fn signals(status: &[u8]) -> String {
    let mut out = String::new();
    for line in String::from_utf8_lossy(status).lines() {
        let (name, value) = line.split_once('\t').unwrap_or((line, ""));
        let set = u64::from_str_radix(value, 16).unwrap_or(0) & !(3 << 31);
        out += &format!("{name} {set:x}\n");
    }
    out
}

fn error_of(outcome: std::io::Result<std::process::Output>) -> String {
    match outcome {
        Ok(output) => said(output),
        Err(e) => format!("{:?} {:?} {e}", e.kind(), e.raw_os_error()),
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

same! {
    fn output_of_a_shell() {
        said(Command::new("sh").arg("-c").arg("echo hello").output())
    }

    fn output_of_a_failing_program() {
        said(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"]).output())
    }

    fn input_of_output_is_null() {
        said(Command::new("cat").output())
    }

    fn status_of_success_and_failure() {
        said([Command::new("true").status(), Command::new("false").status()])
    }

    fn death_by_a_signal() {
        said(Command::new("sh").args(["-c", "kill -TERM $$"]).status())
    }

    fn environment_is_changed() {
        let script = "echo $A $B $HOME $C";
        said(Command::new("/bin/sh")
            .args(["-c", script])
            .env("A", "1")
            .env("B", "2")
            .env_remove("HOME")
            .envs([("C", "3"), ("B", "4")])
            .output())
    }

    fn environment_is_cleared() {
        said(Command::new("/usr/bin/env").env("GONE", "x").env_clear().env("Z", "1").env("A", "2").output())
    }

    fn environment_is_inherited() {
        said(Command::new("env").output())
    }

    fn path_of_the_child_counts() {
        said([
            Command::new("sh").args(["-c", "echo found"]).env("PATH", "/no/such").output(),
            Command::new("sh").args(["-c", "echo found"]).env("PATH", "/no/such:/bin").output(),
            Command::new("sh").args(["-c", "echo found"]).env_clear().output(),
        ])
    }

    fn working_directory() {
        said([
            Command::new("pwd").current_dir("/usr").output(),
            Command::new("bin/true").current_dir("/usr").output(),
            Command::new("ls").current_dir("/no/such").output(),
        ])
    }

    fn first_argument() {
        said(Command::new("sh").arg0("other").args(["-c", "tr '\\0' ' ' < /proc/$$/cmdline; echo $0"]).output())
    }

    fn a_pipe_to_it_and_from_it() {
        let mut child = Command::new("rev")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        std::thread::spawn(move || stdin.write_all(b"Hello, world!").expect("writes"));
        said(child.wait_with_output())
    }

    fn a_pipeline() {
        let mut echo = Command::new("echo").arg("Oh no, a tpyo!").stdout(Stdio::piped()).spawn().expect("starts");
        let out = echo.stdout.take().expect("a pipe");
        let sed = Command::new("sed").arg("s/tpyo/typo/").stdin(Stdio::from(out)).stdout(Stdio::piped()).spawn().expect("starts");
        let output = sed.wait_with_output();
        said((output, echo.wait()))
    }

    fn streams_from_files() {
        let (a, b) = (scratch("in"), scratch("out"));
        fs::write(&a, "of a file\n").expect("writes");
        let status = Command::new("cat")
            .stdin(File::open(&a).expect("opens"))
            .stdout(File::create(&b).expect("creates"))
            .stderr(Stdio::null())
            .status();
        let copied = fs::read_to_string(&b);
        fs::remove_file(a).expect("removes");
        fs::remove_file(b).expect("removes");
        said((status, copied))
    }

    fn both_streams_full() {
        let script = "i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890123456789; echo abcdefghijklmnopqrstuvwxyzabcdefghijkl >&2; i=$((i+1)); done";
        let output = Command::new("sh").args(["-c", script]).output().expect("runs");
        said((output.status, output.stdout.len(), output.stderr.len()))
    }

    fn standard_streams_exchanged() {
        let script = "echo to stdout; echo to stderr >&2";
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdout(std::io::stderr()).stderr(Stdio::piped());
        said(command.output().map(|o| o.stderr))
    }

    fn waiting_again() {
        let mut child = Command::new("sh").args(["-c", "read x; exit 4"]).stdin(Stdio::piped()).spawn().expect("starts");
        let before = child.try_wait().expect("asks");
        let status = child.wait().expect("waits");
        said((before, status, child.wait(), child.try_wait(), child.kill()))
    }

    fn killing() {
        let mut child = Command::new("sleep").arg("1000").spawn().expect("starts");
        child.kill().expect("kills");
        said(child.wait())
    }

    fn errors_are_the_kernels() {
        let text = scratch("text");
        write(&text, "echo as a script $*\n", 0o755);
        let results = [
            Command::new("no-such-program").output(),
            Command::new("/no/such/program").output(),
            Command::new("/etc/passwd").output(),
            Command::new("/").output(),
            Command::new("/etc/passwd/x").output(),
            Command::new("").output(),
            Command::new("nul\0byte").output(),
            Command::new("true").arg("nul\0byte").output(),
            Command::new("true").env("A", "nul\0byte").output(),
            Command::new("true").arg("x".repeat(1 << 18)).output(),
            Command::new(&text).arg("x").output(),
            Command::new(&text).arg("x").gid(rustix::process::getgid().as_raw()).output(),
        ];
        fs::remove_file(text).expect("removes");
        said(results.map(error_of))
    }

    fn missing_interpreter() {
        let text = scratch("script");
        write(&text, "#!/no/such/interpreter\n", 0o755);
        let result = Command::new(&text).output();
        fs::remove_file(text).expect("removes");
        said(result)
    }

    /// In `PATH`, one that cannot run does not hide one that can.
    fn broken_before_good() {
        let dir = scratch("path");
        for (name, text) in [("a", "#!/no/such\n"), ("b", "#!/bin/sh\necho good\n")] {
            let place = dir.join(name);
            fs::create_dir_all(&place).expect("creates");
            write(&place.join("prog"), text, 0o755);
        }
        let path = format!("{0}/missing:{0}/a:{0}/b", dir.display());
        let result = Command::new("prog").env("PATH", path).output();
        fs::remove_dir_all(dir).expect("removes");
        said(result)
    }

    fn signals_and_descriptors_of_the_child() {
        let script = "grep -E '^(Sig|Shd)[BIC]' /proc/self/status; ls /proc/self/fd";
        signals(&Command::new("sh").args(["-c", script]).output().expect("runs").stdout)
    }

    fn process_group_of_its_own() {
        let script = "set -- $(cat /proc/$$/stat); [ $5 = $$ ] && echo own";
        said([
            Command::new("sh").args(["-c", script]).process_group(0).output(),
            Command::new("sh").args(["-c", script]).output(),
            Command::new("sh").args(["-c", script]).process_group(1).output(),
        ])
    }

    fn user_and_groups() {
        if !is_root() {
            return said(Command::new("id").uid(0).output().map_err(|e| e.kind()));
        }
        let status = ["-E", "^(Uid|Gid|Groups|Cap)", "/proc/self/status"];
        said([
            Command::new("grep").args(status).uid(1234).gid(567).output(),
            Command::new("grep").args(status).gid(567).output(),
        ])
    }

    /// Permission is the new user's.
    fn user_who_may_not() {
        if !is_root() {
            return String::new();
        }
        let file = scratch("private");
        copy("/bin/true".as_ref(), &file);
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("sets");
        let results = [Command::new(&file).output(), Command::new(&file).uid(1234).output()];
        fs::remove_file(file).expect("removes");
        said(results)
    }

    fn closures_run_in_a_copy() {
        let mut command = Command::new("sh");
        command.args(["-c", "umask; ulimit -c; pwd"]);
        let mut count = 0;
        let first = || {
            // SAFETY: takes a number.
            unsafe { libc::umask(0o27) };
            Ok(())
        };
        let second = move || {
            count += 1;
            let limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            // SAFETY: reads the local.
            unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const limit) };
            std::env::set_current_dir("/")?;
            if count == 1 { Ok(()) } else { Err(std::io::ErrorKind::Other.into()) }
        };
        // SAFETY: it makes one system call.
        unsafe { command.pre_exec(first) };
        // SAFETY: it makes two.
        unsafe { command.pre_exec(second) };
        let output = command.current_dir("/usr").output();
        // The parent's own count stays 0, so that it works again.
        said((output, command.output()))
    }

    fn closures_may_fail() {
        let mut command = Command::new("true");
        // SAFETY: does nothing.
        unsafe { command.pre_exec(|| Err(std::io::Error::from_raw_os_error(libc::EDOM))) };
        said(command.output())
    }

    fn programs_after_closures_may_fail() {
        let mut command = Command::new("no-such-program");
        // SAFETY: does nothing.
        unsafe { command.pre_exec(|| Ok(())) };
        said(command.output())
    }

    fn as_shown() {
        let mut command = Command::new("ls");
        let plain = said(&command);
        command.current_dir("/a b").args(["-l", "x y"]).env("K", "v w").env_remove("R").arg0("zero");
        let all = said(&command);
        command.env_clear().env("A", "b");
        said((plain, all, &command, command.get_program(), command.get_args().len(), command.get_current_dir()))
    }

    fn replaces_a_process() {
        let runs = |f: &dyn Fn() -> i32| exit_of(f);
        said([
            runs(&|| Command::new("sh").args(["-c", "exit 7"]).exec().raw_os_error().unwrap_or(0)),
            runs(&|| Command::new("no-such-program").exec().raw_os_error().unwrap_or(0)),
            runs(&|| Command::new("sh").args(["-c", "exit $(pwd | wc -c)"]).current_dir("/usr").exec().raw_os_error().unwrap_or(0)),
        ])
    }

    /// FORK-29 and PIPE-4: the limit counts the user's tasks at the clone, and again at the exec of
    /// one who has become that user.
    fn limit_of_processes() {
        let limited = |f: &dyn Fn() -> i32| exit_of(&|| {
            let limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            // SAFETY: a plain system call in a process of this test.
            unsafe { libc::setrlimit(libc::RLIMIT_NPROC, &raw const limit) };
            f()
        });
        let code = |r: std::io::Result<std::process::ExitStatus>| match r {
            Ok(status) => status.code().unwrap_or(99),
            Err(e) => e.raw_os_error().unwrap_or(98),
        };
        let as_user = |f: &dyn Fn() -> i32| {
            if is_root() {
                // SAFETY: this process has one thread.
                unsafe { libc::setuid(54_321) };
            }
            f()
        };
        said([
            limited(&|| as_user(&|| code(Command::new("true").status()))),
            if is_root() { limited(&|| code(Command::new("true").uid(54_322).status())) } else { 0 },
        ])
    }
}

/// The exit status of a forked child: what `f` answers, if it does.
fn exit_of(f: &dyn Fn() -> i32) -> i32 {
    libc::WEXITSTATUS(in_fork(f))
}

#[test]
fn pidfd_is_of_the_child() {
    let mut command = uexec_process::Command::new("cat");
    command.create_pidfd(true).stdin(uexec_process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let pidfd = child.pidfd().unwrap();
    let number = std::os::fd::AsRawFd::as_raw_fd(&pidfd);
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap();
    let line = format!("Pid:\t{}\n", child.id());
    assert!(info.contains(&line), "{info}");
    assert!(child.wait().unwrap().success());
    assert!(child.into_pidfd().is_ok());
    let mut plain = uexec_process::Command::new("true").spawn().unwrap();
    assert_eq!(plain.pidfd().unwrap_err().kind(), std::io::ErrorKind::Unsupported);
    plain.wait().unwrap();
}

/// Daemons close what they do not know, and open other files under those numbers; the loader's
/// descriptor was taken for granted.
#[test]
fn regression_somebody_closes_everything() {
    in_fork_checked(&|| {
        let start = || uexec_process::Command::new("true").status();
        assert!(start().unwrap().success());
        // SAFETY: what this process of the test's has open is not used any more.
        unsafe { libc::close_range(3, u32::MAX, 0) };
        assert!(start().unwrap().success());
        // SAFETY: likewise.
        unsafe { libc::close_range(3, u32::MAX, 0) };
        let other: Vec<File> = (0..4).map(|_| File::open("/bin/false").unwrap()).collect();
        assert!(start().unwrap().success());
        assert!(other.iter().all(|file| file.metadata().is_ok()), "somebody's file was closed");
    });
}

/// What one thread opens for its child does not get into another's.
#[test]
fn children_of_threads_have_only_their_own() {
    let list = "ls -l /proc/self/fd | grep -c pipe:";
    // Which this process may have been given some of, too.
    let alone = std::process::Command::new("sh").args(["-c", list]).output().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for i in 0..25 {
                    let mut command = uexec_process::Command::new("sh");
                    command.args(["-c", list]).stdin(uexec_process::Stdio::null());
                    if i % 5 == 0 {
                        // SAFETY: does nothing.
                        unsafe { command.pre_exec(|| Ok(())) };
                    }
                    let output = command.output().unwrap();
                    assert_eq!(output, alone, "{i}");
                }
            });
        }
    });
}

/// Another thread forks processes that execute nothing and hold what was open at that moment: starting
/// a program took as long as they lived.
#[test]
fn regression_forks_of_other_threads_are_not_waited_for() {
    in_fork_checked(&|| {
        let forks = std::thread::spawn(|| {
            for _ in 0..150 {
                // SAFETY: the child makes system calls only.
                let pid = unsafe { libc::fork() };
                if pid == 0 {
                    // SAFETY: sleeps.
                    unsafe { libc::sleep(60) };
                    // SAFETY: ends.
                    unsafe { libc::_exit(0) };
                }
                FORKED.lock().unwrap().push(pid);
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        });
        while !forks.is_finished() {
            let mut child = uexec_process::Command::new("true").spawn().unwrap();
            assert!(child.wait().unwrap().success());
        }
        forks.join().unwrap();
        for pid in FORKED.lock().unwrap().drain(..) {
            // SAFETY: a child of this test's.
            unsafe { libc::kill(pid, libc::SIGKILL) };
            let mut status = 0;
            // SAFETY: likewise; and a local.
            unsafe { libc::waitpid(pid, &raw mut status, 0) };
            assert!(libc::WIFSIGNALED(status), "it had ended by itself");
        }
    });
}

static FORKED: std::sync::Mutex<Vec<i32>> = std::sync::Mutex::new(Vec::new());

/// std has this behind a feature that is not stable.
#[test]
fn groups_are_set() {
    if !is_root() {
        eprintln!("skipped: only root may set groups");
        return;
    }
    let mut command = uexec_process::Command::new("id");
    let output = command.arg("-G").uid(1234).gid(567).groups(&[8, 9]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "567 8 9\n");
}

#[test]
fn errors_say_why() {
    let mut command = uexec_process::Command::new("no-such-program");
    let error = command.env("PATH", "/bin").try_spawn().unwrap_err();
    assert_eq!((error.errno().name(), error.stage()), ("ENOENT", "open"));
    let error =
        uexec_process::Command::new("true").current_dir("/no/such").try_spawn().unwrap_err();
    assert_eq!((error.errno().name(), error.stage()), ("ENOENT", "chdir"));
}

/// A fork would mark all of this process's memory as shared, and writing to it afterwards would
/// fault page by page.
#[test]
fn memory_is_not_copied() {
    const BYTES: usize = 64 << 20;
    // SAFETY: a fresh mapping of our own.
    let start = unsafe {
        libc::mmap(std::ptr::null_mut(), BYTES, 3, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
    };
    assert_ne!(start, libc::MAP_FAILED);
    // SAFETY: small pages for the mapping above.
    unsafe { libc::madvise(start, BYTES, libc::MADV_NOHUGEPAGE) };
    let write = || {
        for offset in (0..BYTES).step_by(4096) {
            // SAFETY: inside the mapping.
            let byte = unsafe { start.cast::<u8>().add(offset) };
            // SAFETY: likewise.
            unsafe { byte.write_volatile(1) };
        }
    };
    let faults = || {
        // SAFETY: zeroes are a valid rusage.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: writes to the local.
        unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) };
        usage.ru_minflt
    };
    // By itself, as other tests fork.
    in_fork_checked(&|| {
        write();
        let mut child = uexec_process::Command::new("cat");
        let mut child = child.stdin(uexec_process::Stdio::piped()).spawn().unwrap();
        let before = faults();
        write();
        let took = faults() - before;
        assert!(child.wait().unwrap().success());
        assert!(took < 2000, "{took} faults");
    });
    // SAFETY: nothing points into it.
    unsafe { libc::munmap(start, BYTES) };
}

/// Descriptors, mappings, memory and zombies stay as they are, whether starting works or fails.
/// `UEXEC_SOAK=N` does N rounds instead of a few.
#[test]
fn nothing_piles_up() {
    let rounds = std::env::var("UEXEC_SOAK").ok().and_then(|n| n.parse().ok()).unwrap_or(300);
    let count = |dir: &str| fs::read_dir(dir).unwrap().count();
    let state = || {
        let mut maps = String::new();
        File::open("/proc/self/maps").unwrap().read_to_string(&mut maps).unwrap();
        let pages = fs::read_to_string("/proc/self/statm").unwrap();
        let resident: u64 = pages.split(' ').nth(1).unwrap().parse().unwrap();
        (count("/proc/self/fd"), maps.lines().count(), resident * 4)
    };
    in_fork_checked(&|| {
        let round = |i: usize| {
            let mut command = uexec_process::Command::new("true");
            if i.is_multiple_of(100) {
                // SAFETY: does nothing.
                unsafe { command.pre_exec(|| Ok(())) };
            }
            assert!(command.output().unwrap().status.success());
            if i.is_multiple_of(3) {
                uexec_process::Command::new("no-such-program").spawn().unwrap_err();
            }
        };
        (0..20).for_each(round);
        let before = state();
        for i in 0..rounds {
            round(i);
            if i % 10_000 == 9999 {
                let now = format!("{} rounds: {:?}, at first {before:?}\n", i + 1, state());
                let _ = rustix::io::write(rustix::stdio::stderr(), now.as_bytes());
            }
        }
        let after = state();
        assert_eq!(after.0, before.0, "descriptors");
        // The C library's allocator comes and goes with a few.
        assert!(after.1 <= before.1 + 4, "mappings: {} became {}", before.1, after.1);
        assert!(after.2 <= before.2 + 512, "memory: {} KiB became {}", before.2, after.2);
        // SAFETY: asks whether there are children.
        let waited = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) };
        assert_eq!(waited, -1, "a child is left");
    });
}

/// Runs `f` in a process of its own, in which no other test opens anything.
fn in_fork_checked(f: &dyn Fn()) {
    let ran = exit_of(&|| {
        let Err(why) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)) else { return 0 };
        // What the harness captures is lost with this process.
        let why = why.downcast_ref::<String>().map_or("it has failed", String::as_str);
        let _ = rustix::io::write(rustix::stdio::stderr(), format!("{why}\n").as_bytes());
        1
    });
    assert_eq!(ran, 0);
}
