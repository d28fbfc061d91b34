//! Little of everything. `uexec` is a program itself and needs a stack, memory and descriptors where
//! the kernel's exec needs none: how much is stated here, and with that much it does as the kernel.
//! Below, it fails before the program is touched: by `SIGSEGV` where the kernel could not even start
//! `uexec`, or with status 126.

mod support;

use std::path::Path;

use support::{Scratch, ordinary, same};
use uexec_oracle::elf::{ET_EXEC, Elf, code};
use uexec_oracle::launch::{Exec, run};
use uexec_oracle::state::State;
use uexec_oracle::uexec::uexec_binary;

/// What `uexec` needs, as limits (`getrlimit(2)`): `RLIMIT_*`, amount, why.
const NEEDS: &[(u32, u64, &str)] = &[
    (3, 16 << 10, "stack: the kernel lays out its arguments; else it has one of its own"),
    (2, 4 << 20, "data: a small stack and arena are part of its image"),
    (9, 12 << 20, "address space: its image, which unoptimised takes 7.5 MiB"),
    (7, 5, "descriptors: program and interpreter are open while they are mapped"),
];

#[test]
fn what_uexec_needs_is_enough() {
    let dir = Scratch::new("scarce");
    let path = dir.path("program");
    Elf::program(ET_EXEC, 0x1000_0000, &code::exit(7)).write(&path).unwrap();
    for (which, amount, why) in NEEDS {
        for program in [path.as_path(), Path::new("/bin/true")] {
            same(why, &Exec::new(program).state(State::Limit(*which, *amount)));
        }
    }
}

/// Limits of which `uexec` needs nothing.
#[test]
fn other_limits_may_be_zero() {
    for which in [1, 4, 6, 8, 10, 11, 12, 13, 14] {
        let exec = ordinary(Path::new("/bin/true")).state(State::Limit(which, 0));
        same(&format!("limit {which}"), &exec);
    }
}

/// `PR_SET_MM_MAP` refused to publish the layout when `RLIMIT_DATA` was below the size of the data
/// (STK-42): auxiliary vector, arguments and name of the program stayed uexec's own.
#[test]
fn regression_layout_is_published_without_a_data_limit() {
    const RLIMIT_DATA: u32 = 2;
    let dir = Scratch::new("scarce-data");
    let path = dir.path("program");
    Elf::program(ET_EXEC, 0x1000_0000, &code::exit(7)).write(&path).unwrap();
    let exec = ordinary(&path).state(State::Limit(RLIMIT_DATA, 0));
    same("no data limit", &exec);
    let left = State::Limit(RLIMIT_DATA, 0);
    let probe = Exec::new(env!("CARGO_BIN_EXE_uexec-probe")).args(["exit", "5"]).state(left);
    same("no data limit", &probe);
}

/// Too few descriptors are a refusal with a reason, not a crash.
#[test]
fn no_descriptor_left() {
    let dir = Scratch::new("scarce-descriptors");
    let path = dir.path("program");
    Elf::program(ET_EXEC, 0x1000_0000, &code::exit(7)).write(&path).unwrap();
    let exec = Exec::new(&path).state(State::Limit(7, 3));
    assert_eq!(run(&exec).unwrap(), 7);
    assert_eq!(run(&exec.through(uexec_binary(), &[])).unwrap(), 126);
}
