//! Hand-made ELF files: every field can be set to anything, nothing is checked.
//!
//! This room never looks at what it writes: a lie in a header is what tests want.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// `ET_EXEC`: loaded where it says.
pub const ET_EXEC: u16 = 2;
/// `ET_DYN`: loaded anywhere.
pub const ET_DYN: u16 = 3;
/// `PT_LOAD`: a segment to be mapped.
pub const PT_LOAD: u32 = 1;
/// `PT_INTERP`: names the dynamic loader.
pub const PT_INTERP: u32 = 3;
/// `PT_GNU_STACK`: says whether the stack is executable.
pub const PT_GNU_STACK: u32 = 0x6474_e551;
/// `PF_X`.
pub const X: u32 = 1;
/// `PF_W`.
pub const W: u32 = 2;
/// `PF_R`.
pub const R: u32 = 4;

pub mod code;
pub mod code32;

const EHDR_LEN: u64 = 64;
const PHDR_LEN: u64 = 56;
const PAGE: u64 = 4096;

/// One program header (`elf(5)`, `Elf64_Phdr`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of elf(5)")]
pub struct Phdr {
    pub p_type: u32,
    pub p_flags: u32,
    pub p_offset: u64,
    pub p_vaddr: u64,
    pub p_paddr: u64,
    pub p_filesz: u64,
    pub p_memsz: u64,
    pub p_align: u64,
}

/// An ELF file being made. All fields are written as they stand; `None` means "whatever is
/// right".
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of elf(5)")]
pub struct Elf {
    /// Whether it has the headers of ELF32, whatever `e_ident` says.
    pub class32: bool,
    pub e_ident: [u8; 16],
    pub e_type: u16,
    pub e_machine: u16,
    pub e_version: u32,
    pub e_entry: u64,
    pub e_phoff: u64,
    pub e_shoff: u64,
    pub e_flags: u32,
    pub e_ehsize: u16,
    pub e_phentsize: u16,
    pub e_phnum: Option<u16>,
    pub e_shentsize: u16,
    pub e_shnum: u16,
    pub e_shstrndx: u16,
    /// The program headers, in table order.
    pub phdrs: Vec<Phdr>,
    /// Bytes at offsets of the file; later ones overwrite earlier ones.
    pub contents: Vec<(u64, Vec<u8>)>,
    /// Length the file is cut or extended to.
    pub len: Option<u64>,
    /// Offset at which [`Elf::load`] puts the next bytes, a multiple of the page size.
    pub next_offset: u64,
}

