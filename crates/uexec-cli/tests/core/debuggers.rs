//! What debuggers and readers of ELF files say of a core by the kernel and of ours, of the same death:
//! the same, word for word.

use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::common::place::{Place, one_at_a_time, uexec};
use crate::common::skip;
use crate::core_pattern::Unchanged;
use crate::victim::build;
use crate::{names, ok};

#[path = "../../../uexec-linux/tests/coredump/i386.rs"]
mod i386;

/// One death, dumped by uexec and then by the kernel: the program, our core, the kernel's.
fn die(place: &Place, test: &str, threads: &str) -> Option<(PathBuf, PathBuf, PathBuf)> {
    let Some(_unchanged) = Unchanged::here() else {
        skip(test, "core_pattern is not core");
        return None;
    };
    let program = build(place, test)?;
    let mut command = Command::new(uexec());
    command.args(["run", "--core", "kept"]).arg(&program).args(["threads", threads, "die"]);
    command.current_dir(&place.path).stdout(Stdio::null()).stderr(Stdio::piped());
    // SAFETY: what is called in the child only makes a system call.
    unsafe { command.pre_exec(unlimited) };
    let child = {
        let _lock = one_at_a_time();
        command.spawn().unwrap()
    };
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.signal(), Some(11), "{out:?}");
    let kernels = place.join("core");
    if !kernels.exists() {
        skip(test, "the kernel writes no core here");
        return None;
    }
    let ours = names(&place.join("kept")).into_iter().find(|n| !n.ends_with(".json")).unwrap();
    Some((program, place.join("kept").join(ours), kernels))
}

/// Raises `RLIMIT_CORE`. Where that is refused there is no core of the kernel.
fn unlimited() -> std::io::Result<()> {
    let most = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: reads the structure.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const most) };
    Ok(())
}

/// What a tool says; `None` when it is not there.
fn says(tool: &str, words: &[&str], core: &Path) -> Option<String> {
    let core = core.to_str().unwrap();
    let words = words.iter().map(|w| if *w == "CORE" { core } else { w });
    let mut command = Command::new(tool);
    command.args(words).env("LC_ALL", "C").env_remove("DEBUGINFOD_URLS").stdin(Stdio::null());
    let out = {
        let _lock = one_at_a_time();
        command.output().ok()?
    };
    let text = [out.stdout, out.stderr].concat();
    Some(String::from_utf8_lossy(&text).replace(core, "CORE"))
}

/// Both cores through a tool; lines are compared after `tidy`.
fn compare(
    test: &str,
    tool: &str,
    words: &[&str],
    (ours, kernels): (&Path, &Path),
    tidy: fn(String) -> Vec<String>,
    contains: &[&str],
) {
    let (Some(a), Some(b)) = (says(tool, words, ours), says(tool, words, kernels)) else {
        return skip(test, &format!("no {tool}"));
    };
    for what in contains {
        assert!(b.contains(what), "{tool} does not say {what}: {b}");
    }
    let (a, b) = (tidy(a), tidy(b));
    for (a, b) in a.iter().zip(&b) {
        assert_eq!(a, b, "{tool}: ours, the kernel's");
    }
    assert_eq!(a.len(), b.len(), "{tool}");
}

/// Threads have numbers in the order of the file, which is that in which they stopped.
fn by_thread(text: String) -> Vec<String> {
    let mut blocks = vec![String::new()];
    for line in text.lines() {
        let line = line.trim_start_matches(|c: char| c == '*' || c == ' ' || c.is_ascii_digit());
        let numbered = |start| line.strip_prefix(start).and_then(|l: &str| l.split_once(' '));
        if let Some((_, rest)) = numbered("Thread ").or_else(|| numbered("thread #")) {
            blocks.push(rest.to_owned());
            continue;
        }
        if line.starts_with("[New LWP") || line.starts_with("warning: ") || line.is_empty() {
            continue;
        }
        let last = blocks.last_mut().unwrap();
        last.push('\n');
        last.push_str(line);
    }
    blocks.sort();
    blocks
}

