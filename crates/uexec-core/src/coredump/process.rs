//! A stopped process as far as its core needs it. Plain data; asks nobody.

use alloc::vec::Vec;

use crate::arch::Class;
use crate::mm::Prot;

/// Bytes of a `siginfo_t` (`sigaction(2)`).
pub const SIGINFO_LEN: usize = 128;

/// Seconds and microseconds, as in `struct timeval`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Time {
    /// Seconds.
    pub secs: i64,
    /// Microseconds.
    pub micros: i64,
}

/// A set of registers as `PTRACE_GETREGSET` gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegSet {
    /// Its `NT_…` number, which is also its note's type.
    pub kind: u32,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// A stopped thread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Thread {
    /// Its id, seen in its own pid namespace.
    pub tid: i32,
    /// Its parent's.
    pub ppid: i32,
    /// Its process group.
    pub pgrp: i32,
    /// Its session.
    pub sid: i32,
    /// Signals pending for the thread alone.
    pub pending: u64,
    /// Signals it blocks.
    pub blocked: u64,
    /// User, system, children's user and children's system time; of the main thread those of the
    /// process (CORE-30).
    pub times: [Time; 4],
    /// General registers: 27 words of 8 bytes, or 17 of 4.
    pub regs: Vec<u8>,
    /// The other sets, in the order of their notes.
    pub sets: Vec<RegSet>,
}

/// What `ps` shows of the process (CORE-31).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Process id in its own namespace.
    pub pid: i32,
    /// Parent.
    pub ppid: i32,
    /// Process group.
    pub pgrp: i32,
    /// Session.
    pub sid: i32,
    /// Number of the state, 0 for running.
    pub state: u8,
    /// Letter of the state.
    pub sname: u8,
    /// Nice value.
    pub nice: i8,
    /// Flags of the kernel (`PF_…`).
    pub flags: u64,
    /// Real user.
    pub uid: u32,
    /// Real group.
    pub gid: u32,
    /// Name of the main thread, at most 15 bytes.
    pub comm: Vec<u8>,
    /// The argument area: strings, each with its NUL.
    pub args: Vec<u8>,
}

/// What lies under a mapping.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backing {
    /// Its path as `/proc/PID/maps` has it, " (deleted)" included.
    pub path: Vec<u8>,
    /// Offset of the mapping in it, in bytes.
    pub offset: u64,
    /// Whether no name leads to it (link count 0): anonymous shared memory, memfds, deleted files.
    pub unlinked: bool,
    /// Whether any of its execute permission bits is set.
    pub executable: bool,
    /// Whether it lies on memory that is storage (DAX).
    pub dax: bool,
}

/// One mapping.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vma {
    /// First address.
    pub start: u64,
    /// Address behind the last.
    pub end: u64,
    /// Permissions.
    pub prot: Prot,
    /// `VM_SHARED`: writes go to the file.
    pub shared: bool,
    /// Name in brackets, if any: `[stack]`, `[vdso]`.
    pub name: Vec<u8>,
    /// The file, if any.
    pub file: Option<Backing>,
    /// `[vdso]`, `[vvar]`, `[vsyscall]` and the like, which the kernel always dumps.
    pub special: bool,
    /// `MADV_DONTDUMP`.
    pub dont_dump: bool,
    /// Memory of a device.
    pub io: bool,
    /// Huge pages of hugetlbfs.
    pub hugetlb: bool,
    /// Whether the process has, or had, pages of its own here.
    pub private_pages: bool,
    /// Whether memory starts with the magic bytes of ELF; asked only if rule CORE-48 needs it.
    pub elf_magic: bool,
    /// Bytes that are in memory or swap.
    pub resident: u64,
}

impl Vma {
    /// Size in bytes.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A component of the XSAVE area (CORE-29).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XsaveComponent {
    /// Its number.
    pub number: u32,
    /// Its size in bytes.
    pub size: u32,
    /// Its offset in bytes.
    pub offset: u32,
}

/// A stopped process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Class of its core.
    pub class: Class,
    /// `e_machine` of its core.
    pub machine: u16,
    /// What `ps` shows.
    pub summary: Summary,
    /// The signal it dies by, 0 for none.
    pub signal: i32,
    /// That signal's `siginfo_t`.
    pub siginfo: [u8; SIGINFO_LEN],
    /// Its auxiliary vector, up to and including `AT_NULL`.
    pub auxv: Vec<u8>,
    /// The thread that dumps, then the others.
    pub threads: Vec<Thread>,
    /// The mappings, low to high.
    pub vmas: Vec<Vma>,
    /// The XSAVE layout; empty before Linux 6.12.
    pub xsave: Vec<XsaveComponent>,
}
