//! What an ELF file is, of whatever machine: read from its first bytes and its program headers.
//! The core decides about this machine's programs only. Never trusts a size or an offset.

use uexec_core::abi::elf::{EM_X86_64, ET_DYN, MAGIC, PT_INTERP};
use uexec_core::arch::I386;
use uexec_core::image::Image;
use uexec_core::machine_name;

/// `elf(5)`.
const PT_DYNAMIC: u64 = 2;
const DT_NULL: u64 = 0;
const DT_SONAME: u64 = 14;
const DT_FLAGS_1: u64 = 0x6fff_fffb;
/// Set by linkers in programs, never in libraries (`elf.h`).
const DF_1_PIE: u64 = 0x0800_0000;
/// Program headers and dynamic sections longer than this are not looked at.
const TABLE_MAX: u64 = 65_536;

/// Reads at an offset into the buffer; says how many bytes there were.
pub(crate) type Read<'a> = &'a mut dyn FnMut(u64, &mut [u8]) -> usize;

/// The identification of an ELF file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ident {
    /// 32 or 64.
    pub(crate) class: u8,
    /// Whether numbers start with the high byte.
    pub(crate) big_endian: bool,
    /// `e_type`.
    pub(crate) e_type: u16,
    /// `e_machine`.
    pub(crate) e_machine: u16,
}

impl Ident {
    /// Reads the first bytes of a file; `None` if it is no ELF file.
    pub(crate) fn of(head: &[u8]) -> Option<Ident> {
        let class = match head.strip_prefix(&MAGIC)?.first()? {
            1 => 32,
            _ => 64,
        };
        let big_endian = *head.get(5)? == 2;
        let word = |at| word(head, at, 2, big_endian).map(|w| w as u16);
        Some(Ident { class, big_endian, e_type: word(16)?, e_machine: word(18)? })
    }

    /// Whether it is for the processor and the class that are decided here.
    pub(crate) fn is_native(self) -> bool {
        self == Ident { e_type: self.e_type, ..Ident::native() }
    }

    /// Whether it is for the processor's 32-bit mode, which most kernels run as well.
    pub(crate) fn is_i386(self) -> bool {
        self.class == 32 && !self.big_endian && I386.machines.contains(&self.e_machine)
    }

    /// That of a program that has been planned.
    pub(crate) fn of_image(image: &Image) -> Ident {
        let (header, arch) = (&image.program.header, image.arch);
        Ident {
            class: arch.class.bits(),
            big_endian: arch.big_endian,
            e_type: header.e_type,
            e_machine: header.e_machine,
        }
    }

    /// What this machine runs.
    const fn native() -> Ident {
        Ident { class: 64, big_endian: false, e_type: ET_DYN, e_machine: EM_X86_64 }
    }

    /// The machine by its usual name, or its number.
    pub(crate) fn machine(self) -> String {
        match machine_name(self.e_machine) {
            "unknown" => format!("machine {}", self.e_machine),
            known => known.to_owned(),
        }
    }

    /// Machine, class and, where it is the less usual one, byte order.
    pub(crate) fn describe(self) -> String {
        let order = if self.big_endian { ", big-endian" } else { "" };
        format!("{} ({}-bit{order})", self.machine(), self.class)
    }
}

/// Whether an ELF file is a shared library: of type `ET_DYN` without `PT_INTERP`, not marked as a
/// program, and with a `DT_SONAME` or a name like `*.so` or `*.so.*`. A static PIE has none of
/// these.
pub(crate) fn is_library(path: &[u8], read: Read<'_>) -> bool {
    let mut head = [0; 64];
    let n = read(0, &mut head);
    let Some(ident) = Ident::of(&head[..n]).filter(|i| i.e_type == ET_DYN) else { return false };
    let Some(dynamic) = dynamic(&head, ident, read) else { return false };
    if dynamic.iter().any(|(tag, value)| *tag == DT_FLAGS_1 && value & DF_1_PIE != 0) {
        return false;
    }
    dynamic.iter().any(|(tag, _)| *tag == DT_SONAME) || has_library_name(path)
}

/// `*.so` or `*.so.*`.
fn has_library_name(path: &[u8]) -> bool {
    let name = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
    name.ends_with(b".so") || name.windows(4).any(|w| w == b".so.")
}

