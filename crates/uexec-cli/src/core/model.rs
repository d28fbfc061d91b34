//! What is told of a core, as data: the text, the JSON and the pictures are made of it.

use serde::Serialize;
use uexec_core::auxv::Auxv;
use uexec_core::coredump::{Core, fault};

/// A core ([schema](../../../../docs/core.schema.json)).
#[derive(Serialize)]
pub(crate) struct Told {
    pub(crate) file: String,
    /// Size of the file, not compressed, holes included.
    pub(crate) bytes: u64,
    pub(crate) class: u8,
    pub(crate) big_endian: bool,
    pub(crate) machine: String,
    pub(crate) signal: Option<Signal>,
    pub(crate) fault: Option<Fault>,
    pub(crate) process: Option<Process>,
    pub(crate) threads: Vec<Thread>,
    pub(crate) mappings: Vec<Mapping>,
    pub(crate) auxv: Vec<Entry>,
    pub(crate) files: Vec<Mapped>,
    /// Bytes of memory that the file should have and has not.
    pub(crate) missing: u64,
    /// What is not right with it.
    pub(crate) complaints: Vec<&'static str>,
}

#[derive(Serialize)]
pub(crate) struct Signal {
    pub(crate) number: i32,
    pub(crate) name: &'static str,
    /// `si_code`, if the core has it.
    pub(crate) code: Option<i32>,
}

#[derive(Serialize)]
pub(crate) struct Fault {
    pub(crate) kind: &'static str,
    pub(crate) address: Option<String>,
    /// Start of the mapping it is in.
    pub(crate) inside: Option<String>,
    pub(crate) near: Option<Near>,
    pub(crate) story: String,
}

#[derive(Serialize)]
pub(crate) struct Near {
    pub(crate) mapping: String,
    /// Bytes from it; negative below.
    pub(crate) distance: i64,
}

#[derive(Serialize)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) ppid: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) name: String,
    /// Beginning of the command line, as `ps` shows it.
    pub(crate) args: String,
}

#[derive(Serialize)]
pub(crate) struct Thread {
    pub(crate) tid: u32,
    pub(crate) registers: Vec<Register>,
}

#[derive(Serialize)]
pub(crate) struct Register {
    pub(crate) name: &'static str,
    pub(crate) value: String,
}

#[derive(Serialize)]
pub(crate) struct Mapping {
    pub(crate) start: String,
    pub(crate) end: String,
    #[serde(skip)]
    pub(crate) range: (u64, u64),
    pub(crate) perms: String,
    /// Bytes that the core says it has of it.
    pub(crate) dumped: u64,
    /// Bytes it really has.
    pub(crate) present: u64,
    pub(crate) name: String,
}

#[derive(Serialize)]
pub(crate) struct Entry {
    #[serde(rename = "type")]
    pub(crate) kind: u64,
    pub(crate) name: &'static str,
    pub(crate) value: String,
}

#[derive(Serialize)]
pub(crate) struct Mapped {
    pub(crate) start: String,
    pub(crate) end: String,
    pub(crate) offset: u64,
    pub(crate) path: String,
}

const REGISTERS_64: [&str; 27] = [
    "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi",
    "rdi", "orig_rax", "rip", "cs", "eflags", "rsp", "ss", "fs_base", "gs_base", "ds", "es", "fs",
    "gs",
];
const REGISTERS_32: [&str; 17] = [
    "ebx", "ecx", "edx", "esi", "edi", "ebp", "eax", "ds", "es", "fs", "gs", "orig_eax", "eip",
    "cs", "eflags", "esp", "ss",
];

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Told {
    /// Of a core that was read from `file`.
    pub(crate) fn new(file: String, bytes: u64, core: &Core) -> Told {
        let hex = |x: u64| format!("{x:#x}");
        let names: &[&str] = if core.class.bits() == 64 { &REGISTERS_64 } else { &REGISTERS_32 };
        let from_info = fault::signal(core).map(|(n, code)| (n, Some(code)));
        let from_thread = core.threads.first().map(|t| (i32::from(t.signal), None));
        let signal = from_info.or(from_thread).filter(|(n, _)| *n != 0);
        let perms = |p: uexec_core::mm::Prot| {
            use uexec_core::mm::Prot;
            let bit = |f, c| if p.contains(f) { c } else { '-' };
            [bit(Prot::READ, 'r'), bit(Prot::WRITE, 'w'), bit(Prot::EXEC, 'x')].iter().collect()
        };
        let missing = |l: &uexec_core::coredump::Load| l.file_len - l.present;
        Told {
            file,
            bytes,
            class: core.class.bits(),
            big_endian: core.big_endian,
            machine: machine(core.machine),
            signal: signal.map(|(number, code)| Signal {
                number,
                name: crate::signal::known(number).unwrap_or("a signal"),
                code,
            }),
            fault: fault::of(core).map(|f| Fault {
                kind: f.kind.as_str(),
                address: f.addr.map(hex),
                inside: f.inside.map(hex),
                near: f.near.map(|(m, distance)| Near { mapping: hex(m), distance }),
                story: f.story,
            }),
            process: core.psinfo.as_ref().map(|p| Process {
                pid: p.pid,
                ppid: p.ppid,
                uid: p.uid,
                gid: p.gid,
                name: text(&p.comm),
                args: text(p.args.trim_ascii_end()),
            }),
            threads: core
                .threads
                .iter()
                .map(|t| Thread {
                    tid: t.tid,
                    registers: names
                        .iter()
                        .zip(&t.regs)
                        .map(|(name, value)| Register { name, value: hex(*value) })
                        .collect(),
                })
                .collect(),
            missing: core.loads.iter().fold(0, |sum: u64, l| sum.saturating_add(missing(l))),
            mappings: core
                .loads
                .iter()
                .map(|l| {
                    let end = l.start.saturating_add(l.mem_len);
                    Mapping {
                        start: hex(l.start),
                        end: hex(end),
                        range: (l.start, end),
                        perms: perms(l.prot),
                        dumped: l.file_len,
                        present: l.present,
                        name: fault::name(core, l),
                    }
                })
                .collect(),
            auxv: core
                .auxv
                .iter()
                .map(|(kind, value)| Entry {
                    kind: *kind,
                    name: Auxv::name(*kind),
                    value: hex(*value),
                })
                .collect(),
            files: core
                .files
                .iter()
                .map(|f| Mapped {
                    start: hex(f.start),
                    end: hex(f.end),
                    offset: f.offset,
                    path: text(&f.path),
                })
                .collect(),
            complaints: core.complaints.clone(),
        }
    }

    /// Who died of what, in a line.
    pub(crate) fn headline(&self) -> String {
        let who = self
            .process
            .as_ref()
            .map_or_else(|| "a process".to_owned(), |p| format!("{} ({})", p.name, p.pid));
        match &self.signal {
            Some(s) => format!("{who} was killed by {}", s.name),
            None => format!("{who}, dumped alive"),
        }
    }
}

fn machine(number: u16) -> String {
    uexec_core::machine_name(number).into()
}
