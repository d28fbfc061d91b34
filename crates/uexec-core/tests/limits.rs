//! Limits on the address space, as 6.18.44 applied them: ELF-42, ELF-47, STK-35, STK-36.
mod common;
use common::elf::{Elf, R, W, X, load};
use common::{Mem, alive, death};
use uexec_core::mm::Mm;
use uexec_core::world::Limits;
use uexec_core::{Errno, Plan, Reason};

fn exec() -> Elf {
    Elf::fixed()
}

fn at(plan: &Plan, start: u64) -> bool {
    plan.vmas.iter().any(|v| v.start == start)
}

/// 33 pages of stack and one of program suffice; the vdso is not counted.
#[test]
fn rlimit_as_does_not_count_the_vdso() {
    for (pages, lives) in [(33, false), (34, true)] {
        let mut mem = Mem::default().with("/p", exec());
        mem.facts.limits.address_space = pages * 4096;
        assert_eq!(mem.run("/p").unwrap().death.is_none(), lives, "{pages} pages");
    }
}

#[test]
fn elf_42_rlimit_data_counts_file_and_bss() {
    let elf = exec().and(load(R | W, 0x1000, 0x50_0000, 0x1000).mem(0x4000));
    for (limit, lives) in [(0x1000, false), (0x3fff, false), (0x4000, true)] {
        let mut mem = Mem::default().with("/p", elf.clone());
        mem.facts.limits.data = limit;
        assert_eq!(mem.run("/p").unwrap().death.is_none(), lives, "{limit:#x}");
    }
}

/// What a file mapping replaces is taken off, whether it was data or not.
#[test]
fn rlimit_data_of_a_replacing_file_mapping() {
    let code = load(R | X, 0, 0x40_0000, 0x3000);
    let data = load(R | W, 0, 0x40_0000, 0x3000);
    let mut mem = Mem::default().with("/p", Elf::new(2, 0, &[code, data]));
    mem.facts.limits.data = 0x1000;
    alive(mem.run("/p"));
}

#[test]
fn elf_47_below_mmap_min_addr() {
    let low = || Mem::default().with("/p", Elf::new(2, 0, &[load(R | X, 0, 0, 0x1000)]));
    alive(low().run("/p"));
    let reason = death(low().by_user(1000).run("/p"));
    assert_eq!(reason, Reason::BelowMmapMin { addr: 0, min: 4096 });
    assert_eq!(reason.errno(), Errno::EPERM);
    // It is the new credentials that count: root regains the capability at exec.
    let mut mem = low();
    mem.facts.creds.effective = 0;
    alive(mem.run("/p"));
}

fn prelinked(vaddr: u64, len: u64, huge: bool) -> Plan {
    let ld = Elf::new(3, vaddr, &[load(R | X, 0, vaddr, len)]);
    let mut mem = Mem::default().with("/p", Elf::fixed().with_interp(b"/ld\0")).with("/ld", ld);
    mem.files[2].mount.huge_aligned = huge;
    alive(mem.run("/p"))
}

/// A hint is raised to 64 KiB though `vm.mmap_min_addr` says 4096.
#[test]
fn elf_55_low_hints_are_raised() {
    assert!(at(&prelinked(0x1000, 0x1000, false), 0x1_0000));
    assert_eq!(prelinked(0x1000, 0x1000, false).auxv.get(7), Some(0xf000));
    assert_eq!(prelinked(0x2_0000, 0x1000, false).auxv.get(7), Some(0));
    assert!(at(&prelinked(0, 0x1000, false), 0x7fff_f7ff_e000));
}

#[test]
fn elf_48_a_free_hint_beats_huge_alignment() {
    assert!(at(&prelinked(0x1000_1000, 0x40_0000, true), 0x1000_1000));
}

#[test]
fn elf_48_huge_alignment() {
    let place = |len: u64, huge| {
        let elf = Elf { size: len as usize, ..Elf::new(3, 0, &[load(R | X, 0, 0, len)]) };
        let mut mem = Mem::default().with("/p", elf);
        mem.files[1].mount.huge_aligned = huge;
        alive(mem.run("/p")).registers.rip
    };
    assert_eq!(place(0x3c_8000, true), 0x7fff_f7c0_0000);
    assert_eq!(place(0x3c_8000, false), 0x7fff_f7ff_f000 - 0x3c_8000);
    assert_eq!(place(0x1f_f000, true), 0x7fff_f7ff_f000 - 0x1f_f000);
}

#[test]
fn stk_35_five_level_paging_changes_nothing() {
    let mut mem = Mem::default().with("/p", Elf::static_pie());
    let four = alive(mem.run("/p"));
    mem.facts.task_size = (1 << 56) - 4096;
    assert_eq!(alive(mem.run("/p")).vmas, four.vmas);
}

#[test]
fn stk_35_nothing_fits_below_so_above() {
    let mm = Mm::new((1 << 47) - 4096, 0x1000_0000, false, 4096, Limits::default());
    assert_eq!(mm.search(0, 0x1000_0000 - 4096), Some(4096));
    assert_eq!(mm.search(0, 0x1000_0000), Some(0x2aaa_aaaa_b000));
    assert_eq!(mm.search(0, 1 << 47), None);
}

#[test]
fn impossible_facts_do_not_panic() {
    for task_size in [0, 1, 4095, 4096, 1 << 27, u64::MAX] {
        let mut mem = Mem::default().with("/p", Elf::pie()).with("/ld", Elf::ld());
        mem.facts.task_size = task_size;
        let _ = mem.run("/p");
        for part in &mut mem.facts.vdso {
            part.len = u64::MAX;
        }
        let _ = mem.run("/p");
    }
}
