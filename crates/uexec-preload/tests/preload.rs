//! Unmodified programs with the library preloaded: the same outcome as without.

#![allow(unsafe_code, reason = "ptrace(2), to see what the kernel executes")]

use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use xtask::scratch::{Scratch, prefix};

fn library(prefix: &Path) -> PathBuf {
    prefix.join("lib/libuexec_preload.so")
}

/// Runs a program twice: without and with the library.
fn both(prefix: &Path, command: &dyn Fn() -> Command) -> [Output; 2] {
    let plain = command().env_remove("LD_PRELOAD").output().unwrap();
    let ours = command().env("LD_PRELOAD", library(prefix)).output().unwrap();
    [plain, ours]
}

fn assert_same(what: &str, [plain, ours]: [Output; 2]) {
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    assert_eq!(text(&ours.stdout), text(&plain.stdout), "{what}: {}", text(&ours.stderr));
    assert_eq!(text(&ours.stderr), text(&plain.stderr), "{what}");
    assert_eq!(ours.status, plain.status, "{what}");
}

#[test]
fn the_family_is_as_before() {
    let Some(prefix) = prefix() else { return };
    let dir = Scratch::new("preload-family");
    dir.file("good/prog", "#!/bin/sh\necho $0 $# $* $MARK\n", 0o755);
    dir.file("text/prog", "echo by the shell $0 $# $*\n", 0o755);
    dir.file("noexec/prog", "", 0o644);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../uexec-capi/tests/c/family.c");
    let program = dir.compile(&source, "family", &["-DLIBC", "-Wno-nonnull", "-Wno-format"]);
    let path = format!("{0}/noexec:{0}/text:{0}/good:/bin", dir.path().display());
    for function in [
        "execl", "execl0", "execl1", "execlp", "execle", "execle9", "execv", "execvp", "execvpe",
        "execve", "execve0", "execveat", "fexecve", "fexecve0",
    ] {
        for name in ["good/prog", "text/prog", "prog", "noexec/prog", "missing", "", "/bin/echo"] {
            for threads in [None, Some("threads")] {
                let command = || {
                    let mut command = Command::new(&program);
                    command.args([function, name]).args(threads).current_dir(dir.path());
                    command.env("PATH", &path);
                    command
                };
                assert_same(&format!("{function} of {name:?}"), both(prefix, &command));
            }
        }
    }
}

#[test]
fn spawns_and_shells_are_as_before() {
    let Some(prefix) = prefix() else { return };
    let dir = Scratch::new("preload-starts");
    dir.file("text", "exit 4\n", 0o755);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c/starts.c");
    let program = dir.compile(&source, "starts", &[]);
    let rounds = std::env::var("UEXEC_SOAK").unwrap_or_else(|_| "60".into());
    let path = format!("{}:/usr/bin:/bin", dir.path().display());
    let command = || {
        let mut command = Command::new(&program);
        command.arg(&rounds).current_dir(dir.path()).env("PATH", &path);
        command
    };
    assert_same("starts", both(prefix, &command));
}

/// Random attributes, actions and programs: what libc answers, and what the started program finds.
/// `UEXEC_SPAWNS=N` tries so many instead of some hundred, `UEXEC_SEED` others.
#[test]
fn spawns_of_all_kinds_are_as_before() {
    let Some(prefix) = prefix() else { return };
    let dir = Scratch::new("preload-matrix");
    let here = dir.path().display().to_string();
    let all = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(dir.path(), all).unwrap();
    let report = format!("-DREPORT=\"{here}/report\"");
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
    let probe = sources.join("../uexec-process/tests/c/probe.c");
    let _ = dir.compile(&probe, "probe", &[&report]);
    let program = dir.compile(&sources.join("tests/c/matrix.c"), "matrix", &[&report]);
    dir.file("in/input", "of another file\n", 0o644);
    xtask::scratch::copy(&dir.path().join("probe"), &dir.path().join("in/probe"));
    dir.file("input", "of a file\n", 0o644);
    dir.file("text", "exit 5\n", 0o755);
    dir.file("hashbang", &format!("#!{here}/probe of the script\n"), 0o755);
    dir.file("plain", "", 0o644);
    dir.file("denied/probe", "", 0o644);
    dir.file("nointerp", "#!/no/such\n", 0o755);
    std::os::unix::fs::symlink("loop", dir.path().join("loop")).unwrap();
    let said = |name: &str, default: &str| std::env::var(name).unwrap_or(default.into());
    let (rounds, seed) = (said("UEXEC_SPAWNS", "300"), said("UEXEC_SEED", "1"));
    let run = |library: Option<PathBuf>| {
        for name in ["report", "report.made"] {
            let _ = std::fs::remove_file(dir.path().join(name));
        }
        dir.file("report", "", 0o666);
        let mut command = Command::new(&program);
        command.args([&seed, &rounds, &here]).current_dir(dir.path()).env_clear();
        command.envs(library.map(|path| ("LD_PRELOAD", path)));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let report = std::fs::read(dir.path().join("report")).unwrap();
        [output.stdout, report].map(|b| String::from_utf8_lossy(&b).into_owned())
    };
    let [[expected, expected_report], [got, report]] = [run(None), run(Some(library(prefix)))];
    for (plain, ours) in expected.lines().zip(got.lines()) {
        assert_eq!(ours, plain, "with UEXEC_SEED={seed}");
    }
    let without = |report: &str| {
        let of = |line: &&str| !line.starts_with("environment LD_PRELOAD=");
        report.lines().filter(of).map(str::to_owned).collect::<Vec<_>>()
    };
    let mut round = "";
    for (plain, ours) in without(&expected_report).iter().zip(&without(&report)) {
        if plain.starts_with("round ") {
            round = plain;
        }
        assert_eq!(ours, plain, "{round} with UEXEC_SEED={seed}");
    }
    assert_eq!(without(&report).len(), without(&expected_report).len());
}

