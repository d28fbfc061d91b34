//! An ELF file read by need: header, segments, and bytes by file offset or by address. Says what
//! stands there, never what follows from it. Every size it is told is bounded before it is used.
//!
//! Numbers are those of `elf(5)`.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use crate::files::{FileStat, ReadAt};

const BLOCK: u64 = 4096;
/// Blocks kept while one file is read.
const MAX_BLOCKS: usize = 512;
/// The longest string read: search paths may be long, names are not.
const MAX_STRING: usize = 1 << 16;
/// All strings of one file together.
const MAX_STRINGS: usize = 4 << 20;

/// What tells files apart that one loader can load from those that it skips.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Kind {
    pub(crate) wide: bool,
    pub(crate) big: bool,
    pub(crate) machine: u16,
}

/// Reads numbers of a table entry.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    bytes: &'a [u8],
    kind: Kind,
}

impl<'a> Fields<'a> {
    pub(crate) const fn new(bytes: &'a [u8], kind: Kind) -> Fields<'a> {
        Fields { bytes, kind }
    }

    fn array<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.bytes.get(at..at.checked_add(N)?)?.try_into().ok()
    }

    pub(crate) fn u8(&self, at: usize) -> Option<u8> {
        self.bytes.get(at).copied()
    }

    pub(crate) fn u16(&self, at: usize) -> Option<u16> {
        let b = self.array(at)?;
        Some(if self.kind.big { u16::from_be_bytes(b) } else { u16::from_le_bytes(b) })
    }

    pub(crate) fn u32(&self, at: usize) -> Option<u32> {
        let b = self.array(at)?;
        Some(if self.kind.big { u32::from_be_bytes(b) } else { u32::from_le_bytes(b) })
    }

    pub(crate) fn u64(&self, at: usize) -> Option<u64> {
        let b = self.array(at)?;
        Some(if self.kind.big { u64::from_be_bytes(b) } else { u64::from_le_bytes(b) })
    }

    /// A number as wide as an address: at `wide` in 64-bit files, at `narrow` in others.
    pub(crate) fn word(&self, wide: usize, narrow: usize) -> Option<u64> {
        if self.kind.wide { self.u64(wide) } else { self.u32(narrow).map(u64::from) }
    }
}

/// What is wrong with a file that a loader opens; the words are those loaders use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// Shorter than an ELF header.
    TooShort,
    /// No ELF magic.
    NotElf,
    /// A field of the header that no loader takes.
    Header,
    /// Program headers out of the file, or none to load.
    Segments,
    /// A dynamic section that cannot be read.
    Dynamic,
    /// A program, not a library, where a library is needed.
    Program,
    /// Reading failed.
    Unreadable,
}

impl std::fmt::Display for Flaw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Flaw::TooShort => "file too short",
            Flaw::NotElf => "invalid ELF header",
            Flaw::Header => "ELF header cannot be used",
            Flaw::Segments => "program headers cannot be used",
            Flaw::Dynamic => "dynamic section cannot be used",
            Flaw::Program => "cannot dynamically load an executable",
            Flaw::Unreadable => "cannot read file data",
        })
    }
}

impl std::error::Error for Flaw {}

#[derive(Clone, Copy, Debug)]
struct Load {
    vaddr: u64,
    offset: u64,
    len: u64,
}

/// An ELF file, open.
pub(crate) struct Image {
    file: Box<dyn ReadAt>,
    blocks: RefCell<HashMap<u64, Vec<u8>>>,
    strings: Cell<usize>,
    pub(crate) kind: Kind,
    pub(crate) e_type: u16,
    loads: Vec<Load>,
    pub(crate) interp: Option<Vec<u8>>,
    /// Address and size of the dynamic section.
    pub(crate) dynamic: Option<(u64, u64)>,
}

impl Image {
    pub(crate) fn open(file: Box<dyn ReadAt>) -> Result<Image, Flaw> {
        let len = file.stat().len;
        let none = Kind { wide: true, big: false, machine: 0 };
        let mut image = Image {
            file,
            blocks: RefCell::default(),
            strings: Cell::new(0),
            kind: none,
            e_type: 0,
            loads: Vec::new(),
            interp: None,
            dynamic: None,
        };
        let head = image.bytes(0, usize::try_from(len.min(64)).unwrap_or(64));
        let head = head.ok_or(Flaw::Unreadable)?;
        if head.len() < 52 {
            return Err(Flaw::TooShort);
        }
        if !head.starts_with(b"\x7fELF") {
            return Err(Flaw::NotElf);
        }
        image.header(&head).ok_or(Flaw::Header)?;
        image.segments(&head).ok_or(Flaw::Segments)?;
        Ok(image)
    }

    fn header(&mut self, head: &[u8]) -> Option<()> {
        self.kind.wide = match head.get(4)? {
            1 => false,
            2 => true,
            _ => return None,
        };
        self.kind.big = match head.get(5)? {
            1 => false,
            2 => true,
            _ => return None,
        };
        let fields = Fields::new(head, self.kind);
        self.e_type = fields.u16(16)?;
        self.kind.machine = fields.u16(18)?;
        // ET_EXEC or ET_DYN, of the one version there is.
        (matches!(self.e_type, 2 | 3) && head.get(6) == Some(&1) && fields.u32(20)? == 1)
            .then_some(())
    }

