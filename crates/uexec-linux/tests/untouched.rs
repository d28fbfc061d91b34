//! Planning and preparing leave the caller as it was: mappings, descriptors, signals, ids and
//! limits are the same after every failure, and after a preparation that is dropped.

use std::ffi::CString;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use uexec_core::{Exec, ExecError, KERNEL_FORMATS, Stage};
use uexec_linux::{Caller, Host, prepare};

/// A file to execute, and what is to become of it.
struct Case {
    name: &'static str,
    bytes: Vec<u8>,
    mode: u32,
    /// The stage it fails at; `None` for one that is prepared.
    fails: Option<Stage>,
}

/// A program that exits with 42: header, one segment, code.
fn elf(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let code = [0xbf, 42, 0, 0, 0, 0xb8, 0xe7, 0, 0, 0, 0x0f, 0x05];
    let half =
        |f: &mut Vec<u8>, words: &[u16]| f.extend(words.iter().flat_map(|w| w.to_le_bytes()));
    let word =
        |f: &mut Vec<u8>, words: &[u64]| f.extend(words.iter().flat_map(|w| w.to_le_bytes()));
    let mut f = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    half(&mut f, &[2, 62, 1, 0]);
    word(&mut f, &[0x40_0000 + 120, 64, 0]);
    half(&mut f, &[0, 0, 64, 56, 1, 0, 0, 0]);
    half(&mut f, &[1, 0, 5, 0]);
    word(&mut f, &[0, 0x40_0000, 0x40_0000, 132, 132, 4096]);
    f.extend(code);
    change(&mut f);
    f
}

fn cases() -> Vec<Case> {
    let case = |name, bytes, fails| Case { name, bytes, mode: 0o755, fails };
    vec![
        case("static", elf(|_| ()), None),
        case("shell", b"#!/bin/sh\n".to_vec(), None),
        case("awk", b"#!/usr/bin/env -S sh -c\n".to_vec(), None),
        Case { mode: 0o644, ..case("plain", elf(|_| ()), Some(Stage::Open)) },
        case("empty", vec![], Some(Stage::Search)),
        case("text", b"echo\n".to_vec(), Some(Stage::Search)),
        case("noname", b"#!\n".to_vec(), Some(Stage::Script)),
        case("nointerp", b"#!/none\n".to_vec(), Some(Stage::ScriptInterp)),
        case("dirinterp", b"#!/\n".to_vec(), Some(Stage::ScriptInterp)),
        case("itself", b"#!./itself\n".to_vec(), Some(Stage::Search)),
        case("object", elf(|f| f[16] = 1), Some(Stage::Elf)),
        case("machine", elf(|f| f[18] = 183), Some(Stage::Elf)),
        case("phdrs", elf(|f| f[38] = 9), Some(Stage::Elf)),
        case("elfinterp", elf(|f| f[64] = 3), Some(Stage::Elf)),
        case("segment", elf(|f| f[64 + 32] = 200), Some(Stage::Map)),
        case(
            "collides",
            elf(|f| f[64 + 16..64 + 24].copy_from_slice(&(1u64 << 47).to_le_bytes())),
            Some(Stage::Map),
        ),
    ]
}

/// Everything a caller might notice. Long texts are written into `out`, which is reused so that
/// looking does not itself move the heap.
fn look(out: &mut String) {
    out.clear();
    for file in ["maps", "status", "limits", "timers", "personality", "comm"] {
        let text = fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default();
        // What only time changes.
        let noise = ["Vm", "Rss", "voluntary", "nonvoluntary", "HugetlbPages", "SigQ"];
        for line in text.lines().filter(|l| !noise.iter().any(|n| l.starts_with(n))) {
            let _ = writeln!(out, "{file}: {line}");
        }
    }
    let mut fds: Vec<String> = fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|e| {
            let e = e.ok()?;
            let target = fs::read_link(e.path()).ok()?;
            let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", e.file_name().display()))
                .ok()?;
            // The directory being read is open now, and only now.
            (!target.starts_with("/proc")).then(|| format!("fd {e:?} {target:?} {info:?}"))
        })
        .collect();
    fds.sort();
    let _ = writeln!(out, "{}", fds.join("\n"));
    for signal in 1..=64 {
        let mut action = [0u64; 4];
        let kernel_size = 8usize;
        // SAFETY: only asks: the kernel writes its 32-byte structure.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                std::ptr::null::<u8>(),
                &raw mut action,
                kernel_size,
            )
        };
        let _ = writeln!(out, "signal {signal}: {action:x?}");
    }
    // SAFETY: a stack description is plain data.
    let mut stack: libc::stack_t = unsafe { std::mem::zeroed() };
    // SAFETY: only asks.
    unsafe { libc::sigaltstack(std::ptr::null(), &raw mut stack) };
    let _ = writeln!(out, "signal stack {:?} {}", stack.ss_sp, stack.ss_size);
}

