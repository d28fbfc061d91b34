//! What entries of the auxiliary vector mean, in few words (`getauxval(3)`).

use uexec_core::abi::at;

/// Whether the value is an address of something mapped.
pub(crate) fn is_address(a_type: u64) -> bool {
    matches!(a_type, at::PHDR | at::BASE | at::ENTRY | at::SYSINFO_EHDR | at::RANDOM)
        || matches!(a_type, at::EXECFN | at::PLATFORM)
}

/// The value as a person would write it.
pub(crate) fn value(a_type: u64, value: u64) -> String {
    match a_type {
        at::NULL => "end of the vector".into(),
        at::PAGESZ => format!("pages of {value} bytes"),
        at::CLKTCK => format!("{value} ticks a second"),
        at::PHENT => format!("{value} bytes each"),
        at::PHNUM => format!("{value} headers"),
        at::UID | at::EUID => format!("user {value}"),
        at::GID | at::EGID => format!("group {value}"),
        at::SECURE if value == 0 => "no new privilege".into(),
        at::SECURE => "new privilege".into(),
        at::BASE if value == 0 => "no interpreter".into(),
        at::HWCAP | at::HWCAP2 => "CPU features".into(),
        at::MINSIGSTKSZ => format!("signals need {value}"),
        at::RSEQ_FEATURE_SIZE | at::RSEQ_ALIGN => format!("{value} bytes"),
        at::FLAGS => "none".into(),
        _ => value.to_string(),
    }
}

/// What the entry is for.
pub(crate) fn about(a_type: u64) -> &'static str {
    match a_type {
        at::NULL => "Ends the auxiliary vector.",
        at::SYSINFO_EHDR => "The vdso: system calls that need no kernel, such as clock_gettime.",
        at::MINSIGSTKSZ => "Least size of a stack for signal handlers, with this CPU's registers.",
        at::HWCAP | at::HWCAP2 => "Bits of CPU features.",
        at::PAGESZ => "Size of a page.",
        at::CLKTCK => "Ticks that times(2) counts in.",
        at::PHDR => "The program's own headers in memory; its loader starts reading there.",
        at::PHENT => "Size of one program header.",
        at::PHNUM => "Number of program headers.",
        at::BASE => "Where the interpreter is mapped; 0 if there is none.",
        at::FLAGS => "Flags; unused.",
        at::ENTRY => "The program's first instruction; its loader jumps there when it is done.",
        at::UID | at::EUID | at::GID | at::EGID => "Who the program runs as.",
        at::SECURE => "Whether the exec gave privilege; loaders then ignore LD_PRELOAD and such.",
        at::RANDOM => "16 random bytes, e.g. for the stack protector.",
        at::EXECFN => "The file name that was executed.",
        at::PLATFORM => "Name of the CPU architecture.",
        at::RSEQ_FEATURE_SIZE | at::RSEQ_ALIGN => "Layout of the restartable sequences area.",
        _ => "",
    }
}
