//! What each [`Reason`] means: its errno, its cause in words, its remedy, the numbered fact.
//!
//! One table a column; every match is total, so a new reason cannot be left without a text.

use alloc::borrow::Cow;
use alloc::format;

use crate::error::{Errno, FileKind, Reason, Refusal, Stage, capability_names};

impl Reason {
    /// What the kernel returns for this cause (internally, after the point of no return).
    #[must_use]
    pub fn errno(&self) -> Errno {
        use Reason::*;
        match self {
            EmptyPath | NotInPath | Inaccessible => Errno::ENOENT,
            PathTooLong { .. } => Errno::ENAMETOOLONG,
            ProcessLimit => Errno::EAGAIN,
            Walk { errno } | Policy { errno } | Io { errno } | Host { errno, .. } => *errno,
            SymlinkRefused | TooManyRewrites => Errno::ELOOP,
            NotRegular { .. }
            | NoexecMount
            | NoExecBit { .. }
            | NoPermission { .. }
            | Unreadable => Errno::EACCES,
            TextBusy => Errno::ETXTBSY,
            TooManyStrings { .. }
            | StringTooLong { .. }
            | ArgsTooLong { .. }
            | StackTooSmall { .. } => Errno::E2BIG,
            NoFormat { .. }
            | RewriteAfterKept
            | ScriptNoInterpreter
            | ScriptNameUnterminated
            | NotElf
            | ElfType { .. }
            | ElfMachine { .. }
            | NoIa32 { .. }
            | X32
            | NotAout
            | NotLibrary { .. }
            | AoutGone { .. }
            | ElfPhentsize { .. }
            | ElfPhnum { .. }
            | ElfPhdrs { .. }
            | InterpSize { .. }
            | InterpUnterminated { .. } => Errno::ENOEXEC,
            InterpOutside { .. } | InterpShort { .. } => Errno::EIO,
            InterpBad { .. } => Errno::ELIBBAD,
            CapsNotGranted { .. } | Privilege { .. } | PrivilegeCaps { .. } => Errno::EPERM,
            BadFlags { .. }
            | NulInString { .. }
            | InterpOffset { .. }
            | CapsMalformed
            | NoLoadSegments
            | TotalSizeZero
            | AoutPages { .. }
            | OffsetIncongruent { .. }
            | OffsetNegative { .. }
            | FileszOverMemsz { .. }
            | BeyondTaskSize { .. }
            | StackOverwritten { .. } => Errno::EINVAL,
            Collision { .. } => Errno::EEXIST,
            BelowMmapMin { .. } | InterpType { .. } => Errno::EPERM,
            NoAddressSpace { .. } | Rlimit { .. } | Overcommit { .. } | MapCount { .. } => {
                Errno::ENOMEM
            }
            BssBeyondEof { .. } | StackGrow { .. } => Errno::EFAULT,
            NotOfThisHost { .. } => Errno::ENOSYS,
        }
    }

