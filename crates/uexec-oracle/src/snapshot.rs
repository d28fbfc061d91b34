//! What can be seen of a process that is stopped at its first instruction. Only looks.

use std::fs;
use std::io;
use std::path::PathBuf;

use libc::pid_t;

use crate::sys;

/// One line of `/proc/PID/maps`, without device and inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// As printed: `r-xp`.
    pub perms: String,
    /// Where in the file, in bytes.
    pub offset: u64,
    /// File or `[name]`, empty for none.
    pub path: String,
}

/// The registers of a program's first instruction. `orig_rax` is left out: it says how the process
/// came here, and no program can see it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "register names")]
pub struct Registers {
    pub rip: u64,
    pub rsp: u64,
    /// Without ZF, PF and RF: the kernel's exec leaves 0x202; the last instructions of the vdso
    /// that `uexec` leaves by may zero a register, which sets ZF and PF. No program can rely on
    /// them, as the ABI calls them undefined at the start of a process.
    pub eflags: u64,
    /// `rax rbx rcx rdx rsi rdi rbp r8 … r15`.
    pub general: [u64; 15],
    /// `cs ss ds es fs gs`.
    pub segments: [u64; 6],
    pub fs_base: u64,
    pub gs_base: u64,
    /// x87 control, status and tag word.
    pub x87: [u16; 3],
    pub mxcsr: u32,
    /// `st0`-`st7` and `xmm0`-`xmm15`.
    pub vectors: Vec<u32>,
}

/// Fields of `/proc/PID/stat` that an exec sets (`proc_pid_stat(5)`: 26-28, 45-51).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of proc_pid_stat(5)")]
pub struct MmStat {
    pub start_code: u64,
    pub end_code: u64,
    pub start_stack: u64,
    pub start_data: u64,
    pub end_data: u64,
    pub start_brk: u64,
    pub arg_start: u64,
    pub arg_end: u64,
    pub env_start: u64,
    pub env_end: u64,
}

/// A program at its first instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its mappings, in order.
    pub maps: Vec<Map>,
    /// The auxiliary vector as `/proc/PID/auxv` has it: pairs of type and value.
    pub auxv: Vec<(u64, u64)>,
    /// Registers.
    pub registers: Registers,
    /// The stack, from `rsp` to the end of the mapping it lies in.
    pub stack: Vec<u8>,
    /// Published layout.
    pub mm: MmStat,
    /// Name of the task.
    pub comm: String,
    /// `/proc/PID/exe`.
    pub exe: PathBuf,
    /// `/proc/PID/cmdline`.
    pub cmdline: Vec<u8>,
    /// `/proc/PID/environ`.
    pub environ: Vec<u8>,
    /// `personality(2)`.
    pub personality: u64,
    /// The robust-futex list's head, 0 for none.
    pub robust_list: u64,
}

/// `AT_RANDOM` of `getauxval(3)`.
const AT_RANDOM: u64 = 25;

/// Start and end of a line of `/proc/PID/maps`.
pub(crate) fn range(line: &str) -> Option<(u64, u64)> {
    let (start, rest) = line.split_once('-')?;
    let (end, _) = rest.split_once(' ')?;
    Some((u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?))
}

impl Map {
    /// Reads one line.
    #[must_use]
    pub fn parse(line: &str) -> Option<Map> {
        let (start, end) = range(line)?;
        // Five fields, then the path, which may hold blanks, padded to a column.
        let mut rest = line;
        let mut fields = [""; 5];
        for field in &mut fields {
            (*field, rest) = rest.trim_start_matches(' ').split_once(' ').unwrap_or((rest, ""));
        }
        let offset = u64::from_str_radix(fields[2], 16).ok()?;
        let (perms, path) = (fields[1].to_owned(), rest.trim_start_matches(' ').to_owned());
        Some(Map { start, end, perms, offset, path })
    }
}

impl std::fmt::Display for Map {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Map { start, end, perms, offset, path } = self;
        write!(f, "{start:x}-{end:x} {perms} {offset:08x} {path}")
    }
}

impl MmStat {
    fn parse(stat: &str) -> Option<MmStat> {
        // The second field, the name, may hold blanks and brackets.
        let rest = stat.rsplit_once(')')?.1;
        let fields: Vec<u64> = rest.split_whitespace().map(|w| w.parse().unwrap_or(0)).collect();
        let field = |n: usize| fields.get(n - 3).copied();
        Some(MmStat {
            start_code: field(26)?,
            end_code: field(27)?,
            start_stack: field(28)?,
            start_data: field(45)?,
            end_data: field(46)?,
            start_brk: field(47)?,
            arg_start: field(48)?,
            arg_end: field(49)?,
            env_start: field(50)?,
            env_end: field(51)?,
        })
    }
}

impl Registers {
    /// Whether it is an i386 program, by its code segment.
    #[must_use]
    pub fn is_ia32(&self) -> bool {
        self.segments[0] == 0x23
    }

    fn take(pid: pid_t) -> io::Result<Registers> {
        const RF_ZF_PF: u64 = 1 << 16 | 1 << 6 | 1 << 2;
        let r = sys::registers(pid)?;
        let f = sys::fp_registers(pid)?;
        Ok(Registers {
            rip: r.rip,
            rsp: r.rsp,
            eflags: r.eflags & !RF_ZF_PF | 2,
            general: [
                r.rax, r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rbp, r.r8, r.r9, r.r10, r.r11, r.r12,
                r.r13, r.r14, r.r15,
            ],
            segments: [r.cs, r.ss, r.ds, r.es, r.fs, r.gs],
            fs_base: r.fs_base,
            gs_base: r.gs_base,
            x87: [f.cwd, f.swd, f.ftw],
            mxcsr: f.mxcsr,
            vectors: f.st_space.iter().chain(&f.xmm_space).copied().collect(),
        })
    }
}

