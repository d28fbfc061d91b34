//! Shared libraries as `uselib(2)` mapped them: one segment at an address of its own, into the
//! caller, without symbols. Linux had the call until 6.14. Decides; maps nothing.

use alloc::vec;
use alloc::vec::Vec;

use crate::abi::elf::{ET_EXEC, PT_LOAD};
use crate::abi::{BINPRM_BUF_SIZE, page_down, page_up};
use crate::arch::Arch;
use crate::binfmt::Registry;
use crate::binfmt::aout::{Header, Magic};
use crate::binfmt::elf::decode::{self, Form};
use crate::bprm::{self, File};
use crate::error::{Errno, Reason, Refusal, Stage};
use crate::mm::{Backing, Prot};
use crate::plan::Op;
use crate::story::Story;
use crate::world::{At, World};

/// A decided library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shlib {
    /// Its file.
    pub file: File,
    /// The format that took it.
    pub format: &'static str,
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// What is mapped, zeroed and copied, in order. Every mapping must find its place free: the
    /// kernel replaced what was in the way of an a.out library and of zero pages, which no caller
    /// can want.
    pub ops: Vec<Op>,
}

/// A file that may be a library.
pub struct Library<'w> {
    /// Who answers questions.
    pub world: &'w mut dyn World,
    /// The file.
    pub file: File,
    /// Its first bytes, zero-padded.
    pub head: [u8; BINPRM_BUF_SIZE],
}

/// Decides what `uselib(2)` would map.
///
/// # Errors
/// Those of opening a file for execution; `ENOEXEC` where no format knows such a library, `EINVAL`
/// for an impossible segment.
pub fn plan_shlib(
    path: &[u8],
    world: &mut dyn World,
    registry: &Registry<'_>,
) -> Result<Shlib, Refusal> {
    let mut story = Story::untold();
    // The security modules are asked as about a library.
    let file = bprm::open_exec(world, &mut story, Stage::ElfInterp, At::Cwd, path, path, true)?;
    let head = bprm::read_head(world, &file)?;
    let mut library = Library { world, file, head };
    let mut telling = None;
    for format in registry.formats() {
        match format.load_shlib(&mut library) {
            Err(r) if r.reason.errno() == Errno::ENOEXEC => {
                let known = matches!(r.reason, Reason::NotLibrary { .. });
                telling = telling.or(known.then_some(r));
            }
            other => return other,
        }
    }
    Err(telling.unwrap_or_else(|| {
        Refusal::new(Stage::Search, Reason::NotLibrary { what: "it has none of the formats" })
            .of(path)
    }))
}

fn not(library: &Library<'_>, stage: Stage, what: &'static str) -> Refusal {
    Refusal::new(stage, Reason::NotLibrary { what }).of(&library.file.path)
}

