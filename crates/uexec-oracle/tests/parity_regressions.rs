//! Programs of which uexec once predicted something else than the kernel did, as small as they
//! get. Numbered in the order in which they were found.

mod support;

use std::path::Path;

use support::Scratch;
use uexec_linux::Host;
use uexec_oracle::elf::{ET_DYN, ET_EXEC, Elf, R, W, X};
use uexec_oracle::launch::Exec;
use uexec_oracle::predict::by_library;
use uexec_oracle::state::State;
use uexec_oracle::trace::by_kernel;
use uexec_oracle::verdict::Verdict;

/// `jmp` to itself.
const LOOP: &[u8] = b"\xeb\xfe";

/// Fails unless both say the same; returns it.
#[track_caller]
fn agreed(exec: &Exec) -> Verdict {
    let predicted = by_library(exec, &Host::new());
    let kernel = Verdict::of_kernel(&by_kernel(exec).unwrap()).unwrap();
    let found = kernel.differences(&predicted);
    assert!(found.is_empty(), "{}", found.join("\n"));
    kernel
}

#[track_caller]
fn agreed_elf(name: &str, elf: &Elf) -> Verdict {
    let dir = Scratch::new(name);
    elf.write(&dir.path("prog")).unwrap();
    agreed(&Exec::new(dir.path("prog")).args(["an argument"]).envs(["A=1"]))
}

/// A program at a fixed address whose interpreter has the `PT_LOAD`s of `interp`.
#[track_caller]
fn agreed_interp(name: &str, interp: &Elf) -> Verdict {
    let dir = Scratch::new(name);
    interp.write(&dir.path("interp")).unwrap();
    let mut elf = Elf::program(ET_EXEC, 0x40_0000, LOOP);
    elf.interp(dir.path("interp").as_os_str().as_encoded_bytes());
    elf.write(&dir.path("prog")).unwrap();
    agreed(&Exec::new(dir.path("prog")))
}

/// `vm.overcommit_memory` 0 refuses a request for more than memory and swap (ELF-42).
#[test]
fn regression_001_obvious_overcommit() {
    for bits in [20, 28, 34, 36, 38, 40, 46] {
        let mut elf = Elf::program(ET_EXEC, 0x40_0000, LOOP);
        elf.bss(R | W, 0x1000_0000, 1 << bits);
        agreed_elf("overcommit", &elf);
    }
}

/// A bss joins what lies before it, never what lies behind (ELF-42).
#[test]
fn regression_002_bss_joins_backwards_only() {
    let mut elf = Elf::program(ET_EXEC, 0x40_0000, LOOP);
    elf.bss(R | W, 0x50_0000, 0x9000);
    elf.load(R | W, 0x50_2000, b"data").p_memsz = 0x3000;
    elf.bss(R | W, 0x50_9000, 0x1000);
    assert!(matches!(agreed_elf("joins", &elf), Verdict::Starts(_)));
}

/// A first segment near 2^64 lets the total wrap to less than the segment (ELF-36, ELF-55).
#[test]
fn regression_003_interpreter_total_less_than_first_segment() {
    let mut interp = Elf::program(ET_DYN, 0xffff_ffff_ffff_de20, &[0x90; 0x3000]);
    interp.bss(R | W, 0x10b6, 0);
    assert!(matches!(agreed_interp("less", &interp), Verdict::Starts(_)));
}

/// The same, wrapping to nothing when rounded up to pages.
#[test]
fn regression_004_interpreter_total_wraps_to_nothing() {
    let mut interp = Elf::program(ET_DYN, 0xffff_ffff_ffff_f000, LOOP);
    interp.bss(R, 0x81e, 0x2000);
    assert_eq!(agreed_interp("nothing", &interp), Verdict::Dies(libc::SIGSEGV));
}

/// An empty segment beyond the address space ends the mapping of an interpreter, and its address
/// is taken for the base (ELF-55).
#[test]
fn regression_005_interpreter_address_taken_for_the_base() {
    let mut interp = Elf::new(ET_DYN);
    interp.load(R, 0x5555_5555_2000, &[1; 0x1000]);
    interp.bss(R | W | X, 0x29_d29f, 0);
    interp.load(R, 0x29_e000, &[2; 0x1000]);
    interp.e_entry = 0x5555_5555_2000;
    assert!(matches!(agreed_interp("base", &interp), Verdict::Starts(_)));
}

/// What stands in a stack whose strings a segment has replaced (ELF-34).
#[test]
fn regression_006_bytes_of_a_replaced_stack() {
    let mut elf = Elf::program(ET_EXEC, 0x40_0000, LOOP);
    elf.bss(R | W, 0x7fff_ffff_e000, 0x36);
    assert!(matches!(agreed_elf("replaced", &elf), Verdict::Starts(_)));
    let mut elf = Elf::program(ET_EXEC, 0x40_0000, LOOP);
    elf.load(R | W, 0x7fff_ffff_e000, b"these\0are\0strings\0too\0");
    assert!(matches!(agreed_elf("replaced", &elf), Verdict::Starts(_)));
}

/// A soft `RLIMIT_DATA` of 0 leaves the hard one (ELF-42).
#[test]
fn regression_007_no_soft_data_limit() {
    const RLIMIT_DATA: u32 = 2;
    let exec = Exec::new(Path::new("/bin/true")).state(State::Limit(RLIMIT_DATA, 0));
    assert!(matches!(agreed(&exec), Verdict::Starts(_)));
}
