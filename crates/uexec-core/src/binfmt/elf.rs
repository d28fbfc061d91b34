//! ELF: what is checked before the point of no return (ELF-1 to ELF-14). The same rules for every
//! architecture: the kernel has one format for its 64-bit programs, and behind it the same again
//! for 32-bit ones (ELF-16, ELF-21).
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
    EM_X86_64, ET_DYN, ET_EXEC, INTERP_MAX, MAGIC, PF_X, PHDRS_MAX, PT_GNU_STACK, PT_INTERP,
    PT_LOAD,
};
use crate::arch::{Arch, I386, X86_64};
use crate::bprm::{Bprm, File};
use crate::coredump::{self, Dumper};
use crate::error::{Errno, Reason, Refusal, Stage};
use crate::image::{Header, Image, Object, Segment};
use crate::reason::long_machine_name;
use crate::shlib::{self, Library, Shlib};
use crate::story::{Shown, tell};

use decode::Form;

pub mod decode;
pub mod foreign;
pub mod load;

/// The format of 64-bit ELF programs for x86-64.
#[derive(Clone, Copy, Debug, Default)]
pub struct Elf;

impl Binfmt for Elf {
    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("elf")
    }

    fn load_binary(&self, bprm: &mut Bprm<'_>) -> Result<Verdict, Refusal> {
        judge(bprm, &X86_64, |_| Ok(()), false).map(Verdict::Image)
    }

    fn load_shlib(&self, library: &mut Library<'_>) -> Result<Shlib, Refusal> {
        shlib::elf(library, &X86_64)
    }

    fn core_dump(&self) -> Option<Dumper> {
        Some(coredump::plan)
    }

    fn min_coredump(&self) -> u64 {
        coredump::MIN_COREDUMP
    }
}

/// The format of i386 programs under a 64-bit kernel.
#[derive(Clone, Copy, Debug, Default)]
pub struct CompatElf;

impl Binfmt for CompatElf {
    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("compat_elf")
    }

    fn load_binary(&self, bprm: &mut Bprm<'_>) -> Result<Verdict, Refusal> {
        let arch = I386.with_personality(bprm.world.facts().personality);
        let head = decode::header(&bprm.head, Form::of(arch));
        if bprm.head.get(EI_CLASS) == Some(&ELFCLASS32)
            && head.is_some_and(|h| h.e_machine == EM_X86_64)
        {
            return Err(Refusal::new(Stage::Elf, Reason::X32).of(&bprm.file.path).at(4, 1));
        }
        judge(
            bprm,
            arch,
            |bprm| match bprm.world.ia32() {
                Ok(_) => Ok(()),
                Err(why) => Err(Reason::NoIa32 { why }),
            },
            false,
        )
        .map(Verdict::Image)
    }

    fn load_shlib(&self, library: &mut Library<'_>) -> Result<Shlib, Refusal> {
        shlib::elf(library, &I386)
    }

    fn core_dump(&self) -> Option<Dumper> {
        Some(coredump::plan)
    }

    fn min_coredump(&self) -> u64 {
        coredump::MIN_COREDUMP
    }
}

/// Where the class stands in `e_ident` (`elf(5)`); only looked at to say what is wrong.
const EI_CLASS: usize = 4;
const ELFCLASS32: u8 = 1;

