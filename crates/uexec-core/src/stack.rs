//! The first stack: strings at its end, tables below them, `argc` where `rsp` points
//! (STK-1 to STK-15). Computes bytes and addresses; writes nowhere.

use alloc::vec::Vec;

use crate::abi::{MAX_ARG_STRLEN, PAGE, RLIM_INFINITY, STACK_EXPAND, page_down, page_up};
use crate::arch::Arch;
use crate::args::{ArgArea, HOLE, with_nuls};
use crate::auxv::Auxv;
use crate::error::{Reason, Refusal, Stage};
use crate::layout::{Layout, refuse};
use crate::mm::{Backing, Mm, Prot, Vma};
use crate::plan::{Op, memory};
use crate::world::{Facts, World};

pub(crate) mod aout;

/// Addresses of the first stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
pub struct Stack {
    /// First address after it.
    pub end: u64,
    /// Where the file name stands: `AT_EXECFN`.
    pub filename: u64,
    /// Lowest string: `argv[0]`.
    pub args: u64,
    /// Number of arguments.
    pub argc: u64,
    /// Number of environment strings.
    pub envc: u64,
    /// Bytes of the argument strings.
    pub args_len: u64,
    /// What `AT_PLATFORM` points to.
    pub platform: u64,
    /// What `AT_RANDOM` points to.
    pub random: u64,
    /// Where `argc` stands.
    pub rsp: u64,
}

/// Puts the strings at the end of the stack and maps it: STK-4 to STK-7.
///
/// # Errors
/// After the point of no return: [`Reason::StackGrow`], [`Reason::NoAddressSpace`].
pub(crate) fn place_strings(
    args: ArgArea,
    layout: &Layout,
    facts: &Facts,
    stack_limit: u64,
    exec: bool,
    mm: &mut Mm,
    ops: &mut Vec<Op>,
) -> Result<Stack, Refusal> {
    let end = layout.stack_end;
    let used = page_up(HOLE + args.high_water());
    let len = args.len();
    // STK-5.
    if used > end || end - used < layout.min_addr.max(PAGE) {
        return Err(refuse(Stage::Stack, Reason::NoAddressSpace { addr: end, len: used }));
    }
    // STK-7.
    let wanted = page_down(stack_limit).min(used + STACK_EXPAND).max(used);
    let limit = facts.limits.address_space;
    if limit != RLIM_INFINITY && wanted > limit && wanted > used {
        return Err(refuse(Stage::Stack, Reason::StackGrow { need: wanted, limit }));
    }
    if end < wanted || end - wanted < layout.min_addr {
        let limit = end - layout.min_addr;
        return Err(refuse(Stage::Stack, Reason::StackGrow { need: wanted, limit }));
    }
    let mut prot = Prot::READ | Prot::WRITE;
    prot.set(Prot::EXEC, exec);
    let start = end - wanted;
    mm.insert(Vma { start, end, prot, backing: Backing::Anon, grows_down: true });
    ops.push(Op::Map { addr: start, len: wanted, prot, backing: Backing::Anon, grows_down: true });
    let lowest = end - HOLE - len;
    let (bytes, leftover) = args.into_image();
    ops.push(Op::Copy { addr: lowest - leftover, bytes });
    Ok(Stack { end, args: lowest, ..Stack::default() })
}

/// Where the tables go, before their contents are known: STK-9, STK-10.
pub(crate) fn place_tables(
    stack: &mut Stack,
    arch: &Arch,
    facts: &Facts,
    randomize: bool,
    pairs: u64,
) {
    let gap = if randomize { facts.entropy.stack_gap % 8192 } else { 0 };
    let q = stack.args.wrapping_sub(gap) & !15;
    stack.platform = q.wrapping_sub(arch.platform_len());
    stack.random = stack.platform.wrapping_sub(16);
    let words = 2 * (pairs + 1) + (stack.argc + 1) + (stack.envc + 1) + 1;
    stack.rsp = stack.random.wrapping_sub(arch.class.word() * words) & !15;
}

/// Grows the stack to hold its tables and writes them: STK-13, STK-14.
///
/// # Errors
/// After the point of no return: [`Reason::StackGrow`] `EFAULT` when there is no room or it cannot
/// be written, [`Reason::StackOverwritten`] `EINVAL` when the strings are gone.
#[expect(clippy::too_many_arguments, reason = "a stack is made of this much")]
pub(crate) fn write_tables(
    stack: &Stack,
    arch: &Arch,
    auxv: &Auxv,
    facts: &Facts,
    stack_limit: u64,
    world: &mut dyn World,
    mm: &mut Mm,
    ops: &mut Vec<Op>,
) -> Result<StringEnds, Refusal> {
    let low = stack.rsp;
    grow(mm, ops, low, stack_limit, facts.limits.address_space)?;
    let tables_end = stack.platform + arch.platform_len();
    if !writable(mm, low, tables_end) {
        let r = Reason::StackGrow { need: tables_end - low, limit: 0 };
        return Err(refuse(Stage::Stack, r));
    }
    let (strings, ends) = strings_in_memory(stack, world, mm, ops)
        .ok_or_else(|| refuse(Stage::Stack, Reason::StackOverwritten { addr: stack.args }))?;
    let mut words = Vec::with_capacity(strings.len() + 52);
    words.push(stack.argc);
    let argc = usize::try_from(stack.argc).unwrap_or(usize::MAX).min(strings.len());
    words.extend(strings.get(..argc).unwrap_or_default());
    words.push(0);
    words.extend(strings.get(argc..).unwrap_or_default());
    words.push(0);
    words.extend(auxv.words());
    let bytes = arch.bytes_of(&words);
    ops.push(Op::Copy { addr: low, bytes });
    // The padding between the two keeps what a dropped argument left there (STK-12).
    let mut bytes = facts.entropy.at_random.to_vec();
    if arch.platform_len() > 0 {
        bytes.extend_from_slice(arch.platform);
        bytes.push(0);
    }
    ops.push(Op::Copy { addr: stack.random, bytes });
    Ok(ends)
}

