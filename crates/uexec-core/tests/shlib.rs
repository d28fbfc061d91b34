//! Libraries as `uselib(2)` mapped them: AOUT-16 and the ELF rules of its time.
mod common;
use common::Mem;
use common::elf::{Elf, R, W, X, load};
use uexec_core::mm::{Backing, Prot};
use uexec_core::shlib::{Shlib, plan_shlib};
use uexec_core::{ALL_FORMATS, Errno, KERNEL_FORMATS, Op};

fn plan(file: impl Into<Vec<u8>>) -> Result<Shlib, Errno> {
    let mut mem = Mem::default().with("/lib", file);
    plan_shlib(b"/lib", &mut mem, &ALL_FORMATS).map_err(|r| r.reason.errno())
}

fn one() -> Elf {
    Elf::new(2, 0, &[load(R | W | X, 0x10, 0x6000_0010, 0x800).mem(0x2000)])
}

#[test]
fn elf_libraries_have_one_segment_at_their_own_address() {
    for elf in [one(), one().i386()] {
        let lib = plan(elf).unwrap();
        assert_eq!((lib.format, lib.start, lib.end), ("elf", 0x6000_0000, 0x6000_3000));
        let all = Prot::READ | Prot::WRITE | Prot::EXEC;
        let [text, zero, bss] = &lib.ops[..] else { panic!("{:?}", lib.ops) };
        assert!(
            matches!(text, Op::Map { addr: 0x6000_0000, len: 0x1000, prot, backing: Backing::File { offset: 0, .. }, .. } if *prot == all)
        );
        assert_eq!(*zero, Op::Zero { addr: 0x6000_0810, len: 0x7f0 });
        assert!(matches!(
            bss,
            Op::Map { addr: 0x6000_1000, len: 0x2000, backing: Backing::Anon, .. }
        ));
    }
}

#[test]
fn what_is_no_elf_library() {
    let two = one().and(load(R, 0, 0x6100_0000, 0x100));
    let three = two.clone().and(load(R, 0, 0x6200_0000, 0x100));
    let none = Elf::new(2, 0, &[]);
    for elf in [Elf { e_type: 3, ..one() }, two, three, none, Elf { machine: 183, ..one() }] {
        assert_eq!(plan(elf), Err(Errno::ENOEXEC));
    }
    let odd = Elf::new(2, 0, &[load(R, 0x10, 0x6000_0020, 0x100)]);
    assert_eq!(plan(odd), Err(Errno::EINVAL));
    let high = Elf::new(2, 0, &[load(R, 0, 0x7fff_ffff_f000, 0x100)]);
    assert_eq!(plan(high), Err(Errno::EINVAL));
    assert_eq!(plan(&b"#!/bin/sh\n"[..]), Err(Errno::ENOEXEC));
}

fn aout(magic: u32, [text, data, bss, entry]: [u32; 4], len: usize) -> Vec<u8> {
    let mut file: Vec<u8> = (0..len).map(|i| i as u8).collect();
    for (i, word) in [magic, text, data, bss, 0, entry, 0, 0].iter().enumerate() {
        file[4 * i..4 * i + 4].copy_from_slice(&word.to_le_bytes());
    }
    file
}

#[test]
fn aout_16_libraries() {
    let q = plan(aout(0xcc, [0x1000, 0x800, 0x1000, 0x6000_0020], 0x1800)).unwrap();
    assert_eq!((q.format, q.start, q.end), ("a.out", 0x6000_0000, 0x6000_3000));
    assert_eq!(q.ops.len(), 2);
    let z = plan(aout(0x10b, [0x1000, 0x800, 0x1000, 0x6000_0000], 0x2000)).unwrap();
    assert_eq!((z.start, z.end), (0x6000_0000, 0x6000_3000));
    assert!(matches!(&z.ops[1], Op::Copy { addr: 0x6000_0000, bytes } if bytes.len() == 0x1800));
    for magic in [0x107, 0x108, 0x100_00cc] {
        assert_eq!(plan(aout(magic, [0x1000, 0x800, 0, 0x6000_0000], 0x2000)), Err(Errno::ENOEXEC));
    }
}

#[test]
fn the_kernel_has_none() {
    let mut mem = Mem::default().with("/lib", aout(0xcc, [0x1000, 0, 0, 0x6000_0000], 0x1000));
    assert!(plan_shlib(b"/lib", &mut mem, &KERNEL_FORMATS).is_err());
}
