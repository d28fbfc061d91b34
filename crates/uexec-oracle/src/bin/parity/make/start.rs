//! How a program is started: arguments, environment, limits, personality.

use std::ffi::CString;

use uexec_oracle::launch::Exec;
use uexec_oracle::state::State;

use super::Maker;
use crate::args::Kind;
use crate::rng::Rng;

const RLIMIT_DATA: u32 = 2;
const RLIMIT_STACK: u32 = 3;
const RLIMIT_AS: u32 = 9;
const MAX_ARG_STRLEN: u64 = 131_072;
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Adds all that to a start; plain for most cases, as two odd things hide each other.
pub(crate) fn dress(m: &mut Maker<'_>, mut exec: Exec, kind: Kind) -> Exec {
    if m.plain {
        return exec;
    }
    let rng = &mut m.rng;
    let all = kind == Kind::Args;
    let mut stack = 8 * MIB;
    if rng.percent(if all { 50 } else { 12 }) {
        stack = match rng.below(12) {
            0 => 4 * KIB * rng.between(1, 40),
            1 => rng.below(200_000),
            2 => 64 * KIB,
            3 => 128 * KIB,
            4 => 512 * KIB + rng.below(8 * KIB),
            5 => MIB,
            6 => 24 * MIB,
            7 => 64 * MIB,
            8 => 1 << 30,
            9 => rng.odd(&[]),
            _ => u64::MAX,
        };
        m.what += &format!("; stack limit {stack}");
        exec = exec.state(State::Limit(RLIMIT_STACK, stack));
    }
    for (which, name) in [(RLIMIT_AS, "RLIMIT_AS"), (RLIMIT_DATA, "RLIMIT_DATA")] {
        if rng.percent(if all { 12 } else { 3 }) {
            let limit = match rng.below(4) {
                0 => 4 * KIB * rng.below(100),
                1 => rng.below(8 * MIB),
                2 => rng.odd(&[]),
                _ => 1 << rng.between(12, 48),
            };
            m.what += &format!("; {name} {limit}");
            exec = exec.state(State::Limit(which, limit));
        }
    }
    if rng.percent(10) {
        // ADDR_COMPAT_LAYOUT, READ_IMPLIES_EXEC, MMAP_PAGE_ZERO, SHORT_INODE.
        let bits: &[u64] = match rng.i386 {
            false => &[0x20_0000, 0x40_0000, 0x10_0000, 0x100_0000],
            // ADDR_LIMIT_3GB as well.
            true => &[0x20_0000, 0x40_0000, 0x10_0000, 0x100_0000, 0x800_0000],
        };
        let bits = bits.iter().filter(|_| rng.percent(45)).sum();
        m.what += &format!("; personality {bits:#x}");
        exec = exec.state(State::Personality(bits));
    }
    strings(rng, &mut exec, all, stack);
    let size = |l: &[CString]| (l.len(), l.iter().map(|s| s.as_bytes().len() + 1).sum::<usize>());
    m.what += &format!("; argv {:?}, envp {:?}", size(&exec.argv), size(&exec.envp));
    exec
}

fn strings(rng: &mut Rng, exec: &mut Exec, all: bool, stack: u64) {
    if rng.percent(6) {
        exec.argv.clear();
    } else if rng.percent(if all { 70 } else { 25 }) {
        exec.argv = list(rng, all);
    }
    if rng.percent(if all { 70 } else { 25 }) {
        exec.envp = list(rng, all);
    }
    if rng.percent(if all { 15 } else { 1 }) {
        fill(rng, exec, stack);
    }
}

fn list(rng: &mut Rng, all: bool) -> Vec<CString> {
    let count = match rng.below(10) {
        0 => rng.below(600),
        1 => 1,
        _ => rng.below(12),
    };
    (0..count).map(|_| string(rng, all)).collect()
}

fn string(rng: &mut Rng, all: bool) -> CString {
    let len = match rng.below(if all { 60 } else { 400 }) {
        0 => MAX_ARG_STRLEN + 2 - rng.below(5),
        1 => rng.below(20_000),
        2..=10 => 0,
        _ => rng.below(40),
    };
    text(rng, len)
}

fn text(rng: &mut Rng, len: u64) -> CString {
    let byte = rng.between(1, 255) as u8;
    CString::new(vec![byte; len as usize]).unwrap_or_default()
}

/// Fills arguments up to about the limit (PIPE-21, PIPE-22).
fn fill(rng: &mut Rng, exec: &mut Exec, stack: u64) {
    let limit = (6 * MIB).min(stack / 4).max(MAX_ARG_STRLEN);
    let used = |e: &Exec| -> u64 {
        let strings = e.argv.iter().chain(&e.envp).map(|s| s.as_bytes().len() as u64 + 9);
        // Without arguments there is an empty one (PIPE-17).
        strings.sum::<u64>() + e.path.as_bytes().len() as u64 + 1 + 9 * u64::from(e.argv.is_empty())
    };
    let end = (limit + 2).saturating_sub(rng.below(5));
    while used(exec) + 9 < end {
        let len = (end - used(exec) - 9).min(MAX_ARG_STRLEN - 1);
        let string = text(rng, len);
        exec.envp.push(string);
    }
}
