//! Where segments go: ELF-34 to ELF-40.
mod common;
use common::elf::{Elf, R, X, load};
use common::{Mem, alive};

#[test]
fn elf_37_pie_base() {
    let mut mem = Mem::default().with("/p", Elf::pie()).with("/ld", Elf::ld());
    let plan = alive(mem.run("/p"));
    assert_eq!(plan.auxv.get(9), Some(0x5555_5555_4100));
}

/// Checked on 6.18.44: with no valid alignment at all not even the base is rounded to a page
/// before the first segment's address is taken off.
#[test]
fn elf_37_no_valid_alignment() {
    for (align, entry) in [
        (0, 0x5555_5555_4900),
        (3, 0x5555_5555_4900),
        (1, 0x5555_5555_3900),
        (4096, 0x5555_5555_3900),
    ] {
        let first = load(R | X, 0x800, 0x800, 0x400).align(align);
        let pie = Elf::new(3, 0x900, &[first]).with_interp(b"/ld\0");
        let plan = alive(Mem::default().with("/p", pie).with("/ld", Elf::ld()).run("/p"));
        assert_eq!(plan.auxv.get(9), Some(entry), "p_align {align}");
    }
}
