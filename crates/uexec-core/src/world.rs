//! The only questions the core asks outside, and the facts it is told beforehand.
//!
//! This room defines questions; it never answers one. A host answers them from a running Linux,
//! a test from memory, an emulator from its guest.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use crate::abi::{self, PAGE};
use crate::error::{Errno, FileKind};
use crate::mm::Prot;

/// A file the [`World`] has opened; meaningful only to that world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub u32);

/// Where a relative path starts (`openat(2)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum At {
    /// The working directory: `AT_FDCWD`.
    #[default]
    Cwd,
    /// A descriptor of the caller; the file itself when the path is empty.
    Fd(i32),
}

/// What `fstat(2)` says of an open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stat {
    /// The file's type.
    pub kind: FileKind,
    /// Permission bits with set-user-ID and set-group-ID (`07777`).
    pub mode: u32,
    /// Owner, as seen in the caller's user namespace.
    pub uid: u32,
    /// Group, likewise.
    pub gid: u32,
    /// Size in bytes.
    pub size: u64,
}

/// Why a regular file may not be executed. The kernel asks in this order (PIPE-9 to PIPE-12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Denied {
    /// Its mount or file system forbids execution.
    NoexecMount,
    /// Permission bits or an access list.
    NoPermission,
    /// Open for writing.
    TextBusy,
    /// A security module, with its errno.
    Policy(Errno),
}

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// To be the program: the one that was named, or the interpreter of a script. The security
    /// modules are asked about it as about an exec.
    Program,
    /// To be mapped beside a program, as an ELF interpreter is: permission, mount and writers
    /// count; the security modules are asked when it is mapped.
    Loader,
}

/// What is asked of the mount a file lies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Mount {
    /// Set-user-ID bits and file capabilities are ignored here: mounted `nosuid`, or not a mount
    /// of the caller's namespaces (PIPE-38).
    pub nosuid: bool,
    /// Its file system aligns large mappings to 2 MiB (ELF-48).
    pub huge_aligned: bool,
}

/// Kernel settings below `/proc/sys` that decisions depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sysctl {
    /// `kernel.randomize_va_space`: 0, 1 or 2.
    RandomizeVaSpace,
    /// `vm.mmap_rnd_bits`.
    MmapRndBits,
    /// `vm.mmap_rnd_compat_bits`.
    MmapRndCompatBits,
    /// `vm.mmap_min_addr`, in bytes.
    MmapMinAddr,
    /// `vm.legacy_va_layout`.
    LegacyVaLayout,
    /// `fs.suid_dumpable`.
    SuidDumpable,
    /// `vm.max_map_count`; only asked for programs with hundreds of mappings.
    MaxMapCount,
}

/// The questions. Every answer may differ from call to call; the core asks each at most once per
/// decision and keeps what it needs.
pub trait World {
    /// Walks to `path` and opens it for execution, without looking at what it finds.
    ///
    /// # Errors
    /// Those of path resolution: PIPE-6, and `ELOOP` for a final symbolic link when not
    /// `follow` (PIPE-7).
    fn open(&mut self, at: At, path: &[u8], follow: bool) -> Result<FileId, Errno>;

    /// Type, mode, owner and size.
    ///
    /// # Errors
    /// Those of `fstat(2)`.
    fn stat(&mut self, file: FileId) -> Result<Stat, Errno>;

    /// Whether the system lets the caller execute this regular file.
    ///
    /// # Errors
    /// The first rule that forbids it.
    fn check_exec(&mut self, file: FileId, role: Role) -> Result<(), Denied>;

    /// Reads at an offset; fewer bytes than asked for means end of file.
    ///
    /// # Errors
    /// `EACCES` when the file may be executed but not read; those of `pread(2)`.
    fn read_at(&mut self, file: FileId, offset: u64, buf: &mut [u8]) -> Result<usize, Errno>;

    /// The raw `security.capability` attribute.
    ///
    /// # Errors
    /// Those of `getxattr(2)` other than "there is none".
    fn file_caps(&mut self, file: FileId) -> Result<Option<Vec<u8>>, Errno>;

