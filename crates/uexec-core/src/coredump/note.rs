//! The notes of a core, byte for byte as the kernel writes them (CORE-20 to CORE-34). Encodes only.

use alloc::vec::Vec;

use super::nt;
use super::process::{Process, RegSet, SIGINFO_LEN, Thread, Time, Vma};
use crate::abi::PAGE;
use crate::arch::Class;

/// Largest FILE note in bytes unless told otherwise: `kernel.core_file_note_size_limit` (6.10; fixed
/// before).
pub const FILE_NOTE_LIMIT: u64 = 4 << 20;

/// Writes numbers in the target's sizes.
pub(super) struct Words {
    pub(super) bytes: Vec<u8>,
    class: Class,
}

impl Words {
    pub(super) const fn new(class: Class) -> Words {
        Words { bytes: Vec::new(), class }
    }

    pub(super) fn u16(&mut self, x: u16) {
        self.bytes.extend_from_slice(&x.to_le_bytes());
    }

    pub(super) fn u32(&mut self, x: u32) {
        self.bytes.extend_from_slice(&x.to_le_bytes());
    }

    fn i32(&mut self, x: i32) {
        self.bytes.extend_from_slice(&x.to_le_bytes());
    }

    /// A number of the class's word size; higher bits are lost in the smaller one.
    pub(super) fn word(&mut self, x: u64) {
        match self.class {
            Class::Elf32 => self.u32(x as u32),
            Class::Elf64 => self.bytes.extend_from_slice(&x.to_le_bytes()),
        }
    }

    pub(super) fn pad_to(&mut self, align: usize) {
        let len = self.bytes.len().next_multiple_of(align);
        self.bytes.resize(len, 0);
    }

    fn time(&mut self, time: Time) {
        self.word(time.secs as u64);
        self.word(time.micros as u64);
    }

    /// Text in a field of fixed size.
    fn field(&mut self, text: &[u8], len: usize) {
        let end = self.bytes.len() + len;
        self.bytes.extend(text.iter().take(len));
        self.bytes.resize(end, 0);
    }

    fn note(&mut self, kind: u32, descriptor: &[u8]) {
        let name: &[u8] = if is_core(kind) { b"CORE\0" } else { b"LINUX\0" };
        self.u32(name.len() as u32);
        self.u32(descriptor.len() as u32);
        self.u32(kind);
        self.bytes.extend_from_slice(name);
        self.pad_to(4);
        self.bytes.extend_from_slice(descriptor);
        self.pad_to(4);
    }
}

const fn is_core(kind: u32) -> bool {
    matches!(kind, nt::PRSTATUS | nt::PRFPREG | nt::PRPSINFO | nt::AUXV | nt::SIGINFO | nt::FILE)
}

/// All notes of a process, in the kernel's order.
#[must_use]
pub fn notes(process: &Process, file_note_limit: u64) -> Vec<u8> {
    let class = process.class;
    let mut out = Words::new(class);
    for (i, thread) in process.threads.iter().enumerate() {
        out.note(nt::PRSTATUS, &prstatus(process, thread));
        if i == 0 {
            out.note(nt::PRPSINFO, &prpsinfo(process));
            let siginfo: &[u8; SIGINFO_LEN] = &process.siginfo;
            out.note(nt::SIGINFO, siginfo);
            out.note(nt::AUXV, &process.auxv);
            let files = files(class, &process.vmas);
            if files.len() as u64 <= file_note_limit && !files.is_empty() {
                out.note(nt::FILE, &files);
            }
        }
        for RegSet { kind, bytes } in &thread.sets {
            out.note(*kind, bytes);
        }
    }
    if !process.xsave.is_empty() {
        let mut layout = Words::new(class);
        for part in &process.xsave {
            for number in [part.number, part.size, part.offset, 0] {
                layout.u32(number);
            }
        }
        out.note(nt::X86_XSAVE_LAYOUT, &layout.bytes);
    }
    out.bytes
}

/// `struct elf_prstatus` (CORE-30).
fn prstatus(process: &Process, thread: &Thread) -> Vec<u8> {
    let mut out = Words::new(process.class);
    out.i32(process.signal);
    out.i32(0);
    out.i32(0);
    out.u16(process.signal as u16);
    out.pad_to(4);
    out.word(thread.pending);
    out.word(thread.blocked);
    for id in [thread.tid, thread.ppid, thread.pgrp, thread.sid] {
        out.i32(id);
    }
    for time in thread.times {
        out.time(time);
    }
    let words = if process.class == Class::Elf64 { 27 } else { 17 };
    let len = words * process.class.word() as usize;
    out.field(&thread.regs, len);
    out.i32(i32::from(thread.sets.iter().any(|s| s.kind == nt::PRFPREG)));
    out.pad_to(process.class.word() as usize);
    out.bytes
}

/// `struct elf_prpsinfo` (CORE-31).
fn prpsinfo(process: &Process) -> Vec<u8> {
    let mut out = Words::new(process.class);
    let s = &process.summary;
    out.bytes.extend([s.state, s.sname, u8::from(s.sname == b'Z'), s.nice as u8]);
    out.pad_to(process.class.word() as usize);
    out.word(s.flags);
    match process.class {
        Class::Elf64 => {
            out.u32(s.uid);
            out.u32(s.gid);
        }
        // Identifiers that do not fit are the overflow id, as in the old system calls.
        Class::Elf32 => {
            out.u16(u16::try_from(s.uid).unwrap_or(65534));
            out.u16(u16::try_from(s.gid).unwrap_or(65534));
        }
    }
    for id in [s.pid, s.ppid, s.pgrp, s.sid] {
        out.i32(id);
    }
    out.field(s.comm.get(..15).unwrap_or(&s.comm), 16);
    let blank = |b: &u8| if *b == 0 { b' ' } else { *b };
    let args: Vec<u8> = s.args.iter().take(79).map(blank).collect();
    out.field(&args, 80);
    out.bytes
}

/// The mapped files (CORE-33); empty when there are none.
fn files(class: Class, vmas: &[Vma]) -> Vec<u8> {
    let mapped = || vmas.iter().filter_map(|v| v.file.as_ref().map(|f| (v, f)));
    let mut out = Words::new(class);
    out.word(mapped().count() as u64);
    out.word(PAGE);
    for (vma, file) in mapped() {
        out.word(vma.start);
        out.word(vma.end);
        out.word(file.offset / PAGE);
    }
    for (_, file) in mapped() {
        out.bytes.extend_from_slice(&file.path);
        out.bytes.push(0);
    }
    out.bytes
}
