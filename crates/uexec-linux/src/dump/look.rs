//! Everything a core needs to know about a stopped process but its memory. Only looks.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use uexec_core::abi::elf::{EM_386, EM_X86_64};
use uexec_core::arch::Class;
use uexec_core::coredump::{
    Filter, Process, RegSet, SIGINFO_LEN, Summary, Thread, Time, XsaveComponent, nt,
};

use super::{DumpError, Stopped, mappings};
use crate::ffi::dump;
use crate::procfs::{Text, each_line, read_file, read_hex};

const PRSTATUS: u32 = nt::PRSTATUS;

/// The sets of a thread beyond the general registers, in the kernel's order (`arch/x86/kernel/
/// ptrace.c`, 6.18): floating point, I/O permissions, XSAVE, shadow stack.
const SETS_64: [u32; 4] = [nt::PRFPREG, 0x201, nt::X86_XSTATE, 0x204];
/// Those of an i386 thread.
const SETS_32: [u32; 5] = [nt::PRFPREG, nt::PRXFPREG, nt::X86_XSTATE, nt::I386_TLS, 0x201];

/// The filter of a process, or what the kernel gives it.
pub(super) fn filter(pid: i32) -> Filter {
    let path = Text::new(format_args!("/proc/{pid}/coredump_filter"));
    read_hex(path.as_c_str()).map_or_else(Filter::default, Filter)
}

/// Looks at a process.
pub(super) fn look(stopped: &Stopped, filter: Filter) -> Result<Process, DumpError> {
    let seen = stopped.looked_at();
    let mut class = Class::Elf64;
    let mut threads = Vec::new();
    for (i, tid) in stopped.tids().into_iter().enumerate() {
        let gone = |e| DumpError::process("read the registers of", tid)(e);
        let regs = dump::register_set(tid, PRSTATUS).map_err(gone)?;
        if i == 0 && regs.len() == 17 * 4 {
            class = Class::Elf32;
        }
        threads.push(thread(stopped.pid(), tid, regs, class));
    }
    let mut signal = 0;
    let mut siginfo = [0; SIGINFO_LEN];
    if let Some(tid) = stopped.dying() {
        siginfo =
            dump::signal_info(tid).map_err(|e| DumpError::process("read the signal of", tid)(e))?;
        signal = siginfo.first_chunk().map_or(0, |b| i32::from_ne_bytes(*b));
        if class == Class::Elf32 {
            siginfo = compat(&siginfo);
        }
    }
    let mut summary = summary(stopped.pid(), seen);
    if let Some(tid) = maker(stopped.pid()) {
        summary.ppid = tid;
        for thread in &mut threads {
            thread.ppid = tid;
        }
    }
    let machine = if class == Class::Elf64 { EM_X86_64 } else { EM_386 };
    let xsave = threads.first().map(xsave).unwrap_or_default();
    Ok(Process {
        class,
        machine,
        summary,
        signal,
        siginfo,
        auxv: auxv(seen, class),
        threads,
        vmas: mappings::mappings(seen, filter)?,
        xsave,
    })
}

/// A 64-bit `siginfo_t` as i386 has it: the union starts at 12, and its words are smaller
/// (`copy_siginfo_to_external32`, `kernel/signal.c`, 6.18).
fn compat(info: &[u8; SIGINFO_LEN]) -> [u8; SIGINFO_LEN] {
    let mut out = [0; SIGINFO_LEN];
    let mut put = |to: usize, from: usize| {
        if let (Some(to), Some(from)) = (out.get_mut(to..to + 4), info.get(from..from + 4)) {
            to.copy_from_slice(from);
        }
    };
    for at in [0, 4, 8] {
        put(at, at);
    }
    let code = info.get(8..12).and_then(|b| b.try_into().ok()).map_or(0, i32::from_ne_bytes);
    // A fault has one address; what was sent has two ids, and perhaps a value.
    put(12, 16);
    if code <= 0 {
        put(16, 20);
        put(20, 24);
    }
    out
}

