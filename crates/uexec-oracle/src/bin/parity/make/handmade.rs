//! Programs of one to eight random segments, with and without an interpreter, itself odd or not.

use std::io;

use uexec_oracle::elf::{ET_DYN, ET_EXEC, Elf, PT_LOAD, Phdr, R, W, X};
use uexec_oracle::launch::Exec;

use super::{Maker, bytes_of, mutate};
use crate::rng::Rng;

const PAGE: u64 = 4096;

/// A program, with an interpreter one time in four.
pub(crate) fn program(m: &mut Maker<'_>) -> io::Result<Exec> {
    let mut elf = draw(&mut m.rng);
    if m.rng.percent(25) {
        let loader = m.bases.loader;
        add_interp(m, &mut elf, loader.as_bytes());
    }
    finish(m, &elf, 25)
}

/// A program whose interpreter is odd.
pub(crate) fn with_interp(m: &mut Maker<'_>) -> io::Result<Exec> {
    let mut elf = match m.rng.below(3) {
        0 => draw(&mut m.rng),
        1 => Elf::program(ET_DYN, 0x1000 * m.rng.below(3), b"\xeb\xfe"),
        _ => Elf::program(ET_EXEC, 0x40_0000, b"\xeb\xfe"),
    };
    if m.i386 && !elf.class32 {
        elf = elf.i386();
    }
    let path = match m.rng.below(12) {
        0..=4 => {
            let interp = draw(&mut m.rng);
            m.tell("interpreter:");
            tell(m, &interp);
            let mut bytes = interp.to_bytes();
            if m.rng.percent(30) {
                let told = mutate::fields(&mut m.rng, &mut bytes);
                m.tell(format!("interpreter: {told}"));
            }
            m.write("interp", &bytes)?
        }
        5..=8 => {
            let (name, bytes) = m.bases.draw(&mut m.rng);
            let (name, mut bytes) = (name.to_owned(), bytes.to_vec());
            let told = mutate::fields(&mut m.rng, &mut bytes);
            m.tell(format!("interpreter {name}: {told}"));
            if m.rng.percent(10) {
                let len = bytes.len() as u64;
                bytes.truncate(m.rng.odd(&[64, 120, len]).min(len) as usize);
            }
            m.write("interp", &bytes)?
        }
        9 => m.write("interp", b"#!/bin/true\n")?,
        10 => {
            let name = *m.rng.pick(&["nowhere", ".", "prog", ""]);
            m.path(name)
        }
        _ => ["", ".", "/", "/dev/null", "/proc/version", "/bin/true/", m.bases.loader]
            [m.rng.below(7) as usize]
            .into(),
    };
    add_interp(m, &mut elf, bytes_of(&path));
    finish(m, &elf, 5)
}

fn tell(m: &mut Maker<'_>, elf: &Elf) {
    for (i, p) in elf.phdrs.iter().enumerate() {
        let Phdr { p_type, p_flags, p_offset, p_vaddr, p_filesz, p_memsz, p_align, .. } = *p;
        m.tell(format!(
            "phdr[{i}] {p_type:x} {p_flags} {p_offset:#x} {p_vaddr:#x} {p_filesz:#x} {p_memsz:#x} {p_align:#x}"
        ));
    }
}

/// Writes it, some with header fields changed.
fn finish(m: &mut Maker<'_>, elf: &Elf, percent: u64) -> io::Result<Exec> {
    tell(m, elf);
    let mut bytes = elf.to_bytes();
    if m.rng.percent(percent) {
        let told = mutate::fields(&mut m.rng, &mut bytes);
        m.tell(told);
    }
    Ok(Exec::new(m.write("prog", &bytes)?))
}

fn add_interp(m: &mut Maker<'_>, elf: &mut Elf, path: &[u8]) {
    m.tell(format!("PT_INTERP {}", String::from_utf8_lossy(path)));
    let phdr = elf.interp(path);
    if m.rng.percent(10) {
        phdr.p_filesz = m.rng.odd(&[phdr.p_filesz, 4096]);
    }
    if m.rng.percent(5) {
        phdr.p_offset = m.rng.odd(&[phdr.p_offset]);
    }
    let at = m.rng.below(elf.phdrs.len() as u64) as usize;
    let last = elf.phdrs.len() - 1;
    elf.phdrs.swap(at, last);
    if m.rng.percent(5) {
        elf.interp(b"/second");
    }
}

