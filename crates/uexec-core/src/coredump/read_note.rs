//! Takes notes apart and understands those that are known (CORE-20 to CORE-34). What is too short
//! is left alone.

use alloc::vec::Vec;

use super::nt;
use super::process::SIGINFO_LEN;
use super::read::{Core, Form};
use crate::abi::elf::{EM_386, EM_X86_64};
use crate::arch::Class;

/// One note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Who defines it: `CORE`, `LINUX`.
    pub name: Vec<u8>,
    /// Its type.
    pub kind: u32,
    /// Its contents.
    pub bytes: Vec<u8>,
}

/// A thread of a core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoreThread {
    /// Its id.
    pub tid: u32,
    /// The signal of the dump.
    pub signal: u16,
    /// Signals it blocks.
    pub blocked: u64,
    /// User and system time in microseconds.
    pub times: [u64; 2],
    /// General registers, one a word, in the order of `struct user_regs_struct`.
    pub regs: Vec<u64>,
    /// Which of [`Core::notes`] are this thread's.
    pub notes: core::ops::Range<usize>,
}

/// What `ps` would have shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PsInfo {
    /// State letter.
    pub sname: u8,
    /// Nice value.
    pub nice: i8,
    /// Flags of the kernel.
    pub flags: u64,
    /// Real user.
    pub uid: u32,
    /// Real group.
    pub gid: u32,
    /// Process id.
    pub pid: u32,
    /// Parent.
    pub ppid: u32,
    /// Process group.
    pub pgrp: u32,
    /// Session.
    pub sid: u32,
    /// Name.
    pub comm: Vec<u8>,
    /// Beginning of the command line.
    pub args: Vec<u8>,
}

/// A mapped file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// First address.
    pub start: u64,
    /// Address behind the last.
    pub end: u64,
    /// Offset in the file, in bytes.
    pub offset: u64,
    /// Path.
    pub path: Vec<u8>,
}

/// Splits a note segment; whether all of it could be.
pub(super) fn split(mut bytes: &[u8], form: Form, to: &mut Vec<Note>) -> bool {
    while !bytes.is_empty() {
        let Some((note, rest)) = one(bytes, form) else {
            return bytes.iter().all(|b| *b == 0);
        };
        to.push(note);
        bytes = rest;
    }
    true
}

fn one(bytes: &[u8], form: Form) -> Option<(Note, &[u8])> {
    let number = |at| form.number(bytes, at, 4);
    let name_len = usize::try_from(number(0)?).ok()?;
    let len = usize::try_from(number(4)?).ok()?;
    let kind = number(8)? as u32;
    let name = bytes.get(12..12usize.checked_add(name_len)?)?;
    let at = 12usize.checked_add(name_len.checked_next_multiple_of(4)?)?;
    let end = at.checked_add(len)?;
    let body = bytes.get(at..end)?;
    let rest = bytes.get(end.checked_next_multiple_of(4)?..).unwrap_or_default();
    let name = name.split(|b| *b == 0).next().unwrap_or_default();
    Some((Note { name: name.to_vec(), kind, bytes: body.to_vec() }, rest))
}

/// Fills in what the notes say.
pub(super) fn understand(core: &mut Core, form: Form) {
    let notes = core::mem::take(&mut core.notes);
    for (i, note) in notes.iter().enumerate() {
        if let Some(last) = core.threads.last_mut() {
            last.notes.end = i + 1;
        }
        if note.name != b"CORE" {
            continue;
        }
        let b = &note.bytes;
        match note.kind {
            nt::PRSTATUS => match thread(b, form, core.machine, i) {
                Some(thread) => {
                    if let Some(last) = core.threads.last_mut() {
                        last.notes.end = i;
                    }
                    core.threads.push(thread);
                }
                None => core.complain("a thread's note is too short"),
            },
            nt::PRPSINFO => core.psinfo = psinfo(b, form),
            nt::SIGINFO => core.siginfo = b.get(..SIGINFO_LEN).and_then(|b| b.try_into().ok()),
            nt::AUXV => {
                let word = form.word_len();
                let pair = |p: &[u8]| Some((form.word(p, 0)?, form.word(p, word)?));
                let pairs = b.chunks_exact(word * 2).filter_map(pair);
                core.auxv = pairs.take_while(|(kind, _)| *kind != 0).collect();
            }
            nt::FILE => match files(b, form) {
                Some(files) => core.files = files,
                None => core.complain("the note about mapped files is damaged"),
            },
            _ => {}
        }
    }
    core.notes = notes;
}

fn thread(b: &[u8], form: Form, machine: u16, note: usize) -> Option<CoreThread> {
    let word = form.word_len();
    let ids = 16 + word * 2;
    let times = ids + 16;
    let regs = times + word * 8;
    let time = |at: usize| {
        let secs = form.word(b, at)?;
        Some(secs.wrapping_mul(1_000_000).wrapping_add(form.word(b, at + word)?))
    };
    // Registers of machines that are not known stand there too, but nobody can tell how many.
    let known = matches!((form.class, machine), (Class::Elf64, EM_X86_64) | (Class::Elf32, EM_386));
    let count = match form.class {
        _ if !known => 0,
        Class::Elf64 => 27,
        Class::Elf32 => 17,
    };
    Some(CoreThread {
        signal: form.number(b, 12, 2)? as u16,
        blocked: form.word(b, 16 + word)?,
        tid: form.number(b, ids, 4)? as u32,
        times: [time(times)?, time(times + word * 2)?],
        regs: (0..count).map(|i| form.word(b, regs + i * word)).collect::<Option<_>>()?,
        notes: note..note + 1,
    })
}

fn psinfo(b: &[u8], form: Form) -> Option<PsInfo> {
    let word = form.word_len();
    let (id, at) = if form.class == Class::Elf64 { (4, 16) } else { (2, 8) };
    let ids = at + id * 2;
    let number = |n: usize| form.number(b, ids + n * 4, 4).map(|x| x as u32);
    let text = |at: usize, len: usize| {
        let field = b.get(at..at + len)?;
        Some(field.split(|b| *b == 0).next().unwrap_or_default().to_vec())
    };
    Some(PsInfo {
        sname: *b.get(1)?,
        nice: *b.get(3)? as i8,
        flags: form.word(b, word)?,
        uid: form.number(b, at, id)? as u32,
        gid: form.number(b, at + id, id)? as u32,
        pid: number(0)?,
        ppid: number(1)?,
        pgrp: number(2)?,
        sid: number(3)?,
        comm: text(ids + 16, 16)?,
        args: text(ids + 32, 80)?,
    })
}

fn files(b: &[u8], form: Form) -> Option<Vec<FileEntry>> {
    let word = form.word_len();
    let count = usize::try_from(form.word(b, 0)?).ok()?;
    let page = form.word(b, word)?;
    let table = b.get(word * 2..)?;
    let len = count.checked_mul(word * 3)?;
    let names = table.get(len..)?;
    let entries = table.get(..len)?.chunks_exact(word * 3);
    let entry = |(e, path): (&[u8], &[u8])| {
        Some(FileEntry {
            start: form.word(e, 0)?,
            end: form.word(e, word)?,
            offset: form.word(e, word * 2)?.wrapping_mul(page),
            path: path.to_vec(),
        })
    };
    entries.zip(names.split(|b| *b == 0)).map(entry).collect()
}