/// Where argument and environment strings end, as they are found in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StringEnds {
    pub(crate) args: u64,
    pub(crate) env: u64,
}

/// Extends the stack mapping down to `low` if it does not reach there.
fn grow(
    mm: &mut Mm,
    ops: &mut Vec<Op>,
    low: u64,
    stack_limit: u64,
    as_limit: u64,
) -> Result<(), Refusal> {
    if mm.find(low).is_some() {
        return Ok(());
    }
    let too_small = |need, limit| Err(refuse(Stage::Stack, Reason::StackGrow { need, limit }));
    let Some(vma) = mm.vmas().iter().find(|v| v.start > low).filter(|v| v.grows_down).cloned()
    else {
        return too_small(0, 0);
    };
    let start = page_down(low);
    let need = vma.end - start;
    if need > stack_limit {
        return too_small(need, stack_limit);
    }
    let total: u64 = mm.vmas().iter().map(Vma::len).sum::<u64>() + (vma.start - start);
    if total > as_limit {
        return too_small(total, as_limit);
    }
    let below = mm.vmas().iter().rev().find(|v| v.end <= start);
    if let Some(below) = below
        && start - below.end < crate::abi::STACK_GUARD_GAP
        && !below.grows_down
        && !below.prot.is_empty()
    {
        return too_small(need, vma.end - below.end);
    }
    if start < mm.min_addr {
        return too_small(need, vma.end - mm.min_addr);
    }
    let old = (vma.start, vma.len());
    let grown = Vma { start, ..vma };
    // The mapping operation of this stack becomes the larger one, unless a segment has cut it.
    let cut = ops.iter().any(|op| matches!(op, Op::Unmap { .. }));
    let map = ops.iter_mut().find_map(|op| match op {
        Op::Map { addr, len, grows_down: true, .. } if !cut && (*addr, *len) == old => {
            Some((addr, len))
        }
        _ => None,
    });
    match map {
        Some((addr, len)) => (*addr, *len) = (start, need),
        None => ops.push(Op::Map {
            addr: start,
            len: old.0 - start,
            prot: grown.prot,
            backing: Backing::Anon,
            grows_down: true,
        }),
    }
    mm.insert(grown);
    Ok(())
}

fn writable(mm: &Mm, start: u64, end: u64) -> bool {
    let mut at = start;
    while at < end {
        match mm.find(at) {
            Some(v) if v.prot.contains(Prot::WRITE) => at = v.end,
            _ => return false,
        }
    }
    true
}

/// Addresses of all strings and where they end, found by walking them as they are in memory now
/// (STK-14); `None` when a segment has replaced them by something that is not strings.
fn strings_in_memory(
    stack: &Stack,
    world: &mut dyn World,
    mm: &Mm,
    ops: &[Op],
) -> Option<(Vec<u64>, StringEnds)> {
    let (at, image) = ops
        .iter()
        .find_map(|op| match op {
            Op::Copy { addr, bytes } if *addr <= stack.args => {
                bytes.get(usize::try_from(stack.args - *addr).ok()?..)
            }
            _ => None,
        })
        .map(|image| (stack.args, image))?;
    let replaced;
    let image = match mm.overlapping(at, stack.end).all(|v| v.grows_down) {
        true => image,
        false => {
            replaced = memory_now(stack, world, mm, ops);
            &replaced
        }
    };
    let count = usize::try_from(stack.argc + stack.envc).ok()?;
    let mut found = Vec::with_capacity(count);
    let mut ends = StringEnds { args: at, env: at };
    for part in with_nuls(image).take(count) {
        if part.last() != Some(&0) || part.len() as u64 > MAX_ARG_STRLEN {
            return None;
        }
        found.push(ends.env);
        ends.env += part.len() as u64;
        if found.len() as u64 == stack.argc {
            ends.args = ends.env;
        }
    }
    (found.len() == count).then_some((found, ends))
}

/// The bytes from the strings to the end of the stack as the operations so far leave them, up to
/// the first that cannot be read (ELF-34).
fn memory_now(stack: &Stack, world: &mut dyn World, mm: &Mm, ops: &[Op]) -> Vec<u8> {
    let low = stack.args;
    let mut bytes = memory(ops, low, stack.end, world);
    let mut at = low;
    while at < stack.end {
        match mm.find(at) {
            Some(v) if v.prot.contains(Prot::READ) => at = v.end.min(file_end(v, world)),
            _ => break,
        }
        if mm.find(at).is_some_and(|v| v.start < at) {
            break;
        }
    }
    bytes.truncate(usize::try_from(at.min(stack.end) - low).unwrap_or(0));
    bytes
}

/// The first address of a mapping behind the page that its file ends in; touching it is `SIGBUS`.
fn file_end(v: &Vma, world: &mut dyn World) -> u64 {
    let Backing::File { file, offset } = v.backing else { return u64::MAX };
    let size = world.stat(file).map_or(0, |s| s.size);
    v.start.saturating_add(page_up(size).saturating_sub(offset))
}
