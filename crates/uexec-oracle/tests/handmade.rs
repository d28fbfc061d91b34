//! Hand-made programs with odd headers, started by the kernel and by `uexec run`: everything that
//! can be seen at their first instruction is equal, the contents of all memory included.

mod support;

use support::{Scratch, differences, ordinary, same};
use uexec_oracle::elf::{ET_DYN, ET_EXEC, Elf, Phdr, R, W, X, code};
use uexec_oracle::launch::{Exec, run};
use uexec_oracle::state::State;
use uexec_oracle::uexec::uexec_binary;

const BASE: u64 = 0x1000_0000;
const LD_SO: &[u8] = b"/lib64/ld-linux-x86-64.so.2";

/// A program at a fixed address that ends with status 7.
fn fixed() -> Elf {
    Elf::program(ET_EXEC, BASE, &code::exit(7))
}

/// One that can be placed anywhere.
fn anywhere() -> Elf {
    Elf::program(ET_DYN, 0x1000, &code::exit(7))
}

/// Compares a program.
#[track_caller]
fn check(name: &str, elf: &Elf) {
    let dir = Scratch::new(&format!("handmade-{}", name.replace(' ', "-")));
    let path = dir.path("program");
    elf.write(&path).unwrap();
    same(name, &ordinary(&path));
}

/// Changes a program, then compares it.
#[track_caller]
fn with(name: &str, mut elf: Elf, change: impl FnOnce(&mut Elf)) {
    change(&mut elf);
    check(name, &elf);
}

#[test]
fn smallest_programs() {
    check("fixed", &fixed());
    check("anywhere", &anywhere());
    with("pie with interpreter", anywhere(), |e| {
        e.interp(LD_SO);
    });
    with("fixed with interpreter", fixed(), |e| {
        e.interp(LD_SO);
    });
}

#[test]
fn they_run_to_their_end() {
    let dir = Scratch::new("handmade-run");
    let path = dir.path("program");
    fixed().write(&path).unwrap();
    assert_eq!(run(&Exec::new(&path)).unwrap(), 7);
    assert_eq!(run(&Exec::new(&path).through(uexec_binary(), &[])).unwrap(), 7);
    let output = std::fs::File::options();
    let said = dir.path("said");
    let file = output.clone().create(true).truncate(true).read(true).write(true).open(&said);
    Elf::program(ET_DYN, 0, &code::say(b"I am here\n")).write(&path).unwrap();
    let exec = Exec { output: Some(file.unwrap().into()), ..Exec::new(&path) };
    assert_eq!(run(&exec.through(uexec_binary(), &[])).unwrap(), 0);
    assert_eq!(std::fs::read(&said).unwrap(), b"I am here\n");
}

/// ELF-39: what lies between segments stays unmapped.
#[test]
fn holes_between_segments() {
    for elf in [fixed(), anywhere()] {
        with("holes", elf, |e| {
            let base = e.e_entry;
            e.load(R, base + 0x5000, b"read only");
            e.load(R | W, base + 0x40_0123, b"writable");
        });
    }
}

/// ELF-41, ELF-42.
#[test]
fn zeroed_memory() {
    for flags in [R | W, R, W, 0, R | W | X, X] {
        with("bss", fixed(), |e| {
            e.load(flags, BASE + 0x1_0010, &[0xaa; 5000]).p_memsz = 20_000;
            // Bytes of the file behind the segment must not show where it is writable.
            e.contents.push((0x2000 + 0x10 + 5000, vec![0xbb; 200]));
        });
        with("bss only", fixed(), |e| {
            e.bss(flags, BASE + 0x1_0010, 9000);
        });
        with("small bss", anywhere(), |e| {
            e.load(flags, 0x1_0010, &[0xaa; 100]).p_memsz = 200;
        });
    }
}

/// ELF-45: later ones win, page by page.
#[test]
fn overlapping_segments() {
    for elf in [fixed(), anywhere()] {
        with("overlap", elf.clone(), |e| {
            let base = e.e_entry;
            e.load(R | W, base + 0x1_0000, &[1; 0x4000]);
            e.load(R, base + 0x1_1000, &[2; 0x1000]);
            e.load(R | W, base + 0x1_2800, &[3; 0x100]).p_memsz = 0x4000;
        });
        with("bss over file", elf, |e| {
            let base = e.e_entry;
            e.load(R | W, base + 0x1_0000, &[1; 0x4000]);
            e.bss(R | W, base + 0x1_1000, 0x1000);
        });
    }
}

