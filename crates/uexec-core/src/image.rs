//! What a format found: the program and its interpreter, decoded and admitted, not yet placed.

use alloc::vec::Vec;

use crate::arch::{Arch, Class};
use crate::binfmt::aout;
use crate::bprm::File;

/// A program ready to be laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The program.
    pub program: Object,
    /// Its program interpreter.
    pub interp: Option<Object>,
    /// Whether the stack is executable, where the program says so (`PT_GNU_STACK`, ELF-19).
    pub stack_exec: Option<bool>,
    /// What it runs on.
    pub arch: &'static Arch,
    /// Its header, if it is an a.out program; the program's own then says little.
    pub aout: Option<aout::Header>,
}

/// One ELF object: what of its headers placing it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The file.
    pub file: File,
    /// Its header.
    pub header: Header,
    /// Its `PT_LOAD` segments, in table order.
    pub loads: Vec<Segment>,
    /// Size of its numbers.
    pub class: Class,
}

/// What of an ELF header matters (`elf(5)`; everything else is not checked, ELF-16).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are those of elf(5)")]
pub struct Header {
    pub e_type: u16,
    pub e_machine: u16,
    pub e_entry: u64,
    pub e_phoff: u64,
    pub e_phentsize: u16,
    pub e_phnum: u16,
}

/// A program header (`elf(5)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are those of elf(5)")]
pub struct Segment {
    pub p_type: u32,
    pub p_flags: u32,
    pub p_offset: u64,
    pub p_vaddr: u64,
    pub p_filesz: u64,
    pub p_memsz: u64,
    pub p_align: u64,
    /// Where in the file this header stands, in bytes.
    pub at: u64,
}

impl Object {
    /// Whether it may be placed anywhere.
    #[must_use]
    pub const fn is_dyn(&self) -> bool {
        self.header.e_type == crate::abi::elf::ET_DYN
    }

    /// Bytes from the lowest page to the highest byte of all segments (ELF-36). Wraps as the
    /// kernel's arithmetic does.
    #[must_use]
    pub fn total_size(&self) -> u64 {
        let low = self.loads.iter().map(|s| crate::abi::page_down(s.p_vaddr)).min();
        let wrap = |x| self.class.wrap(x);
        let high = self.loads.iter().map(|s| wrap(s.p_vaddr.wrapping_add(s.p_memsz))).max();
        match (low, high) {
            (Some(low), Some(high)) => wrap(high.wrapping_sub(low)),
            _ => 0,
        }
    }

    /// Largest power-of-two `p_align`, at least a page; `None` when no segment has one, and
    /// nothing is to be aligned (ELF-37).
    #[must_use]
    pub fn max_align(&self) -> Option<u64> {
        let aligns = self.loads.iter().map(|s| s.p_align).filter(|a| a.is_power_of_two());
        aligns.max().map(|a| a.max(crate::abi::PAGE))
    }
}
