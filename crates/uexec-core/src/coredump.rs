//! Core dumps: what an ELF core of a stopped process holds, decided as data, and the way back from
//! any ELF core to data. Never reads memory, a process or a file: what there is to know is in a
//! [`Process`], and a reader asks a [`Source`].
//!
//! [`amount`] says how much of each mapping is dumped and why, [`note`] encodes what is known of
//! threads and process, [`plan`] puts both into a file, `read` takes a file apart, and [`fault`]
//! tells the story of an address.

pub mod amount;
pub mod fault;
pub mod note;
mod plan;
mod process;
mod read;
mod read_note;

pub use amount::{Filter, Why};
pub use plan::{CorePlan, Options, Problem, Segment, plan};
pub use process::{
    Backing, Process, RegSet, SIGINFO_LEN, Summary, Thread, Time, Vma, XsaveComponent,
};
pub use read::{Core, Damage, Load, Source};
pub use read_note::{CoreThread, FileEntry, Note, PsInfo};

/// `core_dump` of `struct linux_binfmt`: plans the core of a process that this format loaded.
pub type Dumper = fn(&Process, &Options) -> Result<CorePlan, Problem>;

/// `min_coredump` of the ELF format in bytes: below this `RLIMIT_CORE` there is no core at all
/// (CORE-5; `ELF_EXEC_PAGESIZE`, `fs/binfmt_elf.c`, 6.18).
pub const MIN_COREDUMP: u64 = crate::abi::PAGE;

/// Types of the notes of a core (`elf(5)`, `include/uapi/linux/elf.h`, 6.18).
pub mod nt {
    /// Registers and state of a thread.
    pub const PRSTATUS: u32 = 1;
    /// Floating point registers.
    pub const PRFPREG: u32 = 2;
    /// The process, as `ps` shows it.
    pub const PRPSINFO: u32 = 3;
    /// The auxiliary vector.
    pub const AUXV: u32 = 6;
    /// Segment descriptors of an i386 thread.
    pub const I386_TLS: u32 = 0x200;
    /// All of XSAVE.
    pub const X86_XSTATE: u32 = 0x202;
    /// How XSAVE is laid out.
    pub const X86_XSAVE_LAYOUT: u32 = 0x205;
    /// The signal's `siginfo_t`.
    pub const SIGINFO: u32 = 0x5349_4749;
    /// Mapped files.
    pub const FILE: u32 = 0x4649_4c45;
    /// SSE registers of an i386 thread.
    pub const PRXFPREG: u32 = 0x46e6_2b7f;
}
