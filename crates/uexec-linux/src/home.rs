//! Carries a plan out from where a [loader](crate::spawn) is: its own image, gone with the last step
//! anyway, has the code and room for the list of operations, and the stack that the kernel has made
//! becomes the program's. Saves making, filling and unmapping memory for each.

use core::ops::Range;

use uexec_core::abi::PAGE;
use uexec_core::mm::{Backing, Prot};
use uexec_core::{ExecError, Op, Plan};

use crate::arch::trampoline;
use crate::carry::{Prepared, Region, is_taken, prepare, refuse_dead};
use crate::ffi;
use crate::host::Host;
use crate::lower::{CODE_LEN, Lowered, OwnStack, Room, lower, may_set_exe, room};
use crate::process::Caller;

/// What a program knows of its own memory that the kernel has just started.
#[derive(Debug)]
pub struct Home {
    /// All addresses of the program: what is mapped from its file, and zeroes behind.
    pub image: Range<u64>,
    /// Where the zeroes begin.
    pub zeroes: u64,
    /// Room within, aligned to a page.
    pub list: &'static mut [u8],
    /// The part of the stack that the kernel has written to: from the page where the argument
    /// count is to the stack's end.
    pub stack: Range<u64>,
}

impl Home {
    /// The stack that the plan wants, if it is the one that is there. A page of it that is mapped is
    /// the stack's: other mappings keep a distance.
    fn stack_of(&self, plan: &Plan) -> Option<OwnStack> {
        plan.ops.iter().find_map(|op| match op {
            Op::Map { addr, len, prot, backing: Backing::Anon, grows_down: true }
                if addr + len == self.stack.end
                    && *addr <= self.stack.start
                    && *prot == Prot::READ | Prot::WRITE
                    && ffi::is_mapped(*addr) =>
            {
                let (touched, end) = (self.stack.start, self.stack.end);
                Some(OwnStack { start: *addr, touched, end })
            }
            _ => None,
        })
    }
}

/// As [`prepare`] for a program that the kernel has just started and that has a [`Home`]; where the
/// plan needs more room than that has, or its place, in memory made for it. The plan's own bytes are
/// copied to the program from where they are.
///
/// # Errors
/// As [`prepare`].
///
/// # Safety
/// `home` must be what it says, and nothing of the process may lie within the image but the
/// program.
pub unsafe fn prepare_at(
    home: Home,
    plan: &'static Plan,
    mut host: Host,
    caller: &Caller,
) -> Result<Prepared, ExecError> {
    refuse_dead(plan)?;
    let Range { start, end } = home.image;
    let needed = room(plan, &host, caller);
    let behind = end + CODE_LEN + host.vdso_len() + PAGE;
    if needed > home.list.len() as u64
        || host.exit().is_none()
        || is_taken(plan, start, behind)
        || plan.image.arch.class != uexec_core::arch::Class::Elf64
    {
        return prepare(plan, host, caller);
    }
    let stack = home.stack_of(plan);
    // Where the link to the executed file can be set it must not be mapped by then (PR_SET_MM_MAP):
    // the code goes behind the zeroes.
    let (start, code, region) = if may_set_exe(&host) {
        let Ok(region) = Region::new(end, CODE_LEN, trampoline()) else {
            return prepare(plan, host, caller);
        };
        (home.zeroes, end, Some(region))
    } else {
        (start, trampoline().as_ptr() as u64, None)
    };
    let room =
        Room { start, len: end + CODE_LEN - start, memory: home.list, stack, plan_stays: true };
    let Lowered { list, differences } = lower(plan, &mut host, caller, room)?;
    Ok(Prepared { code, list, region, differences, host })
}