/// ELF-45: segments need no order.
#[test]
fn segments_below_the_first() {
    with("below fixed", fixed(), |e| {
        e.load(R | W, BASE - 0x3000, b"below");
    });
    with("below dyn", Elf::program(ET_DYN, 0x10_0000, &code::exit(7)), |e| {
        e.load(R | W, 0x2000, b"below");
    });
    with("below pie", Elf::program(ET_DYN, 0x10_0000, &code::exit(7)), |e| {
        e.load(R | W, 0x2000, b"below");
        e.interp(LD_SO);
    });
}

/// ELF-37, ELF-38.
#[test]
fn alignments() {
    let aligns = [0, 1, 3, 0x1000, 0x3000, 0x1_0000, 0x20_0000, 0x4000_0000, 1 << 40, u64::MAX];
    for align in aligns {
        for interp in [false, true] {
            with(&format!("align {align:x} {interp}"), anywhere(), |e| {
                e.phdrs[0].p_align = align;
                if interp {
                    e.interp(LD_SO);
                }
            });
        }
    }
}

/// ELF-19, ELF-33.
#[test]
fn executable_stacks() {
    for flags in [R | W, R | W | X, X, 0] {
        with("stack", fixed(), |e| {
            e.stack(flags);
        });
    }
    with("the last one wins", fixed(), |e| {
        e.stack(R | W | X);
        e.stack(R | W);
    });
}

/// ELF-50, ELF-51, ELF-52: what is published of the program.
#[test]
fn bookkeeping() {
    with("nothing executable", Elf::new(ET_EXEC), |e| {
        e.e_entry = BASE;
        e.load(R, BASE, b"data");
    });
    with("headers in a segment", fixed(), |e| {
        let mapped = Phdr { p_offset: 0, p_filesz: 0x1000, p_memsz: 0x1000, ..e.phdrs[0] };
        e.push(Phdr { p_vaddr: BASE + 0x10_0000, p_flags: R, ..mapped });
    });
    with("data below code", fixed(), |e| {
        e.load(R | W, BASE - 0x10_0000, &[1; 100]).p_memsz = 0x5000;
    });
    with("code above all", fixed(), |e| {
        e.load(R | X, BASE + 0x10_0000, b"more");
    });
}

/// The entry may be anywhere; running it is another matter (ELF-49, ELF-52).
#[test]
fn entries() {
    for entry in [0, 1, BASE + 5, BASE + 0x10_0000, 0x7fff_ffff_f000, 1 << 63, u64::MAX] {
        with(&format!("entry {entry:x}"), fixed(), |e| e.e_entry = entry);
    }
    with("any, with interpreter", fixed(), |e| {
        e.e_entry = u64::MAX;
        e.interp(LD_SO);
    });
}

/// ELF-2 to ELF-14: refused, and by both.
#[test]
fn refused_before_the_point_of_no_return() {
    with("type", fixed(), |e| e.e_type = 4);
    // One that no rule of binfmt_misc is for: uexec finds those of the machine by itself.
    with("machine", fixed(), |e| e.e_machine = 0x7777);
    with("phentsize", fixed(), |e| e.e_phentsize = 32);
    with("phnum 0", fixed(), |e| e.e_phnum = Some(0));
    with("phnum", fixed(), |e| e.e_phnum = Some(2000));
    with("phoff", fixed(), |e| e.e_phoff = 1 << 40);
    with("short", fixed(), |e| e.len = Some(100));
    with("interp missing", fixed(), |e| {
        e.interp(b"/nowhere/at/all");
    });
    with("interp directory", fixed(), |e| {
        e.interp(b"/");
    });
    with("interp empty", fixed(), |e| {
        e.interp(b"").p_filesz = 1;
    });
    with("interp unterminated", fixed(), |e| {
        e.interp(LD_SO).p_filesz -= 1;
    });
    with("interp beyond the file", fixed(), |e| {
        e.interp(LD_SO).p_offset = 1 << 30;
    });
    with("interp is a script", fixed(), |e| {
        e.interp(b"/bin/sh").p_offset += 1;
    });
}