/// What it exports are libc's names: those of libuexec, whose code it shares, would take the place of
/// libuexec's own.
#[test]
fn regression_only_names_of_libc_are_exported() {
    let Some(prefix) = prefix() else { return };
    let names = Command::new("nm").args(["-D", "--defined-only"]).arg(library(prefix)).output();
    let Ok(names) = names else { return eprintln!("skipped: there is no nm") };
    let names = String::from_utf8_lossy(&names.stdout).into_owned();
    assert!(names.contains(" execve") && names.contains(" posix_spawnp"), "{names}");
    let others: Vec<_> =
        names.lines().filter(|l| l.contains("uexec") || l.contains("rust")).collect();
    assert!(others.is_empty(), "{others:?}");
}

/// Modes of `popen(3)`, streams closed by `fclose(3)`, signals of `system(3)`, threads that are
/// cancelled, and no descriptor left.
#[test]
fn regression_shells_in_odd_states_are_as_before() {
    let Some(prefix) = prefix() else { return };
    let dir = Scratch::new("preload-shells");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c/shells.c");
    let program = dir.compile(&source, "shells", &["-ldl"]);
    let [mut plain, ours] = both(prefix, &|| Command::new(&program));
    // The one difference, see the README.
    let text = String::from_utf8_lossy(&plain.stdout);
    plain.stdout = text.replace("system: cancelled", "system: said 0").into_bytes();
    assert_same("shells", [plain, ours]);
    let mut command = Command::new(&program);
    let output = command.arg("pidfd").env("LD_PRELOAD", library(prefix)).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said, "spawned 0 1 0 3\nspawned 0 0\nmissing 2\n", "{output:?}");
}

/// A thousand commands of a shell: programs found in PATH, pipes, substitutions, scripts with and
/// without a first line, what is missing, what is refused.
fn session(dir: &Scratch) -> String {
    dir.file("script", "#!/bin/sh\necho script $1\n", 0o755);
    dir.file("text", "echo text $1\n", 0o755);
    dir.file("plain", "", 0o644);
    let mut lines = vec!["exec 2>&1".to_owned()];
    for i in 0..125 {
        lines.push(format!("/bin/echo {i} | tr 0-9 a-j"));
        lines.push(format!("x=$(expr {i} + 1); /bin/echo $x"));
        lines.push(format!("./script {i}; echo $?"));
        lines.push(format!("./text {i}; echo $?"));
        lines.push("./plain; echo $?".to_owned());
        lines.push(format!("(cd /; sh -c 'exit {}'; echo $?)", i % 7));
        lines.push("env -i A=1 /usr/bin/env | sort; sleep 0 & wait $!; echo $?".to_owned());
        lines.push(format!("head -c {i} /dev/zero | wc -c; ./missing; echo $?"));
    }
    lines.push(String::new());
    lines.join("\n")
}

