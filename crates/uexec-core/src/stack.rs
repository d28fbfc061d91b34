//! The first stack: strings at its end, tables below them, `argc` where `rsp` points
//! (STK-1 to STK-15). Computes bytes and addresses; writes nowhere.

use alloc::vec::Vec;

use crate::abi::{PAGE, RLIM_INFINITY, STACK_EXPAND, page_down, page_up};
use crate::args::{ArgArea, HOLE};
use crate::auxv::Auxv;
use crate::error::{Reason, Refusal, Stage};
use crate::layout::{Layout, refuse};
use crate::mm::{Backing, Mm, Prot, Vma};
use crate::plan::Op;
use crate::world::Facts;

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
pub(crate) fn place_tables(stack: &mut Stack, facts: &Facts, randomize: bool, pairs: u64) {
    let gap = if randomize { facts.entropy.stack_gap % 8192 } else { 0 };
    let q = stack.args.wrapping_sub(gap) & !15;
    stack.platform = q.wrapping_sub(facts.platform.len() as u64 + 1);
    stack.random = stack.platform.wrapping_sub(16);
    let words = 2 * (pairs + 1) + (stack.argc + 1) + (stack.envc + 1) + 1;
    stack.rsp = stack.random.wrapping_sub(8 * words) & !15;
}

/// Grows the stack to hold its tables and writes them: STK-13, STK-14.
///
/// # Errors
/// After the point of no return: [`Reason::StackGrow`] `EFAULT` when there is no room or it cannot
/// be written, [`Reason::StackOverwritten`] `EINVAL` when the strings are gone.
pub(crate) fn write_tables(
    stack: &Stack,
    auxv: &Auxv,
    facts: &Facts,
    stack_limit: u64,
    mm: &mut Mm,
    ops: &mut Vec<Op>,
) -> Result<(), Refusal> {
    let low = stack.rsp;
    grow(mm, ops, low, stack_limit, facts.limits.address_space)?;
    let tables_end = stack.platform + facts.platform.len() as u64 + 1;
    if !writable(mm, low, tables_end) {
        let r = Reason::StackGrow { need: tables_end - low, limit: 0 };
        return Err(refuse(Stage::Stack, r));
    }
    let strings = strings_in_memory(stack, mm, ops)
        .ok_or_else(|| refuse(Stage::Stack, Reason::StackOverwritten { addr: stack.args }))?;
    let mut words = Vec::with_capacity(strings.len() + 52);
    words.push(stack.argc);
    let argc = usize::try_from(stack.argc).unwrap_or(usize::MAX).min(strings.len());
    words.extend(strings.get(..argc).unwrap_or_default());
    words.push(0);
    words.extend(strings.get(argc..).unwrap_or_default());
    words.push(0);
    words.extend(auxv.words());
    let mut bytes = Vec::with_capacity((tables_end - low) as usize);
    bytes.extend(words.iter().flat_map(|w| w.to_le_bytes()));
    bytes.resize((stack.random - low) as usize, 0);
    bytes.extend_from_slice(&facts.entropy.at_random);
    bytes.extend_from_slice(&facts.platform);
    bytes.push(0);
    ops.push(Op::Copy { addr: low, bytes });
    Ok(())
}

/// Extends the stack mapping down to `low` if it does not reach there.
fn grow(
    mm: &mut Mm,
    ops: &mut [Op],
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
    {
        return too_small(need, vma.end - below.end);
    }
    if start < mm.min_addr {
        return too_small(need, vma.end - mm.min_addr);
    }
    let old = (vma.start, vma.len());
    let grown = Vma { start, ..vma };
    // The mapping operation of this stack becomes the larger one.
    for op in ops.iter_mut() {
        if let Op::Map { addr, len, grows_down: true, .. } = op
            && (*addr, *len) == old
        {
            *addr = start;
            *len = need;
        }
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

/// Addresses of all strings, found by walking them as they are in memory now; `None` when a
/// segment has replaced them by something that is not strings.
fn strings_in_memory(stack: &Stack, mm: &Mm, ops: &[Op]) -> Option<Vec<u64>> {
    let mut found = Vec::new();
    let mut at = stack.args;
    // Reads a byte as the operations leave it. Only the stack's own bytes and zero pages are
    // known here; a file mapped over the strings is taken as "not strings".
    let whole = mm.overlapping(stack.args, stack.end).all(|v| v.grows_down);
    let image = ops.iter().find_map(|op| match op {
        Op::Copy { addr, bytes } if *addr <= stack.args => {
            bytes.get(usize::try_from(stack.args - *addr).ok()?..)
        }
        _ => None,
    })?;
    if whole {
        let mut offset = 0;
        for part in image.split_inclusive(|b| *b == 0) {
            if found.len() as u64 >= stack.argc + stack.envc {
                break;
            }
            found.push(stack.args + offset);
            offset += part.len() as u64;
        }
        return (found.len() as u64 == stack.argc + stack.envc).then_some(found);
    }
    for _ in 0..stack.argc + stack.envc {
        let v = mm.find(at)?;
        if v.grows_down || v.backing != Backing::Anon {
            return None;
        }
        found.push(at);
        at += 1;
    }
    Some(found)
}
