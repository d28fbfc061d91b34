//! Where segments go, and what is published about them: ELF-34 to ELF-63.
mod common;
use common::elf::{Elf, R, W, X, load};
use common::{Mem, alive};
use uexec_core::Plan;
use uexec_core::mm::{Backing, Prot, Vma};

const BASE: u64 = 0x5555_5555_4000;
const TOP: u64 = 0x7fff_f7ff_f000;

fn run(elf: Elf) -> Plan {
    alive(Mem::default().with("/p", elf).with("/ld", Elf::ld()).run("/p"))
}

/// The mappings of a file, or the anonymous ones that are not the stack.
fn of(plan: &Plan, file: Option<u32>) -> Vec<(u64, u64, Prot)> {
    let same = |v: &&Vma| match (&v.backing, file) {
        (Backing::File { file, .. }, Some(id)) => file.0 == id,
        (Backing::Anon, None) => !v.grows_down,
        _ => false,
    };
    plan.vmas.iter().filter(same).map(|v| (v.start, v.end, v.prot)).collect()
}

const RX: Prot = Prot::READ.union(Prot::EXEC);
const RW: Prot = Prot::READ.union(Prot::WRITE);

#[test]
fn elf_37_pie() {
    let plan = run(Elf::pie());
    assert_eq!(of(&plan, Some(1)), [(BASE, BASE + 0x1000, RX), (BASE + 0x1000, BASE + 0x2000, RW)]);
    assert_eq!(of(&plan, None), [(BASE + 0x2000, BASE + 0x3000, RW)]);
    assert_eq!(plan.auxv.get(9), Some(BASE + 0x100));
}

#[test]
fn elf_37_alignment() {
    for (align, base) in [(2 << 20, 0x5555_5540_0000), (1 << 47, 0), (3 << 20, BASE)] {
        let pie =
            Elf::new(3, 0x10, &[load(R | X, 0, 0, 0x1000).align(align)]).with_interp(b"/ld\0");
        assert_eq!(run(pie).auxv.get(9), Some(base + 0x10), "{align:#x}");
    }
    // It is the first segment's own address that is aligned.
    let first = load(R | X, 0, 0x1000, 0x1000).align(2 << 20);
    let pie = Elf::new(3, 0, &[first]).with_interp(b"/ld\0");
    assert_eq!(run(pie).vmas[0].start, 0x5555_5540_0000);
}

/// Checked on 6.18.44: with no valid alignment at all not even the base is rounded to a page
/// before the first segment's address is taken off.
#[test]
fn elf_37_no_valid_alignment() {
    for (align, entry) in [(0, 0x900), (3, 0x900), (1, -0x700i64 as u64), (4096, -0x700i64 as u64)]
    {
        let first = load(R | X, 0x800, 0x800, 0x400).align(align);
        let plan = run(Elf::new(3, 0x900, &[first]).with_interp(b"/ld\0"));
        assert_eq!(plan.auxv.get(9), Some(BASE.wrapping_add(entry)), "p_align {align}");
    }
}

#[test]
fn stk_33_randomised_pie() {
    let mut mem = Mem::default().with("/p", Elf::pie()).with("/ld", Elf::ld());
    mem.facts.personality = 0;
    mem.facts.entropy.pie = (1 << 28) + 5;
    assert_eq!(alive(mem.run("/p")).auxv.get(9), Some(BASE + 5 * 4096 + 0x100));
}

#[test]
fn elf_38_static_pie() {
    // Reserved are three pages; the whole ends at the base of mappings, the vdso below.
    let plan = run(Elf::static_pie());
    assert_eq!(of(&plan, Some(1))[0].0, TOP - 0x3000);
    assert_eq!(plan.auxv.get(33), Some(TOP - 0x3000 - 0x2000));
    let aligned = Elf::new(3, 0, &[load(R | X, 0, 0, 0x1000).align(1 << 20)]);
    assert_eq!(of(&run(aligned.clone()), Some(1))[0].0, 0x7fff_f7f0_0000);
    let mut mem = Mem::default().with("/p", aligned);
    mem.facts.kernel = (6, 10);
    assert_eq!(alive(mem.run("/p")).registers.rip, TOP - 0x1000);
}

