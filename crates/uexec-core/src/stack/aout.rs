//! The tables of an a.out program: no vector, no random bytes, no alignment (AOUT-12).

use alloc::vec::Vec;

use super::{Stack, StringEnds, grow, strings_in_memory, writable};
use crate::arch::I386;
use crate::error::{Reason, Refusal, Stage};
use crate::layout::refuse;
use crate::mm::Mm;
use crate::plan::Op;
use crate::world::{Facts, World};

/// Places and writes them: `argc`, pointers to the two arrays, `argv`, `envp`.
///
/// # Errors
/// As [`super::write_tables`].
pub(crate) fn write_tables(
    stack: &mut Stack,
    facts: &Facts,
    stack_limit: u64,
    world: &mut dyn World,
    mm: &mut Mm,
    ops: &mut Vec<Op>,
) -> Result<StringEnds, Refusal> {
    let top = stack.args & !3;
    let envp = top.wrapping_sub(4 * (stack.envc + 1));
    let argv = envp.wrapping_sub(4 * (stack.argc + 1));
    stack.rsp = argv.wrapping_sub(12);
    grow(mm, ops, stack.rsp, stack_limit, facts.limits.address_space)?;
    if !writable(mm, stack.rsp, top) {
        let need = top.saturating_sub(stack.rsp);
        return Err(refuse(Stage::Stack, Reason::StackGrow { need, limit: 0 }));
    }
    let (strings, ends) = strings_in_memory(stack, world, mm, ops)
        .ok_or_else(|| refuse(Stage::Stack, Reason::StackOverwritten { addr: stack.args }))?;
    let argc = usize::try_from(stack.argc).unwrap_or(usize::MAX).min(strings.len());
    let mut words = Vec::with_capacity(strings.len() + 5);
    words.extend([stack.argc, argv, envp]);
    words.extend(strings.get(..argc).unwrap_or_default());
    words.push(0);
    words.extend(strings.get(argc..).unwrap_or_default());
    words.push(0);
    ops.push(Op::Copy { addr: stack.rsp, bytes: I386.bytes_of(&words) });
    Ok(ends)
}
