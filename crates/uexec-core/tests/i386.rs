//! i386 programs under a 64-bit kernel: ELF-3, ELF-16, ELF-21, ELF-30, ELF-37, ELF-60, STK-4,
//! STK-21, STK-31, STK-33, STK-34, STK-44.
mod common;
use common::elf::{Elf, Ph, R, STACK, W, X, load};
use common::{Mem, alive, death, exec};
use uexec_core::abi::at;
use uexec_core::abi::personality::{
    ADDR_COMPAT_LAYOUT, ADDR_LIMIT_3GB, ADDR_NO_RANDOMIZE, READ_IMPLIES_EXEC,
};
use uexec_core::mm::Prot;
use uexec_core::{Errno, Plan, Reason};

fn fixed() -> Elf {
    Elf::new(2, 0x804_8100, &[load(R | X, 0, 0x804_8000, 0x1000)]).i386()
}

/// With a stack that is not executable.
fn quiet(elf: Elf) -> Elf {
    elf.and(Ph { kind: STACK, flags: R | W, ..Ph::default() })
}

fn mem(program: Elf) -> Mem {
    Mem::default().with("/p", program).with("/ld", Elf::ld().i386())
}

fn run(program: Elf, persona: u32) -> Plan {
    let mut mem = mem(program);
    mem.facts.personality = persona;
    alive(mem.run("/p"))
}

#[test]
fn stk_44_addresses() {
    let mut mem = Mem::default().with("./s32", fixed());
    let plan = alive(mem.plan(exec(&["./s32", "x", "yy"], &["A=1", "BB=22"])));
    let s = plan.stack;
    assert_eq!((s.end, s.filename), (0xffff_e000, 0xffff_dff2));
    assert_eq!((s.args, s.platform), (0xffff_dfdd, 0xffff_dfcb));
    let mut mem = Mem::default().with("./s32", fixed());
    let plan = alive(mem.plan(exec(&["./s32"], &["A=1", "BB=22"])));
    let s = plan.stack;
    assert_eq!((s.end, s.filename), (0xffff_e000, 0xffff_dff2));
    assert_eq!((s.args, s.platform), (0xffff_dfe2, 0xffff_dfdb));
    assert_eq!((s.random, s.rsp), (0xffff_dfcb, 0xffff_def0));
    let bytes = plan.stack_bytes(&mut mem);
    let word = |i: usize| u32::from_le_bytes(bytes[4 * i..4 * i + 4].try_into().unwrap());
    assert_eq!([0, 1, 2].map(word), [1, 0xffff_dfe2, 0]);
    assert_eq!([6, 8].map(word), [at::SYSINFO, at::SYSINFO_EHDR].map(|x| x as u32));
    assert_eq!(plan.auxv.get(at::PHENT), Some(32));
    assert!(bytes.windows(5).any(|w| w == b"i686\0"));
}

#[test]
fn stk_21_sysinfo_lies_in_the_vdso() {
    let plan = run(quiet(fixed()), ADDR_NO_RANDOMIZE);
    let vdso = plan.vmas.iter().rev().nth(1).unwrap();
    assert_eq!(plan.auxv.get(at::SYSINFO_EHDR), Some(vdso.start));
    assert_eq!(plan.auxv.get(at::SYSINFO), Some(vdso.start + 0x5e0));
    let mut mem = mem(fixed());
    mem.ia32.as_mut().unwrap().vdso.clear();
    let plan = alive(mem.run("/p"));
    assert_eq!(plan.auxv.get(at::SYSINFO), None);
    assert_eq!(plan.auxv.get(at::SYSINFO_EHDR), None);
}

#[test]
fn elf_37_60_stk_31_34_bases() {
    let pie = quiet(Elf::pie().i386());
    let plan = run(pie.clone(), ADDR_NO_RANDOMIZE);
    assert_eq!(plan.vmas[0].start, 0x5655_5000);
    assert_eq!(plan.auxv.get(at::BASE), Some(0xf7ff_e000 - 0x3000));
    let plan = run(pie.clone(), ADDR_NO_RANDOMIZE | ADDR_LIMIT_3GB);
    assert_eq!((plan.vmas[0].start, plan.stack.end), (0x4100_0000, 0xc000_0000));
    let plan = run(pie, ADDR_NO_RANDOMIZE | ADDR_COMPAT_LAYOUT);
    assert_eq!(plan.auxv.get(at::BASE), Some(0x5555_5000));
    let plan = run(quiet(Elf::static_pie().i386()), ADDR_NO_RANDOMIZE);
    assert_eq!(plan.mm.start_brk, 0x5655_5000);
}

