//! The mappings of another process, as `/proc/PID/smaps` tells them. Only looks.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use rustix::fs::{CWD, StatxFlags, statx};
use uexec_core::coredump::{Backing, Filter, Vma, amount};
use uexec_core::mm::Prot;

use super::DumpError;
use crate::procfs::{Text, open_read, pread_all};

/// What a line says beyond the mapping itself: device and inode of the file.
struct Found {
    vma: Vma,
    inode: u64,
}

/// All mappings, low to high. `pid` may be any thread of the process that has not ended.
pub(super) fn mappings(pid: i32, filter: Filter) -> Result<Vec<Vma>, DumpError> {
    let mut found: Vec<Found> = Vec::new();
    let whole = |name: &str| {
        let path = Text::new(format_args!("/proc/{pid}/{name}"));
        open_read(path.as_c_str())
    };
    // Kernels without CONFIG_PROC_PAGE_MONITOR have the plain list only.
    let (fd, plain) = match whole("smaps") {
        Ok(fd) => (Ok(fd), false),
        Err(rustix::io::Errno::NOENT) => (whole("maps"), true),
        Err(e) => (Err(e), false),
    };
    let error = |e| DumpError::process("read the mappings of", pid)(crate::ffi::errno(e));
    let fd = fd.map_err(error)?;
    let mut line: Vec<u8> = Vec::new();
    let mut buf = vec![0u8; 64 << 10];
    loop {
        let n = rustix::io::retry_on_intr(|| rustix::io::read(&fd, &mut buf)).map_err(error)?;
        if n == 0 {
            break;
        }
        for piece in buf.get(..n).unwrap_or_default().split_inclusive(|b| *b == b'\n') {
            line.extend_from_slice(piece);
            if line.last() == Some(&b'\n') {
                line.pop();
                take(&line, &mut found);
                line.clear();
            }
        }
    }
    if found.is_empty() {
        return Err(DumpError::Gone);
    }
    let mem = whole("mem").ok();
    let mut vmas = Vec::with_capacity(found.len());
    for Found { mut vma, inode } in found {
        if plain {
            vma.private_pages = !vma.shared && vma.prot.contains(Prot::WRITE);
        }
        back(pid, &mut vma, inode);
        if amount::needs_magic(&vma, filter)
            && let Some(mem) = &mem
        {
            let mut magic = [0; 4];
            vma.elf_magic = pread_all(mem, &mut magic, vma.start) == 4 && magic == *b"\x7fELF";
        }
        vmas.push(vma);
    }
    Ok(vmas)
}

/// Takes a line: the head of a mapping, or one of its facts.
fn take(line: &[u8], found: &mut Vec<Found>) {
    let label = line.iter().take_while(|b| **b != b' ').count();
    if line.get(..label).is_none_or(|l| l.last() != Some(&b':')) {
        found.extend(head(line));
        return;
    }
    let Some(last) = found.last_mut() else { return };
    let value = line.get(label..).unwrap_or_default().trim_ascii();
    let kib = || {
        let digits = value.split(|b| *b == b' ').next().unwrap_or_default();
        core::str::from_utf8(digits).ok().and_then(|t| t.parse::<u64>().ok()).unwrap_or(0) << 10
    };
    match line.get(..label).unwrap_or_default() {
        b"Rss:" => last.vma.resident = kib(),
        b"Swap:" => {
            last.vma.resident += kib();
            last.vma.private_pages |= kib() > 0 && !last.vma.shared;
        }
        b"Anonymous:" => last.vma.private_pages |= kib() > 0 && !last.vma.shared,
        b"Private_Hugetlb:" => last.vma.private_pages |= kib() > 0 && !last.vma.shared,
        b"VmFlags:" => {
            let has = |flag: &[u8]| value.split(|b| *b == b' ').any(|f| f == flag);
            // A shared mapping of a file that is open for reading only counts as private.
            last.vma.shared = has(b"sh");
            last.vma.dont_dump = has(b"dd");
            last.vma.io = has(b"io");
            last.vma.hugetlb = has(b"ht");
        }
        _ => {}
    }
}

/// A line of `proc_pid_maps(5)`.
fn head(line: &[u8]) -> Option<Found> {
    let mut words = line.splitn(6, |b| *b == b' ');
    let mut next = || words.next().unwrap_or_default();
    let (range, perms, offset, _device, inode, name) =
        (next(), next(), next(), next(), next(), next());
    let hex = |b: &[u8]| u64::from_str_radix(core::str::from_utf8(b).ok()?, 16).ok();
    let dash = range.iter().position(|b| *b == b'-')?;
    let mut prot = Prot::empty();
    for (at, c, p) in [(0, b'r', Prot::READ), (1, b'w', Prot::WRITE), (2, b'x', Prot::EXEC)] {
        prot.set(p, perms.get(at) == Some(&c));
    }
    let inode = core::str::from_utf8(inode).ok()?.parse().ok()?;
    let name = name.trim_ascii_start().to_vec();
    let mut vma = Vma {
        start: hex(range.get(..dash)?)?,
        end: hex(range.get(dash + 1..)?)?,
        prot,
        shared: perms.get(3) == Some(&b's'),
        ..Vma::default()
    };
    let named_shared = name.starts_with(b"[anon_shmem:");
    if inode != 0 || name.starts_with(b"/") || named_shared {
        // The only byte that is escaped.
        let path = if named_shared { b"/dev/zero (deleted)".to_vec() } else { unescape(&name) };
        vma.file = Some(Backing { path, offset: hex(offset)?, ..Backing::default() });
    } else {
        let ours: [&[u8]; 3] = [b"[heap]", b"[stack]", b"[anon:"];
        vma.special = name.starts_with(b"[") && !ours.iter().any(|o| name.starts_with(o));
        vma.name = name;
    }
    Some(Found { vma, inode })
}

fn unescape(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, tail)) = rest.split_first() {
        let newline = rest.strip_prefix(b"\\012");
        out.push(if newline.is_some() { b'\n' } else { *first });
        rest = newline.unwrap_or(tail);
    }
    out
}

/// Asks about the file under a mapping what its rule needs to know.
fn back(pid: i32, vma: &mut Vma, inode: u64) {
    let asked = vma.shared || vma.file.as_ref().is_some_and(|f| f.offset == 0);
    let Some(file) = vma.file.as_mut().filter(|_| asked) else { return };
    let deleted = file.path.ends_with(b" (deleted)");
    let mask = StatxFlags::MODE | StatxFlags::NLINK | StatxFlags::INO;
    let flags = rustix::fs::AtFlags::empty();
    // The file itself, if we may; else whatever has its name, if it is the same.
    let link = format!("/proc/{pid}/map_files/{:x}-{:x}", vma.start, vma.end);
    let stat = statx(CWD, link.as_str(), flags, mask).ok().or_else(|| {
        let name = [format!("/proc/{pid}/root").as_bytes(), &file.path].concat();
        statx(CWD, name.as_slice(), flags, mask).ok().filter(|s| s.stx_ino == inode)
    });
    match stat {
        Some(s) => {
            file.unlinked = s.stx_nlink == 0;
            file.executable = s.stx_mode & 0o111 != 0;
            file.dax = s.stx_attributes.bits() & 0x20_0000 != 0;
        }
        None => file.unlinked = deleted,
    }
}
