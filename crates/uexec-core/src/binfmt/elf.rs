//! ELF for x86-64: what is checked before the point of no return (ELF-1 to ELF-14).
//!
//! [`decode`] reads headers, this room judges them, [`load`] places them. A function that places
//! never decodes.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use super::{Binfmt, Verdict};
use crate::abi::PAGE;
use crate::abi::elf::{
    EHDR64, EM_X86_64, ET_DYN, ET_EXEC, INTERP_MAX, MAGIC, PF_X, PHDR64, PHDRS_MAX, PT_GNU_STACK,
    PT_INTERP, PT_LOAD,
};
use crate::bprm::{Bprm, File};
use crate::error::{Errno, Reason, Refusal, Stage};
use crate::image::{Header, Image, Object, Segment};
use crate::story::{Shown, tell};

pub mod decode;
pub mod load;

/// The format of 64-bit ELF programs for x86-64.
#[derive(Clone, Copy, Debug, Default)]
pub struct Elf;

impl Binfmt for Elf {
    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("elf")
    }

    fn load_binary(&self, bprm: &mut Bprm<'_>) -> Result<Verdict, Refusal> {
        let file = bprm.file.clone();
        let head = decode::header(&bprm.head);
        let refuse =
            |reason, at, len| Err(Refusal::new(Stage::Elf, reason).of(&file.path).at(at, len));
        let Some(header) = head else {
            return refuse(Reason::NotElf, 0, 4);
        };
        if header.e_type != ET_EXEC && header.e_type != ET_DYN {
            return refuse(Reason::ElfType { e_type: header.e_type }, 16, 2);
        }
        if header.e_machine != EM_X86_64 {
            return refuse(Reason::ElfMachine { e_machine: header.e_machine }, 18, 2);
        }
        let phdrs = read_phdrs(bprm, &file, &header, Stage::Elf)?;
        let interp_path = match phdrs.iter().find(|s| s.p_type == PT_INTERP) {
            Some(s) => Some(read_interp(bprm, &file, s)?),
            None => None,
        };
        let interp_file = match &interp_path {
            Some(path) => Some(open_interp(bprm, path)?),
            None => None,
        };
        // The last PT_GNU_STACK wins (ELF-19).
        let gnu_stack = phdrs.iter().rev().find(|s| s.p_type == PT_GNU_STACK);
        let stack_exec = gnu_stack.map(|s| s.p_flags & PF_X != 0);
        let interp = match interp_file {
            Some((file, head)) => Some(check_interp(bprm, file, &head)?),
            None => None,
        };
        let program = Object { file, header, loads: loads(phdrs) };
        let at = if program.is_dyn() { "at any address" } else { "at fixed addresses" };
        tell!(
            bprm.story,
            Stage::Elf,
            "ELF-2",
            "a program for x86-64 {at}, {} PT_LOAD segments, {}",
            program.loads.len(),
            if interp.is_some() { "with an interpreter" } else { "without an interpreter" }
        );
        Ok(Verdict::Image(Image { program, interp, stack_exec }))
    }
}

fn loads(mut phdrs: Vec<Segment>) -> Vec<Segment> {
    phdrs.retain(|s| s.p_type == PT_LOAD);
    phdrs
}

/// Reads the program header table: ELF-5 to ELF-7.
fn read_phdrs(
    bprm: &mut Bprm<'_>,
    file: &File,
    header: &Header,
    stage: Stage,
) -> Result<Vec<Segment>, Refusal> {
    let refuse = |reason, at, len| Err(Refusal::new(stage, reason).of(&file.path).at(at, len));
    let Header { e_phentsize, e_phnum, e_phoff, .. } = *header;
    if e_phentsize != PHDR64 {
        return refuse(Reason::ElfPhentsize { e_phentsize }, 54, 2);
    }
    let need = u64::from(e_phnum) * u64::from(PHDR64);
    let most = if bprm.world.facts().since(6, 15) { PHDRS_MAX } else { PAGE };
    if need == 0 || need > most {
        return refuse(Reason::ElfPhnum { e_phnum }, 56, 2);
    }
    let outside = Reason::ElfPhdrs { e_phoff, need, size: file.stat.size };
    // Small tables right behind the header are in the first bytes already.
    let from_head = usize::try_from(e_phoff)
        .ok()
        .filter(|_| stage == Stage::Elf && e_phoff.saturating_add(need) <= file.stat.size)
        .and_then(|at| bprm.head.get(at..at.checked_add(need as usize)?));
    if let Some(table) = from_head {
        return Ok(decode::segments(table, e_phoff));
    }
    if i64::try_from(e_phoff).is_err() || e_phoff.checked_add(need).is_none() {
        return refuse(outside, 32, 8);
    }
    let mut table = vec![0; need as usize];
    match bprm.read_exact_at(file, e_phoff, &mut table, stage) {
        Ok(true) => Ok(decode::segments(&table, e_phoff)),
        Err(r) if r.reason == Reason::Unreadable => Err(r),
        _ => refuse(outside, 32, 8),
    }
}

