//! Where segments go: ELF-34 to ELF-40.
mod common;
use common::elf::Elf;
use common::{Mem, alive};

#[test]
fn elf_37_pie_base() {
    let mut mem = Mem::default().with("/p", Elf::pie()).with("/ld", Elf::ld());
    let plan = alive(mem.run("/p"));
    assert_eq!(plan.auxv.get(9), Some(0x5555_5555_4100));
}
