//! ELF programs of other machines, laid out as their own kernel would: only for explaining.

use alloc::borrow::Cow;

use super::judge;
use crate::abi::elf::MAGIC;
use crate::arch::{Class, foreign};
use crate::binfmt::{Binfmt, Verdict};
use crate::bprm::Bprm;
use crate::error::{Reason, Refusal, Stage};

/// Programs of the machines in [`foreign::FOREIGN`]. Here class and byte order are looked at, as
/// nothing else tells one from another. An interpreter that is not there is done without.
#[derive(Clone, Copy, Debug, Default)]
pub struct Foreign;

impl Binfmt for Foreign {
    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("foreign_elf")
    }

    fn load_binary(&self, bprm: &mut Bprm<'_>) -> Result<Verdict, Refusal> {
        let head = &bprm.head;
        let class = match head.get(4) {
            Some(1) => Class::Elf32,
            _ => Class::Elf64,
        };
        let big_endian = head.get(5) == Some(&2);
        let machine = head.get(18..20).and_then(|b| b.first_chunk()).copied().unwrap_or_default();
        let e_machine =
            if big_endian { u16::from_be_bytes(machine) } else { u16::from_le_bytes(machine) };
        let arch = match head.starts_with(&MAGIC) {
            true => foreign::find(class, big_endian, e_machine),
            false => None,
        };
        let Some(arch) = arch else {
            return Err(Refusal::new(Stage::Elf, Reason::NotElf).of(&bprm.file.path));
        };
        judge(bprm, arch, |_| Ok(()), true).map(Verdict::Image)
    }
}
