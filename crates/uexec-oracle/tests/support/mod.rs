//! What the tests share: a scratch directory, a C compiler, and the comparison itself.

#![allow(dead_code, reason = "not every test uses everything")]

use std::path::{Path, PathBuf};
use std::process::Command;

use uexec_oracle::launch::Exec;
use uexec_oracle::skip;
use uexec_oracle::snapshot::{MmStat, Snapshot};
use uexec_oracle::trace::{Outcome, Stopped, by_kernel, by_uexec};
use uexec_oracle::uexec::uexec_binary;

/// A directory of one test, removed when dropped. On the file system of the target directory,
/// which is the most likely one to allow execution.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Scratch {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let dir = dir.join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Scratch(dir)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Compiles a C program; `None`, said aloud, where that does not work.
    pub(crate) fn cc(&self, name: &str, source: &str, options: &[&str]) -> Option<PathBuf> {
        let (from, to) = (self.path(&format!("{name}.c")), self.path(name));
        std::fs::write(&from, source).unwrap();
        let cc = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
        let mut command = Command::new(cc);
        command.arg(&from).arg("-o").arg(&to).args(options);
        let why = match command.output() {
            Ok(out) if out.status.success() => return Some(to),
            Ok(out) => String::from_utf8_lossy(&out.stderr).lines().last().unwrap_or("").to_owned(),
            Err(error) => error.to_string(),
        };
        skip(name, &format!("no C compiler for {options:?}: {why}"));
        None
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Whether this process may set `/proc/self/exe` (STK-40).
pub(crate) fn may_set_exe() -> bool {
    const SYS_ADMIN_OR_CHECKPOINT_RESTORE: u64 = 1 << 21 | 1 << 40;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("CapEff:")).unwrap_or("0");
    u64::from_str_radix(line.trim(), 16).unwrap_or(0) & SYS_ADMIN_OR_CHECKPOINT_RESTORE != 0
}

/// Options that change nothing here. Without any, `uexec` starts the program before its own C
/// library is set up; with one, after.
pub(crate) const WAYS: [&[&str]; 2] = [&[], &["--no-privileges"]];

/// The kernel's and uexec's ways to the first instruction; every difference, a line each.
pub(crate) fn differences(exec: &Exec) -> Vec<String> {
    let kernel = by_kernel(exec).expect("the kernel's start");
    let one = |options: &&[&str]| {
        let uexec = by_uexec(exec, uexec_binary(), options).expect("uexec's start");
        let found = differences_of(&kernel, &uexec);
        found.into_iter().map(move |line| format!("{options:?} {line}")).collect::<Vec<_>>()
    };
    WAYS.iter().flat_map(one).collect()
}

fn differences_of(kernel: &Outcome, uexec: &Outcome) -> Vec<String> {
    match (kernel, uexec) {
        (Outcome::Started(kernel), Outcome::Started(uexec)) => {
            let (expected, mut got) = (kernel.snapshot().unwrap(), uexec.snapshot().unwrap());
            if !may_set_exe() {
                // Known deviation: naming the program there takes CAP_CHECKPOINT_RESTORE (STK-40).
                got.exe = expected.exe.clone();
            }
            if !publishable(&expected.mm) {
                // Known deviation: prctl(PR_SET_MM_MAP) refuses such a layout (STK-42), so another
                // one is published. Only programs without code, or linked below 64 KiB, have one.
                got.mm = MmStat {
                    start_stack: got.mm.start_stack,
                    arg_start: got.mm.arg_start,
                    arg_end: got.mm.arg_end,
                    env_start: got.mm.env_start,
                    env_end: got.mm.env_end,
                    ..expected.mm
                };
            }
            if expected.registers.is_ia32() {
                // Known deviation: the kernel shows this page to what it has started as a 64-bit
                // process.
                got.maps.retain(|m| m.path != "[vsyscall]");
            }
            let mut found = expected.differences(&got);
            found.extend(memory_differences(&expected, kernel, uexec));
            found
        }
        (Outcome::Refused(e), Outcome::Gave(code)) if *code == refusal_status(e.0) => Vec::new(),
        (Outcome::Died(a), Outcome::Died(b)) if a == b => Vec::new(),
        (a, b) => vec![format!("outcome:\n    kernel {a:?}\n    uexec  {b:?}")],
    }
}

/// Whether `PR_SET_MM_MAP` takes this layout (STK-42).
fn publishable(mm: &MmStat) -> bool {
    let places = [mm.start_code, mm.end_code, mm.start_data, mm.end_data, mm.start_brk];
    places.iter().all(|a| (0x1_0000..0x7fff_ffff_f000).contains(a))
        && mm.start_code < mm.end_code
        && mm.start_data <= mm.end_data
}

/// 127 for what is not there, 126 for what is refused.
fn refusal_status(errno: u16) -> i32 {
    if errno == 2 { 127 } else { 126 }
}

/// Compares the contents of all memory that can be read and is not the stack, which snapshots
/// compare, nor the kernel's own data.
fn memory_differences(maps: &Snapshot, kernel: &Stopped, uexec: &Stopped) -> Vec<String> {
    let special = |path: &str| path.starts_with('[');
    let mut found = Vec::new();
    for m in maps.maps.iter().filter(|m| m.perms.starts_with('r') && !special(&m.path)) {
        let len = (m.end - m.start).min(16 << 20) as usize;
        let (a, b) = (kernel.read(m.start, len).ok(), uexec.read(m.start, len).ok());
        if a == b {
            continue;
        }
        let (a, b) = (a.unwrap_or_default(), b.unwrap_or_default());
        let at = a.iter().zip(&b).position(|(a, b)| a != b).unwrap_or(a.len().min(b.len()));
        found.push(format!("memory of {m} at {:#x}", m.start + at as u64));
    }
    // Below rsp the kernel leaves zeros. uexec's last instruction is a `ret`, so up to 128 bytes
    // there hold the entry point, or a signal frame for an i386 program: nothing that a program can
    // rely on.
    let rsp = maps.registers.rsp;
    let room = if maps.registers.is_ia32() { 288 } else { 128 };
    let stack = maps.maps.iter().find(|m| m.start <= rsp && rsp < m.end);
    let len = stack.map_or(0, |m| (rsp - m.start).saturating_sub(room).min(1 << 20)) as usize;
    let below = |of: &Stopped| of.read(rsp - room - len as u64, len).ok();
    if len > 0 && below(kernel) != below(uexec) {
        found.push("memory of the stack below rsp".to_owned());
    }
    found
}

/// Fails, listing everything that is not equal.
#[track_caller]
pub(crate) fn same(what: &str, exec: &Exec) {
    let found = differences(exec);
    assert!(found.is_empty(), "{what} {:?}:\n  {}", exec.path, found.join("\n  "));
}

/// The same program with ordinary arguments and environment.
#[must_use]
pub(crate) fn ordinary(path: &Path) -> Exec {
    Exec::new(path).args(["one", "two words"]).envs(["HOME=/", "LANG=C", "PATH=/usr/bin:/bin"])
}
