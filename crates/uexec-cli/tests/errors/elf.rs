//! ELF before the point of no return: ELF-1 to ELF-14.

use uexec_core::Errno;

use crate::common::ask::{Ask, End};
use crate::common::elf::{CODE, Elf, INTERP, PT_INTERP};
use crate::common::place::Place;
use crate::common::{kernel_since, skip};
use crate::{errno, row};

#[track_caller]
fn refused(p: &Place, name: &str, elf: Elf, expected: Errno) {
    p.elf("prog", &elf);
    row(name, &Ask::new(&p.path, "./prog"), errno(expected));
}

/// Kernel and command run it alike.
#[track_caller]
fn runs(p: &Place, what: &str, elf: Elf, status: i32) {
    p.elf("prog", &elf);
    let ask = Ask::new(&p.path, "./prog");
    let (kernel, ours) = (ask.kernel(), ask.uexec());
    assert_eq!(kernel.end, End::Exit(status), "{what}");
    assert_eq!(ours.end, kernel.end, "{what}: {}", ours.stderr);
}

fn prog() -> Elf {
    Elf::exit(42)
}

#[test]
fn err_30_header() {
    let p = Place::new();
    refused(&p, "err_30_magic", prog().but(|e| e.magic[3] = b'f'), Errno::ENOEXEC);
    refused(&p, "err_30_object_file", prog().but(|e| e.e_type = 1), Errno::ENOEXEC);
    refused(&p, "err_30_core_file", prog().but(|e| e.e_type = 4), Errno::ENOEXEC);
    refused(&p, "err_30_aarch64", prog().but(|e| e.machine = 183), Errno::ENOEXEC);
    refused(&p, "err_30_unknown_machine", prog().but(|e| e.machine = 60_000), Errno::ENOEXEC);
    refused(&p, "err_30_phentsize", prog().but(|e| e.phentsize = 32), Errno::ENOEXEC);
    refused(&p, "err_30_no_headers", prog().but(|e| e.phnum = Some(0)), Errno::ENOEXEC);
    refused(&p, "err_30_many_headers", prog().but(|e| e.phnum = Some(1171)), Errno::ENOEXEC);
    refused(&p, "err_30_headers_outside", prog().but(|e| e.phoff = 1 << 20), Errno::ENOEXEC);
    refused(&p, "err_30_headers_negative", prog().but(|e| e.phoff = u64::MAX - 60), Errno::ENOEXEC);
    refused(&p, "err_30_headers_cut", prog().but(|e| e.cut = Some(100)), Errno::ENOEXEC);
    refused(&p, "err_30_header_cut", prog().but(|e| e.cut = Some(63)), Errno::ENOEXEC);
    refused(&p, "err_30_only_magic", prog().but(|e| e.cut = Some(4)), Errno::ENOEXEC);
    refused(&p, "err_30_magic_cut", prog().but(|e| e.cut = Some(3)), Errno::ENOEXEC);
}

#[test]
fn elf_6_most_headers() {
    if !kernel_since(6, 15) {
        return skip("ELF-6 with 1170 headers", "kernels before 6.15 allow fewer");
    }
    let p = Place::new();
    let ph = |e: &mut Elf| {
        let mut table = vec![e.phdrs[0].clone(); 1170];
        table[1..].iter_mut().for_each(|p| p.p_type = 0x1234);
        e.phdrs = table;
        e.code = vec![0; 70_000];
        e.code.extend(Elf::exit(42).code);
        e.phdrs[0].filesz = CODE + e.code.len() as u64;
        e.phdrs[0].memsz = e.phdrs[0].filesz;
    };
    // The table would overwrite the code: it is moved behind it.
    let elf = prog().but(ph);
    let len = CODE + elf.code.len() as u64;
    let mut file = elf
        .clone()
        .but(|e| {
            e.phdrs.truncate(1);
            e.phoff = len;
            e.phnum = Some(1170);
            e.entry = 0x40_0000 + len - 12
        })
        .bytes();
    file.extend_from_slice(&elf.bytes()[64..64 + 1170 * 56]);
    p.file("prog", file, 0o755);
    let ask = Ask::new(&p.path, "./prog");
    assert_eq!((ask.kernel().end, ask.uexec().end), (End::Exit(42), End::Exit(42)));
}

#[test]
fn elf_16_not_checked() {
    let p = Place::new();
    runs(&p, "plain", prog(), 42);
    runs(&p, "anywhere", prog().at(0), 42);
    runs(
        &p,
        "phdrs elsewhere",
        prog().but(|e| {
            e.phoff = INTERP;
            e.interp = e.bytes()[64..120].to_vec()
        }),
        42,
    );
}