    /// About the mount the file lies on.
    fn mount(&mut self, file: FileId) -> Mount;

    /// A kernel setting.
    fn sysctl(&mut self, which: Sysctl) -> u64;

    /// Most bytes of private writable memory that one request may ask for
    /// (`vm.overcommit_memory`); only asked when a program wants a lot.
    fn commit_limit(&mut self) -> u64 {
        u64::MAX
    }

    /// Name of the directory entry the file was reached by; only asked for execs by descriptor
    /// (PIPE-30).
    fn dentry_name(&mut self, _file: FileId) -> Option<Vec<u8>> {
        None
    }

    /// The lowest descriptor number that is free when close-on-exec descriptors have been closed;
    /// only asked when a file is kept for an interpreter (MISC-26).
    fn free_fd(&mut self) -> u32 {
        3
    }

    /// The files opened so far stay open when others are [forgotten](World::forget_files).
    fn keep_files(&mut self) {}

    /// The exec that files were opened for has failed or is done with: none of them is asked about
    /// again, and their ids mean nothing any more.
    fn forget_files(&mut self) {}

    /// The caller's capability bounding set and ambient set.
    fn cap_sets(&mut self) -> (u64, u64);

    /// What the host knows of i386 programs; only asked for such a program, any number of times.
    ///
    /// # Errors
    /// Why it cannot run them, as the end of a sentence: the kernel says `ENOEXEC` (ELF-3).
    fn ia32(&mut self) -> Result<Ia32, &'static str> {
        Err("nothing is known of this world's IA32 emulation")
    }

    /// What is known beforehand.
    fn facts(&self) -> &Facts;
}

/// Resource limits of the caller, soft values in bytes (`getrlimit(2)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `RLIMIT_STACK`.
    pub stack: u64,
    /// `RLIMIT_DATA`; the hard value where the soft one is 0, as that is what the kernel then asks.
    pub data: u64,
    /// `RLIMIT_AS`.
    pub address_space: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { stack: abi::STK_LIM, data: abi::RLIM_INFINITY, address_space: abi::RLIM_INFINITY }
    }
}

/// Credentials of the caller, as seen in its user namespace (`credentials(7)`,
/// `capabilities(7)`). Bounding and ambient sets are asked of the [`World`] when they matter.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names are those of credentials(7)")]
pub struct Creds {
    pub uid: u32,
    pub euid: u32,
    pub suid: u32,
    pub fsuid: u32,
    pub gid: u32,
    pub egid: u32,
    pub sgid: u32,
    pub fsgid: u32,
    pub groups: Vec<u32>,
    pub inheritable: u64,
    pub permitted: u64,
    pub effective: u64,
    pub securebits: u32,
    pub no_new_privs: bool,
    /// Some tracer is attached that may not follow into other privileges.
    pub traced: bool,
    /// Working directory, root and umask are shared with another process.
    pub shares_fs: bool,
    /// The kernel has just applied the rules of an exec to them, of a file without privileges:
    /// for another such file they would come out the same, and need not be asked for in full.
    pub settled: bool,
}

/// One mapping of the block that holds the vdso, low to high.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VdsoPart {
    /// As in `/proc/PID/maps`: `[vvar]`, `[vvar_vclock]`, `[vdso]`.
    pub name: Cow<'static, str>,
    /// Size in bytes.
    pub len: u64,
    /// Its permissions.
    pub prot: Prot,
}

/// What a host that runs i386 programs knows of them.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Ia32 {
    /// Their vdso block; empty where they get none (`abi.vsyscall32` is 0).
    pub vdso: Vec<VdsoPart>,
    /// `AT_SYSINFO`, as an offset from the start of the block's last part.
    pub sysinfo: u64,
    /// As [`Facts::mmap_base`], for such a program.
    pub mmap_base: Option<u64>,
}

