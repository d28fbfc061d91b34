//! What differs between architectures when a program is laid out, as a table. Numbers only; no
//! code of one architecture stands anywhere in this crate.

use alloc::vec::Vec;

use crate::abi::elf::{EM_386, EM_486, EM_X86_64};
use crate::abi::{TASK_SIZE_4LEVEL, page_up, personality};
use crate::world::Sysctl;

/// Word size of an ELF file: which of the two forms its headers have (`elf(5)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// `ELFCLASS32`.
    Elf32,
    /// `ELFCLASS64`.
    Elf64,
}

/// Place of a header field: offset from the header's start and length, in bytes.
pub type Field = (u64, u64);

impl Class {
    /// Bits of a word.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Class::Elf32 => 32,
            Class::Elf64 => 64,
        }
    }

    /// Bytes of a word: of `argc`, of a pointer, of half a pair of the auxiliary vector.
    #[must_use]
    pub const fn word(self) -> u64 {
        match self {
            Class::Elf32 => 4,
            Class::Elf64 => 8,
        }
    }

    /// Size of the ELF header in bytes.
    #[must_use]
    pub const fn ehdr_len(self) -> u64 {
        match self {
            Class::Elf32 => 52,
            Class::Elf64 => 64,
        }
    }

    /// Size of a program header in bytes.
    #[must_use]
    pub const fn phdr_len(self) -> u16 {
        match self {
            Class::Elf32 => 32,
            Class::Elf64 => 56,
        }
    }

    /// Where `e_entry` stands.
    #[must_use]
    pub const fn e_entry(self) -> Field {
        (24, self.word())
    }

    /// Where `e_phoff` stands.
    #[must_use]
    pub const fn e_phoff(self) -> Field {
        (24 + self.word(), self.word())
    }

    /// Where `e_phentsize` stands.
    #[must_use]
    pub const fn e_phentsize(self) -> Field {
        (self.ehdr_len() - 10, 2)
    }

    /// Where `e_phnum` stands.
    #[must_use]
    pub const fn e_phnum(self) -> Field {
        (self.ehdr_len() - 8, 2)
    }

    /// Where `p_flags` stands in a program header.
    #[must_use]
    pub const fn p_flags(self) -> Field {
        match self {
            Class::Elf32 => (24, 4),
            Class::Elf64 => (4, 4),
        }
    }

    /// Where `p_offset` stands in a program header.
    #[must_use]
    pub const fn p_offset(self) -> Field {
        (self.word(), self.word())
    }

    /// Where `p_filesz` stands in a program header.
    #[must_use]
    pub const fn p_filesz(self) -> Field {
        (self.word() * 4, self.word())
    }

    /// A number as a field of this size keeps it: the kernel computes with such fields, so sums
    /// of two wrap there.
    #[must_use]
    pub const fn wrap(self, x: u64) -> u64 {
        match self {
            Class::Elf32 => x & 0xffff_ffff,
            Class::Elf64 => x,
        }
    }
}

pub mod foreign;

/// How many bits of a random number move mappings (STK-32).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bits {
    /// What this setting says.
    Setting(Sysctl),
    /// So many.
    Fixed(u64),
}

/// A kind of task: what its address space and its first stack are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arch {
    /// As `uname -m` names it.
    pub name: &'static str,
    /// Its values of `e_machine`, the usual one first.
    pub machines: &'static [u16],
    /// Its ELF files' class.
    pub class: Class,
    /// Its numbers are stored highest byte first.
    pub big_endian: bool,
    /// End of user addresses.
    pub task_size: u64,
    /// Where the stack ends when nothing is randomised.
    pub stack_top: u64,
    /// Most pages the stack top moves down (a mask).
    pub stack_rnd: u64,
    /// Base of a PIE with an interpreter, not yet rounded (ELF-37).
    pub et_dyn_base: u64,
    /// Bits of the break's random page number (ELF-61).
    pub brk_bits: u64,
    /// Bits of the mappings' and of a PIE's.
    pub mmap_bits: Bits,
    /// What `AT_PLATFORM` points to, without NUL; empty for none.
    pub platform: &'static [u8],
    /// A missing `PT_GNU_STACK` makes everything readable executable (ELF-30).
    pub read_implies_exec: bool,
    /// The vdso has an entry for system calls: `AT_SYSINFO` (STK-21).
    pub sysinfo: bool,
    /// Where mappings start when they are placed upwards (STK-34).
    pub legacy_base: u64,
    /// They are placed upwards where the stack has no limit (not on x86: STK-30).
    pub legacy_unlimited: bool,
    /// Bit 0 of the entry point chooses an instruction set and is no part of the address.
    pub thumb: bool,
    /// What people are told.
    pub told: Told,
}