    /// The cause, in one sentence without a full stop.
    #[must_use]
    pub fn why(&self) -> Cow<'static, str> {
        use Reason::*;
        Cow::Owned(match self {
            EmptyPath => return "the path is empty".into(),
            NotInPath => return "no directory in PATH has it".into(),
            PathTooLong { len } => format!("the path has {len} bytes; at most 4095 are allowed"),
            ProcessLimit => return "this user has more processes than RLIMIT_NPROC allows".into(),
            BadFlags { flags } => format!("{flags:#x} has a bit that execveat(2) does not know"),
            Walk { errno } => return walk_why(*errno).into(),
            SymlinkRefused => return "the last component is a symbolic link, and following it was forbidden".into(),
            NotRegular { kind } => format!("it is {}, and only regular files are executed", kind.as_str()),
            NoexecMount => return "it lies on a file system mounted noexec".into(),
            NoExecBit { mode } => format!("no execute bit is set in its mode {:04o}; not even root may run it", mode & 0o7777),
            NoPermission { mode, uid, gid } => format!("its mode {:04o}, owner {uid}, group {gid} give this user no execute permission", mode & 0o7777),
            TextBusy => return "somebody has it open for writing".into(),
            Policy { errno } => format!("the system's policy refuses it ({})", errno.name()),
            Unreadable => return "it may be executed but not read, and uexec has to read what it loads".into(),
            Io { errno } => format!("reading it failed: {}", errno.text()),
            NulInString { what, index } => format!("{what} {index} has a NUL byte inside"),
            TooManyStrings { what, count } => format!("{count} {what} strings are more than the kernel counts"),
            StringTooLong { what, index, len } => format!("{what} {index} has {len} bytes; a single string may have 131071"),
            ArgsTooLong { need, limit, pointers } => format!("arguments and environment take {need} bytes and {pointers} for their pointers; the limit is {limit}"),
            StackTooSmall { need, limit, which } => format!("the strings need a stack of {need} bytes; {which} is {limit}"),
            NoFormat { head, len } => no_format_why(head, *len),
            TooManyRewrites => return "more than five interpreters in a row".into(),
            RewriteAfterKept => return "it needs an interpreter itself, but a binfmt_misc rule with the flag O or C has handed a file to it already".into(),
            ScriptNoInterpreter => return "the #! line names no interpreter".into(),
            ScriptNameUnterminated => return "the interpreter's name on the #! line does not end within the first 256 bytes".into(),
            Inaccessible => return "it is named by a close-on-exec descriptor, which its interpreter could not open".into(),
            NotElf => return "the first four bytes are not 7f 45 4c 46".into(),
            ElfType { e_type } => format!("e_type is {e_type} ({}); only ET_EXEC (2) and ET_DYN (3) are programs", elf_type_name(*e_type)),
            ElfMachine { e_machine, want } => format!("e_machine is {e_machine} ({}), not {} ({want})", machine_name(*e_machine), long_machine_name(*want)),
            X32 => return "it is an x32 program, which neither uexec nor a kernel without CONFIG_X86_X32_ABI runs".into(),
            NotAout => return "it has no a.out header".into(),
            NotLibrary { what } => return (*what).into(),
            AoutGone { magic } => format!("it is an a.out program ({magic}), which Linux runs no more since 5.19"),
            AoutPages { text, data } => format!("a QMAGIC program is mapped from its file: {text} bytes of text and {data} of data are not whole pages of text and at least one byte of data"),
            NoIa32 { why } => format!("it is an i386 program, and {why}"),
            ElfPhentsize { e_phentsize, want } => format!("e_phentsize is {e_phentsize}, not {want}"),
            ElfPhnum { e_phnum: 0 } => return "e_phnum is 0: there are no program headers".into(),
            ElfPhnum { e_phnum } => format!("e_phnum is {e_phnum}: the program header table is larger than 65536 bytes"),
            ElfPhdrs { e_phoff, need, size } => format!("the program headers ({need} bytes at {e_phoff:#x}) are not inside the file of {size} bytes"),
            InterpSize { p_filesz } => format!("PT_INTERP has {p_filesz} bytes; from 2 to 4096 are allowed"),
            InterpOffset { p_offset } => format!("PT_INTERP lies at {p_offset:#x}, a negative file offset"),
            InterpOutside { p_offset, p_filesz, size } => format!("PT_INTERP ({p_filesz} bytes at {p_offset:#x}) is not inside the file of {size} bytes"),
            InterpUnterminated { last } => format!("the last byte of PT_INTERP is {last:#04x}, not NUL"),
            InterpShort { size } => format!("the program interpreter has {size} bytes, less than an ELF header"),
            InterpBad { cause } => format!("the program interpreter cannot be used: {}", cause.why()),
            CapsNotGranted { missing } => format!("its file capabilities cannot all be granted; missing: {}", capability_names(*missing)),
            CapsMalformed => return "its security.capability attribute is malformed".into(),
            Privilege { what, id } => format!("it is {what}: the kernel would run it as id {id}, and uexec never grants privilege"),
            PrivilegeCaps { missing } => format!("its file capabilities would be granted by the kernel ({}), and uexec never grants privilege", capability_names(*missing)),
            NoLoadSegments => return "the interpreter has no PT_LOAD segment".into(),
            TotalSizeZero => return "all its PT_LOAD segments together are empty".into(),
            OffsetIncongruent { p_offset, p_vaddr } => format!("p_offset {p_offset:#x} and p_vaddr {p_vaddr:#x} differ within a page"),
            OffsetNegative { p_offset } => format!("p_offset {p_offset:#x} is a negative file offset"),
            FileszOverMemsz { p_filesz, p_memsz } => format!("p_filesz {p_filesz:#x} is larger than p_memsz {p_memsz:#x}"),
            BeyondTaskSize { what, value } => format!("{what} {value:#x} lies beyond the end of user addresses"),
            Collision { start, end } => format!("{start:#x}-{end:#x} is taken already"),
            BelowMmapMin { addr, min } => format!("address {addr:#x} lies below vm.mmap_min_addr ({min:#x})"),
            InterpType { e_type } => format!("the interpreter's e_type is {e_type}, neither ET_EXEC nor ET_DYN"),
            NoAddressSpace { addr, len } => format!("{len:#x} bytes at {addr:#x} do not fit into the address space"),
            Overcommit { need, limit } => format!("it asks for {need} bytes of memory at once, and the system promises at most {limit}"),
            MapCount { limit } => format!("it has more than {limit} mappings"),
            Rlimit { which, need, limit } => format!("{need} bytes are needed; {which} is {limit}"),
            BssBeyondEof { addr } => format!("the bytes to clear at {addr:#x} lie in a page beyond the end of the file"),
            StackGrow { need, limit } => format!("the stack must grow to {need} bytes; {limit} are possible"),
            StackOverwritten { addr } => format!("a segment replaced the argument strings at {addr:#x}"),
            NotOfThisHost { what } => format!("{what}, which this host's kernel cannot run"),
            Host { call, errno } => format!("{call} failed: {}", errno.text()),
        })
    }

    /// What to do about it; empty when there is nothing sensible to say.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        use Reason::*;
        match self {
            EmptyPath => "name a program",
            NotInPath => "check the spelling; a program that is not in PATH needs a slash: ./NAME",
            PathTooLong { .. } => "use a shorter or a relative path",
            ProcessLimit => "raise ulimit -u, or end some of the user's processes",
            BadFlags { .. } => "use AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH, AT_EXECVE_CHECK only",
            Walk { errno } => walk_hint(*errno),
            SymlinkRefused => "name the file the link points to",
            NotRegular { .. } => "name a program file",
            NoexecMount => "copy it to another file system, or remount with exec",
            NoExecBit { .. } => "chmod +x it",
            NoPermission { .. } => "ask its owner for execute permission",
            TextBusy => "wait until the writer has closed it, or find the writer with fuser -v",
            Policy { .. } => "see the audit log of the system's security module",
            Unreadable => "chmod +r it, or let the kernel run it",
            Io { .. } => "",
            NulInString { .. } => "remove the NUL byte",
            TooManyStrings { .. } | ArgsTooLong { .. } => {
                "pass fewer arguments (xargs), clear the environment, or raise ulimit -s"
            }
            StringTooLong { .. } => "pass it through a file or standard input",
            StackTooSmall { .. } => "raise the limit, or pass less",
            NoFormat { head, .. } if head.is_empty() => "the file is empty: was a copy cut off?",
            NoFormat { .. } => "a script needs a first line such as #!/bin/sh",
            TooManyRewrites => "let the #! line name a binary, not another script",
            RewriteAfterKept => "let the rule name a binary, or drop its flags O and C",
            ScriptNoInterpreter => "write a path after #!, e.g. #!/bin/sh",
            ScriptNameUnterminated => "shorten the path after #!, or use #!/usr/bin/env",
            Inaccessible => "clear FD_CLOEXEC on the descriptor, or name the file by a path",
            NotElf | ElfPhentsize { .. } | ElfPhnum { .. } | ElfPhdrs { .. } => {
                "the file is damaged or cut off: build or copy it again"
            }
            ElfType { e_type: 1 } => "this is an object file: link it first",
            ElfType { .. } => "this is not a program",
            NotAout | NotLibrary { .. } => "",
            AoutGone { .. } => "uexec run can run it",
            AoutPages { .. } => "link it with whole pages of text and some data, or as OMAGIC",
            X32 => "use a build for x86-64",
            NoIa32 { .. } => {
                "let the kernel have IA32 emulation (ia32_emulation=1), or use qemu-i386"
            }
            ElfMachine { .. } => {
                "it is for another processor: use a build for x86-64, or qemu-user"
            }
            InterpSize { .. }
            | InterpOffset { .. }
            | InterpOutside { .. }
            | InterpUnterminated { .. } => "the file is damaged: build or copy it again",
            InterpShort { .. } | InterpBad { .. } | InterpType { .. } | NoLoadSegments => {
                "name a working dynamic loader with --interp, or patchelf --set-interpreter"
            }
            CapsNotGranted { .. } => "grant the capability, or setcap -r the file",
            CapsMalformed => "setcap -r the file",
            Privilege { .. } | PrivilegeCaps { .. } => {
                "run it unprivileged with --no-privileges, or let the kernel run it"
            }
            TotalSizeZero
            | OffsetIncongruent { .. }
            | OffsetNegative { .. }
            | FileszOverMemsz { .. }
            | BeyondTaskSize { .. }
            | BssBeyondEof { .. } => "the program header is wrong: build or copy the file again",
            Collision { .. } | StackOverwritten { .. } | NoAddressSpace { .. } => {
                "link the program at another address"
            }
            BelowMmapMin { .. } => "link it higher, or lower vm.mmap_min_addr",
            Rlimit { .. } => "raise the limit with ulimit",
            Overcommit { .. } => "ask for less, add swap, or set vm.overcommit_memory to 1",
            MapCount { .. } => "raise vm.max_map_count",
            StackGrow { .. } => "raise ulimit -s or ulimit -v",
            NotOfThisHost { .. } => "",
            Host { .. } => "",
        }
    }

    /// The numbered fact behind the rule; empty for uexec's own limits.
    #[must_use]
    pub const fn spec(&self) -> &'static str {
        use Reason::*;
        match self {
            EmptyPath => "PIPE-2",
            NotInPath => "ERR-71",
            PathTooLong { .. } => "PIPE-3",
            ProcessLimit => "PIPE-4",
            BadFlags { .. } => "PIPE-5",
            Walk { .. } => "PIPE-6",
            SymlinkRefused => "PIPE-7",
            NotRegular { .. } => "PIPE-8",
            NoexecMount => "PIPE-9",
            NoExecBit { .. } | NoPermission { .. } => "PIPE-10",
            Policy { .. } => "PIPE-11",
            TextBusy => "PIPE-12",
            TooManyStrings { .. } => "PIPE-14",
            StringTooLong { .. } => "PIPE-23",
            ArgsTooLong { .. } => "PIPE-22",
            StackTooSmall { .. } => "PIPE-24",
            Io { .. } => "PIPE-31",
            NoFormat { .. } => "PIPE-33",
            TooManyRewrites => "PIPE-35",
            RewriteAfterKept => "PIPE-36",
            Inaccessible => "PIPE-29",
            ScriptNoInterpreter => "SCR-5",
            ScriptNameUnterminated => "SCR-3",
            NotElf => "ELF-1",
            ElfType { .. } => "ELF-2",
            ElfMachine { .. } | NoIa32 { .. } | X32 => "ELF-3",
            NotAout | AoutGone { .. } => "AOUT-2",
            AoutPages { .. } => "AOUT-8",
            NotLibrary { .. } => "AOUT-16",
            ElfPhentsize { .. } => "ELF-5",
            ElfPhnum { .. } => "ELF-6",
            ElfPhdrs { .. } => "ELF-7",
            InterpSize { .. } => "ELF-8",
            InterpOffset { .. } | InterpOutside { .. } => "ELF-9",
            InterpUnterminated { .. } => "ELF-10",
            InterpShort { .. } => "ELF-12",
            InterpBad { .. } => "ELF-13",
            CapsNotGranted { .. } | CapsMalformed => "PIPE-41",
            Privilege { .. } => "PIPE-39",
            PrivilegeCaps { .. } => "PIPE-41",
            TotalSizeZero => "ELF-36",
            OffsetIncongruent { .. } | OffsetNegative { .. } => "ELF-40",
            FileszOverMemsz { .. } => "ELF-44",
            BeyondTaskSize { .. } => "ELF-44",
            Collision { .. } => "ELF-34",
            BelowMmapMin { .. } => "ELF-47",
            InterpType { .. } | NoLoadSegments => "ELF-53",
            NoAddressSpace { .. } | Rlimit { .. } | Overcommit { .. } | MapCount { .. } => "ELF-42",
            BssBeyondEof { .. } => "ELF-41",
            StackGrow { .. } => "STK-13",
            StackOverwritten { .. } => "ELF-34",
            NulInString { .. } | Unreadable | NotOfThisHost { .. } | Host { .. } => "",
        }
    }
}