#[test]
fn a_session_of_a_shell_is_as_before() {
    let Some(prefix) = prefix() else { return };
    for shell in ["dash", "bash"] {
        if Command::new(shell).args(["-c", ":"]).output().is_err() {
            eprintln!("skipped: there is no {shell}");
            continue;
        }
        let dir = Scratch::new(&format!("preload-{shell}"));
        dir.file("session", &session(&dir), 0o644);
        let command = || {
            let mut command = Command::new(shell);
            command.arg("session").current_dir(dir.path());
            command
        };
        let outputs = both(prefix, &command);
        assert!(outputs[0].stdout.len() > 5000);
        assert_same(shell, outputs);
    }
}

/// CPython's own tests of starting programs, as far as they are quick; all of them with
/// `UEXEC_CPYTHON=all`.
#[test]
fn tests_of_cpython_are_as_before() {
    let Some(prefix) = prefix() else { return };
    let python = std::env::var("UEXEC_PYTHON").unwrap_or_else(|_| "python3".into());
    let has = Command::new(&python).args(["-c", "import test.test_subprocess"]).output();
    if !has.is_ok_and(|o| o.status.success()) {
        eprintln!("skipped: there is no python3 with its own tests");
        return;
    }
    let all = std::env::var("UEXEC_CPYTHON").is_ok_and(|v| v == "all");
    let some = ["-m", "*spawn*", "-m", "*Spawn*", "-m", "*test_fexecve*", "-m", "*test_pass_fds*"];
    let some =
        some.iter().chain(&["-m", "*ExecTests*", "-m", "*test_communicate*", "-m", "*exec*"]);
    let dir = Scratch::new("preload-python");
    let command = || {
        let mut command = Command::new(&python);
        command.args(["-m", "test", "-v", "test_subprocess", "test_posix", "test_os"]);
        if !all {
            command.args(some.clone());
        }
        command.current_dir(dir.path());
        command
    };
    let verdicts = |output: &Output| {
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        let verdict = |line: &&str| line.ends_with("... ok") || line.contains("... skipped");
        let mut lines: Vec<String> = text.lines().filter(verdict).map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let [plain, ours] = both(prefix, &command);
    let (expected, got) = (verdicts(&plain), verdicts(&ours));
    assert!(expected.len() > 30, "{plain:?}");
    eprintln!("{} tests of CPython", expected.len());
    assert_eq!(got, expected);
    assert_eq!(ours.status, plain.status);
}

/// Rules of `UEXEC_BINFMT`: by magic and by extension, from the value and from a file, with and
/// without the first argument kept; asked about interpreters of scripts and in an exec by descriptor
/// (MISC-20 to MISC-25).
#[test]
fn rules_name_interpreters() {
    let Some(prefix) = prefix() else { return };
    let dir = Scratch::new("preload-rules");
    let here = dir.path().display();
    dir.file("show", "#!/bin/sh\necho \"$0:\" \"$@\"\n", 0o755);
    dir.file("known", "MAGIC and more\n", 0o755);
    dir.file("by.name", "", 0o755);
    dir.file("nobody", "NONE\n", 0o755);
    dir.file("script", &format!("#!{here}/known word\n"), 0o755);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../uexec-capi/tests/c/family.c");
    let _ = dir.compile(&source, "family", &["-DLIBC", "-Wno-nonnull", "-Wno-format"]);
    dir.file("refused", "MAGIC and more\n", 0o644);
    dir.file("rules", &format!("# a comment\n\n:name:E::name::{here}/show:P\n"), 0o644);
    let rules = format!(":magic:M::MAGIC::{here}/show:\n:none:M::NONE::/no/such:\n{here}/rules");
    let run = |script: &str| {
        let mut command = Command::new("bash");
        command.args(["-c", script]).current_dir(dir.path()).env("UEXEC_BINFMT", &rules);
        let output = command.env("LD_PRELOAD", library(prefix)).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(run("./known a b"), format!("{here}/show: ./known a b\n"));
    assert_eq!(run("exec -a zero ./by.name a"), format!("{here}/show: {here}/by.name zero a\n"));
    assert_eq!(run("./refused a 2>&1").matches("Permission denied").count(), 1);
    assert_eq!(run("./nobody a 2>&1; echo $?").lines().last(), Some("127"));
    assert_eq!(run("./script a"), format!("{here}/show: {here}/known word ./script a\n"));
    let rest = "one two three four five six seven";
    for more in ["", "threads"] {
        assert_eq!(
            run(&format!("./family fexecve known {more}")),
            format!("{here}/show: /dev/fd/3 {rest}\n")
        );
    }
    assert_eq!(
        run("echo ./known | xargs -n1 -I{} sh -c '{} x'"),
        format!("{here}/show: ./known x\n")
    );
}

/// Rules with the flags `O` and `C`, which hand the file on (MISC-25 to MISC-27), by `execve(2)` and by
/// `posix_spawn(3)`; `C` grants nothing.
#[test]
fn rules_hand_files_on() {
    let Some(prefix) = prefix() else { return };
    let dir = Scratch::new("preload-handed");
    let here = dir.path().display();
    dir.file("known", "MAGIC and more\n", 0o755);
    dir.file("granting", "MAGIC and more\n", 0o4755);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c/handed.c");
    let program = dir.compile(&source, "handed", &[]);
    for (flags, handed) in
        [("", "none"), ("P", "none"), ("O", "MAGI"), ("OC", "MAGI"), ("C", "MAGI")]
    {
        let rule = format!(":magic:M::MAGIC::{here}/handed:{flags}");
        let run = |command: &mut Command| {
            command.current_dir(dir.path()).env("UEXEC_BINFMT", &rule);
            let output = command.env("LD_PRELOAD", library(prefix)).output().unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let zero = if flags == "P" { "./known " } else { "" };
        let expected = format!("./known {zero}a [{handed}]\n");
        assert_eq!(run(Command::new("bash").args(["-c", "./known a"])), expected, "{flags}");
        let mut spawn = Command::new(&program);
        assert_eq!(run(spawn.args(["spawn", "./known", "a"])), expected, "{flags}");
        // What it would grant to anybody else is refused: nobody knows the file then.
        // SAFETY: asks for a number.
        if flags.contains('C') && unsafe { libc::geteuid() } != 0 {
            continue;
        }
        if flags == "C" {
            let granting =
                "setpriv --reuid=65534 --regid=65534 --clear-groups ./granting a; echo $?";
            let said = run(Command::new("bash").args(["-c", granting]));
            assert!(!said.contains('['), "{said}");
        }
    }
}

/// All of this as a user without privilege.
#[test]
fn unprivileged_too() {
    const NOBODY: u32 = 65_534;
    // SAFETY: asks for a number.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("skipped: it has no privilege already");
        return;
    }
    let Some(prefix) = prefix() else { return };
    let dir = Scratch::new("preload-nobody");
    let all = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(dir.path(), all).unwrap();
    let own = std::env::current_exe().unwrap();
    let copy = |from: &Path, name: &str| {
        let done = Command::new("cp").arg("-r").arg(from).arg(dir.path().join(name)).status();
        assert!(done.unwrap().success());
    };
    copy(&own, "tests");
    copy(prefix, "libs");
    let mut command = Command::new(dir.path().join("tests"));
    command.args(["--skip", "unprivileged_too", "--skip", "cpython", "--nocapture"]);
    command.env("UEXEC_TEST_PREFIX", dir.path().join("libs")).env("TMPDIR", dir.path());
    command.current_dir(dir.path()).uid(NOBODY).gid(NOBODY);
    let readable =
        Command::new("test").arg("-r").arg(env!("CARGO_MANIFEST_DIR")).uid(NOBODY).status();
    if !readable.is_ok_and(|s| s.success()) {
        eprintln!("skipped: preload as nobody, who cannot read {}", env!("CARGO_MANIFEST_DIR"));
        return;
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains(" 0 failed"), "{said}");
}

/// What the kernel executes in a shell that starts a program is the shell, by us, and then only
/// uexec's loader.
#[test]
fn the_kernel_executes_only_the_loader() {
    let Some(prefix) = prefix() else { return };
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "exec /bin/true"]).env("LD_PRELOAD", library(prefix));
    let traced = || {
        // SAFETY: asks to be traced by the parent.
        match unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    };
    // SAFETY: the closure makes one system call.
    unsafe { command.pre_exec(traced) };
    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("skipped: nothing can be traced here: {error}");
            return;
        }
    };
    let pid = child.id() as libc::pid_t;
    let exe = || std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    let mut executed = Vec::new();
    let mut status = 0;
    loop {
        // SAFETY: waits for the child, into the local.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        if !libc::WIFSTOPPED(status) {
            break;
        }
        let mut signal = libc::WSTOPSIG(status);
        // Without options an exec is told by this signal.
        if signal == libc::SIGTRAP {
            executed.push(exe().display().to_string());
            signal = 0;
        }
        // SAFETY: lets the stopped child go on.
        unsafe { libc::ptrace(libc::PTRACE_CONT, pid, 0, signal) };
    }
    assert_eq!(libc::WEXITSTATUS(status), 0);
    assert_eq!(executed.len(), 2, "{executed:?}");
    assert_eq!(executed[1], "/memfd:uexec-loader (deleted)");
}
