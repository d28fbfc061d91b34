//! Carries a plan out from where a [loader](crate::spawn) is: its own image, gone with the last step
//! anyway, has the code and the list of operations, and the stack that the kernel has made becomes
//! the program's. Saves making, filling and unmapping memory for each.

use alloc::vec;
use core::ops::Range;

use uexec_core::abi::PAGE;
use uexec_core::mm::{Backing, Prot};
use uexec_core::{ExecError, Op, Plan};

use crate::arch::trampoline;
use crate::carry::{Prepared, is_taken, prepare, refuse_dead, settle_code};
use crate::ffi;
use crate::host::Host;
use crate::lower::{CODE_LEN, Lowered, OwnStack, Room, list_len, lower, may_set_exe};
use crate::process::Caller;

/// What a program knows of its own memory that the kernel has just started.
#[derive(Debug)]
pub struct Home {
    /// All addresses of the program: what is mapped from its file, and zeroes behind.
    pub image: Range<u64>,
    /// Where the zeroes begin. Their last page is not used. What is allocated comes from among them
    /// while there is room.
    pub zeroes: u64,
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
    let behind = end + host.vdso_len() + PAGE;
    if host.exit().is_none()
        || is_taken(plan, start, behind)
        || plan.image.arch.class != uexec_core::arch::Class::Elf64
    {
        return prepare(plan, host, caller);
    }
    let memory = vec![0; list_len(plan, &host, caller)].leak();
    let at = memory.as_ptr() as u64;
    if at < home.zeroes || at + memory.len() as u64 > end - CODE_LEN {
        return prepare(plan, host, caller);
    }
    let stack = home.stack_of(plan);
    // Where the link to the executed file can be set it must not be mapped by then (PR_SET_MM_MAP):
    // the code goes to the last page of the zeroes.
    let (start, code) = if may_set_exe(&host) {
        let code = end - CODE_LEN;
        // SAFETY: nobody uses that page, by the caller's promise.
        if unsafe { settle_code(code, trampoline()) }.is_err() {
            return prepare(plan, host, caller);
        }
        (home.zeroes, code)
    } else {
        (start, trampoline().as_ptr() as u64)
    };
    let room = Room { start, len: end - start, memory, stack, plan_stays: true };
    let Lowered { list, differences } = lower(plan, &mut host, caller, room)?;
    Ok(Prepared { code, list, region: None, differences, host })
}