impl Refusal {
    /// The cause, knowing where it occurred: as [`Reason::why`], but an interpreter that is not
    /// there is told from a program that is not there.
    #[must_use]
    pub fn why(&self) -> Cow<'static, str> {
        use Reason::*;
        let interp = match self.stage {
            Stage::ScriptInterp => "the interpreter on the #! line",
            Stage::ElfInterp => "the program interpreter (dynamic loader) it names",
            Stage::MiscInterp => "the interpreter that the binfmt_misc rule names",
            _ => return self.reason.why(),
        };
        match &self.reason {
            Walk { errno: Errno::ENOENT } => format!("{interp} does not exist").into(),
            NotRegular { kind: FileKind::Directory } if self.file.is_empty() => {
                let what = match self.stage {
                    Stage::ScriptInterp => "nothing stands after #!",
                    Stage::MiscInterp => "the rule names no interpreter",
                    _ => "the name in PT_INTERP is empty",
                };
                format!("{what}, and an empty name means the working directory").into()
            }
            NotRegular { kind } => format!("{interp} is {}", kind.as_str()).into(),
            NoexecMount => format!("{interp} lies on a file system mounted noexec").into(),
            TextBusy => format!("somebody has {interp} open for writing").into(),
            other => other.why(),
        }
    }

    /// What to do about it, knowing where it occurred: as [`Reason::hint`].
    #[must_use]
    pub fn hint(&self) -> &'static str {
        use Reason::*;
        match (self.stage, &self.reason) {
            (Stage::ScriptInterp, Walk { .. }) if self.file.ends_with(b"\r") => {
                "the line ends with a carriage return, as on Windows: use dos2unix"
            }
            (Stage::ScriptInterp, Walk { errno: Errno::ENOENT }) => {
                "install it, or correct the path after #!; #!/usr/bin/env NAME searches PATH"
            }
            (Stage::ScriptInterp, NotRegular { .. }) => "write a path after #!, e.g. #!/bin/sh",
            (Stage::MiscInterp, Walk { .. } | NotRegular { .. }) => {
                "install the interpreter, or switch the rule off"
            }
            (Stage::ElfInterp, Walk { errno: Errno::ENOENT } | NotRegular { .. }) => {
                "install the C library it was built for, or name a dynamic loader with --interp"
            }
            (_, reason) => reason.hint(),
        }
    }
}

