//! What of an ELF file is checked before the point of no return: ELF-1 to ELF-19.
mod common;
use common::elf::{Elf, INTERP, Ph, R, STACK, W, X, load};
use common::{Mem, alive};
use uexec_core::mm::Prot;
use uexec_core::{Errno, Plan, Reason};

fn errno(elf: impl Into<Vec<u8>>) -> Option<Errno> {
    let mut mem = Mem::default().with("/p", elf).with("/ld", Elf::ld());
    mem.run("/p").err().map(|e| e.errno())
}

fn with_ld(ld: impl Into<Vec<u8>>) -> Option<Errno> {
    let mut mem = Mem::default().with("/p", Elf::pie()).with("/ld", ld);
    mem.run("/p").err().map(|e| e.errno())
}

#[test]
fn elf_1_to_3_magic_type_machine() {
    assert_eq!(errno(Elf::fixed()), None);
    let mut bytes = Elf::fixed().build();
    bytes[0] = b'X';
    assert_eq!(errno(bytes), Some(Errno::ENOEXEC));
    for e_type in [0, 1, 4, 0xffff] {
        assert_eq!(errno(Elf { e_type, ..Elf::fixed() }), Some(Errno::ENOEXEC));
    }
    for machine in [0, 3, 183, 0xffff] {
        assert_eq!(errno(Elf { machine, ..Elf::fixed() }), Some(Errno::ENOEXEC));
    }
}

#[test]
fn elf_5_6_table_shape() {
    for phentsize in [0, 32, 55, 57] {
        assert_eq!(errno(Elf { phentsize, ..Elf::fixed() }), Some(Errno::ENOEXEC));
    }
    let table = |n: u16| Elf { phnum: Some(n), size: 0x2_0000, ..Elf::fixed() };
    assert_eq!(errno(table(0)), Some(Errno::ENOEXEC));
    assert_eq!(errno(table(1170)), None);
    assert_eq!(errno(table(1171)), Some(Errno::ENOEXEC));
    for (n, expected) in [(73, true), (74, false)] {
        let mut mem = Mem::default().with("/p", table(n));
        mem.facts.kernel = (6, 14);
        assert_eq!(mem.run("/p").is_ok(), expected, "{n} headers until 6.14");
    }
}

#[test]
fn elf_7_table_outside_the_file() {
    let end = Elf { phoff: 0x3000 - 56, ..Elf::fixed() };
    assert_eq!(errno(end), None);
    for phoff in [0x3000 - 55, 0x3000, 1 << 63, u64::MAX, u64::MAX - 56, i64::MAX as u64] {
        assert_eq!(errno(Elf { phoff, ..Elf::fixed() }), Some(Errno::ENOEXEC), "{phoff:#x}");
    }
}

#[test]
fn elf_8_interp_size() {
    let of = |filesz| {
        let ph = Ph { kind: INTERP, offset: 0x1000, filesz, ..Ph::default() };
        let mut elf = Elf::new(3, 0, &[ph, load(R | X, 0, 0, 0x1000)]);
        elf.bytes.push((0x1000, b"/ld".to_vec()));
        errno(elf)
    };
    assert_eq!(of(0), Some(Errno::ENOEXEC));
    assert_eq!(of(1), Some(Errno::ENOEXEC));
    assert_eq!(of(4), None);
    assert_eq!(of(4096), None);
    assert_eq!(of(4097), Some(Errno::ENOEXEC));
    assert_eq!(of(u64::MAX), Some(Errno::ENOEXEC));
}

/// Checked on 6.18.44: it is the end of the range that must not be negative.
#[test]
fn elf_9_interp_outside_the_file() {
    let of = |offset| {
        let ph = Ph { kind: INTERP, offset, filesz: 0x20, ..Ph::default() };
        errno(Elf::new(3, 0, &[ph, load(R | X, 0, 0, 0x1000)]))
    };
    assert_eq!(of(0x3000 - 0x1f), Some(Errno::EIO));
    assert_eq!(of(1 << 62), Some(Errno::EIO));
    assert_eq!(of(0x7fff_ffff_ffff_fff0), Some(Errno::EINVAL));
    assert_eq!(of(1 << 63), Some(Errno::EINVAL));
    assert_eq!(of(u64::MAX), Some(Errno::EINVAL));
}

