//! `/etc/ld.so.cache` in the format `glibc-ld.so.cache1.1`: names of libraries and where they
//! are. Decodes; opens nothing.
//!
//! Header (48 bytes): magic, number of entries, size of the strings, flags, offset of the
//! extensions. Entries (24 bytes): flags, name, path, an unused word, hardware capabilities. Old
//! caches hold the same after a part in an older format.

use std::collections::HashMap;

use crate::elf::{Fields, Kind};

const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const OLD_MAGIC: &[u8] = b"ld.so-1.7.0";
const EXTENSION_MAGIC: u32 = 0xeaa4_2174;
/// The capability word is an index into the names of extension 1.
const NAMED: u64 = 1 << 62;
const MAX_ENTRIES: usize = 1 << 17;
const MAX_PATH: usize = 4096;

/// A library as the cache knows it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    flags: u32,
    path: Vec<u8>,
    caps: Caps,
}

#[derive(Debug, PartialEq, Eq)]
enum Caps {
    None,
    /// For a `glibc-hwcaps` subdirectory.
    Named(Vec<u8>),
    /// Bits of older glibc.
    Bits(u64),
}

/// All of a cache.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    entries: HashMap<Vec<u8>, Vec<Entry>>,
}

impl Cache {
    /// What of it can be read; a cache that is not one is empty.
    pub(crate) fn read(bytes: &[u8]) -> Cache {
        let mut cache = Cache::default();
        if let Some(start) = start(bytes) {
            cache.fill(bytes.get(start..).unwrap_or_default());
        }
        cache
    }

    fn fill(&mut self, bytes: &[u8]) -> Option<()> {
        let kind = Kind { wide: true, big: byte_order(bytes)?, machine: 0 };
        let f = Fields::new(bytes, kind);
        let count = f.u32(20)? as usize;
        let names = hwcaps_names(bytes, f.u32(32)? as usize, kind).unwrap_or_default();
        for nr in 0..count.min(MAX_ENTRIES) {
            let at = 48 + nr * 24;
            let caps = match f.u64(at + 16)? {
                0 => Caps::None,
                caps if caps & NAMED != 0 => {
                    Caps::Named(names.get(caps as u32 as usize).cloned().unwrap_or_default())
                }
                caps => Caps::Bits(caps),
            };
            let (Some(name), Some(path)) =
                (string(bytes, f.u32(at + 4)? as usize), string(bytes, f.u32(at + 8)? as usize))
            else {
                continue;
            };
            let entry = Entry { flags: f.u32(at)?, path: path.to_vec(), caps };
            self.entries.entry(name.to_vec()).or_default().push(entry);
        }
        Some(())
    }

    /// Where a library is, for objects with these flags: the best of the processor's levels,
    /// else the first that asks for nothing it lacks.
    pub(crate) fn lookup(&self, name: &[u8], flags: u32, levels: &[Vec<u8>]) -> Option<&[u8]> {
        let mut best: Option<(usize, &Entry)> = None;
        for entry in self.entries.get(name)?.iter().filter(|e| e.flags == flags) {
            let rank = match &entry.caps {
                Caps::None => levels.len(),
                // HWCAP_X86_64, the one bit every such processor has.
                Caps::Bits(bits) if *bits & !2 == 0 => levels.len(),
                Caps::Bits(_) => continue,
                Caps::Named(level) => match levels.iter().position(|l| l == level) {
                    Some(rank) => rank,
                    None => continue,
                },
            };
            if best.is_none_or(|(b, _)| rank < b) {
                best = Some((rank, entry));
            }
        }
        best.map(|(_, entry)| entry.path.as_slice())
    }
}

/// The flags of cache entries that a loader for such objects takes.
pub(crate) fn flags(kind: Kind) -> u32 {
    match (kind.machine, kind.wide) {
        (62, true) => 0x303,
        (62, false) => 0x803,
        (183, _) => 0xa03,
        (243, _) => 0x1003,
        (21 | 22, true) => 0x503,
        _ => 3,
    }
}

