//! Why an exec fails: a [`Reason`] says it as data; errno, cause, remedy and the numbered fact of
//! the specification are all computed from it, so they cannot disagree.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use alloc::{format, vec};
use core::fmt;

pub use crate::errno::Errno;
use crate::story::{Link, Story};

/// Where in the exec a decision falls. The order is the order in which the kernel gets there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Stage {
    /// The name itself, before any file is looked at.
    Path,
    /// Walking to the program and opening it.
    Open,
    /// Counting and copying arguments and environment.
    Args,
    /// Asking the formats whose the file is.
    Search,
    /// The rules of `binfmt_misc`.
    Misc,
    /// Opening the interpreter that a rule of `binfmt_misc` names.
    MiscInterp,
    /// The `#!` line.
    Script,
    /// Opening what a `#!` line names.
    ScriptInterp,
    /// The ELF headers.
    Elf,
    /// The program interpreter an ELF file names.
    ElfInterp,
    /// The a.out header.
    Aout,
    /// Credentials, the last thing that can fail with an errno.
    Creds,
    /// The first stack, after the point of no return.
    Stack,
    /// Mapping the program, after the point of no return.
    Map,
    /// Mapping its interpreter, after the point of no return.
    MapInterp,
    /// Carrying the plan out.
    Carry,
}

