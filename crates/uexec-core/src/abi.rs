//! Numbers of the Linux/x86-64 ABI that decisions rest on, each with its source.
//!
//! This room only names numbers; it never computes with them.

/// Size of a page in bytes on x86-64 (`getconf PAGESIZE`; x86 has no other base page).
pub const PAGE: u64 = 4096;

/// End of user addresses of a 64-bit task with 4-level paging: 2^47 - `PAGE`
/// (`arch/x86/include/asm/page_64_types.h`, Linux 6.18).
pub const TASK_SIZE_4LEVEL: u64 = (1 << 47) - PAGE;

/// Bytes of a file every format gets to see: `BINPRM_BUF_SIZE`
/// (`include/uapi/linux/binfmts.h`; 128 until Linux 5.0).
pub const BINPRM_BUF_SIZE: usize = 256;

/// Longest single argument or environment string, NUL included: `MAX_ARG_STRLEN`
/// (`execve(2)`, "Limits on size of arguments and environment").
pub const MAX_ARG_STRLEN: u64 = 32 * PAGE;

/// Most entries of argv or envp: `MAX_ARG_STRINGS` (`include/uapi/linux/binfmts.h`).
pub const MAX_ARG_STRINGS: u64 = 0x7fff_ffff;

/// The floor under the argument limit: `ARG_MAX` of `include/uapi/linux/limits.h`.
pub const ARG_MAX: u64 = 131_072;

/// Three quarters of the default 8 MiB stack: no argument list is larger (`fs/exec.c`, 6.18).
pub const ARG_CEILING: u64 = 6 << 20;

/// Longest path, NUL included: `PATH_MAX` (`path_resolution(7)`).
pub const PATH_MAX: usize = 4096;

/// Searches of the registry before `ELOOP`: five rewrites succeed, the sixth fails
/// (`fs/exec.c`, 6.18).
pub const MAX_SEARCHES: u32 = 6;

/// Bytes of a task's name without the NUL: `TASK_COMM_LEN - 1` (`PR_SET_NAME(2const)`).
pub const COMM_LEN: usize = 15;

/// Stack soft limit a privileged exec is cut down to, and the kernel's default: `_STK_LIM`.
pub const STK_LIM: u64 = 8 << 20;

/// `RLIM_INFINITY` (`getrlimit(2)`).
pub const RLIM_INFINITY: u64 = u64::MAX;

/// Room the kernel gives the first stack beyond its contents, in bytes
/// (`setup_arg_pages`, `fs/exec.c`, 6.18).
pub const STACK_EXPAND: u64 = 131_072;

/// Bytes kept free below a mapping that grows down: 256 pages (`stack_guard_gap`, `mm/mmap.c`).
pub const STACK_GUARD_GAP: u64 = 256 * PAGE;

/// Below this no search and no hint ends, whatever `vm.mmap_min_addr` says: the default of
/// `CONFIG_LSM_MMAP_MIN_ADDR` (`security/Kconfig`, 6.18), which nothing shows to user space.
pub const LSM_MMAP_MIN_ADDR: u64 = 65_536;

/// A huge page of x86-64 in bytes, the alignment some file systems ask for (Linux 5.19).
pub const PMD_SIZE: u64 = 2 << 20;

/// Names in `/proc/PID/ns` (`namespaces(7)`; those of time since Linux 5.6).
pub const NAMESPACES: [&str; 10] = [
    "cgroup",
    "ipc",
    "mnt",
    "net",
    "pid",
    "pid_for_children",
    "time",
    "time_for_children",
    "user",
    "uts",
];

/// Flags of `personality(2)` that exec looks at.
pub mod personality {
    /// No address is randomised (`setarch -R`).
    pub const ADDR_NO_RANDOMIZE: u32 = 0x004_0000;
    /// Page 0 is mapped.
    pub const MMAP_PAGE_ZERO: u32 = 0x010_0000;
    /// Old bottom-up layout of mappings.
    pub const ADDR_COMPAT_LAYOUT: u32 = 0x020_0000;
    /// Readable implies executable.
    pub const READ_IMPLIES_EXEC: u32 = 0x040_0000;
    /// Addresses of an i386 program end at 3 GiB.
    pub const ADDR_LIMIT_3GB: u32 = 0x800_0000;
    /// What a privileged exec clears.
    pub const PER_CLEAR_ON_SETID: u32 =
        ADDR_NO_RANDOMIZE | MMAP_PAGE_ZERO | ADDR_COMPAT_LAYOUT | READ_IMPLIES_EXEC;
}

/// `elf(5)` numbers.
pub mod elf {
    /// The four magic bytes.
    pub const MAGIC: [u8; 4] = *b"\x7fELF";
    /// `e_type` of a program at a fixed address.
    pub const ET_EXEC: u16 = 2;
    /// `e_type` of a program or library at any address.
    pub const ET_DYN: u16 = 3;
    /// `e_machine` of x86-64.
    pub const EM_X86_64: u16 = 62;
    /// `e_machine` of i386.
    pub const EM_386: u16 = 3;
    /// Another `e_machine` that is taken for i386.
    pub const EM_486: u16 = 6;
    /// Segment to be mapped.
    pub const PT_LOAD: u32 = 1;
    /// Path of the program interpreter.
    pub const PT_INTERP: u32 = 3;
    /// Permissions of the stack.
    pub const PT_GNU_STACK: u32 = 0x6474_e551;
    /// `p_flags`: executable.
    pub const PF_X: u32 = 1;
    /// `p_flags`: writable.
    pub const PF_W: u32 = 2;
    /// `p_flags`: readable.
    pub const PF_R: u32 = 4;
    /// Largest program header table in bytes (`fs/binfmt_elf.c`, 6.18; 4096 until 6.14).
    pub const PHDRS_MAX: u64 = 65_536;
    /// Largest `PT_INTERP` in bytes (`PATH_MAX`).
    pub const INTERP_MAX: u64 = 4096;
}

/// `getauxval(3)` types.
pub mod at {
    #![allow(missing_docs, reason = "the names are those of getauxval(3)")]
    pub const NULL: u64 = 0;
    pub const EXECFD: u64 = 2;
    pub const PHDR: u64 = 3;
    pub const PHENT: u64 = 4;
    pub const PHNUM: u64 = 5;
    pub const PAGESZ: u64 = 6;
    pub const BASE: u64 = 7;
    pub const FLAGS: u64 = 8;
    pub const ENTRY: u64 = 9;
    pub const UID: u64 = 11;
    pub const EUID: u64 = 12;
    pub const GID: u64 = 13;
    pub const EGID: u64 = 14;
    pub const PLATFORM: u64 = 15;
    pub const HWCAP: u64 = 16;
    pub const CLKTCK: u64 = 17;
    pub const SECURE: u64 = 23;
    pub const RANDOM: u64 = 25;
    pub const HWCAP2: u64 = 26;
    pub const RSEQ_FEATURE_SIZE: u64 = 27;
    pub const RSEQ_ALIGN: u64 = 28;
    pub const EXECFN: u64 = 31;
    pub const SYSINFO: u64 = 32;
    pub const SYSINFO_EHDR: u64 = 33;
    pub const MINSIGSTKSZ: u64 = 51;
}

/// Rounds down to a page.
#[must_use]
pub const fn page_down(x: u64) -> u64 {
    x & !(PAGE - 1)
}

/// Rounds up to a page; wraps past the top as the kernel's arithmetic does.
#[must_use]
pub const fn page_up(x: u64) -> u64 {
    page_down(x.wrapping_add(PAGE - 1))
}