#[test]
fn elf_39_holes_stay_free() {
    let pie = Elf::new(3, 0, &[load(R | X, 0, 0, 0x1000), load(R, 0, 0x9000, 0x1000)]);
    let maps = of(&run(pie), Some(1));
    assert_eq!((maps[0].0, maps[1].0), (TOP - 0xa000, TOP - 0x1000));
    // Nothing is reserved without a file part: address 0 and upwards.
    let empty = Elf::new(3, 0, &[load(R, 0, 0, 0).mem(0x1000), load(R | X, 0, 0x1000, 0x1000)]);
    assert_eq!(of(&run(empty), None), [(0, 0x1000, RW)]);
}

#[test]
fn elf_41_42_bss() {
    let elf = |flags| run(Elf::fixed().and(load(flags, 0x1000, 0x50_0000, 0x800).mem(0x1900)));
    for (flags, bss) in [(R, RW), (0, RW), (W, RW), (R | X, RW | Prot::EXEC), (X, RW | Prot::EXEC)]
    {
        assert_eq!(of(&elf(flags), None), [(0x50_1000, 0x50_2000, bss)], "{flags}");
    }
    let zeroed =
        |flags| elf(flags).ops.contains(&uexec_core::Op::Zero { addr: 0x50_0800, len: 0x800 });
    assert!(zeroed(R | W));
    assert!(!zeroed(R), "a read-only segment keeps stale bytes");
}

#[test]
fn elf_43_45_odd_segments() {
    // Empty ones map nothing; a later one replaces; the order is the table's.
    let plan = run(Elf::fixed().and(load(R, 1, 0x70_0000, 0)).and(load(R, 0, 0x30_0000, 0x1000)));
    assert_eq!(of(&plan, Some(1)).len(), 2);
    let over = run(Elf::fixed().and(load(R, 0x1000, 0x40_0000, 0x1000)));
    assert_eq!(of(&over, Some(1)), [(0x40_0000, 0x40_1000, Prot::READ)]);
}

#[test]
fn elf_49_no_segment_at_all() {
    let plan = run(Elf::new(2, 0x1234, &[common::elf::Ph::default()]));
    assert_eq!(plan.registers.rip, 0x1234);
}

#[test]
fn elf_50_60_published_layout() {
    let mm = run(Elf::pie()).mm;
    assert_eq!((mm.start_code, mm.end_code), (BASE, BASE + 0x1000));
    assert_eq!((mm.start_data, mm.end_data), (BASE + 0x1000, BASE + 0x1800));
    assert_eq!((mm.start_brk, mm.brk), (BASE + 0x3000, BASE + 0x3000));
    // No code: the start is the highest number, moved by the bias.
    let none = run(Elf::new(2, 0, &[load(R, 0, 0x40_0000, 0x1000)])).mm;
    assert_eq!((none.start_code, none.end_code), (u64::MAX, 0));
}

#[test]
fn elf_51_phdr() {
    assert_eq!(run(Elf::pie()).auxv.get(3), Some(BASE + 64));
    // The last segment that holds the table.
    let two = Elf::fixed().and(load(R, 0, 0x50_0000, 0x1000));
    assert_eq!(run(two).auxv.get(3), Some(0x50_0040));
    let outside = Elf { phoff: 0x2000, ..Elf::fixed() };
    assert_eq!(run(outside).auxv.get(3), Some(0));
}

#[test]
fn elf_54_fixed_interpreter() {
    let ld = Elf::new(2, 0x40_0200, &[load(R | X, 0, 0x40_0000, 0x1000)]);
    let mut mem = Mem::default().with("/p", Elf::fixed().with_interp(b"/ld\0")).with("/ld", ld);
    let plan = alive(mem.run("/p"));
    assert_eq!((plan.auxv.get(7), plan.registers.rip), (Some(0), 0x40_0200));
    assert!(of(&plan, Some(1)).is_empty(), "the program is overwritten");
}

