//! Builds ELF files, right or wrong.

pub const R: u32 = 4;
pub const W: u32 = 2;
pub const X: u32 = 1;
pub const LOAD: u32 = 1;
pub const INTERP: u32 = 3;
pub const STACK: u32 = 0x6474_e551;

/// A program header.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ph {
    pub kind: u32,
    pub flags: u32,
    pub offset: u64,
    pub vaddr: u64,
    pub filesz: u64,
    pub memsz: u64,
    pub align: u64,
}

/// A `PT_LOAD` whose memory is as large as its file part.
pub const fn load(flags: u32, offset: u64, vaddr: u64, filesz: u64) -> Ph {
    Ph { kind: LOAD, flags, offset, vaddr, filesz, memsz: filesz, align: 4096 }
}

impl Ph {
    pub const fn mem(mut self, memsz: u64) -> Ph {
        self.memsz = memsz;
        self
    }

    pub const fn align(mut self, align: u64) -> Ph {
        self.align = align;
        self
    }
}

/// An ELF file.
#[derive(Clone, Debug)]
pub struct Elf {
    pub class32: bool,
    pub e_type: u16,
    pub machine: u16,
    pub entry: u64,
    pub phoff: u64,
    pub phentsize: u16,
    /// Written instead of the real number.
    pub phnum: Option<u16>,
    pub phs: Vec<Ph>,
    pub size: usize,
    pub bytes: Vec<(usize, Vec<u8>)>,
}

impl Elf {
    pub fn new(e_type: u16, entry: u64, phs: &[Ph]) -> Elf {
        let (phoff, phentsize, size) = (64, 56, 0x3000);
        let (phs, bytes) = (phs.to_vec(), Vec::new());
        let class32 = false;
        Elf { class32, e_type, machine: 62, entry, phoff, phentsize, phnum: None, phs, size, bytes }
    }

    /// `ET_EXEC`, one page at 0x400000.
    pub fn fixed() -> Elf {
        Elf::new(2, 0x40_0100, &[load(R | X, 0, 0x40_0000, 0x1000)])
    }

    /// `ET_DYN` without an interpreter: code and data.
    pub fn static_pie() -> Elf {
        let data = load(R | W, 0x1000, 0x1000, 0x800).mem(0x1800);
        Elf::new(3, 0x100, &[load(R | X, 0, 0, 0x1000), data])
    }

    /// `ET_DYN` with the interpreter `/ld`.
    pub fn pie() -> Elf {
        Elf::static_pie().with_interp(b"/ld\0")
    }

    /// A dynamic loader.
    pub fn ld() -> Elf {
        Elf::new(3, 0x200, &[load(R | X, 0, 0, 0x2000), load(R | W, 0x2000, 0x2000, 0x1000)])
    }

    /// Adds a `PT_INTERP` in front of the other headers.
    pub fn with_interp(mut self, path: &[u8]) -> Elf {
        let (offset, len) = (0x2800, path.len() as u64);
        self.bytes.push((offset as usize, path.to_vec()));
        let ph = Ph { kind: INTERP, flags: R, offset, filesz: len, memsz: len, ..Ph::default() };
        self.phs.insert(0, ph);
        self
    }

    /// Adds any program header.
    pub fn and(mut self, ph: Ph) -> Elf {
        self.phs.push(ph);
        self
    }

    /// The same for i386: ELF32.
    pub fn i386(self) -> Elf {
        Elf { class32: true, machine: 3, phoff: 52, phentsize: 32, ..self }
    }

    fn build32(&self) -> Vec<u8> {
        let mut out = vec![0; self.size];
        let mut put = |at: u64, bytes: &[u8]| {
            let to = usize::try_from(at).ok().and_then(|at| out.get_mut(at..at + bytes.len()));
            if let Some(to) = to {
                to.copy_from_slice(bytes);
            }
        };
        let word = |x: u64| (x as u32).to_le_bytes();
        put(0, b"\x7fELF\x01\x01\x01");
        put(16, &self.e_type.to_le_bytes());
        put(18, &self.machine.to_le_bytes());
        put(24, &word(self.entry));
        put(28, &word(self.phoff));
        put(42, &self.phentsize.to_le_bytes());
        put(44, &self.phnum.unwrap_or(self.phs.len() as u16).to_le_bytes());
        for (i, p) in self.phs.iter().enumerate() {
            let fields = [p.offset, p.vaddr, p.vaddr, p.filesz, p.memsz, p.flags.into(), p.align];
            let at = self.phoff.saturating_add(i as u64 * 32).min(1 << 32);
            put(at, &p.kind.to_le_bytes());
            for (j, v) in fields.iter().enumerate() {
                put(at + 4 + 4 * j as u64, &word(*v));
            }
        }
        for (at, bytes) in &self.bytes {
            put(*at as u64, bytes);
        }
        out
    }

    pub fn build(&self) -> Vec<u8> {
        if self.class32 {
            return self.build32();
        }
        let mut out = vec![0; self.size];
        let mut put = |at: usize, bytes: &[u8]| {
            if let Some(to) = out.get_mut(at..at + bytes.len()) {
                to.copy_from_slice(bytes);
            }
        };
        put(0, b"\x7fELF\x02\x01\x01");
        put(16, &self.e_type.to_le_bytes());
        put(18, &self.machine.to_le_bytes());
        put(24, &self.entry.to_le_bytes());
        put(32, &self.phoff.to_le_bytes());
        put(54, &self.phentsize.to_le_bytes());
        put(56, &self.phnum.unwrap_or(self.phs.len() as u16).to_le_bytes());
        for (i, p) in self.phs.iter().enumerate() {
            let Some(at) =
                usize::try_from(self.phoff).ok().filter(|at| *at < self.size).map(|at| at + i * 56)
            else {
                break;
            };
            put(at, &p.kind.to_le_bytes());
            put(at + 4, &p.flags.to_le_bytes());
            for (j, v) in
                [p.offset, p.vaddr, p.vaddr, p.filesz, p.memsz, p.align].iter().enumerate()
            {
                put(at + 8 + 8 * j, &v.to_le_bytes());
            }
        }
        for (at, bytes) in &self.bytes {
            put(*at, bytes);
        }
        out
    }
}

impl From<Elf> for Vec<u8> {
    fn from(elf: Elf) -> Vec<u8> {
        elf.build()
    }
}

/// The same file for another machine: its numbers in the other order if it is a big-endian one.
pub fn foreign(elf: Elf, wide: bool, big: bool, machine: u16) -> Vec<u8> {
    let elf = if wide { elf } else { elf.i386() };
    let count = elf.phs.len();
    let mut bytes = Elf { machine, ..elf }.build();
    if big {
        bytes[5] = 2;
        let word = if wide { 8 } else { 4 };
        let (ehdr, phdr) = if wide { (64, 56) } else { (52, 32) };
        let mut flip = |at: usize, len: usize| bytes[at..at + len].reverse();
        [16, 18].iter().for_each(|at| flip(*at, 2));
        (0..3).for_each(|i| flip(24 + i * word, word));
        (0..6).for_each(|i| flip(ehdr - 12 + 2 * i, 2));
        for i in 0..count {
            let at = ehdr + i * phdr;
            flip(at, 4);
            if wide {
                flip(at + 4, 4);
                (1..7).for_each(|f| flip(at + 8 * f, 8));
            } else {
                (1..8).for_each(|f| flip(at + 4 * f, 4));
            }
        }
    }
    bytes
}
