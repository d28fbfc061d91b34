//! Takes any ELF core apart: the kernel's, a debugger's, our own, a damaged one. Believes nothing:
//! every number is checked against the file before anything is read or allocated by it.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use super::process::SIGINFO_LEN;
use super::read_note::{self, CoreThread, FileEntry, Note, PsInfo};
use crate::abi::elf::MAGIC;
use crate::arch::Class;
use crate::mm::Prot;

/// Most program headers that are looked at.
const PHDRS_MAX: u64 = 1 << 20;
/// Most bytes of notes that are looked at.
const NOTES_MAX: u64 = 256 << 20;

/// Where a core's bytes come from.
pub trait Source {
    /// Size of the file in bytes.
    fn len(&self) -> u64;

    /// Whether there is nothing in it.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `buf` from `offset` on; how much there was.
    fn read(&mut self, offset: u64, buf: &mut [u8]) -> usize;
}

impl Source for &[u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn read(&mut self, offset: u64, buf: &mut [u8]) -> usize {
        let rest = usize::try_from(offset).ok().and_then(|o| self.get(o..)).unwrap_or_default();
        let mut copied = 0;
        for (to, from) in buf.iter_mut().zip(rest) {
            *to = *from;
            copied += 1;
        }
        copied
    }
}

/// Why a file is no core that can be read at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// No ELF file.
    NotElf,
    /// An ELF file, but of another type (`e_type`).
    NotCore(u16),
    /// It ends inside its own headers.
    Cut,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::NotElf => f.write_str("not an ELF file"),
            Damage::NotCore(t) => write!(f, "an ELF file, but no core dump (type {t})"),
            Damage::Cut => f.write_str("the file ends inside its headers"),
        }
    }
}

impl core::error::Error for Damage {}

/// A piece of memory in a core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Its address.
    pub start: u64,
    /// Its size in memory.
    pub mem_len: u64,
    /// Where its bytes are in the file.
    pub offset: u64,
    /// How many there are according to its header.
    pub file_len: u64,
    /// How many of them the file really has.
    pub present: u64,
    /// Permissions.
    pub prot: Prot,
}

/// A core, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Core {
    /// Word size.
    pub class: Class,
    /// Byte order.
    pub big_endian: bool,
    /// `e_machine`.
    pub machine: u16,
    /// Memory, in the file's order.
    pub loads: Vec<Load>,
    /// Every note.
    pub notes: Vec<Note>,
    /// The threads; the first is the one that got the signal.
    pub threads: Vec<CoreThread>,
    /// The process.
    pub psinfo: Option<PsInfo>,
    /// The signal's `siginfo_t`.
    pub siginfo: Option<[u8; SIGINFO_LEN]>,
    /// Type and value of every entry of the auxiliary vector.
    pub auxv: Vec<(u64, u64)>,
    /// Mapped files.
    pub files: Vec<FileEntry>,
    /// What is not right with it, in words.
    pub complaints: Vec<&'static str>,
}

/// How numbers of the file are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    pub(super) class: Class,
    pub(super) big_endian: bool,
}

impl Form {
    /// The number of `len` bytes at `at`.
    pub(super) fn number(self, bytes: &[u8], at: usize, len: usize) -> Option<u64> {
        let field = bytes.get(at..at.checked_add(len)?)?;
        let add = |sum: u64, b: &u8| sum << 8 | u64::from(*b);
        Some(match self.big_endian {
            true => field.iter().fold(0, add),
            false => field.iter().rev().fold(0, add),
        })
    }

    /// A word of the class.
    pub(super) fn word(self, bytes: &[u8], at: usize) -> Option<u64> {
        self.number(bytes, at, self.word_len())
    }

    pub(super) const fn word_len(self) -> usize {
        self.class.word() as usize
    }
}

/// All of a part of the file, or what the file has of it.
fn part(source: &mut dyn Source, offset: u64, len: u64) -> Vec<u8> {
    let len = len.min(source.len().saturating_sub(offset));
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    let got = source.read(offset, &mut bytes);
    bytes.truncate(got);
    bytes
}