fn start(bytes: &[u8]) -> Option<usize> {
    if bytes.starts_with(MAGIC) {
        return Some(0);
    }
    if !bytes.starts_with(OLD_MAGIC) {
        return None;
    }
    // Magic and count in 16 bytes, entries of 12, then the new format, aligned.
    let count = u32::from_le_bytes(bytes.get(12..16)?.try_into().ok()?) as usize;
    let at = 16usize.checked_add(count.checked_mul(12)?)?.checked_next_multiple_of(8)?;
    bytes.get(at..)?.starts_with(MAGIC).then_some(at)
}

/// Whether it is big-endian: a field since glibc 2.33, 0 before, for "the writer's".
fn byte_order(bytes: &[u8]) -> Option<bool> {
    match bytes.get(28)? & 3 {
        2 => Some(false),
        3 => Some(true),
        0 => Some(cfg!(target_endian = "big")),
        _ => None,
    }
}

fn string(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let rest = bytes.get(at..)?;
    let rest = rest.get(..rest.len().min(MAX_PATH))?;
    rest.get(..rest.iter().position(|b| *b == 0)?)
}

/// Names of the subdirectories that entries refer to by number.
fn hwcaps_names(bytes: &[u8], at: usize, kind: Kind) -> Option<Vec<Vec<u8>>> {
    let f = Fields::new(bytes.get(at..).filter(|_| at != 0)?, kind);
    if f.u32(0)? != EXTENSION_MAGIC {
        return None;
    }
    for section in 0..(f.u32(4)? as usize).min(64) {
        let entry = 8 + section * 16;
        // Tag 1: an array of offsets of names.
        if f.u32(entry)? == 1 {
            let (from, size) = (f.u32(entry + 8)? as usize, f.u32(entry + 12)? as usize);
            let table = bytes.get(from..from.checked_add(size)?)?;
            let offsets = table.chunks_exact(4).take(256);
            let name = |b: &[u8]| string(bytes, Fields::new(b, kind).u32(0)? as usize);
            return Some(offsets.map(|b| name(b).unwrap_or_default().to_vec()).collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cache of `libx.so` for no level and for two.
    pub(crate) fn sample() -> Vec<u8> {
        let strings = b"libx.so\0/p\0/v2\0/v3\0x86-64-v2\0x86-64-v3\0";
        let base = 48 + 3 * 24;
        let extension = base + strings.len();
        let mut out = MAGIC.to_vec();
        for word in [3, strings.len() as u32, 2, extension as u32, 0, 0, 0] {
            out.extend(word.to_le_bytes());
        }
        for (path, caps) in [(8u32, 0), (11, NAMED), (15, NAMED | 1)] {
            for word in [0x303, base as u32, base as u32 + path, 0] {
                out.extend(word.to_le_bytes());
            }
            out.extend(caps.to_le_bytes());
        }
        out.extend(strings);
        for word in [EXTENSION_MAGIC, 1, 1, 0, extension as u32 + 24, 8] {
            out.extend(word.to_le_bytes());
        }
        for name in [19, 29] {
            out.extend((base as u32 + name).to_le_bytes());
        }
        out
    }

    #[test]
    fn levels_decide() {
        let cache = Cache::read(&sample());
        let levels = [b"x86-64-v3".to_vec(), b"x86-64-v2".to_vec()];
        assert_eq!(cache.lookup(b"libx.so", 0x303, &levels), Some(b"/v3".as_slice()));
        assert_eq!(cache.lookup(b"libx.so", 0x303, &levels[1..]), Some(b"/v2".as_slice()));
        assert_eq!(cache.lookup(b"libx.so", 0x303, &[]), Some(b"/p".as_slice()));
        assert_eq!(cache.lookup(b"libx.so", 3, &[]), None);
        assert_eq!(cache.lookup(b"liby.so", 0x303, &[]), None);
    }

    #[test]
    fn any_prefix_and_any_flip_is_read_without_panic() {
        let bytes = sample();
        for n in 0..bytes.len() {
            Cache::read(&bytes[..n]);
            for value in [0, 0xff, 0x80] {
                let mut wrong = bytes.clone();
                wrong[n] = value;
                Cache::read(&wrong);
            }
        }
    }
}