#[test]
fn err_31_interp_segment() {
    let p = Place::new();
    p.elf("ld", &Elf::exit(43).at(0));
    let with = |change: fn(&mut Elf)| prog().with_interp("./ld").but(change);
    runs(&p, "a working one", with(|_| ()), 43);
    runs(
        &p,
        "bytes after its NUL",
        with(|e| {
            e.interp = b"./ld\0more\0".to_vec();
            e.phdrs[1].filesz = 10
        }),
        43,
    );
    refused(&p, "err_31_interp_size_0", with(|e| e.phdrs[1].filesz = 0), Errno::ENOEXEC);
    refused(&p, "err_31_interp_size_1", with(|e| e.phdrs[1].filesz = 1), Errno::ENOEXEC);
    refused(&p, "err_31_interp_size_4097", with(|e| e.phdrs[1].filesz = 4097), Errno::ENOEXEC);
    refused(&p, "err_31_interp_no_nul", with(|e| e.phdrs[1].filesz -= 1), Errno::ENOEXEC);
    refused(&p, "err_35_interp_outside", with(|e| e.phdrs[1].offset = 1 << 20), Errno::EIO);
    refused(&p, "err_35_interp_half_outside", with(|e| e.phdrs[1].offset = CODE + 9), Errno::EIO);
    refused(
        &p,
        "err_12_interp_negative",
        with(|e| e.phdrs[1].offset = u64::MAX - 9),
        Errno::EINVAL,
    );
}

#[test]
fn elf_18_only_the_first_interp_counts() {
    let p = Place::new();
    p.elf("ld", &Elf::exit(43).at(0));
    let elf = prog().with_interp("./ld").but(|e| {
        let mut second = e.phdrs[1].clone();
        second.offset = u64::MAX - 9;
        e.phdrs.push(second);
    });
    runs(&p, "a bad second one", elf, 43);
}

#[test]
fn elf_11_opening_the_interpreter() {
    let p = Place::new();
    refused(&p, "err_04_elf_missing_interpreter", prog().with_interp("./missing"), Errno::ENOENT);
    refused(
        &p,
        "err_19_empty_interpreter",
        prog().with_interp("").but(|e| e.phdrs[1].filesz = 2),
        Errno::EACCES,
    );
    refused(&p, "err_18_elf_directory", prog().with_interp("/"), Errno::EACCES);
    p.file("plain", Elf::exit(43).bytes(), 0o644);
    refused(&p, "err_18_elf_no_x_bit", prog().with_interp("./plain"), Errno::EACCES);
    refused(&p, "err_18_elf_proc", prog().with_interp("/proc/version"), Errno::EACCES);
    if !kernel_since(6, 14) {
        return skip("ERR-22", "uexec cannot ask for it on kernels before 6.14");
    }
    p.elf("ld", &Elf::exit(43).at(0));
    let _writer = p.writer("ld");
    refused(&p, "err_22_elf_interpreter", prog().with_interp("./ld"), Errno::ETXTBSY);
}

#[test]
fn err_35_36_bad_interpreters() {
    let p = Place::new();
    let with = |name: &str, bytes: Vec<u8>, expected| {
        p.file("ld", bytes, 0o755);
        refused(&p, name, prog().with_interp("./ld"), expected);
    };
    let ld = |change: fn(&mut Elf)| Elf::exit(43).at(0).but(change).bytes();
    with("err_35_interp_empty", vec![], Errno::EIO);
    with("err_35_interp_short", ld(|e| e.cut = Some(63)), Errno::EIO);
    with(
        "err_36_interp_script",
        [b"#!/bin/sh\n".to_vec(), vec![b'#'; 99]].concat(),
        Errno::ELIBBAD,
    );
    with("err_36_interp_i386", ld(|e| e.machine = 3), Errno::ELIBBAD);
    with("err_36_interp_phentsize", ld(|e| e.phentsize = 55), Errno::ELIBBAD);
    with("err_36_interp_no_headers", ld(|e| e.phnum = Some(0)), Errno::ELIBBAD);
    with("err_36_interp_headers_cut", ld(|e| e.cut = Some(70)), Errno::ELIBBAD);
    with("err_36_interp_headers_outside", ld(|e| e.phoff = 1 << 40), Errno::ELIBBAD);
    // An interpreter's own interpreter is not looked at.
    p.elf(
        "ld",
        &Elf::exit(43).at(0).but(|e| {
            let mut own = e.phdrs[0].clone();
            (own.p_type, own.offset) = (PT_INTERP, 1 << 50);
            e.phdrs.push(own);
        }),
    );
    runs(&p, "an interpreter with PT_INTERP", prog().with_interp("./ld"), 43);
}
