//! How much may be handed on: PIPE-14 to PIPE-25, to the byte.
//!
//! The command needs arguments of its own, so at the very limit the library is asked.

use uexec_core::{Errno, Exec, KERNEL_FORMATS};

use crate::common::ask::{Ask, DEATH, End};
use crate::common::elf::Elf;
use crate::common::place::Place;
use crate::{errno, message};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

fn place() -> Place {
    let place = Place::new();
    place.elf("prog", &Elf::exit(42));
    place
}

/// Bytes of everything that counts (PIPE-22).
fn total(ask: &Ask) -> u64 {
    let strings = ask.argv.iter().chain(&ask.envp);
    let pointers = 8 * (ask.argv.len().max(1) + ask.envp.len());
    (ask.path.len() + 1 + pointers + strings.map(|s| s.len() + 1).sum::<usize>()) as u64
}

/// The exec with arguments added until it counts so many bytes.
fn filled(mut ask: Ask, to: u64) -> Ask {
    const MOST: u64 = 100_000;
    loop {
        let missing = to - total(&ask);
        // What is left is at least one pointer and one NUL.
        let len = if missing > MOST + 100 { MOST } else { missing - 9 };
        ask.argv.push(vec![b'a'; len as usize]);
        if total(&ask) == to {
            return ask;
        }
    }
}

/// Kernel and library agree; what runs counts as `Exit(0)`.
#[track_caller]
fn alike(ask: &Ask, what: &str) -> End {
    let kernel = match ask.kernel().end {
        End::Exit(42) => End::Exit(0),
        other => other,
    };
    let ours = ask.library();
    assert_eq!(ours.end, kernel, "{what}: {}", ours.stderr);
    kernel
}

#[test]
fn err_25_total_to_the_byte() {
    let p = place();
    let stacks = [
        (512 * KIB, 128 * KIB),
        (400_000, 128 * KIB),
        (600_001, 150_000),
        (MIB, 256 * KIB),
        (8 * MIB, 2 * MIB),
        (23 * MIB, 23 * MIB / 4),
        (24 * MIB, 6 * MIB),
        (64 * MIB, 6 * MIB),
        (u64::MAX, 6 * MIB),
    ];
    for (stack, limit) in stacks {
        let ask = Ask::new(&p.path, "./prog").limit(libc::RLIMIT_STACK, stack);
        let at = |to| alike(&filled(ask.clone(), to), &format!("stack {stack}, {to} bytes"));
        assert_eq!(at(limit), End::Exit(0), "stack {stack}");
        assert_eq!(at(limit + 1), errno(Errno::E2BIG), "stack {stack}");
    }
}

#[test]
fn pipe_22_environment_and_pointers_count() {
    let p = place();
    let mut ask = Ask::new(&p.path, "./prog").limit(libc::RLIMIT_STACK, MIB);
    // Many short strings: most of the room is pointers.
    ask.envp = vec![b"A=".to_vec(); 10_000];
    ask.argv = vec![vec![]; 10_000];
    assert_eq!(alike(&filled(ask.clone(), 256 * KIB), "full"), End::Exit(0));
    assert_eq!(alike(&filled(ask.clone(), 256 * KIB + 1), "over"), errno(Errno::E2BIG));
    // Pointers alone (PIPE-15).
    ask.argv = vec![vec![]; 40_000];
    assert_eq!(alike(&ask, "pointers only"), errno(Errno::E2BIG));
    // No argument at all counts as one (PIPE-17).
    ask.argv = vec![];
    ask.envp = vec![vec![b'e'; 100_000], vec![b'e'; 100_000]];
    let rest = 256 * KIB - total(&ask);
    for (more, expected) in [(0, End::Exit(0)), (1, errno(Errno::E2BIG)), (2, errno(Errno::E2BIG))]
    {
        let mut ask = ask.clone();
        // Its own NUL and pointer, and the NUL of the empty argument.
        ask.envp.push(vec![b'e'; (rest - 10 + more) as usize]);
        assert_eq!(alike(&ask, &format!("no arguments, {more} over")), expected);
    }
}

