//! After the point of no return the caller is gone: both die by SIGSEGV (PIPE-50, ERR-50 to
//! ERR-58).

use crate::common::ask::{Ask, DEATH, End};
use crate::common::elf::{BASE, Elf, PT_LOAD, Ph, RW};
use crate::common::place::Place;
use crate::{message, row};

/// End of user addresses with 4-level paging.
const TASK_SIZE: u64 = 0x7fff_ffff_f000;

#[track_caller]
fn dies(p: &Place, name: &str, elf: Elf) {
    dies_if(p, name, elf, |ask| ask);
}

#[track_caller]
fn dies_if(p: &Place, name: &str, elf: Elf, set: impl Fn(Ask) -> Ask) {
    p.elf("prog", &elf);
    row(name, &set(Ask::new(&p.path, "./prog")), DEATH);
}

fn prog() -> Elf {
    Elf::exit(42)
}

fn data(vaddr: u64) -> Ph {
    Ph { p_type: PT_LOAD, flags: RW, offset: 0, vaddr, filesz: 0x800, memsz: 0x800, align: 4096 }
}

/// The program with one more segment.
fn and(segment: Ph) -> Elf {
    prog().but(|e| e.phdrs.push(segment))
}

#[test]
fn err_50_segments_that_cannot_be() {
    let p = Place::new();
    dies(&p, "err_50_filesz_over_memsz", prog().but(|e| e.phdrs[0].memsz -= 1));
    dies(&p, "err_50_memsz_huge", and(Ph { memsz: TASK_SIZE + 1, ..data(0x80_0000) }));
    dies(&p, "err_50_vaddr_huge", prog().at(0).but(|e| e.phdrs.push(data(TASK_SIZE))));
    dies(
        &p,
        "err_50_end_huge",
        and(Ph { filesz: 0, memsz: TASK_SIZE - 0x80_0000 + 1, ..data(0x80_0000) }),
    );
    dies(&p, "err_50_incongruent", and(Ph { offset: 0x10, ..data(0x80_0000) }));
    dies(&p, "err_50_offset_negative", and(Ph { offset: 1 << 63, ..data(0x80_0000) }));
    dies(&p, "err_50_entry_huge", prog().but(|e| e.entry = TASK_SIZE));
    dies(
        &p,
        "err_50_total_size_0",
        prog().at(0).but(|e| (e.phdrs[0].filesz, e.phdrs[0].memsz) = (0, 0)),
    );
}

#[test]
fn err_51_collision_with_the_stack() {
    let p = Place::new();
    let elf = prog().at(TASK_SIZE - 0x3000);
    dies_if(&p, "err_51_stack_in_the_way", elf, Ask::no_aslr);
}

#[test]
fn err_52_page_zero() {
    let p = Place::new();
    p.elf("prog", &and(data(0)));
    let ask = Ask::new(&p.path, "./prog").nobody();
    let ours = ask.uexec();
    assert_eq!((ask.kernel().end, ours.end), (DEATH, DEATH));
    let min = std::fs::read_to_string("/proc/sys/vm/mmap_min_addr").unwrap();
    let min = format!("({:#x})", min.trim().parse::<u64>().unwrap());
    message("err_52_below_mmap_min_addr", &ours.stderr.replace(&min, "(MIN)"));
}

#[test]
fn err_53_no_memory() {
    let p = Place::new();
    let big = Ph { filesz: 0, memsz: 8 << 30, ..data(0x80_0000) };
    let (space, bss) = (libc::RLIMIT_AS, libc::RLIMIT_DATA);
    dies_if(&p, "err_53_rlimit_as", and(big.clone()), move |ask| ask.limit(space, 1 << 30));
    dies_if(&p, "err_53_rlimit_data", and(big), move |ask| ask.limit(bss, 1 << 30));
    dies(&p, "err_53_address_beyond", prog().at(TASK_SIZE));
}

#[test]
fn err_54_bss_beyond_the_end_of_the_file() {
    let p = Place::new();
    let far = Ph { offset: 1 << 20, filesz: 0x10, memsz: 0x20, ..data(0x80_0000) };
    dies(&p, "err_54_bss_beyond_eof", and(far));
}

#[test]
fn err_52_55_interpreters() {
    let p = Place::new();
    let with = |name: &str, change: fn(&mut Elf)| {
        p.elf("ld", &Elf::exit(43).at(0).but(change));
        dies_if(&p, name, prog().with_interp("./ld"), Ask::no_aslr);
    };
    with("err_52_interp_type", |e| e.e_type = 1);
    with("err_55_interp_nothing_to_load", |e| e.phdrs[0].p_type = 6);
    with("err_55_interp_empty_segment", |e| (e.phdrs[0].filesz, e.phdrs[0].memsz) = (0, 0));
    with("err_55_interp_entry", |e| e.entry = 1 << 47);
    with("err_55_interp_filesz", |e| e.phdrs[0].memsz -= 1);
    with("err_55_interp_incongruent", |e| e.phdrs[0].offset = 8);
}

/// Not a failure of the exec: the program starts and faults, and uexec says nothing.
#[test]
fn err_58_faults_of_the_program() {
    let p = Place::new();
    let faults = |what: &str, elf: Elf| {
        p.elf("prog", &elf);
        let ask = Ask::new(&p.path, "./prog");
        let (kernel, ours) = (ask.kernel(), ask.uexec());
        assert_eq!(kernel.end, End::Signal(libc::SIGSEGV), "{what}");
        assert_eq!(ours.end, kernel.end, "{what}: {}", ours.stderr);
        assert_eq!(ours.stderr, "", "{what}");
    };
    faults("entry not mapped", prog().but(|e| e.entry = BASE + 0x10_0000));
    faults("entry 0", prog().but(|e| e.entry = 0));
    faults("text not executable", prog().but(|e| e.phdrs[0].flags = 4));
    faults("nothing to load", prog().but(|e| e.phdrs[0].p_type = 6));
    faults("nothing to load, anywhere", prog().at(0).but(|e| e.phdrs[0].p_type = 6));
    faults(
        "entry of the interpreter not mapped",
        prog().with_interp("./ld").but(|e| {
            p.elf("ld", &Elf::exit(43).at(0).but(|ld| ld.entry = 1 << 20));
            e.entry = u64::MAX;
        }),
    );
}