/// The rules, for programs of `arch`; `host` says whether it can run them. If `lenient`, an
/// interpreter that is not there is done without.
fn judge(
    bprm: &mut Bprm<'_>,
    arch: &'static Arch,
    host: impl FnOnce(&mut Bprm<'_>) -> Result<(), Reason>,
    lenient: bool,
) -> Result<Image, Refusal> {
    let file = bprm.file.clone();
    let head = decode::header(&bprm.head, Form::of(arch));
    let refuse =
        |reason, (at, len)| Err(Refusal::new(Stage::Elf, reason).of(&file.path).at(at, len));
    let Some(header) = head else {
        return refuse(Reason::NotElf, (0, 4));
    };
    if header.e_type != ET_EXEC && header.e_type != ET_DYN {
        return refuse(Reason::ElfType { e_type: header.e_type }, (16, 2));
    }
    if let Err(reason) = check_machine(&header, arch).and_then(|()| host(bprm)) {
        return refuse(reason, (18, 2));
    }
    let phdrs = read_phdrs(bprm, &file, &header, arch, Stage::Elf)?;
    let interp_path = match phdrs.iter().find(|s| s.p_type == PT_INTERP) {
        Some(s) => Some(read_interp(bprm, &file, s, arch)?),
        None => None,
    };
    let mut interp_missing = None;
    let interp_file = match &interp_path {
        Some(path) => match open_interp(bprm, path, arch) {
            Err(_) if lenient => {
                interp_missing.clone_from(&interp_path);
                None
            }
            opened => Some(opened?),
        },
        None => None,
    };
    // The last PT_GNU_STACK wins (ELF-19).
    let gnu_stack = phdrs.iter().rev().find(|s| s.p_type == PT_GNU_STACK);
    let stack_exec = gnu_stack.map(|s| s.p_flags & PF_X != 0);
    let interp = match interp_file {
        Some((file, head)) => Some(check_interp(bprm, file, &head, arch)?),
        None => None,
    };
    let program = Object { file, header, loads: loads(phdrs), class: arch.class };
    let at = if program.is_dyn() { "at any address" } else { "at fixed addresses" };
    tell!(
        bprm.story,
        Stage::Elf,
        "ELF-2",
        "a program for {} {at}, {} PT_LOAD segments, {}",
        long_machine_name(header.e_machine),
        program.loads.len(),
        if interp.is_some() { "with an interpreter" } else { "without an interpreter" }
    );
    Ok(Image { program, interp, interp_missing, stack_exec, arch, aout: None })
}

/// ELF-3.
fn check_machine(header: &Header, arch: &Arch) -> Result<(), Reason> {
    let e_machine = header.e_machine;
    match arch.machines {
        all if all.contains(&e_machine) => Ok(()),
        [want, ..] => Err(Reason::ElfMachine { e_machine, want: *want }),
        [] => Err(Reason::ElfMachine { e_machine, want: 0 }),
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
    arch: &Arch,
    stage: Stage,
) -> Result<Vec<Segment>, Refusal> {
    let refuse = |reason, (at, len)| Err(Refusal::new(stage, reason).of(&file.path).at(at, len));
    let (form, class) = (Form::of(arch), arch.class);
    let want = class.phdr_len();
    let Header { e_phentsize, e_phnum, e_phoff, .. } = *header;
    if e_phentsize != want {
        return refuse(Reason::ElfPhentsize { e_phentsize, want }, class.e_phentsize());
    }
    let need = u64::from(e_phnum) * u64::from(want);
    let most = if bprm.world.facts().since(6, 15) { PHDRS_MAX } else { PAGE };
    if need == 0 || need > most {
        return refuse(Reason::ElfPhnum { e_phnum }, class.e_phnum());
    }
    let outside = Reason::ElfPhdrs { e_phoff, need, size: file.stat.size };
    // Small tables right behind the header are in the first bytes already.
    let from_head = usize::try_from(e_phoff)
        .ok()
        .filter(|_| stage == Stage::Elf && e_phoff.saturating_add(need) <= file.stat.size)
        .and_then(|at| bprm.head.get(at..at.checked_add(need as usize)?));
    if let Some(table) = from_head {
        return Ok(decode::segments(table, e_phoff, form));
    }
    if i64::try_from(e_phoff).is_err() || e_phoff.checked_add(need).is_none() {
        return refuse(outside, class.e_phoff());
    }
    let mut table = vec![0; need as usize];
    match bprm.read_exact_at(file, e_phoff, &mut table, stage) {
        Ok(true) => Ok(decode::segments(&table, e_phoff, form)),
        Err(r) if r.reason == Reason::Unreadable => Err(r),
        _ => refuse(outside, class.e_phoff()),
    }
}

/// Reads the path in `PT_INTERP`: ELF-8 to ELF-10.
fn read_interp(
    bprm: &mut Bprm<'_>,
    file: &File,
    s: &Segment,
    arch: &Arch,
) -> Result<Vec<u8>, Refusal> {
    let Segment { p_offset, p_filesz, .. } = *s;
    let refuse =
        |reason, (at, len)| Err(Refusal::new(Stage::Elf, reason).of(&file.path).at(at, len));
    let in_header = |(at, len)| (s.at + at, len);
    if !(2..=INTERP_MAX).contains(&p_filesz) {
        return refuse(Reason::InterpSize { p_filesz }, in_header(arch.class.p_filesz()));
    }
    // The kernel's file positions are signed, the end included.
    if i64::try_from(p_offset.saturating_add(p_filesz)).is_err() {
        return refuse(Reason::InterpOffset { p_offset }, in_header(arch.class.p_offset()));
    }
    let mut path = vec![0; p_filesz as usize];
    if !bprm.read_exact_at(file, p_offset, &mut path, Stage::Elf)? {
        let size = file.stat.size;
        let at = in_header(arch.class.p_offset());
        return refuse(Reason::InterpOutside { p_offset, p_filesz, size }, at);
    }
    if let Some(last) = path.pop()
        && last != 0
    {
        return refuse(Reason::InterpUnterminated { last }, (p_offset + p_filesz - 1, 1));
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
fn open_interp(bprm: &mut Bprm<'_>, path: &[u8], arch: &Arch) -> Result<(File, Vec<u8>), Refusal> {
    let file = bprm.open_interp(path, Stage::ElfInterp)?;
    let mut head = vec![0; arch.class.ehdr_len() as usize];
    if !bprm.read_exact_at(&file, 0, &mut head, Stage::ElfInterp)? {
        let reason = Reason::InterpShort { size: file.stat.size };
        return Err(Refusal::new(Stage::ElfInterp, reason).of(&file.path));
    }
    Ok((file, head))
}

/// Judges the interpreter's headers: ELF-13, ELF-14. Its type is judged only when it is mapped
/// (ELF-53).
fn check_interp(
    bprm: &mut Bprm<'_>,
    file: File,
    head: &[u8],
    arch: &Arch,
) -> Result<Object, Refusal> {
    let bad = |cause, at, len| {
        let reason = Reason::InterpBad { cause: Box::new(cause) };
        Refusal::new(Stage::ElfInterp, reason).of(&file.path).at(at, len)
    };
    if !head.starts_with(&MAGIC) {
        return Err(bad(Reason::NotElf, 0, 4));
    }
    let Some(header) = decode::header(head, Form::of(arch)) else {
        return Err(bad(Reason::NotElf, 0, 4));
    };
    check_machine(&header, arch).map_err(|reason| bad(reason, 18, 2))?;
    let phdrs = read_phdrs(bprm, &file, &header, arch, Stage::ElfInterp).map_err(|r| {
        match (r.reason.errno(), r.span) {
            (Errno::ENOEXEC, Some(span)) => bad(r.reason, span.offset, span.len),
            _ => r,
        }
    })?;
    tell!(
        bprm.story,
        Stage::ElfInterp,
        "ELF-13",
        "{} is an interpreter for {}",
        Shown(&file.path),
        long_machine_name(header.e_machine)
    );
    Ok(Object { header, loads: loads(phdrs), file, class: arch.class })
}