/// An ELF library: `ET_EXEC`, at most two program headers, one of them `PT_LOAD`
/// (`load_elf_library`, `fs/binfmt_elf.c`, 6.1).
pub(crate) fn elf(library: &mut Library<'_>, arch: &Arch) -> Result<Shlib, Refusal> {
    let form = Form::of(arch);
    let refuse = |reason| Refusal::new(Stage::Elf, reason).of(&library.file.path);
    let Some(header) = decode::header(&library.head, form) else {
        return Err(refuse(Reason::NotElf));
    };
    if !arch.machines.contains(&header.e_machine) {
        return Err(refuse(Reason::NotElf));
    }
    if header.e_type != ET_EXEC || header.e_phnum > 2 {
        let what = "uselib(2) takes ET_EXEC with at most two program headers only; \
            libraries of today are mapped by a dynamic loader";
        return Err(not(library, Stage::Elf, what));
    }
    let len = usize::from(header.e_phnum) * usize::from(arch.class.phdr_len());
    let mut table = vec![0; len];
    let at = header.e_phoff;
    let read = library.world.read_at(library.file.id, at, &mut table);
    if i64::try_from(at).is_err() || read != Ok(len) {
        return Err(not(library, Stage::Elf, "its program headers are not inside the file"));
    }
    let phdrs = decode::segments(&table, at, form);
    let mut loads = phdrs.iter().filter(|s| s.p_type == PT_LOAD);
    let (Some(s), None) = (loads.next(), loads.next()) else {
        return Err(not(library, Stage::Elf, "it must have exactly one PT_LOAD segment"));
    };
    let fault = |reason| {
        let len = u64::from(arch.class.phdr_len());
        Refusal::new(Stage::Elf, reason).of(&library.file.path).at(s.at, len)
    };
    let beyond = |what, value| fault(Reason::BeyondTaskSize { what, value });
    let po = s.p_vaddr % crate::abi::PAGE;
    let offset = s.p_offset.wrapping_sub(po);
    if !offset.is_multiple_of(crate::abi::PAGE) || i64::try_from(offset).is_err() {
        let (p_offset, p_vaddr) = (s.p_offset, s.p_vaddr);
        return Err(fault(Reason::OffsetIncongruent { p_offset, p_vaddr }));
    }
    let within = |len: u64| s.p_vaddr.checked_add(len).filter(|end| *end <= arch.task_size);
    let file_end = within(s.p_filesz).ok_or_else(|| beyond("p_filesz", s.p_filesz))?;
    let mem_end = within(s.p_memsz).ok_or_else(|| beyond("p_memsz", s.p_memsz))?;
    if s.p_filesz == 0 {
        return Err(fault(Reason::TotalSizeZero));
    }
    let start = page_down(s.p_vaddr);
    let mapped = page_up(file_end);
    let file = library.file.id;
    let mut ops = vec![map(start, mapped, ALL, Backing::File { file, offset })];
    if file_end < mapped {
        if offset.saturating_add(page_down(file_end) - start) >= library.file.stat.size {
            return Err(fault(Reason::BssBeyondEof { addr: file_end }));
        }
        ops.push(Op::Zero { addr: file_end, len: mapped - file_end });
    }
    let end = page_up(mem_end).max(mapped);
    if end > mapped {
        ops.push(map(mapped, end, Prot::READ | Prot::WRITE, Backing::Anon));
    }
    Ok(Shlib { file: library.file.clone(), format: "elf", start, end, ops })
}

/// An a.out library (AOUT-16).
pub(crate) fn aout(library: &mut Library<'_>) -> Result<Shlib, Refusal> {
    let refuse = |reason| Refusal::new(Stage::Aout, reason).of(&library.file.path).at(0, 32);
    let header = Header::read(&library.head).filter(|h| h.is_program(library.file.stat.size));
    let Some(h) = header else { return Err(refuse(Reason::NotAout)) };
    if !matches!(h.magic, Magic::Zmagic | Magic::Qmagic) {
        return Err(not(library, Stage::Aout, "a.out libraries are ZMAGIC or QMAGIC"));
    }
    if h.flags >> 8 != 0 {
        return Err(not(library, Stage::Aout, "a.out libraries have no flags"));
    }
    let start = page_down(h.a_entry.into());
    let len = u64::from(h.loaded_len());
    let all = u64::from(h.loaded_len().wrapping_add(h.a_bss));
    let (mapped, end) = (start + page_up(len), start + page_up(all).max(page_up(len)));
    if len == 0 {
        return Err(refuse(Reason::TotalSizeZero));
    }
    let mut ops = Vec::new();
    if h.magic == Magic::Qmagic {
        let backing = Backing::File { file: library.file.id, offset: 0 };
        ops.push(map(start, mapped, ALL, backing));
        if end > mapped {
            ops.push(map(mapped, end, Prot::READ | Prot::WRITE, Backing::Anon));
        }
    } else {
        // Executable here, as on processors without NX (AOUT-11).
        ops.push(map(start, end, ALL, Backing::Anon));
        let mut bytes = vec![0; h.in_file(library.file.stat.size)];
        let at = h.text_offset().into();
        let read = library.world.read_at(library.file.id, at, &mut bytes);
        let read = read.map_err(|errno| refuse(Reason::Io { errno }))?;
        bytes.truncate(read);
        ops.push(Op::Copy { addr: start, bytes });
    }
    Ok(Shlib { file: library.file.clone(), format: "a.out", start, end, ops })
}

const ALL: Prot = Prot::READ.union(Prot::WRITE).union(Prot::EXEC);

fn map(start: u64, end: u64, prot: Prot, backing: Backing) -> Op {
    Op::Map { addr: start, len: end - start, prot, backing, grows_down: false }
}
