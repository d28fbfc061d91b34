//! The layout of an a.out program, once its strings stand (AOUT-4 to AOUT-14).

use super::{Range, place_vdso};
use crate::binfmt::aout::Header;
use crate::binfmt::aout::load::{Loader, fields};
use crate::error::{Refusal, Stage};
use crate::mm::Mm;
use crate::plan::{MmFields, Op, Plan, Registers};
use crate::stack::{self, Stack};
use crate::story::{Story, tell};
use crate::world::{Facts, VdsoPart, World};

#[expect(clippy::too_many_arguments, reason = "this is what a layout is made from")]
pub(super) fn lay_out(
    plan: &mut Plan,
    header: &Header,
    mut stack: Stack,
    vdso: &[VdsoPart],
    facts: &Facts,
    stack_limit: u64,
    world: &mut dyn World,
    mm: &mut Mm,
    story: &mut Story,
) -> Result<(), Refusal> {
    let ops = &mut plan.ops;
    let mut loader = Loader { world, mm, ops };
    loader.program(&plan.image.program.file, header)?;
    let text = header.text_addr().into();
    tell!(story, Stage::Map, "AOUT-6", "the text is at {}", Range(mm.find(text)));
    if let Some(addr) = place_vdso(vdso, mm, ops)? {
        tell!(story, Stage::Map, "", "the vdso, which no a.out program had, is at {addr:#x}");
    }
    let ends = stack::aout::write_tables(&mut stack, facts, stack_limit, world, mm, ops)?;
    plan.stack = stack;
    plan.mm = MmFields {
        start_stack: stack.rsp,
        arg_start: stack.args,
        arg_end: ends.args,
        env_start: ends.args,
        env_end: ends.env,
        ..fields(header)
    };
    plan.ops.extend([Op::SetMm, Op::DropRseq, Op::Jump]);
    let entry = u64::from(header.a_entry);
    plan.registers = Registers { rip: entry, rsp: stack.rsp };
    tell!(story, Stage::Map, "AOUT-13", "starts at {entry:#x} with esp {:#x}", stack.rsp);
    Ok(())
}