/// What people are told of an architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// What a program finds at its first instruction.
    pub entry: &'static str,
    /// Where in Linux 6.18 the numbers stand.
    pub source: &'static str,
    /// What of them is not certain; empty for nothing.
    pub approximate: &'static str,
}

/// 64-bit tasks of x86-64 (`arch/x86/include/asm/{elf,processor}.h`, Linux 6.18).
pub const X86_64: Arch = Arch {
    name: "x86_64",
    machines: &[EM_X86_64],
    class: Class::Elf64,
    big_endian: false,
    task_size: TASK_SIZE_4LEVEL,
    stack_top: TASK_SIZE_4LEVEL,
    stack_rnd: 0x3f_ffff,
    et_dyn_base: TASK_SIZE_4LEVEL / 3 * 2,
    brk_bits: 18,
    mmap_bits: Bits::Setting(Sysctl::MmapRndBits),
    platform: b"x86_64",
    read_implies_exec: false,
    sysinfo: false,
    legacy_base: page_up(TASK_SIZE_4LEVEL / 3),
    legacy_unlimited: false,
    thumb: false,
    told: Told {
        entry: "rip is the entry point, rsp the first stack, all other registers are 0",
        source: "arch/x86/include/asm/{page_64_types,processor,elf}.h",
        approximate: "",
    },
};

/// i386 tasks under an x86-64 kernel (the same files, and `fs/compat_binfmt_elf.c`).
pub const I386: Arch = ia32(0xffff_e000);

/// The same with `ADDR_LIMIT_3GB` in their personality.
pub const I386_3GB: Arch = ia32(0xc000_0000);

const fn ia32(task_size: u64) -> Arch {
    Arch {
        name: "i386",
        machines: &[EM_386, EM_486],
        class: Class::Elf32,
        big_endian: false,
        task_size,
        stack_top: task_size,
        stack_rnd: 0x7ff,
        // 16 MiB above where mappings start in the legacy layout.
        et_dyn_base: page_up(task_size / 3) + 0x0100_0000,
        brk_bits: 13,
        mmap_bits: Bits::Setting(Sysctl::MmapRndCompatBits),
        platform: b"i686",
        read_implies_exec: true,
        sysinfo: true,
        legacy_base: page_up(task_size / 3),
        legacy_unlimited: false,
        thumb: false,
        told: Told {
            entry: "eip is the entry point, esp the first stack, all other registers are 0",
            source: "arch/x86/include/asm/{page_64_types,processor,elf}.h",
            approximate: "",
        },
    }
}

impl Arch {
    /// The same task with this `personality(2)`.
    #[must_use]
    pub fn with_personality(&'static self, persona: u32) -> &'static Arch {
        match persona & personality::ADDR_LIMIT_3GB {
            0 => self,
            _ if self.is(&I386) => &I386_3GB,
            _ => self,
        }
    }

    /// Whether large mappings of files are aligned to huge pages (ELF-48).
    #[must_use]
    pub const fn aligns_huge(&self) -> bool {
        matches!(self.class, Class::Elf64)
    }

    /// Bytes of the platform's name on the stack.
    #[must_use]
    pub const fn platform_len(&self) -> u64 {
        match self.platform.len() as u64 {
            0 => 0,
            len => len + 1,
        }
    }

    /// Where the processor starts, given the entry point of a file.
    #[must_use]
    pub const fn pc(&self, entry: u64) -> u64 {
        self.class.wrap(if self.thumb { entry & !1 } else { entry })
    }

    /// Whether both are the same, with whatever personality.
    #[must_use]
    pub fn is(&self, other: &Arch) -> bool {
        self.name == other.name
    }

    /// Whether the host can run such programs itself, if it runs any but its own.
    #[must_use]
    pub fn is_host(&self) -> bool {
        self.is(&X86_64) || self.is(&I386)
    }

    /// Words as they stand in memory.
    #[must_use]
    pub fn bytes_of(&self, words: &[u64]) -> Vec<u8> {
        fn all<const N: usize>(words: &[u64], bytes: impl Fn(u64) -> [u8; N]) -> Vec<u8> {
            let mut all = Vec::with_capacity(words.len() * N);
            words.iter().for_each(|word| all.extend_from_slice(&bytes(*word)));
            all
        }
        match (self.class, self.big_endian) {
            (Class::Elf64, false) => all(words, u64::to_le_bytes),
            (Class::Elf64, true) => all(words, u64::to_be_bytes),
            (Class::Elf32, false) => all(words, |word| (word as u32).to_le_bytes()),
            (Class::Elf32, true) => all(words, |word| (word as u32).to_be_bytes()),
        }
    }
}