impl Core {
    /// Reads a core.
    ///
    /// # Errors
    /// When it is none, or ends before its program headers do. All else that is wrong with it is
    /// among its [`complaints`](Core::complaints).
    ///
    /// ```
    /// use uexec_core::coredump::{Core, Damage};
    /// assert_eq!(Core::read(&mut &b"#!/bin/sh"[..]), Err(Damage::NotElf));
    /// ```
    pub fn read(source: &mut dyn Source) -> Result<Core, Damage> {
        let head = part(source, 0, 64);
        if !head.starts_with(&MAGIC) {
            return Err(Damage::NotElf);
        }
        let class = match head.get(4) {
            Some(1) => Class::Elf32,
            Some(2) => Class::Elf64,
            _ => return Err(Damage::NotElf),
        };
        let form = Form { class, big_endian: head.get(5) == Some(&2) };
        let half = |at: usize| form.number(&head, at, 2).map(|x| x as u16).ok_or(Damage::Cut);
        let e_type = half(16)?;
        if e_type != 4 {
            return Err(Damage::NotCore(e_type));
        }
        let mut core = Core {
            class,
            big_endian: form.big_endian,
            machine: half(18)?,
            loads: Vec::new(),
            notes: Vec::new(),
            threads: Vec::new(),
            psinfo: None,
            siginfo: None,
            auxv: Vec::new(),
            files: Vec::new(),
            complaints: Vec::new(),
        };
        let word = form.word_len();
        let phoff = form.word(&head, 24 + word).ok_or(Damage::Cut)?;
        let shoff = form.word(&head, 24 + word * 2).ok_or(Damage::Cut)?;
        let behind = class.ehdr_len() as usize;
        let size = half(behind - 10)?;
        let mut count = u64::from(half(behind - 8)?);
        if count == 0xffff {
            match real_count(source, form, shoff) {
                Some(real) => count = real,
                None => core.complain("the number of program headers is cut off"),
            }
        }
        if size != class.phdr_len() {
            return Err(Damage::Cut);
        }
        if count > PHDRS_MAX {
            core.complain("too many program headers: only the first million is shown");
            count = PHDRS_MAX;
        }
        let table = part(source, phoff, count * u64::from(size));
        if (table.len() as u64) < count * u64::from(size) {
            core.complain("the file ends inside its program headers");
        }
        if table.is_empty() && count > 0 {
            return Err(Damage::Cut);
        }
        let mut budget = NOTES_MAX;
        for p in table.chunks_exact(usize::from(size)) {
            core.segment(source, form, p, &mut budget);
        }
        read_note::understand(&mut core, form);
        Ok(core)
    }

    pub(super) fn complain(&mut self, what: &'static str) {
        if !self.complaints.contains(&what) {
            self.complaints.push(what);
        }
    }

    fn segment(&mut self, source: &mut dyn Source, form: Form, p: &[u8], budget: &mut u64) {
        let word = form.word_len();
        let (flags_at, rest) = if word == 8 { (4, 8) } else { (24, 4) };
        let at = |n: usize| form.word(p, rest + n * word).unwrap_or(0);
        let (offset, start, file_len, mem_len) = (at(0), at(1), at(3), at(4));
        let flags = form.number(p, flags_at, 4).unwrap_or(0);
        let there = source.len().saturating_sub(offset).min(file_len);
        match form.number(p, 0, 4) {
            Some(1) => {
                if there < file_len {
                    self.complain("memory is missing: the file was cut");
                }
                let mut prot = Prot::empty();
                for (bit, p) in [(4, Prot::READ), (2, Prot::WRITE), (1, Prot::EXEC)] {
                    prot.set(p, flags & bit != 0);
                }
                self.loads.push(Load { start, mem_len, offset, file_len, present: there, prot });
            }
            Some(4) => {
                if there < file_len || file_len > *budget {
                    self.complain("notes are missing: the file was cut, or they are too long");
                }
                let take = there.min(*budget);
                *budget -= take;
                let bytes = part(source, offset, take);
                if !read_note::split(&bytes, form, &mut self.notes) {
                    self.complain("a note is damaged");
                }
            }
            _ => {}
        }
    }

    /// Bytes of memory at an address; how much of `buf` could be filled.
    pub fn memory(&self, source: &mut dyn Source, addr: u64, buf: &mut [u8]) -> usize {
        let holds = |l: &&Load| addr.checked_sub(l.start).is_some_and(|d| d < l.present);
        let Some(load) = self.loads.iter().find(holds) else { return 0 };
        let into = addr - load.start;
        let len = usize::try_from(load.present - into).unwrap_or(usize::MAX).min(buf.len());
        let Some(to) = buf.get_mut(..len) else { return 0 };
        source.read(load.offset.saturating_add(into), to)
    }
}

/// The number of program headers when it does not fit its field (CORE-16).
fn real_count(source: &mut dyn Source, form: Form, shoff: u64) -> Option<u64> {
    let at = if form.class == Class::Elf64 { 44 } else { 28 };
    let section = part(source, shoff, 64);
    (shoff > 0).then(|| form.number(&section, at, 4)).flatten()
}