impl Snapshot {
    /// Looks at a stopped tracee.
    pub(crate) fn take(pid: pid_t) -> io::Result<Snapshot> {
        let read = |name: &str| fs::read(format!("/proc/{pid}/{name}"));
        let text = |name: &str| read(name).map(|b| String::from_utf8_lossy(&b).into_owned());
        let registers = Registers::take(pid)?;
        let maps: Vec<Map> = text("maps")?.lines().filter_map(Map::parse).collect();
        let rsp = registers.rsp;
        let stack = match maps.iter().find(|m| m.start <= rsp && rsp < m.end) {
            Some(m) => {
                let mut bytes = vec![0; (m.end - rsp) as usize];
                // A segment in the stack's place may be past its file's end.
                let n = sys::read_memory(pid, rsp, &mut bytes).unwrap_or(0);
                bytes.truncate(n);
                bytes
            }
            None => Vec::new(),
        };
        let pairs = read("auxv")?;
        let word = |b: &[u8]| b.iter().rev().fold(0, |w, byte| w << 8 | u64::from(*byte));
        Ok(Snapshot {
            maps,
            auxv: {
                let size = if registers.is_ia32() { 4 } else { 8 };
                let pair = |p: &[u8]| (word(&p[..size]), word(&p[size..]));
                // The kernel cuts the list at the first empty pair of 64-bit words.
                let all = pairs.chunks_exact(2 * size).map(pair);
                let mut list: Vec<_> = all.collect();
                let end = list.iter().position(|p| p.0 == 0).map_or(list.len(), |i| i + 1);
                list.truncate(end);
                list
            },
            registers,
            stack,
            mm: MmStat::parse(&text("stat")?).ok_or(io::ErrorKind::InvalidData)?,
            comm: text("comm")?.trim_end_matches('\n').to_owned(),
            exe: fs::read_link(format!("/proc/{pid}/exe"))?,
            cmdline: read("cmdline").unwrap_or_default(),
            environ: read("environ").unwrap_or_default(),
            personality: u64::from_str_radix(text("personality")?.trim(), 16).unwrap_or(u64::MAX),
            robust_list: sys::robust_list(pid)?,
        })
    }

    /// The value of an auxiliary vector entry.
    #[must_use]
    pub fn aux(&self, kind: u64) -> Option<u64> {
        self.auxv.iter().find(|p| p.0 == kind).map(|p| p.1)
    }

    /// The stack with the 16 random bytes of `AT_RANDOM` zeroed, which no two starts share.
    #[must_use]
    pub fn masked_stack(&self) -> Vec<u8> {
        let mut bytes = self.stack.clone();
        let at = self.aux(AT_RANDOM).and_then(|a| a.checked_sub(self.registers.rsp));
        if let Some(random) = at.and_then(|at| bytes.get_mut(at as usize..at as usize + 16)) {
            random.fill(0);
        }
        bytes
    }

    /// Every difference from another one, a line each: `self` is what was expected.
    #[must_use]
    pub fn differences(&self, got: &Snapshot) -> Vec<String> {
        let mut found = Vec::new();
        let mut check = |what: &str, same: bool, a: String, b: String| {
            if !same {
                found.push(format!("{what}:\n    kernel {a}\n    uexec  {b}"));
            }
        };
        macro_rules! same {
            ($($field:ident $(. $inner:ident)?),*) => {$(
                let (a, b) = (&self.$field$(.$inner)?, &got.$field$(.$inner)?);
                let name = stringify!($field$(.$inner)?);
                check(name, a == b, format!("{a:x?}"), format!("{b:x?}"));
            )*};
        }
        let lines = |s: &Snapshot| {
            s.maps.iter().map(|m| format!("\n      {m}")).collect::<Vec<_>>().concat()
        };
        check("maps", self.maps == got.maps, lines(self), lines(got));
        same!(auxv, registers.rip, registers.rsp, registers.eflags, registers.general);
        same!(registers.segments, registers.fs_base, registers.gs_base, registers.x87);
        same!(registers.mxcsr, registers.vectors, mm, personality, robust_list);
        check("comm", self.comm == got.comm, self.comm.clone(), got.comm.clone());
        let exe = |s: &Snapshot| s.exe.display().to_string();
        check("exe", self.exe == got.exe, exe(self), exe(got));
        let strings = |b: &[u8]| String::from_utf8_lossy(b).chars().take(200).collect::<String>();
        let both = |a: &[u8], b: &[u8]| (strings(a), strings(b));
        let (a, b) = both(&self.cmdline, &got.cmdline);
        check("cmdline", self.cmdline == got.cmdline, a, b);
        let (a, b) = both(&self.environ, &got.environ);
        check("environ", self.environ == got.environ, a, b);
        let (a, b) = (self.masked_stack(), got.masked_stack());
        let first = a.iter().zip(&b).position(|(a, b)| a != b).unwrap_or(a.len().min(b.len()));
        let about = |s: &[u8]| {
            let from = first.saturating_sub(8);
            let part = &s[from.min(s.len())..(first + 24).min(s.len())];
            format!("{} bytes, from rsp + {from:#x}: {part:02x?}", s.len())
        };
        check("stack", a == b, about(&a), about(&b));
        found
    }
}