/// The dynamic section, empty where there is none; `None` with a `PT_INTERP` or without readable
/// headers.
fn dynamic(head: &[u8], ident: Ident, read: Read<'_>) -> Option<Vec<(u64, u64)>> {
    let wide = ident.class == 64;
    let get = |b: &[u8], at: usize, len: usize| word(b, at, len, ident.big_endian);
    let size = if wide { 8 } else { 4 };
    let (phoff, entsize, count) = match wide {
        true => (get(head, 32, 8)?, get(head, 54, 2)?, get(head, 56, 2)?),
        false => (get(head, 28, 4)?, get(head, 42, 2)?, get(head, 44, 2)?),
    };
    let entry = if wide { 56 } else { 32 };
    if entsize != entry || count * entsize > TABLE_MAX {
        return None;
    }
    let mut table = vec![0; (count * entsize) as usize];
    let n = read(phoff, &mut table);
    let mut found = Vec::new();
    for ph in table[..n].chunks_exact(entry as usize) {
        let p_type = get(ph, 0, 4)?;
        if p_type == u64::from(PT_INTERP) {
            return None;
        }
        if p_type != PT_DYNAMIC || !found.is_empty() {
            continue;
        }
        let (offset, filesz) = match wide {
            true => (get(ph, 8, 8)?, get(ph, 32, 8)?),
            false => (get(ph, 4, 4)?, get(ph, 16, 4)?),
        };
        let mut section = vec![0; filesz.min(TABLE_MAX) as usize];
        let n = read(offset, &mut section);
        for pair in section[..n].chunks_exact(2 * size) {
            let (tag, value) = (get(pair, 0, size)?, get(pair, size, size)?);
            if tag == DT_NULL {
                break;
            }
            found.push((tag, value));
        }
    }
    Some(found)
}

fn word(bytes: &[u8], at: usize, len: usize, big_endian: bool) -> Option<u64> {
    let part = bytes.get(at..at.checked_add(len)?)?;
    let join = |all: u64, b: &u8| all << 8 | u64::from(*b);
    Some(match big_endian {
        true => part.iter().fold(0, join),
        false => part.iter().rev().fold(0, join),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(class: u8, data: u8, e_type: u16, machine: u16) -> Vec<u8> {
        let mut b = b"\x7fELF".to_vec();
        b.extend([class, data, 1]);
        b.resize(64, 0);
        let put = |v: u16| if data == 2 { v.to_be_bytes() } else { v.to_le_bytes() };
        b[16..18].copy_from_slice(&put(e_type));
        b[18..20].copy_from_slice(&put(machine));
        b
    }

    #[test]
    fn machines_by_name_class_and_byte_order() {
        let text = |c, d, m| Ident::of(&header(c, d, 2, m)).unwrap().describe();
        assert_eq!(text(2, 1, 183), "aarch64 (64-bit)");
        assert_eq!(text(1, 1, 3), "i386 (32-bit)");
        assert_eq!(text(2, 2, 22), "s390 (64-bit, big-endian)");
        assert_eq!(text(2, 1, 999), "machine 999 (64-bit)");
        assert!(Ident::of(&header(2, 1, 2, 62)).unwrap().is_native());
        assert!(!Ident::of(&header(1, 1, 2, 62)).unwrap().is_native());
        assert_eq!(Ident::of(b"\x7fELF"), None);
    }

    #[test]
    fn names_of_libraries() {
        for yes in ["/a/libx.so", "liby.so.1.2", "mod.cpython-313-x86_64-linux-gnu.so"] {
            assert!(has_library_name(yes.as_bytes()), "{yes}");
        }
        for no in ["/a.so.d/prog", "prog.sock", "so", "x.so-old"] {
            assert!(!has_library_name(no.as_bytes()), "{no}");
        }
    }

    #[test]
    fn lying_headers_are_survived() {
        let mut b = header(2, 1, 3, 62);
        b[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
        b[54] = 56;
        b[56..58].copy_from_slice(&u16::MAX.to_le_bytes());
        let mut read = |at: u64, buf: &mut [u8]| {
            let rest = usize::try_from(at).ok().and_then(|at| b.get(at..)).unwrap_or_default();
            let n = rest.len().min(buf.len());
            buf[..n].copy_from_slice(&rest[..n]);
            n
        };
        assert!(!is_library(b"x.so", &mut read));
    }
}
