//! Limits on arguments and environment: PIPE-14 to PIPE-27.
mod common;
use common::elf::Elf;
use common::{Mem, alive};
use uexec_core::{Errno, Exec, Reason};

fn world() -> Mem {
    Mem::default().with("/p", Elf::fixed()).with("/s", "#!/p x\n")
}

fn outcome(mem: &mut Mem, exec: Exec) -> Option<Errno> {
    mem.plan(exec).err().map(|e| e.errno())
}

/// An exec of `/p` whose strings take `bytes` with their NULs, in `envc` environment strings and
/// one argument.
fn filled(bytes: usize, envc: usize) -> Exec {
    let first = bytes - 3 - 2 - (envc - 1) * 100_001;
    let mut envp = vec![vec![b'e'; 100_000]; envc - 1];
    envp.push(vec![b'f'; first - 1]);
    Exec { argv: vec![b"a".to_vec()], envp, ..Exec::new("/p") }
}

#[test]
fn pipe_22_exact_to_the_byte() {
    // The floor of 128 KiB.
    let mut mem = world();
    mem.facts.limits.stack = 400_000;
    for envc in [1, 2] {
        let room = 131_072 - 8 * (1 + envc);
        assert_eq!(outcome(&mut mem, filled(room, envc)), None);
        assert_eq!(outcome(&mut mem, filled(room + 1, envc)), Some(Errno::E2BIG));
    }
    // A quarter of the stack, and the ceiling of 6 MiB.
    for (stack, limit, envc) in
        [(1 << 20, 262_144, 3), (8 << 20, 2 << 20, 21), (1 << 30, 6 << 20, 63)]
    {
        let mut mem = world();
        mem.facts.limits.stack = stack;
        let room = limit - 8 * (1 + envc);
        assert_eq!(outcome(&mut mem, filled(room, envc)), None, "{stack}");
        assert_eq!(outcome(&mut mem, filled(room + 1, envc)), Some(Errno::E2BIG), "{stack}");
    }
}

#[test]
fn pipe_15_pointers_alone() {
    let of = |n: usize| Exec { envp: vec![vec![]; n], ..Exec::new("/p") };
    let mut mem = world();
    mem.facts.limits.stack = 0;
    let e = mem.plan(of(16_383)).unwrap_err();
    assert!(matches!(e.refusal.reason, Reason::ArgsTooLong { need: 0, .. }));
    let e = mem.plan(of(16_382)).unwrap_err();
    assert!(matches!(e.refusal.reason, Reason::ArgsTooLong { need: 3.., .. }));
}

#[test]
fn pipe_17_no_arguments() {
    let plan = alive(world().plan(Exec { argv: vec![], ..Exec::new("/p") }));
    assert_eq!(plan.stack.argc, 1);
    assert_eq!(plan.mm.arg_end - plan.mm.arg_start, 1);
}

#[test]
fn pipe_23_one_string() {
    let of = |len: usize| Exec { argv: vec![vec![b'a'; len]], ..Exec::new("/p") };
    assert_eq!(outcome(&mut world(), of(131_071)), None);
    assert_eq!(outcome(&mut world(), of(131_072)), Some(Errno::E2BIG));
}

#[test]
fn pipe_24_small_stacks() {
    let of = |len: usize| Exec { argv: vec![vec![b'a'; len]], ..Exec::new("/p") };
    for (stack, fits) in [(0, 4096), (4095, 4096), (4096, 4096), (8191, 4096), (8192, 8192)] {
        let mut mem = world();
        mem.facts.limits.stack = stack;
        // Hole, file name and NUL.
        let room = fits - 8 - 3 - 1;
        assert_eq!(outcome(&mut mem, of(room)), None, "{stack}");
        assert_eq!(outcome(&mut mem, of(room + 1)), Some(Errno::E2BIG), "{stack}");
    }
    let mut mem = world();
    mem.facts.limits.address_space = 8192;
    assert_eq!(outcome(&mut mem, of(8192 - 12)), None);
    let e = mem.plan(of(8192 - 11)).unwrap_err();
    assert!(matches!(e.refusal.reason, Reason::StackTooSmall { which: "RLIMIT_AS", .. }));
}

#[test]
fn pipe_25_rewriting_is_charged() {
    let mut mem = world();
    mem.facts.limits.stack = 400_000;
    // "/s" twice and "a"; dropping "a" and adding "/p", "x", "/s" needs six bytes more.
    let of = |spare: usize| {
        let len = 131_072 - 8 * 2 - 3 - 2 - 1 - spare;
        Exec { argv: vec![b"a".to_vec()], envp: vec![vec![b'e'; len]], ..Exec::new("/s") }
    };
    assert_eq!(outcome(&mut mem, of(6)), None);
    assert_eq!(outcome(&mut mem, of(5)), Some(Errno::E2BIG));
    // The strings are copied before the interpreter is opened.
    let mut mem = Mem::default().with("/s", "#!/missing\n");
    mem.facts.limits.stack = 400_000;
    assert_eq!(outcome(&mut mem, of(0)), Some(Errno::E2BIG));
    assert_eq!(outcome(&mut mem, of(50)), Some(Errno::ENOENT));
}

#[test]
fn pipe_27_any_bytes() {
    let strings = vec![b"\xff\x80".to_vec(), b"no equals sign".to_vec(), vec![], vec![]];
    let exec = Exec { argv: strings.clone(), envp: strings, ..Exec::new("/p") };
    common::model::check(&alive(world().plan(exec.clone())), &exec, &world().facts);
    // A NUL inside is what no caller of execve can pass.
    let nul = Exec { argv: vec![b"a\0b".to_vec()], ..Exec::new("/p") };
    assert_eq!(outcome(&mut world(), nul), Some(Errno::EINVAL));
}

#[test]
fn pipe_16_order_of_errors() {
    // The missing program wins over strings that are too long.
    let long = vec![vec![b'a'; 131_072]];
    let exec = Exec { argv: long.clone(), ..Exec::new("/missing") };
    assert_eq!(outcome(&mut world(), exec), Some(Errno::ENOENT));
    // The environment is copied before the arguments, each from its end.
    let exec = Exec { argv: long.clone(), envp: [long.clone(), long].concat(), ..Exec::new("/p") };
    let e = world().plan(exec).unwrap_err();
    let expected = Reason::StringTooLong { what: "environment string", index: 1, len: 131_072 };
    assert_eq!(e.refusal.reason, expected);
}