impl Elf {
    /// An x86-64 file of a type, without segments. Room for 40 program headers is kept.
    #[must_use]
    pub fn new(e_type: u16) -> Elf {
        let mut e_ident = [0; 16];
        e_ident[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        Elf {
            class32: false,
            e_ident,
            e_type,
            e_machine: 62,
            e_version: 1,
            e_entry: 0,
            e_phoff: EHDR_LEN,
            e_shoff: 0,
            e_flags: 0,
            e_ehsize: EHDR_LEN as u16,
            e_phentsize: PHDR_LEN as u16,
            e_phnum: None,
            e_shentsize: 0,
            e_shnum: 0,
            e_shstrndx: 0,
            phdrs: Vec::new(),
            contents: Vec::new(),
            len: None,
            next_offset: PAGE,
        }
    }

    /// The same for i386: headers of ELF32. Numbers lose their upper half when they are written.
    #[must_use]
    pub fn i386(mut self) -> Elf {
        self.class32 = true;
        self.e_ident[4] = 1;
        self.e_machine = 3;
        self.e_phoff = 52;
        self.e_ehsize = 52;
        self.e_phentsize = 32;
        self
    }

    fn phdr_len(&self) -> u64 {
        if self.class32 { 32 } else { PHDR_LEN }
    }

    fn words(&self, words: &[u64]) -> Vec<u8> {
        let len = if self.class32 { 4 } else { 8 };
        words.iter().flat_map(|w| w.to_le_bytes().into_iter().take(len)).collect()
    }

    fn phdr(&self, p: &Phdr) -> Vec<u8> {
        let mut b = p.p_type.to_le_bytes().to_vec();
        let flags = p.p_flags.to_le_bytes();
        if !self.class32 {
            b.extend(flags);
        }
        b.extend(self.words(&[p.p_offset, p.p_vaddr, p.p_paddr, p.p_filesz, p.p_memsz]));
        if self.class32 {
            b.extend(flags);
        }
        b.extend(self.words(&[p.p_align]));
        b
    }

    /// A program with one executable segment at `vaddr` that starts with `code`, and the entry
    /// point there.
    #[must_use]
    pub fn program(e_type: u16, vaddr: u64, code: &[u8]) -> Elf {
        let mut elf = Elf::new(e_type);
        elf.e_entry = vaddr;
        elf.load(R | X, vaddr, code);
        elf
    }

    /// Appends a `PT_LOAD` with these bytes at the next page of the file that is congruent with
    /// `vaddr`. The header can be changed through the answer.
    pub fn load(&mut self, flags: u32, vaddr: u64, bytes: &[u8]) -> &mut Phdr {
        let p_offset = self.next_offset + vaddr % PAGE;
        self.next_offset = (p_offset + bytes.len() as u64).next_multiple_of(PAGE);
        self.contents.push((p_offset, bytes.to_vec()));
        let len = bytes.len() as u64;
        self.push(Phdr {
            p_type: PT_LOAD,
            p_flags: flags,
            p_offset,
            p_vaddr: vaddr,
            p_paddr: vaddr,
            p_filesz: len,
            p_memsz: len,
            p_align: PAGE,
        })
    }

    /// Appends a `PT_LOAD` of zero pages only.
    pub fn bss(&mut self, flags: u32, vaddr: u64, memsz: u64) -> &mut Phdr {
        let phdr = self.load(flags, vaddr, b"");
        phdr.p_memsz = memsz;
        phdr
    }

    /// Appends a `PT_INTERP` that names `path`.
    pub fn interp(&mut self, path: &[u8]) -> &mut Phdr {
        let mut bytes = path.to_vec();
        bytes.push(0);
        let phdr = self.load(R, 0, &bytes);
        phdr.p_type = PT_INTERP;
        phdr.p_align = 1;
        phdr
    }

    /// Appends a `PT_GNU_STACK` with these flags.
    pub fn stack(&mut self, flags: u32) -> &mut Phdr {
        self.push(Phdr { p_type: PT_GNU_STACK, p_flags: flags, ..Phdr::default() })
    }

    /// Appends any header.
    pub fn push(&mut self, phdr: Phdr) -> &mut Phdr {
        self.phdrs.push(phdr);
        let last = self.phdrs.len() - 1;
        &mut self.phdrs[last]
    }

    /// The file's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, 0, &self.header());
        for (i, p) in self.phdrs.iter().enumerate() {
            put(&mut out, self.e_phoff.saturating_add(i as u64 * self.phdr_len()), &self.phdr(p));
        }
        for (offset, bytes) in &self.contents {
            put(&mut out, *offset, bytes);
        }
        if let Some(len) = self.len {
            out.resize(len as usize, 0);
        }
        out
    }

    fn header(&self) -> Vec<u8> {
        let mut h = self.e_ident.to_vec();
        h.extend(self.e_type.to_le_bytes());
        h.extend(self.e_machine.to_le_bytes());
        h.extend(self.e_version.to_le_bytes());
        h.extend(self.words(&[self.e_entry, self.e_phoff, self.e_shoff]));
        h.extend(self.e_flags.to_le_bytes());
        let phnum = self.e_phnum.unwrap_or(self.phdrs.len() as u16);
        let halves = [
            self.e_ehsize,
            self.e_phentsize,
            phnum,
            self.e_shentsize,
            self.e_shnum,
            self.e_shstrndx,
        ];
        h.extend(halves.iter().flat_map(|w| w.to_le_bytes()));
        h
    }

    /// Writes the file, executable by everybody.
    ///
    /// # Errors
    /// Those of writing files.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        write_program(path, &self.to_bytes())
    }
}

/// Writes bytes at an offset; what lies beyond 256 MiB is left out, as a lie that no file needs.
fn put(out: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let Some(end) = offset.checked_add(bytes.len() as u64).filter(|e| *e <= 256 << 20) else {
        return;
    };
    let (start, end) = (offset as usize, end as usize);
    if out.len() < end {
        out.resize(end, 0);
    }
    out[start..end].copy_from_slice(bytes);
}

/// Writes any executable file: a script, say.
///
/// # Errors
/// Those of writing files.
pub fn write_program(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let _lock = crate::file_lock();
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    drop(file);
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    // A process that was started without the lock, or whatever reads `/proc/PID/fd`, may keep it open
    // for a moment longer.
    let file = File::open(path)?;
    for _ in 0..5000 {
        if !crate::sys::has_writers(&file) {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    Err(std::io::ErrorKind::ExecutableFileBusy.into())
}