impl Ia32 {
    /// Those of a plain 6.18 kernel, for tests and examples.
    #[must_use]
    pub fn example() -> Ia32 {
        Ia32 { vdso: Facts::example().vdso, sysinfo: 0x5e0, mmap_base: None }
    }
}

/// The draws of address space randomisation, all independent (STK-4, STK-9, STK-32, STK-33,
/// ELF-61). The core only takes them modulo what the kernel's formulas ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Entropy {
    /// Pages the stack top moves down.
    pub stack_top: u64,
    /// Bytes it moves down below that.
    pub stack_top_bytes: u64,
    /// Bytes between the strings and the tables.
    pub stack_gap: u64,
    /// Pages `mmap_base` moves down.
    pub mmap: u64,
    /// Pages a PIE moves up.
    pub pie: u64,
    /// Pages the break moves up.
    pub brk: u64,
    /// What `AT_RANDOM` points to.
    pub at_random: [u8; 16],
}

/// What is known of kernel, processor and caller before the exec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Kernel version, major and minor.
    pub kernel: (u16, u16),
    /// End of user addresses.
    pub task_size: u64,
    /// Resource limits.
    pub limits: Limits,
    /// `personality(2)` of the caller.
    pub personality: u32,
    /// Credentials.
    pub creds: Creds,
    /// `AT_HWCAP`.
    pub hwcap: u64,
    /// `AT_HWCAP2`, where the kernel has it.
    pub hwcap2: Option<u64>,
    /// `AT_MINSIGSTKSZ`, where the kernel has it.
    pub minsigstksz: Option<u64>,
    /// `AT_RSEQ_FEATURE_SIZE` and `AT_RSEQ_ALIGN`, where the kernel has them.
    pub rseq: Option<(u64, u64)>,
    /// `AT_CLKTCK`.
    pub clktck: u64,
    /// The vdso block; empty where the kernel has none.
    pub vdso: Vec<VdsoPart>,
    /// Where mappings of this process really end, when that was decided by the kernel and cannot
    /// be changed; `None` to use the kernel's formula.
    pub mmap_base: Option<u64>,
    /// Mappings end there with the vdso, which is there already. An interpreter may lie above it, so
    /// that the vdso is where it would be below it without being moved, if addresses are random.
    pub vdso_stays: bool,
    /// End of the stack the kernel has made for this process, where the program's can be, too;
    /// `None` to draw one.
    pub stack_end: Option<u64>,
    /// The draws.
    pub entropy: Entropy,
    /// The user is over `RLIMIT_NPROC` since a `setuid(2)` (PIPE-4).
    pub nproc_exceeded: bool,
}

impl Facts {
    /// Facts of a plain 6.18 kernel and an unlimited root, for tests and examples.
    #[must_use]
    pub fn example() -> Facts {
        let part = |name: &'static str, pages: u64, prot| VdsoPart {
            name: Cow::Borrowed(name),
            len: pages * PAGE,
            prot,
        };
        Facts {
            kernel: (6, 18),
            task_size: abi::TASK_SIZE_4LEVEL,
            limits: Limits::default(),
            personality: abi::personality::ADDR_NO_RANDOMIZE,
            creds: Creds { permitted: (1 << 41) - 1, effective: (1 << 41) - 1, ..Creds::default() },
            hwcap: 0x178b_fbff,
            hwcap2: Some(2),
            minsigstksz: Some(0xd30),
            rseq: Some((28, 32)),
            clktck: 100,
            vdso: alloc::vec![
                part("[vvar]", 4, Prot::READ),
                part("[vvar_vclock]", 2, Prot::READ),
                part("[vdso]", 2, Prot::READ | Prot::EXEC),
            ],
            mmap_base: None,
            vdso_stays: false,
            stack_end: None,
            entropy: Entropy::default(),
            nproc_exceeded: false,
        }
    }

    /// Whether the kernel is this version or newer.
    #[must_use]
    pub fn since(&self, major: u16, minor: u16) -> bool {
        self.kernel >= (major, minor)
    }
}