/// What `/proc` does not tell precisely enough: times, and two flags (see the README).
fn but_times(text: String) -> Vec<String> {
    let told = |l: &&str| !["utime", "stime", "flag"].iter().any(|w| l.contains(w));
    text.lines().filter(told).map(str::to_owned).collect()
}

#[test]
fn gdb_and_lldb_say_the_same() {
    let test = "gdb_and_lldb_say_the_same";
    let place = Place::new();
    let Some((program, ours, kernels)) = die(&place, test, "3") else { return };
    let program = program.to_str().unwrap();
    let both = (&*ours, &*kernels);
    let gdb = |commands: &[&'static str]| {
        let mut words = vec!["-nx", "-batch"];
        for command in commands {
            words.extend(["-ex", command]);
        }
        words.extend([program, "CORE"]);
        words
    };
    let words = gdb(&[
        "bt",
        "info registers",
        "info proc mappings",
        "info auxv",
        "p $_siginfo",
        "x/s marker",
    ]);
    let must = ["inner (depth=3", "a marker", "AT_PHDR", "victim", "SIGSEGV", "rip"];
    compare(test, "gdb", &words, both, by_thread, &must);
    let words = gdb(&["info threads"]);
    compare(test, "gdb", &words, both, by_thread, &["LWP"]);
    let words = gdb(&["thread apply all bt", "thread apply all info all-registers"]);
    compare(test, "gdb", &words, both, by_thread, &["wait_forever", "st7"]);
    let words = [
        "--no-lldbinit",
        "-b",
        "-o",
        "thread backtrace all",
        "-o",
        "register read",
        program,
        "-c",
        "CORE",
    ];
    compare(test, "lldb", &words, both, by_thread, &["wait_forever", "rip = "]);
}

#[test]
fn readelf_says_the_same() {
    let test = "readelf_says_the_same";
    let place = Place::new();
    let Some((_, ours, kernels)) = die(&place, test, "0") else { return };
    let both = (&*ours, &*kernels);
    let must = ["SIGINFO", "FILE", "cursig: 11"];
    compare(test, "eu-readelf", &["-n", "CORE"], both, but_times, &must);
    compare(test, "readelf", &["-aW", "CORE"], both, but_times, &["NT_PRSTATUS", "LOAD"]);
    // Without complaint.
    for tool in ["readelf", "eu-readelf"] {
        let quiet = says(tool, &["-h", "-l", "-n", "CORE"], &ours);
        let quiet = quiet.unwrap_or_default().to_lowercase();
        assert!(!quiet.contains("warning") && !quiet.contains("error"), "{quiet}");
    }
}

#[test]
fn an_i386_process_by_the_command() {
    let test = "an_i386_process_by_the_command";
    let place = Place::new();
    let program = place.file("i386", i386::program(), 0o755);
    let started = {
        let _lock = one_at_a_time();
        Command::new(&program).spawn()
    };
    let Ok(mut child) = started else {
        return skip(test, "this kernel runs no i386 programs");
    };
    // It has stopped itself.
    let pid = child.id().to_string();
    let state = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let stopped = || {
        for _ in 0..1000 {
            if state().contains(") T ") {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        panic!("{}", state());
    };
    stopped();
    ok(&["core", "-o", "c", &pid], &place.path);
    // Whoever is let go on runs for a moment before he stops again.
    stopped();
    child.kill().unwrap();
    child.wait().unwrap();
    let told = ok(&["core", "info", "--json", "c"], &place.path);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["class"], &told["missing"]), (&32.into(), &0.into()));
    assert_eq!(told["threads"][0]["registers"][12]["name"], "eip", "{}", told["threads"]);
    let core = place.join("c");
    let words =
        ["-nx", "-batch", "-ex", "info registers eip ebx", program.to_str().unwrap(), "CORE"];
    match says("gdb", &words, &core) {
        Some(text) => assert!(text.contains("eip            0x80480"), "{text}"),
        None => skip(test, "no gdb"),
    }
    if let Some(text) = says("eu-readelf", &["-hn", "CORE"], &core) {
        assert!(text.contains("ELF32") && text.contains("PRXFPREG"), "{text}");
    }
}