fn thread(pid: i32, tid: i32, regs: Vec<u8>, class: Class) -> Thread {
    let status = Status::ask(tid);
    let path = Text::new(format_args!("/proc/{pid}/task/{tid}/stat"));
    let whole = Text::new(format_args!("/proc/{pid}/stat"));
    let stat = Stat::ask(if tid == pid { whole.as_c_str() } else { path.as_c_str() });
    let kinds: &[u32] = if class == Class::Elf64 { &SETS_64 } else { &SETS_32 };
    let mut sets = Vec::new();
    for kind in kinds {
        let Ok(bytes) = dump::register_set(tid, *kind) else { continue };
        let empty = |d: &[u8]| d.get(4..12).is_some_and(|b| b.iter().all(|b| *b == 0));
        if bytes.is_empty() || *kind == nt::I386_TLS && bytes.chunks(16).all(empty) {
            continue;
        }
        sets.push(RegSet { kind: *kind, bytes });
    }
    let time = |n: usize| ticks(stat.number(n).max(0));
    Thread {
        tid: status.pid,
        ppid: status.ppid,
        pgrp: status.pgrp,
        sid: status.sid,
        pending: status.pending,
        blocked: status.blocked,
        times: [time(14), time(15), time(16), time(17)],
        regs,
        sets,
    }
}

/// Ticks of `proc_pid_stat(5)`, 100 a second on x86.
const fn ticks(ticks: i64) -> Time {
    Time { secs: ticks / 100, micros: ticks % 100 * 10_000 }
}

/// The process as `ps` shows it; `seen` is a thread that still has memory.
fn summary(pid: i32, seen: i32) -> Summary {
    let status = Status::ask(pid);
    let stat = Stat::ask(Text::new(format_args!("/proc/{pid}/stat")).as_c_str());
    let live = Stat::ask(Text::new(format_args!("/proc/{seen}/stat")).as_c_str());
    let (from, to) = (live.number(48) as u64, live.number(49) as u64);
    let mut args = vec![0; usize::try_from(to.saturating_sub(from)).unwrap_or(0).min(79)];
    let got = dump::read_memory(seen, from, &mut args).unwrap_or(0);
    args.truncate(got);
    Summary {
        pid: status.pid,
        ppid: status.ppid,
        pgrp: status.pgrp,
        sid: status.sid,
        // It ran until it was stopped for this.
        state: 0,
        sname: b'R',
        nice: stat.number(19) as i8,
        flags: stat.number(9) as u64,
        uid: status.uid,
        gid: status.gid,
        comm: stat.comm,
        args,
    }
}

/// Fields of `proc_pid_status(5)`.
#[derive(Default)]
struct Status {
    pid: i32,
    ppid: i32,
    pgrp: i32,
    sid: i32,
    pending: u64,
    blocked: u64,
    uid: u32,
    gid: u32,
    /// How many pid namespaces below ours it lives.
    depth: usize,
}

impl Status {
    fn ask(tid: i32) -> Status {
        let mut this = Status::default();
        let mut parent = 0;
        let path = Text::new(format_args!("/proc/{tid}/status"));
        let _ = each_line(path.as_c_str(), &mut |line| {
            let text = String::from_utf8_lossy(line);
            let Some((name, value)) = text.split_once(':') else { return true };
            let last = || value.split_whitespace().last().unwrap_or("");
            let first = || value.split_whitespace().next().unwrap_or("");
            let hex = || u64::from_str_radix(first(), 16).unwrap_or(0);
            match name {
                "PPid" => parent = first().parse().unwrap_or(0),
                "Uid" => this.uid = first().parse().unwrap_or(0),
                "Gid" => this.gid = first().parse().unwrap_or(0),
                "NSpid" => {
                    this.pid = last().parse().unwrap_or(0);
                    this.depth = value.split_whitespace().count();
                }
                "NSpgid" => this.pgrp = last().parse().unwrap_or(0),
                "NSsid" => this.sid = last().parse().unwrap_or(0),
                "SigPnd" => this.pending = hex(),
                "SigBlk" => this.blocked = hex(),
                _ => {}
            }
            true
        });
        this.ppid = if this.depth > 1 { seen_from(parent, this.depth) } else { parent };
        this
    }
}