#[test]
fn elf_55_56_interpreter() {
    let plan = run(Elf::pie());
    assert_eq!(of(&plan, Some(2))[0].0, TOP - 0x3000);
    assert_eq!(plan.auxv.get(7), Some(TOP - 0x3000));
    assert_eq!(plan.registers.rip, TOP - 0x3000 + 0x200);
    assert_eq!(run(Elf::static_pie()).auxv.get(7), Some(0));
}

#[test]
fn elf_60_61_brk() {
    let brk = |elf: Elf, setting: u64, kernel: (u16, u16), draw: u64| {
        let mut mem = Mem::default().with("/p", elf);
        mem.facts.personality = 0;
        mem.facts.kernel = kernel;
        mem.facts.entropy.brk = draw;
        mem.randomize = setting;
        alive(mem.run("/p")).mm.brk
    };
    for setting in [0, 1] {
        assert_eq!(brk(Elf::fixed(), setting, (6, 18), 9), 0x40_1000);
        assert_eq!(brk(Elf::static_pie(), setting, (6, 18), 9), BASE + 0x1000);
    }
    let many = (1 << 18) + 3;
    assert_eq!(brk(Elf::fixed(), 2, (6, 18), many), 0x40_1000 + 4 * 4096);
    assert_eq!(brk(Elf::fixed(), 2, (6, 9), many), 0x40_1000 + 3 * 4096);
    assert_eq!(brk(Elf::fixed(), 2, (6, 8), (1 << 13) + 3), 0x40_1000 + 3 * 4096);
    assert_eq!(brk(Elf::static_pie(), 2, (6, 18), many), BASE + 0x1000 + 3 * 4096);
    assert_eq!(brk(Elf::static_pie(), 2, (6, 12), many), BASE + 0x1000 + 3 * 4096);
}

#[test]
fn elf_63_page_zero() {
    let mut mem = Mem::default().with("/p", Elf::fixed());
    mem.facts.personality |= 0x10_0000;
    assert_eq!(of(&alive(mem.run("/p")), None), [(0, 0x1000, RX)]);
    let plan = alive(mem.by_user(1000).run("/p"));
    assert!(!plan.ops.contains(&uexec_core::Op::MapPageZero));
}

#[test]
fn stk_30_to_36_layout() {
    let lowest_vdso = |change: fn(&mut Mem)| {
        let mut mem = Mem::default().with("/p", Elf::fixed());
        change(&mut mem);
        alive(mem.run("/p")).auxv.get(33).unwrap()
    };
    // The [vdso] of two pages ends where mappings end.
    assert_eq!(lowest_vdso(|_| ()), TOP - 0x2000);
    assert_eq!(lowest_vdso(|m| m.facts.limits.stack = u64::MAX), 0x1555_5555_6000 - 0x2000);
    assert_eq!(lowest_vdso(|m| m.facts.limits.stack = 0x2000), 0x7fff_f7ff_f000 - 0x2000);
    // Bottom-up: behind six pages of [vvar].
    assert_eq!(lowest_vdso(|m| m.legacy = 1), 0x2aaa_aaaa_b000 + 0x6000);
    assert_eq!(lowest_vdso(|m| m.facts.personality |= 0x20_0000), 0x2aaa_aaaa_b000 + 0x6000);
    let random = lowest_vdso(|m| {
        m.facts.personality = 0;
        m.facts.entropy.mmap = (1 << 28) + 7;
    });
    assert_eq!(random, 0x7fff_ffff_f000 - (9 << 20) - 0x3_ffff_f000 - 7 * 4096 - 0x2000);
    let given = lowest_vdso(|m| m.facts.mmap_base = Some(0x7000_0000_0000));
    assert_eq!(given, 0x7000_0000_0000 - 0x2000);
}