fn walk_why(errno: Errno) -> &'static str {
    match errno {
        Errno::ENOENT => "the file, or a directory on the way to it, does not exist",
        Errno::ENOTDIR => "a component of the path is not a directory",
        Errno::EACCES => "a directory on the way may not be searched",
        Errno::ELOOP => "more than 40 symbolic links on the way",
        Errno::ENAMETOOLONG => "a component of the path is longer than 255 bytes",
        Errno::EBADF => "the directory descriptor is not open",
        Errno::ENFILE | Errno::EMFILE => "no file can be opened any more",
        _ => "the file cannot be opened",
    }
}

const fn walk_hint(errno: Errno) -> &'static str {
    match errno {
        Errno::ENOENT => "check the spelling; ls -l shows where a symbolic link points",
        Errno::ENOTDIR => "check for a slash after a file name",
        Errno::EACCES => "see the permissions on the way with namei -l PATH",
        Errno::ELOOP => "see the links on the way with namei PATH",
        Errno::ENAMETOOLONG => "shorten the name",
        Errno::EBADF => "pass a descriptor that is open",
        Errno::EMFILE => "raise ulimit -n",
        Errno::ENFILE => "raise fs.file-max, or end programs that hold many files",
        _ => "",
    }
}

fn no_format_why(head: &[u8], len: u64) -> alloc::string::String {
    if len == 0 {
        return "the file is empty".into();
    }
    if head.starts_with(b"\xef\xbb\xbf#!") {
        return "a byte order mark (ef bb bf) stands before the #!".into();
    }
    let mut shown = alloc::string::String::new();
    for b in head.iter().take(4) {
        shown.push_str(&format!(" {b:02x}"));
    }
    format!("no format knows a file that begins with{shown}")
}

