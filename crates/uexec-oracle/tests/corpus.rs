//! A fixed part of the sweep over installed programs: by uexec as by the kernel, without
//! exception. The whole sweep is the program `corpus` of this crate.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What every Debian has: shells, coreutils, the tools around them, scripts.
const EVERYWHERE: &str = "awk bash cat chmod cp dash date dd df dpkg egrep env expr false find \
    grep gunzip gzip hostname id ldd ln ls mkdir mktemp mv nice od perl printf pwd rm sed sh sleep \
    sort stat tar tee test timeout touch true uname which xargs zgrep";

/// What is compared where it is installed: other languages, and programs linked otherwise (static,
/// not position independent, finding themselves by their link in `/proc`).
const SOMEWHERE: &str = "busybox clang cmake gcc gdb git go java javac ld less lua make node npm \
    openssl php pip3 ps python3 qemu-img ruby rustc sqlite3 ssh strace tmux vim";

/// Those of the names that are in the usual folders, and those that are not.
fn installed(names: &str) -> (Vec<PathBuf>, Vec<&str>) {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for name in names.split_whitespace() {
        let places = ["/usr/bin", "/bin", "/usr/sbin"].map(|d| Path::new(d).join(name));
        match places.into_iter().find(|p| p.exists()) {
            Some(path) => found.push(path),
            None => missing.push(name),
        }
    }
    (found, missing)
}

fn corpus() -> Command {
    Command::new(env!("CARGO_BIN_EXE_corpus"))
}

/// All of the programs must be equal.
fn sweep(way: &[&str], programs: &[PathBuf]) {
    let out = corpus()
        .args(["--build", "--bar", "100"])
        .args(way)
        .arg("--only")
        .args(programs)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    eprintln!("{said}");
    assert!(out.status.success(), "{said}{}", String::from_utf8_lossy(&out.stderr));
}

/// Containers often forbid own user namespaces.
fn userns_is_allowed() -> bool {
    let tried = Command::new("unshare").args(["--user", "true"]).output();
    let allowed = tried.is_ok_and(|o| o.status.success());
    if !allowed {
        eprintln!("skipped: own user namespaces (unshare --user true fails here)");
    }
    allowed
}

/// The JVM's tools, whose libraries are named relative to the program (`$ORIGIN`): setting the
/// link they go by needs privilege.
fn goes_by_its_link(program: &Path) -> bool {
    let real = std::fs::canonicalize(program).unwrap();
    real.components().any(|c| c.as_os_str() == "jvm")
}

#[test]
fn every_installed_program_of_the_list_is_as_under_the_kernel() {
    let (mut programs, missing) = installed(EVERYWHERE);
    assert!(programs.len() >= 40, "not a Debian: {missing:?} are missing");
    let (more, not_here) = installed(SOMEWHERE);
    programs.extend(more);
    if !missing.is_empty() || !not_here.is_empty() {
        eprintln!("skipped, not installed: {} {}", missing.join(" "), not_here.join(" "));
    }
    let unprivileged: Vec<PathBuf> =
        programs.iter().filter(|p| !goes_by_its_link(p)).cloned().collect();
    let root = rustix::process::geteuid().is_root();
    if root {
        sweep(&["--as", "root"], &programs);
        sweep(&["--as", "nobody"], &unprivileged);
    } else {
        eprintln!("skipped: only root can run programs as another user");
        sweep(&[], &unprivileged);
    }
    if userns_is_allowed() {
        sweep(&["--userns"], &programs);
        if root {
            sweep(&["--as", "nobody", "--userns"], &programs);
        }
    }
}

#[test]
fn a_difference_is_found_and_fails_the_sweep() {
    // An "uexec" that runs nothing must not pass for what prints something.
    let out = corpus()
        .args(["--uexec", "/bin/true", "--list-different", "--only", "/bin/ls", "/bin/sleep"])
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&out.stdout), "/bin/ls\n/bin/sleep\n");
}

#[test]
fn an_unknown_program_is_an_error() {
    let out = corpus().args(["--only", "no-such"]).output().unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&out.stderr).contains("no such program: no-such"));
}