#[test]
fn elf_10_11_interp_path() {
    let of = |path: &[u8]| errno(Elf::static_pie().with_interp(path));
    assert_eq!(of(b"/ld\0"), None);
    assert_eq!(of(b"/ld\0junk\0"), None);
    assert_eq!(of(b"/ldX"), Some(Errno::ENOEXEC));
    assert_eq!(of(b"/missing\0"), Some(Errno::ENOENT));
    assert_eq!(of(b"\0\0"), Some(Errno::EACCES));
}

#[test]
fn elf_12_to_14_interp_headers() {
    let short = Elf::ld().build()[..63].to_vec();
    assert_eq!(with_ld(short), Some(Errno::EIO));
    assert_eq!(with_ld(vec![0; 64]), Some(Errno::ELIBBAD));
    assert_eq!(with_ld([b"#!/p\n".as_slice(), &[0; 99]].concat()), Some(Errno::ELIBBAD));
    assert_eq!(with_ld(Elf { machine: 3, ..Elf::ld() }), Some(Errno::ELIBBAD));
    assert_eq!(with_ld(Elf { phentsize: 1, ..Elf::ld() }), Some(Errno::ELIBBAD));
    assert_eq!(with_ld(Elf { phnum: Some(0), ..Elf::ld() }), Some(Errno::ELIBBAD));
    assert_eq!(with_ld(Elf { phoff: 1 << 63, ..Elf::ld() }), Some(Errno::ELIBBAD));
    // Its type is judged later (ELF-53).
    assert_eq!(with_ld(Elf { e_type: 1, ..Elf::ld() }), None);
}

#[test]
fn elf_16_what_is_not_checked() {
    let mut bytes = Elf::fixed().build();
    for at in [4, 5, 6, 7, 8, 20, 40, 48, 52, 58, 60, 62] {
        bytes[at] = 0xa5;
    }
    assert_eq!(errno(bytes), None);
}

#[test]
fn elf_17_short_files() {
    let bytes = Elf::fixed().build();
    for len in 4..64 {
        assert_eq!(errno(&bytes[..len]), Some(Errno::ENOEXEC), "{len}");
    }
}

#[test]
fn elf_18_first_interp_counts() {
    let second = Ph { kind: INTERP, offset: 1 << 63, filesz: 0, ..Ph::default() };
    assert_eq!(errno(Elf::pie().and(second)), None);
    assert_eq!(with_ld(Elf::ld().with_interp(b"/missing\0")), None);
}

#[test]
fn elf_19_last_gnu_stack_wins() {
    let stack = |flags| Ph { kind: STACK, flags, ..Ph::default() };
    let of = |elf: Elf| {
        let plan: Plan = alive(Mem::default().with("/p", elf).run("/p"));
        plan.vmas.iter().find(|v| v.grows_down).unwrap().prot
    };
    let rw = Prot::READ | Prot::WRITE;
    assert_eq!(of(Elf::fixed()), rw);
    assert_eq!(of(Elf::fixed().and(stack(R | W | X))), rw | Prot::EXEC);
    assert_eq!(of(Elf::fixed().and(stack(R | W | X)).and(stack(R | W))), rw);
    assert_eq!(of(Elf::fixed().and(stack(R | W)).and(stack(X))), rw | Prot::EXEC);
}

#[test]
fn elf_13_cause_is_kept() {
    let mut mem = Mem::default().with("/p", Elf::pie()).with("/ld", vec![0; 64]);
    let e = mem.run("/p").unwrap_err();
    assert!(matches!(&e.refusal.reason, Reason::InterpBad { cause } if **cause == Reason::NotElf));
    assert_eq!(e.refusal.file, b"/ld");
}
