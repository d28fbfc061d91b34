//! Puts a core together: headers, notes, and where the memory of which mapping goes (CORE-10 to
//! CORE-16). Copies no memory.

use alloc::vec::Vec;
use core::fmt;

use super::amount::{Filter, Why, amount};
use super::note::{self, FILE_NOTE_LIMIT, Words};
use super::process::{Process, Vma};
use crate::abi::{PAGE, elf, page_up};
use crate::arch::Class;
use crate::mm::Prot;

/// What may be chosen of a core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Which mappings are in it.
    pub filter: Filter,
    /// Most bytes of the file; holes count. What is cut then, is cut from the least telling mappings.
    pub limit: u64,
    /// Segments with less data first: `kernel.core_sort_vma` (6.14).
    pub sort: bool,
    /// Largest FILE note in bytes.
    pub file_note_limit: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            filter: Filter::default(),
            limit: u64::MAX,
            sort: false,
            file_note_limit: FILE_NOTE_LIMIT,
        }
    }
}

/// Why there is no core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The limit is below what headers and notes alone need.
    Limit {
        /// Bytes they need.
        needs: u64,
    },
    /// Offsets do not fit a file of this class.
    TooLarge,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Limit { needs } => {
                write!(f, "the limit is too small: headers and notes alone need {needs} bytes")
            }
            Problem::TooLarge => f.write_str("the memory does not fit an ELF file of 32 bits"),
        }
    }
}

impl core::error::Error for Problem {}

/// One mapping in the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Which of [`Process::vmas`].
    pub vma: usize,
    /// Its address.
    pub start: u64,
    /// Size of the mapping in bytes.
    pub mem_len: u64,
    /// Bytes of it in the file.
    pub file_len: u64,
    /// Where in the file.
    pub offset: u64,
    /// Its permissions.
    pub prot: Prot,
    /// Why so much.
    pub why: Why,
}

/// A core, decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorePlan {
    /// ELF header, program headers and notes: the file up to the first hole.
    pub head: Vec<u8>,
    /// How many of these bytes, at their end, are notes.
    pub notes_len: u64,
    /// The mappings, in the order of the file.
    pub segments: Vec<Segment>,
    /// What stands behind the memory: the section header that holds the real number of program
    /// headers, if there are too many for their field (CORE-16).
    pub tail: Vec<u8>,
    /// Where it stands: the end of the memory.
    pub tail_offset: u64,
}

impl CorePlan {
    /// Size of the file in bytes, holes included.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.tail_offset.saturating_add(self.tail.len() as u64)
    }

    /// A core is never empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }
}

/// Plans the core of `process`.
///
/// # Errors
/// When the limit is below what the headers need, or the file's class cannot express its size.
pub fn plan(process: &Process, options: &Options) -> Result<CorePlan, Problem> {
    let class = process.class;
    let notes = note::notes(process, options.file_note_limit);
    let mut segments: Vec<Segment> = process
        .vmas
        .iter()
        .enumerate()
        .map(|(i, v)| {
            let (file_len, why) = amount(v, options.filter);
            segment(i, v, file_len, why)
        })
        .collect();
    let count = segments.len() as u64 + 1;
    let table = class.ehdr_len() + u64::from(class.phdr_len()) * count;
    let head_len = table + notes.len() as u64;
    let tail_len = if count >= elf_extended() { shdr_len(class) } else { 0 };
    let data = page_up(head_len);
    let needs = data + tail_len;
    let room = options.limit.checked_sub(needs).ok_or(Problem::Limit { needs })?;
    cut(&mut segments, process, room);
    if options.sort {
        segments.sort_by_key(|s| s.file_len);
    }
    let mut offset = data;
    for s in &mut segments {
        s.offset = offset;
        offset = offset.checked_add(s.file_len).ok_or(Problem::TooLarge)?;
    }
    if class == Class::Elf32 && offset > u64::from(u32::MAX) {
        return Err(Problem::TooLarge);
    }
    let mut out = Words::new(class);
    header(&mut out, process.machine, class, count, offset);
    note_header(&mut out, class, table, notes.len() as u64);
    for s in &segments {
        load_header(&mut out, class, s);
    }
    let notes_len = notes.len() as u64;
    out.bytes.extend(notes);
    let tail = if tail_len > 0 { count_section(class, count) } else { Vec::new() };
    Ok(CorePlan { head: out.bytes, notes_len, segments, tail, tail_offset: offset })
}

/// From so many program headers on their number stands elsewhere: `PN_XNUM`.
const fn elf_extended() -> u64 {
    0xffff
}