impl Stage {
    /// Stable name, as in messages and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Stage::Path => "path",
            Stage::Open => "open",
            Stage::Args => "args",
            Stage::Search => "search",
            Stage::Misc => "binfmt_misc",
            Stage::MiscInterp => "misc.interp",
            Stage::Script => "binfmt_script",
            Stage::ScriptInterp => "script.interp",
            Stage::Elf => "binfmt_elf",
            Stage::ElfInterp => "elf.interp",
            Stage::Aout => "binfmt_aout",
            Stage::Creds => "creds",
            Stage::Stack => "stack",
            Stage::Map => "map",
            Stage::MapInterp => "map.interp",
            Stage::Carry => "carry",
        }
    }

    /// Whether this stage lies after the point of no return: a failure there kills.
    #[must_use]
    pub const fn after_point_of_no_return(self) -> bool {
        matches!(self, Stage::Stack | Stage::Map | Stage::MapInterp)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What kind of file stands where a program should (`inode(7)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are those of inode(7)")]
pub enum FileKind {
    Regular,
    Directory,
    Fifo,
    Socket,
    CharDevice,
    BlockDevice,
    Symlink,
    Other,
}

impl FileKind {
    /// The kind with its article, for messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            FileKind::Regular => "a regular file",
            FileKind::Directory => "a directory",
            FileKind::Fifo => "a named pipe",
            FileKind::Socket => "a socket",
            FileKind::CharDevice => "a character device",
            FileKind::BlockDevice => "a block device",
            FileKind::Symlink => "a symbolic link",
            FileKind::Other => "not a regular file",
        }
    }
}

/// The cause of a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields say what the message says; see Reason::why")]
#[non_exhaustive]
pub enum Reason {
    // Path and open.
    EmptyPath,
    NotInPath,
    PathTooLong { len: usize },
    ProcessLimit,
    BadFlags { flags: u32 },
    Walk { errno: Errno },
    SymlinkRefused,
    NotRegular { kind: FileKind },
    NoexecMount,
    NoExecBit { mode: u32 },
    NoPermission { mode: u32, uid: u32, gid: u32 },
    TextBusy,
    Policy { errno: Errno },
    Unreadable,
    Io { errno: Errno },
    // Arguments.
    NulInString { what: &'static str, index: usize },
    TooManyStrings { what: &'static str, count: u64 },
    StringTooLong { what: &'static str, index: usize, len: u64 },
    ArgsTooLong { need: u64, limit: u64, pointers: u64 },
    StackTooSmall { need: u64, limit: u64, which: &'static str },
    // Search.
    NoFormat { head: Vec<u8>, len: u64 },
    TooManyRewrites,
    RewriteAfterKept,
    // Scripts.
    ScriptNoInterpreter,
    ScriptNameUnterminated,
    Inaccessible,
    // ELF before the point of no return.
    NotElf,
    ElfType { e_type: u16 },
    ElfMachine { e_machine: u16, want: u16 },
    NoIa32 { why: &'static str },
    X32,
    ElfPhentsize { e_phentsize: u16, want: u16 },
    ElfPhnum { e_phnum: u16 },
    ElfPhdrs { e_phoff: u64, need: u64, size: u64 },
    InterpSize { p_filesz: u64 },
    InterpOffset { p_offset: u64 },
    InterpOutside { p_offset: u64, p_filesz: u64, size: u64 },
    InterpUnterminated { last: u8 },
    InterpShort { size: u64 },
    InterpBad { cause: Box<Reason> },
    // a.out.
    NotAout,
    NotLibrary { what: &'static str },
    AoutGone { magic: &'static str },
    AoutPages { text: u32, data: u32 },
    // Credentials.
    CapsNotGranted { missing: u64 },
    CapsMalformed,
    Privilege { what: &'static str, id: u32 },
    PrivilegeCaps { missing: u64 },
    // After the point of no return.
    NoLoadSegments,
    TotalSizeZero,
    OffsetIncongruent { p_offset: u64, p_vaddr: u64 },
    OffsetNegative { p_offset: u64 },
    FileszOverMemsz { p_filesz: u64, p_memsz: u64 },
    BeyondTaskSize { what: &'static str, value: u64 },
    Collision { start: u64, end: u64 },
    BelowMmapMin { addr: u64, min: u64 },
    InterpType { e_type: u16 },
    NoAddressSpace { addr: u64, len: u64 },
    Rlimit { which: &'static str, need: u64, limit: u64 },
    Overcommit { need: u64, limit: u64 },
    MapCount { limit: u64 },
    BssBeyondEof { addr: u64 },
    StackGrow { need: u64, limit: u64 },
    StackOverwritten { addr: u64 },
    // Carrying out.
    NotOfThisHost { what: &'static str },
    Host { call: &'static str, errno: Errno },
}

/// Bytes of a file that a failure points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// First byte, from the start of the file.
    pub offset: u64,
    /// How many.
    pub len: u64,
}

/// A reason with its place, before the story is added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The cause.
    pub reason: Reason,
    /// When.
    pub stage: Stage,
    /// Path of the file at fault, as it was named; empty when no file is.
    pub file: Vec<u8>,
    /// The bytes at fault, when there are some: of `file`, but at [`Stage::ScriptInterp`] of the
    /// script whose line names it, the last of [`Failed::chain`].
    pub span: Option<Span>,
}

impl Refusal {
    /// A refusal without a file.
    #[must_use]
    pub const fn new(stage: Stage, reason: Reason) -> Refusal {
        Refusal { reason, stage, file: vec![], span: None }
    }

    /// The same, of this file.
    #[must_use]
    pub fn of(mut self, file: &[u8]) -> Refusal {
        self.file = file.to_vec();
        self
    }

    /// The same, pointing at these bytes.
    #[must_use]
    pub fn at(mut self, offset: u64, len: u64) -> Refusal {
        self.span = Some(Span { offset, len });
        self
    }
}

/// A failed exec: the refusal, and everything that was decided before it.
#[derive(Clone, Debug)]
pub struct ExecError(Box<Failed>);

/// What an [`ExecError`] holds.
#[derive(Clone, Debug)]
pub struct Failed {
    /// Cause and place.
    pub refusal: Refusal,
    /// The files asked so far.
    pub chain: Vec<Link>,
    /// The decisions so far.
    pub story: Story,
}

impl ExecError {
    /// Puts the parts together.
    #[must_use]
    pub fn new(refusal: Refusal, chain: Vec<Link>, story: Story) -> ExecError {
        ExecError(Box::new(Failed { refusal, chain, story }))
    }

    /// A failure of a call made while carrying out, with no story of its own.
    #[must_use]
    pub fn host(call: &'static str, errno: Errno) -> ExecError {
        let refusal = Refusal::new(Stage::Carry, Reason::Host { call, errno });
        ExecError::new(refusal, vec![], Story::default())
    }

    /// What the kernel returns from `execve(2)`, or its internal errno after the point of no
    /// return, where the caller sees a death by `SIGSEGV` instead.
    #[must_use]
    pub fn errno(&self) -> Errno {
        self.0.refusal.reason.errno()
    }
}

impl core::ops::Deref for ExecError {
    type Target = Failed;
    fn deref(&self) -> &Failed {
        &self.0
    }
}

impl From<Refusal> for ExecError {
    fn from(refusal: Refusal) -> ExecError {
        ExecError::new(refusal, vec![], Story::default())
    }
}

impl fmt::Display for ExecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let r = &self.0.refusal;
        if !r.file.is_empty() {
            write!(f, "{}: ", String::from_utf8_lossy(&r.file))?;
        }
        write!(f, "{}: {}", r.reason.errno(), r.why())
    }
}

impl core::error::Error for ExecError {}

/// Names of the capabilities set in a mask, e.g. `cap_net_raw`, by number from 64 up.
#[must_use]
pub fn capability_names(mask: u64) -> String {
    const NAMES: [&str; 41] = [
        "chown",
        "dac_override",
        "dac_read_search",
        "fowner",
        "fsetid",
        "kill",
        "setgid",
        "setuid",
        "setpcap",
        "linux_immutable",
        "net_bind_service",
        "net_broadcast",
        "net_admin",
        "net_raw",
        "ipc_lock",
        "ipc_owner",
        "sys_module",
        "sys_rawio",
        "sys_chroot",
        "sys_ptrace",
        "sys_pacct",
        "sys_admin",
        "sys_boot",
        "sys_nice",
        "sys_resource",
        "sys_time",
        "sys_tty_config",
        "mknod",
        "lease",
        "audit_write",
        "audit_control",
        "setfcap",
        "mac_override",
        "mac_admin",
        "syslog",
        "wake_alarm",
        "block_suspend",
        "audit_read",
        "perfmon",
        "bpf",
        "checkpoint_restore",
    ];
    let mut out = String::new();
    for bit in (0..64).filter(|b| mask >> b & 1 == 1) {
        if !out.is_empty() {
            out.push_str(", ");
        }
        match NAMES.get(bit) {
            Some(name) => out.push_str(&format!("cap_{name}")),
            None => out.push_str(&format!("capability {bit}")),
        }
    }
    out
}
