//! Where this process's own vdso is and where its mappings end, asked as cheaply as the kernel
//! allows: a few queries where it has them (6.11), else by reading `/proc/self/maps`.

use alloc::borrow::{Cow, ToOwned};
use alloc::string::String;
use alloc::vec::Vec;

use rustix::fd::AsFd;

use uexec_core::mm::Prot;
use uexec_core::world::VdsoPart;

use crate::ffi;

/// What is needed of the process's own address space.
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnMaps {
    /// The parts of the vdso block, low to high.
    pub(crate) parts: Vec<VdsoPart>,
    /// Where the block starts; 0 without a vdso.
    pub(crate) vdso_start: u64,
    /// End of the highest mapping below the stack: where the kernel's search began.
    pub(crate) mmap_base: Option<u64>,
}

/// One mapping, as far as this room cares.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    start: u64,
    end: u64,
    name: String,
}

impl OwnMaps {
    /// Asks the kernel about the vdso at `vdso` (`AT_SYSINFO_EHDR`, 0 for none).
    pub(crate) fn ask(vdso: u64) -> OwnMaps {
        let by_query = crate::procfs::open_read(c"/proc/self/maps").ok().and_then(|f| {
            let ask = |addr: u64| {
                let mut name = [0u8; 32];
                let q = ffi::map_query(f.as_fd(), addr, &mut name).ok()?;
                let end = name.iter().position(|b| *b == 0).unwrap_or(0);
                let name = String::from_utf8_lossy(&name[..end]).into_owned();
                Some(Entry { start: q.start, end: q.end, name })
            };
            OwnMaps::from_lookup(vdso, ask)
        });
        by_query.unwrap_or_else(|| {
            let text = crate::procfs::read_file(c"/proc/self/maps");
            let text = String::from_utf8_lossy(&text);
            let all: Vec<Entry> = text.lines().filter_map(parse).collect();
            let ask = |addr: u64| all.iter().find(|e| e.end > addr).cloned();
            OwnMaps::from_lookup(vdso, ask).unwrap_or_default()
        })
    }

    /// `ask` finds the mapping that covers an address, or the next above it. `None` when the
    /// first question already fails.
    fn from_lookup(vdso: u64, ask: impl Fn(u64) -> Option<Entry>) -> Option<OwnMaps> {
        let mut own = OwnMaps::default();
        let code = ask(vdso)?;
        let mut from = code.end;
        if code.name == "[vdso]" && code.start == vdso {
            own.vdso_start = code.start;
            own.parts.push(part(code.name.clone(), code.end - code.start));
            // The data pages lie directly below.
            while let Some(e) = ask(own.vdso_start.wrapping_sub(1))
                && e.end == own.vdso_start
                && e.name.starts_with("[vvar")
            {
                own.vdso_start = e.start;
                own.parts.insert(0, part(e.name, e.end - e.start));
            }
        } else {
            from = code.start;
        }
        let mut last = from;
        while let Some(e) = ask(last) {
            if e.name == "[stack]" || e.name == "[vsyscall]" {
                own.mmap_base = Some(last);
                break;
            }
            last = e.end;
        }
        Some(own)
    }
}

/// Permissions of a vdso part by its name.
pub(crate) fn part(name: String, len: u64) -> VdsoPart {
    let code = name == "[vdso]";
    let prot = if code { Prot::READ | Prot::EXEC } else { Prot::READ };
    VdsoPart { name: Cow::Owned(name), len, prot }
}

fn parse(line: &str) -> Option<Entry> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    let hex = |s| u64::from_str_radix(s, 16).ok();
    let name = rest.split_whitespace().nth(4).unwrap_or("").to_owned();
    Some(Entry { start: hex(start)?, end: hex(end)?, name })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
00400000-00500000 r-xp 00000000 fe:00 1    /x
7ffff7ff1000-7ffff7ff5000 r--p 00000000 00:00 0                          [vvar]
7ffff7ff5000-7ffff7ff7000 r--p 00000000 00:00 0                          [vvar_vclock]
7ffff7ff7000-7ffff7ff9000 r-xp 00000000 00:00 0                          [vdso]
7ffff7ff9000-7ffff7ffe000 r--p 00000000 fe:00 2    /ld.so
7ffffffde000-7ffffffff000 rw-p 00000000 00:00 0                          [stack]
";

    #[test]
    fn finds_the_block_and_the_base() {
        let all: Vec<Entry> = MAPS.lines().filter_map(parse).collect();
        let ask = |addr: u64| all.iter().find(|e| e.end > addr).cloned();
        let own = OwnMaps::from_lookup(0x7fff_f7ff_7000, ask).unwrap();
        assert_eq!(own.vdso_start, 0x7fff_f7ff_1000);
        assert_eq!(own.parts.len(), 3);
        assert_eq!(own.mmap_base, Some(0x7fff_f7ff_e000));
    }

    #[test]
    fn queries_and_text_agree_on_this_process() {
        let vdso = crate::procfs::read_file(c"/proc/self/auxv")
            .chunks_exact(16)
            .find(|p| p[0] == 33)
            .map(|p| u64::from_ne_bytes(p[8..].try_into().unwrap()))
            .unwrap();
        let asked = OwnMaps::ask(vdso);
        let text = crate::procfs::read_file(c"/proc/self/maps");
        let text = String::from_utf8_lossy(&text);
        let all: Vec<Entry> = text.lines().filter_map(parse).collect();
        let ask = |addr: u64| all.iter().find(|e| e.end > addr).cloned();
        let read = OwnMaps::from_lookup(vdso, ask).unwrap();
        assert_eq!(asked.parts, read.parts);
        assert_eq!(asked.mmap_base, read.mmap_base);
    }
}
