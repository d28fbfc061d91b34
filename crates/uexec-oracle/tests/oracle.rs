//! Real programs, started by the kernel and by `uexec run` with randomisation off: mappings
//! (ELF-34 to ELF-48, STK-36), stack bytes (STK-2 to STK-12), auxiliary vector (STK-20), registers
//! (ELF-64), published layout (STK-8, ELF-50), comm (PIPE-30), and what `/proc` says, are equal.

mod support;

use std::path::Path;

use support::{Scratch, ordinary, same};
use uexec_oracle::launch::Exec;
use uexec_oracle::state::State;
use uexec_oracle::trace::{by_kernel, by_uexec};
use uexec_oracle::uexec::uexec_binary;
use uexec_oracle::{elf, skip};

const RLIMIT_STACK: u32 = 3;
const HELLO: &str = "#include <stdio.h>\nint main(void) { puts(\"hello\"); return 0; }\n";

#[test]
fn programs_of_this_machine() {
    let names = ["true", "cat", "bash", "sh", "env", "perl", "python3", "busybox", "gcc"];
    for name in names {
        let found = ["/bin", "/usr/bin", "/usr/local/bin"].map(|d| Path::new(d).join(name));
        match found.iter().find(|p| p.exists()) {
            Some(path) => same("program", &ordinary(path)),
            None => skip(name, "not on this machine"),
        }
    }
}

#[test]
fn this_test_itself() {
    same("own", &ordinary(&std::env::current_exe().unwrap()));
    same("own", &ordinary(uexec_binary()));
}

/// The dynamic loader is a program without an interpreter, of type `ET_DYN` (ELF-38).
#[test]
fn the_dynamic_loader_itself() {
    let path = Path::new("/lib64/ld-linux-x86-64.so.2");
    match path.exists() {
        true => same("ld.so", &ordinary(path)),
        false => skip("ld.so", "no glibc on this machine"),
    }
}

#[test]
fn compiled_programs_of_every_kind() {
    let dir = Scratch::new("kinds");
    let kinds: [(&str, &[&str]); 6] = [
        ("pie", &["-pie", "-fPIE"]),
        ("no-pie", &["-no-pie"]),
        ("static", &["-static"]),
        ("static-pie", &["-static-pie"]),
        ("execstack", &["-z", "execstack"]),
        ("aligned", &["-Wl,-z,max-page-size=0x200000"]),
    ];
    for (name, options) in kinds {
        if let Some(path) = dir.cc(name, HELLO, options) {
            same(name, &ordinary(&path));
        }
    }
}

#[test]
fn argument_counts() {
    let exec = Exec::new("/bin/true");
    same("one argument", &exec);
    same("two", &exec.clone().args(["x"]));
    same("an empty one", &exec.clone().args([""]));
    same("1000", &exec.clone().args((0..999).map(|i| format!("argument {i}"))));
    same("another argv[0]", &Exec { argv: vec![c"another name".into()], ..exec });
}

/// `--argv0` took a name that starts with a dash, as those of login shells do, for an option.
#[test]
fn regression_argv0_of_a_login_shell() {
    let exec = Exec { argv: vec![c"-sh".into()], ..Exec::new("/bin/sh") };
    same("login shell", &exec);
}

#[test]
fn environment_sizes() {
    let exec = Exec::new("/bin/true");
    same("empty", &exec);
    same("without =", &exec.clone().envs(["NOTHING", "", "=", "A=1", "A=2"]));
    same("1000", &exec.clone().envs((0..1000).map(|i| format!("NAME_{i}=value {i}"))));
    same("long", &exec.envs([format!("LONG={}", "x".repeat(100_000))]));
}

/// STK-7, STK-31: the stack limit decides how much is mapped at first, and where mappings end.
#[test]
fn stack_limits() {
    for limit in [64 << 10, 100_000, 1 << 20, 64 << 20, 1 << 30, u64::MAX] {
        let exec = ordinary(Path::new("/bin/true")).state(State::Limit(RLIMIT_STACK, limit));
        same(&format!("stack limit {limit}"), &exec);
    }
}

/// ELF-30: `READ_IMPLIES_EXEC` goes, others stay.
#[test]
fn personalities() {
    const READ_IMPLIES_EXEC: u64 = 0x40_0000;
    const SHORT_INODE: u64 = 0x100_0000;
    for bits in [READ_IMPLIES_EXEC, SHORT_INODE] {
        let exec = ordinary(Path::new("/bin/true")).state(State::Personality(bits));
        same(&format!("personality {bits:#x}"), &exec);
    }
}

