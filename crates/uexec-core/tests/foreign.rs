//! Programs of other machines, laid out as their own kernels would: ELF64 and ELF32, either byte
//! order.
mod common;
use common::elf::{Elf, Ph, R, STACK, W, X, foreign as file, load};
use common::{Mem, alive};
use uexec_core::abi::at;
use uexec_core::arch::Class;
use uexec_core::arch::foreign::{FOREIGN, find};
use uexec_core::{EVERY_FORMAT, Errno, Exec, KERNEL_FORMATS, Plan};

fn pie() -> Elf {
    Elf::pie().and(Ph { kind: STACK, flags: R | W, ..Ph::default() })
}

fn run(bytes: Vec<u8>) -> Plan {
    let mut mem = Mem::default().with("/p", bytes);
    let kernel = uexec_core::plan(Exec::new("/p"), &mut mem, &KERNEL_FORMATS).unwrap_err();
    assert_eq!(kernel.errno(), Errno::ENOEXEC);
    alive(uexec_core::plan(Exec::new("/p"), &mut mem, &EVERY_FORMAT))
}

#[test]
fn every_architecture_is_laid_out() {
    for arch in &FOREIGN {
        if arch.machines.contains(&3) {
            continue;
        }
        let wide = arch.class == Class::Elf64;
        let plan = run(file(pie(), wide, arch.big_endian, arch.machines[0]));
        assert_eq!(plan.image.arch, arch);
        assert_eq!(plan.stack.end, arch.stack_top, "{}", arch.name);
        assert_eq!(plan.vmas[0].start, arch.et_dyn_base & !0xfff, "{}", arch.name);
        assert_eq!(plan.image.interp_missing.as_deref(), Some(&b"/ld"[..]));
        let bytes = plan.stack_bytes(&mut Mem::default());
        let len = arch.class.word() as usize;
        let mut argc = bytes[..len].to_vec();
        if arch.big_endian {
            argc.reverse();
        }
        assert_eq!(argc[0], 1, "{}", arch.name);
        assert_eq!(plan.auxv.get(at::PHENT), Some(arch.class.phdr_len().into()));
        assert!(!arch.told.source.is_empty() && !arch.told.entry.is_empty());
    }
}

/// What `setarch -R cat /proc/self/maps` shows on such machines.
#[test]
fn well_known_addresses() {
    let start = |wide, big, machine| run(file(pie(), wide, big, machine)).vmas[0].start;
    assert_eq!(start(true, false, 183), 0xaaaa_aaaa_a000);
    assert_eq!(start(true, true, 22), 0x2aa_0000_0000);
    assert_eq!(start(false, false, 40), 0x40_0000);
    assert_eq!(start(true, false, 21), 0x1_0000_0000);
}

/// Mappings go upwards on m68k, and neither they nor the program are moved.
#[test]
fn m68k_has_no_random_mappings() {
    let mut mem = Mem::default().with("/p", file(pie(), false, true, 4));
    mem.facts.entropy.mmap = u64::MAX;
    mem.facts.entropy.pie = u64::MAX;
    let plan = alive(uexec_core::plan(Exec::new("/p"), &mut mem, &EVERY_FORMAT));
    assert_eq!((plan.vmas[0].start, plan.image.arch.legacy_base), (0xd000_0000, 0xc000_0000));
    assert_eq!(plan.stack.end, 0xf000_0000);
}

#[test]
fn bit_0_of_an_arm_entry_is_thumb() {
    let elf = Elf::new(2, 0x1_0101, &[load(R | X, 0, 0x1_0000, 0x1000)]);
    let plan = run(file(elf, false, false, 40));
    assert_eq!(plan.registers.rip, 0x1_0100);
    assert_eq!(plan.auxv.get(at::ENTRY), Some(0x1_0101));
}

#[test]
fn an_i386_program_without_emulation() {
    let mut mem = Mem::default().with("/p", Elf::pie().i386());
    mem.ia32 = None;
    let plan = alive(uexec_core::plan(Exec::new("/p"), &mut mem, &EVERY_FORMAT));
    assert_eq!((plan.stack.end, plan.vmas[0].start), (0xc000_0000, 0x40_0000));
}

#[test]
fn none_for_the_unknown() {
    assert!(find(Class::Elf64, false, 0x9026).is_none());
    assert!(find(Class::Elf64, true, 243).is_none());
    let mut mem = Mem::default().with("/p", file(pie(), true, false, 0x9026));
    assert!(uexec_core::plan(Exec::new("/p"), &mut mem, &EVERY_FORMAT).is_err());
}