fn draw(rng: &mut Rng) -> Elf {
    let mut elf = Elf::new(if rng.percent(55) { ET_DYN } else { ET_EXEC });
    let fixed = elf.e_type == ET_EXEC;
    let [stack, mappings, pie] = match rng.i386 {
        false => [0x7fff_ff00_0000, 0x7fff_f7f0_0000, 0x5555_5555_4000],
        true => [0xff00_0000, 0xf7f0_0000, 0x5655_5000],
    };
    let mut at = match rng.below(20) {
        0 => 0,
        1 => PAGE * rng.below(20),
        2 => stack + PAGE * rng.below(0x1000),
        3 => mappings + PAGE * rng.below(0x100),
        4 => rng.odd(&[]),
        5 => pie - PAGE * rng.below(4),
        _ if fixed => 0x40_0000,
        6..=9 => 0x1_0000 * rng.below(5),
        _ => 0,
    };
    let mut near = vec![at];
    for _ in 0..rng.between(1, 8) {
        segment(rng, &mut elf, &mut at, &mut near);
    }
    elf.e_entry = if rng.percent(85) { elf.phdrs[0].p_vaddr } else { rng.odd(&near) };
    match rng.below(6) {
        0 => drop(elf.stack(R | W)),
        1 => drop(elf.stack(R | W | X)),
        2 => drop(elf.stack(rng.below(8) as u32)),
        _ => {}
    }
    if rng.percent(8) {
        elf.len = Some(rng.below(elf.next_offset));
    }
    if rng.i386 { elf.i386() } else { elf }
}

/// Appends a segment at or near `at`, which then is its end.
fn segment(rng: &mut Rng, elf: &mut Elf, at: &mut u64, near: &mut Vec<u64>) {
    let len = match rng.below(5) {
        0 => 0,
        1 => PAGE * rng.below(4),
        2 => rng.below(0x80),
        _ => rng.below(0x3800),
    };
    let vaddr = match rng.below(12) {
        0 => rng.odd(near),
        1 => at.wrapping_sub(rng.below(0x3000)),
        2 => at.wrapping_add(PAGE * rng.below(0x400)),
        3 => *at,
        4 => at.wrapping_add(0x20_0000),
        _ => at.wrapping_add(PAGE).wrapping_sub(*at % PAGE).wrapping_add(rng.below(PAGE)),
    };
    let flags = match rng.below(8) {
        0 => rng.below(8) as u32,
        n => [R, R | X, R | W, R | X, R | W, R | W | X, R][n as usize - 1],
    };
    let content: Vec<u8> = (0..len).map(|i| (i % 251) as u8 | 1).collect();
    let phdr = elf.load(flags, vaddr, &content);
    phdr.p_memsz += match rng.below(10) {
        0 => PAGE * rng.below(5),
        1 | 2 => rng.below(0x5000),
        3 => rng.below(0x100),
        4 => 1 << rng.between(12, 48),
        _ => 0,
    };
    if rng.percent(12) {
        phdr.p_align = if rng.percent(80) { 1 << rng.below(36) } else { rng.odd(near) };
    }
    if rng.percent(4) {
        phdr.p_offset = rng.odd(&[phdr.p_offset, len]);
    }
    if rng.percent(5) {
        // The same bytes again, or those that follow: mappings that merge.
        phdr.p_offset = PAGE + vaddr % PAGE;
    }
    if rng.percent(3) {
        phdr.p_filesz = rng.odd(&[len, PAGE]);
    }
    if rng.percent(3) {
        phdr.p_memsz = rng.odd(near);
    }
    if rng.percent(3) {
        phdr.p_type = PT_LOAD + 1;
    }
    near.extend([phdr.p_vaddr, phdr.p_memsz, phdr.p_vaddr.wrapping_add(phdr.p_memsz)]);
    *at = phdr.p_vaddr.wrapping_add(phdr.p_memsz.min(1 << 30));
}