const fn shdr_len(class: Class) -> u64 {
    match class {
        Class::Elf32 => 40,
        Class::Elf64 => 64,
    }
}

fn segment(vma: usize, v: &Vma, file_len: u64, why: Why) -> Segment {
    Segment { vma, start: v.start, mem_len: v.len(), file_len, offset: 0, prot: v.prot, why }
}

/// Makes the memory fit into `room` bytes: stacks and what is small come first, the rest is cut.
fn cut(segments: &mut [Segment], process: &Process, room: u64) {
    let total = segments.iter().fold(0u64, |sum, s| sum.saturating_add(s.file_len));
    if total <= room {
        return;
    }
    let stacks: Vec<u64> =
        process.threads.iter().filter_map(|t| stack_pointer(t, process)).collect();
    let holds_stack = |s: &Segment| {
        stacks.iter().any(|sp| (s.start..s.start.saturating_add(s.mem_len)).contains(sp))
    };
    let mut order: Vec<&mut Segment> = segments.iter_mut().filter(|s| s.file_len > 0).collect();
    order.sort_by_key(|s| (!holds_stack(s), s.file_len));
    let mut left = room;
    for s in order {
        if s.file_len > left {
            // Whole pages; a stack is wanted from its top, but a segment starts at its bottom.
            s.file_len = left / PAGE * PAGE;
            s.why = Why::Limit;
        }
        left -= s.file_len;
    }
}

/// The stack pointer among a thread's registers.
pub(super) fn stack_pointer(thread: &super::Thread, process: &Process) -> Option<u64> {
    let word = process.class.word() as usize;
    let index = if process.class == Class::Elf64 { 19 } else { 15 };
    let bytes = thread.regs.chunks_exact(word).nth(index)?;
    Some(bytes.iter().rev().fold(0, |sum, b| sum << 8 | u64::from(*b)))
}

fn header(out: &mut Words, machine: u16, class: Class, count: u64, end: u64) {
    let extended = count >= elf_extended();
    out.bytes.extend(elf::MAGIC);
    out.bytes.extend([if class == Class::Elf64 { 2 } else { 1 }, 1, 1]);
    out.bytes.resize(16, 0);
    out.u16(4);
    out.u16(machine);
    out.u32(1);
    out.word(0);
    out.word(class.ehdr_len());
    out.word(if extended { end } else { 0 });
    out.u32(0);
    out.u16(class.ehdr_len() as u16);
    out.u16(class.phdr_len());
    out.u16(if extended { 0xffff } else { count as u16 });
    out.u16(if extended { shdr_len(class) as u16 } else { 0 });
    out.u16(u16::from(extended));
    out.u16(0);
}

/// Type, flags, then offset, addresses and sizes, or the other order in the smaller class.
struct Phdr {
    kind: u32,
    flags: u32,
    offset: u64,
    addr: u64,
    file_len: u64,
    mem_len: u64,
    align: u64,
}

fn phdr(out: &mut Words, class: Class, p: &Phdr) {
    out.u32(p.kind);
    if class == Class::Elf64 {
        out.u32(p.flags);
    }
    out.word(p.offset);
    out.word(p.addr);
    out.word(0);
    out.word(p.file_len);
    out.word(p.mem_len);
    if class == Class::Elf32 {
        out.u32(p.flags);
    }
    out.word(p.align);
}

fn note_header(out: &mut Words, class: Class, offset: u64, len: u64) {
    let p = Phdr { kind: 4, flags: 0, offset, addr: 0, file_len: len, mem_len: 0, align: 4 };
    phdr(out, class, &p);
}

fn load_header(out: &mut Words, class: Class, s: &Segment) {
    let bit = |p: Prot, value: u32| if s.prot.contains(p) { value } else { 0 };
    let flags = bit(Prot::READ, 4) | bit(Prot::WRITE, 2) | bit(Prot::EXEC, 1);
    let p = Phdr {
        kind: 1,
        flags,
        offset: s.offset,
        addr: s.start,
        file_len: s.file_len,
        mem_len: s.mem_len,
        align: PAGE,
    };
    phdr(out, class, &p);
}

/// The section header that only says how many program headers there are (CORE-16).
fn count_section(class: Class, count: u64) -> Vec<u8> {
    let mut out = Words::new(class);
    out.u32(0);
    out.u32(0);
    for size in [0, 0, 0, 1] {
        out.word(size);
    }
    out.u32(0);
    out.u32(count as u32);
    out.word(0);
    out.word(0);
    out.bytes
}
