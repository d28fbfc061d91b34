//! Files made to hurt: never a panic, never a hang, never much memory.

mod support;

use std::collections::HashMap;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use uexec_ld::{Disk, FileStat, Files, Ld, ReadAt, Settings};

/// Files in memory; anything else comes from the host.
struct Memory {
    files: HashMap<Vec<u8>, Rc<Vec<u8>>>,
    host: Disk,
}

struct Bytes(Rc<Vec<u8>>, u64);

impl ReadAt for Bytes {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|o| self.0.get(o..)).unwrap_or_default();
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn stat(&self) -> FileStat {
        FileStat { dev: 0, ino: self.1, len: self.0.len() as u64, mode: 0o755 }
    }
}

impl Files for Memory {
    fn open(&self, path: &[u8]) -> io::Result<Box<dyn ReadAt>> {
        match self.files.get(path) {
            Some(bytes) => Ok(Box::new(Bytes(Rc::clone(bytes), path.len() as u64))),
            None => self.host.open(path),
        }
    }

    fn real_path(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        Ok(path.to_vec())
    }
}

fn all(program: Vec<u8>, library: Vec<u8>) {
    let program = Rc::new(program);
    let files =
        HashMap::from([(b"/p".to_vec(), program), (b"/l/libc.so.6".to_vec(), Rc::new(library))]);
    let mut ld = Ld::new(Memory { files, host: Disk::host() });
    let settings = Settings { library_path: Some(b"/l".to_vec()), ..Settings::default() };
    let start = Instant::now();
    if let Ok(map) = ld.resolve(b"/p", &settings) {
        let _ = (map.trace(), map.failure());
        let _ = ld.bindings(&map, &settings);
    }
    assert!(start.elapsed() < Duration::from_secs(10), "took {:?}", start.elapsed());
}

/// A program and its C library, small enough to be changed often.
fn originals() -> Option<(Vec<u8>, Vec<u8>)> {
    let library = ["/lib/x86_64-linux-gnu/libz.so.1", "/lib/x86_64-linux-gnu/libdl.so.2"];
    let library = library.iter().find_map(|p| std::fs::read(p).ok())?;
    Some((std::fs::read("/bin/true").ok()?, library))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..Default::default() })]

    #[test]
    fn changed_files(
        changes in prop::collection::vec(
            (any::<bool>(), prop_oneof![0..64usize, 64..1024usize, 0..200_000usize],
             prop_oneof![Just(0u64), Just(u64::MAX), Just(0x7fff_ffff), any::<u64>(), 0..4096u64],
             1..8usize),
            1..12,
        ),
        cut in prop::option::weighted(0.1, 0..100_000usize),
    ) {
        let Some((mut program, mut library)) = originals() else { return Ok(()) };
        for (which, at, value, len) in changes {
            let bytes = if which { &mut program } else { &mut library };
            let at = at % bytes.len().max(1);
            for (to, from) in bytes.iter_mut().skip(at).take(len).zip(value.to_le_bytes()) {
                *to = from;
            }
        }
        if let Some(cut) = cut {
            program.truncate(cut);
        }
        all(program, library);
    }

    /// Values of dynamic entries and of tables, where it hurts most.
    #[test]
    fn changed_dynamic_sections(
        changes in prop::collection::vec((any::<bool>(), 0..40usize, any::<bool>(),
            prop_oneof![Just(0u64), Just(u64::MAX), 0..64u64, 0..0x4000u64, any::<u64>()]), 1..6),
    ) {
        let Some((mut program, mut library)) = originals() else { return Ok(()) };
        for (which, entry, tag, value) in changes {
            let bytes = if which { &mut program } else { &mut library };
            let Some(at) = dynamic_at(bytes) else { continue };
            let at = at + entry * 16 + if tag { 0 } else { 8 };
            if let Some(word) = bytes.get_mut(at..at + 8) {
                word.copy_from_slice(&value.to_le_bytes());
            }
        }
        all(program, library);
    }
}

/// File offset of `PT_DYNAMIC` in a 64-bit little-endian file with its headers at 64.
fn dynamic_at(bytes: &[u8]) -> Option<usize> {
    bytes
        .get(64..)?
        .chunks_exact(56)
        .take(16)
        .find(|h| h[0] == 2 && h[1..4] == [0; 3])
        .map(|h| u64::from_le_bytes(h[8..16].try_into().unwrap()) as usize)
}

/// 64-bit words, little-endian.
fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

/// A program whose one segment is the whole file, with this dynamic section and these strings.
fn program(dynamic: &[(u64, u64)], strings: &[u8]) -> Vec<u8> {
    let interp = b"/lib64/ld-linux-x86-64.so.2\0";
    let dynamic_at = 64 + 3 * 56;
    let len = (dynamic.len() as u64 + 2) * 16;
    let strings_at = dynamic_at + len;
    let interp_at = strings_at + strings.len() as u64;
    let end = interp_at + interp.len() as u64;
    let mut out = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0\x01\0\0\0".to_vec();
    out.extend(words(&[0, 64, 0]));
    out.extend([0, 0, 0, 0, 64, 0, 56, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
    out.extend(words(&[1 | 5 << 32, 0, 0, 0, end, end, 4096]));
    out.extend(words(&[2 | 4 << 32, dynamic_at, dynamic_at, dynamic_at, len, len, 8]));
    let n = interp.len() as u64;
    out.extend(words(&[3 | 4 << 32, interp_at, interp_at, interp_at, n, n, 1]));
    for (tag, value) in dynamic {
        out.extend(words(&[*tag, *value]));
    }
    out.extend(words(&[5, strings_at, 0, 0]));
    out.extend(strings);
    out.extend(interp);
    out
}

#[test]
fn thousands_of_needs_in_thousands_of_directories() {
    let mut strings = b"libx.so\0".to_vec();
    let path = strings.len() as u64;
    for n in 0..9_000 {
        strings.extend(format!("/{n:x}:").bytes());
    }
    strings.push(0);
    let mut dynamic = vec![(15, path)];
    dynamic.extend((0..6000).map(|n| (1, n % 7)));
    all(program(&dynamic, &strings), Vec::new());
}

#[test]
fn the_same_long_string_again_and_again() {
    let mut strings = vec![b'x'; 60_000];
    strings.push(0);
    let dynamic: Vec<(u64, u64)> = (0..16_000).map(|n| (1, n % 7)).collect();
    all(program(&dynamic, &strings), Vec::new());
}

#[test]
fn a_sparse_file_of_four_gib() {
    let dir = support::Dir::new("sparse");
    let path = dir.path("p");
    let symtab = 1 << 20;
    let dynamic = [(6, symtab), (4, 4096), (7, symtab), (8, 1 << 31), (0x6fff_fff0, symtab)];
    let mut bytes = program(&dynamic, b"\0");
    // The segment covers all of it.
    bytes[64 + 32..64 + 40].copy_from_slice(&(4u64 << 30).to_le_bytes());
    bytes.resize(4096, 0);
    bytes.extend([0xff; 8]);
    std::fs::write(&path, &bytes).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    if file.set_len(4 << 30).is_err() {
        eprintln!("SKIPPED: no sparse files here");
        return;
    }
    let start = Instant::now();
    let mut ld = Ld::new(Disk::host());
    let settings = Settings::default();
    let map = ld.resolve(path.as_os_str().as_bytes(), &settings).unwrap();
    let _ = ld.bindings(&map, &settings);
    assert!(start.elapsed() < Duration::from_secs(5), "took {:?}", start.elapsed());
}