#[test]
fn err_24_one_string() {
    let p = place();
    for (len, expected) in [(131_071, End::Exit(0)), (131_072, errno(Errno::E2BIG))] {
        let mut ask = Ask::new(&p.path, "./prog").limit(libc::RLIMIT_STACK, 8 * MIB);
        ask.argv.push(vec![b'a'; len]);
        assert_eq!(alike(&ask, "argument"), expected);
        ask.envp.push(ask.argv.pop().unwrap());
        assert_eq!(alike(&ask, "environment string"), expected);
    }
    let mut exec = Exec::new("/proc/self/exe");
    exec.envp = vec![vec![b'e'; 131_072]];
    let mut host = uexec_linux::Host::new();
    let error = uexec_core::plan(exec, &mut host, &KERNEL_FORMATS).unwrap_err();
    let text = "Argument list too long (E2BIG): environment string 0 has 131072 bytes; a single string may have 131071";
    assert_eq!(error.to_string(), text);
}

/// A stack limit below the 128 KiB that otherwise always fit (PIPE-24); strings that fit without
/// their tables kill.
#[test]
fn err_26_small_stacks() {
    let p = place();
    let mut seen = std::collections::BTreeMap::new();
    for stack in [4096, 8192, 12_288, 16_384, 40_000, 65_536, 131_072, 135_168] {
        // Where the tables go is random otherwise, and so is whether they fit.
        let ask = Ask::new(&p.path, "./prog").limit(libc::RLIMIT_STACK, stack).no_aslr();
        let mut sizes: Vec<u64> = (1..=3).map(|i| i * 1000).collect();
        // Around the last page boundaries that fit.
        for pages in [0, 1, 2] {
            let edge = (stack / 4096 * 4096).saturating_sub(pages * 4096);
            sizes.extend([edge.saturating_sub(500), edge.saturating_sub(24)]);
            sizes.extend((edge.saturating_sub(16)..edge + 60).step_by(4));
        }
        for size in sizes.into_iter().filter(|s| *s > 100) {
            let end = alike(&filled(ask.clone(), size), &format!("stack {stack}, {size} bytes"));
            *seen.entry(format!("{end:?}")).or_insert(0) += 1;
        }
    }
    // Each outcome was really met.
    for end in [End::Exit(0), errno(Errno::E2BIG), DEATH] {
        assert!(seen.contains_key(&format!("{end:?}")), "{end:?} was never met: {seen:?}");
    }
}

/// What a `#!` line adds is charged to the same limit, before its interpreter is opened (PIPE-25,
/// SCR-8).
#[test]
fn err_27_rewriting() {
    let p = place();
    p.script("good", "#!./prog with an argument\n");
    p.script("bad", "#!./missing with an argument\n");
    let mut ends = Vec::new();
    for name in ["./good", "./bad"] {
        let ask = Ask::new(&p.path, name).limit(libc::RLIMIT_STACK, MIB);
        for to in (256 * KIB - 50)..=(256 * KIB + 1) {
            let end = alike(&filled(ask.clone(), to), &format!("{name} with {to} bytes"));
            if ends.last() != Some(&end) {
                ends.push(end);
            }
        }
    }
    let too_big = errno(Errno::E2BIG);
    assert_eq!(ends, [End::Exit(0), too_big, errno(Errno::ENOENT), too_big]);
}

/// Through the command: found in a directory with a long name, the program's own path is what
/// goes over the limit.
#[test]
fn err_25_message() {
    let p = place();
    let deep = vec!["d".repeat(200); 10].join("/");
    p.elf(&format!("{deep}/prog"), &Elf::exit(42));
    let mut ask = Ask::new(&p.path, format!("{deep}/prog")).limit(libc::RLIMIT_STACK, 8 * MIB);
    ask.argv = vec![b"prog".to_vec()];
    ask.envp = vec![format!("PATH={deep}").into_bytes()];
    for (over, expected) in [(0, End::Exit(42)), (1, errno(Errno::E2BIG))] {
        let mut ask = filled(ask.clone(), 2 * MIB + over);
        assert_eq!(ask.kernel().end, expected);
        ask.path = b"prog".to_vec();
        let ours = ask.uexec();
        assert_eq!(ours.end, expected, "{}", ours.stderr);
        if over == 1 {
            message("err_25_total", &ours.stderr);
        }
    }
}
