//! Reads ELF64 headers from bytes. Judges nothing.

use alloc::vec::Vec;

use crate::abi::elf::{MAGIC, PHDR64};
use crate::image::{Header, Segment};

fn u16_at(b: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*b.get(at..)?.first_chunk()?))
}

fn u32_at(b: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*b.get(at..)?.first_chunk()?))
}

fn u64_at(b: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*b.get(at..)?.first_chunk()?))
}

/// The header at the start of `head`; `None` without the magic bytes or with fewer than 64 bytes.
/// Class, byte order and version are not looked at, as in the kernel (ELF-16).
///
/// ```
/// assert!(uexec_core::binfmt::elf::decode::header(b"#!/bin/sh\n").is_none());
/// ```
#[must_use]
pub fn header(head: &[u8]) -> Option<Header> {
    if !head.starts_with(&MAGIC) {
        return None;
    }
    Some(Header {
        e_type: u16_at(head, 16)?,
        e_machine: u16_at(head, 18)?,
        e_entry: u64_at(head, 24)?,
        e_phoff: u64_at(head, 32)?,
        e_phentsize: u16_at(head, 54)?,
        e_phnum: u16_at(head, 56)?,
    })
}

/// The program headers in `table`, which stands at `offset` in its file.
#[must_use]
pub fn segments(table: &[u8], offset: u64) -> Vec<Segment> {
    let size = usize::from(PHDR64);
    table
        .chunks_exact(size)
        .enumerate()
        .filter_map(|(i, b)| segment(b, offset.wrapping_add((i * size) as u64)))
        .collect()
}

fn segment(b: &[u8], at: u64) -> Option<Segment> {
    Some(Segment {
        p_type: u32_at(b, 0)?,
        p_flags: u32_at(b, 4)?,
        p_offset: u64_at(b, 8)?,
        p_vaddr: u64_at(b, 16)?,
        p_filesz: u64_at(b, 32)?,
        p_memsz: u64_at(b, 40)?,
        p_align: u64_at(b, 48)?,
        at,
    })
}