/// ELF-34 to ELF-53: killed by SIGSEGV, by both.
#[test]
fn killed_after_the_point_of_no_return() {
    with("filesz above memsz", fixed(), |e| e.phdrs[0].p_memsz = 1);
    with("beyond the end", fixed(), |e| e.phdrs[0].p_vaddr = 0x7fff_ffff_f000);
    with("far beyond", fixed(), |e| e.phdrs[0].p_vaddr = 1 << 63);
    with("huge", fixed(), |e| {
        e.load(R | W, BASE + 0x10_0000, b"x").p_memsz = 1 << 62;
    });
    with("incongruent", fixed(), |e| e.phdrs[0].p_offset += 1);
    with("on the stack", fixed(), |e| e.phdrs[0].p_vaddr = 0x7fff_ffff_e000);
    with("empty", Elf::new(ET_DYN), |e| {
        e.load(R, 0x1000, b"");
    });
    with("bss beyond the file", fixed(), |e| {
        let phdr = e.load(R | W, BASE + 0x10_0000, &[1; 100]);
        (phdr.p_offset, phdr.p_memsz) = (1 << 20, 200);
    });
}

/// ELF-49.
#[test]
fn no_segment_at_all() {
    with("none", Elf::new(ET_EXEC), |e| {
        e.stack(R | W);
    });
    with("none dyn", Elf::new(ET_DYN), |e| {
        e.stack(R | W);
    });
}

/// ELF-46: execute-only, write-only and no permission at all.
#[test]
fn permissions() {
    for flags in 0..8 {
        with(&format!("permissions {flags}"), fixed(), |e| {
            e.load(flags, BASE + 0x10_0000, &[7; 5000]);
        });
    }
}

/// ELF-54 to ELF-57: the interpreter is hand-made, too.
#[test]
fn interpreters() {
    let dir = Scratch::new("handmade-interp");
    let (program, interp) = (dir.path("program"), dir.path("interp"));
    let name = interp.to_str().unwrap().as_bytes();
    let named = |mut elf: Elf| {
        elf.interp(name);
        elf
    };
    let kinds = [
        ("fixed elsewhere", Elf::program(ET_EXEC, 2 * BASE, &code::exit(3))),
        ("fixed on the program", Elf::program(ET_EXEC, BASE, &code::exit(3))),
        ("anywhere", Elf::program(ET_DYN, 0, &code::exit(3))),
        ("prelinked", Elf::program(ET_DYN, 3 * BASE, &code::exit(3))),
        ("bss", {
            let mut e = anywhere();
            e.load(R | W, 0x8000, &[9; 100]).p_memsz = 0x4000;
            e
        }),
        ("no segment", Elf::new(ET_DYN)),
        ("wrong type", Elf { e_type: 4, ..anywhere() }),
        ("wrong machine", Elf { e_machine: 3, ..anywhere() }),
        ("entry", Elf { e_entry: 1 << 62, ..anywhere() }),
    ];
    for (what, elf) in kinds {
        elf.write(&interp).unwrap();
        for main in [fixed(), anywhere()] {
            named(main).write(&program).unwrap();
            same(what, &ordinary(&program));
        }
    }
}

/// ELF-55: an interpreter that names a place below 64 KiB gets 64 KiB, even where the caller may
/// map lower.
#[test]
fn regression_low_hint_of_an_interpreter() {
    let dir = Scratch::new("handmade-low-hint");
    let (program, interp) = (dir.path("program"), dir.path("interp"));
    anywhere().write(&interp).unwrap();
    let mut main = fixed();
    main.interp(interp.to_str().unwrap().as_bytes());
    main.write(&program).unwrap();
    same("low hint", &ordinary(&program));
}

/// STK-13, ELF-42: limits that forbid what is needed.
#[test]
fn memory_limits() {
    let dir = Scratch::new("handmade-limits");
    let path = dir.path("program");
    let mut elf = fixed();
    elf.bss(R | W, 2 * BASE, 64 << 20);
    elf.write(&path).unwrap();
    const RLIMIT_DATA: u32 = 2;
    for limit in [32 << 20, 65 << 20] {
        same("data", &ordinary(&path).state(State::Limit(RLIMIT_DATA, limit)));
    }
}

/// The comparison can fail: what differs is said.
#[test]
fn differences_are_seen() {
    let dir = Scratch::new("handmade-differ");
    let path = dir.path("program");
    fixed().write(&path).unwrap();
    assert_eq!(differences(&Exec::new(&path)), Vec::<String>::new());
    let mut exec = Exec::new(&path);
    let one = uexec_oracle::trace::by_kernel(&exec).unwrap().started().snapshot().unwrap();
    exec.argv.push(c"more".into());
    let two = uexec_oracle::trace::by_kernel(&exec).unwrap().started().snapshot().unwrap();
    let found = one.differences(&two).join("\n");
    for what in ["stack", "cmdline", "arg_start"] {
        assert!(found.contains(what), "{what} is not in\n{found}");
    }
}