/// The thread that made a process, which is what the kernel means by the parent in a core; `/proc`
/// has the process of that thread, and where it can, the children of each.
fn maker(pid: i32) -> Option<i32> {
    let mut depth = 0;
    let mut parent = 0;
    let _ = each_line(Text::new(format_args!("/proc/{pid}/status")).as_c_str(), &mut |line| {
        let text = String::from_utf8_lossy(line);
        if let Some(id) = text.strip_prefix("PPid:") {
            parent = id.trim().parse().unwrap_or(0);
        }
        if let Some(ids) = text.strip_prefix("NSpid:") {
            depth = ids.split_whitespace().count();
        }
        true
    });
    let all = super::stop::threads(parent).ok()?;
    let made = |tid: &i32| {
        let path = Text::new(format_args!("/proc/{parent}/task/{tid}/children"));
        let text = String::from_utf8_lossy(&read_file(path.as_c_str())).into_owned();
        text.split_whitespace().any(|word| word.parse() == Ok(pid))
    };
    let tid = all.into_iter().find(made)?;
    Some(if depth > 1 { seen_from(tid, depth) } else { tid })
}

/// The id of a process in a namespace `depth` levels down; 0 if it is not in there.
fn seen_from(pid: i32, depth: usize) -> i32 {
    let mut id = 0;
    let path = Text::new(format_args!("/proc/{pid}/status"));
    let _ = each_line(path.as_c_str(), &mut |line| {
        let text = String::from_utf8_lossy(line);
        let Some(ids) = text.strip_prefix("NSpid:") else { return true };
        let found = ids.split_whitespace().nth(depth.saturating_sub(1));
        id = found.and_then(|t| t.parse().ok()).unwrap_or(0);
        false
    });
    id
}

/// Fields of `proc_pid_stat(5)`, counted from 1 as there.
struct Stat {
    comm: Vec<u8>,
    numbers: Vec<i64>,
}

impl Stat {
    fn ask(path: &core::ffi::CStr) -> Stat {
        let text = read_file(path);
        let open = text.iter().position(|b| *b == b'(').unwrap_or(0);
        let close = text.iter().rposition(|b| *b == b')').unwrap_or(open);
        let comm = text.get(open + 1..close).unwrap_or_default().to_vec();
        let rest = text.get(close + 2..).unwrap_or_default();
        // Addresses may need all 64 bits.
        let number = |w: &[u8]| {
            let t = core::str::from_utf8(w).unwrap_or("").trim();
            t.parse::<i64>().or_else(|_| t.parse::<u64>().map(|n| n as i64)).unwrap_or(0)
        };
        Stat { comm, numbers: rest.split(|b| *b == b' ').map(number).collect() }
    }

    fn number(&self, field: usize) -> i64 {
        field.checked_sub(3).and_then(|i| self.numbers.get(i)).copied().unwrap_or(0)
    }
}

/// The saved vector, up to and including `AT_NULL`.
fn auxv(pid: i32, class: Class) -> Vec<u8> {
    let mut all = read_file(Text::new(format_args!("/proc/{pid}/auxv")).as_c_str());
    let pair = class.word() as usize * 2;
    let is_null = |p: &[u8]| p.iter().take(pair / 2).all(|b| *b == 0);
    let count = all.chunks_exact(pair).position(is_null).map_or(0, |n| n + 1);
    all.truncate(count * pair);
    all
}

/// The layout of the XSAVE area, for the components that the thread's own names (CORE-29).
fn xsave(thread: &Thread) -> Vec<XsaveComponent> {
    let Some(set) = thread.sets.iter().find(|s| s.kind == nt::X86_XSTATE) else { return vec![] };
    if !since(6, 12) {
        return vec![];
    }
    let mask =
        set.bytes.get(464..472).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes);
    let has = |n: &u32| mask >> n & 1 == 1;
    let component = |number| {
        let (size, offset) = dump::xsave_component(number);
        XsaveComponent { number, size, offset }
    };
    (2..63).filter(has).map(component).collect()
}

/// Whether the running kernel is this version or newer.
fn since(major: u32, minor: u32) -> bool {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (major, minor)
}
