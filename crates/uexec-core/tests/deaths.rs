//! What kills after the point of no return: ERR-50 to ERR-55.
mod common;
use common::elf::{Elf, R, W, X, load};
use common::{Mem, death};
use uexec_core::{Errno, Reason};

const END: u64 = (1 << 47) - 4096;

fn program(elf: Elf) -> Reason {
    death(Mem::default().with("/p", elf).with("/ld", Elf::ld()).run("/p"))
}

fn interp(elf: Elf) -> Reason {
    death(Mem::default().with("/p", Elf::pie()).with("/ld", elf).run("/p"))
}

fn segment(s: common::elf::Ph) -> Reason {
    program(Elf::fixed().and(s))
}

#[test]
fn elf_34_first_segment_collides() {
    let on_stack = Elf::new(2, 0, &[load(R | X, 0, END - 0x2000, 0x1000)]);
    let reason = program(on_stack);
    assert_eq!(reason, Reason::Collision { start: END - 0x2_1000, end: END });
    assert_eq!(reason.errno(), Errno::EEXIST);
}

#[test]
fn elf_36_nothing_to_map() {
    assert_eq!(program(Elf::new(3, 0, &[load(R, 0, 0, 0)])), Reason::TotalSizeZero);
}

#[test]
fn elf_40_offsets() {
    let incongruent = segment(load(R, 0x10, 0x50_0000, 0x1000));
    assert!(matches!(incongruent, Reason::OffsetIncongruent { .. }));
    let negative = segment(load(R, 0, 0x50_0010, 0x1000));
    assert!(matches!(negative, Reason::OffsetIncongruent { .. }));
    let high = segment(load(R, u64::MAX - 0xfff, 0x50_0000, 0x1000));
    assert!(matches!(high, Reason::OffsetNegative { .. }));
    // Beyond the end of the file is no error (ELF-40).
    let elf = Elf::fixed().and(load(R, 1 << 40, 0x50_0000, 0x1000));
    common::alive(Mem::default().with("/p", elf).run("/p"));
}

#[test]
fn elf_41_bss_beyond_the_file() {
    let s = |flags| load(flags, 0x3000, 0x50_0000, 0x800).mem(0x1000);
    let reason = segment(s(R | W));
    assert_eq!(reason, Reason::BssBeyondEof { addr: 0x50_0800 });
    assert_eq!(reason.errno(), Errno::EFAULT);
    common::alive(Mem::default().with("/p", Elf::fixed().and(s(R))).run("/p"));
}

#[test]
fn elf_44_bounds() {
    let over = segment(load(R, 0, 0x50_0000, 0x1000).mem(0xfff));
    assert!(matches!(over, Reason::FileszOverMemsz { .. }));
    let high = segment(load(R, 0, END, 0));
    assert!(matches!(high, Reason::BeyondTaskSize { .. }));
    let long = segment(load(R, 0, 0x50_0000, 0).mem(END));
    assert!(matches!(long, Reason::NoAddressSpace { .. }));
    // It is the address in the file that counts, even where the bias would bring it down.
    let dynamic = Elf::new(3, 0, &[load(R | X, 0, END, 0x1000)]).with_interp(b"/ld\0");
    assert!(matches!(program(dynamic), Reason::BeyondTaskSize { what: "p_vaddr", .. }));
}

#[test]
fn elf_47_low_addresses_of_users() {
    let elf = Elf::new(2, 0, &[load(R | X, 0, 0, 0x1000)]);
    let reason = death(Mem::default().with("/p", elf).by_user(5).run("/p"));
    assert_eq!(reason.errno(), Errno::EPERM);
    // A static PIE whose first segment has no file part.
    let elf = Elf::new(3, 0, &[load(R | W, 0, 0, 0).mem(0x1000)]);
    let reason = death(Mem::default().with("/p", elf).by_user(5).run("/p"));
    assert_eq!(reason, Reason::BelowMmapMin { addr: 0, min: 4096 });
}

#[test]
fn elf_52_entry() {
    for entry in [END, u64::MAX] {
        let elf = Elf { entry, ..Elf::fixed() };
        assert!(matches!(program(elf.clone()), Reason::BeyondTaskSize { what: "e_entry", .. }));
        // With an interpreter it is never checked.
        let elf = elf.with_interp(b"/ld\0");
        common::alive(Mem::default().with("/p", elf).with("/ld", Elf::ld()).run("/p"));
    }
}

#[test]
fn elf_53_interpreter() {
    assert_eq!(interp(Elf { e_type: 1, ..Elf::ld() }), Reason::InterpType { e_type: 1 });
    let reason = interp(Elf::new(3, 0, &[common::elf::Ph::default()]));
    assert_eq!(reason, Reason::NoLoadSegments);
    let reason = interp(Elf { entry: END, ..Elf::ld() });
    assert!(matches!(reason, Reason::BeyondTaskSize { what: "its entry", .. }));
}

#[test]
fn elf_57_interpreter_segments() {
    let over = Elf::ld().and(load(R, 0, 0x9000, 0x1000).mem(0));
    assert!(matches!(interp(over), Reason::FileszOverMemsz { .. }));
}

#[test]
fn stk_5_no_room_for_the_stack() {
    let mut mem = Mem::default().with("/p", Elf::fixed());
    mem.facts.creds.uid = 0;
    mem.min_addr = END;
    let reason = death(mem.by_user(5).run("/p"));
    assert!(matches!(reason, Reason::NoAddressSpace { .. }));
}

#[test]
fn pipe_50_death_keeps_what_was_decided() {
    let elf = Elf::fixed().and(load(R, 0, END, 0));
    let plan = Mem::default().with("/p", elf).run("/p").unwrap();
    assert!(!plan.vmas.is_empty() && !plan.ops.contains(&uexec_core::Op::Jump));
    let last = plan.story.events().last().unwrap();
    assert!(last.what.contains("SIGSEGV"), "{}", last.what);
}