extern "C" fn handler(_: libc::c_int) {}

/// Gives the child something to lose.
fn set_up_state() {
    for signal in [libc::SIGUSR1, libc::SIGTERM, libc::SIGSEGV] {
        let handler: extern "C" fn(libc::c_int) = handler;
        // SAFETY: the handler does nothing.
        unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    }
    // SAFETY: ignoring runs no code.
    unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
    // SAFETY: a signal set is plain bits.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is valid.
    unsafe { libc::sigaddset(&raw mut set, libc::SIGUSR2) };
    // SAFETY: likewise.
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
    let none = std::ptr::null_mut();
    let anonymous = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    for prot in [libc::PROT_NONE, libc::PROT_READ, libc::PROT_READ | libc::PROT_WRITE] {
        // SAFETY: new memory at a place of the kernel's choice.
        unsafe { libc::mmap(none, 12_288, prot, anonymous, -1, 0) };
    }
    // SAFETY: takes a low number of its own; it stays open on purpose.
    unsafe { libc::fcntl(2, libc::F_DUPFD_CLOEXEC, 30) };
    // SAFETY: likewise.
    unsafe { libc::fcntl(2, libc::F_DUPFD, 40) };
}

fn try_exec(path: &Path) -> Result<(), ExecError> {
    let mut exec = Exec::new(path.as_os_str().as_bytes());
    exec.envp = vec![b"PATH=/bin".to_vec()];
    let mut host = Host::new();
    let plan = uexec_core::plan(exec, &mut host, &KERNEL_FORMATS)?;
    let prepared = prepare(&plan, host, &Caller::any()?)?;
    drop(prepared);
    Ok(())
}

/// In the child: an empty text when nothing was touched.
fn check(dir: &Path, cases: &[Case]) -> String {
    std::env::set_current_dir(dir).unwrap();
    set_up_state();
    let paths: Vec<PathBuf> = cases.iter().map(|c| Path::new(".").join(c.name)).collect();
    let mut complaints = String::with_capacity(1 << 16);
    let (mut before, mut after) = (String::with_capacity(1 << 18), String::with_capacity(1 << 18));
    for (case, path) in cases.iter().zip(&paths) {
        // The allocator may grow its heap the first times; after that nothing is to change. Less
        // than it would give back is left free, so that it need not grow later.
        drop(vec![1u8; 100 << 10]);
        for _ in 0..3 {
            let _ = try_exec(path);
            look(&mut before);
            look(&mut after);
        }
        look(&mut before);
        for _ in 0..5 {
            let stage = try_exec(path).err().map(|e| e.refusal.stage);
            if stage != case.fails {
                let _ = writeln!(complaints, "{}: {stage:?}, not {:?}", case.name, case.fails);
            }
        }
        look(&mut after);
        for (old, new) in before.lines().zip(after.lines()).filter(|(old, new)| old != new) {
            let _ = writeln!(complaints, "{}: was {old}\n    is now {new}", case.name);
        }
        if before.lines().count() != after.lines().count() {
            let _ = writeln!(complaints, "{}: {before}\n=====\n{after}", case.name);
        }
    }
    complaints
}

#[test]
fn the_caller_is_untouched() {
    let dir = std::env::temp_dir().join(format!("uexec-untouched-{}", std::process::id()));
    fs::create_dir(&dir).unwrap();
    let cases = cases();
    for case in &cases {
        let path = dir.join(case.name);
        fs::write(&path, &case.bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(case.mode)).unwrap();
    }
    let report = dir.join("report");
    let name = CString::new(report.as_os_str().as_bytes()).unwrap();
    // SAFETY: this test program has one test; the child leaves by _exit.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let complaints = check(&dir, &cases);
        let written =
            fs::write(Path::new(std::ffi::OsStr::from_bytes(name.as_bytes())), complaints);
        // SAFETY: ends the child without running what the parent has registered.
        unsafe { libc::_exit(i32::from(written.is_err())) };
    }
    let mut status = 0;
    // SAFETY: waits for the child made above.
    unsafe { libc::waitpid(pid, &raw mut status, 0) };
    let complaints = fs::read_to_string(&report).unwrap_or_else(|e| format!("no report: {e}"));
    let _ = fs::remove_dir_all(&dir);
    assert_eq!((status, complaints.as_str()), (0, ""));
}