/// STK-34: mappings grow upwards. The end of uexec's own ones was taken for their start.
#[test]
fn regression_bottom_up_layout() {
    const ADDR_COMPAT_LAYOUT: u64 = 0x20_0000;
    let exec = ordinary(Path::new("/bin/true")).state(State::Personality(ADDR_COMPAT_LAYOUT));
    same("bottom up", &exec);
}

/// SCR-8, PIPE-35, STK-3.
#[test]
fn scripts() {
    let dir = Scratch::new("scripts");
    let script = |name: &str, text: &str| {
        let path = dir.path(name);
        elf::write_program(&path, text.as_bytes()).unwrap();
        path
    };
    same("plain", &ordinary(&script("plain", "#!/bin/sh\ntrue\n")));
    same("argument", &ordinary(&script("argument", "#! /bin/sh  -e x \ntrue\n")));
    same("without newline", &ordinary(&script("end", "#!/bin/cat")));
    let mut last = script("hop1", "#!/bin/cat\n");
    for hop in 2..=6 {
        last = script(&format!("hop{hop}"), &format!("#!{} {hop}\n", last.display()));
        // Five succeed, the sixth is refused.
        same(&format!("{hop} hops"), &ordinary(&last));
    }
    same("no interpreter", &ordinary(&script("none", "#!/nowhere/at/all\n")));
    same("empty name", &ordinary(&script("empty", "#!")));
    same("no format", &ordinary(&script("text", "true\n")));
    // AT_EXECFN keeps the first name, and a shorter name leaves bytes of it behind (STK-3).
    let mut exec = ordinary(&script("short", "#!/bin/sh\n"));
    exec.argv[0] = c"a rather long name that the interpreter's does not overwrite".into();
    same("long argv[0]", &exec);
}

/// The layout of a randomised start is not the same twice, but its shape is.
#[test]
fn randomised_starts_have_the_same_shape() {
    let exec = Exec { randomize: true, ..ordinary(Path::new("/bin/true")) };
    let kernel = by_kernel(&exec).unwrap().started().snapshot().unwrap();
    let uexec = by_uexec(&exec, uexec_binary(), &[]).unwrap().started().snapshot().unwrap();
    let shape = |s: &uexec_oracle::snapshot::Snapshot| -> Vec<_> {
        // The stack may take a page more or less (STK-4, STK-9).
        let size = |m: &uexec_oracle::snapshot::Map| match m.path.as_str() {
            "[stack]" => 0,
            _ => m.end - m.start,
        };
        s.maps.iter().map(|m| (size(m), m.perms.clone(), m.offset, m.path.clone())).collect()
    };
    assert_eq!(shape(&kernel), shape(&uexec));
    let again = by_uexec(&exec, uexec_binary(), &[]).unwrap().started().snapshot().unwrap();
    assert_ne!(uexec.registers.rip, again.registers.rip);
    assert_ne!(uexec.registers.rsp, again.registers.rsp);
    assert_eq!(uexec.stack.is_empty(), again.stack.is_empty());
}

/// `--no-aslr` asks uexec for what `setarch -R` asks the kernel for. Only the personality tells
/// them apart, as uexec does not change it.
#[test]
fn no_aslr_lays_out_as_setarch() {
    let exec = ordinary(Path::new("/bin/true"));
    let kernel = by_kernel(&exec).unwrap().started().snapshot().unwrap();
    let random = Exec { randomize: true, ..exec };
    let uexec = by_uexec(&random, uexec_binary(), &["--no-aslr"]).unwrap().started();
    let mut uexec = uexec.snapshot().unwrap();
    if !support::may_set_exe() {
        uexec.exe.clone_from(&kernel.exe);
    }
    uexec.personality |= 0x4_0000;
    assert_eq!(kernel.differences(&uexec), Vec::<String>::new());
}

/// The stop is where it is said to be: the program can go on from there.
#[test]
fn a_stopped_program_goes_on() {
    let exec = Exec::new("/bin/sh").args(["-c", "exit 7"]);
    assert_eq!(by_kernel(&exec).unwrap().started().finish().unwrap(), 7);
    assert_eq!(by_uexec(&exec, uexec_binary(), &[]).unwrap().started().finish().unwrap(), 7);
}