const fn elf_type_name(e_type: u16) -> &'static str {
    match e_type {
        0 => "none",
        1 => "relocatable object",
        2 => "ET_EXEC",
        3 => "ET_DYN",
        4 => "core dump",
        _ => "unknown",
    }
}

/// The name of an `e_machine` value in running text.
pub(crate) const fn long_machine_name(e_machine: u16) -> &'static str {
    match e_machine {
        62 => "x86-64",
        6 => "i386",
        other => machine_name(other),
    }
}

/// The usual name of an `e_machine` value (`elf.h`); `"unknown"` otherwise.
#[must_use]
pub const fn machine_name(e_machine: u16) -> &'static str {
    match e_machine {
        0 => "none",
        2 => "sparc",
        3 => "i386",
        4 => "m68k",
        8 => "mips",
        15 => "hppa",
        18 => "sparc32plus",
        20 => "ppc",
        21 => "ppc64",
        22 => "s390",
        40 => "arm",
        42 => "sh",
        43 => "sparcv9",
        50 => "ia64",
        62 => "x86_64",
        94 => "xtensa",
        183 => "aarch64",
        189 => "microblaze",
        243 => "riscv",
        247 => "bpf",
        258 => "loongarch",
        0x9026 => "alpha",
        _ => "unknown",
    }
}