/// Reads the path in `PT_INTERP`: ELF-8 to ELF-10.
fn read_interp(bprm: &mut Bprm<'_>, file: &File, s: &Segment) -> Result<Vec<u8>, Refusal> {
    let Segment { p_offset, p_filesz, .. } = *s;
    let refuse = |reason, at, len| Err(Refusal::new(Stage::Elf, reason).of(&file.path).at(at, len));
    if !(2..=INTERP_MAX).contains(&p_filesz) {
        return refuse(Reason::InterpSize { p_filesz }, s.at + 32, 8);
    }
    // The kernel's file positions are signed, the end included.
    if i64::try_from(p_offset.saturating_add(p_filesz)).is_err() {
        return refuse(Reason::InterpOffset { p_offset }, s.at + 8, 8);
    }
    let mut path = vec![0; p_filesz as usize];
    if !bprm.read_exact_at(file, p_offset, &mut path, Stage::Elf)? {
        let size = file.stat.size;
        return refuse(Reason::InterpOutside { p_offset, p_filesz, size }, s.at + 8, 8);
    }
    if let Some(last) = path.pop()
        && last != 0
    {
        return refuse(Reason::InterpUnterminated { last }, p_offset + p_filesz - 1, 1);
    }
    if let Some(end) = path.iter().position(|b| *b == 0) {
        path.truncate(end);
    }
    tell!(bprm.story, Stage::Elf, "ELF-18", "PT_INTERP names {}", Shown(&path));
    let replaced = bprm.interps.iter().find(|(old, _)| *old == path).map(|(_, new)| new.clone());
    if let Some(other) = bprm.interp_override.take().or(replaced) {
        tell!(bprm.story, Stage::Elf, "", "{} is used instead", Shown(&other));
        return Ok(other);
    }
    Ok(path)
}

/// Opens the interpreter and reads its header: ELF-11, ELF-12.
fn open_interp(bprm: &mut Bprm<'_>, path: &[u8]) -> Result<(File, Vec<u8>), Refusal> {
    let file = bprm.open_interp(path, Stage::ElfInterp)?;
    let mut head = vec![0; EHDR64 as usize];
    if !bprm.read_exact_at(&file, 0, &mut head, Stage::ElfInterp)? {
        let reason = Reason::InterpShort { size: file.stat.size };
        return Err(Refusal::new(Stage::ElfInterp, reason).of(&file.path));
    }
    Ok((file, head))
}

/// Judges the interpreter's headers: ELF-13, ELF-14. Its type is judged only when it is mapped
/// (ELF-53).
fn check_interp(bprm: &mut Bprm<'_>, file: File, head: &[u8]) -> Result<Object, Refusal> {
    let bad = |cause, at, len| {
        let reason = Reason::InterpBad { cause: Box::new(cause) };
        Refusal::new(Stage::ElfInterp, reason).of(&file.path).at(at, len)
    };
    if !head.starts_with(&MAGIC) {
        return Err(bad(Reason::NotElf, 0, 4));
    }
    let Some(header) = decode::header(head) else {
        return Err(bad(Reason::NotElf, 0, 4));
    };
    if header.e_machine != EM_X86_64 {
        return Err(bad(Reason::ElfMachine { e_machine: header.e_machine }, 18, 2));
    }
    let phdrs = read_phdrs(bprm, &file, &header, Stage::ElfInterp).map_err(|r| {
        match (r.reason.errno(), r.span) {
            (Errno::ENOEXEC, Some(span)) => bad(r.reason, span.offset, span.len),
            _ => r,
        }
    })?;
    tell!(
        bprm.story,
        Stage::ElfInterp,
        "ELF-13",
        "{} is an interpreter for x86-64",
        Shown(&file.path)
    );
    Ok(Object { header, loads: loads(phdrs), file })
}
