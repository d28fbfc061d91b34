//! Small ELF programs, put together by hand: no compiler, and every field can be wrong.

pub(crate) const PT_LOAD: u32 = 1;
pub(crate) const PT_INTERP: u32 = 3;
pub(crate) const RX: u32 = 5;
pub(crate) const RW: u32 = 6;

/// Where the code lies in the file; up to there it is headers.
pub(crate) const CODE: u64 = 0x800;
/// Where `PT_INTERP` names its path.
pub(crate) const INTERP: u64 = 0x700;
/// Where programs of `Elf::exit` and `Elf::echo` are linked.
pub(crate) const BASE: u64 = 0x40_0000;

/// A program header.
#[derive(Clone, Debug)]
pub(crate) struct Ph {
    pub(crate) p_type: u32,
    pub(crate) flags: u32,
    pub(crate) offset: u64,
    pub(crate) vaddr: u64,
    pub(crate) filesz: u64,
    pub(crate) memsz: u64,
    pub(crate) align: u64,
}

/// An ELF file; `bytes` writes it as it stands, right or wrong.
#[derive(Clone, Debug)]
pub(crate) struct Elf {
    pub(crate) magic: [u8; 4],
    pub(crate) e_type: u16,
    pub(crate) machine: u16,
    pub(crate) entry: u64,
    pub(crate) phoff: u64,
    pub(crate) phentsize: u16,
    /// Instead of the number of headers there are.
    pub(crate) phnum: Option<u16>,
    pub(crate) phdrs: Vec<Ph>,
    pub(crate) interp: Vec<u8>,
    pub(crate) code: Vec<u8>,
    /// Cut the file off here.
    pub(crate) cut: Option<usize>,
}

impl Elf {
    fn new(code: Vec<u8>) -> Elf {
        let len = CODE + code.len() as u64;
        let load = Ph {
            p_type: PT_LOAD,
            flags: RX,
            offset: 0,
            vaddr: BASE,
            filesz: len,
            memsz: len,
            align: 4096,
        };
        Elf {
            magic: *b"\x7fELF",
            e_type: 2,
            machine: 62,
            entry: BASE + CODE,
            phoff: 64,
            phentsize: 56,
            phnum: None,
            phdrs: vec![load],
            interp: vec![],
            code,
            cut: None,
        }
    }

    /// A program that exits with a status.
    pub(crate) fn exit(status: u8) -> Elf {
        // mov edi, status; mov eax, exit_group; syscall
        Elf::new(vec![0xbf, status, 0, 0, 0, 0xb8, 0xe7, 0, 0, 0, 0x0f, 0x05])
    }

    /// A program that writes its arguments, each with its NUL, and exits with 42. Its environment
    /// must not be empty: that is where they end.
    pub(crate) fn echo() -> Elf {
        let mut code = vec![
            0x48, 0x8b, 0x04, 0x24, // mov rax, [rsp]
            0x48, 0x8b, 0x74, 0x24, 0x08, // mov rsi, [rsp + 8]
            0x48, 0x8b, 0x54, 0xc4, 0x10, // mov rdx, [rsp + 8 * rax + 16]
            0x48, 0x29, 0xf2, // sub rdx, rsi
            0xbf, 1, 0, 0, 0, // mov edi, 1
            0xb8, 1, 0, 0, 0, // mov eax, write
            0x0f, 0x05, // syscall
        ];
        code.extend(Elf::exit(42).code);
        Elf::new(code)
    }

    /// The same program at another place, or anywhere (`0`).
    pub(crate) fn at(mut self, base: u64) -> Elf {
        self.e_type = if base == 0 { 3 } else { 2 };
        self.entry = base + CODE;
        self.phdrs[0].vaddr = base;
        self
    }

    /// The same program with an interpreter.
    pub(crate) fn with_interp(mut self, path: &str) -> Elf {
        self.interp = [path.as_bytes(), b"\0"].concat();
        let size = self.interp.len() as u64;
        self.phdrs.push(Ph {
            p_type: PT_INTERP,
            flags: 4,
            offset: INTERP,
            vaddr: BASE + INTERP,
            filesz: size,
            memsz: size,
            align: 1,
        });
        self
    }

    /// The same program, changed.
    pub(crate) fn but(mut self, change: impl FnOnce(&mut Elf)) -> Elf {
        change(&mut self);
        self
    }

    /// The file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut f = self.magic.to_vec();
        f.extend([2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        f.extend(self.e_type.to_le_bytes());
        f.extend(self.machine.to_le_bytes());
        f.extend(1u32.to_le_bytes());
        f.extend(self.entry.to_le_bytes());
        f.extend(self.phoff.to_le_bytes());
        f.extend([0; 12]);
        f.extend(64u16.to_le_bytes());
        f.extend(self.phentsize.to_le_bytes());
        f.extend(self.phnum.unwrap_or(self.phdrs.len() as u16).to_le_bytes());
        f.extend([0; 6]);
        for p in &self.phdrs {
            f.extend(p.p_type.to_le_bytes());
            f.extend(p.flags.to_le_bytes());
            for field in [p.offset, p.vaddr, p.vaddr, p.filesz, p.memsz, p.align] {
                f.extend(field.to_le_bytes());
            }
        }
        f.resize(INTERP as usize, 0);
        f.extend(&self.interp);
        f.resize(f.len().max(CODE as usize), 0);
        f.truncate(f.len().max(CODE as usize));
        f.extend(&self.code);
        f.truncate(self.cut.unwrap_or(f.len()));
        f
    }
}
