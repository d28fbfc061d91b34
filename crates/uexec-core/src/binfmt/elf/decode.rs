//! Reads ELF headers of either class and byte order from bytes. Judges nothing.

use alloc::vec::Vec;

use crate::abi::elf::MAGIC;
use crate::arch::{Class, Field};
use crate::image::{Header, Segment};

/// How the numbers of a file are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// Their size.
    pub class: Class,
    /// Their byte order.
    pub big_endian: bool,
}

impl Form {
    fn number(self, b: &[u8], (at, len): Field) -> Option<u64> {
        let bytes = b.get(usize::try_from(at).ok()?..)?;
        Some(match (len, self.big_endian) {
            (2, false) => u16::from_le_bytes(*bytes.first_chunk()?).into(),
            (2, true) => u16::from_be_bytes(*bytes.first_chunk()?).into(),
            (4, false) => u32::from_le_bytes(*bytes.first_chunk()?).into(),
            (4, true) => u32::from_be_bytes(*bytes.first_chunk()?).into(),
            (8, false) => u64::from_le_bytes(*bytes.first_chunk()?),
            (8, true) => u64::from_be_bytes(*bytes.first_chunk()?),
            _ => return None,
        })
    }

    fn u16_at(self, b: &[u8], at: Field) -> Option<u16> {
        self.number(b, at).map(|x| x as u16)
    }

    fn u32_at(self, b: &[u8], at: Field) -> Option<u32> {
        self.number(b, at).map(|x| x as u32)
    }
}

/// The header at the start of `head`; `None` without the magic bytes or with fewer bytes than a
/// header of this form has. Class, byte order and version in it are not looked at, as in the
/// kernel (ELF-16).
///
/// ```
/// use uexec_core::arch::X86_64;
/// use uexec_core::binfmt::elf::decode;
/// assert!(decode::header(b"#!/bin/sh\n", decode::Form::of(&X86_64)).is_none());
/// ```
#[must_use]
pub fn header(head: &[u8], form: Form) -> Option<Header> {
    if !head.starts_with(&MAGIC) {
        return None;
    }
    let class = form.class;
    Some(Header {
        e_type: form.u16_at(head, (16, 2))?,
        e_machine: form.u16_at(head, (18, 2))?,
        e_entry: form.number(head, class.e_entry())?,
        e_phoff: form.number(head, class.e_phoff())?,
        e_phentsize: form.u16_at(head, class.e_phentsize())?,
        e_phnum: form.u16_at(head, class.e_phnum())?,
    })
}

impl Form {
    /// That of an architecture's files.
    #[must_use]
    pub const fn of(arch: &crate::arch::Arch) -> Form {
        Form { class: arch.class, big_endian: arch.big_endian }
    }
}

/// The program headers in `table`, which stands at `offset` in its file.
#[must_use]
pub fn segments(table: &[u8], offset: u64, form: Form) -> Vec<Segment> {
    let size = usize::from(form.class.phdr_len());
    table
        .chunks_exact(size)
        .enumerate()
        .filter_map(|(i, b)| segment(b, offset.wrapping_add((i * size) as u64), form))
        .collect()
}

fn segment(b: &[u8], at: u64, form: Form) -> Option<Segment> {
    let class = form.class;
    let word = class.word();
    Some(Segment {
        p_type: form.u32_at(b, (0, 4))?,
        p_flags: form.u32_at(b, class.p_flags())?,
        p_offset: form.number(b, class.p_offset())?,
        p_vaddr: form.number(b, (word * 2, word))?,
        p_filesz: form.number(b, class.p_filesz())?,
        p_memsz: form.number(b, (word * 5, word))?,
        p_align: form.number(b, (if word == 4 { 28 } else { 48 }, word))?,
        at,
    })
}