#[test]
fn stk_33_38_randomisation() {
    let mut mem = mem(quiet(Elf::pie().i386()));
    mem.facts.personality = 0;
    let e = &mut mem.facts.entropy;
    (e.stack_top, e.mmap, e.pie, e.brk) = (u64::MAX, u64::MAX, u64::MAX, u64::MAX);
    let plan = alive(mem.run("/p"));
    assert_eq!(plan.stack.end, 0xffff_e000 - 0x7ff * 0x1000);
    assert_eq!(plan.auxv.get(at::BASE), Some(0xf7ff_e000 - 0xff * 0x1000 - 0x3000));
    assert_eq!(plan.vmas[0].start, 0x5655_5000 + 0xff * 0x1000);
    let bss_end = plan.vmas[0].start + 0x3000;
    assert_eq!(plan.mm.start_brk, bss_end + 0x1000 + 0x1fff * 0x1000);
}

/// READ_IMPLIES_EXEC: set by a missing `PT_GNU_STACK`, kept from the caller, never for 64 bits.
#[test]
fn elf_30_readable_is_executable() {
    let readable = |plan: &Plan| {
        let own = plan.vmas.iter().filter(|v| plan.name_of(v).is_empty() || v.grows_down);
        own.filter(|v| v.prot.contains(Prot::READ)).all(|v| v.prot.contains(Prot::EXEC))
    };
    let data = load(R | W, 0x1000, 0x804_9000, 0x800).mem(0x2000);
    let bare = run(fixed().and(data), ADDR_NO_RANDOMIZE);
    assert!(readable(&bare));
    assert_eq!(bare.personality, ADDR_NO_RANDOMIZE | READ_IMPLIES_EXEC);
    let quiet = quiet(fixed().and(data));
    let plan = run(quiet.clone(), ADDR_NO_RANDOMIZE);
    assert!(!readable(&plan));
    assert_eq!(plan.personality, ADDR_NO_RANDOMIZE);
    let kept = run(quiet, ADDR_NO_RANDOMIZE | READ_IMPLIES_EXEC);
    assert_eq!(kept.personality, ADDR_NO_RANDOMIZE | READ_IMPLIES_EXEC);
    let stack = kept.vmas.last().unwrap();
    assert!(!stack.prot.contains(Prot::EXEC), "PT_GNU_STACK decides about the stack");
    assert_eq!(run(Elf::fixed(), READ_IMPLIES_EXEC).personality, 0);
}

#[test]
fn elf_3_21_who_runs_what() {
    let errno = |elf: Elf| mem(elf).run("/p").err().map(|e| e.errno());
    assert_eq!(errno(fixed()), None);
    assert_eq!(errno(Elf { machine: 6, ..fixed() }), None);
    assert_eq!(errno(Elf { machine: 62, ..fixed() }), Some(Errno::ENOEXEC));
    assert_eq!(errno(Elf { phentsize: 56, ..fixed() }), Some(Errno::ENOEXEC));
    assert_eq!(errno(Elf { phnum: Some(2049), size: 0x2_0000, ..fixed() }), Some(Errno::ENOEXEC));
    assert_eq!(errno(Elf { phnum: Some(2048), size: 0x2_0000, ..fixed() }), None);
    let x32 = mem(Elf { machine: 62, ..fixed() }).run("/p").unwrap_err();
    assert_eq!(x32.refusal.reason, Reason::X32);
    let mut off = mem(fixed());
    off.ia32 = None;
    let error = off.run("/p").unwrap_err();
    assert_eq!(error.errno(), Errno::ENOEXEC);
    assert!(matches!(error.refusal.reason, Reason::NoIa32 { .. }), "{error}");
}

#[test]
fn elf_13_classes_do_not_mix() {
    for (program, ld) in [(Elf::pie(), Elf::ld().i386()), (Elf::pie().i386(), Elf::ld())] {
        let mut mem = Mem::default().with("/p", program).with("/ld", ld);
        assert_eq!(mem.run("/p").unwrap_err().errno(), Errno::ELIBBAD);
    }
}

#[test]
fn elf_44_ends_at_its_own_task_size() {
    let at = |vaddr| Elf::new(2, vaddr, &[load(R | X, 0, vaddr, 0x1000)]).i386();
    run(at(0xf000_0000), ADDR_NO_RANDOMIZE);
    let reason = death(mem(at(0xffff_e000)).run("/p"));
    assert!(matches!(reason, Reason::NoAddressSpace { .. } | Reason::Collision { .. }));
}
