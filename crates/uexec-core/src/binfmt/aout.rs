//! a.out for i386, the last of the list: `OMAGIC`, `NMAGIC`, `ZMAGIC`, `QMAGIC` (AOUT-1 to
//! AOUT-3). Linux has run none since 5.19, when it lost the format.
//!
//! The header is read and judged here; the room below places it.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use super::{Binfmt, Verdict};
use crate::abi::elf::{EM_386, ET_EXEC};
use crate::abi::page_up;
use crate::arch::{Class, I386};
use crate::bprm::{Bprm, File};
use crate::error::{Reason, Refusal, Stage};
use crate::image::{self, Image, Object};
use crate::shlib::{self, Library, Shlib};
use crate::story::tell;

pub(crate) mod load;

/// The format of a.out programs.
#[derive(Clone, Copy, Debug)]
pub enum Aout {
    /// As the kernel has it: it says only that it has it no more.
    AsKernel,
    /// As Linux 5.15 had it, so far as a program can tell, and with the two differences that
    /// its room names.
    On,
}

/// Kind of an a.out file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Magic {
    /// Text and data in one, right behind the header, to be loaded at 0.
    Omagic,
    /// Text that can be shared, then data.
    Nmagic,
    /// The same, to be paged in: text at 1024 in the file.
    Zmagic,
    /// The same with the header as part of the text, and page 0 free.
    Qmagic,
}

impl Magic {
    /// Its usual name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Magic::Omagic => "OMAGIC",
            Magic::Nmagic => "NMAGIC",
            Magic::Zmagic => "ZMAGIC",
            Magic::Qmagic => "QMAGIC",
        }
    }
}

/// The header (`a.out.h`), all sizes in bytes. Sums of its fields wrap at 2^32, as in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are those of a.out.h")]
pub struct Header {
    pub magic: Magic,
    /// Machine type and flags: the upper half of `a_info`. Only libraries have them looked at.
    pub flags: u16,
    pub a_text: u32,
    pub a_data: u32,
    pub a_bss: u32,
    pub a_syms: u32,
    pub a_entry: u32,
    pub a_trsize: u32,
    pub a_drsize: u32,
}

impl Header {
    /// Reads it; `None` for another magic number or fewer than 32 bytes.
    ///
    /// ```
    /// use uexec_core::binfmt::aout::{Header, Magic};
    /// let mut file = [0; 32];
    /// file[..2].copy_from_slice(&[0xcc, 0]);
    /// assert_eq!(Header::read(&file).unwrap().magic, Magic::Qmagic);
    /// assert!(Header::read(b"#!/bin/sh\n").is_none());
    /// ```
    #[must_use]
    pub fn read(head: &[u8]) -> Option<Header> {
        let word = |i: usize| -> Option<u32> {
            Some(u32::from_le_bytes(*head.get(4 * i..)?.first_chunk()?))
        };
        let info = word(0)?;
        let magic = match info & 0xffff {
            0x107 => Magic::Omagic,
            0x108 => Magic::Nmagic,
            0x10b => Magic::Zmagic,
            0xcc => Magic::Qmagic,
            _ => return None,
        };
        Some(Header {
            magic,
            flags: (info >> 16) as u16,
            a_text: word(1)?,
            a_data: word(2)?,
            a_bss: word(3)?,
            a_syms: word(4)?,
            a_entry: word(5)?,
            a_trsize: word(6)?,
            a_drsize: word(7)?,
        })
    }

    /// Where the text starts in the file.
    #[must_use]
    pub const fn text_offset(&self) -> u32 {
        match self.magic {
            Magic::Omagic | Magic::Nmagic => 32,
            Magic::Zmagic => 1024,
            Magic::Qmagic => 0,
        }
    }

    /// Where it starts in memory.
    #[must_use]
    pub const fn text_addr(&self) -> u32 {
        if matches!(self.magic, Magic::Qmagic) { 4096 } else { 0 }
    }

    /// Where the data starts in memory (AOUT-1).
    #[must_use]
    pub fn data_addr(&self) -> u32 {
        let end = self.text_addr().wrapping_add(self.a_text);
        if self.magic == Magic::Omagic { end } else { page_up(end.into()) as u32 }
    }

    /// Where the bss starts in memory.
    #[must_use]
    pub fn bss_addr(&self) -> u32 {
        self.data_addr().wrapping_add(self.a_data)
    }

    /// Text and data together.
    #[must_use]
    pub const fn loaded_len(&self) -> u32 {
        self.a_text.wrapping_add(self.a_data)
    }

    /// How much of that a file of `size` bytes has. Sums that wrap admit headers that promise more.
    pub(crate) fn in_file(&self, size: u64) -> usize {
        let there = size.saturating_sub(self.text_offset().into());
        usize::try_from(there.min(self.loaded_len().into())).unwrap_or(usize::MAX)
    }

    /// Whether it is that of a program in a file of so many bytes (AOUT-2).
    pub(crate) fn is_program(&self, size: u64) -> bool {
        let all = self.loaded_len().wrapping_add(self.a_syms);
        self.a_trsize == 0
            && self.a_drsize == 0
            && size >= u64::from(all) + u64::from(self.text_offset())
    }
}

impl Binfmt for Aout {
    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("a.out")
    }

    fn load_binary(&self, bprm: &mut Bprm<'_>) -> Result<Verdict, Refusal> {
        let file = bprm.file.clone();
        let refuse =
            |reason, (at, len)| Err(Refusal::new(Stage::Aout, reason).of(&file.path).at(at, len));
        let header = Header::read(&bprm.head).filter(|h| h.is_program(file.stat.size));
        let Some(header) = header else { return refuse(Reason::NotAout, (0, 4)) };
        let name = header.magic.name();
        if matches!(self, Aout::AsKernel) {
            return refuse(Reason::AoutGone { magic: name }, (0, 2));
        }
        if let Err(why) = bprm.world.ia32() {
            return refuse(Reason::NoIa32 { why }, (0, 2));
        }
        let limit = bprm.world.facts().limits.data;
        let need = header.a_data.wrapping_add(header.a_bss).into();
        if need > limit {
            let reason = Reason::Rlimit { which: "RLIMIT_DATA", need, limit };
            return refuse(reason, (8, 8));
        }
        tell!(bprm.story, Stage::Aout, "AOUT-1", "an a.out program for i386, {name}");
        Ok(Verdict::Image(image(file, header)))
    }

    fn load_shlib(&self, library: &mut Library<'_>) -> Result<Shlib, Refusal> {
        match self {
            Aout::On => shlib::aout(library),
            Aout::AsKernel => {
                Err(Refusal::new(Stage::Aout, Reason::NotAout).of(&library.file.path))
            }
        }
    }
}

fn image(file: File, header: Header) -> Image {
    let program = Object {
        file,
        header: image::Header {
            e_type: ET_EXEC,
            e_machine: EM_386,
            e_entry: header.a_entry.into(),
            e_phoff: 0,
            e_phentsize: 0,
            e_phnum: 0,
        },
        loads: Vec::new(),
        class: Class::Elf32,
    };
    Image {
        program,
        interp: None,
        interp_missing: None,
        stack_exec: Some(false),
        arch: &I386,
        aout: Some(header),
    }
}