    fn segments(&mut self, head: &[u8]) -> Option<()> {
        let fields = Fields::new(head, self.kind);
        let wide = self.kind.wide;
        let at = fields.word(32, 28)?;
        let size = usize::from(fields.u16(if wide { 54 } else { 42 })?);
        let count = usize::from(fields.u16(if wide { 56 } else { 44 })?);
        // The kernel takes no larger table than 64 KiB.
        if size != if wide { 56 } else { 32 } || size * count > 1 << 16 {
            return None;
        }
        let table = self.bytes(at, size * count)?;
        for entry in table.chunks_exact(size) {
            let f = Fields::new(entry, self.kind);
            let (offset, vaddr) = (f.word(8, 4)?, f.word(16, 8)?);
            let (filesz, memsz) = (f.word(32, 16)?, f.word(40, 20)?);
            match f.u32(0)? {
                1 => self.loads.push(Load { vaddr, offset, len: filesz }),
                2 => self.dynamic = Some((vaddr, memsz)),
                3 => {
                    // The kernel takes a path of at most PATH_MAX with its NUL.
                    let len = usize::try_from(filesz).ok().filter(|n| *n <= 4096)?;
                    let mut path = self.bytes(offset, len)?;
                    path.truncate(path.iter().position(|b| *b == 0)?);
                    self.interp = Some(path);
                }
                _ => {}
            }
        }
        Some(())
    }

    pub(crate) fn stat(&self) -> FileStat {
        self.file.stat()
    }

    /// All of a range of the file, or nothing.
    pub(crate) fn bytes(&self, offset: u64, len: usize) -> Option<Vec<u8>> {
        let end = offset.checked_add(len as u64)?;
        if end > self.file.stat().len {
            return None;
        }
        let mut out = Vec::with_capacity(len);
        if len > 8 * BLOCK as usize {
            out.resize(len, 0);
            return (self.file.read_at(offset, &mut out).ok()? == len).then_some(out);
        }
        let mut at = offset;
        while at < end {
            let skip = (at % BLOCK) as usize;
            let want = (end - at) as usize;
            let got = self.block(at / BLOCK, |block| {
                let part = block.get(skip..)?;
                let part = part.get(..want.min(part.len()))?;
                out.extend_from_slice(part);
                Some(part.len()).filter(|n| *n > 0)
            })?;
            at += got as u64;
        }
        Some(out)
    }

    /// Lets `read` see one block of the file, shorter at its end.
    fn block<T>(&self, nr: u64, read: impl FnOnce(&[u8]) -> Option<T>) -> Option<T> {
        let mut blocks = self.blocks.borrow_mut();
        if let Some(block) = blocks.get(&nr) {
            return read(block);
        }
        if blocks.len() >= MAX_BLOCKS {
            blocks.clear();
        }
        let mut block = vec![0; BLOCK as usize];
        let n = self.file.read_at(nr.checked_mul(BLOCK)?, &mut block).ok()?;
        block.truncate(n);
        read(blocks.entry(nr).or_insert(block))
    }

    /// File offset of an address, and how many bytes follow it in its segment.
    fn offset(&self, vaddr: u64) -> Option<(u64, u64)> {
        self.loads.iter().find_map(|l| {
            let skip = vaddr.checked_sub(l.vaddr).filter(|s| *s < l.len)?;
            Some((l.offset.checked_add(skip)?, l.len - skip))
        })
    }

    /// All of a range of the mapped file, or nothing.
    pub(crate) fn at(&self, vaddr: u64, len: usize) -> Option<Vec<u8>> {
        let (offset, left) = self.offset(vaddr)?;
        if len as u64 > left { None } else { self.bytes(offset, len) }
    }

    /// As much of a range as its segment and the file hold.
    pub(crate) fn at_most(&self, vaddr: u64, len: u64) -> Option<Vec<u8>> {
        let (offset, left) = self.offset(vaddr)?;
        let in_file = self.file.stat().len.saturating_sub(offset);
        self.bytes(offset, usize::try_from(len.min(left).min(in_file)).ok()?)
    }

    /// The string at an address, up to its NUL.
    pub(crate) fn string(&self, vaddr: u64) -> Option<Vec<u8>> {
        let (mut at, mut left) = self.offset(vaddr)?;
        let mut out = Vec::new();
        while left > 0 && out.len() <= MAX_STRING {
            let skip = (at % BLOCK) as usize;
            let (ended, n) = self.block(at / BLOCK, |block| {
                let part = block.get(skip..).filter(|p| !p.is_empty())?;
                let part =
                    part.get(..part.len().min(usize::try_from(left).unwrap_or(usize::MAX)))?;
                let nul = part.iter().position(|b| *b == 0);
                let part = part.get(..nul.unwrap_or(part.len()))?;
                out.extend_from_slice(part);
                Some((nul.is_some(), part.len() as u64))
            })?;
            if ended {
                let spent = self.strings.get() + out.len();
                self.strings.set(spent);
                if spent > MAX_STRINGS {
                    return None;
                }
                return Some(out);
            }
            (at, left) = (at.checked_add(n)?, left.saturating_sub(n));
        }
        None
    }
}
